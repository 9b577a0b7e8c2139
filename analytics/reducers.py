"""More reducers of time: product, truth, mode and moments; each is chunk, combine and finalize."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

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


def _interpreted(name: str, doc: str, final: Callable[[State], tuple[Array, Mask]], keeps_space: bool = False) -> Reducer:
    return Reducer(name, doc, _whole, None, final, keeps_space, WHOLE_SERIES)


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
for _name in ("mode", "count_distinct", "skew", "kurtosis"):
    _declare(_name)


@composite("reducer", openeo="extrema")
def extrema(image: Image) -> Image:
    """Smallest and largest value over time, as two times."""
    return call("stack", call("reduce", image, "min"), call("reduce", image, "max"))
