"""Bits of integers, and conversions of dtype that never wrap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator, primitive
from esd.space import CubeType, Space

from .functions import NO_CODE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__: list[str] = []

Array = npt.NDArray[Any]
DTYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64")
OVERFLOW = ("saturate", "mask")


@primitive("bitwise", np.bitwise_and, emit="bitwise_and")
def bitwise_and(a: Image, b: Image) -> None:
    """Bits that are set in both; integers and booleans only."""


@primitive("bitwise", np.bitwise_or, emit="bitwise_or")
def bitwise_or(a: Image, b: Image) -> None:
    """Bits that are set in one or both; integers and booleans only."""


@primitive("bitwise", np.bitwise_xor, emit="bitwise_xor")
def bitwise_xor(a: Image, b: Image) -> None:
    """Bits that are set in exactly one; integers and booleans only."""


@primitive("bitwise", np.bitwise_not, emit="bitwise_not")
def bitwise_not(a: Image) -> None:
    """All bits of the dtype turned over: of uint8 1 it is 254, of int8 1 it is -2; integers and booleans only."""


@primitive("bitwise", np.left_shift, interpreted=NO_CODE)
def left_shift(a: Image, b: Image) -> None:
    """Bits moved up by b places, what leaves the dtype is lost; integers only."""


@primitive("bitwise", np.right_shift, interpreted=NO_CODE)
def right_shift(a: Image, b: Image) -> None:
    """Bits moved down by b places; a negative number stays negative; integers only."""


@primitive("bitwise", np.bitwise_count, interpreted=NO_CODE)
def bit_count(a: Image) -> None:
    """How many bits are set, uint8; of a negative number those of its absolute value; integers only."""


@composite("bitwise", example="qa.extract_bits(8, 9)")
def extract_bits(a: Image, first: int, last: int | None = None) -> Image:
    """The number in bits first..last, the lowest bit being 0, as quality bands pack them; without `last` one bit."""
    end = first if last is None else last
    if not 0 <= first <= end <= 62:
        raise ExpressionError(f"extract_bits: bits {first}..{end} are out of range; give 0 <= first <= last <= 62")
    wide = call("cast", a, "int64")
    return call("bitwise_and", call("right_shift", wide, first), 2 ** (end - first + 1) - 1)


def _cast_rule(a: CubeType, *, dtype: str, overflow: str) -> CubeType:
    if dtype not in DTYPES:
        raise ExpressionError(f"cast: dtype={dtype!r} is not one of {', '.join(DTYPES)}")
    if overflow not in OVERFLOW:
        raise ExpressionError(f"cast: overflow={overflow!r} is not one of {', '.join(OVERFLOW)}")
    return a.with_(dtype=np.dtype(dtype), space=Space.VALUE, encoder=None)


def _limits(values: Array, target: np.dtype[Any]) -> tuple[Array, Array]:
    """Return values that fit an integer dtype, cut to its range, and where they fitted before."""
    lowest, highest = np.iinfo(target).min, np.iinfo(target).max
    if values.dtype.kind in "iu":
        inside = (values >= lowest) & (values <= highest)
        reach = np.iinfo(values.dtype)
        return np.clip(values, max(lowest, reach.min), min(highest, reach.max)), inside
    whole = np.trunc(values)
    top = np.nextafter(np.float64(highest) + 1, 0) if highest > 2**53 else np.float64(highest)
    inside = (whole >= lowest) & (whole <= top)
    return np.clip(np.where(np.isnan(whole), 0, whole), lowest, top), inside


@operator("cast", Tile.PIXEL, _cast_rule, interpreted="its validity follows from values")
def cast(a: Block, dtype: str, overflow: str = "saturate") -> Block:
    """The image in another dtype: uint8 to uint64, int8 to int64, float32 or float64. Floats are cut towards zero.

    What lies outside of an integer dtype becomes its end (`saturate`) or is not valid (`mask`), and never wraps; NaN is not
    valid as an integer. A float64 too large for float32 is infinite. The mask stays as it is otherwise.
    """
    target = np.dtype(dtype)
    if target.kind == "f" or a.values.dtype.kind == "b":
        return Block(a.values.astype(target), a.valid)
    values, inside = _limits(a.values, target)
    known = inside if overflow == "mask" else ~np.isnan(a.values) if a.values.dtype.kind == "f" else True
    return Block(values.astype(target), a.valid & known)


def _declare(dtype: str) -> None:
    def convert(a: Image) -> Image:
        return call("cast", a, dtype)

    convert.__name__ = f"to_{dtype}"
    convert.__doc__ = f"The image as {dtype}; what does not fit becomes the end of its range, as `cast` does."
    declare: Callable[..., Any] = composite("cast")
    declare(convert)


for _dtype in DTYPES:
    _declare(_dtype)
