"""Speckle filters of radar intensity (linear, not dB): Lee's, refined Lee, Gamma-MAP, Frost's.

What is not valid, and what lies outside of the grid, does not count; a pixel that is not valid stays so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType

from .filters import floating, shifted
from .focal import radius_of
from .neighbours import check_window, offsets, over_planes, plane_work, value_type

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Place = tuple[int, int]

SPECKLE = ("lee", "refined_lee", "gamma_map", "frost")
REACH = 3
"""Radius of the window of the refined filter."""
SIDES = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
"""Rows down and columns right to the side that a half of the window lies on: the right one, then clockwise."""


def _check_looks(name: str, looks: float, method: str) -> None:
    if method not in SPECKLE:
        raise ExpressionError(f"{name}: method={method!r} is not one of {', '.join(SPECKLE)}")
    if not 0 < looks < math.inf:
        raise ExpressionError(f"{name}: looks={looks:g} must be above 0, the equivalent number of looks")


def _frost_plane(values: Array, valid: Mask, radius: int, damping: float) -> tuple[Array, Mask]:
    numbers = np.where(valid, values, 0).astype(np.float64)
    shape = shifted(numbers, radius, 0, 0).shape
    window = [(y, x, shifted(numbers, radius, y, x), shifted(valid, radius, y, x)) for y, x in offsets(radius, "square")]
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
    return total / np.where(weights > 0, weights, 1), shifted(valid, radius, 0, 0)


def _frost_rule(image: CubeType, *, radius: int, damping: float) -> CubeType:
    check_window("frost_filter", radius)
    if not 0 < damping < math.inf:
        raise ExpressionError(f"frost_filter: damping={damping:g} must be above 0")
    return value_type(image, floating(image.dtype))


@operator("focal", Tile.FOCAL, _frost_rule, halo=radius_of, work=plane_work)
def frost_filter(image: Block, radius: int = 2, damping: float = 1.0) -> Block:
    """Frost's speckle filter: a mean of the window whose weights fall the faster with distance the more the window varies.

    Weights are exp(-`damping` x variance / mean^2 x distance in pixels). Valid where the pixel is. Source: Frost et al.
    (1982).
    """
    plane = partial(_frost_plane, radius=radius, damping=damping)
    with np.errstate(invalid="ignore", over="ignore"):  # windows that hold infinite values give NaN
        return over_planes(image, radius, floating(image.values.dtype), plane)


def _half(side: Place) -> list[Place]:
    """Return the pixels of the half of a 7 x 7 window on a side of the edge through its centre, the edge included."""
    return [(y, x) for y, x in offsets(REACH, "square") if y * side[0] + x * side[1] >= 0]


def _moments(numbers: Array, valid: Mask, places: Sequence[Place]) -> tuple[Array, Array]:
    """Return mean and variance of the valid pixels at some places around each."""
    cut = [(shifted(numbers, REACH, y, x), shifted(valid, REACH, y, x)) for y, x in places]
    count, total, squares = (np.zeros(cut[0][0].shape) for _part in range(3))
    for there, counted in cut:
        count += counted
        total += there
    mean = total / np.maximum(count, 1)
    for there, counted in cut:
        squares += np.where(counted, (there - mean) ** 2, 0)
    return mean, squares / np.maximum(count, 1)


def _side_of_edge(numbers: Array, valid: Mask) -> Array:
    """Return which of the sides each pixel belongs to: across the strongest edge, the side that is more like its middle.

    Edges are differences of means of 3 x 3 pixels, two pixels from the centre on opposite sides.
    """
    middle = _moments(numbers, valid, [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)])[0]
    means = {
        side: _moments(numbers, valid, [(2 * side[0] + y, 2 * side[1] + x) for y in (-1, 0, 1) for x in (-1, 0, 1)])[0]
        for side in SIDES
    }
    strongest, chosen = np.full(middle.shape, -1.0), np.zeros(middle.shape, dtype=np.int8)
    for place, side in enumerate(SIDES[:4]):
        one, other = means[side], means[SIDES[place + 4]]
        edge = np.abs(one - other)
        nearer = np.where(np.abs(other - middle) < np.abs(one - middle), place + 4, place)
        chosen = np.where(edge > strongest, nearer, chosen).astype(np.int8)
        strongest = np.maximum(edge, strongest)
    return chosen


def _refined_plane(values: Array, valid: Mask, looks: float) -> tuple[Array, Mask]:
    numbers = np.where(valid, values, 0).astype(np.float64)
    chosen = _side_of_edge(numbers, valid)
    mean, variance = np.zeros(chosen.shape), np.zeros(chosen.shape)
    for place, side in enumerate(SIDES):
        own_mean, own_variance = _moments(numbers, valid, _half(side))
        mean = np.where(chosen == place, own_mean, mean)
        variance = np.where(chosen == place, own_variance, variance)
    change = variance / np.where(mean != 0, mean * mean, 1)
    weight = np.clip((1 - 1 / looks / np.where(change > 0, change, np.inf)) / (1 + 1 / looks), 0, 1)
    weight = np.where(change > 0, weight, 0)
    return mean + weight * (shifted(numbers, REACH, 0, 0) - mean), shifted(valid, REACH, 0, 0)


def _refined_rule(image: CubeType, *, looks: float) -> CubeType:
    _check_looks("refined_lee", looks, "refined_lee")
    return value_type(image, floating(image.dtype))


@operator("focal", Tile.FOCAL, _refined_rule, halo=lambda _args: REACH, work=plane_work)
def refined_lee(image: Block, looks: float = 1.0) -> Block:
    """Refined Lee speckle filter: Lee's, in the half of the 7 x 7 window that lies on the pixel's side of an edge.

    The edge is the strongest difference of 3 x 3 means on opposite sides of the pixel (across, down, and both diagonals); a
    pixel belongs to the side whose mean is nearer to that of its own 3 x 3. `looks` as in `lee_filter`. Valid where the
    pixel is. Source: Lee (1981).
    """
    with np.errstate(invalid="ignore", over="ignore"):  # windows that hold infinite values give NaN
        return over_planes(image, REACH, floating(image.values.dtype), partial(_refined_plane, looks=looks))


@composite("focal", example="image.decode().select('red').median().lee_filter(2, 4.0)")
def lee_filter(image: Image, radius: int = 3, looks: float = 1.0, method: str = "lee") -> Image:
    """Speckle filter of radar intensity (linear, not dB) with `looks` equivalent looks, in a square window; float64.

    With m and v, mean and variance of the window, u2 = 1 / looks and c2 = v / m^2: `lee` gives m + w (x - m) with
    w = (1 - u2 / c2) / (1 + u2), cut to 0..1; `gamma_map` gives m where c2 <= u2, x where c2 >= 2 u2, and between them the
    most likely of Gamma-distributed values (Lopes et al., 1993); `refined_lee` (always 7 x 7) and `frost` are the operators
    `refined_lee` and `frost_filter`. Valid where the pixel is. Source: Lee (1980).
    """
    _check_looks("lee_filter", looks, method)
    wide = call("to_float64", image)
    if method == "refined_lee":
        return call("refined_lee", wide, looks)
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
