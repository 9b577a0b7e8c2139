"""Operators that look at a pixel's neighbourhood. The engine reads their halo, so that tiles leave no seams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from esd.block import Block
from esd.errors import ExpressionError
from esd.operator import Tile, operator
from esd.space import CubeType, Space

__all__: list[str] = []


def _radius(args: Mapping[str, Any]) -> int:
    return int(args["radius"])


def _focal_rule(image: CubeType, *, radius: int) -> CubeType:
    if not 1 <= radius <= 50:
        raise ExpressionError(f"focal_mean: radius={radius} pixels is out of range; give 1 to 50")
    return image.with_(dtype=np.result_type(image.dtype, np.float32), space=Space.VALUE, encoder=None)


def _window_sum(array: np.ndarray, radius: int) -> np.ndarray:
    """Sum over a square window, rows then columns, in an order that is the same for every pixel of every tile."""
    rows, columns = array.shape[-2] - 2 * radius, array.shape[-1] - 2 * radius
    over_rows = np.zeros((*array.shape[:-2], rows, array.shape[-1]), dtype=np.float64)
    for shift in range(2 * radius + 1):
        over_rows += array[..., shift : shift + rows, :]
    total = np.zeros((*array.shape[:-2], rows, columns), dtype=np.float64)
    for shift in range(2 * radius + 1):
        total += over_rows[..., shift : shift + columns]
    return total


@operator("focal", Tile.FOCAL, _focal_rule, halo=_radius, example="image.ndvi().median().focal_mean(2)")
def focal_mean(image: Block, radius: int = 1) -> Block:
    """Mean of the valid pixels in a square of (2 radius + 1) pixels a side; pixels outside of the grid do not count.

    Valid where at least one pixel of the square is. `radius` is in pixels, 1 to 50.
    """
    valid = image.full_valid
    total = _window_sum(np.where(valid, image.values, 0), radius)
    count = _window_sum(valid, radius)
    values = total / np.maximum(count, 1)
    return Block(values.astype(np.result_type(image.values.dtype, np.float32)), count > 0)
