"""Kernels for `convolve`: shapes, derivatives and distances as rows of weights (tuples of tuples, odd in height and width).

Shapes weigh the pixels of a window alike, and add up to 1 with `normalize`. Radii are in pixels, 1 to 50. `convolve` turns a
kernel by 180 degrees, as convolution does: a derivative is written so that it is positive where values grow to the right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from esd.errors import ExpressionError

from .neighbours import check_window, offsets

__all__ = [
    "Kernel",
    "kernel_add",
    "kernel_chebyshev",
    "kernel_circle",
    "kernel_compass",
    "kernel_cross",
    "kernel_diamond",
    "kernel_euclidean",
    "kernel_fixed",
    "kernel_gaussian",
    "kernel_inverse",
    "kernel_kirsch",
    "kernel_laplacian4",
    "kernel_laplacian8",
    "kernel_manhattan",
    "kernel_octagon",
    "kernel_plus",
    "kernel_prewitt",
    "kernel_rectangle",
    "kernel_roberts",
    "kernel_rotate",
    "kernel_sobel",
    "kernel_square",
]

Kernel = tuple[tuple[float, ...], ...]
Weights = npt.NDArray[np.float64]


def _kernel(weights: Weights, normalize: bool = False) -> Kernel:
    scaled = weights / weights.sum() if normalize else weights
    return tuple(tuple(float(weight) for weight in row) for row in scaled)


def _steps(radius: int) -> tuple[Weights, Weights]:
    """Return how many pixels down and right of the centre each pixel of a square lies, without sign."""
    check_window("kernel", radius)
    down, right = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    return np.abs(down), np.abs(right)


def kernel_fixed(weights: Sequence[Sequence[float]]) -> Kernel:
    """Any weights, given row by row. Raises ExpressionError for rows of different length, an even side, or no numbers."""
    try:
        array = np.array(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ExpressionError(f"kernel: {str(weights)[:60]} is not rows of numbers of equal length") from error
    if array.ndim != 2 or array.shape[0] % 2 == 0 or array.shape[1] % 2 == 0 or not np.isfinite(array).all():
        raise ExpressionError(f"kernel: {str(weights)[:60]} must have an odd number of rows and columns of finite numbers")
    return _kernel(array)


def kernel_rectangle(rows: int, columns: int, normalize: bool = True) -> Kernel:
    """A window of `rows` pixels above and below, and `columns` left and right of the centre."""
    for radius in (rows, columns):
        if radius:
            check_window("kernel_rectangle", radius)
    return _kernel(np.ones((2 * rows + 1, 2 * columns + 1)), normalize)


def kernel_square(radius: int, normalize: bool = True) -> Kernel:
    """A square window."""
    return kernel_rectangle(radius, radius, normalize)


def _shaped(inside: Callable[[Weights, Weights], npt.NDArray[np.bool_]], radius: int, normalize: bool) -> Kernel:
    return _kernel(inside(*_steps(radius)).astype(np.float64), normalize)


def kernel_circle(radius: int, normalize: bool = True) -> Kernel:
    """Pixels whose centre is at most `radius` away."""
    check_window("kernel_circle", radius)
    weights = np.zeros((2 * radius + 1, 2 * radius + 1))
    for down, right in offsets(radius, "circle"):
        weights[radius + down, radius + right] = 1
    return _kernel(weights, normalize)


def kernel_diamond(radius: int, normalize: bool = True) -> Kernel:
    """Pixels at most `radius` steps away, steps going down or right."""
    return _shaped(lambda down, right: down + right <= radius, radius, normalize)


def kernel_octagon(radius: int, normalize: bool = True) -> Kernel:
    """A square whose corners are cut where the steps down and right are more than 1.5 times the radius, rounded down."""
    return _shaped(lambda down, right: down + right <= 3 * radius // 2, radius, normalize)


def kernel_plus(radius: int, normalize: bool = True) -> Kernel:
    """The row and the column of the centre."""
    return _shaped(lambda down, right: (down == 0) | (right == 0), radius, normalize)


def kernel_cross(radius: int, normalize: bool = True) -> Kernel:
    """The two diagonals through the centre, as Earth Engine's cross."""
    return _shaped(lambda down, right: down == right, radius, normalize)


def kernel_gaussian(radius: int, sigma: float = 1.0, normalize: bool = True) -> Kernel:
    """exp(-d^2 / (2 sigma^2)) of the distance d, `sigma` in pixels above 0, in a square window."""
    if not sigma > 0:
        raise ExpressionError(f"kernel_gaussian: sigma={sigma} must be above 0")
    down, right = _steps(radius)
    return _kernel(np.exp(-(down**2 + right**2) / (2 * sigma**2)), normalize)


def kernel_euclidean(radius: int, normalize: bool = False) -> Kernel:
    """The distance to the centre, in pixels."""
    return _kernel(np.hypot(*_steps(radius)), normalize)


def kernel_manhattan(radius: int, normalize: bool = False) -> Kernel:
    """Steps to the centre, down or right."""
    down, right = _steps(radius)
    return _kernel(down + right, normalize)


def kernel_chebyshev(radius: int, normalize: bool = False) -> Kernel:
    """Steps to the centre, down, right or both at once."""
    return _kernel(np.maximum(*_steps(radius)), normalize)


def kernel_laplacian4() -> Kernel:
    """Four neighbours minus four times the centre."""
    return _kernel(np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]))


def kernel_laplacian8() -> Kernel:
    """Eight neighbours minus eight times the centre."""
    return _kernel(np.array([[1.0, 1, 1], [1, -8, 1], [1, 1, 1]]))


def kernel_sobel() -> Kernel:
    """Sobel's derivative to the right; `kernel_rotate(k, 3)` is that down the rows."""
    return _kernel(np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]))


def kernel_prewitt() -> Kernel:
    """Prewitt's derivative to the right."""
    return _kernel(np.array([[1.0, 0, -1], [1, 0, -1], [1, 0, -1]]))


def kernel_roberts() -> Kernel:
    """Roberts' derivative down-right, centre minus the pixel above and left of it, in a window of 3 x 3."""
    return _kernel(np.array([[0.0, 0, 0], [0, 1, 0], [0, 0, -1]]))


@lru_cache(maxsize=1)
def _rings() -> tuple[tuple[int, int], ...]:
    """Return the eight outer pixels of a window of 3 x 3, clockwise from the upper left."""
    return (0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)


def _ring(weights: Sequence[float], direction: int) -> Kernel:
    kernel = np.zeros((3, 3))
    for i, place in enumerate(_rings()):
        kernel[place] = weights[(i - direction) % 8]
    return _kernel(kernel)


def kernel_kirsch(direction: int = 0) -> Kernel:
    """Kirsch's edge detector: 5 on three pixels in a row, -3 on the others; 0 north, then by 45 degrees clockwise."""
    return _ring((5, 5, 5, -3, -3, -3, -3, -3), direction)


def kernel_compass(direction: int = 0) -> Kernel:
    """Robinson's compass edge detector: 1, 2, 1 against -1, -2, -1; 0 north, then by 45 degrees clockwise."""
    return _ring((1, 2, 1, 0, -1, -2, -1, 0), direction)


def kernel_rotate(kernel: Kernel, quarters: int = 1) -> Kernel:
    """A kernel turned by quarters of a circle, anticlockwise."""
    return _kernel(np.rot90(np.array(kernel), quarters))


def kernel_add(one: Kernel, other: Kernel, normalize: bool = False) -> Kernel:
    """The sum of two kernels, the smaller one in the middle of the larger."""
    parts = [np.array(one, dtype=np.float64), np.array(other, dtype=np.float64)]
    shape = tuple(max(part.shape[i] for part in parts) for i in (0, 1))
    total = np.zeros(shape)
    for part in parts:
        y, x = ((side - own) // 2 for side, own in zip(shape, part.shape, strict=True))
        total[y : y + part.shape[0], x : x + part.shape[1]] += part
    return _kernel(total, normalize)


def kernel_inverse(kernel: Kernel) -> Kernel:
    """One over each weight; 0 stays 0."""
    weights = np.array(kernel, dtype=np.float64)
    return _kernel(np.where(weights == 0, 0, 1 / np.where(weights == 0, math.inf, weights)))
