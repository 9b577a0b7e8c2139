"""More arithmetic per pixel: rounding, roots, logarithms, scales and polynomials, under openEO's names where it has them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import primitive

__all__: list[str] = []

Array = npt.NDArray[Any]

NO_CODE = "computed by NumPy's own vector code, one operator at a time"
"""Why a primitive has no code in a fused run."""


@primitive("arithmetic", np.floor_divide, interpreted=NO_CODE)
def floor_divide(a: Image, b: Image) -> None:
    """Quotient rounded down: floor(a / b); for floats IEEE, x // 0 is infinite or NaN, for integers x // 0 is 0."""


@primitive("arithmetic", np.hypot, interpreted=NO_CODE)
def hypot(a: Image, b: Image) -> None:
    """Length of the hypotenuse, sqrt(a^2 + b^2), without overflow on the way."""


@primitive("arithmetic", np.cbrt, interpreted=NO_CODE)
def cbrt(a: Image) -> None:
    """Cube root; of a negative number it is negative."""


@composite("arithmetic")
def square(a: Image) -> Image:
    """The image times itself."""
    return a * a


@composite("arithmetic")
def reciprocal(a: Image) -> Image:
    """One divided by the image, IEEE: 1 / 0 is infinite."""
    return call("divide", 1, a)


@primitive("arithmetic", np.expm1, interpreted=NO_CODE)
def expm1(a: Image) -> None:
    """exp(a) - 1, exact for small numbers too."""


@primitive("arithmetic", np.log1p, interpreted=NO_CODE)
def log1p(a: Image) -> None:
    """ln(1 + a), exact for small numbers too; NaN below -1, minus infinity at -1."""


@primitive("arithmetic", np.log10, interpreted=NO_CODE)
def log10(a: Image) -> None:
    """Logarithm to base 10; NaN below zero, minus infinity at zero."""


@primitive("arithmetic", np.log2, interpreted=NO_CODE)
def log2(a: Image) -> None:
    """Logarithm to base 2; NaN below zero, minus infinity at zero."""


@composite("arithmetic", openeo="log")
def log(a: Image, base: float) -> Image:
    """Logarithm to a base above 0 other than 1: ln(a) / ln(base); NaN below zero, minus infinity at zero."""
    if not (base > 0 and base != 1):
        raise ExpressionError(f"log: base={base:g} has no logarithm; give a number above 0 other than 1")
    exact = {2.0: "log2", 10.0: "log10"}
    return call(exact[base], a) if base in exact else call("ln", a) / math.log(base)


@primitive("arithmetic", np.floor, openeo="floor", emit="floor")
def floor(a: Image) -> None:
    """The largest whole number that is not greater; integers stay as they are."""


@primitive("arithmetic", np.ceil, openeo="ceil", emit="ceil")
def ceil(a: Image) -> None:
    """The smallest whole number that is not less; integers stay as they are."""


def _integer_part(a: Image) -> None:
    """The integer part, rounded towards zero; the dtype stays: int(-3.5) is -3.0 and int(NaN) is NaN."""


_integer_part.__name__ = "int"  # openEO's name, which must not hide Python's in this file
primitive("arithmetic", np.trunc, openeo="int", emit="trunc")(_integer_part)


def _round(a: Array, *, digits: float) -> Array:
    return np.asarray(np.round(a, digits))  # type: ignore[call-overload]  # a whole number, checked by its declaration


@primitive("arithmetic", _round, openeo="round", interpreted=NO_CODE)
def round(a: Image, digits: int = 0) -> None:  # noqa: A001 - openEO's name
    """The nearest number of so many decimal places, halves to the even one: round(-2.5) is -2; negative: tens, hundreds."""


@composite("arithmetic", example="image.select('nir').max().quotient(image.select('red').max(), 'mask')")
def quotient(a: Image, b: Image, zero: str = "ieee") -> Image:
    """Quotient of two images, with a say in what comes of a division by zero.

    `zero` is "ieee", as in `divide`: x / 0 is infinite and 0 / 0 is NaN; "mask": not valid; or "zero": 0, as in Earth
    Engine. Raises ExpressionError for another.
    """
    if zero not in ("ieee", "mask", "zero"):
        raise ExpressionError(f"quotient: zero={zero!r} is not one of ieee, mask, zero")
    ratio = call("divide", a, b)
    if zero == "ieee":
        return ratio
    if zero == "mask":
        return call("update_mask", ratio, call("neq", b, 0))
    return call("update_mask", call("where", call("eq", b, 0), 0.0, ratio), call("mask", a))


@composite("arithmetic")
def frac(a: Image) -> Image:
    """The part after the decimal point, a - int(a), with the sign of the number; NaN for an infinite one."""
    return a - call("int", a)


@primitive("arithmetic", np.sign, openeo="sgn", emit="sign")
def sgn(a: Image) -> None:
    """The sign: -1, 0 or 1; NaN stays NaN."""


@composite("arithmetic", openeo="linear_scale_range")
def linear_scale_range(
    a: Image, input_min: float, input_max: float, output_min: float = 0.0, output_max: float = 1.0
) -> Image:
    """Scale input_min..input_max to output_min..output_max; what lies outside of the input range is clipped to it."""
    if not input_min < input_max:
        raise ExpressionError(f"linear_scale_range: input_min={input_min:g} must be below input_max={input_max:g}")
    share = (call("clamp", a, input_min, input_max) - input_min) / (input_max - input_min)
    return share * (output_max - output_min) + output_min


@composite("arithmetic")
def unit_scale(a: Image, low: float, high: float, clamp: bool = False) -> Image:
    """(a - low) / (high - low): low becomes 0 and high 1; with `clamp` limited to 0..1. Source: Earth Engine's unitScale."""
    if low == high:
        raise ExpressionError(f"unit_scale: low and high are both {low:g}; give a range")
    scaled = (a - low) / (high - low)
    return call("clamp", scaled, 0.0, 1.0) if clamp else scaled


@composite("arithmetic")
def scale_offset(a: Image, scale: float = 1.0, offset: float = 0.0) -> Image:
    """Physical values of stored numbers: a * scale + offset, as scale and offset of a raster's bands are meant."""
    return a * scale + offset


@composite("arithmetic")
def polynomial(a: Image, coefficients: tuple[float, ...]) -> Image:
    """Polynomial of ascending powers, c0 + c1 a + c2 a^2 + ..., by Horner's rule."""
    if not coefficients:
        raise ExpressionError("polynomial: no coefficient is given; write them from the constant one upwards")
    total = a * 0.0 + coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        total = total * a + coefficient
    return total


OUTSIDE = ("extrapolate", "clamp")


def _check_nodes(x: Sequence[float], y: Sequence[float], behavior: str) -> None:
    rising = all(one < other for one, other in itertools.pairwise(x))
    if len(x) < 2 or len(x) != len(y) or not rising:
        raise ExpressionError(f"interpolate: x={x} and y={y} must be as many, two or more, x in rising order")
    if behavior not in OUTSIDE:
        raise ExpressionError(f"interpolate: behavior={behavior!r} is not one of {', '.join(OUTSIDE)}")


def _interpolate(a: Array, *, x: Sequence[float], y: Sequence[float], behavior: str) -> Array:
    _check_nodes(x, y, behavior)
    nodes, heights, values = np.asarray(x), np.asarray(y), np.asarray(a, dtype=np.float64)
    if behavior == "clamp":
        return np.interp(values, nodes, heights)
    place = np.clip(np.searchsorted(nodes, values, side="right") - 1, 0, len(nodes) - 2)
    slope = np.diff(heights) / np.diff(nodes)
    return np.asarray(heights[place] + (values - nodes[place]) * slope[place])


@primitive("arithmetic", _interpolate, interpreted="looks numbers up in a table of any length")
def interpolate(a: Image, x: tuple[float, ...], y: tuple[float, ...], behavior: str = "extrapolate") -> None:
    """Piecewise linear function through the points (x, y), x rising; outside of them `extrapolate` or `clamp`; float64."""
