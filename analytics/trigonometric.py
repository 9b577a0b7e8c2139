"""Angles and hyperbolic functions per pixel: NumPy's functions under openEO's names; angles in radians."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from esd.image import composite
from esd.operator import primitive

from .functions import NO_CODE

if TYPE_CHECKING:
    from esd.image import Image

__all__: list[str] = []


@primitive("trigonometric", np.tan, openeo="tan", interpreted=NO_CODE)
def tan(a: Image) -> None:
    """Tangent of an angle in radians."""


@primitive("trigonometric", np.arcsin, openeo="arcsin", interpreted=NO_CODE)
def arcsin(a: Image) -> None:
    """Angle in radians of a sine, -pi/2 to pi/2; NaN outside of -1..1."""


@primitive("trigonometric", np.arccos, openeo="arccos", interpreted=NO_CODE)
def arccos(a: Image) -> None:
    """Angle in radians of a cosine, 0 to pi; NaN outside of -1..1."""


@primitive("trigonometric", np.arctan, openeo="arctan", interpreted=NO_CODE)
def arctan(a: Image) -> None:
    """Angle in radians of a tangent, -pi/2 to pi/2."""


@primitive("trigonometric", np.arctan2, openeo="arctan2", interpreted=NO_CODE)
def arctan2(y: Image, x: Image) -> None:
    """Angle in radians of the point (x, y), -pi to pi; y comes first, as in NumPy and openEO (Earth Engine: x first)."""


@primitive("trigonometric", np.sinh, openeo="sinh", interpreted=NO_CODE)
def sinh(a: Image) -> None:
    """Hyperbolic sine."""


@primitive("trigonometric", np.cosh, openeo="cosh", interpreted=NO_CODE)
def cosh(a: Image) -> None:
    """Hyperbolic cosine."""


@primitive("trigonometric", np.tanh, openeo="tanh", interpreted=NO_CODE)
def tanh(a: Image) -> None:
    """Hyperbolic tangent."""


@primitive("trigonometric", np.arcsinh, openeo="arsinh", interpreted=NO_CODE)
def arsinh(a: Image) -> None:
    """Inverse hyperbolic sine."""


@primitive("trigonometric", np.arccosh, openeo="arcosh", interpreted=NO_CODE)
def arcosh(a: Image) -> None:
    """Inverse hyperbolic cosine; NaN below 1."""


@primitive("trigonometric", np.arctanh, openeo="artanh", interpreted=NO_CODE)
def artanh(a: Image) -> None:
    """Inverse hyperbolic tangent; NaN outside of -1..1, infinite at its ends."""


@composite("trigonometric")
def degrees(a: Image) -> Image:
    """Radians as degrees."""
    return a * (180 / math.pi)


@composite("trigonometric")
def radians(a: Image) -> Image:
    """Degrees as radians."""
    return a * (math.pi / 180)


@primitive("trigonometric", np.sinc, interpreted=NO_CODE)
def sinc(a: Image) -> None:
    """sin(pi a) / (pi a), 1 at zero: NumPy's normalized sinc."""
