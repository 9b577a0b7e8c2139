"""Reprojection by exact coordinates: each pixel of the result is found by its own centre.

GDAL's warper approximates the transformation tile by tile, so that a result depends on where a tile was cut; here it does
not, which is why these few lines stand beside a library that does more.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from esd.block import Block
from esd.errors import GridError
from esd.grid import Region, region_of

__all__ = ["resample", "source_positions", "source_region"]

Positions = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@lru_cache(maxsize=32)
def _transformer(source: CRS, target: CRS) -> Transformer:
    return Transformer.from_crs(source.proj, target.proj, always_xy=True)


def source_positions(source: GeoBox, target: GeoBox, region: Region) -> Positions:
    """Return where the pixel centres of a region of `target` fall in `source`: rows and columns in pixels, centres at .5."""
    if source.crs is None or target.crs is None:
        raise GridError("reproject: both grids need a coordinate system")
    rows, columns = np.meshgrid(np.arange(region.y0, region.y1) + 0.5, np.arange(region.x0, region.x1) + 0.5, indexing="ij")
    affine: Affine = target.affine
    x, y = affine @ (columns, rows)
    if source.crs != target.crs:
        x, y = _transformer(target.crs, source.crs).transform(x, y)
    source_columns, source_rows = ~source.affine @ (x, y)
    return np.asarray(source_rows), np.asarray(source_columns)


def source_region(source: GeoBox, positions: Positions) -> Region:
    """Return the region of `source` that holds the positions and the pixels beside them; may be of size 0."""
    rows, columns = (np.where(np.isfinite(axis), axis, -1e9) for axis in positions)
    inside = (rows > -1) & (rows < source.shape.y + 1) & (columns > -1) & (columns < source.shape.x + 1)
    if not inside.any():
        return Region(0, 0, 0, 0)
    bounds = [int(np.floor(axis[inside].min())) - 1 for axis in (rows, columns)]
    ends = [int(np.ceil(axis[inside].max())) + 2 for axis in (rows, columns)]
    return Region(bounds[0], ends[0], bounds[1], ends[1]).intersect(region_of(source))


def _gather(block: Block, region: Region, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> Block:
    """Pick pixels by their row and column in the source grid; those outside the block are not valid."""
    inside = (rows >= region.y0) & (rows < region.y1) & (columns >= region.x0) & (columns < region.x1)
    local_rows = np.where(inside, rows - region.y0, 0)
    local_columns = np.where(inside, columns - region.x0, 0)
    return Block(block.values[:, :, local_rows, local_columns], block.valid[:, :, local_rows, local_columns] & inside)


def resample(block: Block, region: Region, positions: Positions, method: str) -> Block:
    """Sample a block that covers `region` of the source grid at positions, `nearest` or `bilinear`.

    Nearest takes the pixel that holds the position. Bilinear weighs the four pixel centres around it by their distance and
    leaves out those that are not valid; where none is valid the result is not.
    """
    rows, columns = (np.where(np.isfinite(axis), axis, -1e9) for axis in positions)
    if region.size == 0:
        shape = (*block.values.shape[:2], *rows.shape)
        return Block(np.zeros(shape, dtype=block.values.dtype), np.zeros((1, 1, *rows.shape), dtype=bool))
    if method == "nearest":
        return _gather(block, region, np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64))
    top, left = np.floor(rows - 0.5), np.floor(columns - 0.5)
    down, right = (rows - 0.5 - top), (columns - 0.5 - left)
    total = weight_sum = np.zeros((), dtype=np.float64)
    for dy, dx, weight in (
        (0, 0, (1 - down) * (1 - right)),
        (0, 1, (1 - down) * right),
        (1, 0, down * (1 - right)),
        (1, 1, down * right),
    ):
        corner = _gather(block, region, (top + dy).astype(np.int64), (left + dx).astype(np.int64))
        counted = corner.full_valid * weight
        total = total + np.where(corner.full_valid, corner.values, 0) * counted
        weight_sum = weight_sum + counted
    valid = weight_sum > 0
    values = np.where(valid, total / np.where(valid, weight_sum, 1), 0)
    return Block(values.astype(block.values.dtype), valid)
