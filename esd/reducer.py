"""Reducers: each is chunk, combine and finalize, so that one object serves time, tiles and trees alike.

The state of a reducer is a tuple of arrays. `chunk` makes it from values and validity along the first axis, `combine` merges
two states, `finalize` turns it into a value and a validity. A reducer that cannot be combined says so: `combine` is None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ExpressionError

__all__ = ["REDUCERS", "Reducer", "get_reducer"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
State = tuple[Any, ...]


@dataclass(frozen=True)
class Reducer:
    """A named reduction over the first axis.

    `values` are [n, ...], `valid` the same shape; what is not valid does not count. Where nothing is valid the result is
    not valid (for `count` it is 0). `keeps_space` tells that the result means what the values mean.
    """

    name: str
    doc: str
    chunk: Callable[[Array, Mask], State]
    combine: Callable[[State, State], State] | None
    finalize: Callable[[State], tuple[Array, Mask]]
    keeps_space: bool = False

    def __call__(self, values: Array, valid: Mask) -> tuple[Array, Mask]:
        """Reduce values [n, ...] to [...], with the validity of the result."""
        return self.finalize(self.chunk(values, valid))


def _sum_type(values: Array) -> np.dtype[Any]:
    return np.result_type(values.dtype, np.float32) if values.dtype.kind == "f" else np.dtype(np.int64)


def _count(valid: Mask) -> Array:
    return valid.sum(axis=0, dtype=np.int64)


def _sum_chunk(values: Array, valid: Mask) -> State:
    kept = np.where(valid, values, values.dtype.type(0))
    return kept.sum(axis=0, dtype=np.float64 if values.dtype.kind == "f" else np.int64), _count(valid), values[:0]


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


def _moments_chunk(values: Array, valid: Mask) -> State:
    count = _count(valid)
    numbers = np.where(valid, values, 0).astype(np.float64)
    mean = numbers.sum(axis=0) / np.maximum(count, 1)
    squares = (np.where(valid, numbers - mean, 0.0) ** 2).sum(axis=0)
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


def _extreme_chunk(values: Array, valid: Mask, smallest: bool) -> State:
    kept = np.where(valid, values, _extreme(values.dtype, largest=smallest))
    return (kept.min(axis=0) if smallest else kept.max(axis=0)), valid.any(axis=0)


def _extreme_combine(one: State, other: State, smallest: bool) -> State:
    return (np.minimum if smallest else np.maximum)(one[0], other[0]), one[1] | other[1]


def _masked_final(state: State) -> tuple[Array, Mask]:
    values, valid = state
    return np.where(valid, values, values.dtype.type(0)), valid


def _median_chunk(values: Array, valid: Mask) -> State:
    return values, valid


def _median_final(state: State) -> tuple[Array, Mask]:
    """Median of the valid values; the mean of the middle two for an even number of them. NaN stays NaN, as in NumPy."""
    values, valid = state
    dtype = np.result_type(values.dtype, np.float32)
    count = valid.sum(axis=0)
    ordered = np.sort(np.where(valid, values, dtype.type(np.inf)).astype(dtype, copy=False), axis=0)
    last = max(len(values) - 1, 0)
    low = np.clip((count - 1) // 2, 0, last)
    high = np.clip(count // 2, 0, last)
    middle = [np.take_along_axis(ordered, index[None], axis=0)[0] for index in (low, high)]
    both = np.where(low == high, middle[0], (middle[0] + middle[1]) / dtype.type(2))
    if values.dtype.kind == "f":
        both = np.where((np.isnan(values) & valid).any(axis=0), dtype.type(np.nan), both)
    return np.where(count > 0, both, dtype.type(0)), count > 0


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
            _median_chunk,
            None,
            _median_final,
            keeps_space=True,
        ),
        _first_reducer("first", "First valid value.", last=False),
        _first_reducer("last", "Last valid value.", last=True),
        _moment_reducer("variance", "Variance of the valid values, divided by n (ddof 0).", 0, root=False),
        _moment_reducer("std", "Standard deviation of the valid values, divided by n (ddof 0).", 0, root=True),
        _moment_reducer("sample_std", "Standard deviation of the valid values, divided by n - 1 (openEO's sd).", 1, True),
    )
}


def get_reducer(name: str) -> Reducer:
    """Return a reducer by name. Raises ExpressionError for an unknown one."""
    if name not in REDUCERS:
        raise ExpressionError(f"there is no reducer {name!r}; choose one of {', '.join(REDUCERS)}")
    return REDUCERS[name]
