"""Trends and seasons of series by their dates: lines, harmonics, and when a season starts, peaks and ends."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType, Space

from .composites import finite
from .dates import YEAR, days_of, moments
from .least_squares import columns_of, fit_columns, fit_work, harmonic_columns, result

__all__ = ["EPOCH_DAYS", "MOST_HARMONICS", "harmonic_labels"]

Array = npt.NDArray[Any]
WHOLE_SERIES = "needs all times of a pixel at once"
EPOCH_DAYS = 10_957.0
"""2000-01-01 as days since 1970: where the phases and the trend of harmonics count from."""
MOST_HARMONICS = 6
TREND = ("offset", "slope", "standard_error", "p_value")
PHENOLOGY = ("start", "peak", "end", "length", "base", "maximum", "amplitude")
FORMA = ("long", "short", "t_value")


def fitted_type(image: CubeType, labels: Sequence[str]) -> CubeType:
    """Return the type of numbers fitted to each series, float64, named by `labels` along the times."""
    return image.with_(time=tuple(labels), dtype=np.dtype(np.float64), space=Space.VALUE, encoder=None)


def check_days(name: str, image: CubeType, days: Sequence[float]) -> None:
    """Raise ExpressionError where the dates given are not those of the times."""
    if len(days) != len(image.time):
        raise ExpressionError(f"{name}: {len(days)} days for {len(image.time)} times; give one for each")


def _trend_rule(image: CubeType, *, days: tuple[float, ...]) -> CubeType:
    check_days("trend_at", image, days)
    return fitted_type(image, TREND)


def _line_work(types: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    return fit_work(2, types, pixels)


@operator(
    "temporal",
    Tile.TIME,
    _trend_rule,
    work=_line_work,
    interpreted=WHOLE_SERIES,
    example="image.trend_at((0.0, 91.0, 183.0))",
)
def trend_at(image: Block, days: tuple[float, ...]) -> Block:
    """Straight line through series at some days; `linear_trend` takes the days from the dates, and says what comes out."""
    from scipy.special import stdtr

    years = (np.asarray(days) - days[0]) / YEAR
    fit = fit_columns(np.stack([np.ones_like(years), years], axis=1), image.values, image.full_valid)
    freedom = np.maximum(fit.count - 2, 1)
    error = np.sqrt(fit.squares / freedom * fit.inverse[1])
    told = fit.known & (fit.count > 2)
    slope = fit.coefficients[1]
    ratio = np.abs(slope) / np.where(error > 0, error, 1)
    chance = np.where(error > 0, 2 * stdtr(freedom, -ratio), np.where(slope == 0, 1.0, 0.0))
    return result([fit.coefficients[0], slope, error, chance], [fit.known, fit.known, told, told])


@composite("temporal", example="image.linear_trend()")
def linear_trend(image: Image) -> Image:
    """Straight line through each series by its dates, least squares: four times "offset", "slope", "standard_error",
    "p_value".

    The offset is the line's value at the first date, the slope its rise a year (of 365.25 days), with its standard error and
    the two-sided p-value of Student's t (as scipy.stats.linregress). float64; needs two valid times, three for the last
    two. Raises WindowError where the times are no dates.
    """
    return call("trend_at", image, days_of("linear_trend", image.type.time))


def harmonic_labels(n: int) -> tuple[str, ...]:
    """Return the names of a harmonic model's coefficients."""
    return ("constant", "trend", *(f"{part}{order}" for order in range(1, n + 1) for part in ("cos", "sin")))


def check_harmonics(name: str, n: int, period: float) -> None:
    """Raise ExpressionError for a number of harmonics or a period that cannot be."""
    if not 0 <= n <= MOST_HARMONICS or not period > 0:
        raise ExpressionError(f"{name}: n={n}, period={period:g}; give 0 to {MOST_HARMONICS} harmonics of a period above 0")


def _harmonic_rule(image: CubeType, *, days: tuple[float, ...], n: int, period: float) -> CubeType:
    check_days("harmonics_at", image, days)
    check_harmonics("harmonic_fit", n, period)
    return fitted_type(image, (*harmonic_labels(n), "rmse"))


@operator(
    "temporal",
    Tile.TIME,
    _harmonic_rule,
    interpreted=WHOLE_SERIES,
    work=lambda types, args, pixels: fit_work(columns_of(args), types, pixels),
    example="image.harmonics_at((0.0, 91.0, 183.0), 0)",
)
def harmonics_at(image: Block, days: tuple[float, ...], n: int = 1, period: float = YEAR) -> Block:
    """Harmonics through series at some days since 1970; `harmonic_fit` takes the days from the dates."""
    columns = harmonic_columns(days, n, period, EPOCH_DAYS, YEAR)
    fit = fit_columns(columns, image.values, image.full_valid)
    error = np.sqrt(fit.squares / np.maximum(fit.count, 1))
    return result([*fit.coefficients, error], [fit.known] * (columns.shape[1] + 1))


@composite("temporal", openeo="fit_curve", example="cube.image(2004).select('nir').harmonic_fit(1)")
def harmonic_fit(image: Image, n: int = 1, period: float = YEAR) -> Image:
    """Harmonic regression of each series, least squares: a constant, a trend a year, and `n` pairs of cosine and sine.

    The model is constant + trend t + sum of cos_k cos(2 pi k d / period) + sin_k sin(...), with d the days and t the years
    since 2000-01-01. The coefficients are the times of the result, "constant", "trend", "cos1", "sin1", ..., and "rmse", the
    root of the mean squared residual. float64; not valid for fewer valid times than coefficients. Source: Shumway and
    Stoffer (2017), as in Earth Engine's tutorials.
    """
    return call("harmonics_at", image, days_of("harmonic_fit", image.type.time), n, period)


def _model_size(model: CubeType) -> int:
    """Return the number of harmonics of a model. Raises ExpressionError for what is none."""
    pairs = [time for time in model.time if re.fullmatch(r"cos\d+", time)]
    if model.time != (*harmonic_labels(len(pairs)), "rmse"):
        raise ExpressionError(
            f"predict_harmonic: the times {', '.join(model.time[:4])} are no coefficients; give what harmonic_fit returned"
        )
    return len(pairs)


def _predict_rule(model: CubeType, *, days: tuple[float, ...], labels: tuple[str, ...], period: float) -> CubeType:
    check_harmonics("predict_harmonic", _model_size(model), period)
    if not days or len(days) != len(labels):
        raise ExpressionError(f"harmonics_on: {len(days)} days and {len(labels)} labels; give as many, at least one")
    return model.with_(time=tuple(labels))


@operator(
    "temporal",
    Tile.TIME,
    _predict_rule,
    interpreted=WHOLE_SERIES,
    example="cube.image(2004).select('nir').harmonic_fit(1).harmonics_on((1643.0,), ('2004-07-01',))",
)
def harmonics_on(model: Block, days: tuple[float, ...], labels: tuple[str, ...], period: float = YEAR) -> Block:
    """Values of a harmonic model on days since 1970, named by `labels`; `predict_harmonic` takes them from dates."""
    del labels
    size = len(model.values) - 1
    known = model.full_valid[:size].all(axis=0)
    out = np.zeros((len(days), *model.values.shape[1:]))
    for place, row in enumerate(harmonic_columns(days, (size - 2) // 2, period, EPOCH_DAYS, YEAR)):
        for coefficient, number in zip(model.values[:size], row, strict=True):
            out[place] += np.where(known, coefficient * number, 0)
    return Block(out, np.ascontiguousarray(np.broadcast_to(known, out.shape)))


@composite(
    "temporal",
    openeo="predict_curve",
    example="cube.image(2004).select('nir').harmonic_fit(1).predict_harmonic(('2004-07-01', '2005-07-01'))",
)
def predict_harmonic(model: Image, dates: tuple[str, ...], period: float = YEAR) -> Image:
    """The values of a model of `harmonic_fit` on some ISO dates, with the period that it was fitted with; float64.

    Valid where the model is. Raises ExpressionError for an image that is no such model, WindowError for what is no date.
    """
    return call("harmonics_on", model, days_of("predict_harmonic", dates), tuple(dates), period)


def _season_rule(image: CubeType, *, days: tuple[float, ...], share: float) -> CubeType:
    check_days("season_at", image, days)
    if not 0 < share < 1:
        raise ExpressionError(f"phenology: share={share:g} of the amplitude must lie between 0 and 1")
    return fitted_type(image, PHENOLOGY)


def _crossing(days: Array, values: Array, known: Array, peak: Array, level: Array) -> Array:
    """Return the day at which the series last lies at a level before its peak, walking back in time from it.

    `values` run away from the peak: positions beyond `peak` are not looked at. NaN where the level is never reached.
    """
    found, done = np.full(peak.shape, np.nan), np.zeros(peak.shape, dtype=bool)
    high_value, high_day = np.zeros(peak.shape), np.zeros(peak.shape)
    for place in range(len(values) - 1, -1, -1):
        use = known[place] & (place <= peak) & ~done
        below = use & (values[place] <= level) & (place < peak)
        rise = high_value - values[place]
        share = np.where(rise > 0, (level - values[place]) / np.where(rise > 0, rise, 1), 1.0)
        found = np.where(below, days[place] + share * (high_day - days[place]), found)
        done |= below
        high_value, high_day = np.where(use, values[place], high_value), np.where(use, days[place], high_day)
    return found


def _lowest(values: Array, usable: Array) -> Array:
    return np.where(usable, values, np.inf).min(axis=0)


@operator(
    "temporal", Tile.TIME, _season_rule, interpreted=WHOLE_SERIES, example="image.ndvi().season_at((106.0, 197.0, 289.0))"
)
def season_at(image: Block, days: tuple[float, ...], share: float = 0.2) -> Block:
    """Start, peak and end of the season of series at some days; `phenology` takes the days from the dates, and explains."""
    known = finite(image.values, image.full_valid)
    values, line = np.where(known, image.values, 0).astype(np.float64), np.asarray(days)
    steps = np.arange(len(values))[:, None, None, None]
    peak = np.argmax(np.where(known, values, -np.inf), axis=0)
    top = np.take_along_axis(values, peak[None], axis=0)[0]
    left, right = _lowest(values, known & (steps <= peak)), _lowest(values, known & (steps >= peak))
    some = np.asarray(known.any(axis=0))
    left, right = np.where(some, left, 0), np.where(some, right, 0)
    start = _crossing(line, values, known, peak, left + share * (top - left))
    end = -_crossing(-line[::-1], values[::-1], known[::-1], len(values) - 1 - peak, right + share * (top - right))
    base = (left + right) / 2
    planes = [start, line[peak], end, end - start, base, top, top - base]
    whole = [~np.isnan(start), some, ~np.isnan(end), ~np.isnan(start) & ~np.isnan(end), some, some, some]
    return result(planes, [some & told for told in whole])


@composite("temporal", example="cube.image(2004).ndvi().phenology()")
def phenology(image: Image, share: float = 0.2) -> Image:
    """When the season starts, peaks and ends: times "start", "peak", "end", "length", "base", "maximum", "amplitude".

    For series of one season, such as a window of NDVI. The peak is the largest valid value, the earliest of equal ones. The
    season starts where the series last rises through `share` of the way from the smallest value before the peak to the
    peak, and ends where it first falls through that share towards the smallest value after it, on straight lines between
    valid times. Days count from 1 on 1 January of the year of the first time, and go on into the next year. "base" is the
    mean of the two smallest values, "amplitude" the rise from it to "maximum". float64; start and end are not valid where
    the peak is the first or the last valid time. Source: the seasonal amplitude of TIMESAT (Jonsson and Eklundh, 2004), on
    the series as it is: smooth it first.
    """
    first = moments("phenology", image.type)[0]
    days = days_of("phenology", (*image.type.time, f"{first.year:04d}-01-01"))
    return call("season_at", image, tuple(day - days[-1] + 1 for day in days[:-1]), share)


def _forma_rule(image: CubeType, *, window: int) -> CubeType:
    if not 3 <= window <= len(image.time):
        raise ExpressionError(f"forma_trend: window={window} of {len(image.time)} times; give 3 up to as many as there are")
    return fitted_type(image, FORMA)


@operator(
    "temporal",
    Tile.TIME,
    _forma_rule,
    interpreted=WHOLE_SERIES,
    work=_line_work,
    example="cube.image(2004).ndvi().forma_trend()",
)
def forma_trend(image: Block, window: int = 6) -> Block:
    """Trends by which FORMA tells clearing of forest: three times "long", "short" and "t_value", float64.

    "long" is the slope, per time, of a line through all of a series, and "t_value" that slope divided by its standard
    error; "short" is the smallest slope of the lines through each `window` times in a row. A slope needs two valid times,
    the t-value three and a residual; windows with fewer are passed over. Source: Hammer, Kraft and Wheeler (2014), "Alerts
    of forest disturbance from MODIS imagery", and Earth Engine's ImageCollection.formaTrend.
    """
    valid, columns = image.full_valid, np.stack([np.ones(len(image.values)), np.arange(float(len(image.values)))], axis=1)
    whole = fit_columns(columns, image.values, valid)
    error = np.sqrt(whole.squares / np.maximum(whole.count - 2, 1) * whole.inverse[1])
    short, found = np.full(whole.known.shape, np.inf), np.zeros(whole.known.shape, dtype=bool)
    for first in range(len(valid) - window + 1):
        part = slice(first, first + window)
        fit = fit_columns(columns[:window], image.values[part], valid[part])
        short = np.where(fit.known, np.minimum(short, fit.coefficients[1]), short)
        found |= fit.known
    told = whole.known & (whole.count > 2) & (error > 0)
    t_value = whole.coefficients[1] / np.where(told, error, 1)
    return result([whole.coefficients[1], short, t_value], [whole.known, found, told])
