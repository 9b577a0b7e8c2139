"""LandTrendr: equal to the same steps written for one series, and finds the disturbances that were put in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats
from series_checks import Refusal, assert_image, assert_refused, from_series, per_series

from esd.errors import BandError, ExpressionError

YEARS = list(range(1988, 2018))
TIMES = [f"{year}-07-15" for year in YEARS]
DAYS = (np.array(TIMES, dtype="datetime64[D]") - np.datetime64("1970-01-01")).astype(float)
ROWS, COLUMNS = 19, 23


def forest(noise: float, seed: int = 0, missing: float = 0.1) -> tuple[np.ma.MaskedArray, np.ndarray, np.ndarray]:
    """An index of 0.7 that falls by 0.2 to 0.5 in some year and comes back in about fifteen; the years and the falls."""
    rng = np.random.default_rng(seed)
    when, depth = rng.integers(5, 22, (ROWS, COLUMNS)), rng.uniform(0.2, 0.5, (ROWS, COLUMNS))
    after = np.arange(len(YEARS))[:, None, None] - when
    values = 0.7 - np.where(after > 0, depth * np.clip(1 - (after - 1) / 15, 0, 1), 0)
    values = values + noise * rng.normal(size=values.shape)
    spikes = rng.random(values.shape) < 0.02
    values[spikes] -= 0.3
    mask = rng.random(values.shape) < missing
    mask[:, 0, :3] = True
    return np.ma.MaskedArray(values[:, None].astype(np.float32), mask=mask[:, None]), when, depth


class OneSeries:
    """The steps of Kennedy et al. (2010) for one series, as plainly as they can be written."""

    def __init__(self, x: np.ndarray, y: np.ndarray, segments: int, overshoot: int, recovery: float) -> None:
        self.x, self.segments, self.overshoot, self.recovery = x, segments, overshoot, recovery
        self.y = self.despiked(list(y))

    def despiked(self, y: list[float], spike: float = 0.9) -> np.ndarray:
        for _round in range(len(y)):
            shares = [-1.0] * len(y)
            for i in range(1, len(y) - 1):
                most = max(abs(y[i] - y[i - 1]), abs(y[i] - y[i + 1]))
                shares[i] = 1 - abs(y[i - 1] - y[i + 1]) / most if most > 1e-12 else -1.0
            i = int(np.argmax(shares))
            if shares[i] <= spike:
                break
            y[i] += shares[i] * ((y[i - 1] + y[i + 1]) / 2 - y[i])
        return np.array(y)

    def found(self) -> list[int]:
        places = [0, len(self.x) - 1]
        while len(places) < self.segments + 1 + self.overshoot:
            errors = []
            for one, other in itertools.pairwise(places):
                line = np.polyfit(self.x[one : other + 1], self.y[one : other + 1], 1) if other - one > 1 else None
                rest = None if line is None else self.y[one : other + 1] - np.polyval(line, self.x[one : other + 1])
                errors.append((-1.0, one, other, None) if rest is None else (float((rest**2).mean()), one, other, rest))
            _error, one, _other, rest = max(errors, key=lambda entry: entry[0])
            if rest is None:
                break
            places = sorted([*places, one + 1 + int(np.abs(rest[1:-1]).argmax())])
        return places

    def culled(self, places: list[int]) -> list[int]:
        length = self.x[-1] - self.x[0]
        scale = length / (self.y.max() - self.y.min())
        while len(places) > self.segments + 1:
            turns = []
            for a, b, c in zip(places, places[1:], places[2:], strict=False):
                first = np.arctan((self.y[b] - self.y[a]) * scale / (self.x[b] - self.x[a]))
                second = np.arctan((self.y[c] - self.y[b]) * scale / (self.x[c] - self.x[b]))
                weight = max(0, -(self.y[c] - self.y[b]) * scale * 2 / length) + 1
                turns.append(max(abs(first), abs(second)) * weight)
            del places[1 + int(np.argmin(turns))]
        return places

    def rest(self, one: int, other: int, level: float, slope: float) -> float:
        part = slice(one, other + 1)
        return float(((self.y[part] - level - slope * (self.x[part] - self.x[one])) ** 2).sum())

    def traced(self, places: list[int]) -> list[float]:
        values: list[float] = []
        for one, other in itertools.pairwise(places):
            part = slice(one, other + 1)
            if values:
                level = direct = values[-1]
                dx = self.x[part] - self.x[one]
                slope = float((dx * (self.y[part] - level)).sum() / (dx * dx).sum())
            else:
                slope, intercept = np.polyfit(self.x[part], self.y[part], 1)
                level, direct = intercept + slope * self.x[one], self.y[one]
            straight = (self.y[other] - direct) / (self.x[other] - self.x[one])
            if self.rest(one, other, direct, straight) < self.rest(one, other, level, slope):
                level, slope = direct, straight
            values = values or [level]
            values.append(values[-1] + slope * (self.x[other] - self.x[one]))
        return values

    def speeds(self, places: list[int], values: list[float]) -> np.ndarray:
        return np.diff(values) / (max(values) - min(values)) / np.diff(self.x[places])

    def weaker(self, places: list[int], values: list[float]) -> list[int]:
        if len(places) == 2:
            return places
        speed = self.speeds(places, values)
        segment = int(speed.argmax())
        if speed[segment] > self.recovery:
            drop = segment if segment + 1 == len(places) - 1 else segment + 1
            if 0 < drop < len(places) - 1:
                return places[:drop] + places[drop + 1 :]
        errors = []
        for k in range(1, len(places) - 1):
            one, other = places[k - 1], places[k + 1]
            slope = (values[k + 1] - values[k - 1]) / (self.x[other] - self.x[one])
            errors.append(self.rest(one, other, values[k - 1], slope) / (other - one + 1))
        drop = 1 + int(np.argmin(errors))
        return places[:drop] + places[drop + 1 :]

    def chance(self, places: list[int], values: list[float]) -> float:
        squares = ((self.y - np.interp(self.x, self.x[places], values)) ** 2).sum()
        predictors = 2 * (len(places) - 1)
        freedom = len(self.y) - predictors - 1
        if freedom <= 0:
            return 1.0
        explained = ((self.y - self.y.mean()) ** 2).sum() - squares
        return float(stats.f.sf(max(explained, 0) / predictors / (squares / freedom), predictors, freedom))

    def model(self) -> tuple[list[int], list[float]]:
        places, models = self.culled(self.found()), []
        for _model in range(self.segments):
            values = self.traced(places)
            speed, length = self.speeds(places, values), np.diff(self.x[places])
            fine = len(places) == 2 or not ((speed > self.recovery) | ((speed > 0) & (length < 1.5))).any()
            models.append((places, values, self.chance(places, values) if fine else np.inf))
            places = self.weaker(places, values)
        least = min(p for _places, _values, p in models)
        if least > 0.05:
            return [0, len(self.x) - 1], [self.y.mean()] * 2
        return next((places, values) for places, values, p in models if p <= 1.25 * least)


@pytest.mark.parametrize(
    ("noise", "segments", "overshoot", "recovery"), [(0.02, 6, 3, 0.25), (0.06, 4, 1, 0.5), (0.3, 3, 0, 0.25)]
)
def test_equal_to_the_steps_for_one_series(
    noise: float, segments: int, overshoot: int, recovery: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = forest(noise, seed=segments)[0]
    years = (DAYS - DAYS[0]) / 365.25

    def reference(one: np.ma.MaskedArray) -> Sequence[float | None]:
        keep = np.flatnonzero(~np.ma.getmaskarray(one))
        if len(keep) < 6:
            return [None] * (2 * len(years))
        places, values = OneSeries(years[keep], one.data[keep].astype(float), segments, overshoot, recovery).model()
        marks = np.zeros(len(years))
        marks[keep[places]] = 1
        return [*np.interp(years, years[keep][places], values), *marks]

    expected = per_series(data, reference).reshape(2, len(TIMES), ROWS, COLUMNS).swapaxes(0, 1)
    image = from_series(data, TIMES, ("nbr",)).landtrendr(segments, overshoot=overshoot, recovery=recovery)
    assert image.type.bands == ("fitted", "vertex")
    assert_image(image, expected, monkeypatch, rtol=1e-4)


def test_disturbances_are_found_where_they_were_put() -> None:
    data, when, depth = forest(0.02, seed=9)
    image = from_series(data, TIMES, ("nbr",))
    raster = image.landtrendr().greatest_disturbance().compute()
    valid = raster.valid[0, 0]
    assert raster.type.time == ("start", "duration", "magnitude")
    assert valid[1:].mean() > 0.97
    start, _duration, magnitude = raster.values[:, 0]
    truth = np.array(YEARS)[when] + 0.535
    assert (np.abs(start - truth)[valid] <= 1.2).mean() > 0.9
    assert np.median(np.abs(magnitude - depth)[valid]) < 0.05


def test_other_bands_follow_the_vertices() -> None:
    data = forest(0.02, seed=4)[0]
    two = np.ma.concatenate([data, data * 2 + 1], axis=1)
    image = from_series(two, TIMES, ("nbr", "other"))
    segments = image.select("nbr").landtrendr()
    raster, marks = image.landtrendr_fit(segments).compute(), segments.compute()
    assert raster.type.bands == ("nbr", "other")
    at_vertex = (marks.values[:, 1] > 0) & marks.valid[:, 1]
    assert np.allclose(raster.values[:, 0][at_vertex], data.data[:, 0][at_vertex], atol=1e-5)
    both = raster.valid.all(axis=1)
    assert np.allclose(raster.values[:, 1][both], raster.values[:, 0][both] * 2 + 1, atol=1e-4)


IMAGE = from_series(forest(0.02)[0], TIMES, ("nbr",))
BAD: dict[str, Refusal] = {
    "two bands": (lambda: IMAGE.add_bands(IMAGE.rename("b")).landtrendr(), BandError, "nbr, b"),
    "no segments": (lambda: IMAGE.landtrendr(0), ExpressionError, "max_segments=0"),
    "no p-value": (lambda: IMAGE.landtrendr(p_value=2.0), ExpressionError, "p_value=2"),
    "no recovery": (lambda: IMAGE.landtrendr(recovery=0.0), ExpressionError, "recovery=0"),
    "backwards": (lambda: IMAGE.rearrange((2, 1, 0)).landtrendr(), ExpressionError, "must rise"),
    "no vertices": (lambda: IMAGE.landtrendr_fit(IMAGE), BandError, "is not what landtrendr returned"),
    "no segmentation": (lambda: IMAGE.greatest_disturbance(), BandError, "not those of landtrendr"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_in_one_line(name: str) -> None:
    assert_refused(BAD[name])
