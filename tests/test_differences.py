"""Change: vectors, ratios, transitions, thresholds and breaks equal their definitions, and are found where they were put."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from random_ladder import ladder_codec
from sample_images import classes, grid, noise, odd_noise, plane
from scipy import stats
from series_checks import DATE_SERIES, Refusal, assert_image, assert_refused, dates, from_series, per_series, series
from skimage.filters import threshold_otsu

import esd
from esd.analytics.breaks import cusum_boundary
from esd.cube import Cube
from esd.errors import BandError, ExpressionError

BANDS = ("a", "b", "c")
ONE, OTHER = series(DATE_SERIES, BANDS, seed=1), series(DATE_SERIES, BANDS, seed=2)
A, B = from_series(ONE, DATE_SERIES, BANDS), from_series(OTHER, DATE_SERIES, BANDS)


def test_the_vector_of_change_has_length_and_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    apart = (OTHER.astype(float) - ONE).data
    whole = ~np.ma.getmaskarray(OTHER + ONE).any(axis=1, keepdims=True)
    length = np.linalg.norm(apart, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        values = np.concatenate([length, np.arccos(apart / length)], axis=1)
    expected = np.ma.MaskedArray(np.nan_to_num(values), mask=np.broadcast_to(~whole, values.shape))
    image = A.change_vector(B)
    assert image.type.bands == ("magnitude", "angle_a", "angle_b", "angle_c")
    assert_image(image, expected, monkeypatch)
    still = A.change_vector(A).compute()
    assert not still.values.any()
    assert np.array_equal(still.valid[:, 0], ~np.ma.getmaskarray(ONE).any(axis=1))
    assert not still.valid[:, 1:].any()
    with pytest.raises(BandError, match="change_vector"):
        A.change_vector(B.select("a", "b"))


def test_ratios_are_logarithms_and_positive_only(monkeypatch: pytest.MonkeyPatch) -> None:
    both = (ONE.data > 0) & (OTHER.data > 0) & ~np.ma.getmaskarray(ONE + OTHER)
    with np.errstate(all="ignore"):
        expected = np.ma.MaskedArray(np.where(both, np.log(OTHER.data / ONE.data), 0), mask=~both)
    monkeypatch.setenv("ESD_TIER", "interpreted")
    raster = A.ratio_change(B).compute()
    assert np.array_equal(raster.valid, both)
    assert np.allclose(raster.values[both], expected.data[both], rtol=1e-4, atol=1e-6)


def test_transitions_are_codes_of_both_classes() -> None:
    before, after = classes(40, 50, 5, seed=3), classes(40, 50, 5, seed=4)
    (was, known_before), (is_, known_after) = plane(before), plane(after)
    for count in (5, 100):
        found, valid = plane(before.post_classification_change(after, count))
        assert found.dtype == np.int32
        assert np.array_equal(valid, known_before & known_after)
        assert np.array_equal(found[valid], (was.astype(int) * count + is_)[valid])
    found, valid = plane(before.post_classification_change(after, 3))
    assert np.array_equal(valid, known_before & known_after & (was < 3) & (is_ < 3))


def test_embeddings_are_compared_by_angle_and_length(make_cube: Callable[..., Cube]) -> None:
    cube = make_cube(ladder_codec(), 60, 70)
    one, other = cube.image(2004), cube.image(2005)
    vectors = [image.embedding().compute() for image in (one, other)]
    a, b = (raster.values.reshape(-1, *raster.values.shape[2:]).astype(float) for raster in vectors)
    valid = vectors[0].valid.all(axis=(0, 1)) & vectors[1].valid.all(axis=(0, 1))
    squares = (a * a).sum(axis=0) * (b * b).sum(axis=0)
    cosine = (a * b).sum(axis=0) / np.sqrt(np.where(valid, squares, 1))
    expected = {"cosine": 1 - cosine, "angle": np.arccos(np.clip(cosine, -1, 1)), "euclidean": np.linalg.norm(b - a, axis=0)}
    for metric, numbers in expected.items():
        raster = one.embedding_change(other, metric).compute()
        assert raster.type.bands == ("change",)
        assert np.array_equal(raster.valid[0, 0], valid)
        assert np.allclose(raster.values[0, 0][valid], numbers[valid], rtol=1e-4, atol=1e-5)
    assert not one.embedding_change(one).compute().values.any()


def test_the_threshold_is_otsus() -> None:
    rng = np.random.default_rng(5)
    land = np.where(rng.random((150, 170)) < 0.3, rng.normal(5, 1, (150, 170)), rng.normal(0, 1, (150, 170)))
    image = esd.from_array(land.astype(np.float32), grid(150, 170), valid=(known := rng.random((150, 170)) > 0.2))
    values, valid = plane(image.otsu())
    assert valid.all()
    assert len(np.unique(values)) == 1
    step = (land[known].max() - land[known].min()) / 256
    assert abs(values[0, 0] - threshold_otsu(land[known].astype(np.float32))) <= 1.01 * step
    found, inside = plane(image > image.otsu())
    assert np.array_equal(found[inside], land.astype(np.float32)[inside] > values[0, 0])
    assert not plane(esd.from_array(land, grid(150, 170), valid=np.zeros_like(known)).otsu())[1].any()
    assert np.allclose(plane(esd.from_array(np.full((9, 9), 2.5), grid(9, 9)).otsu())[0], 2.5)
    assert odd_noise(60, 50).otsu().compute().valid.all()


TIMES = dates(110, "2000-01-05", 16)
DAYS = np.array([(dt.date.fromisoformat(day) - dt.date(1970, 1, 1)).days for day in TIMES], dtype=float)
START = "2003-01-01"
BEFORE = sum(day < START for day in TIMES)


def monitored(step: float = 0.0, trend: float = 0.0, seed: int = 0) -> np.ma.MaskedArray:
    """Seasonal series with a step in the middle of 2003."""
    rng = np.random.default_rng(seed)
    wave = 0.5 + 0.2 * np.sin(2 * np.pi * DAYS / 365.25) + trend * (DAYS - DAYS[0]) / 365.25
    clean = wave + step * np.array([day >= "2003-07-01" for day in TIMES])
    values = clean[:, None, None, None] + 0.05 * rng.normal(size=(len(TIMES), 1, 19, 23))
    return np.ma.MaskedArray(values.astype(np.float32), mask=rng.random(values.shape) < 0.2)


def decimal(day: str) -> float:
    date = dt.date.fromisoformat(day)
    return (
        date.year + (date - dt.date(date.year, 1, 1)).days / (dt.date(date.year + 1, 1, 1) - dt.date(date.year, 1, 1)).days
    )


def model(n: int, trend: bool) -> np.ndarray:
    since = DAYS - 10_957
    waves = [part(2 * np.pi * k * since / 365.25) for k in range(1, n + 1) for part in (np.cos, np.sin)]
    return np.stack([np.ones_like(since), *([since / 365.25] if trend else []), *waves], axis=1)


def residuals(one: np.ma.MaskedArray, design: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, int]:
    keep = ~np.ma.getmaskarray(one)
    history = keep.copy()
    history[BEFORE:] = False
    solved = np.linalg.lstsq(design[history], one.data[history].astype(float), rcond=None)[0]
    rest = np.where(keep, one.data - design @ solved, 0)
    spread = np.sqrt((rest[history] ** 2).sum() / (history.sum() - design.shape[1]))
    return rest, keep, spread, int(history.sum())


@pytest.mark.parametrize("trend", [True, False])
def test_breaks_are_where_the_sum_of_residuals_leaves_its_boundary(trend: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    data = monitored(step=-0.15, seed=1)
    design = model(1, trend)

    def reference(one: np.ma.MaskedArray) -> Sequence[float | None]:
        rest, keep, spread, length = residuals(one, design)
        total, seen, found = 0.0, 0, None
        for place in range(BEFORE, len(TIMES)):
            if not keep[place]:
                continue
            total, seen = total + rest[place], seen + 1
            k = (length + seen) / length
            border = math.sqrt(k * (k - 1) * (cusum_boundary(0.05) ** 2 + math.log(k / (k - 1))))
            if found is None and abs(total) / (spread * math.sqrt(length)) > border:
                found = decimal(TIMES[place])
        return [found, float(np.median(rest[BEFORE:][keep[BEFORE:]])), spread]

    image = from_series(data, TIMES, ("a",)).structural_break(START, 1, trend)
    assert_image(image, per_series(data, reference), monkeypatch)
    raster = image.compute()
    assert raster.valid[0].mean() > 0.95
    assert 2003.4 < np.median(raster.values[0][raster.valid[0]]) < 2004.3


def test_series_without_change_break_as_rarely_as_asked() -> None:
    for alpha in (0.01, 0.05, 0.1):
        edge = cusum_boundary(alpha)
        assert 2 * (stats.norm.sf(edge) + edge * stats.norm.pdf(edge)) == pytest.approx(alpha)
    still = np.concatenate([monitored(seed=seed) for seed in range(5)], axis=2)
    raster = from_series(still, TIMES, ("a",)).structural_break(START, 1, trend=False, alpha=0.1).compute()
    assert raster.valid[1].all()
    assert 0.02 < raster.valid[0].mean() < 0.1


def test_control_charts_are_weighted_means_of_residuals(monkeypatch: pytest.MonkeyPatch) -> None:
    data = monitored(step=0.12, seed=2)
    design = model(2, trend=False)

    def reference(one: np.ma.MaskedArray) -> Sequence[float | None]:
        rest, keep, spread, _length = residuals(one, design)
        mean, count, run, onset, found = 0.0, 0, 0, 0.0, None
        for place in range(BEFORE, len(TIMES)):
            if not keep[place]:
                continue
            mean, count = 0.3 * rest[place] + 0.7 * mean, count + 1
            limit = 3 * spread * math.sqrt(0.3 / 1.7 * (1 - 0.7 ** (2 * count)))
            if abs(mean) > limit:
                run, onset = run + 1, decimal(TIMES[place]) if run == 0 else onset
            else:
                run = 0
            if run >= 3 and found is None:
                found = onset
        return [found, mean, mean / spread]

    image = from_series(data, TIMES, ("a",)).ewmacd(START)
    assert_image(image, per_series(data, reference), monkeypatch, rtol=1e-4)
    raster = image.compute()
    assert raster.valid[0].mean() > 0.95
    still = from_series(monitored(seed=3), TIMES, ("a",)).ewmacd(START).compute()
    assert still.valid[0].mean() < 0.1


SERIES = from_series(monitored(), TIMES, ("a",))
BAD: dict[str, Refusal] = {
    "no metric": (lambda: A.embedding_change(B, "dot"), ExpressionError, "dot"),
    "no classes": (lambda: noise(5, 6).post_classification_change(noise(5, 6)), ExpressionError, "float32 is no class"),
    "too many classes": (lambda: classes(5, 6).post_classification_change(classes(5, 6), 5000), ExpressionError, "5000"),
    "one bin": (lambda: A.otsu(1), ExpressionError, "bins=1"),
    "no history": (lambda: SERIES.structural_break("2000-02-01"), ExpressionError, "lie before the start"),
    "nothing to monitor": (lambda: SERIES.structural_break("2030-01-01"), ExpressionError, "one after"),
    "no alpha": (lambda: SERIES.structural_break(START, alpha=0.0), ExpressionError, "alpha=0"),
    "no order": (lambda: SERIES.rearrange((3, 2, 1)).structural_break(START), ExpressionError, "must rise"),
    "no weight": (lambda: SERIES.ewmacd(START, weight=1.5), ExpressionError, "weight=1.5"),
    "no sigmas": (lambda: SERIES.ewmacd(START, sigmas=-1.0), ExpressionError, "sigmas=-1"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_in_one_line(name: str) -> None:
    assert_refused(BAD[name])
