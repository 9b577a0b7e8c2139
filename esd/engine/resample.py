"""Reprojection by exact coordinates: each pixel of the result is found by its own centre.

GDAL's warper approximates the transformation tile by tile, so that a result depends on where a tile was cut; here it does
not, which is why these few lines stand beside a library that does more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from affine import Affine

from esd.block import Block
from esd.errors import GridError
from esd.grid import Region, equal_crs, has_crs, region_of, tiles

if TYPE_CHECKING:
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox
    from pyproj import Transformer

__all__ = ["footprint_region", "resample", "resample_from", "source_positions", "source_region"]

Positions = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
WHOLE_PIXELS = 1024**2
"""Pixels of the source that are computed at once at most; more are computed part by part, so that memory stays bounded."""
PART = 512


@lru_cache(maxsize=32)
def _transformer(source: CRS, target: CRS) -> Transformer:
    from pyproj import Transformer

    return Transformer.from_crs(source.proj, target.proj, always_xy=True)


def source_positions(source: GeoBox, target: GeoBox, region: Region) -> Positions:
    """Return where the pixel centres of a region of `target` fall in `source`: rows and columns in pixels, centres at .5."""
    if not (has_crs(source) and has_crs(target)):
        raise GridError("reproject: both grids need a coordinate system")
    rows, columns = np.meshgrid(np.arange(region.y0, region.y1) + 0.5, np.arange(region.x0, region.x1) + 0.5, indexing="ij")
    affine: Affine = target.affine
    x, y = affine @ (columns, rows)
    if not equal_crs(source, target):
        x, y = _transformer(target.crs, source.crs).transform(x, y)
    with np.errstate(invalid="ignore"):  # points that the projection cannot show come back infinite
        source_columns, source_rows = ~source.affine @ (x, y)
    return np.asarray(source_rows), np.asarray(source_columns)


def source_region(source: GeoBox, positions: Positions, method: str = "bilinear") -> Region:
    """Return the region of `source` that holds the positions and the pixels that a method looks at; may be of size 0."""
    rows, columns = (np.where(np.isfinite(axis), axis, -1e9) for axis in positions)
    inside = (rows > -1) & (rows < source.shape.y + 1) & (columns > -1) & (columns < source.shape.x + 1)
    if not inside.any():
        return Region(0, 0, 0, 0)
    bounds = [int(np.floor(axis[inside].min())) - 1 for axis in (rows, columns)]
    ends = [int(np.ceil(axis[inside].max())) + 2 for axis in (rows, columns)]
    found = Region(bounds[0], ends[0], bounds[1], ends[1])
    return found.grow(1 if method == "bicubic" else 0).intersect(region_of(source))


def _gather(block: Block, region: Region, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> Block:
    """Pick pixels by their row and column in the source grid; those outside the block are not valid."""
    inside = (rows >= region.y0) & (rows < region.y1) & (columns >= region.x0) & (columns < region.x1)
    local_rows = np.where(inside, rows - region.y0, 0)
    local_columns = np.where(inside, columns - region.x0, 0)
    return Block(block.values[:, :, local_rows, local_columns], block.valid[:, :, local_rows, local_columns] & inside)


def resample(block: Block, region: Region, positions: Positions, method: str) -> Block:
    """Sample a block that covers `region` of the source grid at positions, `nearest`, `bilinear` or `bicubic`.

    Nearest takes the pixel that holds the position. Bilinear weighs the four pixel centres around it by their distance and
    leaves out those that are not valid; where none is valid the result is not. Bicubic weighs sixteen, some of them
    negative, so that leaving one out would have no meaning: where one of them is not valid it is bilinear.
    """
    rows, columns = (np.where(np.isfinite(axis), axis, -1e9) for axis in positions)
    if region.size == 0:
        shape = (*block.values.shape[:2], *rows.shape)
        return Block(np.zeros(shape, dtype=block.values.dtype), np.zeros((1, 1, *rows.shape), dtype=bool))
    if method == "nearest":
        return _gather(block, region, np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64))
    if method == "bicubic":
        return _bicubic(block, region, rows, columns)
    return _bilinear(block, region, rows, columns)


def _bilinear(block: Block, region: Region, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> Block:
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


def _cubic_weights(share: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    """Weights of the pixels at -1, 0, 1 and 2 of a position `share` (0 to 1) after 0. Source: Keys (1981), a = -1/2."""
    t = share
    return [
        t * (-0.5 + t * (1 - 0.5 * t)),
        1 + t * t * (1.5 * t - 2.5),
        t * (0.5 + t * (2 - 1.5 * t)),
        t * t * (0.5 * t - 0.5),
    ]


def _bicubic(block: Block, region: Region, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> Block:
    top, left = np.floor(rows - 0.5), np.floor(columns - 0.5)
    down, right = _cubic_weights(rows - 0.5 - top), _cubic_weights(columns - 0.5 - left)
    total, whole = np.zeros((), dtype=np.float64), np.ones((), dtype=bool)
    for dy in range(4):
        for dx in range(4):
            pixel = _gather(block, region, (top + dy - 1).astype(np.int64), (left + dx - 1).astype(np.int64))
            total = total + np.where(pixel.full_valid, pixel.values, 0) * (down[dy] * right[dx])
            whole = whole & pixel.full_valid
    if whole.all():
        return Block(total.astype(block.values.dtype), whole)
    plain = _bilinear(block, region, rows, columns)
    return Block(np.where(whole, total, plain.values).astype(block.values.dtype), plain.valid)


def footprint_region(source: GeoBox, target: GeoBox) -> Region:
    """Return a region of `source` that holds all that `target` covers, with some margin; of size 0 where they lie apart."""
    whole = region_of(target)
    rows = [Region(y, y + 1, 0, whole.x1) for y in (0, whole.y1 - 1)]
    columns = [Region(0, whole.y1, x, x + 1) for x in (0, whole.x1 - 1)]
    places = [source_positions(source, target, edge) for edge in (*rows, *columns)]
    edge_rows, edge_columns = (np.concatenate([place[axis].ravel() for place in places]) for axis in (0, 1))
    if not (np.isfinite(edge_rows).all() and np.isfinite(edge_columns).all()):
        return region_of(source)
    spans = [(float(axis.min()), float(axis.max())) for axis in (edge_rows, edge_columns)]
    pixel = max((high - low) / max(min(target.shape) - 1, 1) for low, high in spans)
    (y0, y1), (x0, x1) = ((int(low - pixel) - 2, int(high + pixel) + 3) for low, high in spans)
    return Region(y0, y1, x0, x1).intersect(region_of(source))


def resample_from(evaluate: Callable[[Region], Block], source: GeoBox, positions: Positions, method: str) -> Block:
    """Sample what `evaluate` computes of regions of the grid `source` at positions; see `resample`.

    Where the positions span much of the source, as those of a small map of a large area do, it is computed part by part and
    only the parts that a position falls in: the result is the same.
    """
    needed = source_region(source, positions, method)
    if needed.size <= WHOLE_PIXELS:
        return resample(evaluate(needed if needed.size else Region(0, 1, 0, 1)), needed, positions, method)
    shift = 0.0 if method == "nearest" else 0.5
    axes = [np.where(np.isfinite(axis), axis, -1e9) for axis in positions]
    rows, columns = (np.floor(axis - shift).astype(np.int64) for axis in axes)
    lost = (rows < -1) | (rows > source.shape.y) | (columns < -1) | (columns > source.shape.x)
    rows, columns = np.clip(rows, needed.y0, needed.y1 - 1), np.clip(columns, needed.x0, needed.x1 - 1)
    values = valid = None
    for part in tiles(needed, PART):
        here = (rows >= part.y0) & (rows < part.y1) & (columns >= part.x0) & (columns < part.x1) & ~lost
        if not here.any():
            continue
        held = Region(rows[here].min(), rows[here].max() + 1, columns[here].min(), columns[here].max() + 1)
        held = (
            Region(*(int(edge) for edge in (held.y0, held.y1, held.x0, held.x1)))
            .grow(2 if method == "bicubic" else 1)
            .intersect(region_of(source))
        )
        sampled = resample(evaluate(held), held, (positions[0][here], positions[1][here]), method)
        if values is None or valid is None:
            shape = (*sampled.values.shape[:2], *rows.shape)
            values, valid = np.zeros(shape, dtype=sampled.values.dtype), np.zeros(shape, dtype=bool)
        values[:, :, here], valid[:, :, here] = sampled.values, sampled.full_valid
    if values is None or valid is None:
        return resample(evaluate(Region(0, 1, 0, 1)), Region(0, 0, 0, 0), positions, method)
    return Block(values, valid)
