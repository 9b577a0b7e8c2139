"""Trends and rank statistics of series over time.

Times that are not valid do not count. Time is the position in the series, 0, 1, 2 and so on: for uneven dates regress on
them with `linear_regression`. All is computed in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.reducer import REDUCERS, Reducer, get_reducer
from esd.space import CubeType, Space

from .regressions import WHOLE_SERIES, centred, correlation_type, in_order, together

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
State = tuple[Any, ...]


def _one_time(image: CubeType) -> CubeType:
    return image.with_(time=image.time[:1], dtype=np.dtype(np.float64), space=Space.VALUE, encoder=None)


def _pairs(length: int) -> Iterator[tuple[int, int]]:
    """Yield every pair of times, the earlier first."""
    for later in range(1, length):
        for earlier in range(later):
            yield earlier, later


@operator("reducer", Tile.TIME, lambda a, b: correlation_type("covariance", a, b), interpreted=WHOLE_SERIES)
def covariance(a: Block, b: Block) -> Block:
    """Covariance of two series, divided by n - 1; not valid for fewer than two times at which both are."""
    (one, other), valid = together((a, b))
    x, y, count = centred(one, valid)[0], centred(other, valid)[0], valid.sum(axis=0)
    known = count > 1
    return Block(np.where(known, in_order(x * y) / np.maximum(count - 1, 1), 0)[None], known[None])


@operator("reducer", Tile.TIME, lambda a, b: correlation_type("kendall", a, b), interpreted=WHOLE_SERIES)
def kendall(a: Block, b: Block) -> Block:
    """Kendall's rank correlation tau-b of two series, -1 to 1; validity as in `pearson`. Takes n^2 steps for n times."""
    (one, other), valid = together((a, b))
    agree, first, second = (np.zeros(valid.shape[1:], dtype=np.int64) for _ in range(3))
    for i, j in _pairs(len(valid)):
        both = valid[i] & valid[j]
        x, y = np.sign(one[j] - one[i]) * both, np.sign(other[j] - other[i]) * both
        agree += (x * y).astype(np.int64)
        first += x != 0
        second += y != 0
    spread = np.sqrt(first.astype(np.float64)) * np.sqrt(second.astype(np.float64))
    known = spread > 0
    return Block(np.where(known, agree / np.where(known, spread, 1), 0)[None], known[None])


def _fit_rule(image: CubeType) -> CubeType:
    return _one_time(image).with_(time=("offset", "slope"))


@operator("reducer", Tile.TIME, _fit_rule, interpreted=WHOLE_SERIES)
def linear_fit(image: Block) -> Block:
    """Straight line through a series by least squares: offset at the first time, and slope per time; two times or more."""
    valid = image.full_valid
    steps = np.broadcast_to(np.arange(float(len(valid)))[:, None, None, None], valid.shape)
    x, mean_x = centred(np.where(valid, steps, 0), valid)
    y, mean_y = centred(np.where(valid, image.values, 0).astype(np.float64), valid)
    known = valid.sum(axis=0) > 1
    slope = in_order(x * y) / np.where(known, in_order(x * x), 1)
    values = np.stack([np.where(known, mean_y - slope * mean_x, 0), np.where(known, slope, 0)])
    return Block(values, np.broadcast_to(known, values.shape))


@operator("reducer", Tile.TIME, _one_time, interpreted=WHOLE_SERIES)
def sens_slope(image: Block) -> Block:
    """Sen's slope: the median of the slopes per time between all pairs of times. Takes n^2 values for n times.

    Source: Sen (1968). Not valid for fewer than two times.
    """
    valid, values = image.full_valid, image.values.astype(np.float64)
    if len(valid) == 1:
        return Block(np.zeros_like(values), np.zeros_like(valid))
    slopes = np.stack([(values[j] - values[i]) / (j - i) for i, j in _pairs(len(valid))])
    known = np.stack([valid[i] & valid[j] for i, j in _pairs(len(valid))])
    result, found = REDUCERS["median"](slopes, known)
    return Block(result[None], found[None])


@operator("reducer", Tile.TIME, _one_time, interpreted=WHOLE_SERIES)
def mann_kendall(image: Block) -> Block:
    """Mann and Kendall's statistic S: pairs of times that rise minus pairs that fall. Source: Mann (1945).

    Not valid for fewer than two times.
    """
    valid, values = image.full_valid, image.values.astype(np.float64)
    score = np.zeros(valid.shape[1:], dtype=np.float64)
    for i, j in _pairs(len(valid)):
        score += np.where(valid[i] & valid[j], np.sign(values[j] - values[i]), 0)
    known = valid.sum(axis=0) > 1
    return Block(np.where(known, score, 0)[None], known[None])


def _interval_rule(image: CubeType, *, lowest: float, highest: float) -> CubeType:
    if not 0 <= lowest < highest <= 100:
        raise ExpressionError(f"interval_mean: {lowest:g}..{highest:g} must rise within 0..100")
    return _one_time(image)


@operator("reducer", Tile.TIME, _interval_rule, interpreted=WHOLE_SERIES)
def interval_mean(image: Block, lowest: float, highest: float) -> Block:
    """Mean of the valid values between two percentiles, both of them included (see `percentile`)."""
    values, valid = image.values.astype(np.float64), image.full_valid
    low, high = (get_reducer(f"p{percent:.10g}")(values, valid)[0] for percent in (lowest, highest))
    inside = valid & (values >= low) & (values <= high)
    mean, known = REDUCERS["mean"](values, inside)
    return Block(mean[None], known[None])


def _runs_final(state: State) -> tuple[Array, Mask]:
    """Count changes from one valid value to the next one, and one for the first."""
    values, valid = state
    runs, seen, last = np.zeros(values.shape[1:], dtype=np.int64), np.zeros(values.shape[1:], dtype=bool), values[0]
    for plane, known in zip(values, valid, strict=True):
        runs += known & (~seen | (plane != last))
        last, seen = np.where(known, plane, last), seen | known
    return runs, np.ones(runs.shape, dtype=bool)


def _whole(values: Array, valid: Mask) -> State:
    return values, valid


REDUCERS["count_runs"] = Reducer(
    "count_runs",
    "Number of runs of equal valid values; 0, and valid, for none.",
    _whole,
    None,
    _runs_final,
    interpreted=WHOLE_SERIES,
)


@composite("reducer")
def count_runs(image: Image) -> Image:
    """Number of runs of equal valid values over time; 0, and valid, for none."""
    return call("reduce", image, "count_runs")
