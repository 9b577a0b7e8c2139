"""Vector code of the reducers of time: a pixel's values of all times are in registers, a reducer says what it does to them.

The results are those of `esd.reducer`, to the bit: sums run in the order of time in float64, NaN counts as a value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np

from esd.reducer import MOMENTS_GROUP, percent_of

from .emit import EMITTERS
from .ir import Builder, UnsupportedError, Value
from .networks import sorting_network

__all__ = ["Reduced", "Stack", "emit_reduction", "has_code"]

F8 = np.dtype(np.float64)
I8 = np.dtype(np.int64)
RANK = np.dtype(np.int32)
BOOL = np.dtype(bool)
MOST_SORTED = 64
"""Times beyond which a network is too long to compile: the interpreter sorts."""


@dataclass(frozen=True)
class Stack:
    """A pixel's values of all times, and which of them are valid; no masks: all are."""

    values: Sequence[Value]
    masks: Sequence[Value] | None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self.values[0].dtype


@dataclass(frozen=True)
class Reduced:
    """The result, and where it is valid: None for everywhere."""

    value: Value
    valid: Value | None


Emit = Callable[[Builder, Stack], Reduced]


def _kept(b: Builder, stack: Stack, filler: float, dtype: np.dtype[Any] | None = None) -> list[Value]:
    """Return the values, `filler` in place of those that are not valid."""
    values = [b.cast(value, dtype) if dtype is not None else value for value in stack.values]
    if stack.masks is None:
        return values
    other = b.constant(filler, values[0].dtype)
    return [b.choose(mask, value, other) for mask, value in zip(stack.masks, values, strict=True)]


def _count(b: Builder, stack: Stack) -> Value:
    """Return how many values are valid."""
    if stack.masks is None:
        return b.constant(len(stack.values), RANK)
    return reduce(partial(b.binary, "add"), [b.cast(mask, RANK) for mask in stack.masks])


def _more_than(b: Builder, stack: Stack, least: int) -> Value | None:
    if stack.masks is None:
        if len(stack.values) <= least:
            raise UnsupportedError("too few times")
        return None
    if least == 0:
        return reduce(partial(b.binary, "or"), stack.masks)
    return b.compare("sgt", _count(b, stack), b.constant(least, RANK))


def _zero_elsewhere(b: Builder, value: Value, valid: Value | None) -> Reduced:
    return Reduced(value if valid is None else b.choose(valid, value, b.constant(0, value.dtype)), valid)


def _total(b: Builder, stack: Stack) -> Value:
    """Sum in the order of time: floats in float64, all else in int64."""
    floats = stack.dtype.kind == "f"
    wide = F8 if floats else I8
    add = partial(b.binary, "fadd" if floats else "add")
    return reduce(add, (b.cast(value, wide) for value in _kept(b, stack, 0)), b.constant(0, wide))


def _float_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.result_type(dtype, np.float32)


def _sum(b: Builder, stack: Stack) -> Reduced:
    total = _total(b, stack)
    target = _float_type(stack.dtype) if stack.dtype.kind == "f" else I8
    return Reduced(b.cast(total, target), _more_than(b, stack, 0))


def _at_least_one(b: Builder, stack: Stack) -> Value:
    count = _count(b, stack)
    if stack.masks is not None:
        one = b.constant(1, RANK)
        count = b.choose(b.compare("sgt", count, one), count, one)
    return b.cast(count, F8)


def _mean(b: Builder, stack: Stack) -> Reduced:
    mean = b.binary("fdiv", b.cast(_total(b, stack), F8), _at_least_one(b, stack))
    return Reduced(b.cast(mean, _float_type(stack.dtype)), _more_than(b, stack, 0))


def _count_valid(b: Builder, stack: Stack) -> Reduced:
    return Reduced(b.cast(_count(b, stack), I8), None)


def _extreme(b: Builder, stack: Stack, name: str) -> Reduced:
    dtype = stack.dtype
    if dtype.kind == "b":
        raise UnsupportedError("booleans")
    limit = np.inf if dtype.kind == "f" else np.iinfo(dtype).max if name == "minimum" else np.iinfo(dtype).min
    filler = -limit if dtype.kind == "f" and name == "maximum" else limit
    best = reduce(lambda one, other: EMITTERS[name](b, [one, other], {}), _kept(b, stack, filler))
    return _zero_elsewhere(b, _plain_zero(b, best), _more_than(b, stack, 0))


def _sorted(b: Builder, values: Sequence[Value]) -> list[Value]:
    if len(values) > MOST_SORTED:
        raise UnsupportedError(f"sorting {len(values)} times")
    ordered = list(values)
    for low, high in sorting_network(len(ordered)):
        one, other = ordered[low], ordered[high]
        less = b.compare("olt", one, other)
        ordered[low], ordered[high] = b.choose(less, one, other), b.choose(less, other, one)
    return ordered


def _at(b: Builder, ordered: Sequence[Value], rank: Value | int, highest: int) -> Value:
    """Return the value of a rank from 0 to `highest`, the same in all elements or not."""
    if isinstance(rank, int):
        return ordered[rank]
    found = ordered[0]
    for i in range(1, highest + 1):
        found = b.choose(b.compare("eq", rank, b.constant(i, RANK)), ordered[i], found)
    return found


def _any_nan(b: Builder, stack: Stack) -> Value | None:
    """Return where a valid value is NaN; None for integers."""
    if stack.dtype.kind != "f":
        return None
    nans = [b.compare("uno", value, value) for value in stack.values]
    if stack.masks is not None:
        nans = [b.binary("and", nan, mask) for nan, mask in zip(nans, stack.masks, strict=True)]
    return reduce(partial(b.binary, "or"), nans)


def _plain_zero(b: Builder, value: Value) -> Value:
    return b.binary("fadd", value, b.constant(0, value.dtype)) if value.is_float else value


def _finish_sorted(b: Builder, stack: Stack, value: Value) -> Reduced:
    value = _plain_zero(b, value)
    nan = _any_nan(b, stack)
    if nan is not None:
        value = b.choose(nan, b.constant(float("nan"), value.dtype), value)
    return _zero_elsewhere(b, value, _more_than(b, stack, 0))


def _median(b: Builder, stack: Stack) -> Reduced:
    dtype, last = _float_type(stack.dtype), len(stack.values) - 1
    ordered = _sorted(b, _balanced(b, stack, dtype))
    half = b.constant(2, dtype)
    if stack.masks is None:
        low, high = ordered[last // 2], ordered[(last + 1) // 2]
        middle = low if last % 2 == 0 else b.binary("fdiv", b.binary("fadd", low, high), half)
        return _finish_sorted(b, stack, middle)
    odd, rank = _odd_invalid(b, stack.masks), len(stack.values) // 2
    low, high = ordered[rank - 1], ordered[rank]
    both = b.binary("fdiv", b.binary("fadd", low, high), half)
    values = (both, high) if len(stack.values) % 2 else (low, both)
    return _finish_sorted(b, stack, b.choose(odd[-1], *values))


def _odd_invalid(b: Builder, masks: Sequence[Value]) -> list[Value]:
    """Return, for each time, whether those not valid up to it are odd in number."""
    odd: list[Value] = []
    for mask in masks:
        invalid = EMITTERS["logical_not"](b, [mask], {})
        odd.append(b.binary("xor", odd[-1], invalid) if odd else invalid)
    return odd


def _balanced(b: Builder, stack: Stack, dtype: np.dtype[Any]) -> list[Value]:
    """Return the values, -inf and inf in turns, inf first, in place of those not valid: the median keeps its rank or two."""
    values = [b.cast(value, dtype) for value in stack.values]
    if stack.masks is None:
        return values
    low, high = b.constant(-np.inf, dtype), b.constant(np.inf, dtype)
    fillers = [b.choose(odd, high, low) for odd in _odd_invalid(b, stack.masks)]
    return [b.choose(mask, value, filler) for mask, value, filler in zip(stack.masks, values, fillers, strict=True)]


def _percentile(b: Builder, stack: Stack, percent: float) -> Reduced:
    """Interpolate as `esd.reducer` does: in float64, from the nearer of the two neighbours."""
    dtype, last = _float_type(stack.dtype), len(stack.values) - 1
    ordered = _sorted(b, _kept(b, stack, np.inf, dtype))
    steps = b.binary("sub", _at_least(b, _count(b, stack), 1), b.constant(1, RANK))
    place = b.binary("fmul", b.cast(steps, F8), b.constant(percent / 100, F8))
    below = b.call("floor", place)
    share = b.binary("fsub", place, below)
    low = b.emit(f"fptosi {b.type_of(F8)} {below.name} to {b.type_of(RANK)}", RANK)
    up = b.cast(b.compare("ogt", share, b.constant(0, F8)), RANK)
    highest = int(np.floor(last * (percent / 100)))
    one = b.cast(_at(b, ordered, low, highest), F8)
    other = b.cast(_at(b, ordered, b.binary("add", low, up), min(highest + 1, last)), F8)
    gap = b.binary("fsub", other, one)
    rising = b.binary("fadd", one, b.binary("fmul", gap, share))
    rest = b.binary("fsub", b.constant(1, F8), share)
    falling = b.binary("fsub", other, b.binary("fmul", gap, rest))
    between = b.choose(b.compare("olt", share, b.constant(0.5, F8)), rising, falling)
    equal = b.compare("oeq", one, other)
    return _finish_sorted(b, stack, b.cast(b.choose(equal, one, between), dtype))


def _at_least(b: Builder, value: Value, least: int) -> Value:
    limit = b.constant(least, value.dtype)
    return b.choose(b.compare("sgt", value, limit), value, limit)


def _first(b: Builder, stack: Stack, last: bool) -> Reduced:
    values = stack.values if last else stack.values[::-1]
    if stack.masks is None:
        return Reduced(values[-1], None)
    masks = stack.masks if last else stack.masks[::-1]
    found = values[0]
    for value, mask in zip(values[1:], masks[1:], strict=True):
        found = b.choose(mask, value, found)
    return _zero_elsewhere(b, found, _more_than(b, stack, 0))


def _at_least_float(b: Builder, count: Value) -> Value:
    return b.cast(_at_least(b, count, 1), F8)


def _group_moments(b: Builder, stack: Stack) -> tuple[Value, Value, Value]:
    """Return the count, the mean and the sum of squares of a group of times."""
    zero = b.constant(0, F8)
    numbers = [b.cast(value, F8) for value in _kept(b, stack, 0)]
    mean = b.binary("fdiv", reduce(partial(b.binary, "fadd"), numbers, zero), _at_least_one(b, stack))
    apart = [b.binary("fsub", number, mean) for number in numbers]
    if stack.masks is not None:
        apart = [b.choose(mask, value, zero) for mask, value in zip(stack.masks, apart, strict=True)]
    squares = reduce(partial(b.binary, "fadd"), [b.binary("fmul", value, value) for value in apart], zero)
    return _count(b, stack), mean, squares


def _merge_moments(
    b: Builder, one: tuple[Value, Value, Value], other: tuple[Value, Value, Value]
) -> tuple[Value, Value, Value]:
    """Merge the moments of two groups, in the steps of `esd.reducer`."""
    multiply, add, divide = (partial(b.binary, name) for name in ("fmul", "fadd", "fdiv"))
    count = b.binary("add", one[0], other[0])
    safe, first, second = _at_least_float(b, count), b.cast(one[0], F8), b.cast(other[0], F8)
    difference = b.binary("fsub", other[1], one[1])
    mean = add(one[1], divide(multiply(difference, second), safe))
    between = divide(multiply(multiply(multiply(difference, difference), first), second), safe)
    return count, mean, add(add(one[2], other[2]), between)


def _moments(b: Builder, stack: Stack, ddof: int, root: bool) -> Reduced:
    groups = []
    for start in range(0, len(stack.values), MOMENTS_GROUP):
        end = start + MOMENTS_GROUP
        masks = None if stack.masks is None else stack.masks[start:end]
        groups.append(_group_moments(b, Stack(stack.values[start:end], masks)))
    count, _mean, squares = reduce(partial(_merge_moments, b), groups)
    left = _at_least_float(b, b.binary("sub", count, b.constant(ddof, RANK)))
    variance = b.binary("fdiv", squares, left)
    result = b.call("sqrt", variance) if root else variance
    return Reduced(b.cast(result, _float_type(stack.dtype)), _more_than(b, stack, ddof))


def _position(b: Builder, stack: Stack, predicate: str) -> Reduced:
    """Return where in time the extreme lies, the first of equal ones; NaN is more extreme than any number."""
    if stack.dtype.kind == "b":
        raise UnsupportedError("booleans")
    best, place = stack.values[0], b.constant(0, RANK)
    seen = None if stack.masks is None else stack.masks[0]
    for i, value in enumerate(stack.values[1:], start=1):
        better = EMITTERS[predicate](b, [value, best], {})
        if value.is_float:
            newly = b.binary("and", b.compare("uno", value, value), b.compare("ord", best, best))
            better = b.binary("or", better, newly)
        if seen is not None and stack.masks is not None:
            mask = stack.masks[i]
            better = b.binary("and", mask, b.binary("or", better, EMITTERS["logical_not"](b, [seen], {})))
            seen = b.binary("or", seen, mask)
        best, place = b.choose(better, value, best), b.choose(better, b.constant(i, RANK), place)
    return _zero_elsewhere(b, place, seen)


def _product(b: Builder, stack: Stack) -> Reduced:
    """Product in the order of time, in float64."""
    total = reduce(partial(b.binary, "fmul"), [b.cast(value, F8) for value in _kept(b, stack, 1)])
    target = _float_type(stack.dtype) if stack.dtype.kind == "f" else F8
    return _zero_elsewhere(b, b.cast(total, target), _more_than(b, stack, 0))


def _truth(b: Builder, stack: Stack, every: bool) -> Reduced:
    """Whether all values, or any of them, are not 0."""
    values = _kept(b, stack, int(every))
    zero, predicate = b.constant(0, stack.dtype), "une" if stack.dtype.kind == "f" else "ne"
    true = [value if value.dtype == BOOL else b.compare(predicate, value, zero) for value in values]
    return _zero_elsewhere(b, reduce(partial(b.binary, "and" if every else "or"), true), _more_than(b, stack, 0))


REDUCTIONS: dict[str, Emit] = {
    "sum": _sum,
    "mean": _mean,
    "count": _count_valid,
    "min": partial(_extreme, name="minimum"),
    "max": partial(_extreme, name="maximum"),
    "median": _median,
    "first": partial(_first, last=False),
    "last": partial(_first, last=True),
    "variance": partial(_moments, ddof=0, root=False),
    "std": partial(_moments, ddof=0, root=True),
    "sample_std": partial(_moments, ddof=1, root=True),
    "sample_variance": partial(_moments, ddof=1, root=False),
    "product": _product,
    "all": partial(_truth, every=True),
    "any": partial(_truth, every=False),
    "argmin": partial(_position, predicate="lt"),
    "argmax": partial(_position, predicate="gt"),
}


def has_code(reducer: str) -> bool:
    """Tell whether a reducer has vector code."""
    return reducer in REDUCTIONS or percent_of(reducer) is not None


def emit_reduction(b: Builder, reducer: str, stack: Stack) -> Reduced:
    """Add the code of a reducer. Raises UnsupportedError for dtypes or numbers of times that have none."""
    percent = percent_of(reducer)
    emit = REDUCTIONS[reducer] if percent is None else partial(_percentile, percent=percent)
    return emit(b, stack)
