"""Many times made one: mosaics, and the observation of each pixel that is best or most typical.

Each number of these composites has been observed: unlike in a median per band, all bands of a pixel are of one time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import BandError, ExpressionError
from esd.image import Image, call, composite
from esd.operator import Band, Tile, operator
from esd.space import CubeType
from esd.structure import common_grid

__all__ = ["finite", "take_times"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
WHOLE_PIXEL = "needs all times and bands of a pixel at once"
ORDERS = ("first", "last")


def finite(values: Array, valid: Mask) -> Mask:
    """Return where values are valid numbers: neither masked, nor NaN or infinite."""
    return valid & np.isfinite(values) if values.dtype.kind == "f" else valid


def take_times(image: Block, place: Array, known: Mask) -> Block:
    """Return of each pixel all bands of the time at `place` [y, x], where `known`; one time."""
    index = np.broadcast_to(place[None, None], (1, *image.values.shape[1:]))
    values = np.take_along_axis(image.values, index, axis=0)
    valid = np.take_along_axis(image.full_valid, index, axis=0) & known
    return Block(np.where(valid, values, values.dtype.type(0)), valid)


def _one_time(image: CubeType) -> CubeType:
    return image.with_(time=image.time[:1])


@composite("temporal")
def mosaic(image: Image, order: str = "last") -> Image:
    """The valid value on top of each pixel and band: that of the last time, or of the `first`.

    Raises ExpressionError for another order.
    """
    if order not in ORDERS:
        raise ExpressionError(f"mosaic: order={order!r} is not one of {', '.join(ORDERS)}")
    return call("reduce", image, order)


def _quality_rule(image: CubeType, *, band: str) -> CubeType:
    if band not in image.bands:
        raise BandError(f"quality_mosaic: there is no band {band!r}; the input has {', '.join(image.bands)}")
    return _one_time(image)


def _take_rule(image: CubeType, place: CubeType) -> CubeType:
    if len(place.time) > 1 or len(place.bands) > 1:
        raise ExpressionError(f"take_time: the position is {place.describe()}; give one of one time and band")
    return _one_time(image).with_(grid=common_grid("take_time", (image, place)))


@operator("temporal", Tile.ARRAY, _take_rule, interpreted=WHOLE_PIXEL, example="image.take_time(image['nir'].argmax())")
def take_time(image: Block, place: Block) -> Block:
    """All bands of each pixel at the time of its own position, from 0, such as `argmax` gives it.

    `place` has one time and band. Not valid where the position is not valid or outside of the times, and in bands that are
    not valid at that time.
    """
    where = place.values[0, 0].astype(np.int64)
    known = place.full_valid[0, 0] & (where >= 0) & (where < len(image.values))
    return take_times(image, np.where(known, where, 0), known)


@composite("temporal", example="image.ndvi().add_bands(image).quality_mosaic('ndvi')")
def quality_mosaic(image: Image, band: Band) -> Image:
    """All bands of the time at which one band is largest, such as the greenest; of equal ones the earliest.

    Times at which that band is not valid, or NaN, are not looked at; pixels without any other are not valid. Raises
    BandError for a band that is not there.
    """
    _quality_rule(image.type, band=band)
    quality = call("select", image, band)
    if quality.type.dtype.kind == "f":
        quality = call("update_mask", quality, call("logical_not", call("is_nan", quality)))
    return call("take_time", image, call("reduce", quality, "argmax"))


def _medoid_work(types: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    return pixels * 8 * (len(types[0].bands) + len(types[0].time) + 6) * 2


@operator("temporal", Tile.ARRAY, _one_time, work=_medoid_work, interpreted=WHOLE_PIXEL)
def medoid(image: Block) -> Block:
    """All bands of the most typical time of each pixel: the one least far, in sum, from all others (Euclidean, float64).

    Only times at which all bands are valid and finite count; of equally typical ones the earliest is taken. Takes n^2 steps
    for n times. Source: Flood (2013), "Seasonal composite Landsat TM/ETM+ images using the medoid".
    """
    usable = np.asarray(finite(image.values, image.full_valid).all(axis=1))
    times = len(usable)
    totals = np.zeros(usable.shape, dtype=np.float64)
    for later in range(1, times):
        for earlier in range(later):
            squares = np.zeros(usable.shape[1:], dtype=np.float64)
            for one, other in zip(image.values[later], image.values[earlier], strict=True):
                squares += np.where(usable[later] & usable[earlier], one.astype(np.float64) - other, 0.0) ** 2
            apart = np.sqrt(squares)
            totals[later] += apart
            totals[earlier] += apart
    place = np.argmin(np.where(usable, totals, np.inf), axis=0)
    return take_times(image, place, np.asarray(usable.any(axis=0)))
