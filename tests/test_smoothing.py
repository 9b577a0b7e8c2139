"""Smoothers of series equal SciPy without gaps, and the least-squares problem that they stand for with gaps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sample_images import grid
from scene_cases import series
from scipy.signal import savgol_filter

import esd
from esd.errors import ExpressionError
from esd.image import Image

TIMES = 14
DATES = tuple(f"{2004 + month // 12}-{month % 12 + 1:02d}-15" for month in range(TIMES))


def whole_series() -> tuple[np.ndarray, Image]:
    values = np.random.default_rng(1).normal(size=(TIMES, 2, 5, 6)).cumsum(axis=0)
    return values, esd.from_array(values, grid(5, 6), ("a", "b"), DATES)


@pytest.mark.parametrize(("window", "order"), [(3, 0), (5, 2), (7, 3), (13, 4)])
def test_savgol_equals_scipy_without_gaps(window: int, order: int) -> None:
    values, image = whole_series()
    raster = image.savgol_time(window, order).compute()
    assert raster.valid.all()
    assert raster.type.time == DATES
    assert np.allclose(raster.values, savgol_filter(values, window, order, axis=0), atol=1e-10)


def test_savgol_with_gaps_fits_what_is_left() -> None:
    image = series(6, 7, TIMES - 2, 0.35)
    given, raster = image.compute(), image.savgol_time(5, 2).compute()
    times = len(given.values)
    for time, band, y, x in np.ndindex(raster.values.shape):
        first = min(max(time - 2, 0), times - 5)
        there = np.flatnonzero(given.valid[first : first + 5, band, y, x])
        assert raster.valid[time, band, y, x] == (len(there) > 2)
        if len(there) > 2:
            fit = np.polyfit(there, given.values[first + there, band, y, x].astype(float), 2)
            assert np.isclose(raster.values[time, band, y, x], np.polyval(fit, time - first), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("smoothness", [0.3, 100.0])
def test_whittaker_solves_its_equations(smoothness: float, order: int) -> None:
    image = series(6, 7, TIMES - 2, 0.4).to_float64()
    given, raster = image.compute(), image.whittaker_time(smoothness, order).compute()
    differences = np.diff(np.eye(len(given.values)), order, axis=0)
    for band, y, x in np.ndindex(given.values.shape[1:]):
        known = given.valid[:, band, y, x]
        assert (raster.valid[:, band, y, x] == (known.sum() >= order)).all()
        if known.sum() >= order:
            system = np.diag(known.astype(float)) + smoothness * differences.T @ differences
            expected = np.linalg.solve(system, np.where(known, given.values[:, band, y, x], 0))
            assert np.allclose(raster.values[:, band, y, x], expected, rtol=1e-6, atol=1e-8)


def test_a_straight_line_stays_through_gaps_and_nan_does_not_count() -> None:
    values = np.arange(TIMES, dtype=np.float32).reshape(-1, 1, 1, 1) * np.ones((1, 1, 3, 4), np.float32)
    spoilt = values.copy()
    spoilt[4:7] = np.nan
    image = esd.from_array(spoilt, grid(3, 4), ("a",), DATES)
    for smoothed in (image.whittaker_time(50.0, 2), image.savgol_time(9, 1)):
        raster = smoothed.compute()
        assert raster.valid.all()
        assert raster.values.dtype == np.float32
        assert np.allclose(raster.values, values, atol=1e-4)


@pytest.mark.parametrize("name", ["savgol_time", "whittaker_time"])
def test_any_tiling_gives_the_same_bytes(name: str) -> None:
    image = getattr(series(70, 61, 9, 0.3), name)()
    whole = image.compute(tile=1000)
    for tile in (16, 33, 64):
        part = image.compute(tile=tile)
        assert part.values.tobytes() == whole.values.tobytes()
        assert part.valid.tobytes() == whole.valid.tobytes()


REFUSED: list[tuple[Callable[[Image], Image], str]] = [
    (lambda i: i.savgol_time(4, 1), "window=4 must be odd"),
    (lambda i: i.savgol_time(9, 1), "window=9"),
    (lambda i: i.savgol_time(5, 5), "order=5"),
    (lambda i: i.whittaker_time(0.0), "smoothness=0"),
    (lambda i: i.whittaker_time(1.0, 4), "order=4"),
    (lambda i: i.median().whittaker_time(1.0, 1), "1 times"),
]


@pytest.mark.parametrize(("build", "reason"), REFUSED, ids=[reason for _build, reason in REFUSED])
def test_bad_arguments_are_named(build: Callable[[Image], Image], reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason):
        build(series(4, 4))
