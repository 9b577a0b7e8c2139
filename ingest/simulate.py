"""`simulate`: a virtual landscape, its satellite scenes in genuine product forms, and the truth beside them.

    <out>/landsat/LT05_L2SP_190027_20030412_20200904_02_T1/    Collection 2 Level-2 folders, see product_writer.py
    <out>/modis/MOD09A1.A2003001.h18v04.061.tif               one int32 GeoTIFF a composite, see modis_view.py
    <out>/truth/                                              cover, events, relief, samples, clean reflectance
    <out>/manifest.json                                       settings, scenes, and sha256 of all that is there

The same settings give the same bytes. There is no snow, no thermal band and no view-angle effect.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from esd.errors import GridError, SceneError, WindowError
from esd.grid import bounds_lonlat, geobox_from_bounds

from . import modis_view, truth_writer
from .land_events import draw_events
from .landscape import build_landscape
from .lock import WriteLock
from .pixel_years import PixelYears, simulate_pixels
from .product_writer import LandsatImage, write_landsat
from .sensors import (
    CYCLE_DAYS,
    PLATFORMS,
    SLC_FAILURE,
    Platform,
    measured,
    passes,
    quality_bits,
    saturated_bands,
    scan_gaps,
    wrs_path,
)
from .surface import Surface
from .weather import PIXEL_METRES, Clouds, Weather, clouds_of, generator, sun_at

if TYPE_CHECKING:
    from .pipeline import Progress

__all__ = ["PRODUCTS", "PixelYears", "SceneSimulator", "SimulationReport", "simulate", "simulate_pixels"]

SIMULATOR_VERSION = 1
PRODUCTS = ("landsat", "modis")
WEST_EDGE, NORTH_EDGE = 464_985.0, 5_330_025.0
"""Upper left corner in the UTM zone, near 48 degrees north; pixel centres lie on multiples of 30 m, as Landsat's do."""
MIN_SIZE, MAX_SIZE = 32, 2048
_UTM_NORTH = re.compile(r"EPSG:326(0[1-9]|[1-5]\d|60)", re.IGNORECASE)
COMPOSITE_CLEARING = 2.2
"""Power on a day's cloud cover that leaves the cover of the best of eight days."""


@dataclass(frozen=True)
class SimulationReport:
    """What a simulation wrote."""

    out: Path
    geobox: GeoBox
    landsat: tuple[str, ...]
    """Names of the Landsat products, by date."""
    modis: tuple[str, ...]
    events: int
    mean_cloud_cover: float
    """Mean percent of cloud that the masks of the Landsat scenes see; 0 without any."""
    bytes_written: int


@dataclass(frozen=True)
class _Settings:
    size: int
    years: tuple[int, int]
    seed: int
    products: tuple[str, ...]
    crs: str
    revisit_days: int
    cloudiness: float


class SceneSimulator:
    """A landscape under its weather, and the scenes that satellites take of it. Holds no files."""

    def __init__(self, size: int, years: tuple[int, int], seed: int, crs: str, cloudiness: float) -> None:
        extent = size * PIXEL_METRES
        self.geobox = geobox_from_bounds(WEST_EDGE, NORTH_EDGE - extent, WEST_EDGE + extent, NORTH_EDGE, crs, PIXEL_METRES)
        self.shape = (size, size)
        self.seed = seed
        west, south, east, north = bounds_lonlat(self.geobox)
        self.path = wrs_path((west + east) / 2)
        self.latitude = (south + north) / 2
        self.weather = Weather(seed, *years, cloudiness)
        land = build_landscape(size, seed, years)
        self.surface = Surface(land, draw_events(land, seed, years), self.weather, seed, self.latitude)
        self.swath_metres = float(generator(seed, "swath").uniform(45_000, 78_000))

    def sky(self, rng: np.random.Generator, date: dt.date, clearing: float = 1.0) -> Clouds:
        """Draw the clouds of a day; `clearing` above 1 is the power that thins their cover."""
        cover = self.weather.cloud_cover(date, rng) ** clearing
        return clouds_of(rng, self.shape, cover, sun_at(date, self.latitude))

    def landsat(self, platform: Platform, date: dt.date) -> tuple[LandsatImage, Clouds]:
        """Take a Landsat image on a day; also return the true clouds, which no product tells."""
        rng = generator(self.seed, platform.code, date.toordinal())
        clean = self.surface.reflectance(date)
        clouds = self.sky(rng, date)
        reflectance = measured(rng, platform, clouds.over(clean))
        slc_off = platform.sensor == "ETM" and date >= SLC_FAILURE
        offset = rng.uniform(0, 1000)
        fill = scan_gaps(self.shape, self.swath_metres, offset) if slc_off else np.zeros(self.shape, bool)
        seen = ~fill
        image = LandsatImage(
            platform=platform,
            date=date,
            path=self.path,
            sun=sun_at(date, self.latitude),
            reflectance=reflectance,
            fill=fill,
            quality=quality_bits(platform, clouds, open_water(clean), fill),
            saturation=np.where(fill, 0, saturated_bands(platform, reflectance)).astype(np.uint16),
            cloud_cover=100 * float(clouds.detected[seen].mean()),
            slc_off=slc_off,
        )
        return image, clouds

    def write_modis(self, folder: Path, grid: modis_view.ModisGrid, day: dt.date) -> Path:
        """Write the MODIS composite that starts on a day: the surface of its middle day under the clearest sky."""
        rng = generator(self.seed, "modis", day.toordinal())
        middle = day + dt.timedelta(days=modis_view.COMPOSITE_DAYS // 2)
        clean = self.surface.reflectance(middle)
        clouds = self.sky(rng, middle, COMPOSITE_CLEARING)
        return modis_view.write_composite(folder, grid, day, clouds.over(clean), clouds, open_water(clean), rng)


def open_water(clean: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return where clean reflectance [6, y, x] is open water: dark in the short-wave infrared and no leaves."""
    return np.asarray((clean[4] < 0.05) & (clean[3] < clean[1] + 0.02))


def _checked(settings: _Settings) -> _Settings:
    first, last = settings.years
    if not MIN_SIZE <= settings.size <= MAX_SIZE:
        raise GridError(f"size {settings.size} is out of range; give {MIN_SIZE} to {MAX_SIZE} pixels")
    if not 1984 <= first <= last <= 2099:
        raise WindowError(f"years {first} to {last} cannot be simulated; give a first and a last year from 1984 on")
    if not settings.products or not set(settings.products) <= set(PRODUCTS):
        raise SceneError(
            f"products {', '.join(settings.products) or 'none'} are not simulated; give {' or '.join(PRODUCTS)}"
        )
    if not _UTM_NORTH.fullmatch(settings.crs):
        raise GridError(f"crs {settings.crs!r} is not a northern UTM zone; give one of EPSG:32601 to EPSG:32660")
    if settings.seed < 0:
        raise SceneError(f"seed {settings.seed} is negative; give 0 or above")
    if settings.revisit_days < CYCLE_DAYS or settings.revisit_days % CYCLE_DAYS:
        raise WindowError(f"revisit of {settings.revisit_days} days does not fit the orbit; give 16, 32, 48 ...")
    if not 0 <= settings.cloudiness <= 1:
        raise SceneError(f"cloudiness {settings.cloudiness} is out of range; give 0 (none) to 1")
    return settings


def _acquisitions(simulator: SceneSimulator, settings: _Settings) -> list[tuple[dt.date, Platform]]:
    if "landsat" not in settings.products:
        return []
    every = settings.revisit_days // CYCLE_DAYS
    found = [(day, platform) for platform in PLATFORMS for day in passes(platform, simulator.path, settings.years)[::every]]
    return sorted(found, key=lambda one: (one[0], one[1].code))


def simulate(
    out: str | Path,
    size: int = 256,
    years: tuple[int, int] = (2003, 2005),
    seed: int = 7,
    products: Sequence[str] = PRODUCTS,
    crs: str = "EPSG:32633",
    revisit_days: int = 16,
    cloudiness: float = 0.45,
    progress: Progress | None = None,
) -> SimulationReport:
    """Simulate `size` x `size` pixels of 30 m over the years (first, last) and write scenes and truth into `out`.

    `crs` is a northern UTM zone. `revisit_days` (a multiple of 16) thins the passes of each Landsat; `cloudiness` is
    the mean cloud cover, 0 for none. `out` must not exist or be empty; it appears when everything in it is whole.
    Raises SceneError, GridError or WindowError for settings that make no sense, before anything is written.
    """
    settings = _checked(_Settings(size, years, seed, tuple(products), crs, revisit_days, cloudiness))
    target = Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SceneError(f"{target} is not empty; give a folder that does not exist yet")
    simulator = SceneSimulator(size, years, seed, crs, cloudiness)
    taken = _acquisitions(simulator, settings)
    composites = modis_view.composite_days(years) if "modis" in settings.products else []
    if not taken and not composites:
        raise WindowError(f"no satellite of {', '.join(settings.products)} flew in {years[0]} to {years[1]}")
    steps = len(taken) + len(composites) + 12 * (years[1] - years[0] + 1)
    advance = _announce(progress, steps)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _made_whole(target) as folder:
        (folder / "truth").mkdir()
        scenes, cloud = _write_landsat(folder / "landsat", simulator, taken, advance)
        names = _write_modis(folder / "modis", simulator, composites, advance)
        _write_truth(folder / "truth", simulator, settings, advance)
        _write_manifest(folder, simulator, settings, [*scenes, *names])
        written = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return SimulationReport(target, simulator.geobox, scenes, names, len(simulator.surface.events), cloud, written)


@contextmanager
def _made_whole(target: Path) -> Iterator[Path]:
    """Give a hidden folder beside `target`, which takes its name at the end; what a killed run left there is removed."""
    folder = target.with_name(f".{target.name}.simulating")
    with WriteLock(target):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
            if target.exists():
                target.rmdir()
            folder.rename(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _announce(progress: Progress | None, steps: int) -> Callable[[str], None]:
    if progress is None:
        return lambda _: None
    progress.start(steps)
    return lambda message: progress.advance(1, message)


def _write_landsat(
    folder: Path, simulator: SceneSimulator, taken: list[tuple[dt.date, Platform]], advance: Callable[[str], None]
) -> tuple[tuple[str, ...], float]:
    """Write the Landsat scenes; return their names and their mean cloud cover in percent."""
    names, covers = [], [0.0] if not taken else []
    for date, platform in taken:
        image, _ = simulator.landsat(platform, date)
        names.append(write_landsat(folder, image, simulator.geobox).name)
        covers.append(image.cloud_cover)
        advance(names[-1])
    return tuple(names), float(np.mean(covers))


def _write_modis(
    folder: Path, simulator: SceneSimulator, days: list[dt.date], advance: Callable[[str], None]
) -> tuple[str, ...]:
    if not days:
        return ()
    folder.mkdir()
    grid = modis_view.modis_grid(simulator.geobox)
    names = []
    for day in days:
        names.append(simulator.write_modis(folder, grid, day).name)
        advance(names[-1])
    return tuple(names)


def _write_truth(folder: Path, simulator: SceneSimulator, settings: _Settings, advance: Callable[[str], None]) -> None:
    surface, geobox = simulator.surface, simulator.geobox
    truth_writer.write_dem(folder, surface, geobox)
    truth_writer.write_events(folder, surface.events, geobox)
    truth_writer.write_samples(folder, surface, settings.years, settings.seed, geobox)
    for year in range(settings.years[0], settings.years[1] + 1):
        truth_writer.write_cover(folder, surface, year, geobox)
        truth_writer.write_reflectance(folder, surface, year, geobox, advance)


def _write_manifest(folder: Path, simulator: SceneSimulator, settings: _Settings, scenes: list[str]) -> None:
    members = [path for part in sorted(folder.iterdir()) for path in sorted(part.iterdir())]
    manifest = {
        "simulator_version": SIMULATOR_VERSION,
        "settings": {
            "size": settings.size, "years": list(settings.years), "seed": settings.seed,
            "products": list(settings.products), "crs": settings.crs, "revisit_days": settings.revisit_days,
            "cloudiness": settings.cloudiness,
        },
        "grid": {"crs": str(simulator.geobox.crs), "shape": list(simulator.geobox.shape),
                 "transform": list(simulator.geobox.affine)[:6]},
        "wrs": {"path": simulator.path, "latitude": round(simulator.latitude, 6)},
        "scenes": scenes,
        "sha256": {path.relative_to(folder).as_posix(): truth_writer.digest(path) for path in members},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
