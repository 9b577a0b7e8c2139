"""The steps of LandTrendr: yearly series as a few straight segments, after Kennedy, Yang and Cohen (2010).

All series go through the steps side by side: arrays are [time, series], what is valid first, and the vertices of each series
are positions [vertex, series], the last one repeated where a series has fewer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Options", "interpolate", "segment"]

Array = npt.NDArray[Any]
Places = npt.NDArray[np.int64]
FLAT = 1e-12
DISTURBANCE_WEIGHT = 2.0
"""How much more a vertex before a fall counts, in shares of the range."""


@dataclass(frozen=True)
class Options:
    """The parameters of the segmentation; see `landtrendr`."""

    max_segments: int = 6
    spike: float = 0.9
    overshoot: int = 3
    one_year_recovery: bool = False
    recovery: float = 0.25
    p_value: float = 0.05
    proportion: float = 0.75
    fewest: int = 6


def _at(values: Array, place: Places) -> Array:
    """Return of each series the number at its own position."""
    return np.take_along_axis(values, place[None], axis=0)[0]


class Lines:
    """Sums that tell any line's fit to any stretch of each series: x and y [time, series], `last` the last position."""

    def __init__(self, x: Array, y: Array, last: Places) -> None:
        self.x, self.y, self.last = x, y, last
        inside = np.arange(len(x))[:, None] <= last
        planes = (inside * 1.0, x * inside, y * inside, x * x * inside, x * y * inside, y * y * inside)
        zero = np.zeros((1, x.shape[1]))
        self.totals = [np.concatenate([zero, np.cumsum(plane, axis=0)]) for plane in planes]

    def sums(self, start: Places, end: Places) -> list[Array]:
        """Return count and sums of x, y, xx, xy and yy over positions start..end, both included."""
        return [_at(total, end + 1) - _at(total, start) for total in self.totals]

    def regression(self, start: Places, end: Places) -> tuple[Array, Array, Array]:
        """Return level at the start, slope and squared residuals of the line that fits a stretch best."""
        count, sx, sy, sxx, sxy, syy = self.sums(start, end)
        spread, joint = sxx - sx * sx / count, sxy - sx * sy / count
        slope = np.where(spread > FLAT, joint / np.where(spread > FLAT, spread, 1), 0.0)
        level = sy / count + slope * (_at(self.x, start) - sx / count)
        return level, slope, np.maximum(syy - sy * sy / count - slope * joint, 0)

    def anchored(self, start: Places, end: Places, level: Array) -> Array:
        """Return the slope of the line that fits a stretch best among those through a level at its start."""
        count, sx, sy, sxx, sxy, _syy = self.sums(start, end)
        first = _at(self.x, start)
        joint = sxy - first * sy - level * (sx - count * first)
        spread = sxx - 2 * first * sx + count * first * first
        return np.where(spread > FLAT, joint / np.where(spread > FLAT, spread, 1), 0.0)

    def squares(self, start: Places, end: Places, level: Array, slope: Array) -> Array:
        """Return the squared residuals of a stretch from a line of a level at its start."""
        count, sx, sy, sxx, sxy, syy = self.sums(start, end)
        first = _at(self.x, start)
        dx, dxx = sx - count * first, sxx - 2 * first * sx + count * first * first
        dxy = sxy - first * sy
        around = syy - 2 * level * sy + count * level * level
        return np.maximum(around - 2 * slope * (dxy - level * dx) + slope * slope * dxx, 0)


def despike(y: Array, last: Places, spike: float) -> Array:
    """Dampen spikes: where a value stands out from two neighbours that are alike, it is drawn to their mean.

    The most spiky value goes first, as long as it is more so than `spike` (1 turns this off), at most once a time.
    """
    y, steps = y.copy(), np.arange(len(y))[:, None]
    inner = (steps > 0) & (steps < last)
    for _round in range(len(y)):
        before, after = np.roll(y, 1, axis=0), np.roll(y, -1, axis=0)
        most = np.maximum(np.abs(y - before), np.abs(y - after))
        share = np.where(inner & (most > FLAT), 1 - np.abs(before - after) / np.where(most > FLAT, most, 1), -1.0)
        place = np.argmax(share, axis=0)
        worst = _at(share, place)
        change = worst * ((_at(before, place) + _at(after, place)) / 2 - _at(y, place))
        moving = worst > spike
        if not moving.any():
            break
        np.put_along_axis(y, place[None], np.where(moving, _at(y, place) + change, _at(y, place))[None], axis=0)
    return y


def find_vertices(lines: Lines, number: int) -> Places:
    """Return the first and last positions and those at which, one after the other, the worst fitting stretch is split."""
    steps = np.arange(len(lines.x))[:, None]
    vertices = np.stack([np.zeros_like(lines.last), lines.last])
    while len(vertices) < number:
        worst, best_line = np.full(lines.last.shape, -1.0), np.zeros((4, *lines.last.shape))
        for start, end in itertools.pairwise(vertices):
            level, slope, squares = lines.regression(start, end)
            error = np.where(end - start > 1, squares / (end - start + 1), -1.0)
            worse = error > worst
            worst = np.where(worse, error, worst)
            best_line = np.where(worse, np.stack([start, end, level, slope]), best_line)
        start, end, level, slope = best_line
        first = _at(lines.x, start.astype(np.int64))
        apart = np.abs(lines.y - level - slope * (lines.x - first))
        place = np.argmax(np.where((steps > start) & (steps < end), apart, -1.0), axis=0)
        new = np.where(worst > FLAT, place, lines.last)
        vertices = np.sort(np.concatenate([vertices, new[None]]), axis=0)
    return vertices


def _inner(vertices: Places, last: Places) -> npt.NDArray[np.bool_]:
    """Return which vertices lie between the first and the last of a series."""
    found = vertices < last
    found[0] = False
    return np.asarray(found)


def _drop(vertices: Places, last: Places, chosen: Places, where: Array) -> Places:
    """Return the vertices without one of each series."""
    kept = vertices.copy()
    np.put_along_axis(kept, chosen[None], np.where(where, last, _at(vertices, chosen))[None], axis=0)
    return np.sort(kept, axis=0)


def cull_by_angle(lines: Lines, vertices: Places, number: int) -> Places:
    """Return at most so many vertices: those at which the series turns least are dropped, falls counting more."""
    low = np.where(np.arange(len(lines.y))[:, None] <= lines.last, lines.y, np.inf).min(axis=0)
    high = np.where(np.arange(len(lines.y))[:, None] <= lines.last, lines.y, -np.inf).max(axis=0)
    length = _at(lines.x, lines.last) - lines.x[0]
    scale = np.where(high - low > FLAT, length / np.where(high - low > FLAT, high - low, 1), 0.0)
    for _round in range(len(vertices) - number):
        x, y = (np.take_along_axis(values, vertices, axis=0) for values in (lines.x, lines.y * scale))
        rise, run = np.diff(y, axis=0), np.diff(x, axis=0)
        angle = np.abs(np.arctan(rise / np.where(run > 0, run, 1)))
        weight = np.maximum(0, -rise[1:] * DISTURBANCE_WEIGHT / np.maximum(length, FLAT)) + 1
        turn = np.full(vertices.shape, np.inf)
        turn[1:-1] = np.maximum(angle[:-1], angle[1:]) * weight
        inner = _inner(vertices, lines.last)
        crowded = inner.sum(axis=0) + 2 > number
        vertices = _drop(vertices, lines.last, np.argmin(np.where(inner, turn, np.inf), axis=0), crowded)
    return vertices[:number]


def trace(lines: Lines, vertices: Places) -> Array:
    """Return the values of the vertices: each stretch by the better of its best line and of that from vertex to vertex."""
    values = np.zeros(vertices.shape)
    for k, (start, end) in enumerate(itertools.pairwise(vertices)):
        length = _at(lines.x, end) - _at(lines.x, start)
        some = end > start
        if k == 0:
            level, slope, squares = lines.regression(start, end)
            direct = _at(lines.y, start)
        else:
            level = direct = values[k]
            slope = lines.anchored(start, end, level)
            squares = lines.squares(start, end, level, slope)
        straight = (_at(lines.y, end) - direct) / np.where(some, length, 1)
        better = lines.squares(start, end, direct, straight) < squares
        if k == 0:
            values[0] = np.where(better, direct, level)
        rise = np.where(better, straight, slope) * length
        values[k + 1] = np.where(some, values[k] + rise, values[k])
    return values


def interpolate(x: Array, vertices: Places, values: Array, knots: Array) -> Array:
    """Return the fitted values at x [time, series] of straight lines between vertices, whose x are `knots`."""
    fitted = np.broadcast_to(values[0], x.shape).copy()
    for k in range(len(vertices) - 1):
        length = knots[k + 1] - knots[k]
        slope = np.where(length > 0, (values[k + 1] - values[k]) / np.where(length > 0, length, 1), 0.0)
        beyond = (x > knots[k]) & (vertices[k + 1] > vertices[k])
        fitted = np.where(beyond, values[k] + slope * (np.minimum(x, knots[k + 1]) - knots[k]), fitted)
    return fitted


def _squares(lines: Lines, fitted: Array) -> Array:
    inside = np.arange(len(lines.x))[:, None] <= lines.last
    return np.asarray(np.cumsum(np.where(inside, (lines.y - fitted) ** 2, 0), axis=0)[-1])


def chance(lines: Lines, vertices: Places, squares: Array) -> Array:
    """Return the p-value of a model by its F: 2 predictors for each segment."""
    from scipy.special import fdtrc

    count, _sx, sy, _sxx, _sxy, syy = lines.sums(np.zeros_like(lines.last), lines.last)
    predictors = 2.0 * (_inner(vertices, lines.last).sum(axis=0) + 1)
    freedom = count - predictors - 1
    explained = np.maximum(syy - sy * sy / count - squares, 0)
    ratio = (explained / predictors) / np.maximum(squares / np.maximum(freedom, 1), 1e-300)
    return np.where(freedom > 0, fdtrc(predictors, np.maximum(freedom, 1), ratio), 1.0)


def _recoveries(lines: Lines, vertices: Places, values: Array) -> tuple[Array, Array]:
    """Return how fast each segment rises, in shares of the range of the model a year, and how long it is."""
    length = np.diff(np.take_along_axis(lines.x, vertices, axis=0), axis=0)
    span = values.max(axis=0) - values.min(axis=0)
    rise = np.diff(values, axis=0) / np.where(span > FLAT, span, 1)
    return np.where(length > 0, rise / np.where(length > 0, length, 1), 0.0), length


def drop_weakest(lines: Lines, vertices: Places, values: Array, options: Options) -> Places:
    """Return the vertices without one: the end of a recovery that is too fast, or else that which is missed least."""
    speed, _length = _recoveries(lines, vertices, values)
    segment = np.argmax(speed, axis=0)
    fast = _at(speed, segment) > options.recovery
    inner = _inner(vertices, lines.last)
    ends_last = ~_at(inner, segment + 1)
    by_speed = np.where(ends_last, segment, segment + 1)
    knots = np.take_along_axis(lines.x, vertices, axis=0)
    errors = np.full(vertices.shape, np.inf)
    for k in range(1, len(vertices) - 1):
        run = knots[k + 1] - knots[k - 1]
        slope = np.where(run > 0, (values[k + 1] - values[k - 1]) / np.where(run > 0, run, 1), 0.0)
        squares = lines.squares(vertices[k - 1], vertices[k + 1], values[k - 1], slope)
        errors[k] = np.where(inner[k], squares / (vertices[k + 1] - vertices[k - 1] + 1), np.inf)
    by_error = np.argmin(errors, axis=0)
    chosen = np.where(fast & _at(inner, by_speed), by_speed, by_error)
    return _drop(vertices, lines.last, chosen, _at(inner, chosen))


def segment(x: Array, y: Array, last: Places, options: Options) -> tuple[Places, Array]:
    """Return the vertices [vertex, series] of each series and their values."""
    lines = Lines(x, despike(y, last, options.spike), last)
    size = options.max_segments + 1
    vertices = cull_by_angle(lines, find_vertices(lines, size + options.overshoot), size)
    models: list[tuple[Places, Array, Array]] = []
    for _segments in range(options.max_segments):
        values = trace(lines, vertices)
        fitted = interpolate(lines.x, vertices, values, np.take_along_axis(lines.x, vertices, axis=0))
        p = chance(lines, vertices, _squares(lines, fitted))
        models.append((vertices, values, np.where(_allowed(lines, vertices, values, options), p, np.inf)))
        vertices = drop_weakest(lines, vertices, values, options)
    return _best(lines, models, options)


def _allowed(lines: Lines, vertices: Places, values: Array, options: Options) -> Array:
    speed, length = _recoveries(lines, vertices, values)
    forbidden = speed > options.recovery
    if not options.one_year_recovery:
        forbidden |= (speed > 0) & (length > 0) & (length < 1.5)
    simple = ~_inner(vertices, lines.last).any(axis=0)
    return np.asarray(simple | ~forbidden.any(axis=0))


def _best(lines: Lines, models: Sequence[tuple[Places, Array, Array]], options: Options) -> tuple[Places, Array]:
    """Return the model of most segments whose p-value is nearly the best; a level where none is good enough."""
    least = np.stack([p for _vertices, _values, p in models]).min(axis=0)
    count, _sx, sy, *_rest = lines.sums(np.zeros_like(lines.last), lines.last)
    vertices = np.broadcast_to(lines.last, models[0][0].shape).copy()
    vertices[0] = 0
    values, open_ = np.broadcast_to(sy / count, vertices.shape).copy(), least <= options.p_value
    for places, levels, p in models:
        chosen = open_ & (p <= (2 - options.proportion) * least)
        vertices, values = np.where(chosen, places, vertices), np.where(chosen, levels, values)
        open_ &= ~chosen
    return vertices, values
