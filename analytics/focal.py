"""Operators that look at a pixel's neighbourhood. The engine reads their halo, so that tiles leave no seams.

What is not valid, and what lies outside of the grid, does not count. Statistics are valid where at least one pixel of the
window is. Windows are told by `radius`, 1 to 50 pixels around the centre, and `shape`: square, circle (pixels whose centre
is within the radius), diamond or plus.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.operator import Tile, operator
from esd.reducer import get_reducer
from esd.space import CubeType

from .neighbours import check_window, fold, gather, gather_work, offsets, over_planes, plane_work, value_type

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
State = tuple[Array, ...]


def radius_of(args: Mapping[str, Any]) -> int:
    """Halo of an operator with a radius."""
    return int(args["radius"])


def add_states(one: State, other: State) -> State:
    """Join two states of sums."""
    for total, part in zip(one, other, strict=True):
        np.add(total, part, out=total)
    return one


def window_count(valid: Mask, radius: int, shape: str) -> Array:
    """Number of valid pixels in the window of each pixel, int32."""
    if valid.all():
        return np.full([length - 2 * radius for length in valid.shape], len(offsets(radius, shape)), dtype=np.int32)
    return fold((valid.astype(np.int32),), radius, shape, add_states)[0]


def _floating(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.result_type(dtype, np.float32)


def _sum_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return _floating(dtype) if dtype.kind == "f" else np.dtype(np.int64)


def _rule(name: str, dtype: Callable[[np.dtype[Any]], np.dtype[Any]]) -> Callable[..., CubeType]:
    def rule(image: CubeType, *, radius: int, shape: str) -> CubeType:
        check_window(name, radius, shape)
        return value_type(image, dtype(image.dtype))

    return rule


def _kept(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype


def _mean_plane(values: Array, valid: Mask, radius: int, shape: str) -> tuple[Array, Mask]:
    total = fold((np.where(valid, values, 0).astype(np.float64),), radius, shape, add_states)[0]
    count = window_count(valid, radius, shape)
    return total / np.maximum(count, 1), count > 0


@operator(
    "focal",
    Tile.FOCAL,
    _rule("focal_mean", _floating),
    halo=radius_of,
    work=plane_work,
    example="image.ndvi().median().focal_mean(2)",
)
def focal_mean(image: Block, radius: int = 1, shape: str = "square") -> Block:
    """Mean of the valid pixels of the window, summed in double precision; float32 for all but float64 images."""
    plane = partial(_mean_plane, radius=radius, shape=shape)
    return over_planes(image, radius, _floating(image.values.dtype), plane)


def _sum_plane(values: Array, valid: Mask, radius: int, shape: str) -> tuple[Array, Mask]:
    wide = np.float64 if values.dtype.kind == "f" else np.int64
    total = fold((np.where(valid, values, 0).astype(wide),), radius, shape, add_states)[0]
    return total, window_count(valid, radius, shape) > 0


@operator("focal", Tile.FOCAL, _rule("focal_sum", _sum_dtype), halo=radius_of, work=plane_work)
def focal_sum(image: Block, radius: int = 1, shape: str = "square") -> Block:
    """Sum of the valid pixels of the window; int64 for integers and booleans."""
    plane = partial(_sum_plane, radius=radius, shape=shape)
    return over_planes(image, radius, _sum_dtype(image.values.dtype), plane)


def _counts(_dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.int32)


@operator("focal", Tile.FOCAL, _rule("focal_count", _counts), halo=radius_of, work=plane_work)
def focal_count(image: Block, radius: int = 1, shape: str = "square") -> Block:
    """Number of valid pixels in the window, int32; 0, and valid, where there is none."""

    def plane(_values: Array, valid: Mask) -> tuple[Array, Mask]:
        count = window_count(valid, radius, shape)
        return count, np.ones(count.shape, dtype=bool)

    return over_planes(image, radius, np.dtype(np.int32), plane)


def _worst(dtype: np.dtype[Any], smallest: bool) -> Any:
    """The number that never is the smallest (or never the largest) of a window."""
    if dtype.kind == "f":
        return dtype.type(np.inf if smallest else -np.inf)
    if dtype.kind == "b":
        return smallest
    return np.iinfo(dtype).max if smallest else np.iinfo(dtype).min


def extreme_plane(values: Array, valid: Mask, radius: int, shape: str, smallest: bool) -> tuple[Array, Mask]:
    """Smallest or largest valid value in the window of each pixel of a plane."""
    function = np.minimum if smallest else np.maximum

    def join(one: State, other: State) -> State:
        function(one[0], other[0], out=one[0])
        np.logical_or(one[1], other[1], out=one[1])
        return one

    kept = np.where(valid, values, _worst(values.dtype, smallest)).astype(values.dtype, copy=False)
    result, any_valid = fold((kept, valid), radius, shape, join)
    return result, any_valid.astype(bool)


@operator("focal", Tile.FOCAL, _rule("focal_min", _kept), halo=radius_of, work=plane_work)
def focal_min(image: Block, radius: int = 1, shape: str = "square") -> Block:
    """Smallest valid value of the window; NaN where one of them is NaN."""
    plane = partial(extreme_plane, radius=radius, shape=shape, smallest=True)
    return over_planes(image, radius, image.values.dtype, plane)


@operator("focal", Tile.FOCAL, _rule("focal_max", _kept), halo=radius_of, work=plane_work)
def focal_max(image: Block, radius: int = 1, shape: str = "square") -> Block:
    """Largest valid value of the window; NaN where one of them is NaN."""
    plane = partial(extreme_plane, radius=radius, shape=shape, smallest=False)
    return over_planes(image, radius, image.values.dtype, plane)


def _join_moments(one: State, other: State) -> State:
    """Merge counts, means and sums of squared differences. Source: Chan, Golub and LeVeque (1979)."""
    count = one[0] + other[0]
    safe = np.maximum(count, 1)
    difference = other[1] - one[1]
    share = difference * (other[0] / safe)
    np.add(one[2], other[2], out=one[2])
    np.add(one[2], difference * share * one[0], out=one[2])
    np.add(one[1], share, out=one[1])
    np.copyto(one[0], count)
    return one


def _variance_plane(values: Array, valid: Mask, radius: int, shape: str) -> tuple[Array, Mask]:
    numbers = np.where(valid, values, 0).astype(np.float64)
    state = (valid.astype(np.float64), numbers, np.zeros_like(numbers))
    count, _mean, squares = fold(state, radius, shape, _join_moments)
    return squares / np.maximum(count, 1), count > 0


@operator("focal", Tile.FOCAL, _rule("focal_variance", _floating), halo=radius_of, work=plane_work)
def focal_variance(image: Block, radius: int = 1, shape: str = "square") -> Block:
    """Variance of the valid pixels of the window, divided by n (ddof 0), merged without cancellation."""
    plane = partial(_variance_plane, radius=radius, shape=shape)
    return over_planes(image, radius, _floating(image.values.dtype), plane)


@operator("focal", Tile.FOCAL, _rule("focal_std", _floating), halo=radius_of, work=plane_work)
def focal_std(image: Block, radius: int = 1, shape: str = "square") -> Block:
    """Standard deviation of the valid pixels of the window, divided by n (ddof 0)."""

    def plane(values: Array, valid: Mask) -> tuple[Array, Mask]:
        variance, any_valid = _variance_plane(values, valid, radius, shape)
        return np.sqrt(variance), any_valid

    return over_planes(image, radius, _floating(image.values.dtype), plane)


def _ranked(
    reduce: Callable[[Array, Mask], tuple[Array, Mask]], values: Array, valid: Mask, radius: int, shape: str
) -> tuple[Array, Mask]:
    """Apply a reduction over the first axis to the windows of a plane, a few rows at a time."""
    parts = [reduce(windows, masks) for _rows, (windows, masks) in gather((values, valid), radius, shape)]
    return np.concatenate([part for part, _mask in parts]), np.concatenate([mask for _part, mask in parts])


@operator("focal", Tile.FOCAL, _rule("focal_median", _floating), halo=radius_of, work=gather_work)
def focal_median(image: Block, radius: int = 1, shape: str = "square") -> Block:
    """Median of the valid pixels of the window, exact; the mean of the middle two for an even number of them."""
    plane = partial(_ranked, get_reducer("median"), radius=radius, shape=shape)
    return over_planes(image, radius, _floating(image.values.dtype), plane)


def _most_common(values: Array, valid: Mask) -> tuple[Array, Mask]:
    """Most common valid value over the first axis, the smallest of those that are equally common; NaN does not count."""
    if values.dtype.kind == "f":
        valid = valid & ~np.isnan(values)
    ordered = np.sort(np.where(valid, values, _worst(values.dtype, smallest=True)).astype(values.dtype), axis=0)
    count = valid.sum(axis=0)
    best, length, longest = ordered[0].copy(), np.ones(count.shape, np.int32), np.ones(count.shape, np.int32)
    for place in range(1, len(ordered)):
        length = np.where(ordered[place] == ordered[place - 1], length + 1, 1)
        better = (length > longest) & (place < count)
        best = np.where(better, ordered[place], best)
        longest = np.where(better, length, longest)
    return best, count > 0


@operator("focal", Tile.FOCAL, _rule("focal_mode", _kept), halo=radius_of, work=gather_work)
def focal_mode(image: Block, radius: int = 1, shape: str = "square") -> Block:
    """Most common valid value of the window, the smallest of those that are equally common; NaN does not count."""
    plane = partial(_ranked, _most_common, radius=radius, shape=shape)
    return over_planes(image, radius, image.values.dtype, plane)
