"""Operators of series in time: equal to pandas, SciPy and a pixel at a time, whatever the tiling."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from random_ladder import ladder_codec
from scipy import stats
from series_checks import Refusal, assert_image, assert_refused, dates, from_series, per_series, series

import esd
from esd.cube import Cube
from esd.errors import BandError, ExpressionError, WindowError

DATES = dates(40)
SERIES = series(DATES)
IMAGE = from_series(SERIES, DATES)
DAYS = np.array([(dt.date.fromisoformat(day) - dt.date(1970, 1, 1)).days for day in DATES], dtype=float)

One = np.ma.MaskedArray
Numbers = Sequence[float | None]


def known(one: One) -> pd.Series:
    """The valid values of one series by date, as pandas holds them."""
    keep = ~np.ma.getmaskarray(one)
    return pd.Series(one.data[keep].astype(float), index=pd.DatetimeIndex(np.array(DATES)[keep]))


PERIODS = {
    "day": "D",
    "week": "W-MON",
    "month": "MS",
    "season": "QS-DEC",
    "year": "YS",
}


@pytest.mark.parametrize("period", PERIODS)
def test_periods_are_those_of_pandas(period: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = {"closed": "left", "label": "left"} if period == "week" else {}
    whole = pd.Series(0.0, index=pd.DatetimeIndex(DATES)).resample(PERIODS[period], **closed).sum().index

    def reference(one: One) -> Numbers:
        found = known(one).resample(PERIODS[period], **closed).max().reindex(whole)
        return [None if math.isnan(value) else value for value in found]

    image = IMAGE.aggregate_period(period, "max")
    assert list(image.type.time) == [str(day.date()) for day in whole]
    assert_image(image, per_series(SERIES, reference), monkeypatch)


@pytest.mark.parametrize(
    ("period", "day", "start"),
    [
        ("dekad", "2004-02-29", "2004-02-21"),
        ("tropical-season", "2004-03-01", "2003-11-01"),
        ("tropical-season", "2004-10-31", "2004-05-01"),
        ("decade", "2009-12-31", "2000-01-01"),
        ("decade-ad", "2010-12-31", "2001-01-01"),
        ("hour", "2004-03-01", "2004-03-01T00:00"),
        ("season", "2004-01-31", "2003-12-01"),
    ],
)
def test_periods_have_their_first_day(period: str, day: str, start: str) -> None:
    one = from_series(SERIES[:1], [day])
    assert one.aggregate_period(period).type.time == (start,)


def test_intervals_are_half_open_and_may_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    intervals = ((DATES[3], DATES[9]), (DATES[5], DATES[6]), ("1990-01-01", "1991-01-01"))

    def reference(one: One) -> Numbers:
        values = [np.ma.median(one[3:9]), one[5], np.ma.masked]
        return [None if value is np.ma.masked else float(value) for value in values]

    image = IMAGE.aggregate_temporal(intervals, "median")
    assert image.type.time == (DATES[3], DATES[5], "1990-01-01")
    assert_image(image, per_series(SERIES, reference), monkeypatch)
    count = IMAGE.aggregate_temporal(intervals, "count", ("x", "y", "z"))
    assert count.type.time == ("x", "y", "z")
    assert count.compute().valid.all()
    assert not count.compute().values[2].any()


@pytest.mark.parametrize("baseline", [None, ("2004-01-01", "2004-12-31")])
def test_normals_and_anomalies(baseline: tuple[str, str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    months = [f"{month:02d}" for month in sorted({int(day[5:7]) for day in DATES})]

    def normal(one: One) -> dict[str, float]:
        values = known(one)
        values = values if baseline is None else values[baseline[0] : "2004-12-30"]
        return {f"{month:02d}": value for month, value in values.groupby(values.index.month).mean().items()}

    def departed(one: One) -> Numbers:
        means, gone = normal(one), np.ma.getmaskarray(one)
        pairs = [(means.get(day[5:7]), value) for day, value in zip(DATES, one.data, strict=True)]
        return [None if gone[i] or mean is None else value - mean for i, (mean, value) in enumerate(pairs)]

    normals = IMAGE.climatology("month", "mean", baseline)
    assert list(normals.type.time) == months
    assert_image(normals, per_series(SERIES, lambda one: [normal(one).get(month) for month in months]), monkeypatch)
    image = IMAGE.anomaly(normals, "month")
    assert list(image.type.time) == DATES
    assert_image(image, per_series(SERIES, departed), monkeypatch)


def test_seasons_are_in_the_order_of_the_year() -> None:
    assert IMAGE.climatology("season").type.time == ("djf", "mam", "jja", "son")
    assert IMAGE.climatology("tropical-season").type.time == ("mjjaso", "ndjfma")
    assert IMAGE.climatology("year").type.time == ("year",)


def test_moving_windows_and_lags(monkeypatch: pytest.MonkeyPatch) -> None:
    def window(one: One) -> Numbers:
        means = [one[np.abs(DAYS - day) <= 20].mean() for day in DAYS]
        return [None if mean is np.ma.masked else float(mean) for mean in means]

    assert_image(IMAGE.moving_window(20.0), per_series(SERIES, window), monkeypatch)
    for n in (2, -3):
        moved = np.ma.masked_all_like(SERIES)
        if n > 0:
            moved[n:] = SERIES[:-n]
        else:
            moved[:n] = SERIES[-n:]
        assert_image(IMAGE.lag(n), moved, monkeypatch)


@pytest.mark.parametrize("max_gap", [None, 30.0])
def test_gaps_are_filled_by_date(max_gap: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def line(one: One) -> Numbers:
        x = DAYS[~np.ma.getmaskarray(one)]
        y = one.compressed().astype(float)
        filled: list[float | None] = []
        for day in DAYS:
            inside = len(x) and x[0] <= day <= x[-1]
            gap = min(x[x >= day]) - max(x[x <= day]) if inside else 0
            filled.append(float(np.interp(day, x, y)) if inside and (max_gap is None or gap <= max_gap) else None)
        return filled

    def taken(one: One, back_only: bool) -> Numbers:
        keep = ~np.ma.getmaskarray(one)
        filled: list[float | None] = []
        for day in DAYS:
            apart = np.abs(DAYS - day)
            usable = keep & (apart <= (max_gap or np.inf)) & ((day >= DAYS) | (not back_only))
            filled.append(float(one.data[np.where(usable, apart, np.inf).argmin()]) if usable.any() else None)
        return filled

    filled = IMAGE.interpolate_time("linear", max_gap)
    assert_image(filled, per_series(SERIES, line), monkeypatch)
    assert_image(IMAGE.interpolate_time("nearest", max_gap), per_series(SERIES, lambda one: taken(one, False)), monkeypatch)
    assert_image(IMAGE.interpolate_time("previous", max_gap), per_series(SERIES, lambda one: taken(one, True)), monkeypatch)


def test_series_are_put_on_other_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ("2004-02-01", "2004-07-15", "2005-01-01", "2010-01-01")
    targets = [(dt.date.fromisoformat(day) - dt.date(1970, 1, 1)).days for day in wanted]
    nearest = [int(np.abs(DAYS - day).argmin()) for day in targets]
    assert_image(IMAGE.resample_time(wanted), SERIES[nearest], monkeypatch)

    def close(one: One) -> Numbers:
        keep, found = ~np.ma.getmaskarray(one), []
        for day in targets:
            apart = np.where(keep, np.abs(DAYS - day), np.inf)
            found.append(float(one.data[apart.argmin()]) if apart.min() <= 25 else None)
        return found

    assert_image(IMAGE.resample_time(wanted, valid_within=25.0), per_series(SERIES, close), monkeypatch)
    assert IMAGE.resample_time(wanted, "linear").type.time == wanted
    assert not IMAGE.resample_time(wanted, "linear").compute().valid[3].any()


def test_lines_are_those_of_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    years = (DAYS - DAYS[0]) / 365.25

    def reference(one: One) -> Numbers:
        keep = ~np.ma.getmaskarray(one)
        if keep.sum() < 2:
            return [None] * 4
        fit = stats.linregress(years[keep], one.data[keep].astype(float))
        return [fit.intercept, fit.slope, *((fit.stderr, fit.pvalue) if keep.sum() > 2 else (None, None))]

    image = IMAGE.linear_trend()
    assert image.type.time == ("offset", "slope", "standard_error", "p_value")
    assert_image(image, per_series(SERIES, reference), monkeypatch)
    few = series(DATES[:4], missing=0.5)
    few_years = years[:4]

    def short(one: One) -> Numbers:
        keep = ~np.ma.getmaskarray(one)
        if keep.sum() < 2:
            return [None] * 4
        fit = stats.linregress(few_years[keep], one.data[keep].astype(float))
        return [fit.intercept, fit.slope, *((fit.stderr, fit.pvalue) if keep.sum() > 2 else (None, None))]

    assert_image(from_series(few, DATES[:4]).linear_trend(), per_series(few, short), monkeypatch, rtol=1e-4)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_harmonics_are_least_squares_and_predict(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def columns(days: np.ndarray) -> np.ndarray:
        since = days - 10_957
        waves = [part(2 * np.pi * k * since / 365.25) for k in range(1, n + 1) for part in (np.cos, np.sin)]
        return np.stack([np.ones_like(since), since / 365.25, *waves], axis=1)

    def reference(one: One) -> Numbers:
        keep = ~np.ma.getmaskarray(one)
        design, values = columns(DAYS[keep]), one.data[keep].astype(float)
        if keep.sum() < design.shape[1]:
            return [None] * (design.shape[1] + 1)
        solved = np.linalg.lstsq(design, values, rcond=None)[0]
        return [*solved, np.sqrt(np.mean((values - design @ solved) ** 2))]

    model = IMAGE.harmonic_fit(n)
    expected = per_series(SERIES, reference)
    assert_image(model, expected, monkeypatch, rtol=1e-4)
    wanted = ("2004-07-01", "2006-01-31")
    days = np.array([(dt.date.fromisoformat(day) - dt.date(1970, 1, 1)).days for day in wanted], dtype=float)
    predicted = np.ma.MaskedArray(
        np.einsum("tc,cbyx->tbyx", columns(days), expected.data[:-1]), mask=np.ma.getmaskarray(expected)[:2]
    )
    assert_image(model.predict_harmonic(wanted), predicted, monkeypatch, rtol=1e-4)


def season(times: Sequence[float], one: One, share: float) -> Numbers:
    """A season by hand: walk from the peak to both sides."""
    keep = ~np.ma.getmaskarray(one)
    if not keep.any():
        return [None] * 7
    x, y = np.asarray(times)[keep], one.data[keep].astype(float)
    peak = int(y.argmax())
    left, right = y[: peak + 1].min(), y[peak:].min()

    def walk(step: int, level: float) -> float | None:
        place = peak + step
        while 0 <= place < len(y):
            if y[place] <= level:
                before = place - step
                return float(np.interp(level, [y[place], y[before]], [x[place], x[before]]))
            place += step
        return None

    start = walk(-1, left + share * (y[peak] - left)) if peak else None
    end = walk(1, right + share * (y[peak] - right)) if peak < len(y) - 1 else None
    base = (left + right) / 2
    length = None if start is None or end is None else end - start
    return [start, x[peak], end, length, base, y[peak], y[peak] - base]


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_seasons_start_peak_and_end(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    days = list(DAYS - (dt.date(2003, 1, 1) - dt.date(1970, 1, 1)).days + 1)
    image = IMAGE.phenology(share)
    assert image.type.time == ("start", "peak", "end", "length", "base", "maximum", "amplitude")
    assert_image(image, per_series(SERIES, lambda one: season(days, one, share)), monkeypatch)


def test_forma_takes_the_steepest_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    def slope(one: One, first: int) -> float | None:
        keep = ~np.ma.getmaskarray(one)
        x = np.arange(first, first + len(one))[keep]
        return float(np.polyfit(x, one.data[keep].astype(float), 1)[0]) if keep.sum() > 1 else None

    def reference(one: One) -> Numbers:
        slopes = [slope(one[i : i + 5], i) for i in range(len(one) - 4)]
        found = [value for value in slopes if value is not None]
        keep = ~np.ma.getmaskarray(one)
        if keep.sum() < 3:
            return [None] * 3
        fit = stats.linregress(np.arange(len(one))[keep], one.data[keep].astype(float))
        return [fit.slope, min(found), fit.slope / fit.stderr]

    assert_image(IMAGE.forma_trend(5), per_series(SERIES, reference), monkeypatch, rtol=1e-4)


def test_mosaics_take_what_was_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    for order in ("first", "last"):
        steps = range(len(DATES)) if order == "first" else range(len(DATES))[::-1]

        def reference(one: One, steps: Sequence[int] = steps) -> Numbers:
            return [next((float(one[i]) for i in steps if one[i] is not np.ma.masked), None)]

        assert_image(IMAGE.mosaic(order), per_series(SERIES, reference), monkeypatch)


def one_time(chosen: Callable[[np.ma.MaskedArray], int | None]) -> np.ma.MaskedArray:
    """Take all bands of one time of each pixel."""
    out = np.ma.masked_all((1, *SERIES.shape[1:]), dtype=np.float64)
    for y, x in np.ndindex(SERIES.shape[2:]):
        place = chosen(SERIES[:, :, y, x])
        if place is not None:
            out[0, :, y, x] = SERIES[place, :, y, x]
    return out


def test_the_best_time_brings_all_its_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    def best(pixel: np.ma.MaskedArray) -> int | None:
        return None if pixel[:, 1].mask.all() else int(pixel[:, 1].argmax())

    assert_image(IMAGE.quality_mosaic("b"), one_time(best), monkeypatch)


def test_the_medoid_is_least_far_from_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def middle(pixel: np.ma.MaskedArray) -> int | None:
        whole = np.flatnonzero(~np.ma.getmaskarray(pixel).any(axis=1))
        if not len(whole):
            return None
        points = pixel.data[whole].astype(float)
        return int(whole[np.linalg.norm(points[:, None] - points[None], axis=-1).sum(axis=1).argmin()])

    assert_image(IMAGE.medoid(), one_time(middle), monkeypatch)


def test_the_calendar_chooses_times(monkeypatch: pytest.MonkeyPatch) -> None:
    winter = [i for i, day in enumerate(DATES) if day[5:7] in ("11", "12", "01", "02")]
    assert_image(IMAGE.filter_calendar(11, 2), SERIES[winter], monkeypatch)
    summer = [i for i, day in enumerate(DATES) if 152 <= dt.date.fromisoformat(day).timetuple().tm_yday <= 243]
    assert_image(IMAGE.filter_day_of_year(152, 243), SERIES[summer], monkeypatch)
    assert IMAGE.filter_calendar(2004, 2004, "year").type.time == tuple(day for day in DATES if day[:4] == "2004")


def test_codes_stay_codes(make_cube: Callable[..., Cube]) -> None:
    image = make_cube(ladder_codec()).image(2004)
    kept = image.filter_calendar(5, 8)
    assert kept.type.space is image.type.space
    decoded = kept.select("nir")
    summer = [place for place, day in enumerate(image.decode().type.time) if day[5:7] in ("05", "06", "07", "08")]
    raster, whole = decoded.compute(), image.decode().select("nir").compute()
    assert set(raster.type.time) <= set(whole.type.time)
    assert np.array_equal(raster.values, whole.values[[whole.type.time.index(day) for day in raster.type.time]])
    assert len(summer) >= len(raster.type.time) > 0


BAD: dict[str, Refusal] = {
    "no period": (lambda: IMAGE.aggregate_period("fortnight"), ExpressionError, "fortnight"),
    "no date": (lambda: IMAGE.linear_trend().aggregate_period("month"), WindowError, "'offset' is no date"),
    "empty interval": (lambda: IMAGE.aggregate_temporal((("2004-02-01", "2004-02-01"),)), ExpressionError, "is empty"),
    "no pairs": (lambda: IMAGE.aggregate_temporal(("2004-02-01",)), ExpressionError, "must be pairs"),
    "missing normal": (lambda: IMAGE.anomaly(IMAGE.filter_calendar(6, 8).climatology("month")), ExpressionError, "have no"),
    "no baseline": (lambda: IMAGE.climatology("month", "mean", ("1990-01-01", "1991-01-01")), ExpressionError, "baseline"),
    "no reducer": (lambda: IMAGE.moving_window(20.0, "middle"), ExpressionError, "middle"),
    "negative window": (lambda: IMAGE.moving_window(-1.0), ExpressionError, "0 or more"),
    "no method": (lambda: IMAGE.interpolate_time("cubic"), ExpressionError, "cubic"),
    "no model": (lambda: IMAGE.predict_harmonic(("2004-01-01",)), ExpressionError, "harmonic_fit"),
    "too many harmonics": (lambda: IMAGE.harmonic_fit(9), ExpressionError, "n=9"),
    "no share": (lambda: IMAGE.phenology(1.0), ExpressionError, "share=1"),
    "no order": (lambda: IMAGE.mosaic("top"), ExpressionError, "top"),
    "no band": (lambda: IMAGE.quality_mosaic("nir"), BandError, "nir"),
    "no time left": (lambda: IMAGE.filter_calendar(1999, 1999, "year"), WindowError, "1999"),
    "no field": (lambda: IMAGE.filter_calendar(1, 2, "fortnight"), ExpressionError, "fortnight"),
    "positions outside": (lambda: esd.call("reduce_groups", IMAGE, ((99,),), ("x",)), ExpressionError, "0 to 39"),
    "names too few": (lambda: IMAGE.rename_times(("x",)), WindowError, "40 times"),
    "window too long": (lambda: IMAGE.forma_trend(99), ExpressionError, "window=99"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_in_one_line(name: str) -> None:
    assert_refused(BAD[name])
