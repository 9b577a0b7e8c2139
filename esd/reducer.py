"""Reducers: each is chunk, combine and finalize, so that one object serves time, tiles and trees alike.

The state of a reducer is a tuple of arrays. `chunk` makes it from values and validity along the first axis, `combine` merges
two states, `finalize` turns it into a value and a validity. A reducer that cannot be combined says so: `combine` is None.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ExpressionError

__all__ = ["MOMENTS_GROUP", "REDUCERS", "Reducer", "State", "get_reducer", "percent_of"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
State = tuple[Any, ...]


@dataclass(frozen=True)
class Reducer:
    """A named reduction over the first axis.

    `values` are [n, ...], `valid` the same shape; what is not valid does not count. Where nothing is valid the result is
    not valid (for `count` it is 0). `keeps_space` tells that the result means what the values mean, `interpreted` why there
    is no vector code, `kinds` which kinds of dtype it takes (NumPy's letters).
    """

    name: str
    doc: str
    chunk: Callable[[Array, Mask], State]
    combine: Callable[[State, State], State] | None
    finalize: Callable[[State], tuple[Array, Mask]]
    keeps_space: bool = False
    interpreted: str | None = None
    kinds: str = "buif"

    def __call__(self, values: Array, valid: Mask) -> tuple[Array, Mask]:
        """Reduce values [n, ...] to [...], with the validity of the result. Raises ExpressionError for a wrong dtype."""
        if values.dtype.kind not in self.kinds:
            raise ExpressionError(f"reduce: {self.name} takes whole numbers, not {values.dtype}; .cast('int32') them first")
        return self.finalize(self.chunk(values, valid))


def _sum_type(values: Array) -> np.dtype[Any]:
    return np.result_type(values.dtype, np.float32) if values.dtype.kind == "f" else np.dtype(np.int64)


def _count(valid: Mask) -> Array:
    return valid.sum(axis=0, dtype=np.int64)


def _in_order(values: Array, dtype: npt.DTypeLike) -> Array:
    """Sum over the first axis in order: NumPy's own order depends on the shape, and so on where a tile was cut."""
    total = np.zeros(values.shape[1:], dtype=dtype)
    for plane in values:
        total += plane
    return total


def _sum_chunk(values: Array, valid: Mask) -> State:
    kept = np.where(valid, values, values.dtype.type(0))
    return _in_order(kept, np.float64 if values.dtype.kind == "f" else np.int64), _count(valid), values[:0]


def _add(one: State, other: State) -> State:
    return one[0] + other[0], one[1] + other[1], one[2]


def _sum_final(state: State) -> tuple[Array, Mask]:
    total, count, like = state
    return total.astype(_sum_type(like), copy=False), count > 0


def _mean_final(state: State) -> tuple[Array, Mask]:
    total, count, like = state
    mean = total / np.maximum(count, 1)
    return mean.astype(np.result_type(like.dtype, np.float32), copy=False), count > 0


def _count_final(state: State) -> tuple[Array, Mask]:
    return state[0], np.ones(state[0].shape, dtype=bool)


MOMENTS_GROUP = 8
"""Values whose moments are computed at once; those of more are merged, group after group."""


def _moments_chunk(values: Array, valid: Mask) -> State:
    """Counts, means and sums of squares, in groups of eight: the result is the same however a stack is cut at eights."""
    starts = range(0, max(len(values), 1), MOMENTS_GROUP)
    groups = (_moments_of(values[i : i + MOMENTS_GROUP], valid[i : i + MOMENTS_GROUP]) for i in starts)
    return reduce(_moments_combine, groups)


def _moments_of(values: Array, valid: Mask) -> State:
    count = _count(valid)
    numbers = np.where(valid, values, values.dtype.type(0)).astype(np.float64)
    mean = _in_order(numbers, np.float64) / np.maximum(count, 1)
    squares = _in_order(np.where(valid, numbers - mean, 0.0) ** 2, np.float64)
    return count, mean, squares, values[:0]


def _moments_combine(one: State, other: State) -> State:
    """Merge counts, means and sums of squares. Source: Chan, Golub and LeVeque (1979)."""
    count = one[0] + other[0]
    safe = np.maximum(count, 1)
    difference = other[1] - one[1]
    mean = one[1] + difference * other[0] / safe
    squares = one[2] + other[2] + difference**2 * one[0] * other[0] / safe
    return count, mean, squares, one[3]


def _variance_final(state: State, ddof: int, root: bool) -> tuple[Array, Mask]:
    count, _mean, squares, like = state
    variance = squares / np.maximum(count - ddof, 1)
    result = np.sqrt(variance) if root else variance
    return result.astype(np.result_type(like.dtype, np.float32), copy=False), count > ddof


def _extreme(dtype: np.dtype[Any], largest: bool) -> Any:
    if dtype.kind == "f":
        return dtype.type(np.inf if largest else -np.inf)
    if dtype.kind == "b":
        return largest
    return np.iinfo(dtype).max if largest else np.iinfo(dtype).min


def _plain_zero(values: Array) -> Array:
    """Turn -0 into 0: which of two equal zeros is taken is not defined, and must not show."""
    return values + values.dtype.type(0) if values.dtype.kind == "f" else values


def _extreme_chunk(values: Array, valid: Mask, smallest: bool) -> State:
    kept = np.where(valid, values, _extreme(values.dtype, largest=smallest))
    return _plain_zero(kept.min(axis=0) if smallest else kept.max(axis=0)), valid.any(axis=0)


def _extreme_combine(one: State, other: State, smallest: bool) -> State:
    return (np.minimum if smallest else np.maximum)(one[0], other[0]), one[1] | other[1]


def _masked_final(state: State) -> tuple[Array, Mask]:
    values, valid = state
    return np.where(valid, values, values.dtype.type(0)), valid


def _whole_chunk(values: Array, valid: Mask) -> State:
    return values, valid


def _ranked(values: Array, valid: Mask, low: Array, high: Array) -> tuple[Array, Array]:
    """Return the valid values of two ranks, the smallest being 0."""
    dtype = np.result_type(values.dtype, np.float32)
    ordered = np.sort(np.where(valid, values.astype(dtype, copy=False), dtype.type(np.inf)), axis=0)
    last = max(len(values) - 1, 0)
    one, other = (np.take_along_axis(ordered, np.clip(rank, 0, last)[None], axis=0)[0] for rank in (low, high))
    return one, other


def _finish_ranked(values: Array, valid: Mask, result: Array) -> tuple[Array, Mask]:
    """NaN where a valid value is NaN, as in NumPy; 0 where nothing is valid."""
    if values.dtype.kind == "f":
        result = np.where((np.isnan(values) & valid).any(axis=0), result.dtype.type(np.nan), result)
    known = np.asarray(valid.any(axis=0))
    return np.where(known, _plain_zero(result), result.dtype.type(0)), known


def _median_final(state: State) -> tuple[Array, Mask]:
    """Median of the valid values; the mean of the middle two for an even number of them."""
    values, valid = state
    count = valid.sum(axis=0)
    low, high = (count - 1) // 2, count // 2
    one, other = _ranked(values, valid, low, high)
    return _finish_ranked(values, valid, np.where(low == high, one, (one + other) / one.dtype.type(2)))


def _percentile_final(state: State, percent: float) -> tuple[Array, Mask]:
    """Interpolate linearly between the two nearest ranks, as NumPy's percentile does, in float64."""
    values, valid = state
    place = (np.maximum(valid.sum(axis=0), 1) - 1) * (percent / 100)
    low = np.floor(place).astype(np.int64)
    share = place - low
    near, far = _ranked(values, valid, low, low + (share > 0))
    one, other = near.astype(np.float64), far.astype(np.float64)
    with np.errstate(invalid="ignore"):  # between two infinities, where nothing is interpolated
        gap = other - one
        between = np.where(share < 0.5, one + gap * share, other - gap * (1 - share))
    return _finish_ranked(values, valid, np.where(one == other, one, between).astype(near.dtype))


def _position_chunk(values: Array, valid: Mask, smallest: bool) -> State:
    """State: the best value, its position, whether there is one, and how many were looked at."""
    best, place, seen = values[0], np.zeros(values.shape[1:], dtype=np.int32), valid[0]
    for i in range(1, len(values)):
        better = valid[i] & (_beats(values[i], best, smallest) | ~seen)
        best, place, seen = np.where(better, values[i], best), np.where(better, np.int32(i), place), seen | valid[i]
    return best, place, seen, len(values)


def _beats(value: Array, best: Array, smallest: bool) -> Mask:
    """Whether a value is more extreme than the best before it; NaN is more extreme than any number."""
    better = value < best if smallest else value > best
    return better | (np.isnan(value) & ~np.isnan(best)) if value.dtype.kind == "f" else better


def _position_combine(one: State, other: State, smallest: bool) -> State:
    better = other[2] & (_beats(other[0], one[0], smallest) | ~one[2])
    place = np.where(better, other[1] + np.int32(one[3]), one[1])
    return np.where(better, other[0], one[0]), place, one[2] | other[2], one[3] + other[3]


def _position_final(state: State) -> tuple[Array, Mask]:
    return np.where(state[2], state[1], np.int32(0)), state[2]


def _first_chunk(values: Array, valid: Mask, last: bool) -> State:
    order = valid[::-1] if last else valid
    index = np.argmax(order, axis=0)
    index = len(values) - 1 - index if last else index
    return np.take_along_axis(values, index[None], axis=0)[0], valid.any(axis=0)


def _first_combine(one: State, other: State, last: bool) -> State:
    first, second = (other, one) if last else (one, other)
    return np.where(first[1], first[0], second[0]), first[1] | second[1]


def _extreme_reducer(name: str, doc: str, smallest: bool) -> Reducer:
    return Reducer(
        name,
        doc,
        partial(_extreme_chunk, smallest=smallest),
        partial(_extreme_combine, smallest=smallest),
        _masked_final,
        keeps_space=True,
    )


def _first_reducer(name: str, doc: str, last: bool) -> Reducer:
    chunk, combine = partial(_first_chunk, last=last), partial(_first_combine, last=last)
    return Reducer(name, doc, chunk, combine, _masked_final, keeps_space=True)


def _position_reducer(name: str, doc: str, smallest: bool) -> Reducer:
    chunk, combine = partial(_position_chunk, smallest=smallest), partial(_position_combine, smallest=smallest)
    return Reducer(name, doc, chunk, combine, _position_final)


def _moment_reducer(name: str, doc: str, ddof: int, root: bool) -> Reducer:
    return Reducer(name, doc, _moments_chunk, _moments_combine, partial(_variance_final, ddof=ddof, root=root))


REDUCERS: dict[str, Reducer] = {
    reducer.name: reducer
    for reducer in (
        Reducer("sum", "Sum of the valid values.", _sum_chunk, _add, _sum_final),
        Reducer("mean", "Mean of the valid values.", _sum_chunk, _add, _mean_final, keeps_space=True),
        Reducer(
            "count",
            "Number of valid values; 0, and valid, where there is none.",
            lambda _values, valid: (_count(valid),),
            lambda one, other: (one[0] + other[0],),
            _count_final,
        ),
        _extreme_reducer("min", "Smallest valid value.", smallest=True),
        _extreme_reducer("max", "Largest valid value.", smallest=False),
        Reducer(
            "median",
            "Median of the valid values, exact; the mean of the middle two for an even number of them.",
            _whole_chunk,
            None,
            _median_final,
            keeps_space=True,
        ),
        _first_reducer("first", "First valid value.", last=False),
        _first_reducer("last", "Last valid value.", last=True),
        _moment_reducer("variance", "Variance of the valid values, divided by n (ddof 0).", 0, root=False),
        _moment_reducer("std", "Standard deviation of the valid values, divided by n (ddof 0).", 0, root=True),
        _position_reducer("argmin", "Position in time, from 0, of the smallest valid value; the first of equal ones.", True),
        _position_reducer("argmax", "Position in time, from 0, of the largest valid value; the first of equal ones.", False),
        _moment_reducer("sample_variance", "Variance of the valid values, divided by n - 1 (openEO's variance).", 1, False),
        _moment_reducer("sample_std", "Standard deviation of the valid values, divided by n - 1 (openEO's sd).", 1, True),
    )
}


def percent_of(name: str) -> float | None:
    """Return the number of a percentile's name, as 90 of "p90" and 2.5 of "p2.5"; None for any other name."""
    number = name[1:].replace(".", "", 1)
    if not name.startswith("p") or not (number.isascii() and number.isdigit()):
        return None
    percent = float(name[1:])
    return percent if math.isfinite(percent) and percent <= 100 else None


def get_reducer(name: str) -> Reducer:
    """Return a reducer by name, as "median" or "p90", a percentile. Raises ExpressionError for an unknown one."""
    percent = percent_of(name)
    if percent is not None:
        final = partial(_percentile_final, percent=percent)
        doc = f"Percentile {percent:g} of the valid values, exact; linear between the two nearest."
        return Reducer(name, doc, _whole_chunk, None, final, keeps_space=True)
    if name not in REDUCERS:
        from .operator import load_plugins

        load_plugins()  # packages of operators bring reducers too
    if name not in REDUCERS:
        known = ", ".join(REDUCERS)
        raise ExpressionError(f"there is no reducer {name!r}; choose one of {known}, or p0 to p100 for a percentile")
    return REDUCERS[name]
