"""The shape of arrays and matrices (times by bands): reshaped, padded, projected, sorted by keys, masked; bits as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType, Space
from esd.structure import common_grid

from .arrays import WHOLE_SERIES
from .matrices import labels_of

__all__: list[str] = []

Array = npt.NDArray[Any]
LONGEST = 1000
MOVES = "moves numbers and computes none"


def _shaped(image: CubeType, rows: int, columns: int) -> CubeType:
    time, bands = labels_of(image.time, rows), labels_of(image.bands, columns)
    return image.with_(time=time, bands=bands, space=Space.VALUE, encoder=None)


def _reshape_rule(image: CubeType, *, rows: int, columns: int) -> CubeType:
    numbers = len(image.time) * len(image.bands)
    if rows < 1 or columns < 1 or rows * columns != numbers:
        raise ExpressionError(
            f"array_reshape: {len(image.time)} times of {len(image.bands)} bands do not fill {rows} rows by {columns}"
        )
    return _shaped(image, rows, columns)


@operator("array", Tile.ARRAY, _reshape_rule, interpreted=MOVES, example="image.array_reshape(9, 2)")
def array_reshape(image: Block, rows: int, columns: int) -> Block:
    """The numbers of each pixel in so many rows (times) and columns (bands), row by row; each keeps its validity.

    Raises ExpressionError unless they are just as many.
    """
    shape = rows, columns, *image.values.shape[2:]
    return Block(image.values.reshape(shape), image.full_valid.reshape(shape))


def _fits(value: float, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "f":
        return True
    lowest, highest = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return float(value).is_integer() and lowest <= value <= highest


def _pad_rule(image: CubeType, *, lengths: tuple[int, ...], value: float) -> CubeType:
    if len(lengths) not in (1, 2) or not all(isinstance(n, int) and 1 <= n <= LONGEST for n in lengths):
        raise ExpressionError(f"array_pad: lengths={lengths} must be one or two whole numbers, 1 to {LONGEST}")
    if not _fits(value, image.dtype):
        raise ExpressionError(f"array_pad: value={value:g} is no {image.dtype}; .cast() the image first")
    rows, columns = _padded(image, lengths)
    return _shaped(image, rows, columns)


def _padded(image: CubeType, lengths: tuple[int, ...]) -> tuple[int, int]:
    rows, columns = (*lengths, 1)[:2]
    return max(rows, len(image.time)), max(columns, len(image.bands))


@operator("array", Tile.ARRAY, _pad_rule, interpreted=MOVES, example="image.ndvi().array_pad((5,), -1)")
def array_pad(image: Block, lengths: tuple[float, ...], value: float = 0.0) -> Block:
    """At least so many times, and bands where two lengths are given: a value, valid, is put after those that there are.

    What is longer stays as it is. Raises ExpressionError for lengths above 1,000 or a value that the dtype cannot hold.
    """
    times, bands = image.values.shape[:2]
    rows, columns = (int(length) for length in (*lengths, 1)[:2])
    after = ((0, max(rows - times, 0)), (0, max(columns - bands, 0)), (0, 0), (0, 0))
    filler = image.values.dtype.type(value)
    return Block(np.pad(image.values, after, constant_values=filler), np.pad(image.full_valid, after, constant_values=True))


@composite("array", example='image["nir"].array_project("time")')
def array_project(image: Image, axis: str) -> Image:
    """The array along one axis, `time` or `bands`, as times; the other axis must be of length one.

    Source: Earth Engine's arrayProject. Raises ExpressionError for another axis or a longer one.
    """
    given = image.type
    dropped = {"time": given.bands, "bands": given.time}
    if axis not in dropped:
        raise ExpressionError(f"array_project: axis={axis!r} is not one of time, bands")
    if len(dropped[axis]) != 1:
        raise ExpressionError(
            f"array_project: the other axis than {axis} has {len(dropped[axis])} labels, not one; reduce it"
        )
    return image if axis == "time" else call("array_transpose", image)


def _sort_rule(image: CubeType, keys: CubeType) -> CubeType:
    if len(keys.time) != len(image.time) or len(keys.bands) not in (1, len(image.bands)):
        raise ExpressionError(
            f"array_sort: keys of {len(keys.time)} times and {len(keys.bands)} bands do not fit {len(image.time)} times of "
            f"{len(image.bands)} bands; give a key for each time"
        )
    common_grid("array_sort", (image, keys))
    return image.with_(space=Space.VALUE, encoder=None)


@operator("array", Tile.TIME, _sort_rule, interpreted=WHOLE_SERIES, example="image.ndvi().array_sort(image.ndwi())")
def array_sort(image: Block, keys: Block) -> Block:
    """The times of each pixel in the order of ascending keys, ties in their order; NaN counts as larger than all others.

    Keys of one band serve all bands. Times whose key is not valid come at the end and are not valid. `sort` sorts an image
    by itself. Source: Earth Engine's arraySort. Raises ExpressionError unless there is a key for each time.
    """
    known = np.broadcast_to(keys.full_valid, image.values.shape)
    numbers = np.broadcast_to(keys.values, image.values.shape)
    places = np.argsort(numbers, axis=0, kind="stable")
    places = np.take_along_axis(
        places, np.argsort(~np.take_along_axis(known, places, axis=0), axis=0, kind="stable"), axis=0
    )
    valid = np.take_along_axis(image.full_valid & known, places, axis=0)
    return Block(np.where(valid, np.take_along_axis(image.values, places, axis=0), 0).astype(image.values.dtype), valid)


@composite("array", example="image.ndvi().array_mask(image.ndvi() > 0.3)")
def array_mask(image: Image, mask: Image) -> Image:
    """The times at which a mask is valid and not 0, moved to the start of each series; the rest is not valid.

    Source: Earth Engine's arrayMask, whose shorter arrays have here an end that is not valid.
    """
    return call("array_compact", call("update_mask", image, mask))


def _bits_rule(image: CubeType) -> CubeType:
    if image.dtype.kind not in "bui" or len(image.time) != 1:
        raise ExpressionError(f"bits_to_array: needs integers of one time, got {image.describe()}")
    bits = 1 if image.dtype.kind == "b" else 8 * image.dtype.itemsize
    time = tuple(f"bit_{i}" for i in range(bits))
    return image.with_(time=time, dtype=np.dtype(np.uint8), space=Space.VALUE, encoder=None)


@operator(
    "bitwise", Tile.ARRAY, _bits_rule, interpreted=MOVES, example="(image.ndvi().max() * 100).to_uint8().bits_to_array()"
)
def bits_to_array(image: Block) -> Block:
    """The bits of an integer as an array, uint8 0 or 1, the lowest bit first: a time for each bit of the dtype.

    Valid up to the highest bit that is set, so nowhere for 0; negative numbers are in two's complement. Source: Earth
    Engine's bitsToArrayImage. Raises ExpressionError for floats or several times.
    """
    dtype = image.values.dtype
    number = 1 if dtype.kind == "b" else 8 * dtype.itemsize
    whole = image.values.astype(np.uint8) if dtype.kind == "b" else image.values.view(f"u{dtype.itemsize}")
    places = np.arange(number, dtype=whole.dtype)[:, None, None, None]
    return Block(((whole >> places) & 1).astype(np.uint8), ((whole >> places) != 0) & image.full_valid)
