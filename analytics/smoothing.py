"""Smoothing of series over time: Savitzky and Golay's polynomials, Whittaker's penalties.

Times that are not valid, or NaN, do not count and are filled. Times are taken to be evenly apart, as steps and dekads nearly
are. All is computed in float64, pixel by pixel in one order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.operator import Tile, operator
from esd.space import CubeType, Space

from .neighbours import settle
from .regressions import WHOLE_SERIES

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

MOST_ORDERS = 6


def _series(image: Block) -> tuple[Array, Mask]:
    """Return the series, float64 and 0 where nothing counts, and where something does."""
    values = image.values.astype(np.float64)
    counted = image.full_valid & ~np.isnan(values)
    return np.where(counted, values, 0), counted


def _like(image: CubeType) -> CubeType:
    return image.with_(dtype=np.result_type(image.dtype, np.float32), space=Space.VALUE, encoder=None)


def _savgol_rule(image: CubeType, *, window: int, order: int) -> CubeType:
    if window % 2 == 0 or not 3 <= window <= len(image.time):
        raise ExpressionError(f"savgol_time: window={window} must be odd, 3 to the {len(image.time)} times of the image")
    if not 0 <= order < min(window, MOST_ORDERS + 1):
        raise ExpressionError(f"savgol_time: order={order} must be 0 to {min(window - 1, MOST_ORDERS)}, below the window")
    return _like(image)


def solve_symmetric(matrix: list[list[Array]], right: list[Array]) -> tuple[list[Array], Mask]:
    """Solve a symmetric, positive definite system for each pixel by Cholesky's square-root-free form.

    Returns the unknowns, and where the system determines them. `matrix` and `right` are overwritten.
    """
    size = len(right)
    known = np.ones(right[0].shape, dtype=bool)
    scale = [np.where(matrix[i][i] > 0, matrix[i][i], 1) for i in range(size)]
    for i in range(size):
        known &= matrix[i][i] > 1e-10 * scale[i]
        pivot = np.where(known, matrix[i][i], 1)
        for j in range(i + 1, size):
            factor = matrix[j][i] / pivot
            for k in range(i, size):
                matrix[j][k] = matrix[j][k] - factor * matrix[i][k]
            right[j] = right[j] - factor * right[i]
    for i in reversed(range(size)):
        for j in range(i + 1, size):
            right[i] = right[i] - matrix[i][j] * right[j]
        right[i] = right[i] / np.where(known, matrix[i][i], 1)
    return right, known


def _local_polynomial(values: Array, counted: Mask, first: int, window: int, order: int, at: Sequence[int]) -> Any:
    """Yield the polynomial through a window, fitted by least squares, at some of its times, and where there is one."""
    middle = (window - 1) / 2
    places = [(step - middle) / middle for step in range(window)]
    moments = [np.zeros(values.shape[1:]) for _power in range(2 * order + 1)]
    right = [np.zeros(values.shape[1:]) for _power in range(order + 1)]
    for step, place in enumerate(places):
        for power in range(2 * order + 1):
            moments[power] += np.where(counted[first + step], place**power, 0)
        for power in range(order + 1):
            right[power] += values[first + step] * place**power
    matrix = [[moments[i + j] for j in range(order + 1)] for i in range(order + 1)]
    found, known = solve_symmetric(matrix, right)
    for time in at:
        total = np.zeros(values.shape[1:])
        for power, coefficient in enumerate(found):
            total += coefficient * places[time - first] ** power
        yield time, total, known


def _savgol_work(types: Sequence[CubeType], args: Mapping[str, Any], pixels: int) -> int:
    order, planes = args["order"], len(types[0].bands)
    return pixels * 8 * planes * (4 * len(types[0].time) + (order + 1) * (order + 4) + 6)


@operator(
    "temporal",
    Tile.TIME,
    _savgol_rule,
    work=_savgol_work,
    interpreted=WHOLE_SERIES,
    example="image.ndvi().savgol_time(5, 2)",
)
def savgol_time(image: Block, window: int = 5, order: int = 2) -> Block:
    """Savitzky and Golay's smoother: at each time, a polynomial of an `order` through the `window` times around it.

    Fitted by least squares to the times that are valid; at the ends, the first and the last whole window serve, as SciPy's
    `savgol_filter` has it. Times are kept; gaps are filled; valid where the window holds more valid times than `order`.
    Source: Savitzky and Golay (1964).
    """
    values, counted = _series(image)
    times, half = len(values), window // 2
    result, valid = np.zeros(values.shape), np.zeros(values.shape, dtype=bool)
    with np.errstate(invalid="ignore"):  # of infinite values
        for first in range(times - window + 1):
            at = [first + half]
            if first == 0:
                at = list(range(half + 1))
            if first == times - window:
                at = [*at, *range(at[-1] + 1, times)]
            for time, found, known in _local_polynomial(values, counted, first, window, order, at):
                result[time], valid[time] = np.where(known, found, 0), known
    return Block(settle(result.astype(np.result_type(image.values.dtype, np.float32))), valid)


def _whittaker_rule(image: CubeType, *, smoothness: float, order: int) -> CubeType:
    if not 0 < smoothness < 1e12:
        raise ExpressionError(f"whittaker_time: smoothness={smoothness:g} must be above 0, and below 1e12")
    if order not in (1, 2, 3) or order >= len(image.time):
        raise ExpressionError(f"whittaker_time: order={order} must be 1, 2 or 3, below the {len(image.time)} times")
    return _like(image)


def _whittaker_work(types: Sequence[CubeType], args: Mapping[str, Any], pixels: int) -> int:
    return pixels * 8 * len(types[0].bands) * ((args["order"] + 5) * len(types[0].time) + 8)


def _penalty(times: int, order: int) -> Array:
    """Return the diagonals, from the main one up, of the square of the matrix of differences: [order + 1, times]."""
    differences = np.diff(np.eye(times), order, axis=0)
    square = differences.T @ differences
    return np.array([np.append(np.diagonal(square, above), np.zeros(above)) for above in range(order + 1)])


@operator(
    "temporal",
    Tile.TIME,
    _whittaker_rule,
    work=_whittaker_work,
    interpreted=WHOLE_SERIES,
    example="image.ndvi().whittaker_time(10.0)",
)
def whittaker_time(image: Block, smoothness: float = 10.0, order: int = 2) -> Block:
    """Whittaker's smoother: the series that is closest to the valid times and smooth at once.

    It makes the sum of its squared distances from them, plus `smoothness` times that of its squared differences of an
    `order` (1, 2 or 3), smallest. Times are kept; gaps are filled, by a straight line for order 2; valid all over where at
    least `order` times are.
    Source: Eilers (2003).
    """
    values, counted = _series(image)
    times, known = len(values), counted.sum(axis=0) >= order
    band = smoothness * _penalty(times, order)
    # U'DU of a matrix with `order` diagonals above the main one, and both substitutions
    pivots, upper, result = np.zeros(values.shape), np.zeros((order, *values.shape)), values.copy()
    with np.errstate(invalid="ignore"):  # of infinite values
        for time in range(times):
            pivot = np.where(known, counted[time], 1) + band[0, time]
            for back in range(1, min(order, time) + 1):
                factor = upper[back - 1, time - back]
                pivot = pivot - factor * factor * pivots[time - back]
                result[time] = result[time] - factor * result[time - back]
            pivots[time] = pivot
            for above in range(1, min(order, times - 1 - time) + 1):
                number = np.full(pivot.shape, band[above, time])
                for back in range(1, min(order - above, time) + 1):
                    number = (
                        number - upper[back - 1, time - back] * pivots[time - back] * upper[back + above - 1, time - back]
                    )
                upper[above - 1, time] = number / pivot
        result = result / pivots
        for time in reversed(range(times)):
            for above in range(1, min(order, times - 1 - time) + 1):
                result[time] = result[time] - upper[above - 1, time] * result[time + above]
    result = np.where(known, result, 0).astype(np.result_type(image.values.dtype, np.float32))
    return Block(settle(result), np.broadcast_to(known, values.shape))
