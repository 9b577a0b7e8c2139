"""Masks: validity as a band, quality bands of products by name, gaps filled from around."""

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

from .focal import radius_of
from .neighbours import check_window, over_planes, plane_work, value_type

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Bits = tuple[int, int, tuple[int, ...]]
"""First and last bit of a field of a quality band, and the numbers in it that tell of a condition."""

METHODS = ("idw", "nearest")
LARGEST_GAP = 25


def _bit(place: int) -> Bits:
    return place, place, (1,)


def _scene_class(*classes: int) -> Bits:
    return 0, 7, classes


QUALITY: dict[str, dict[str, Bits]] = {
    "landsat_c2": {
        "fill": _bit(0),
        "dilated_cloud": _bit(1),
        "cirrus": _bit(2),
        "cloud": _bit(3),
        "cloud_shadow": _bit(4),
        "snow": _bit(5),
        "water": _bit(7),
    },
    "sentinel2_scl": {
        "fill": _scene_class(0),
        "saturated": _scene_class(1),
        "dark": _scene_class(2),
        "cloud_shadow": _scene_class(3),
        "water": _scene_class(6),
        "unclassified": _scene_class(7),
        "cloud": _scene_class(8, 9),
        "cirrus": _scene_class(10),
        "snow": _scene_class(11),
    },
    "modis_state": {
        "cloud": (0, 1, (1, 2)),
        "cloud_shadow": _bit(2),
        "cirrus": (8, 9, (2, 3)),
        "internal_cloud": _bit(10),
        "adjacent_cloud": _bit(13),
        "snow": _bit(12),
    },
}
"""Conditions of quality bands: Landsat Collection 2 QA_PIXEL (USGS LSDS-1619), Sentinel-2 level 2A scene classes (ESA),
MODIS state_1km of MOD09 (user's guide, table 13)."""
REMOVED = ("fill", "saturated", "dilated_cloud", "cirrus", "cloud", "cloud_shadow", "internal_cloud")
"""Conditions that are removed if none is named: what is no clear view of the ground."""


@composite("mask", example="image.mask()")
def mask(image: Image) -> Image:
    """Whether the image is valid, band by band; itself valid everywhere. NaN is a value: `is_valid` counts it out."""
    return call("logical_not", call("is_nodata", image))


@composite("mask", example='image.mask_qa(qa, "landsat_c2", ("dilated_cloud", "cirrus"))')
def mask_qa(image: Image, quality: Image, product: str, remove: tuple[str, ...] = ()) -> Image:
    """Make not valid where a quality band, of one band of integers, tells of a condition; also where it is not valid itself.

    `product` is landsat_c2 (QA_PIXEL), sentinel2_scl (scene classes) or modis_state (state_1km). `remove` names conditions:
    fill, cloud, cloud_shadow, cirrus, snow, water; dilated_cloud of Landsat; saturated, dark, unclassified of Sentinel-2;
    internal_cloud, adjacent_cloud of MODIS. Without it all are removed that hide the ground (not snow, water, dark).
    Raises ExpressionError for another product, or a condition that its quality band does not tell of.
    """
    known = QUALITY.get(product)
    if known is None:
        raise ExpressionError(f"mask_qa: product={product!r} is not one of {', '.join(QUALITY)}")
    unknown = [name for name in remove if name not in known]
    if unknown:
        raise ExpressionError(f"mask_qa: {product} does not tell of {unknown[0]!r}; it does of {', '.join(known)}")
    clear: Image | None = None
    for name in remove or [name for name in known if name in REMOVED]:
        first, last, numbers = known[name]
        field = call("extract_bits", quality, first, last)
        for number in numbers:
            other = call("neq", field, number)
            clear = other if clear is None else call("logical_and", clear, other)
    if clear is None:
        raise ExpressionError(f"mask_qa: no condition of {product} is named")
    return call("update_mask", image, clear)


def _gaps_rule(image: CubeType, *, radius: int, method: str) -> CubeType:
    check_window("fill_gaps", radius, largest=LARGEST_GAP)
    if method not in METHODS:
        raise ExpressionError(f"fill_gaps: method={method!r} is not one of {', '.join(METHODS)}")
    if method == "idw" and image.dtype.kind != "f":
        raise ExpressionError(f'fill_gaps: idw would average {image.dtype}; use method="nearest", or .cast() it')
    return value_type(image)


def _around(radius: int) -> list[tuple[float, int, int]]:
    """Return the squared distance, row and column of the pixels of a circle around its centre, the nearest first."""
    reach = range(-radius, radius + 1)
    return sorted((y * y + x * x, y, x) for y in reach for x in reach if 0 < y * y + x * x <= radius**2)


def _filled(values: Array, valid: Mask, radius: int, method: str) -> tuple[Array, Mask]:
    inner = (slice(radius, values.shape[0] - radius), slice(radius, values.shape[1] - radius))
    result, known = values[inner].copy(), valid[inner].copy()
    rows, columns = np.nonzero(~known)
    total, weights = np.zeros(len(rows)), np.zeros(len(rows))
    for squared, y, x in _around(radius):
        place = rows + radius + y, columns + radius + x
        there = valid[place]
        if method == "idw":
            total += np.where(there, values[place], 0).astype(np.float64) * there / squared
            weights += there / squared
        else:
            fresh = there & ~known[rows, columns]
            result[rows[fresh], columns[fresh]] = values[place[0][fresh], place[1][fresh]]
            known[rows[fresh], columns[fresh]] = True
    if method == "idw":
        result[rows, columns] = np.where(weights > 0, total / np.where(weights > 0, weights, 1), 0)
        known[rows, columns] = weights > 0
    return result, known


def _gaps_work(types: Sequence[CubeType], args: Mapping[str, Any], pixels: int) -> int:
    """Bytes of the places of gaps and of what is summed for them, at worst of all pixels."""
    return plane_work(types, args, pixels) + math.isqrt(pixels) * int(args["radius"])


@operator("focal", Tile.FOCAL, _gaps_rule, halo=radius_of, work=_gaps_work, example="image.ndvi().median().fill_gaps(3)")
def fill_gaps(image: Block, radius: int, method: str = "idw") -> Block:
    """Fill what is not valid from the valid pixels within `radius` pixels (1 to 25), each time and band by itself.

    `idw` weighs them by one over their squared distance; `nearest` takes the nearest one, of equally near ones the upper,
    then the left one. Where there is none the gap stays. Valid pixels stay as they are. Raises ExpressionError for idw of
    integers. In time, `array_interpolate_linear` fills.
    """
    plane = partial(_filled, radius=radius, method=method)
    return over_planes(image, radius, image.values.dtype, plane)
