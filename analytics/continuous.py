"""The steps of continuous change detection: series as pieces that harmonics fit, after Zhu and Woodcock (2014).

All series go through the steps side by side, each at its own pace: arrays are [series, time], what was observed first, and a
series' window is start..stop - 1 of these. What does not belong to a series is taken out of it as it is met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .lasso import fit_lasso

__all__ = ["COLUMNS", "Detector", "Found", "History", "Rules"]

Array = npt.NDArray[Any]
COLUMNS, FEWEST, MIDDLE, FULL = 8, 12, 18, 24
"""Coefficients of the whole model, and observations from which a model has 4, 6 and all of them."""
YEAR_AT_LEAST = 365.0
SETTLE, LOOK_BACK, FORWARD, DONE = range(4)
SHORTEST = 32
TINY = 1e-9


@dataclass(frozen=True)
class Rules:
    """What the detector goes by: break bands, observations in a row, limits of a score, growth, penalty, most segments.

    `screen` takes days, values [series, time, band], what counts, and each band's variogram, and tells what stands out.
    """

    bands: Sequence[int]
    peek: int
    change: float
    outlier: float
    growth: float
    penalty: float
    most: int
    screen: Callable[[Array, Array, Array, Array], Array] | None


class Found:
    """The segments [segment, series]: days, counts and probabilities, and coefficients and the like [.., series, band]."""

    def __init__(self, most: int, series: int, bands: int) -> None:
        self.start, self.end, self.breaks, self.count, self.probability = np.zeros((5, most, series))
        self.coefficients = np.zeros((most, series, COLUMNS, bands))
        self.rmse, self.magnitude = np.zeros((2, most, series, bands))


def groups(lengths: Array, most: int) -> Iterator[tuple[Array, int]]:
    """Yield which series have windows that are padded to the same length, and that length.

    It hangs on each series alone, not on those beside it, so that sums always run in the same order.
    """
    below, size = -1, SHORTEST
    while below < lengths.max(initial=-1):
        here = np.flatnonzero((lengths > below) & (lengths <= size))
        if here.size:
            yield here, min(size, most)
        below, size = size, 2 * size


def in_a_row(marks: Array, number: int, beyond: bool) -> Array:
    """Return where `number` marks [series, time] in a row begin; what lies beyond the last counts as `beyond`."""
    padded = np.pad(marks, ((0, 0), (0, number - 1)), constant_values=beyond)
    return np.logical_and.reduce([padded[:, k : k + marks.shape[1]] for k in range(number)])


def first(marks: Array) -> Array:
    """Return the first marked place of each series, the length where there is none."""
    return np.where(marks.any(axis=1), marks.argmax(axis=1), marks.shape[1])


class History:
    """What was observed of some series: days [series, time], and rows of columns and bands [series, time, ...]."""

    def __init__(self, days: Array, columns: Array, values: Array, known: Array) -> None:
        self.number = known.sum(axis=1)
        order = np.argsort(~known, axis=1, kind="stable")[:, : max(int(self.number.max(initial=0)), 1)]
        self.days = days[order]
        seen = np.where(known[:, :, None], values, 0)[np.arange(len(order))[:, None], order]
        self.rows = np.concatenate([columns[order], seen], axis=2)
        self.longest = len(days)

    def at(self, series: Array, places: Array) -> tuple[Array, Array]:
        """Return days and rows at places [series, ...], those beyond the ends taken as the ends."""
        index = np.clip(places, 0, self.days.shape[1] - 1)
        pick = series.reshape(-1, *(1,) * (places.ndim - 1))
        return self.days[pick, index], self.rows[pick, index]

    def remove(self, series: Array, gone: Array) -> None:
        """Take observations, marked by their places [series, time], out of series."""
        some = gone.any(axis=1)
        series, gone = series[some], gone[some]
        order = np.argsort(gone, axis=1, kind="stable")
        self.days[series], self.rows[series] = self.days[series[:, None], order], self.rows[series[:, None], order]
        self.number[series] -= gone.sum(axis=1)

    def variogram(self) -> Array:
        """Return the median absolute difference [series, band] from each observation to the next."""
        steps = np.abs(np.diff(self.rows[:, :, COLUMNS:], axis=1))
        inside = np.arange(1, self.days.shape[1]) < self.number[:, None]
        return median(steps, inside)


def median(values: Array, inside: Array) -> Array:
    """Return the median [series, band] of values [series, time, band] over the times inside, at least one."""
    ordered = np.sort(np.where(inside[:, :, None], values, np.inf), axis=1)
    count = np.maximum(inside.sum(axis=1), 1)[:, None, None]
    low, high = (np.take_along_axis(ordered, place, axis=1)[:, 0] for place in ((count - 1) // 2, count // 2))
    return np.asarray((low + high) / 2)


class Detector:
    """Segments of series, found step by step. `run` goes on until all are done."""

    def __init__(self, history: History, rules: Rules) -> None:
        self.history, self.rules = history, rules
        series, bands = len(history.days), history.rows.shape[2] - COLUMNS
        self.start, self.stop, self.before, self.segments, self.phase = np.zeros((5, series), dtype=np.int64)
        self.coefficients, self.rmse = np.zeros((series, COLUMNS, bands)), np.zeros((series, bands))
        enough = history.number >= FEWEST + rules.peek
        self.phase[~enough] = DONE
        self.typical = np.where(enough[:, None], history.variogram(), 0) if enough.any() else np.zeros((series, bands))
        self.due, self.stale = np.zeros(series), np.ones(series, dtype=bool)
        self.found = Found(rules.most, series, bands)

    def run(self) -> Found:
        """Go through all series; `segments` tells how many segments each has."""
        steps = {SETTLE: self.settle, LOOK_BACK: self.look_back, FORWARD: self.forward}
        while (self.phase != DONE).any():
            for phase, step in steps.items():
                series = np.flatnonzero(self.phase == phase)
                if series.size:
                    step(series)
        return self.found

    def fit(self, series: Array, sizes: Array) -> None:
        """Fit the windows of series by their first columns."""
        count = self.stop[series] - self.start[series]
        for here, length in groups(count, self.history.longest):
            chosen = series[here]
            _days, rows = self.history.at(chosen, self.start[chosen, None] + np.arange(length))
            rows *= (np.arange(length) < count[here, None])[:, :, None]
            fitted = fit_lasso(rows.transpose(0, 2, 1) @ rows, sizes[here], COLUMNS, self.rules.penalty)
            self.coefficients[chosen], self.rmse[chosen] = fitted.coefficients, fitted.rmse

    def sizes(self, series: Array) -> Array:
        """Return how many columns fit the windows of series."""
        count = self.stop[series] - self.start[series]
        return np.where(count >= FULL, COLUMNS, np.where(count >= MIDDLE, 6, 4))

    def rest(self, series: Array, rows: Array) -> Array:
        """Return the residuals [series, time, band] of rows from the models."""
        return np.asarray(rows[:, :, COLUMNS:] - rows[:, :, :COLUMNS] @ self.coefficients[series])

    def score(self, series: Array, rest: Array) -> Array:
        """Return the sum of squares [series, time] of residuals in units of what is usual for each break band."""
        usual, chosen = np.maximum(np.maximum(self.typical[series], self.rmse[series]), TINY), list(self.rules.bands)
        share = rest[:, :, chosen] / usual[:, None, chosen]
        return np.asarray((share * share).sum(axis=2))

    def settle(self, series: Array) -> None:
        """Look for a year and twelve observations that are a start: screened, and well fitted by a simple model."""
        history, start = self.history, self.start[series]
        first_day = history.days[series, start]
        places = np.arange(history.days.shape[1])
        alive = places < history.number[series, None]
        reach = ((history.days[series] < first_day[:, None] + YEAR_AT_LEAST) & alive).sum(axis=1) + 1
        self.stop[series] = np.maximum(np.maximum(self.stop[series], start + FEWEST), reach)
        ends = self.stop[series] + self.rules.peek > history.number[series]
        self.phase[series[ends]] = DONE
        series = series[~ends]
        gone = self.screened(series)
        window = (places >= self.start[series, None]) & (places < self.stop[series, None]) & ~gone
        last = np.where(window, history.days[series], -np.inf).max(axis=1, initial=-np.inf)
        earliest = np.where(window, history.days[series], np.inf).min(axis=1, initial=np.inf)
        fine = (window.sum(axis=1) >= FEWEST) & (last - earliest >= YEAR_AT_LEAST)
        self.stop[series[~fine]] += 1
        series, gone = series[fine], gone[fine]
        history.remove(series, gone)
        self.stop[series] -= gone.sum(axis=1)
        self.fit(series, np.full(len(series), 4))
        stable = self.stable(series)
        self.phase[series[stable]] = LOOK_BACK
        self.start[series[~stable]] += 1
        self.stop[series[~stable]] = 0

    def screened(self, series: Array) -> Array:
        """Return what stands out of the windows of series, by place [series, time]."""
        gone = np.zeros((len(series), self.history.days.shape[1]), dtype=bool)
        if self.rules.screen is None:
            return gone
        count = self.stop[series] - self.start[series]
        for here, length in groups(count, self.history.longest):
            places = self.start[series[here], None] + np.arange(length)
            days, rows = self.history.at(series[here], places)
            inside = np.arange(length) < count[here, None]
            out = self.rules.screen(days, rows[:, :, COLUMNS:], inside, self.typical[series[here]]) & inside
            row, column = np.nonzero(out)
            gone[here[row], places[row, column]] = True
        return gone

    def stable(self, series: Array) -> Array:
        """Return where neither the trend of a window nor its first and last residuals speak of a change."""
        ends = np.stack([self.start[series], self.stop[series] - 1], axis=1)
        _days, rows = self.history.at(series, ends)
        rise = self.coefficients[series, 1] * (rows[:, 1, 1] - rows[:, 0, 1])[:, None]
        told = np.abs(rise) + np.abs(self.rest(series, rows)).max(axis=1)
        return np.asarray(self.score(series, told[:, None])[:, 0] < self.rules.change)

    def look_back(self, series: Array) -> None:
        """Take in what lies before a start, back to where it is strange several times in a row."""
        span = self.start[series] - self.before[series]
        for here, length in groups(span, self.history.longest):
            chosen, back = series[here], np.arange(length)
            places = self.start[chosen, None] - 1 - back
            inside = back < span[here, None]
            score = self.score(chosen, self.rest(chosen, self.history.at(chosen, places)[1]))
            strange = in_a_row((score > self.rules.change) | ~inside, self.rules.peek, beyond=True) & inside
            taken = np.minimum(first(strange), span[here])
            self.drop(chosen, places, (score > self.rules.outlier) & (back < taken[:, None]))
            self.start[chosen] -= taken
        self.phase[series] = FORWARD

    def drop(self, series: Array, places: Array, marks: Array) -> None:
        """Take what is marked out of series; their windows end so much earlier."""
        gone = np.zeros((len(series), self.history.days.shape[1]), dtype=bool)
        row, column = np.nonzero(marks)
        gone[row, places[row, column]] = True
        self.history.remove(series, gone)
        self.stop[series] -= marks.sum(axis=1)

    def forward(self, series: Array) -> None:
        """Fit anew where that is due, and go on to where it is due again, to a break, or to the end."""
        history, stale = self.history, series[self.stale[series]]
        self.fit(stale, self.sizes(stale))
        begin = history.days[stale, self.start[stale]]
        self.due[stale] = begin + self.rules.growth * (history.days[stale, self.stop[stale] - 1] - begin)
        young = self.stop[series] - self.start[series] < FULL
        if young.any():
            self.advance(series[young], 2 * self.rules.peek, young=True)
        old = series[~young]
        places = np.arange(history.days.shape[1])
        before = (places >= self.stop[old, None]) & (history.days[old] < self.due[old, None])
        left = history.number[old] - self.stop[old]
        for here, length in groups(np.minimum(before.sum(axis=1) + 1 + self.rules.peek, left), history.longest):
            self.advance(old[here], length, young=False)

    def advance(self, series: Array, length: int, young: bool) -> None:
        """Go on with the models as they are, at most so far: young ones by one observation, others until a fit is due."""
        rules, history, ahead = self.rules, self.history, np.arange(length)
        stop, left = self.stop[series], history.number[series] - self.stop[series]
        places, inside = stop[:, None] + ahead, ahead < left[:, None]
        days, rows = history.at(series, places)
        rest = self.rest(series, rows)
        score = np.where(inside, self.score(series, rest), 0)
        strange, wild = score > rules.change, score > rules.outlier
        due = first(~wild & inside & ((days >= self.due[series, None]) | young)) + 1
        at_break, at_end = first(in_a_row(strange, rules.peek, beyond=False)), np.maximum(left - rules.peek + 1, 0)
        taken = np.minimum(np.minimum(at_break, due), np.minimum(at_end, max(length - rules.peek + 1, 1)))
        broken = (at_break == taken) & (at_break < due)
        ended = ~broken & (at_end == taken)
        odd = np.where(ended, first(~in_order_back(strange, left)), 0)
        self.stale[series] = young | broken | (taken == due)
        taken = np.where(ended, left - odd, taken)
        self.drop(series, places, wild & (ahead < taken[:, None]))
        self.stop[series] += taken
        self.close(series[ended], odd[ended] / rules.peek, np.zeros((ended.sum(), rest.shape[2])))
        peek = at_break[broken, None] + np.arange(rules.peek)
        after = np.take_along_axis(rest[broken], peek[:, :, None], axis=1)
        self.close(series[broken], np.ones(broken.sum()), np.median(after, axis=1))
        self.begin_anew(series[broken], series[ended])

    def begin_anew(self, broken: Array, ended: Array) -> None:
        """After a break a series looks for its next start, unless it has as many segments as there may be."""
        self.start[broken] = self.before[broken] = self.stop[broken]
        self.stop[broken] = 0
        self.phase[broken] = np.where(self.segments[broken] < self.rules.most, SETTLE, DONE)
        self.phase[ended] = DONE

    def close(self, series: Array, probability: Array, magnitude: Array) -> None:
        """Note segments, fitted to all that they are made of."""
        if not series.size:
            return
        self.fit(series, self.sizes(series))
        place, found, history = (self.segments[series], series), self.found, self.history
        found.start[place] = history.days[series, self.start[series]]
        found.end[place] = history.days[series, self.stop[series] - 1]
        found.breaks[place] = np.where(probability == 1, history.at(series, self.stop[series])[0], 0)
        found.count[place] = self.stop[series] - self.start[series]
        found.probability[place], found.magnitude[place] = probability, magnitude
        found.coefficients[place], found.rmse[place] = self.coefficients[series], self.rmse[series]
        self.segments[series] += 1


def in_order_back(marks: Array, left: Array) -> Array:
    """Return marks [series, time] from the last of so many back to the first, False beyond."""
    back = left[:, None] - 1 - np.arange(marks.shape[1])
    return np.take_along_axis(marks, np.clip(back, 0, marks.shape[1] - 1), axis=1) & (back >= 0)
