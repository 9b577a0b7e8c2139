"""openEO's apply_kernel: weighted sums that do not turn the kernel, with a choice of what lies beyond the border."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.engine.scene import Scene
from esd.errors import ExpressionError
from esd.grid import Region
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType

from .convolution import LARGEST_SIDE, weighted_sum
from .neighbours import over_planes, plane_work, value_type

__all__: list[str] = []

Array = npt.NDArray[Any]
Kernel = tuple[tuple[float, ...], ...]

BORDERS = {"replicate": "edge", "reflect": "symmetric", "reflect_pixel": "reflect", "wrap": "wrap"}
"""What NumPy's `pad` calls openEO's borders."""
DOUBLE = np.dtype(np.float64)


def _check_kernel(kernel: Any) -> None:
    rows = kernel if isinstance(kernel, tuple) and all(isinstance(row, tuple) for row in kernel) else ()
    sides = {len(row) for row in rows}
    if len(sides) != 1 or len(rows) % 2 == 0 or min(sides) % 2 == 0 or max(len(rows), *sides) > LARGEST_SIDE:
        raise ExpressionError(
            f"apply_kernel: the kernel must be rows of equal, odd length, an odd number of them, at most {LARGEST_SIDE}; "
            f"got {str(kernel)[:60]}"
        )


def _turned(kernel: Kernel) -> Kernel:
    """Return the kernel whose convolution is the sum of this one's weights as they lie."""
    return tuple(row[::-1] for row in kernel[::-1])


def _halo(args: Mapping[str, Any]) -> int:
    return max(len(args["kernel"]), len(args["kernel"][0])) // 2


def _sum_rule(image: CubeType, *, kernel: Any, **_args: Any) -> CubeType:
    _check_kernel(kernel)
    return value_type(image, DOUBLE)


def _sum_plane(values: Array, valid: Array, kernel: Kernel, outside: float, reach: int) -> tuple[Array, Array]:
    total = weighted_sum(np.where(valid, values, outside).astype(np.float64), _turned(kernel), (reach, reach))
    return total, np.ones(total.shape, dtype=bool)


@operator("focal", Tile.FOCAL, _sum_rule, halo=_halo, work=plane_work)
def kernel_sum(image: Block, kernel: tuple[tuple[float, ...], ...], outside: float = 0.0) -> Block:
    """Sum of the neighbours times the weights that lie on them, float64, the kernel not turned; valid everywhere.

    What is not valid, or beyond the border, counts as `outside`.
    """
    halo = _halo({"kernel": kernel})
    return over_planes(image, halo, DOUBLE, partial(_sum_plane, kernel=kernel, outside=outside, reach=halo))


@dataclass(frozen=True)
class _Planes:
    """A whole result in memory."""

    values: Array

    @property
    def nbytes(self) -> int:
        return int(self.values.nbytes)

    def crop(self, region: Region) -> Block:
        values = self.values[(..., *region.slices)]
        return Block(values, np.ones(values.shape, dtype=bool))


def _edges_rule(image: CubeType, *, kernel: Any, border: str) -> CubeType:
    _check_kernel(kernel)
    if border not in BORDERS:
        raise ExpressionError(f"apply_kernel: border={border!r} is neither a number nor one of {', '.join(BORDERS)}")
    return value_type(image, DOUBLE)


def _whole_work(types: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    """Bytes of the whole image before and after, and of a plane that is being summed."""
    given = types[0]
    return (2 * len(given.time) * len(given.bands) + 3) * DOUBLE.itemsize * pixels


@operator("focal", Tile.GLOBAL, _edges_rule, work=_whole_work)
def kernel_sum_edges(image: Scene, kernel: tuple[tuple[float, ...], ...], border: str) -> _Planes:
    """Sum of the neighbours times the weights that lie on them, float64, the image going on beyond its border.

    `border` is `replicate` (aaa|abcd), `reflect` (cba|abcd), `reflect_pixel` (dcb|abcd) or `wrap` (bcd|abcd). What is not
    valid counts as 0. The whole image is held: a number as border needs no more than the neighbourhood, see `kernel_sum`.
    """
    values = np.zeros(image.shape, dtype=np.float64)
    for region, block in image.tiles():
        values[(..., *region.slices)] = np.where(block.valid, block.values, 0)
    halo = _halo({"kernel": kernel})
    result = np.empty_like(values)
    for time, bands in enumerate(values):
        for band, plane in enumerate(bands):
            wider = np.pad(plane, halo, mode=BORDERS[border])  # type: ignore[call-overload]  # one of NumPy's modes
            result[time, band] = weighted_sum(wider, _turned(kernel), (halo, halo))
    return _Planes(result)


@composite("focal", openeo="apply_kernel", example="image.apply_kernel(((1, 2, 1), (2, 4, 2), (1, 2, 1)), 1 / 16)")
def apply_kernel(
    image: Image,
    kernel: tuple[tuple[float, ...], ...],
    factor: float = 1.0,
    border: float | str = 0,
    replace_invalid: float = 0.0,
) -> Image:
    """Weighted sum of the neighbourhood times `factor`, as openEO defines it: the kernel is not turned, all is valid.

    What is NaN, infinite or not valid counts as `replace_invalid`. `border` is a number to go on with beyond the border, or
    one of replicate, reflect, reflect_pixel and wrap. `convolve` is the operator that leaves out what is not valid.
    """
    number = call("to_float64", image)
    usable = call("logical_and", call("is_valid", number), call("lt", call("absolute", number), float("inf")))
    clean = call("where", usable, number, replace_invalid)
    if isinstance(border, str):
        summed = call("kernel_sum_edges", clean, kernel, border)
    else:
        summed = call("kernel_sum", clean, kernel, float(border))
    return summed * factor
