"""Processes that reduce arrays, or run along them: each is a reducer of the engine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .errors import ProcessGraphError
from .image import Image, call
from .process_declare import Array, process
from .process_values import Series, join_elements

if TYPE_CHECKING:
    from .process_graph import Context

__all__ = ["REDUCERS"]

REDUCERS = {
    "max": "max",
    "mean": "mean",
    "median": "median",
    "min": "min",
    "product": "product",
    "sd": "sample_std",
    "sum": "sum",
    "variance": "sample_variance",
}
"""openEO's process: the reducer that it is."""


def _numbers(data: Series) -> Image:
    if data.is_text:
        raise ProcessGraphError("texts cannot be reduced to a number; give an array of numbers")
    return data.image


def _complete(data: Series, result: Image) -> Image:
    """Return a result where no element is missing."""
    return call("update_mask", result, call("eq", call("reduce", data.image, "count"), max(data.count, 1)))


def _reduced(data: Series, reducer: str, ignore_nodata: bool) -> Image:
    result = call("reduce", _numbers(data), reducer)
    return result if ignore_nodata else _complete(data, result)


def _declare(name: str, reducer: str) -> None:
    def reduce(_graph: Context, data: Array, ignore_nodata: bool = True) -> Image:
        return _reduced(data, reducer, ignore_nodata)

    reduce.__doc__ = f"The reducer {reducer} of an array; missing elements do not count, or make it missing."
    process(name)(reduce)


for _name, _reducer in REDUCERS.items():
    _declare(_name, _reducer)


@process("first")
def _first(_graph: Context, data: Array, ignore_nodata: bool = True) -> Image:
    """The first element that is not missing, or the first of all."""
    return call("reduce", data.image, "first") if ignore_nodata else data.element(0)


@process("last")
def _last(_graph: Context, data: Array, ignore_nodata: bool = True) -> Image:
    """The last element that is not missing, or the last of all."""
    return call("reduce", data.image, "last") if ignore_nodata else data.element(max(data.count, 1) - 1)


def _truth(data: Series, reducer: str, ignore_nodata: bool) -> Image:
    """Return whether all or any are true; with missing elements Kleene's answer, or as if they were not there."""
    settled = reducer == "any"
    found = call("reduce", call("unmask", _numbers(data), float(not settled)), reducer)
    if ignore_nodata:
        return found
    known = call("eq", call("reduce", data.image, "count"), max(data.count, 1))
    return call("update_mask", found, call("logical_or", known, call("eq", found, settled)))


@process("all")
def _all(_graph: Context, data: Array, ignore_nodata: bool = True) -> Image:
    """Whether all elements are true."""
    return _truth(data, "all", ignore_nodata)


@process("any")
def _any(_graph: Context, data: Array, ignore_nodata: bool = True) -> Image:
    """Whether any element is true."""
    return _truth(data, "any", ignore_nodata)


@process("count")
def _count(graph: Context, data: Array, condition: Any = None, context: Any = None) -> Any:
    """Number of elements that are valid; or of all (true), or of those for which a condition on x is true."""
    if condition is True:
        return data.count
    if condition is None:
        return call("reduce", call("is_valid", data.image), "sum")
    tests = [graph.call(condition, x=data.element(i), context=context) for i in range(data.count)]
    if all(test is None or isinstance(test, bool) for test in tests):
        return sum(1 for test in tests if test)
    return call("reduce", join_elements(tests).image, "sum")


@process("extrema")
def _extrema(_graph: Context, data: Array, ignore_nodata: bool = True) -> Series:
    """Smallest and largest element."""
    pair = call("extrema", _numbers(data))
    return Series(pair if ignore_nodata else _complete(data, pair), 2)


def _shares(probabilities: Any) -> list[float]:
    if isinstance(probabilities, int) and not isinstance(probabilities, bool) and probabilities > 1:
        return [i / probabilities for i in range(1, probabilities)]
    if isinstance(probabilities, list) and all(isinstance(p, int | float) and 0 <= p <= 1 for p in probabilities):
        return [float(p) for p in probabilities]
    raise ProcessGraphError(f"probabilities={probabilities!r} must be numbers of 0..1, or how many equal intervals")


@process("quantiles")
def _quantiles(_graph: Context, data: Array, probabilities: Any = None, q: Any = None, ignore_nodata: bool = True) -> Series:
    """The elements at shares of the order, linear between the two nearest (type 7 of Hyndman and Fan)."""
    if (probabilities is None) == (q is None):
        code = "QuantilesParameterMissing" if q is None else "QuantilesParameterConflict"
        raise ProcessGraphError("give either probabilities or q", code)
    names = [
        f"p{100 * share:.10f}".rstrip("0").rstrip(".") for share in _shares(q if probabilities is None else probabilities)
    ]
    return join_elements([_reduced(data, name, ignore_nodata) for name in names])


def _declare_running(name: str) -> None:
    def running(_graph: Context, data: Array, ignore_nodata: bool = True) -> Series:
        return replace(data, image=call(name, _numbers(data), ignore_nodata))

    running.__doc__ = f"The operator {name} of an array."
    process(name)(running)


for _name in ("cumsum", "cumproduct", "cummin", "cummax"):
    _declare_running(_name)
