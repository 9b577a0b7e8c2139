"""Special functions per pixel: SciPy's, under Earth Engine's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from esd.operator import primitive

if TYPE_CHECKING:
    from esd.image import Image

__all__: list[str] = []

Array = npt.NDArray[Any]
SCIPY = "computed by SciPy"


def _scipy(name: str) -> Callable[..., Array]:
    """Return a function of `scipy.special`, which is imported when it is first called: it takes long to load."""

    def function(*arrays: Array) -> Array:
        from scipy import special

        return np.asarray(getattr(special, name)(*arrays))

    return function


def _trigamma(a: Array) -> Array:
    from scipy import special

    return np.asarray(special.polygamma(1, a))


def _lanczos(a: Array, *, size: float) -> Array:
    values = np.asarray(a)
    return np.where(np.abs(values) < size, np.sinc(values) * np.sinc(values / size), 0 * values)


@primitive("special", _scipy("erf"), interpreted=SCIPY)
def erf(a: Image) -> None:
    """Error function, -1 to 1."""


@primitive("special", _scipy("erfc"), interpreted=SCIPY)
def erfc(a: Image) -> None:
    """Complementary error function, 1 - erf(a), exact for large numbers too."""


@primitive("special", _scipy("erfinv"), interpreted=SCIPY)
def erf_inv(a: Image) -> None:
    """Inverse of the error function; NaN outside of -1..1, infinite at its ends."""


@primitive("special", _scipy("erfcinv"), interpreted=SCIPY)
def erfc_inv(a: Image) -> None:
    """Inverse of the complementary error function; NaN outside of 0..2."""


@primitive("special", _scipy("gamma"), interpreted=SCIPY)
def gamma(a: Image) -> None:
    """Gamma function; NaN at negative whole numbers."""


@primitive("special", _scipy("gammainc"), interpreted=SCIPY)
def gammainc(a: Image, x: Image) -> None:
    """Regularized lower incomplete gamma function P(a, x), 0 to 1; a and x not negative, else NaN."""


@primitive("special", _scipy("gammaln"), interpreted=SCIPY)
def lgamma(a: Image) -> None:
    """Logarithm of the absolute value of the gamma function."""


@primitive("special", _scipy("digamma"), interpreted=SCIPY)
def digamma(a: Image) -> None:
    """Derivative of the logarithm of the gamma function; NaN at negative whole numbers."""


@primitive("special", _trigamma, interpreted=SCIPY)
def trigamma(a: Image) -> None:
    """Second derivative of the logarithm of the gamma function."""


@primitive("special", _lanczos, interpreted=SCIPY)
def lanczos(a: Image, size: int = 3) -> None:
    """Lanczos window, sinc(a) sinc(a / size) inside of -size..size and 0 outside."""


@primitive("special", _scipy("expit"), interpreted=SCIPY)
def sigmoid(a: Image) -> None:
    """Logistic function, 1 / (1 + exp(-a)), 0 to 1."""
