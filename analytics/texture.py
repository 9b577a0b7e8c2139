"""Texture: entropy of a neighbourhood, and measures of its grey-level co-occurrence matrix.

Values are cut into `levels` classes of equal width between `lowest` and `highest`; what lies outside goes to the nearest
class. NaN and what is not valid, or outside of the grid, does not count. For integers 0 to n - 1 give levels=n, lowest=0
and highest=n: each value is then its own class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.operator import Tile, operator
from esd.space import CubeType

from .focal import radius_of, window_count
from .neighbours import SCRATCH_BYTES, area, check_window, gather_work, over_planes, plane_work, value_type

__all__ = ["MEASURES"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

MEASURES = (
    "contrast",
    "dissimilarity",
    "homogeneity",
    "energy",
    "asm",
    "entropy",
    "correlation",
    "mean",
    "variance",
    "std",
)
LARGEST_RADIUS = 15


def _check_levels(name: str, levels: int, lowest: float, highest: float) -> None:
    if not 2 <= levels <= 256:
        raise ExpressionError(f"{name}: levels={levels} is out of range; give 2 to 256")
    if not highest > lowest:
        raise ExpressionError(f"{name}: lowest={lowest} must be below highest={highest}")


def _quantize(values: Array, valid: Mask, levels: int, lowest: float, highest: float) -> tuple[Array, Mask]:
    """Return the class of each value, int64, and where there is one."""
    numbers = values.astype(np.float64)
    counted = valid & ~np.isnan(numbers)
    scaled = (np.where(counted, numbers, lowest) - lowest) * levels / (highest - lowest)
    return np.clip(np.floor(scaled), 0, levels - 1).astype(np.int64), counted


@lru_cache(maxsize=16)
def _logarithms(largest: int) -> npt.NDArray[np.float64]:
    """Return n log2(n) for 0 to `largest`, from the scalar library, so that no vector length shows in it."""
    return np.array([count * math.log2(count) if count else 0.0 for count in range(largest + 1)])


def _entropy_plane(
    values: Array, valid: Mask, radius: int, shape: str, levels: int, lowest: float, highest: float
) -> tuple[Array, Mask]:
    classes, counted = _quantize(values, valid, levels, lowest, highest)
    table = _logarithms(area({"radius": radius, "shape": shape}))
    count = window_count(counted, radius, shape)
    total = np.zeros(count.shape, dtype=np.float64)
    for level in range(levels):
        total += table[window_count(counted & (classes == level), radius, shape)]
    return (table[count] - total) / np.maximum(count, 1), count > 0


def _entropy_rule(image: CubeType, *, radius: int, shape: str, levels: int, lowest: float, highest: float) -> CubeType:
    check_window("entropy", radius, shape)
    _check_levels("entropy", levels, lowest, highest)
    return value_type(image, np.result_type(image.dtype, np.float32))


@operator("texture", Tile.FOCAL, _entropy_rule, halo=radius_of, work=plane_work, example="image.ndvi().median().entropy(3)")
def entropy(
    image: Block, radius: int = 2, shape: str = "square", levels: int = 16, lowest: float = 0.0, highest: float = 1.0
) -> Block:
    """Shannon entropy, in bits, of the classes of the valid pixels of the window: 0 where they are all of one class."""
    plane = partial(_entropy_plane, radius=radius, shape=shape, levels=levels, lowest=lowest, highest=highest)
    return over_planes(image, radius, np.result_type(image.values.dtype, np.float32), plane)


Pairs = tuple[Array, Array, Mask]


def _pairs(classes: Array, counted: Mask, down: int, right: int) -> Pairs:
    """Return the classes of each pixel and of the one `down` and `right` of it, and where both count."""
    rows, columns = classes.shape
    here = (slice(0, rows - down), slice(max(-right, 0), columns - max(right, 0)))
    there = (slice(down, rows), slice(max(right, 0), columns + min(right, 0)))
    return classes[here], classes[there], counted[here] & counted[there]


def _box(plane: Array, height: int, width: int) -> Array:
    """Sum over boxes of height x width, columns then rows, in one order for all."""
    rows, columns = plane.shape[0] - height + 1, plane.shape[1] - width + 1
    runs = plane[:, :columns].copy()
    for shift in range(1, width):
        runs += plane[:, shift : shift + columns]
    total = runs[:rows].copy()
    for shift in range(1, height):
        total += runs[shift : shift + rows]
    return total


def _mean_of(table: Callable[[Array], Array], pairs: Pairs, height: int, width: int, count: Array) -> Array:
    difference = np.abs(pairs[0] - pairs[1])
    return _box(np.where(pairs[2], table(difference), 0), height, width) / np.maximum(count, 1)


def _correlation(pairs: Pairs, height: int, width: int, count: Array) -> Array:
    """Correlation of the symmetric matrix, in whole numbers up to the one division; 1 where all classes are one."""
    one, other, counted = pairs
    total = _box(np.where(counted, one + other, 0), height, width)
    squares = _box(np.where(counted, one**2 + other**2, 0), height, width)
    products = _box(np.where(counted, one * other, 0), height, width)
    spread = 2 * count * squares - total**2
    return np.where(spread > 0, (4 * count * products - total**2) / np.maximum(spread, 1), 1.0)


def _moments(pairs: Pairs, height: int, width: int, count: Array) -> tuple[Array, Array]:
    """Mean and variance of the classes in the symmetric matrix, in whole numbers up to the one division."""
    one, other, counted = pairs
    total = _box(np.where(counted, one + other, 0), height, width)
    squares = _box(np.where(counted, one**2 + other**2, 0), height, width)
    safe = 2 * np.maximum(count, 1)
    return total / safe, (safe * squares - total**2) / safe**2


def _over_kinds(pairs: Pairs, height: int, width: int, count: Array, table: npt.NDArray[np.float64]) -> Array:
    """Sum table[cell of the symmetric matrix of counts] over its cells: pairs of one kind lie in a row when sorted.

    `table` begins with 0; a pair of two classes fills two cells by one each, a pair of one class one cell by two.
    """
    one, other, counted = pairs
    low, high = np.minimum(one, other), np.maximum(one, other)
    kinds = np.where(counted, low * 256 + high, 1 << 16).astype(np.int32)
    rows, columns = count.shape
    total = np.zeros(count.shape, dtype=np.float64)
    at_once = max(1, SCRATCH_BYTES // (16 * height * width * max(columns, 1)))
    for start in range(0, rows, at_once):
        stop = min(start + at_once, rows)
        shifts = [(y, x) for y in range(height) for x in range(width)]
        window = np.sort(np.stack([kinds[start + y : stop + y, x : x + columns] for y, x in shifts]), axis=0)
        length = np.ones(window.shape[1:], dtype=np.int64)
        for place, kind in enumerate(window):
            if place:
                length = np.where(kind == window[place - 1], length + 1, 1)
            same = kind >> 8 == kind & 255
            step = np.where(same, table[2 * length] - table[2 * length - 2], 2 * (table[length] - table[length - 1]))
            total[start:stop] += np.where(place < count[start:stop], step, 0)
    return total


def _asm(pairs: Pairs, height: int, width: int, count: Array) -> Array:
    squares = np.arange(2.0 * height * width + 1) ** 2
    return _over_kinds(pairs, height, width, count, squares) / (2.0 * np.maximum(count, 1)) ** 2


def _pair_entropy(pairs: Pairs, height: int, width: int, count: Array) -> Array:
    """Entropy of the symmetric matrix in nats, as scikit-image has it."""
    table = _logarithms(2 * height * width) * math.log(2)
    number = 2 * np.maximum(count, 1)
    return np.maximum((table[number] - _over_kinds(pairs, height, width, count, table)) / number, 0)


def _measure(measure: str, pairs: Pairs, height: int, width: int, count: Array) -> Array:
    if measure == "contrast":
        return _mean_of(np.square, pairs, height, width, count)
    if measure == "dissimilarity":
        return _mean_of(lambda difference: difference, pairs, height, width, count)
    if measure == "homogeneity":
        return _mean_of(lambda difference: 1 / (1 + difference**2), pairs, height, width, count)
    if measure in ("mean", "variance", "std"):
        mean, variance = _moments(pairs, height, width, count)
        return mean if measure == "mean" else variance if measure == "variance" else np.sqrt(variance)
    if measure in ("asm", "energy"):
        found = _asm(pairs, height, width, count)
        return np.sqrt(found) if measure == "energy" else found
    return (_correlation if measure == "correlation" else _pair_entropy)(pairs, height, width, count)


def _glcm_plane(
    values: Array, valid: Mask, measure: str, radius: int, distance: int, levels: int, lowest: float, highest: float
) -> tuple[Array, Mask]:
    classes, counted = _quantize(values, valid, levels, lowest, highest)
    side = 2 * radius + 1
    shape = tuple(length - 2 * radius for length in classes.shape)
    total, directions = np.zeros(shape, dtype=np.float64), np.zeros(shape, dtype=np.int64)
    for down, right in ((0, distance), (distance, distance), (distance, 0), (distance, -distance)):
        pairs = _pairs(classes, counted, down, right)
        height, width = side - down, side - abs(right)
        count = _box(pairs[2].astype(np.int64), height, width)
        total += np.where(count > 0, _measure(measure, pairs, height, width, count), 0)
        directions += count > 0
    return total / np.maximum(directions, 1), directions > 0


def _glcm_rule(
    image: CubeType, *, measure: str, radius: int, distance: int, levels: int, lowest: float, highest: float
) -> CubeType:
    check_window("glcm", radius, largest=LARGEST_RADIUS)
    _check_levels("glcm", levels, lowest, highest)
    if measure not in MEASURES:
        raise ExpressionError(f"glcm: measure={measure!r} is not one of {', '.join(MEASURES)}")
    if not 1 <= distance <= 2 * radius:
        raise ExpressionError(f"glcm: distance={distance} must be 1 to 2 radius = {2 * radius} pixels, to fit the window")
    return value_type(image, np.result_type(image.dtype, np.float32))


def _glcm_work(types: Sequence[CubeType], args: Mapping[str, Any], pixels: int) -> int:
    return gather_work(types, args, pixels) + 4 * 8 * pixels


@operator("texture", Tile.FOCAL, _glcm_rule, halo=radius_of, work=_glcm_work)
def glcm(
    image: Block,
    measure: str = "contrast",
    radius: int = 2,
    distance: int = 1,
    levels: int = 16,
    lowest: float = 0.0,
    highest: float = 1.0,
) -> Block:
    """A measure of the grey-level co-occurrence matrix of the square window (radius 1 to 15).

    `measure` is one of contrast, dissimilarity, homogeneity, energy (the root of asm, the angular second moment), entropy
    (nats), correlation, and mean, variance and std of the classes (from 0). It is taken of the symmetric, normalized matrix
    of each of four directions (`distance` pixels to the right, down-right, down, down-left) and averaged over those in which
    there is a pair. Correlation is 1 where all pixels are of one class. Source: Haralick et al. (1973).
    """
    plane = partial(
        _glcm_plane, measure=measure, radius=radius, distance=distance, levels=levels, lowest=lowest, highest=highest
    )
    return over_planes(image, radius, np.result_type(image.values.dtype, np.float32), plane)
