"""MODIS: MOD09A1 (8 days, 500 m), MOD09GA (daily, 500 m) and MOD13Q1 (16 days, 250 m), of Terra (MOD) and Aqua (MYD),
and MCD43A4 (daily, 500 m, seen from above, of both).

Three forms are read, all with one file a composite:
* `MOD09A1.AYYYYDDD.hHHvVV.*.tif` (or another): a GeoTIFF whose band descriptions are the product's data set names;
* the same as `.hdf` (HDF4, needs the extra `modis`);
* `MOD13Q1_YYYYMMDD*.tif`: seven bands without names, EVI, NDVI, red, blue, NIR, MIR, day of year, reflectance 0-1.

A pixel is of the day that its day-of-year layer tells; a composite without one is of its middle day, four or eight
days after its first. MOD13Q1 has no green and no swir1. MCD43A4 is of the day in its name, on which its sixteen days
weigh most; bands of full and of magnitude inversion (mandatory quality 0 and 1) are kept.
Source: MOD09 User's Guide (collection 6), table 13; MOD13 User's Guide (collection 6), tables 4 and 5; MCD43A4 User Guide
(collection 6), "Mandatory Quality".
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from esd.dekad import BANDS
from esd.errors import SceneError
from esd.grid import Region

from . import modis_hdf
from .archive import Package
from .consistency import require_sane_grid
from .modis_hdf import SINUSOIDAL
from .raster import header_of, read_window
from .scene import Layer, Observation, Scene, bands_missing, has_bits, require, stack_bands

__all__ = ["UNNAMED_COMPOSITE_DAYS", "ModisReader", "days_of", "require_tile"]

Flags = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Form:
    """A product: days in a composite, and how its layers (by a part of their data set's name) are scaled."""

    days: int
    bands: dict[str, str]
    quality: dict[str, str]
    fill: float
    valid: tuple[float, float]


NUMBERS = {"blue": 3, "green": 4, "red": 1, "nir": 2, "swir1": 6, "swir2": 7}
"""MODIS's numbers of the bands."""
FORMS = {
    "09A1": Form(
        days=8,
        bands={band: f"sur_refl_b0{number}" for band, number in NUMBERS.items()},
        quality={"state": "state_500m", "day": "day_of_year"},
        fill=-28672,
        valid=(-100, 16000),
    ),
    "13Q1": Form(
        days=16,
        bands={"blue": "blue reflectance", "red": "red reflectance", "nir": "nir reflectance", "swir2": "mir reflectance"},
        quality={"reliability": "pixel reliability", "day": "day of the year"},
        fill=-1000,
        valid=(0, 10000),
    ),
    "09GA": Form(
        days=1,
        bands={band: f"sur_refl_b0{number}_1" for band, number in NUMBERS.items()},
        quality={"state": "state_1km"},
        fill=-28672,
        valid=(-100, 16000),
    ),
    "43A4": Form(
        days=1,
        bands={band: f"nadir_reflectance_band{number}" for band, number in NUMBERS.items()},
        quality={band: f"mandatory_quality_band{number}" for band, number in NUMBERS.items()},
        fill=32767,
        valid=(0, 32766),
    ),
}
SCALE = 0.0001
DTYPES = ("int16", "int32")
TILE_METRES = 1111950.5196666666
TILE_PIXELS = (1200, 2400, 4800)
TILE_SLACK = 0.1
"""Tiles; a small grid across the edge of two is called after the one that it begins in."""
LARGEST_SHIFT = 0.05
"""Pixels that a grid may lie beside the product's, for the digits that files keep."""
UNNAMED_BANDS = {"red": 3, "blue": 4, "nir": 5, "swir2": 6}
UNNAMED_DAY = 7
UNNAMED_COMPOSITE_DAYS = 16
PLATFORMS = {"MOD": "Terra", "MYD": "Aqua", "MCD": "Terra and Aqua"}
INVERTED = (0, 1)

_GRANULE = re.compile(
    r"(?P<sensor>M[OY]D(?=09|13)|MCD(?=43))(?P<form>09A1|09GA|13Q1|43A4)\.A(?P<date>\d{7})\."
    r"(?P<tile>h\d\dv\d\d)\..*(tif|tiff|hdf)",
    re.IGNORECASE,
)
_UNNAMED = re.compile(r"(?P<sensor>MOD|MYD)(?P<form>13Q1)_(?P<date>\d{8}).*\.(tif|tiff)", re.IGNORECASE)


class ModisReader:
    """Reads MODIS composites."""

    product = "modis"

    def claims(self, package: Package) -> tuple[str, ...]:
        """Return the file itself: composites are single files, so folders and tarballs are never claimed."""
        if len(package.names) != 1 or package.path.name != package.names[0]:
            return ()
        return package.names if _GRANULE.fullmatch(package.names[0]) or _UNNAMED.fullmatch(package.names[0]) else ()

    def scan(self, package: Package, name: str) -> Scene:
        """Return the scene that a composite's file holds. Raises SceneError if it has no bands or no grid."""
        found = _GRANULE.fullmatch(name) or _UNNAMED.fullmatch(name)
        if found is None:
            raise SceneError(f"{name} is not the name of a MODIS composite; keep the product's own file name")
        form = FORMS[found["form"].upper()]
        geobox, layers, quality = _contents(package, name, form, named=len(found["date"]) == 7)
        require(layers, f"{name} has no reflectance band of MOD{found['form']}")
        require_tile(geobox, found.groupdict().get("tile"), name)
        first = dt.datetime.strptime(found["date"], "%Y%j" if len(found["date"]) == 7 else "%Y%m%d").date()
        masked = any(layer.name != "day" for layer in quality)
        return Scene(
            id=name.rpartition(".")[0],
            product=self.product,
            platform=PLATFORMS[found["sensor"].upper()],
            sensor="MODIS",
            acquired=first + dt.timedelta(days=form.days // 2),
            period=(first, first + dt.timedelta(days=form.days - 1)),
            geobox=geobox,
            path=package.path,
            layers=layers,
            quality=quality,
            notes=_notes(name, form, layers, masked),
        )

    def read(self, scene: Scene, folder: Path, region: Region) -> Observation:
        """Read a region; clear is what the state or reliability layer leaves of the valid numbers."""
        full = scene.shape
        window = modis_hdf.read_window if scene.path.suffix.lower() == ".hdf" else read_window
        raws = [window(folder, layer, region, full) for layer in scene.layers]
        reflectance, clear = stack_bands(scene.layers, raws)
        state, reliability = scene.quality_layer("state"), scene.quality_layer("reliability")
        cloud = None
        if state is not None:
            flags = window(folder, state, region, full)
            clear &= clear_by_state(flags)
            cloud = (has_bits(flags, 0) ^ has_bits(flags, 1)) | has_bits(flags, 2, 10)
        if reliability is not None:
            clear &= np.isin(window(folder, reliability, region, full), (0, 1))
        for layer in scene.quality:
            if layer.name in NUMBERS:
                clear[BANDS.index(layer.name)] &= np.isin(window(folder, layer, region, full), INVERTED)
        dated = scene.quality_layer("day")
        day = None if dated is None else days_of(scene, window(folder, dated, region, full))
        return Observation(np.where(clear, reflectance, np.float32(0)), clear, day, cloud)


def clear_by_state(flags: Flags) -> npt.NDArray[np.bool_]:
    """Return where MOD09A1 state flags [y, x] mean clear.

    Dropped: cloudy or mixed (bits 0-1 = 1, 2), shadow (2), average or high cirrus (9), internal cloud (10), MOD35
    snow (12), internal snow (15), and fill (65535). Pixels only adjacent to cloud (13) are kept: the composite has
    already chosen the best of its days.
    """
    cloudy = has_bits(flags, 0) ^ has_bits(flags, 1)
    return ~(cloudy | has_bits(flags, 2, 9, 10, 12, 15))


def _contents(
    package: Package, name: str, form: Form, *, named: bool
) -> tuple[GeoBox, tuple[Layer, ...], tuple[Layer, ...]]:
    if not named:
        return _unnamed_contents(package, name)
    geobox: GeoBox | None
    indices: dict[str, int | str]
    if name.lower().endswith(".hdf"):
        geobox, data_sets = modis_hdf.contents(package.path)
        indices = {data_set.lower(): data_set for data_set in data_sets}
    else:
        header = header_of(package, name)
        geobox = header.geobox
        indices = {f"{description.lower()} {number}": number for number, description in enumerate(header.descriptions, 1)}
    layers = tuple(
        Layer(band, name, index, SCALE, 0.0, form.fill, None, form.valid, DTYPES)
        for band, part in form.bands.items()
        if (index := _index(indices, part, name)) is not None
    )
    quality = tuple(
        Layer(kind, name, index) for kind, part in form.quality.items() if (index := _index(indices, part, name)) is not None
    )
    return _require_grid(geobox, name), layers, quality


def _index(indices: dict[str, int | str], part: str, name: str) -> int | str | None:
    """Return the band whose description holds a text. Raises SceneError if two do."""
    found = [index for description, index in indices.items() if part in description]
    if len(found) > 1:
        raise SceneError(f"{name} has {len(found)} bands called {part}; download it again")
    return found[0] if found else None


def _unnamed_contents(package: Package, name: str) -> tuple[GeoBox, tuple[Layer, ...], tuple[Layer, ...]]:
    header = header_of(package, name)
    if len(header.descriptions) != UNNAMED_DAY:
        raise SceneError(f"{name} has {len(header.descriptions)} bands, not EVI, NDVI, red, blue, NIR, MIR, day of year")
    plain = Layer("", name, fill=header.nodata, valid=(0.0, 1.0))
    layers = tuple(replace(plain, name=band, index=index) for band, index in UNNAMED_BANDS.items())
    return _require_grid(header.geobox, name), layers, (replace(plain, name="day", index=UNNAMED_DAY),)


def _require_grid(geobox: GeoBox | None, name: str) -> GeoBox:
    if geobox is None:
        raise SceneError(f"{name} has no coordinate system; write one into the file (gdal_edit -a_srs)")
    return geobox


def _notes(name: str, form: Form, layers: tuple[Layer, ...], masked: bool) -> tuple[str, ...]:
    notes = () if masked else (f"{name} has no quality layer: clouds are not masked",)
    return (*notes, *bands_missing(name, layers, tuple(form.bands)))


def require_tile(geobox: GeoBox, tile: str | None, name: str) -> None:
    """Raise SceneError unless a grid lies in the tile of its name and, if it is sinusoidal, on the pixels of the product."""
    require_sane_grid(geobox, name)
    left, bottom, right, top = geobox.boundingbox.bbox
    assert geobox.crs is not None
    to_tiles = Transformer.from_crs(geobox.crs.proj, SINUSOIDAL, always_xy=True)
    x, y = to_tiles.transform((left + right) / 2, (bottom + top) / 2)
    if tile is not None:
        column, row = x / TILE_METRES + 18 - int(tile[1:3]), 9 - y / TILE_METRES - int(tile[4:6])
        if not (-TILE_SLACK <= column <= 1 + TILE_SLACK and -TILE_SLACK <= row <= 1 + TILE_SLACK):
            raise SceneError(f"{name} does not lie in tile {tile} that it is called after; download it again")
    if tile is None or (round(x), round(y)) == (round((left + right) / 2), round((bottom + top) / 2)):
        pixels = TILE_METRES / np.array([abs(geobox.affine.a), abs(geobox.affine.e)])
        shift = np.array([left / abs(geobox.affine.a), top / abs(geobox.affine.e)])
        known = any(np.allclose(pixels, side, rtol=1e-5) for side in TILE_PIXELS)
        known &= abs(x - (left + right) / 2) + abs(y - (bottom + top) / 2) < 1
        if not known or np.abs(shift - np.rint(shift)).max() > LARGEST_SHIFT:
            raise SceneError(f"{name} is not on the pixels of MODIS; download it again")


def days_of(scene: Scene, day_of_year: Flags) -> npt.NDArray[np.int16]:
    """Turn days of the year, 1-366, into days since the composite's first; days outside of it to its middle."""
    first, last = scene.period
    number = np.nan_to_num(day_of_year.astype(np.float64), nan=-1, posinf=-1, neginf=-1)
    since = number - first.timetuple().tm_yday
    days_of_year = dt.date(first.year, 12, 31).timetuple().tm_yday
    since = np.where(since < 0, since + days_of_year, since)
    inside = (number >= 1) & (since <= (last - first).days)
    return np.where(inside, since, (scene.acquired - first).days).astype(np.int16)
