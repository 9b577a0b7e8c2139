"""More reducers of time: product, truth, bits, mode, moments and directions; each is chunk, combine and finalize."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.reducer import REDUCERS, Reducer

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
State = tuple[Any, ...]
WHOLE_SERIES = "needs all times of a pixel at once"


def _float_type(values: Array) -> np.dtype[Any]:
    return np.result_type(values.dtype, np.float32) if values.dtype.kind == "f" else np.dtype(np.float64)


def _product_chunk(values: Array, valid: Mask) -> State:
    total = np.ones(values.shape[1:], dtype=np.float64)
    for plane, known in zip(values, valid, strict=True):
        total = np.where(known, total * plane, total)
    return total, valid.any(axis=0), values[:0]


def _product_combine(one: State, other: State) -> State:
    return one[0] * other[0], one[1] | other[1], one[2]


def _product_final(state: State) -> tuple[Array, Mask]:
    total, known, like = state
    return np.where(known, total, 0).astype(_float_type(like)), known


def _truth_chunk(values: Array, valid: Mask, every: bool) -> State:
    true = values != 0
    found = ~(valid & ~true).any(axis=0) if every else (valid & true).any(axis=0)
    return found, valid.any(axis=0)


def _truth_combine(one: State, other: State, every: bool) -> State:
    return (one[0] & other[0] if every else one[0] | other[0]), one[1] | other[1]


def _truth_final(state: State) -> tuple[Array, Mask]:
    found, known = state
    return found & known, known


def _whole(values: Array, valid: Mask) -> State:
    return values, valid


def _mode_final(state: State) -> tuple[Array, Mask]:
    """Count runs of equal numbers in sorted order; the longest run wins, the smallest number of equally long ones."""
    values, valid = state
    order = np.argsort(values, axis=0, kind="stable")
    ordered, known = (np.take_along_axis(array, order, axis=0) for array in (values, valid))
    best, most = np.zeros_like(values[0]), np.zeros(values.shape[1:], dtype=np.int64)
    run = np.zeros(values.shape[1:], dtype=np.int64)
    for time in range(len(values)):
        same = ordered[time] == ordered[time - 1] if time else np.zeros(run.shape, dtype=bool)
        run = np.where(same, run, 0) + known[time]
        better = known[time] & (run > most)
        best, most = np.where(better, ordered[time], best), np.where(better, run, most)
    return best, most > 0


def _distinct_final(state: State) -> tuple[Array, Mask]:
    values, valid = state
    order = np.argsort(values, axis=0, kind="stable")
    ordered, known = (np.take_along_axis(array, order, axis=0) for array in (values, valid))
    number, counted = np.zeros(values.shape[1:], dtype=np.int64), np.zeros(values.shape[1:], dtype=bool)
    for time in range(len(values)):
        same = ordered[time] == ordered[time - 1] if time else np.zeros(counted.shape, dtype=bool)
        number += known[time] & ~(same & counted)
        counted = known[time] | (same & counted)
    return number, np.ones(number.shape, dtype=bool)


def _moment_final(state: State, power: int) -> tuple[Array, Mask]:
    """Standardized central moment of the valid values, of a power, over n; not valid where all are equal."""
    values, valid = state
    numbers = np.where(valid, values, 0).astype(np.float64)
    count = np.maximum(valid.sum(axis=0), 1)
    mean = _in_order(numbers) / count
    apart = np.where(valid, numbers - mean, 0.0)
    variance, moment = _in_order(apart**2) / count, _in_order(apart**power) / count
    known = variance > 0
    result = moment / np.where(known, variance, 1) ** (power / 2) - (3 if power == 4 else 0)
    return np.where(known, result, 0).astype(_float_type(values)), known


def _in_order(values: Array) -> Array:
    """Sum over the first axis in order, so that where a tile was cut does not show."""
    total = np.zeros(values.shape[1:], dtype=np.float64)
    for plane in values:
        total += plane
    return total


def _bits_final(state: State, every: bool) -> tuple[Array, Mask]:
    values, valid = state
    nothing = ~np.zeros((), dtype=values.dtype) if every else np.zeros((), dtype=values.dtype)
    join = np.bitwise_and if every else np.bitwise_or
    found, known = np.full(values.shape[1:], nothing, dtype=values.dtype), valid.any(axis=0)
    for plane, mask in zip(values, valid, strict=True):
        found = join(found, np.where(mask, plane, nothing))
    return np.where(known, found, values.dtype.type(0)), known


def _every_final(state: State) -> tuple[Array, Mask]:
    values = state[0]
    return np.full(values.shape[1:], len(values), dtype=np.int64), np.ones(values.shape[1:], dtype=bool)


def _direction_final(state: State, part: str) -> tuple[Array, Mask]:
    """Direction and length of the mean of unit vectors. Source: Mardia and Jupp (2000), section 2.3, as in SciPy."""
    values, valid = state
    count, known = np.maximum(valid.sum(axis=0), 1), valid.any(axis=0)
    angles = np.where(valid, values, 0).astype(np.float64)
    with np.errstate(invalid="ignore"):  # an infinite angle has no direction: NaN
        east = _in_order(np.where(valid, np.cos(angles), 0.0)) / count
        north = _in_order(np.where(valid, np.sin(angles), 0.0)) / count
        length = np.minimum(np.hypot(east, north), 1.0)
    if part == "mean":
        result = np.arctan2(north, east)
    elif part == "variance":
        result = 1 - length
    else:
        known = known & (length != 0)
        result = np.sqrt(-2 * np.log(np.where(known, length, 1.0)))
    return np.where(known, result + 0.0, 0).astype(_float_type(values)), known


def _interpreted(name: str, doc: str, final: Callable[[State], tuple[Array, Mask]], keeps_space: bool = False) -> Reducer:
    return Reducer(name, doc, _whole, None, final, keeps_space, WHOLE_SERIES)


def _bits(name: str, doc: str, every: bool) -> Reducer:
    return Reducer(name, doc, _whole, None, partial(_bits_final, every=every), interpreted=WHOLE_SERIES, kinds="bui")


def _direction(part: str, doc: str) -> Reducer:
    return _interpreted(f"circular_{part}", doc, partial(_direction_final, part=part))


def _truth(name: str, doc: str, every: bool) -> Reducer:
    return Reducer(name, doc, partial(_truth_chunk, every=every), partial(_truth_combine, every=every), _truth_final)


for _reducer in (
    Reducer("product", "Product of the valid values (float64 if whole).", _product_chunk, _product_combine, _product_final),
    _truth("all", "Whether all valid values are true (not 0).", every=True),
    _truth("any", "Whether any valid value is true (not 0).", every=False),
    _interpreted("mode", "Most frequent valid value; the smallest of equally frequent ones.", _mode_final, True),
    _interpreted("count_distinct", "Number of different valid values; 0, and valid, for none.", _distinct_final),
    _interpreted("skew", "Skewness of the valid values (ddof 0).", partial(_moment_final, power=3)),
    _interpreted("kurtosis", "Excess kurtosis of the valid values (ddof 0).", partial(_moment_final, power=4)),
    _interpreted("count_every", "Number of values, valid or not; always valid.", _every_final),
    _direction("mean", "Mean direction of angles in radians, -pi to pi; 0 for angles that cancel."),
    _direction("variance", "Circular variance of angles in radians, 0 to 1: 1 minus the length of their mean unit vector."),
    _direction("std", "Circular standard deviation of angles in radians, sqrt(-2 ln R); not valid for angles that cancel."),
    _bits("bitwise_and", "Bits that are set in all valid values; integers and booleans only.", every=True),
    _bits("bitwise_or", "Bits that are set in any valid value; integers and booleans only.", every=False),
):
    REDUCERS[_reducer.name] = _reducer


def _declare(name: str, openeo: str | None = None) -> None:
    def over_time(image: Image) -> Image:
        return call("reduce", image, name)

    over_time.__name__ = name
    over_time.__doc__ = f"{REDUCERS[name].doc[:-1]}, over time."
    declare: Callable[..., Any] = composite("reducer", openeo=openeo)
    declare(over_time)


for _name, _openeo in (("product", "product"), ("all", "all"), ("any", "any"), ("sample_variance", "variance")):
    _declare(_name, _openeo)
for _name in ("mode", "count_distinct", "skew", "kurtosis", "count_every"):
    _declare(_name)
for _name in ("circular_mean", "circular_variance", "circular_std"):
    _declare(_name)


@composite("reducer", openeo="extrema")
def extrema(image: Image) -> Image:
    """Smallest and largest value over time, as two times."""
    return call("stack", call("reduce", image, "min"), call("reduce", image, "max"))


@composite("reducer", example="image.combine_reducers(('min', 'max'))")
def combine_reducers(image: Image, reducers: tuple[str, ...]) -> Image:
    """Several reducers over time in one pass over the data, as bands <band>_<reducer>; see `reduce`.

    The bands of the first reducer come first. Reducers are named as in `reduce`, percentiles too ("p90"). Raises
    ExpressionError for an unknown one or none.
    """
    if not reducers or len(set(reducers)) != len(reducers):
        raise ExpressionError(f"combine_reducers: reducers={tuple(reducers)} must be one or more different names")
    parts = []
    for reducer in reducers:
        part = call("reduce", image, reducer)
        parts.append(call("rename", part, *(f"{band}_{reducer}" for band in part.type.bands)))
    return call("add_bands", *parts)


@composite("reducer", example="image.reduce_bands('mean')")
def reduce_bands(image: Image, reducer: str, name: str = "") -> Image:
    """Reduce all bands to one by a named reducer, each time by itself; what is not valid does not count.

    The band is called `name`, or as the reducer. Reducers are those of `reduce`.
    """
    turned = call("reduce", call("array_transpose", image), reducer)
    return call("rename", call("array_transpose", turned), name or reducer)
