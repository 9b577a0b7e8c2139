"""The landscape as MODIS sees it: MOD09A1 composites, written as GeoTIFF.

Form: `MOD09A1.AYYYYDDD.h18v04.061.tif`, ONE int32 GeoTIFF of eight bands with the descriptions sur_refl_b01 .. b07
(x 0.0001, fill -28672, valid -100..16000) and sur_refl_state_500m (bits of the MOD09 User's Guide, table 13; fill
65535), on the part of the sinusoidal tile's 463.3 m grid that the landscape covers.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from .product_writer import write_raster
from .weather import Clouds

__all__ = ["SINUSOIDAL", "ModisGrid", "composite_days", "modis_grid", "state_bits", "write_composite"]

Floats = npt.NDArray[np.float32]

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
TILE_METRES = 1111950.5196666666
TILE_PIXELS = 2400
PIXEL_METRES = TILE_METRES / TILE_PIXELS
WEST_METRES, NORTH_METRES = -18 * TILE_METRES, 9 * TILE_METRES
COMPOSITE_DAYS = 8
FIRST_COMPOSITE = dt.date(2000, 2, 18)
FILL, STATE_FILL = -28672, 65535
MIN_COVERAGE = 0.6
"""Share of a pixel that the landscape must cover for the pixel to hold a value."""
BAND_NAMES = (*(f"sur_refl_b0{number}" for number in range(1, 8)), "sur_refl_state_500m")
NOISE = 0.0025
LAND, INLAND_WATER, LOW_AEROSOL, INTERNAL_CLOUD = 0b001 << 3, 0b011 << 3, 0b01 << 6, 1 << 10


@dataclass(frozen=True)
class ModisGrid:
    """The part of a MODIS tile over a landscape, and which of its pixels each landscape pixel falls into."""

    geobox: GeoBox
    tile: str
    cell: npt.NDArray[np.int64]
    """Number of the MODIS pixel, row by row, under each landscape pixel [y, x]."""
    covered: npt.NDArray[np.bool_]
    """True where the landscape covers enough of a MODIS pixel [y, x]."""

    def mean(self, values: npt.NDArray[np.generic]) -> Floats:
        """Return the mean of landscape values [y, x] inside of each MODIS pixel [y, x]; 0 where there are none."""
        cells = self.covered.size
        count = np.bincount(self.cell.ravel(), minlength=cells)
        total = np.bincount(self.cell.ravel(), values.ravel().astype(np.float64), minlength=cells)
        return (total / np.maximum(count, 1)).reshape(self.covered.shape).astype(np.float32)


def modis_grid(geobox: GeoBox) -> ModisGrid:
    """Return the MODIS pixels over a grid; the tile's name is that of the grid's first pixel."""
    columns, rows = np.meshgrid(np.arange(geobox.shape.x) + 0.5, np.arange(geobox.shape.y) + 0.5)
    x, y = geobox.affine @ (columns, rows)
    assert geobox.crs is not None
    x, y = Transformer.from_crs(geobox.crs.proj, SINUSOIDAL, always_xy=True).transform(x, y)
    column = np.floor((np.asarray(x) - WEST_METRES) / PIXEL_METRES).astype(np.int64)
    row = np.floor((NORTH_METRES - np.asarray(y)) / PIXEL_METRES).astype(np.int64)
    tile = f"h{int(column[0, 0]) // TILE_PIXELS:02d}v{int(row[0, 0]) // TILE_PIXELS:02d}"
    left, top = int(column.min()), int(row.min())
    shape = (int(row.max()) - top + 1, int(column.max()) - left + 1)
    affine = Affine(PIXEL_METRES, 0, WEST_METRES + left * PIXEL_METRES, 0, -PIXEL_METRES, NORTH_METRES - top * PIXEL_METRES)
    cell = (row - top) * shape[1] + column - left
    whole = PIXEL_METRES**2 / abs(geobox.affine.a * geobox.affine.e)
    covered = np.bincount(cell.ravel(), minlength=shape[0] * shape[1]).reshape(shape) >= MIN_COVERAGE * whole
    return ModisGrid(GeoBox(shape, affine, SINUSOIDAL), tile, cell, covered)


def composite_days(years: tuple[int, int]) -> list[dt.date]:
    """Return the first days of the 8-day composites of the years (first, last): days 1, 9, .. 361 of each."""
    days = [
        dt.date(year, 1, 1) + dt.timedelta(days=offset)
        for year in range(years[0], years[1] + 1)
        for offset in range(0, 361, COMPOSITE_DAYS)
    ]
    return [day for day in days if day >= FIRST_COMPOSITE]


def state_bits(grid: ModisGrid, clouds: Clouds, water: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Return state flags [y, x]: cloudy above half cover, mixed above 15 %, shadow, water or land, low aerosol."""
    cloud, shadow = grid.mean(clouds.detected), grid.mean(clouds.shadow_detected)
    state = np.where(cloud > 0.5, 1 | INTERNAL_CLOUD, np.where(cloud > 0.15, 2, 0))
    state |= np.where(shadow > 0.4, 1 << 2, 0)
    state |= np.where(grid.mean(water) > 0.5, INLAND_WATER, LAND) | LOW_AEROSOL
    return np.where(grid.covered, state, STATE_FILL).astype(np.int32)


def write_composite(
    folder: Path, grid: ModisGrid, day: dt.date, reflectance: Floats, clouds: Clouds, water: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> Path:  # fmt: skip
    """Write the composite that starts on `day` from what is seen [6, y, x] of the landscape; return its path."""
    means = np.stack([grid.mean(band) for band in reflectance])
    seen = means * rng.normal(1, 0.015, (6, 1, 1)) + rng.normal(0, NOISE, means.shape)
    blue, green, red, nir, swir1, swir2 = seen
    band5 = 0.62 * nir + 0.42 * swir1
    numbers = np.rint(np.clip(np.stack([red, nir, blue, green, band5, swir1, swir2]), -0.01, 1.6) * 10_000)
    numbers = np.where(grid.covered, numbers, FILL).astype(np.int32)
    path = folder / f"MOD09A1.A{day:%Y%j}.{grid.tile}.061.tif"
    bands = np.concatenate([numbers, state_bits(grid, clouds, water)[None]])
    write_raster(
        path,
        bands,
        grid.geobox,
        nodata=FILL,
        descriptions=BAND_NAMES,
        tiled=False,
        blockxsize=None,
        blockysize=None,
        interleave="band",
        tags={"scale_factor": "0.0001", "valid_range": "-100, 16000"},
    )
    return path
