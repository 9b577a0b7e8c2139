"""Gap filling: what a date would have shown where nothing was seen, from other dates, coarse sensors and neighbours.

Three steps, each of which leaves alone what it knows nothing of:

1. in time: each pixel's own series predicts every date (`kriging`), the dates weighed by how well their surroundings
   agree with the rest of the series, so that haze and shadow that the masks have missed count for little;
2. from a coarse sensor, where there is one: what the coarse series shows beyond its own prediction is added, times
   the slope of the fine pixel's surprises on the coarse ones. Steps 1 and 2 are a regression on the time series with
   a temporally coherent rest, the idea of ROBOT (Chen et al. 2023, Remote Sensing of Environment 294, 113616);
3. in space: what neighbours that were seen on the date differ from their own predictions is added, averaged over
   NEIGHBOURHOODS from wide to narrow.

Averages reach MARGIN pixels at most, so a grid that is filled in tiles with that margin is the same for any tiling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from .kriging import BAND_SCALES, predict_in_time
from .screening import median_of_seen

__all__ = ["MARGIN", "Series", "add_neighbours", "expect", "fill_gaps", "row_strips"]

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Days = npt.NDArray[np.int64]
Mapper = Callable[[Callable[[slice], Any], Iterable[slice]], Iterable[Any]]
"""Maps as `map` does, in order; that of a thread pool works on several strips at a time."""

NOISE_PASSES = 2
NOISE_DEVIATION = 5.0
"""Pixels: standard deviation of the Gaussian that averages the surprise of a date."""
NOISE_LIMITS = (0.05, 200.0)
OUTLIER = 2.0
"""An observation whose squared surprise is more than this many times that of its surroundings is believed less."""
LEAST_BELIEF = 100.0
NEIGHBOURHOODS = (12.0, 4.0, 1.0)
"""Pixels: standard deviations of the Gaussians over which neighbours' surprises are averaged."""
SHRINKAGE = 0.05
"""Weight of "no surprise" against one neighbour's in the middle of a Gaussian of one pixel."""
REACH = 2.0
"""Standard deviations after which a Gaussian ends."""
COARSE_SHRINKAGE = 1.0
"""Squares of BAND_SCALES: coarse surprises smaller than this in all prove no slope."""
STEEPEST = 1.5
STRIP_PIXELS = 4096

MARGIN = sum(int(REACH * d + 0.5) for d in (*NEIGHBOURHOODS, *[NOISE_DEVIATION] * (NOISE_PASSES + 1)))
"""Pixels that the averages reach in all: of neighbours, of each pass over the noise, and of the slope on a coarse sensor."""


@dataclass(frozen=True)
class Series:
    """Observations of one sensor: `values` float32 [n, 6, y, x] (reflectance), `seen` bool [n, y, x].

    `seen` says what is observed in all bands that the sensor has. `days` int64 [n] are day numbers, in rising order.
    """

    values: Floats
    seen: Bools
    days: Days


def fill_gaps(series: Series, targets: slice, coarse: Series | None = None, mapper: Mapper = map) -> tuple[Floats, Bools]:
    """Return the dates `targets` of a series without gaps [m, 6, y, x], and which pixels bool [y, x] could be filled.

    `coarse` is another sensor's series of the same dates and pixels. What is observed comes back as it is, and pixels
    without any observation are 0. `mapper` may work on strips of rows in parallel; the result does not depend on it.
    """
    filled = expect(series, targets, coarse, mapper)
    here = series.seen[targets]
    for expected, observed, mask in zip(filled, series.values[targets], here, strict=True):
        expected[:] = np.where(mask, observed, add_neighbours(expected, observed, mask))
    known = np.logical_or.reduce(series.seen, axis=0)
    filled *= known
    return filled, known


def expect(series: Series, targets: slice, coarse: Series | None = None, mapper: Mapper = map) -> Floats:
    """Return what each pixel's other dates (and a coarse sensor) let expect of the dates `targets` [m, 6, y, x].

    What a pixel shows on a date has no part in what is expected of it there, seen or not, but for its say in the
    noise of its other dates.
    """
    noise = observation_noise(series, targets, mapper)
    other_noise = None if coarse is None else observation_noise(coarse, targets, mapper)

    def expect_rows(rows: slice) -> tuple[Floats, ...]:
        fine = _predict(series, noise, targets, rows)
        if coarse is None or other_noise is None:
            return (fine.targets,)
        return (fine.targets, *_told_by_coarse(fine, _predict(coarse, other_noise, targets, rows)))

    strips = list(mapper(expect_rows, row_strips(series.seen.shape[1:], STRIP_PIXELS)))
    expected, *told = (np.concatenate(parts, axis=-2) for parts in zip(*strips, strict=True))
    if told:
        news, together, alone = told
        expected += _slope(together, alone) * news
    return expected


def observation_noise(series: Series, targets: slice, mapper: Mapper = map) -> Floats:
    """Return the variance [n, y, x] of each observation in squares of BAND_SCALES: how little it is to be believed.

    It is the mean surprise of the observation's surroundings on its date, and larger where its own stands out.
    """
    noise = np.ones(series.seen.shape, dtype=np.float32)
    for _ in range(NOISE_PASSES):
        believed = noise

        def surprise_of_rows(rows: slice, believed: Floats = believed) -> Floats:
            predicted = _predict(series, believed, targets, rows)
            squares = ((predicted.surprise / BAND_SCALES[:, None, None]) ** 2).mean(axis=1)
            return np.where(predicted.told, squares, np.float32(np.nan))

        squares = np.concatenate(list(mapper(surprise_of_rows, row_strips(series.seen.shape[1:], STRIP_PIXELS))), axis=1)
        noise = np.stack([_noise(date) for date in squares])
    return noise


def row_strips(shape: tuple[int, ...], pixels: int) -> list[slice]:
    """Return the rows of a grid of shape (y, x) in strips of about so many pixels."""
    height = max(1, pixels // shape[1])
    return [slice(start, min(start + height, shape[0])) for start in range(0, shape[0], height)]


@dataclass(frozen=True)
class _Prediction:
    """Some rows of a series as their other dates predict them.

    `targets` [m, 6, y, x] are the dates asked for, `observed` what was seen of them (0 where nothing was); `surprise`
    [n, 6, y, x] is what each observation differs by from what the others predict, where it is `told` [n, y, x], else 0.
    """

    targets: Floats
    observed: Floats
    seen: Bools
    surprise: Floats
    told: Bools


def _predict(series: Series, noise: Floats, targets: slice, rows: slice) -> _Prediction:
    seen, values = series.seen[:, rows], series.values[:, :, rows]
    centre, scale = median_of_seen(values, seen[:, None]), BAND_SCALES[:, None, None]
    deviations = np.asarray(np.where(seen[:, None], values - centre, np.float32(0)) / scale, dtype=np.float32)
    ahead, others, told = predict_in_time(
        deviations.reshape(*values.shape[:2], -1),
        seen.reshape(len(seen), -1),
        series.days,
        noise[:, rows].reshape(len(seen), -1),
        targets,
    )
    told = told.reshape(seen.shape)
    surprise = np.where(told[:, None], (deviations - others.reshape(values.shape)) * scale, np.float32(0))
    expected: Floats = ahead.reshape(-1, *values.shape[1:]) * scale + centre
    return _Prediction(expected, values[targets], seen[targets], surprise, told)


def _noise(squares: Floats) -> Floats:
    """Return the variance [y, x] of a date's observations from their squared surprises, NaN where nothing was seen."""
    seen = np.isfinite(squares)
    if not seen.any():
        return np.ones_like(squares)
    squares = np.where(seen, squares, np.float32(0))
    around = _average(np.sqrt(squares)[None], seen.astype(np.float32), NOISE_DEVIATION, 0.0)[0] ** 2
    around = np.clip(around, *NOISE_LIMITS)
    return np.asarray(around * np.clip(squares / (np.float32(OUTLIER) * around), 1, LEAST_BELIEF), dtype=np.float32)


def add_neighbours(expected: Floats, observed: Floats, seen: Bools) -> Floats:
    """Return what is expected on a date [6, y, x], moved by how its neighbours that were `seen` [y, x] differ.

    Far from any of them nothing is added.
    """
    if not seen.any():
        return expected
    added = np.zeros_like(expected)
    weight = seen.astype(np.float32)
    for deviation in NEIGHBOURHOODS:
        rest = np.where(seen, observed - expected - added, np.float32(0))
        added += _average(rest, weight, deviation, SHRINKAGE)
    return expected + added


def _average(values: Floats, weight: Floats, deviation: float, shrinkage: float) -> Floats:
    """Return the Gaussian mean of values [bands, y, x] by weight [y, x], with some weight of 0 mixed in."""
    total = gaussian_filter(weight, deviation, mode="constant", truncate=REACH)
    parts = [gaussian_filter(band * weight, deviation, mode="constant", truncate=REACH) for band in values]
    floor = max(shrinkage / deviation**2, float(np.finfo(np.float32).tiny))
    return np.stack(parts) / (total + np.float32(floor))


def _told_by_coarse(fine: _Prediction, coarse: _Prediction) -> tuple[Floats, Floats, Floats]:
    """Return what the coarse sensor shows of the targets beyond its own prediction [m, 6, y, x], 0 where it saw nothing.

    With it come the sums [6, y, x] of fine times coarse surprises and of squared coarse ones, on the dates of both.
    """
    theirs = np.where((fine.told & coarse.told)[:, None], coarse.surprise, np.float32(0))
    news = np.where(coarse.seen[:, None], coarse.observed - coarse.targets, np.float32(0))
    return news, (fine.surprise * theirs).sum(axis=0), (theirs**2).sum(axis=0)


def _slope(together: Floats, alone: Floats) -> Floats:
    """Return the slope [6, y, x] of fine surprises on coarse ones, of a pixel and its surroundings.

    It is shrunk towards 0 (no news) and kept between 0 and STEEPEST.
    """
    everywhere = np.ones(alone.shape[1:], dtype=np.float32)
    sums = [_average(part, everywhere, NOISE_DEVIATION, 0.0) for part in (together, alone)]
    least = np.float32(COARSE_SHRINKAGE) * BAND_SCALES[:, None, None] ** 2
    return np.asarray(np.clip(sums[0] / (sums[1] + least), 0, STEEPEST), dtype=np.float32)
