"""Rasters as verbs hand them out: GeoTIFFs clipped to an area, their statistics, and PNG previews."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from esd.errors import BandError

from .colors import colorize, paint_classes, ramp_of, true_color, write_png

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from esd.image import Image
    from esd.ingest.aoi import Area

__all__ = ["BandStatistics", "Target", "file_statistics", "image_statistics", "preview", "write_map"]

ROWS_AT_ONCE = 512
PREVIEW_PIXELS = 1024


@dataclass(frozen=True)
class Target:
    """Where and how a result is asked for: its grid (None: the image's own), the area, and the memory to keep to."""

    geobox: GeoBox | None = None
    aoi: str | None = None
    resampling: str = "nearest"
    max_memory: int | None = None

    def area(self, crs: object) -> Area | None:
        """Return the area in a CRS, if pixels outside of it have to be left out."""
        from esd.ingest.aoi import Area

        area = Area.parse(self.aoi, crs) if self.aoi is not None else None
        return area if area is not None and area.exact else None


@dataclass
class BandStatistics:
    """Running statistics of one band, over valid and finite values."""

    band: str
    pixels: int = 0
    valid: int = 0
    low: float = math.inf
    high: float = -math.inf
    _sum: float = field(default=0.0, repr=False)
    _squares: float = field(default=0.0, repr=False)

    def add(self, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        """Take in values and their validity, of any shape."""
        numbers = values.astype(np.float64)
        chosen = numbers[valid & np.isfinite(numbers)]
        self.pixels += values.size
        self.valid += chosen.size
        if chosen.size:
            self.low, self.high = min(self.low, float(chosen.min())), max(self.high, float(chosen.max()))
            self._sum += float(chosen.sum())
            self._squares += float(np.square(chosen).sum())

    def summary(self) -> dict[str, Any]:
        """Return the figures; NaN where nothing is valid."""
        some = self.valid > 0
        mean = self._sum / self.valid if some else math.nan
        spread = math.sqrt(max(self._squares / self.valid - mean**2, 0.0)) if some else math.nan
        return {
            "band": self.band,
            "min": self.low if some else math.nan,
            "mean": mean,
            "max": self.high if some else math.nan,
            "std": spread,
            "valid_share": self.valid / self.pixels if self.pixels else 0.0,
        }


def _band_names(image: Image) -> list[str]:
    bands, times = image.type.bands, image.type.time
    return [f"{band} {time}".strip() if len(times) > 1 else band for time in times for band in bands]


def image_statistics(image: Image, target: Target, progress: Callable[[int, int], None]) -> list[dict[str, Any]]:
    """Compute an image tile by tile and keep nothing but its statistics, band by band."""
    from esd.engine.execute import region_for, run_tiles
    from esd.engine.plan import make_plan
    from esd.grid import sub_geobox

    image, region = region_for(image, target.geobox, target.resampling)
    plan = make_plan(image.expr, region, None, target.max_memory, threads=2)
    grid = plan.type.grid
    area = target.area(grid.crs) if grid is not None else None
    bands = [BandStatistics(name) for name in _band_names(image)]
    for number, (part, block) in enumerate(run_tiles(plan), start=1):
        valid = block.full_valid
        if area is not None and grid is not None:
            valid = valid & area.inside(sub_geobox(grid, part))
        flat_values, flat_valid = block.values.reshape(-1, *part.shape), valid.reshape(-1, *part.shape)
        for band, values, seen in zip(bands, flat_values, flat_valid, strict=True):
            band.add(values, seen)
        progress(number, len(plan.tiles))
    return [band.summary() for band in bands]


def nodata_of(image: Image) -> float | None:
    """Return a number for "no data" that the image itself does not use: the end of an integer's range."""
    dtype = image.type.dtype
    if dtype.kind == "u":
        return int(np.iinfo(dtype).max)
    return int(np.iinfo(dtype).min) if dtype.kind == "i" else None


def write_map(image: Image, path: Path, target: Target, progress: Callable[[int, int], None], **options: Any) -> Path:
    """Write an image as a Cloud Optimized GeoTIFF, clipped to the area where that is a polygon; whole or not at all."""
    options.setdefault("nodata", nodata_of(image))
    common = {"max_memory": target.max_memory, "resampling": target.resampling, "progress": progress, **options}
    grid = target.geobox or image.type.grid
    area = target.area(grid.crs) if grid is not None else None
    path.parent.mkdir(parents=True, exist_ok=True)
    if area is None:
        return image.to_geotiff(path, target.geobox, **common)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        whole = image.to_geotiff(Path(folder) / "whole.tif", target.geobox, **common)
        clipped = _clip(whole, Path(folder), area)
        clipped.replace(path)
    return path


def _strips(file: Any) -> Iterator[Any]:
    from rasterio.windows import Window

    for start in range(0, file.height, ROWS_AT_ONCE):
        yield Window(0, start, file.width, min(ROWS_AT_ONCE, file.height - start))


def _clip(whole: Path, folder: Path, area: Area) -> Path:
    """Write a copy of a GeoTIFF in which pixels outside of the area are no data."""
    import rasterio
    from odc.geo.geobox import GeoBox
    from rasterio.shutil import copy

    plain, final = folder / "plain.tif", folder / "clipped.tif"
    with rasterio.open(whole) as source:
        profile = {**source.profile, "driver": "GTiff", "compress": None}
        with rasterio.open(plain, "w", **profile) as file:
            for window in _strips(source):
                values = source.read(window=window)
                inside = area.inside(GeoBox(values.shape[1:], source.window_transform(window), source.crs))
                values[:, ~inside] = source.nodata
                file.write(values, window=window)
            for index, name in enumerate(source.descriptions, start=1):
                file.set_band_description(index, name)
            file.update_tags(**source.tags())
            if source.colorinterp[0].name == "palette":
                file.write_colormap(1, source.colormap(1))
    copy(plain, final, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=256, OVERVIEW_RESAMPLING="nearest")
    return final


def file_statistics(path: Path) -> list[dict[str, Any]]:
    """Return the statistics of a GeoTIFF's bands, read in strips."""
    import rasterio

    with rasterio.open(path) as file:
        bands = [BandStatistics(name or f"band {index}") for index, name in enumerate(file.descriptions, start=1)]
        for window in _strips(file):
            values = file.read(window=window, masked=True)
            for band, plane in zip(bands, values, strict=True):
                band.add(plane.data, ~np.ma.getmaskarray(plane))
    return [band.summary() for band in bands]


def preview(path: Path, png: Path) -> Path:
    """Paint a GeoTIFF as a PNG of at most 1024 pixels a side: one band by its ramp or palette, three as true colour.

    Raises BandError for any other number of bands.
    """
    import rasterio

    with rasterio.open(path) as file:
        if file.count not in (1, 3):
            raise BandError(f"--png needs one or three bands, the result has {file.count}; add .median() or select(...)")
        step = max(1, math.ceil(max(file.shape) / PREVIEW_PIXELS))
        shape = (file.count, math.ceil(file.height / step), math.ceil(file.width / step))
        values = file.read(out_shape=shape, masked=True)
        valid = np.asarray(~np.ma.getmaskarray(values).any(axis=0))
        paletted, name = file.colorinterp[0].name == "palette", file.descriptions[0] or ""
        colors = file.colormap(1) if paletted else {}
    if paletted:
        pixels = paint_classes(np.where(valid, values.data[0], 0), {**colors, 0: (0, 0, 0, 0)})
    elif len(values) == 3:
        pixels = true_color(values.data[0], values.data[1], values.data[2], valid)
    else:
        pixels = colorize(values.data[0], valid, ramp_of(name))
    return write_png(png, pixels)
