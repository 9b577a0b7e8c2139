"""Operators that change the grid of an image without looking between its pixels: blocks of pixels made one, grids moved.

The engine knows them by name, like `reproject`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from .block import Block
from .errors import ExpressionError, GridError
from .grid import Region, make_geobox, region_of
from .operator import Tile, operator
from .reducer import get_reducer
from .space import CubeType, Space
from .structure import RESAMPLING, evaluated_by_engine

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from .expr import Expr

__all__ = ["AT_ONCE", "REGRIDDING", "finer", "reduce_blocks", "resampling_of", "without_default"]

REGRIDDING = frozenset({"reproject", "reduce_all", "reduce_resolution", "change_proj", "super_resolve"})
"""Operators whose result is on another grid than their input."""
LARGEST_FACTOR = 1000
AT_ONCE = 1024**2
"""Pixels of the input that blocks are made of at a time, at most: more are computed part by part."""


def resampling_of(expr: Expr) -> str:
    """Return how an image asks to be put on another grid (`resample`), else "nearest"."""
    while expr.op == "set_properties":
        expr = expr.src[0]
    return str(expr.args["method"]) if expr.op == "resample" else "nearest"


def without_default(expr: Expr) -> Expr:
    """Return an expression without the grid that it was given where none is asked for (`set_default_projection`)."""
    while expr.op == "set_default_projection":
        expr = expr.src[0]
    return expr


def check_method(name: str, given: CubeType, method: str) -> None:
    """Raise ExpressionError for an unknown way to resample."""
    if method not in RESAMPLING:
        raise ExpressionError(f"{name}: {method!r} is not one of {', '.join(RESAMPLING)}; the image is {given.describe()}")


def _grid(name: str, image: CubeType) -> GeoBox:
    if image.grid is None:
        raise GridError(f"{name}: a constant has no grid; use an image of a cube")
    return image.grid


def _change_rule(image: CubeType, *, crs: str, transform: tuple[float, ...]) -> CubeType:
    from .geometry import crs_of

    if len(transform) != 6 or not all(np.isfinite(transform)) or Affine(*transform).determinant == 0:
        raise GridError(f"change_proj: transform={transform} is not six numbers of an affine transform with an area")
    if crs:
        crs_of(crs)
    rows, columns = _grid("change_proj", image).shape
    return image.with_(grid=make_geobox((rows, columns), Affine(*transform), crs or None))


@operator("grid", Tile.STRUCTURE, _change_rule, Space.ANY)
def change_proj(image: Block, crs: str, transform: tuple[float, ...]) -> Block:
    """The same pixels said to lie on another grid: a CRS, and an affine transform (six numbers) from pixels to it.

    Nothing is resampled; `reproject` does that. Rows and columns, times, bands and validity stay. Raises GridError for a
    system that is not understood or a transform without an area.
    """
    return evaluated_by_engine(image, crs=crs, transform=transform)


def _reduce_rule(image: CubeType, *, factor: int, reducer: str, min_valid: float) -> CubeType:
    if not 2 <= factor <= LARGEST_FACTOR:
        raise ExpressionError(f"reduce_resolution: factor={factor} is out of range; give 2 to {LARGEST_FACTOR} pixels")
    if not 0 <= min_valid <= 1:
        raise ExpressionError(f"reduce_resolution: min_valid={min_valid:g} is no share; give 0 to 1")
    grid, found = _grid("reduce_resolution", image), get_reducer(reducer)
    probe, _valid = found(np.zeros((1, 1), dtype=image.dtype), np.ones((1, 1), dtype=bool))
    shape = tuple(-(-side // factor) for side in grid.shape)
    coarse = make_geobox((shape[0], shape[1]), grid.affine @ Affine.scale(factor), grid.crs)
    kept = found.keeps_space
    space, encoder = (image.space, image.encoder) if kept else (Space.VALUE, None)
    return image.with_(grid=coarse, dtype=probe.dtype, space=space, encoder=encoder)


@operator("grid", Tile.STRUCTURE, _reduce_rule, Space.NUMBER, example='image.ndvi().median().reduce_resolution(4, "mean")')
def reduce_resolution(image: Block, factor: int, reducer: str = "mean", min_valid: float = 0.5) -> Block:
    """Make blocks of `factor` by `factor` pixels one pixel, by any reducer of the valid ones; times and bands stay.

    The grid keeps its upper left corner. A pixel is valid where at least the share `min_valid` (0 to 1) of its block is,
    and where the reducer gives a number; pixels beyond the edge of the grid count as not valid. Exact: no pixel is left
    out, whatever the tiles. Raises ExpressionError for a factor below 2 or above 1,000, or an unknown reducer.
    """
    return evaluated_by_engine(image, factor=factor, reducer=reducer, min_valid=min_valid)


def finer(region: Region, factor: int, grid: GeoBox) -> Region:
    """Return the region of a grid that a region of the one of its blocks is made of."""
    return Region(*(edge * factor for edge in (region.y0, region.y1, region.x0, region.x1))).intersect(region_of(grid))


def _blocks(array: npt.NDArray[Any], factor: int, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Return [time, band, y, x] as [pixel of the block, time, band, y, x]; what is missing at the edge is 0."""
    times, bands, rows, columns = array.shape
    around = ((0, 0), (0, 0), (0, shape[0] * factor - rows), (0, shape[1] * factor - columns))
    padded = np.pad(array, around).reshape(times, bands, shape[0], factor, shape[1], factor)
    return np.ascontiguousarray(padded.transpose(3, 5, 0, 1, 2, 4)).reshape(factor**2, times, bands, *shape)


def _reduced(block: Block, factor: int, shape: tuple[int, int], reducer: str, min_valid: float) -> Block:
    valid = _blocks(block.full_valid, factor, shape)
    values, known = get_reducer(reducer)(_blocks(block.values, factor, shape), valid)
    enough = valid.sum(axis=0) >= min_valid * factor**2
    return Block(np.where(known & enough, values, 0).astype(values.dtype, copy=False), known & enough)


def reduce_blocks(
    evaluate: Callable[[Region], Block], grid: GeoBox, region: Region, factor: int, reducer: str, min_valid: float
) -> Block:
    """Return a region of the result of `reduce_resolution`, of what `evaluate` computes of regions of `grid`."""
    from .grid import tiles

    parts: list[tuple[Region, Block]] = []
    for part in tiles(region, max(1, int(AT_ONCE**0.5) // factor)):
        found = evaluate(finer(part, factor, grid))
        parts.append((part, _reduced(found, factor, part.shape, reducer, min_valid)))
    if len(parts) == 1:
        return parts[0][1]
    first = parts[0][1].values
    values = np.zeros((*first.shape[:2], *region.shape), dtype=first.dtype)
    valid = np.zeros(values.shape, dtype=bool)
    for part, block in parts:
        inside = (..., *part.within(region))
        values[inside], valid[inside] = block.values, block.valid
    return Block(values, valid)
