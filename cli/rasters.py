"""Rasters as verbs hand them out: GeoTIFFs clipped to an area, their statistics, and PNG previews."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from esd.colors import paint, write_png
from esd.grid import aligned

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from esd.image import Image

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

    @property
    def options(self) -> dict[str, Any]:
        """The options of `Image.to_geotiff` and `Image.to_zarr` that stand for this target."""
        return {"max_memory": self.max_memory, "resampling": self.resampling}

    def clipped(self, image: Image) -> Image:
        """Return the image with the pixels outside of the area not valid, on the grid asked for if the area is a polygon.

        The mask takes a byte for each pixel of that grid, which is no larger than the box around the area.
        """
        from esd.image import from_array
        from esd.ingest.aoi import Area

        own = image.type.grid
        grid = own if self.geobox is None else self.geobox
        if self.aoi is None or own is None or grid is None or grid.crs is None:
            return image
        area = Area.parse(self.aoi, grid.crs.to_wkt())
        if not area.exact:
            return image
        placed = image if grid == own else image.reproject_to(grid, "nearest" if aligned(own, grid) else self.resampling)
        return placed.update_mask(from_array(area.inside(grid), grid))


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

    image, region = region_for(target.clipped(image), target.geobox, target.resampling)
    plan = make_plan(image.expr, region, None, target.max_memory, threads=2)
    bands = [BandStatistics(name) for name in _band_names(image)]
    for number, (part, block) in enumerate(run_tiles(plan), start=1):
        flat_values, flat_valid = block.values.reshape(-1, *part.shape), block.full_valid.reshape(-1, *part.shape)
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
    return target.clipped(image).to_geotiff(path, target.geobox, **target.options, progress=progress, **options)


def _strips(file: Any) -> Iterator[Any]:
    from rasterio.windows import Window

    for start in range(0, file.height, ROWS_AT_ONCE):
        yield Window(0, start, file.width, min(ROWS_AT_ONCE, file.height - start))


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
        step = max(1, math.ceil(max(file.shape) / PREVIEW_PIXELS))
        shape = (file.count, math.ceil(file.height / step), math.ceil(file.width / step))
        values = file.read(out_shape=shape, masked=True)
        valid = np.asarray(~np.ma.getmaskarray(values).any(axis=0))
        colors = file.colormap(1) if file.colorinterp[0].name == "palette" else None
        names = [name or "" for name in file.descriptions]
    return write_png(png, paint(values.data, valid, names, colors))
