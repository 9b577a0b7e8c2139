"""Windows as a whole: any reducer over them, their pixels as bands, and patterns of neighbours.

Windows are those of `focal_mean`: what is not valid, and what lies outside of the grid, does not count.
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
from esd.reducer import get_reducer
from esd.space import CubeType

from .focal import radius_of
from .neighbours import check_window, gather, gather_work, offsets, over_planes, plane_work, value_type

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
MOST_BANDS = 4096


@composite("focal", example="image.ndvi().median().focal_range(2)")
def focal_range(image: Image, radius: int = 1, shape: str = "square") -> Image:
    """Largest minus smallest valid value of the window; of booleans, whether both occur; NaN where one of them is NaN."""
    largest, smallest = call("focal_max", image, radius, shape), call("focal_min", image, radius, shape)
    return call("neq" if image.type.dtype.kind == "b" else "subtract", largest, smallest)


def _reduced(values: Array, valid: Mask, reducer: str, radius: int, shape: str) -> tuple[Array, Mask]:
    reduce = get_reducer(reducer)
    parts = [reduce(windows, masks) for _rows, (windows, masks) in gather((values, valid), radius, shape)]
    return np.concatenate([part for part, _mask in parts]), np.concatenate([mask for _part, mask in parts])


def _result_dtype(reducer: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    probe, _valid = get_reducer(reducer)(np.zeros((1, 1), dtype=dtype), np.ones((1, 1), dtype=bool))
    return np.dtype(probe.dtype)


def _neighborhood_rule(image: CubeType, *, reducer: str, radius: int, shape: str) -> CubeType:
    check_window("reduce_neighborhood", radius, shape)
    return value_type(image, _result_dtype(reducer, image.dtype))


@operator(
    "focal",
    Tile.FOCAL,
    _neighborhood_rule,
    halo=radius_of,
    work=gather_work,
    example='image.ndvi().median().reduce_neighborhood("p90", 2)',
)
def reduce_neighborhood(image: Block, reducer: str, radius: int = 1, shape: str = "square") -> Block:
    """Any reducer (as "median", "p90", "sample_std") over the valid pixels of the window, row by row; all weigh alike.

    Valid where the reducer has a result: for most, where any pixel of the window is valid. For weights of a kernel see
    `convolve`. Raises ExpressionError for an unknown reducer.
    """
    plane = partial(_reduced, reducer=reducer, radius=radius, shape=shape)
    return over_planes(image, radius, _result_dtype(reducer, image.values.dtype), plane)


@composite("focal", example="image.ndvi().median().focal_percentile(90, 2)")
def focal_percentile(image: Image, percent: float, radius: int = 1, shape: str = "square") -> Image:
    """Percentile (0 to 100) of the valid pixels of the window, exact; linear between the two nearest."""
    if not 0 <= percent <= 100:
        raise ExpressionError(f"focal_percentile: percent={percent:g} is out of range; give 0 to 100")
    return call("reduce_neighborhood", image, f"p{percent:.10g}", radius, shape)


def _to_bands_rule(image: CubeType, *, radius: int, shape: str) -> CubeType:
    check_window("neighborhood_to_bands", radius, shape)
    around = offsets(radius, shape)
    if len(image.bands) * len(around) > MOST_BANDS:
        raise ExpressionError(
            f"neighborhood_to_bands: {len(image.bands)} bands of {len(around)} pixels are more than {MOST_BANDS}; "
            f"take a smaller radius than {radius}"
        )
    return value_type(image).with_(bands=tuple(f"{band}_{down}_{right}" for band in image.bands for down, right in around))


@operator(
    "focal",
    Tile.FOCAL,
    _to_bands_rule,
    halo=radius_of,
    work=plane_work,
    example="image.ndvi().median().neighborhood_to_bands(1)",
)
def neighborhood_to_bands(image: Block, radius: int = 1, shape: str = "square") -> Block:
    """The pixels of the window as bands: <band>_<down>_<right>, band by band, row by row; each valid where its pixel is."""
    times, bands, rows, columns = (length - 2 * radius * (axis > 1) for axis, length in enumerate(image.values.shape))
    around, full = offsets(radius, shape), image.full_valid
    target = (times, bands * len(around), rows, columns)
    values, valid = np.empty(target, dtype=image.values.dtype), np.empty(target, dtype=bool)
    for band in range(bands):
        for place, (down, right) in enumerate(around):
            window = (slice(radius + down, radius + down + rows), slice(radius + right, radius + right + columns))
            valid[:, band * len(around) + place] = full[:, band, *window]
            values[:, band * len(around) + place] = np.where(full[:, band, *window], image.values[:, band, *window], 0)
    return Block(values, valid)


PATTERNS = ("default", "uniform", "rotation")
MOST_POINTS = 24


def _ring(points: int, radius: float) -> list[tuple[float, float]]:
    """Return how far down and right of the centre the points of a ring lie, from the right, against the clock."""
    turns = [2 * math.pi * point / points for point in range(points)]
    return [(round(-radius * math.sin(turn), 5), round(radius * math.cos(turn), 5)) for turn in turns]


def _between(plane: Array, halo: int, down: float, right: float) -> Array:
    """Interpolate a plane, wider by `halo`, bilinearly at an offset from each of its pixels."""
    rows, columns = (length - 2 * halo for length in plane.shape)
    top, left = math.floor(down), math.floor(right)
    below, beside = down - top, right - left

    def part(y: int, x: int) -> Array:
        return plane[halo + y : halo + y + rows, halo + x : halo + x + columns]

    def row(y: int) -> Array:
        return (1 - beside) * part(y, left) + beside * part(y, left + 1) if beside else part(y, left)

    return (1 - below) * row(top) + below * row(top + 1) if below else row(top)


def _pattern_plane(values: Array, valid: Mask, points: int, radius: float, method: str) -> tuple[Array, Mask]:
    halo = _ring_halo({"radius": radius})
    numbers = np.where(valid, values, 0).astype(np.float64)
    missing = (~valid | np.isnan(numbers)).astype(np.float64)
    centre = _between(numbers, halo, 0, 0)
    known = _between(missing, halo, 0, 0) == 0
    bits = []
    for down, right in _ring(points, radius):
        bits.append(_between(numbers, halo, down, right) >= centre)
        known &= _between(missing, halo, down, right) == 0
    if method == "uniform":
        changes = sum((bits[i] != bits[i - 1]).astype(np.int64) for i in range(points))
        return np.where(np.asarray(changes) <= 2, np.sum(bits, axis=0, dtype=np.int64), points + 1), known
    codes = np.asarray(sum(bit.astype(np.int64) << place for place, bit in enumerate(bits)))
    if method == "default":
        return codes, known
    smallest = codes
    for _turn in range(points - 1):
        codes = (codes >> 1) | ((codes & 1) << (points - 1))
        smallest = np.minimum(smallest, codes)
    return smallest, known


def _ring_halo(args: Mapping[str, Any]) -> int:
    return math.ceil(args["radius"])


def _pattern_rule(image: CubeType, *, points: int, radius: float, method: str) -> CubeType:
    if not 3 <= points <= MOST_POINTS or not 1 <= radius <= 50:
        raise ExpressionError(
            f"local_binary_pattern: points={points} must be 3 to {MOST_POINTS}, radius={radius:g} 1 to 50 pixels"
        )
    if method not in PATTERNS:
        raise ExpressionError(f"local_binary_pattern: method={method!r} is not one of {', '.join(PATTERNS)}")
    return value_type(image, np.dtype(np.int32))


@operator("texture", Tile.FOCAL, _pattern_rule, halo=_ring_halo, work=plane_work)
def local_binary_pattern(image: Block, points: int = 8, radius: float = 1.0, method: str = "default") -> Block:
    """Local binary pattern: which of the `points` on a ring are not below the pixel, as the bits of a number; int32.

    Points, 3 to 24, lie `radius` pixels (1 to 50) away, the first to the right, then against the clock; values between
    pixels are interpolated bilinearly. `method`: default (the number), rotation (the smallest of its rotations), uniform
    (the number of bits where they change at most twice around the ring, points + 1 otherwise). Valid where the pixel and all
    that is interpolated are. Source: Ojala et al. (2002), as scikit-image has it.
    """
    plane = partial(_pattern_plane, points=points, radius=radius, method=method)
    with np.errstate(invalid="ignore"):  # between infinite values
        return over_planes(image, _ring_halo({"radius": radius}), np.dtype(np.int32), plane)
