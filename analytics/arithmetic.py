"""Arithmetic per pixel: NumPy's functions under openEO's names.

Bands are matched one to one, one band or one number serves all; dtypes promote as in NumPy; the result is valid where all
inputs are. Exponential, logarithm, sine and cosine of floats are our own code, the same in both tiers: NumPy's are up to
3 ulp off in float32, and differ between processors. A power of float32 is computed in float64 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from esd.engine.elementary import elementary
from esd.operator import primitive

if TYPE_CHECKING:
    from esd.image import Image

__all__: list[str] = []


def _rounded_once(function: np.ufunc) -> Callable[..., np.ndarray]:
    """Return a function that computes what NumPy would in float32 in float64, and rounds it once."""

    def compute(*operands: np.ndarray | float) -> np.ndarray:
        types = tuple(type(o) if isinstance(o, bool | int | float) else o.dtype for o in operands)
        *inner, target = function.resolve_dtypes((*types, None))
        if target != np.float32:
            return np.asarray(function(*operands))
        wide = [np.asarray(operand, dtype=dtype).astype(np.float64) for operand, dtype in zip(operands, inner, strict=True)]
        return np.asarray(function(*wide)).astype(np.float32)

    compute.__name__ = function.__name__
    return compute


@primitive("arithmetic", np.add, openeo="add", emit="add")
def add(a: Image, b: Image) -> None:
    """Sum of two images."""


@primitive("arithmetic", np.subtract, openeo="subtract", emit="subtract")
def subtract(a: Image, b: Image) -> None:
    """Difference of two images."""


@primitive("arithmetic", np.multiply, openeo="multiply", emit="multiply")
def multiply(a: Image, b: Image) -> None:
    """Product of two images."""


@primitive("arithmetic", np.true_divide, openeo="divide", emit="divide")
def divide(a: Image, b: Image) -> None:
    """Quotient of two images, IEEE: x / 0 is infinite and 0 / 0 is NaN."""


@primitive("arithmetic", _rounded_once(np.power), openeo="power", emit="power")
def power(a: Image, b: Image) -> None:
    """First image raised to the second."""


@primitive("arithmetic", np.mod, openeo="mod", emit="mod")
def mod(a: Image, b: Image) -> None:
    """Remainder of a division, with the sign of the divisor: mod(-27, 5) is 3."""


@primitive("arithmetic", np.negative, emit="negate")
def negate(a: Image) -> None:
    """The image with its sign changed."""


@primitive("arithmetic", np.absolute, openeo="absolute", emit="absolute")
def absolute(a: Image) -> None:
    """Absolute value."""


@primitive("arithmetic", np.sqrt, openeo="sqrt", emit="sqrt")
def sqrt(a: Image) -> None:
    """Square root; NaN below zero."""


@primitive("arithmetic", elementary("exp", np.exp), openeo="exp", emit="exp")
def exp(a: Image) -> None:
    """e to the power of the image."""


@primitive("arithmetic", elementary("ln", np.log), openeo="ln", emit="ln")
def ln(a: Image) -> None:
    """Natural logarithm; NaN below zero, minus infinity at zero."""


@primitive("trigonometric", elementary("sin", np.sin), openeo="sin", emit="sin")
def sin(a: Image) -> None:
    """Sine of an angle in radians."""


@primitive("trigonometric", elementary("cos", np.cos), openeo="cos", emit="cos")
def cos(a: Image) -> None:
    """Cosine of an angle in radians."""


def _as_float32(a: np.ndarray) -> np.ndarray:
    return np.asarray(a, dtype=np.float32)


@primitive("arithmetic", _as_float32, emit="as_float32")
def as_float32(a: Image) -> None:
    """The image as float32: integers are rounded beyond 2**24 only, float64 is rounded."""


@primitive("arithmetic", np.minimum, emit="minimum")
def minimum(a: Image, b: Image) -> None:
    """The smaller of two images."""


@primitive("arithmetic", np.maximum, emit="maximum")
def maximum(a: Image, b: Image) -> None:
    """The larger of two images."""


def _clip(a: np.ndarray, *, lowest: float, highest: float) -> np.ndarray:
    return np.clip(a, lowest, highest)


@primitive("arithmetic", _clip, openeo="clip", emit="clamp")
def clamp(a: Image, lowest: float, highest: float) -> None:
    """Limit values to lowest..highest."""
