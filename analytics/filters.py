"""Filters of values and of edges: correlation, a filter that keeps edges, Gabor's, zero crossings.

What is not valid, and what lies outside of the grid, does not count; a pixel that is not valid stays so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType

from .convolution import LARGEST_SIDE
from .neighbours import LARGEST_RADIUS, offsets, over_planes, plane_work, value_type

__all__ = ["floating", "shifted"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Kernel = tuple[tuple[float, ...], ...]


@composite("focal", example="image.ndvi().median().correlate(((0, 1, 2), (1, 2, 3), (2, 3, 4)))")
def correlate(image: Image, kernel: tuple[tuple[float, ...], ...], normalize: bool = True) -> Image:
    """Correlation with a kernel: as `convolve`, but the kernel lies on the pixels as it is written, not turned."""
    if not isinstance(kernel, tuple | list) or not all(isinstance(row, tuple | list) for row in kernel):
        raise ExpressionError(f"correlate: the kernel must be rows of weights, got {str(kernel)[:60]}")
    return call("convolve", image, tuple(tuple(row[::-1]) for row in kernel[::-1]), normalize)


def floating(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of a mean: float32 for all but float64."""
    return np.result_type(dtype, np.float32)


def shifted(plane: Array, halo: int, down: int, right: int) -> Array:
    """Return the pixels that lie `down` and `right` of those of a plane that is wider by `halo` on each side."""
    rows, columns = (length - 2 * halo for length in plane.shape)
    return plane[halo + down : halo + down + rows, halo + right : halo + right + columns]


def _bilateral_plane(values: Array, valid: Mask, radius: int, sigma_space: float, sigma_range: float) -> tuple[Array, Mask]:
    numbers = np.where(valid, values, 0).astype(np.float64)
    centre = shifted(numbers, radius, 0, 0)
    total, weights = np.zeros(centre.shape), np.zeros(centre.shape)
    for down, right in offsets(radius, "square"):
        there, counted = shifted(numbers, radius, down, right), shifted(valid, radius, down, right)
        near = math.exp(-0.5 * (down**2 + right**2) / sigma_space**2)
        weight = np.where(counted, near * np.exp(-0.5 * ((there - centre) / sigma_range) ** 2), 0)
        total += np.where(weight > 0, weight * there, 0)
        weights += weight
    return total / np.where(weights > 0, weights, 1), shifted(valid, radius, 0, 0) & np.isfinite(centre)


def _reach(args: Mapping[str, Any]) -> int:
    return max(1, math.ceil(2 * args["sigma_space"]))


def _bilateral_rule(image: CubeType, *, sigma_space: float, sigma_range: float) -> CubeType:
    if not 0.25 <= sigma_space <= LARGEST_RADIUS / 2 or not 0 < sigma_range < math.inf:
        raise ExpressionError(
            f"bilateral_filter: sigma_space={sigma_space:g} must be 0.25 to {LARGEST_RADIUS / 2:g} pixels, "
            f"sigma_range={sigma_range:g} above 0"
        )
    return value_type(image, floating(image.dtype))


@operator("focal", Tile.FOCAL, _bilateral_rule, halo=_reach, work=plane_work)
def bilateral_filter(image: Block, sigma_space: float = 1.0, sigma_range: float = 0.1) -> Block:
    """Smoothing that keeps edges: a mean of neighbours, weighed by how near they are and how alike.

    Weights are Gaussians of the distance (`sigma_space`, pixels, 0.25 to 25; the square window ends at 2 sigma) and of the
    difference (`sigma_range`, in the unit of the image). Valid where the pixel is, and is finite. Source: Tomasi and
    Manduchi (1998).
    """
    halo = _reach({"sigma_space": sigma_space})
    plane = partial(_bilateral_plane, radius=halo, sigma_space=sigma_space, sigma_range=sigma_range)
    with np.errstate(invalid="ignore", over="ignore"):  # next to infinite values, which weigh nothing
        return over_planes(image, halo, floating(image.values.dtype), plane)


def _crossing_plane(values: Array, valid: Mask) -> tuple[Array, Mask]:
    sign = np.where(valid, np.sign(values.astype(np.float64)), 0)
    centre, inside = shifted(sign, 1, 0, 0), shifted(valid, 1, 0, 0)
    crossing = centre == 0
    for down, right in ((0, 1), (1, 0), (1, 1)):
        crossing |= centre * shifted(sign, 1, down, right) < 0
    return crossing, inside & ~np.isnan(centre)


def _bool_rule(image: CubeType) -> CubeType:
    return value_type(image, np.dtype(bool))


def _one(_args: Mapping[str, Any]) -> int:
    return 1


@operator(
    "focal", Tile.FOCAL, _bool_rule, halo=_one, work=plane_work, example="image.ndvi().median().laplacian().zero_crossing()"
)
def zero_crossing(image: Block) -> Block:
    """Whether the sign changes from a pixel to the one right, below or below right of it, or the pixel is 0.

    Applied to a Laplacian it draws edges (Marr and Hildreth, 1980). Neighbours that are not valid cross nothing; valid
    where the pixel is, and is not NaN.
    """
    return over_planes(image, 1, np.dtype(bool), _crossing_plane)


def _gabor_kernels(frequency: float, theta: float, bandwidth: float) -> tuple[Kernel, Kernel]:
    """Return the even and odd part of the kernel of `skimage.filters.gabor_kernel`, turned for `convolve`."""
    ratio = (2**bandwidth + 1) / (2**bandwidth - 1)
    sigma = ratio * math.sqrt(math.log(2) / 2) / math.pi / frequency
    halo = math.ceil(max(3 * sigma * max(abs(math.cos(theta)), abs(math.sin(theta))), 1))
    if 2 * halo + 1 > LARGEST_SIDE:
        raise ExpressionError(
            f"gabor: a frequency of {frequency:g} with bandwidth {bandwidth:g} needs {2 * halo + 1} pixels a side, at most "
            f"{LARGEST_SIDE} are taken; raise either"
        )
    even, odd = [], []
    for y in range(-halo, halo + 1):
        rows: tuple[list[float], list[float]] = ([], [])
        for x in range(-halo, halo + 1):
            along = x * math.cos(theta) + y * math.sin(theta)
            height = math.exp(-0.5 * (x * x + y * y) / sigma**2) / (2 * math.pi * sigma**2)
            rows[0].append(height * math.cos(2 * math.pi * frequency * along))
            rows[1].append(height * math.sin(2 * math.pi * frequency * along))
        even.append(tuple(rows[0]))
        odd.append(tuple(rows[1]))
    return tuple(even), tuple(odd)


@composite("texture", example="image.ndvi().median().gabor(0.2, 45.0)")
def gabor(image: Image, frequency: float, theta: float = 0.0, bandwidth: float = 1.0) -> Image:
    """Strength of waves of a `frequency` (per pixel, 0 to 0.5) in a direction: magnitude of Gabor's complex filter.

    `theta` is in degrees: 0 for waves along the rows, 90 down the columns; `bandwidth` in octaves tells how far around the
    frequency is heard. Valid where all pixels of the window are. Source: Daugman (1985), as scikit-image has it.
    """
    if not 0 < frequency <= 0.5 or not 0.1 <= bandwidth <= 10:
        raise ExpressionError(f"gabor: frequency={frequency:g} must be in 0..0.5, bandwidth={bandwidth:g} in 0.1..10")
    even, odd = (call("convolve", image, part, False) for part in _gabor_kernels(frequency, math.radians(theta), bandwidth))
    return (even * even + odd * odd).sqrt()
