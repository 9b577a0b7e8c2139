"""The times of a pixel as an array: sorted, searched, added up, interpolated. Positions count from 0.

openEO's arrays have no missing end: what its `sort` and `order` drop is here at the end of the array and not valid.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType, Space
from esd.structure import common_grid

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
NODATA = ("remove", "first", "last")
WHOLE_SERIES = "needs all times of a pixel at once"


def _computed(image: CubeType, dtype: npt.DTypeLike | None = None) -> CubeType:
    return image.with_(dtype=np.dtype(image.dtype if dtype is None else dtype), space=Space.VALUE, encoder=None)


def _transposed(image: CubeType) -> CubeType:
    return _computed(image).with_(time=image.bands, bands=image.time)


@operator("array", Tile.ARRAY, _transposed, interpreted="moves numbers and computes none")
def array_transpose(image: Block) -> Block:
    """Exchange times and bands: the rows and columns of the matrix that each pixel is."""
    return Block(image.values.swapaxes(0, 1), image.valid.swapaxes(0, 1))


def _rearranged(image: CubeType, *, order: tuple[int, ...]) -> CubeType:
    last = len(image.time) - 1
    if not order or not all(isinstance(place, int) and 0 <= place <= last for place in order):
        raise ExpressionError(f"rearrange: order={order} must hold positions of the {last + 1} times, 0 to {last}")
    return image.with_(time=tuple(image.time[place] for place in order))


@operator("array", Tile.TIME, _rearranged, openeo="rearrange", interpreted="moves numbers and computes none")
def rearrange(image: Block, order: tuple[float, ...]) -> Block:
    """The times at these positions, in this order; a position may come more than once."""
    return image.pick(times=[int(place) for place in order])


@composite("array", openeo="array_element")
def array_element(image: Image, index: int) -> Image:
    """The time at a position; negative ones count from the end."""
    times = len(image.type.time)
    if not -times <= index < times:
        raise ExpressionError(f"array_element: index={index} is outside of the {times} times; give {-times} to {times - 1}")
    return call("rearrange", image, (index % times,))


@composite("array")
def array_slice(image: Image, start: int = 0, end: int | None = None, step: int = 1) -> Image:
    """The times start, start + step, ... before `end`, counted as Python counts in slices."""
    order = tuple(range(len(image.type.time))[slice(start, end, step)])
    if not order:
        raise ExpressionError(f"array_slice: {start}:{end}:{step} holds none of the {len(image.type.time)} times")
    return call("rearrange", image, order)


@composite("array")
def array_repeat(image: Image, copies: int) -> Image:
    """All times, so many times over."""
    if not 1 <= copies <= 1000:
        raise ExpressionError(f"array_repeat: copies={copies} is out of range; give 1 to 1000")
    return call("rearrange", image, tuple(range(len(image.type.time))) * copies)


@composite("array")
def array_dot(a: Image, b: Image) -> Image:
    """Sum over time of the products of two images; times where one is not valid do not count."""
    return call("reduce", a * b, "sum")


def _positions(values: Array, valid: Mask, ascending: bool, first: bool) -> Array:
    """Return the positions that sort each series, ties in their order; what is not valid last, or first."""
    if ascending:
        order = np.argsort(values, axis=0, kind="stable")
    else:
        order = len(values) - 1 - np.argsort(values[::-1], axis=0, kind="stable")[::-1]
    missing = np.take_along_axis(~valid, order, axis=0)
    return np.take_along_axis(order, np.argsort(~missing if first else missing, axis=0, kind="stable"), axis=0)


def _check_nodata(name: str, nodata: str) -> None:
    if nodata not in NODATA:
        raise ExpressionError(f"{name}: nodata={nodata!r} is not one of {', '.join(NODATA)}")


def _sorted_rule(image: CubeType, *, nodata: str, **_args: Any) -> CubeType:
    _check_nodata("sort", nodata)
    return image


@operator("array", Tile.TIME, _sorted_rule, openeo="sort", interpreted=WHOLE_SERIES)
def sort(image: Block, asc: bool = True, nodata: str = "remove") -> Block:
    """The numbers of each series in order, ascending or not; NaN counts as larger than all others.

    What is not valid comes at the end (`remove`, `last`) or at the start (`first`).
    """
    valid = image.full_valid
    order = _positions(image.values, valid, asc, nodata == "first")
    known = np.take_along_axis(valid, order, axis=0)
    return Block(np.where(known, np.take_along_axis(image.values, order, axis=0), 0).astype(image.values.dtype), known)


def _order_rule(image: CubeType, *, nodata: str, **_args: Any) -> CubeType:
    _check_nodata("order", nodata)
    return _computed(image, np.int64)


@operator("array", Tile.TIME, _order_rule, openeo="order", interpreted=WHOLE_SERIES)
def order(image: Block, asc: bool = True, nodata: str = "remove") -> Block:
    """The positions that sort each series, ascending or not, ties in their order.

    Positions of what is not valid are themselves not valid and at the end (`remove`), or valid and last or first.
    """
    valid = image.full_valid
    found = _positions(image.values, valid, asc, nodata == "first").astype(np.int64)
    return Block(found, np.take_along_axis(valid, found, axis=0) if nodata == "remove" else np.ones_like(valid))


@operator("array", Tile.TIME, lambda image: image, interpreted=WHOLE_SERIES)
def array_compact(image: Block) -> Block:
    """Move what is valid to the start of each series, in its order."""
    valid = image.full_valid
    places = np.argsort(~valid, axis=0, kind="stable")
    known = np.take_along_axis(valid, places, axis=0)
    return Block(np.where(known, np.take_along_axis(image.values, places, axis=0), 0).astype(image.values.dtype), known)


def _find_rule(image: CubeType, value: CubeType, **_args: Any) -> CubeType:
    found = _computed(image, np.int64).with_(grid=common_grid("array_find", (image, value)), time=image.time[:1])
    if len(value.time) > 1:
        raise ExpressionError(f"array_find: the value has {len(value.time)} times, only one can be looked for")
    return found


@operator("array", Tile.TIME, _find_rule, openeo="array_find", interpreted=WHOLE_SERIES)
def array_find(image: Block, value: Block, reverse: bool = False) -> Block:
    """Position of the first time (or last, with `reverse`) that is valid and equal to a value; not valid where none is."""
    same = (image.values == value.values) & image.valid & value.valid
    place = len(same) - 1 - same[::-1].argmax(axis=0) if reverse else same.argmax(axis=0)
    found = same.any(axis=0)
    return Block(np.where(found, place, 0).astype(np.int64)[None], found[None])


@composite("array", openeo="array_contains")
def array_contains(image: Image, value: Image) -> Image:
    """Whether a value is among the valid times; false where the value is not valid."""
    return call("is_valid", call("array_find", image, value))


def _running_type(image: CubeType, **_args: Any) -> CubeType:
    widened = np.result_type(image.dtype, np.float32) if image.dtype.kind == "f" else np.dtype(np.int64)
    return _computed(image, widened)


def _running(image: Block, start: float, join: Callable[[Array, Array], Array], ignore_nodata: bool) -> Block:
    valid = image.full_valid
    dtype = np.dtype(np.float64 if image.values.dtype.kind == "f" else np.int64)
    total = np.full(image.values.shape[1:], start, dtype=dtype)
    out = np.empty(image.values.shape, dtype=_running_type_of(image.values.dtype))
    for time, (plane, known) in enumerate(zip(image.values, valid, strict=True)):
        total = np.where(known, join(total, plane.astype(dtype)), total)
        out[time] = np.where(known, total, 0)
    return Block(out, valid if ignore_nodata else np.logical_and.accumulate(valid, axis=0))


def _running_type_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.result_type(dtype, np.float32) if dtype.kind == "f" else np.dtype(np.int64)


@operator("array", Tile.TIME, _running_type, openeo="cumsum", interpreted=WHOLE_SERIES)
def cumsum(image: Block, ignore_nodata: bool = True) -> Block:
    """Running sum: each time plus all before it, float64 inside. What is not valid is passed over and stays so.

    Without `ignore_nodata` all that follows something not valid is not valid.
    """
    return _running(image, 0, np.add, ignore_nodata)


@operator("array", Tile.TIME, _running_type, openeo="cumproduct", interpreted=WHOLE_SERIES)
def cumproduct(image: Block, ignore_nodata: bool = True) -> Block:
    """Running product; what is not valid is as in `cumsum`."""
    return _running(image, 1, np.multiply, ignore_nodata)


def _running_extreme(image: Block, smallest: bool, ignore_nodata: bool) -> Block:
    dtype = np.dtype(np.float64 if image.values.dtype.kind == "f" else np.int64)
    largest: float = np.inf if dtype.kind == "f" else np.iinfo(np.int64).max
    least: float = -np.inf if dtype.kind == "f" else np.iinfo(np.int64).min
    return _running(image, largest if smallest else least, np.minimum if smallest else np.maximum, ignore_nodata)


@operator("array", Tile.TIME, _running_type, openeo="cummin", interpreted=WHOLE_SERIES)
def cummin(image: Block, ignore_nodata: bool = True) -> Block:
    """The smallest number so far; what is not valid is as in `cumsum`."""
    return _running_extreme(image, True, ignore_nodata)


@operator("array", Tile.TIME, _running_type, openeo="cummax", interpreted=WHOLE_SERIES)
def cummax(image: Block, ignore_nodata: bool = True) -> Block:
    """The largest number so far; what is not valid is as in `cumsum`."""
    return _running_extreme(image, False, ignore_nodata)


def _interpolated_type(image: CubeType, *, places: Sequence[float]) -> CubeType:
    if places and (len(places) != len(image.time) or any(a >= b for a, b in itertools.pairwise(places))):
        raise ExpressionError(f"array_interpolate_linear: places={places} must be {len(image.time)} rising numbers")
    return _computed(image, np.result_type(image.dtype, np.float32))


def _nearest_known(known: Mask, backwards: bool) -> npt.NDArray[np.int64]:
    """Return the position of the last known time up to each time, or of the next one from it on; -1 for none."""
    steps = np.arange(len(known))[:, None, None, None]
    if not backwards:
        return np.maximum.accumulate(np.where(known, steps, -1), axis=0)
    following = np.minimum.accumulate(np.where(known, steps, len(known))[::-1], axis=0)[::-1]
    return np.where(following == len(known), -1, following)


@operator("array", Tile.TIME, _interpolated_type, openeo="array_interpolate_linear", interpreted=WHOLE_SERIES)
def array_interpolate_linear(image: Block, places: tuple[float, ...] = ()) -> Block:
    """Fill what is not valid, or NaN, between two known times by a straight line; ends stay as they are.

    `places` tells where the times lie on the line, as many rising numbers; without them they are evenly spaced.
    """
    dtype = np.result_type(image.values.dtype, np.float32)
    values, valid = image.values.astype(np.float64), image.full_valid
    known = valid & ~np.isnan(values)
    before, after = _nearest_known(known, False), _nearest_known(known, True)
    line = np.asarray(places or range(len(values)), dtype=np.float64)
    fill = ~known & (before >= 0) & (after >= 0)
    one, other = (np.take_along_axis(values, np.maximum(place, 0), axis=0) for place in (before, after))
    left, right = line[np.maximum(before, 0)], line[np.maximum(after, 0)]
    share = (line[:, None, None, None] - left) / np.where(fill, right - left, 1)
    filled = np.where(fill, one * (1 - share) + other * share, np.where(valid, values, 0))
    return Block(filled.astype(dtype), valid | fill)
