"""Continuous change detection of one series, observation by observation, as plainly as it can be written."""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2
from sklearn.linear_model import Lasso

__all__ = ["OneSeries"]

YEAR = 365.25


class OneSeries:
    """Segments of one series of some bands: days [time], values [time, band], both only where observed."""

    def __init__(
        self, days: np.ndarray, values: np.ndarray, bands: list[int], tmask: list[int], penalty: float, peek: int = 6
    ) -> None:
        self.days, self.values = list(days), [list(row) for row in values]
        self.bands, self.tmask, self.penalty = bands, tmask, penalty
        self.peek = peek
        self.change, self.outlier = chi2.ppf(0.99, len(bands)), chi2.ppf(0.999999, len(bands))
        self.typical = np.median(np.abs(np.diff(values, axis=0)), axis=0)

    def columns(self, days: list[float]) -> np.ndarray:
        since = np.asarray(days) - 10_957
        waves = [wave(2 * np.pi * k * since / YEAR) for k in (1, 2, 3) for wave in (np.cos, np.sin)]
        return np.stack([since / YEAR, *waves], axis=1)

    def fitted(self, start: int, stop: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = self.columns(self.days[start:stop])[:, : size - 1], np.array(self.values[start:stop])
        spread = x.std(axis=0)
        coefficients = np.zeros((8, y.shape[1]))
        for band in range(y.shape[1]):
            model = Lasso(alpha=self.penalty, tol=1e-10, max_iter=200_000).fit((x - x.mean(axis=0)) / spread, y[:, band])
            slopes = model.coef_ / spread
            coefficients[0, band] = y[:, band].mean() - x.mean(axis=0) @ slopes
            coefficients[1:size, band] = slopes
        rest = y - self.predicted(coefficients, range(start, stop))
        return coefficients, np.sqrt((rest**2).sum(axis=0) / (len(y) - size))

    def predicted(self, coefficients: np.ndarray, places: range | list[int]) -> np.ndarray:
        return coefficients[0] + self.columns([self.days[i] for i in places]) @ coefficients[1:]

    def rest(self, model: tuple[np.ndarray, np.ndarray], places: range | list[int]) -> np.ndarray:
        return np.array([self.values[i] for i in places]) - self.predicted(model[0], places)

    def score(self, rest: np.ndarray, rmse: np.ndarray) -> np.ndarray:
        return ((rest / np.maximum(self.typical, rmse))[:, self.bands] ** 2).sum(axis=1)

    def screened(self, start: int, stop: int) -> list[int]:
        days = np.array(self.days[start:stop])
        years = max(np.ceil((days[-1] - days[0]) / YEAR), 2)
        angle = 2 * np.pi * (days - 10_957) / YEAR
        x = np.stack(
            [np.ones_like(angle), np.cos(angle), np.sin(angle), np.cos(angle / years), np.sin(angle / years)], axis=1
        )
        out = np.zeros(len(days), dtype=bool)
        for band in self.tmask:
            y, weights = np.array(self.values[start:stop])[:, band], np.ones(len(days))
            for _round in range(5):
                root = np.sqrt(weights)
                rest = np.abs(y - x @ np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0])
                share = rest / (4.685 * np.median(rest) / 0.6745)
                weights = np.where(share < 1, (1 - share**2) ** 2, 0)
            out |= rest > 4.89 * self.typical[band]
        return [start + int(place) for place in np.flatnonzero(out)]

    def remove(self, place: int) -> None:
        del self.days[place]
        del self.values[place]

    def settled(self, start: int) -> tuple[int, int] | None:
        """The first window from a start on that is stable."""
        stop = 0
        while True:
            stop = max(stop, start + 12)
            while stop <= len(self.days) and self.days[stop - 1] - self.days[start] < 365:
                stop += 1
            if stop + self.peek > len(self.days):
                return None
            gone = self.screened(start, stop)
            left = [self.days[i] for i in range(start, stop) if i not in gone]
            if len(left) < 12 or left[-1] - left[0] < 365:
                stop += 1
                continue
            for place in reversed(gone):
                self.remove(place)
            stop -= len(gone)
            model = self.fitted(start, stop, 4)
            rise = model[0][1] * (self.days[stop - 1] - self.days[start]) / YEAR
            told = np.abs(rise) + np.abs(self.rest(model, [start, stop - 1])).max(axis=0)
            if self.score(told[None], model[1])[0] < self.change:
                return start, stop
            start, stop = start + 1, 0

    def backwards(self, before: int, start: int, stop: int) -> tuple[int, int]:
        model = self.fitted(start, stop, 4)
        while start > before:
            score = self.score(self.rest(model, range(start - 1, max(before, start - self.peek) - 1, -1)), model[1])
            if (score > self.change).all():
                break
            if score[0] > self.outlier:
                self.remove(start - 1)
                stop -= 1
            start -= 1
        return start, stop

    def forwards(self, start: int, stop: int) -> tuple[int, np.ndarray | None, int]:
        """Where a segment stops, the magnitude of its break if it has one, and the strange observations at its end."""
        model, span, whole = None, 0.0, 0
        while stop + self.peek <= len(self.days):
            length = self.days[stop - 1] - self.days[start]
            if model is None or whole < 24 or length >= 1.33 * span:
                model, span, whole = self.model(start, stop), length, stop - start
            rest = self.rest(model, range(stop, stop + self.peek))
            score = self.score(rest, model[1])
            if (score > self.change).all():
                return stop, np.median(rest, axis=0), 0
            if score[0] > self.outlier:
                self.remove(stop)
            else:
                stop += 1
        return self.ending(start, stop, model)

    def ending(self, start: int, stop: int, model: tuple[np.ndarray, np.ndarray] | None) -> tuple[int, None, int]:
        if stop == len(self.days):
            return stop, None, 0
        model = model or self.model(start, stop)
        score = self.score(self.rest(model, range(stop, len(self.days))), model[1])
        odd = 0
        while odd < len(score) and score[-1 - odd] > self.change:
            odd += 1
        for place in reversed(range(stop, len(self.days) - odd)):
            if score[place - stop] > self.outlier:
                self.remove(place)
        return len(self.days) - odd, None, odd

    def model(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        return self.fitted(start, stop, 8 if stop - start >= 24 else 6 if stop - start >= 18 else 4)

    def segments(self) -> list[list[np.ndarray | float | None]]:
        """Start, end, break (None without one), observations, probability, coefficients, RMSE and magnitude of each."""
        found: list[list[np.ndarray | float | None]] = []
        before = 0
        while len(self.days) >= 12 + self.peek and (window := self.settled(before)) is not None:
            start, stop = self.backwards(before, *window)
            stop, magnitude, odd = self.forwards(start, stop)
            ends = [self.days[start], self.days[stop - 1], None if magnitude is None else self.days[stop]]
            share = odd / self.peek if magnitude is None else 1.0
            found.append([*ends, float(stop - start), share, *self.model(start, stop), magnitude])
            if magnitude is None:
                break
            before = stop
        return found
