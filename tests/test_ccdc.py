"""CCDC: equal to the same steps written for one series, and finds the breaks that were put in, and no others."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pytest
from continuous_reference import OneSeries
from series_checks import Refusal, assert_image, assert_refused, from_series

from esd.analytics.breaks import decimal_years
from esd.errors import BandError, ExpressionError

BANDS = ("green", "red", "nir")
LABELS = ["start", "end", "break", "observations", "probability", "constant", "trend"]
LABELS += [f"{wave}{k}" for k in (1, 2, 3) for wave in ("cos", "sin")] + ["rmse", "magnitude"]
NOISE = np.array([0.006, 0.008, 0.015])[:, None, None]


def dates_of(number: int, step: int = 16) -> tuple[list[str], np.ndarray]:
    days = np.datetime64("1995-01-05") - np.datetime64("1970-01-01") + step * np.arange(number)
    return [str(np.datetime64("1970-01-01") + day) for day in days], days.astype(float)


def surface(
    times: int, rows: int, columns: int, seed: int, cloud: float
) -> tuple[np.ma.MaskedArray, np.ndarray, np.ndarray]:
    """Reflectance with seasons, a third of it missing and some cloud; half of the pixels change at some place in time."""
    rng = np.random.default_rng(seed)
    _dates, days = dates_of(times)
    season = np.cos(2 * np.pi * (days / 365.25 - 0.5))[:, None, None, None]
    level, swing = np.array([0.06, 0.05, 0.3]), np.array([0.015, 0.02, 0.08])
    values = level[:, None, None] + swing[:, None, None] * season + NOISE * rng.normal(size=(times, 3, rows, columns))
    when, changes = rng.integers(times // 3, 2 * times // 3, (rows, columns)), rng.random((rows, columns)) < 0.5
    after = (np.arange(times)[:, None, None] >= when) & changes
    values += after[:, None] * np.array([0.03, 0.06, -0.12])[:, None, None]
    values += 0.25 * (rng.random((times, 1, rows, columns)) < cloud)
    mask = np.broadcast_to(rng.random((times, 1, rows, columns)) < 0.33, values.shape).copy()
    return np.ma.MaskedArray(values.astype(np.float32), mask=mask), when, changes


def numbers(
    days: np.ndarray, series: np.ma.MaskedArray, tmask: list[int], penalty: float, most: int, peek: int
) -> np.ma.MaskedArray:
    """What the reference says of one series [time, band]: [most * label, band]."""
    clear = ~np.ma.getmaskarray(series).any(axis=1)
    found = (
        OneSeries(days[clear], series.data[clear].astype(float), [0, 2], tmask, penalty, peek).segments()
        if clear.sum() > 6
        else []
    )
    out = np.ma.masked_all((most * len(LABELS), 3))
    for number, (*ends, count, share, model, rmse, magnitude) in enumerate(found[:most]):
        first = number * len(LABELS)
        for place, day in enumerate(ends):
            if day is not None:
                date = np.datetime64("1970-01-01") + int(day)
                year = date.astype("datetime64[Y]")
                out[first + place] = year.astype(int) + 1970 + (date - year) / ((year + 1).astype("datetime64[D]") - year)
        out[first + 3], out[first + 4] = count, share
        out[first + 5 : first + 13], out[first + 13] = model, rmse
        if magnitude is not None:
            out[first + 14] = magnitude
    return out


@pytest.mark.parametrize(
    ("cloud", "screened", "penalty", "step", "peek"),
    [(0.04, True, 0.002, 16, 6), (0.0, False, 0.0005, 12, 6), (0.02, True, 0.001, 14, 3)],
)
def test_equal_to_the_steps_for_one_series(
    cloud: float, screened: bool, penalty: float, step: int, peek: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dates 12 days apart make a season of 274 days, which no harmonic of a year fits: starts are refused, breaks many."""
    data, _when, _changes = surface(130, 5, 9, seed=step, cloud=cloud)
    data[:, :, 0, 0] = np.ma.masked
    data[40:, 1, 0, 1] = np.ma.masked
    data[20:, :, 0, 2] = np.ma.masked
    dates, days = dates_of(130, step)
    tmask = ["green", "nir"] if screened else []
    pixels = data.reshape(130, 3, -1)
    places = [BANDS.index(band) for band in tmask]
    expected = [numbers(days, pixels[:, :, pixel], places, penalty, 3, peek) for pixel in range(pixels.shape[2])]
    whole = np.ma.stack(expected, axis=-1).reshape(-1, 3, 5, 9)
    image = from_series(data, dates, BANDS).ccdc(("green", "nir"), tuple(tmask), peek, penalty=penalty, max_segments=3)
    assert image.type.time == tuple(f"{label}_{number}" for number in (1, 2, 3) for label in LABELS)
    assert (whole[LABELS.index("probability"), 0].compressed() == 1).any()
    assert_image(image, whole, monkeypatch, rtol=1e-6)


def test_breaks_are_found_where_they_were_put_and_nowhere_else() -> None:
    data, when, changes = surface(260, 16, 16, seed=5, cloud=0.02)
    dates, _days = dates_of(260)
    raster = from_series(data, dates, BANDS).ccdc(tmask_bands=("green", "nir")).compute()
    place = {label: raster.type.time.index(f"{label}_1") for label in LABELS}
    broken = raster.valid[place["break"], 0]
    assert raster.valid[place["start"], 0].all()
    assert broken[~changes].mean() < 0.02
    assert broken[changes].mean() > 0.98
    observed = ~np.ma.getmaskarray(data)[:, 0]
    years = np.array(
        [
            float(dates[i][:4]) + (np.datetime64(dates[i]) - np.datetime64(dates[i][:4], "D")).astype(int) / 365.25
            for i in range(260)
        ]
    )
    found = np.abs(years[:, None, None] - raster.values[place["break"], 0]).argmin(axis=0)
    between = np.array(
        [
            [observed[min(a, b) : max(a, b), y, x].sum() for x, (a, b) in enumerate(zip(when[y], found[y], strict=True))]
            for y in range(16)
        ]
    )
    assert np.quantile(between[broken & changes], 0.9) <= 1
    assert between[broken & changes].max() <= 2
    jump = raster.values[place["magnitude"]][:, broken & changes].mean(axis=1)
    assert np.allclose(jump, [0.03, 0.06, -0.12], atol=0.01)


def test_a_break_at_the_end_is_told_by_its_probability() -> None:
    data, _when, _changes = surface(130, 2, 3, seed=1, cloud=0.0)
    data.mask = False
    dates, days = dates_of(130)
    rng = np.random.default_rng(0)
    season = 0.3 + 0.08 * np.cos(2 * np.pi * days / 365.25)
    data.data[:] = (season[:, None] + 0.01 * rng.normal(size=(130, 3)))[:, :, None, None]
    for number in range(6):
        data.data[130 - number :, :, number // 3, number % 3] += 0.2
    segment = from_series(data, dates, BANDS).ccdc().ccdc_segment().compute()
    assert segment.type.time == tuple(LABELS)
    odd = np.arange(6.0).reshape(2, 3)
    assert np.allclose(segment.values[LABELS.index("probability")], odd / 6)
    assert not segment.valid[LABELS.index("break")].any()
    assert np.array_equal(segment.values[LABELS.index("observations"), 0], 130 - odd)


def test_numbers_of_another_unit_give_the_same_segments() -> None:
    data, _when, _changes = surface(130, 4, 6, seed=7, cloud=0.02)
    scaled = np.ma.MaskedArray(np.round(data.data * 10_000).astype(np.int16), mask=data.mask)
    dates, _days = dates_of(130)
    small = from_series((scaled / 10_000).astype(np.float64), dates, BANDS).ccdc(tmask_bands=("green",)).compute()
    large = from_series(scaled, dates, BANDS).ccdc(tmask_bands=("green",), penalty=20.0).compute()
    assert np.array_equal(small.valid, large.valid)
    plain = np.array([name.split("_")[0] in LABELS[:5] for name in small.type.time])
    assert np.allclose(large.values[plain], small.values[plain])
    assert np.allclose(large.values[~plain], small.values[~plain] * 10_000, atol=1e-3)


def test_series_without_observations_are_not_valid() -> None:
    data = np.ma.masked_all((40, 3, 2, 2), dtype=np.float32)
    raster = from_series(data, dates_of(40)[0], BANDS).ccdc().compute()
    assert not raster.valid.any()
    assert np.isfinite(raster.values).all()


def test_a_segment_is_a_model_that_predicts() -> None:
    data, _when, _changes = surface(130, 2, 3, seed=2, cloud=0.0)
    dates, _days = dates_of(130)
    image = from_series(data, dates, BANDS).ccdc(max_segments=2, penalty=0.0).ccdc_segment(1)
    chosen = dates[20:23]
    predicted = image.array_slice(5, 14).predict_harmonic(tuple(chosen)).compute()
    clear = ~np.ma.getmaskarray(data)[20:23]
    assert np.abs(predicted.values - data.data[20:23])[clear].max() < 0.08


IMAGE = from_series(surface(40, 2, 2, seed=0, cloud=0.0)[0], dates_of(40)[0], BANDS)
BAD: dict[str, Refusal] = {
    "no band": (lambda: IMAGE.ccdc(("blue",)), BandError, "'blue' among green, red, nir"),
    "no screen": (lambda: IMAGE.ccdc((), ("blue",)), BandError, "'blue' among green, red, nir"),
    "backwards": (lambda: IMAGE.rearrange((2, 1, 0)).ccdc(), ExpressionError, "must rise"),
    "one in a row": (lambda: IMAGE.ccdc(min_observations=1), ExpressionError, "min_observations=1"),
    "no segments": (lambda: IMAGE.ccdc(max_segments=0), ExpressionError, "max_segments=0"),
    "certain": (lambda: IMAGE.ccdc(chi_square=1.0), ExpressionError, "chi_square=1"),
    "shrinking": (lambda: IMAGE.ccdc(growth=0.5), ExpressionError, "growth=0.5"),
    "negative": (lambda: IMAGE.ccdc(penalty=-1.0), ExpressionError, "penalty=-1"),
    "no third": (lambda: IMAGE.ccdc(max_segments=2).ccdc_segment(3), ExpressionError, "no segment 3"),
    "not segments": (lambda: IMAGE.ccdc_segment(), ExpressionError, "no segment 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_in_one_line(name: str) -> None:
    assert_refused(BAD[name])


def test_a_real_pixel_breaks_where_others_say(shared_data: Path) -> None:
    """A pixel whose segments are published as COLD finds them, a sibling with other margins: same starts, same breaks."""
    known = json.loads((shared_data / "change/pyxccd/cold_results.json").read_text())
    segments = known["results"]["spectral_336_3980_obs.csv"]
    table = np.loadtxt(shared_data / "change/pyxccd/spectral_336_3980_obs.csv", delimiter=",", dtype=np.int64)
    days, values, clear = table[:, 0] - dt.date(1970, 1, 1).toordinal(), table[:, 1:7] / 1e4, table[:, 8] < 2
    clear &= ((table[:, 1:7] > 0) & (table[:, 1:7] < 10_000)).all(axis=1)
    dates = [str(np.datetime64("1970-01-01") + day) for day in days]
    mask = np.broadcast_to(~clear[:, None, None, None], (len(days), 6, 1, 1))
    bands = ("blue", "green", "red", "nir", "swir1", "swir2")
    data = np.ma.MaskedArray(values[:, :, None, None], mask=mask.copy())
    found = from_series(data, dates, bands).ccdc(bands[1:], ("green", "swir1"))
    years = {date: index for index, date in enumerate(decimal_years(days[clear].tolist()))}
    raster = found.compute()
    at = {label: raster.values[index, 0, 0, 0] for index, label in enumerate(raster.type.time)}
    there = [raster.valid[found.type.time.index(f"start_{number}"), 0, 0, 0] for number in range(1, 7)]
    assert sum(there) == len(segments) == 2

    def apart(label: str, ordinal: int) -> int:
        expected = decimal_years([ordinal - dt.date(1970, 1, 1).toordinal()])[0]
        return abs(years[at[label]] - int(np.abs(np.array(list(years)) - expected).argmin()))

    assert apart("start_1", segments[0]["t_start"]) == apart("start_2", segments[1]["t_start"]) == 0
    assert apart("break_1", segments[0]["t_break"]) <= 2
    assert apart("end_2", segments[1]["t_end"]) <= 1
    assert abs(at["observations_1"] - segments[0]["num_obs"]) <= 2
