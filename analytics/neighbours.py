"""Windows around each pixel: their shapes, and how values are gathered or folded over them.

All folds run in an order that depends on the place in the window only, never on the place in a tile, so that a pixel's
result has the same bytes wherever tiles are cut. Planes are [y, x] and already widened by the radius on each side; results
are as much smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError, GridError
from esd.grid import pixel_size
from esd.space import CubeType, Space

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = [
    "SCRATCH_BYTES",
    "SHAPES",
    "area",
    "check_window",
    "fold",
    "gather",
    "gather_work",
    "half_widths",
    "metric_size",
    "offsets",
    "over_planes",
    "plane_work",
    "settle",
    "value_type",
]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
State = tuple[Array, ...]
Join = Callable[[State, State], State]

SHAPES = ("square", "circle", "diamond", "plus")
LARGEST_RADIUS = 50
SCRATCH_BYTES = 32 * 1024**2
"""Bytes that windows laid out side by side may take at a time."""


def check_window(name: str, radius: int, shape: str = "square", largest: int = LARGEST_RADIUS) -> None:
    """Raise ExpressionError for a window that does not exist or is too large."""
    if not 1 <= radius <= largest:
        raise ExpressionError(f"{name}: radius={radius} pixels is out of range; give 1 to {largest}")
    if shape not in SHAPES:
        raise ExpressionError(f"{name}: shape={shape!r} is not one of {', '.join(SHAPES)}")


def metric_size(name: str, grid: GeoBox) -> tuple[float, float]:
    """Return the height and width of a pixel in metres. Raises GridError for degrees."""
    if grid.crs is None or not grid.crs.projected:
        raise GridError(f"{name}: pixels of {grid.crs} are not in metres; .reproject_to a projected grid first")
    factor = float(grid.crs.proj.axis_info[0].unit_conversion_factor)
    width, height = pixel_size(grid)
    return height * factor, width * factor


def half_widths(radius: int, shape: str) -> list[int]:
    """Return how far the window reaches left and right in each of its rows, from the top."""
    rows = range(-radius, radius + 1)
    if shape == "circle":
        return [math.isqrt(radius**2 - row**2) for row in rows]
    if shape == "diamond":
        return [radius - abs(row) for row in rows]
    if shape == "plus":
        return [0 if row else radius for row in rows]
    return [radius] * (2 * radius + 1)


@lru_cache(maxsize=256)
def offsets(radius: int, shape: str) -> tuple[tuple[int, int], ...]:
    """Return the rows and columns of the window's pixels relative to its centre, row by row."""
    widths = half_widths(radius, shape)
    return tuple((row - radius, column) for row, width in enumerate(widths) for column in range(-width, width + 1))


def area(args: Mapping[str, Any]) -> int:
    """Return the number of pixels of the window that an operator's arguments describe."""
    return len(offsets(args["radius"], args.get("shape", "square")))


def _cut(state: State, rows: slice, columns: slice) -> State:
    return tuple(array[rows, columns] for array in state)


def _owned(state: State) -> State:
    return tuple(array.copy() for array in state)


def fold(state: State, radius: int, shape: str, join: Join) -> State:
    """Fold a window around each pixel with `join`, which may overwrite its first state; about 4 radius joins in all.

    Runs along a row grow from the middle by one pixel on each side; each row of the window takes the run of its width.
    """
    widths = half_widths(radius, shape)
    rows, columns = (length - 2 * radius for length in state[0].shape)
    total: State | None = None
    run = _owned(_cut(state, slice(None), slice(radius, radius + columns)))
    for width in range(max(widths) + 1):
        if width:
            run = join(run, _cut(state, slice(None), slice(radius - width, radius - width + columns)))
            run = join(run, _cut(state, slice(None), slice(radius + width, radius + width + columns)))
        for row in (row for row, reach in enumerate(widths) if reach == width):
            part = _cut(run, slice(row, row + rows), slice(None))
            total = _owned(part) if total is None else join(total, part)
    if total is None:
        raise ExpressionError("a window has at least one pixel")
    return total


def gather(planes: Sequence[Array], radius: int, shape: str) -> Iterator[tuple[slice, list[Array]]]:
    """Yield, for a few rows at a time, each plane's windows laid out as [pixel of the window, y, x]."""
    rows, columns = (length - 2 * radius for length in planes[0].shape)
    around = offsets(radius, shape)
    at_once = max(1, SCRATCH_BYTES // (32 * len(around) * max(columns, 1)))
    for start in range(0, rows, at_once):
        stop = min(start + at_once, rows)
        shifts = [(slice(start + radius + y, stop + radius + y), slice(radius + x, radius + x + columns)) for y, x in around]
        yield slice(start, stop), [np.stack([plane[shift] for shift in shifts]) for plane in planes]


def settle(values: Array) -> Array:
    """Give zeros and NaN one form: which zero or which NaN comes first depends on how a processor walks an array."""
    if values.dtype.kind == "f":
        values = values + values.dtype.type(0)
        values[np.isnan(values)] = np.nan
    return values


Plane = Callable[[Array, Mask], tuple[Array, Mask]]


def over_planes(image: Block, halo: int, dtype: np.dtype[Any], function: Plane) -> Block:
    """Apply a function of one plane and its validity, [y, x], to all times and bands; the result is `halo` smaller."""
    times, bands, rows, columns = image.values.shape
    shape = (times, bands, rows - 2 * halo, columns - 2 * halo)
    values, valid = np.empty(shape, dtype=dtype), np.empty(shape, dtype=bool)
    full = image.full_valid
    for time in range(times):
        for band in range(bands):
            plane, mask = function(image.values[time, band], full[time, band])
            values[time, band] = np.where(mask, plane, 0)
            valid[time, band] = mask
    return Block(settle(values), valid)


def plane_work(_types: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    """Bytes that an operator on planes works in: a dozen planes in double precision, one time and band after another."""
    return 12 * 8 * pixels


def gather_work(types: Sequence[CubeType], args: Mapping[str, Any], pixels: int) -> int:
    """Bytes of an operator that lays windows out side by side."""
    return plane_work(types, args, pixels) + SCRATCH_BYTES


def value_type(image: CubeType, dtype: np.dtype[Any] | None = None) -> CubeType:
    """Return the type of something computed from an image, of its own dtype where none is given."""
    return image.with_(dtype=image.dtype if dtype is None else dtype, space=Space.VALUE, encoder=None)
