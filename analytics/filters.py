"""Filters of values and of edges: correlation, edge-keeping and speckle filters, Gabor's, zero crossings.

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
from .focal import radius_of
from .neighbours import LARGEST_RADIUS, check_window, offsets, over_planes, plane_work, value_type

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Kernel = tuple[tuple[float, ...], ...]

SPECKLE = ("lee", "gamma_map", "frost")


@composite("focal", example="image.ndvi().median().correlate(((0, 1, 2), (1, 2, 3), (2, 3, 4)))")
def correlate(image: Image, kernel: tuple[tuple[float, ...], ...], normalize: bool = True) -> Image:
    """Correlation with a kernel: as `convolve`, but the kernel lies on the pixels as it is written, not turned."""
    if not isinstance(kernel, tuple | list) or not all(isinstance(row, tuple | list) for row in kernel):
        raise ExpressionError(f"correlate: the kernel must be rows of weights, got {str(kernel)[:60]}")
    return call("convolve", image, tuple(tuple(row[::-1]) for row in kernel[::-1]), normalize)


def _floating(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.result_type(dtype, np.float32)


def _shifted(plane: Array, halo: int, down: int, right: int) -> Array:
    """Return the pixels that lie `down` and `right` of those of a plane that is wider by `halo` on each side."""
    rows, columns = (length - 2 * halo for length in plane.shape)
    return plane[halo + down : halo + down + rows, halo + right : halo + right + columns]


def _bilateral_plane(values: Array, valid: Mask, radius: int, sigma_space: float, sigma_range: float) -> tuple[Array, Mask]:
    numbers = np.where(valid, values, 0).astype(np.float64)
    centre = _shifted(numbers, radius, 0, 0)
    total, weights = np.zeros(centre.shape), np.zeros(centre.shape)
    for down, right in offsets(radius, "square"):
        there, counted = _shifted(numbers, radius, down, right), _shifted(valid, radius, down, right)
        near = math.exp(-0.5 * (down**2 + right**2) / sigma_space**2)
        weight = np.where(counted, near * np.exp(-0.5 * ((there - centre) / sigma_range) ** 2), 0)
        total += np.where(weight > 0, weight * there, 0)
        weights += weight
    return total / np.where(weights > 0, weights, 1), _shifted(valid, radius, 0, 0) & np.isfinite(centre)


def _reach(args: Mapping[str, Any]) -> int:
    return max(1, math.ceil(2 * args["sigma_space"]))


def _bilateral_rule(image: CubeType, *, sigma_space: float, sigma_range: float) -> CubeType:
    if not 0.25 <= sigma_space <= LARGEST_RADIUS / 2 or not 0 < sigma_range < math.inf:
        raise ExpressionError(
            f"bilateral_filter: sigma_space={sigma_space:g} must be 0.25 to {LARGEST_RADIUS / 2:g} pixels, "
            f"sigma_range={sigma_range:g} above 0"
        )
    return value_type(image, _floating(image.dtype))


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
        return over_planes(image, halo, _floating(image.values.dtype), plane)


def _crossing_plane(values: Array, valid: Mask) -> tuple[Array, Mask]:
    sign = np.where(valid, np.sign(values.astype(np.float64)), 0)
    centre, inside = _shifted(sign, 1, 0, 0), _shifted(valid, 1, 0, 0)
    crossing = centre == 0
    for down, right in ((0, 1), (1, 0), (1, 1)):
        crossing |= centre * _shifted(sign, 1, down, right) < 0
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


def _check_looks(name: str, looks: float, method: str) -> None:
    if method not in SPECKLE:
        raise ExpressionError(f"{name}: method={method!r} is not one of {', '.join(SPECKLE)}")
    if not 0 < looks < math.inf:
        raise ExpressionError(f"{name}: looks={looks:g} must be above 0, the equivalent number of looks")


def _frost_plane(values: Array, valid: Mask, radius: int, damping: float) -> tuple[Array, Mask]:
    numbers = np.where(valid, values, 0).astype(np.float64)
    shape = _shifted(numbers, radius, 0, 0).shape
    window = [(y, x, _shifted(numbers, radius, y, x), _shifted(valid, radius, y, x)) for y, x in offsets(radius, "square")]
    count, mean, squares = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for _down, _right, there, counted in window:
        count += counted
        mean += there
    mean /= np.maximum(count, 1)
    for _down, _right, there, counted in window:
        squares += np.where(counted, (there - mean) ** 2, 0)
    decay = damping * squares / np.maximum(count, 1) / np.where(mean != 0, mean, 1) ** 2
    total, weights = np.zeros(shape), np.zeros(shape)
    for down, right, there, counted in window:
        weight = np.where(counted, np.exp(-decay * math.hypot(down, right)), 0)
        total += weight * there
        weights += weight
    return total / np.where(weights > 0, weights, 1), _shifted(valid, radius, 0, 0)


def _frost_rule(image: CubeType, *, radius: int, damping: float) -> CubeType:
    check_window("frost_filter", radius)
    if not 0 < damping < math.inf:
        raise ExpressionError(f"frost_filter: damping={damping:g} must be above 0")
    return value_type(image, _floating(image.dtype))


@operator("focal", Tile.FOCAL, _frost_rule, halo=radius_of, work=plane_work)
def frost_filter(image: Block, radius: int = 2, damping: float = 1.0) -> Block:
    """Frost's speckle filter: a mean of the window whose weights fall the faster with distance the more the window varies.

    Weights are exp(-`damping` x variance / mean^2 x distance in pixels). Valid where the pixel is. Source: Frost et al.
    (1982).
    """
    plane = partial(_frost_plane, radius=radius, damping=damping)
    with np.errstate(invalid="ignore", over="ignore"):  # windows that hold infinite values give NaN
        return over_planes(image, radius, _floating(image.values.dtype), plane)


@composite("focal", example="image.decode().select('red').median().lee_filter(2, 4.0)")
def lee_filter(image: Image, radius: int = 3, looks: float = 1.0, method: str = "lee") -> Image:
    """Speckle filter of radar intensity (linear, not dB) with `looks` equivalent looks, in a square window; float64.

    With m and v, mean and variance of the window, u2 = 1 / looks and c2 = v / m^2: `lee` gives m + w (x - m) with
    w = (1 - u2 / c2) / (1 + u2), cut to 0..1; `gamma_map` gives m where c2 <= u2, x where c2 >= 2 u2, and between them the
    most likely of Gamma-distributed values (Lopes et al., 1993); `frost` is `frost_filter`. Valid where the pixel is.
    Source: Lee (1980).
    """
    _check_looks("lee_filter", looks, method)
    wide = call("to_float64", image)
    if method == "frost":
        return call("frost_filter", wide, radius)
    mean, variance = call("focal_mean", wide, radius), call("focal_variance", wide, radius)
    speckle, varies = 1 / looks, variance / (mean * mean)
    if method == "lee":
        weight = call("where", varies > 0, (1 - speckle / varies) / (1 + speckle), 0.0).clamp(0.0, 1.0)
        return mean + weight * (wide - mean)
    alpha = (1 + speckle) / (varies - speckle)
    beta = alpha - looks - 1
    likely = (beta * mean + (beta * beta * mean * mean + 4 * alpha * looks * mean * wide).sqrt()) / (2 * alpha)
    between = call("where", varies >= 2 * speckle, wide, likely)
    return call("where", varies <= speckle, mean, between).update_mask(call("is_valid", image))


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
