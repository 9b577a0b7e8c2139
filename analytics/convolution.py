"""Weighted sums over neighbourhoods: convolution with a kernel, Gaussian smoothing, derivatives.

A smoothing kernel is normalized by the weights of the valid pixels, so that what is not valid does not count. A derivative
has no such form: it is valid only where all the pixels that it weighs are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType

from .neighbours import over_planes, plane_work, value_type

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Kernel = tuple[tuple[float, ...], ...]

LARGEST_SIDE = 101
CENTRAL: Kernel = ((0.5, 0.0, -0.5),)
SOBEL: Kernel = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))
LAPLACE: Kernel = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def _turned(kernel: Kernel) -> Kernel:
    """Return the kernel of the same derivative down the rows."""
    return tuple(zip(*kernel, strict=True))


def _floating(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.result_type(dtype, np.float32)


def _check_kernel(kernel: Any, normalize: bool) -> None:
    rows = kernel if isinstance(kernel, tuple) and all(isinstance(row, tuple) for row in kernel) else ()
    sides = {len(row) for row in rows}
    if len(sides) != 1 or len(rows) % 2 == 0 or min(sides) % 2 == 0 or max(len(rows), *sides) > LARGEST_SIDE:
        raise ExpressionError(
            f"convolve: the kernel must be rows of equal, odd length, an odd number of them, at most {LARGEST_SIDE}; "
            f"got {str(kernel)[:60]}"
        )
    if not all(isinstance(weight, int | float) and math.isfinite(weight) for row in rows for weight in row):
        raise ExpressionError(f"convolve: a kernel holds finite numbers only, got {str(kernel)[:60]}")
    if normalize and (min(min(row) for row in rows) < 0 or sum(map(sum, rows)) <= 0):
        raise ExpressionError("convolve: weights that are negative or all 0 cannot be normalized; set normalize=False")


def _convolve_rule(image: CubeType, *, kernel: Any, normalize: bool) -> CubeType:
    _check_kernel(kernel, normalize)
    return value_type(image, _floating(image.dtype))


def _kernel_halo(args: Mapping[str, Any]) -> int:
    return max(len(args["kernel"]), len(args["kernel"][0])) // 2


def weighted_sum(plane: Array, kernel: Sequence[Sequence[float]], halo: tuple[int, int]) -> Array:
    """Return the convolution of a plane that is wider by `halo` rows and columns on each side, weights row by row."""
    rows, columns = (length - 2 * wider for length, wider in zip(plane.shape, halo, strict=True))
    down, right = len(kernel) // 2, len(kernel[0]) // 2
    total = np.zeros((rows, columns), dtype=np.float64)
    product = np.empty_like(total)
    for i, weights in enumerate(kernel):
        for j, weight in enumerate(weights):
            if weight:
                y, x = halo[0] + down - i, halo[1] + right - j
                np.multiply(plane[y : y + rows, x : x + columns], weight, out=product)
                total += product
    return total


def _convolve_plane(values: Array, valid: Mask, kernel: Kernel, normalize: bool, reach: int) -> tuple[Array, Mask]:
    halo = reach, reach
    total = weighted_sum(np.where(valid, values, 0).astype(np.float64), kernel, halo)
    if normalize:
        weight = weighted_sum(valid.astype(np.float64), kernel, halo)
        return total / np.where(weight > 0, weight, 1), weight > 0
    used = [[float(weight != 0) for weight in row] for row in kernel]
    return total, weighted_sum((~valid).astype(np.float64), used, halo) == 0


@operator(
    "focal",
    Tile.FOCAL,
    _convolve_rule,
    halo=_kernel_halo,
    work=plane_work,
    openeo="apply_kernel",
    example="image.ndvi().median().convolve(((1, 2, 1), (2, 4, 2), (1, 2, 1)))",
)
def convolve(image: Block, kernel: tuple[tuple[float, ...], ...], normalize: bool = True) -> Block:
    """Convolution with a kernel: rows of weights, odd in number and length, turned by 180 degrees as SciPy does.

    With `normalize` the sum is divided by the weights of the valid pixels: a weighted mean, valid where any of them is.
    Without it the sum is taken as it is, valid where all pixels of a weight other than 0 are.
    """
    halo = _kernel_halo({"kernel": kernel})
    plane = partial(_convolve_plane, kernel=kernel, normalize=normalize, reach=halo)
    return over_planes(image, halo, _floating(image.values.dtype), plane)


def _gaussian_halo(args: Mapping[str, Any]) -> int:
    return int(4 * args["sigma"] + 0.5)


def _gaussian_rule(image: CubeType, *, sigma: float) -> CubeType:
    if not 0.25 <= sigma <= 25:
        raise ExpressionError(f"gaussian: sigma={sigma} pixels is out of range; give 0.25 to 25")
    return value_type(image, _floating(image.dtype))


def _gaussian_plane(values: Array, valid: Mask, weights: tuple[float, ...]) -> tuple[Array, Mask]:
    halo = len(weights) // 2

    def smooth(plane: Array) -> Array:
        down = weighted_sum(plane, [[weight] for weight in weights], (halo, 0))
        return weighted_sum(down, [weights], (0, halo))

    total = smooth(np.where(valid, values, 0).astype(np.float64))
    window = np.ones((2 * halo + 1, 2 * halo + 1))  # where all is valid the weights of one window are those of all
    weight = smooth(window if valid.all() else valid.astype(np.float64))
    return total / np.where(weight > 0, weight, 1), np.broadcast_to(weight > 0, total.shape)


@operator("focal", Tile.FOCAL, _gaussian_rule, halo=_gaussian_halo, work=plane_work)
def gaussian(image: Block, sigma: float = 1.0) -> Block:
    """Gaussian smoothing, `sigma` in pixels (0.25 to 25), cut at 4 sigma; weights of the valid pixels add up to 1."""
    halo = _gaussian_halo({"sigma": sigma})
    raw = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(-halo, halo + 1)]
    weights = tuple(weight / sum(raw) for weight in raw)
    return over_planes(image, halo, _floating(image.values.dtype), partial(_gaussian_plane, weights=weights))


@composite("focal")
def gradient(image: Image) -> Image:
    """Central differences per pixel: bands <band>_x to the right and <band>_y down the rows; valid where both sides are."""
    bands = image.type.bands
    right = image.convolve(CENTRAL, False).rename(*(f"{band}_x" for band in bands))
    return call("add_bands", right, image.convolve(_turned(CENTRAL), False).rename(*(f"{band}_y" for band in bands)))


@composite("focal")
def sobel(image: Image) -> Image:
    """Sobel's edge strength: length of the two 3 x 3 derivatives; valid where all pixels that they weigh are."""
    right, down = image.convolve(SOBEL, False), image.convolve(_turned(SOBEL), False)
    return (right * right + down * down).sqrt()


@composite("focal")
def laplacian(image: Image) -> Image:
    """Laplacian: the four neighbours minus four times the pixel; valid where all five are."""
    return image.convolve(LAPLACE, False)
