"""Gap filling: nothing observed is touched, nothing hidden is looked at, tiles have no seams, coarse sensors only help."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scene_files import GRID

from esd.dekad import BANDS, DEKADS, dekad_dates
from esd.errors import SceneError
from esd.ingest import find_scenes, read_scene
from esd.ingest.filling import MARGIN, Series, add_neighbours, expect, fill_gaps
from esd.ingest.gap_stack import BlockStack
from esd.ingest.kriging import BAND_SCALES, DONORS, covariance, predict_in_time
from esd.ingest.recipe import Recipe
from esd.ingest.scene import Layer, Observation, Scene
from esd.ingest.screening import keep_mask

WINDOWS = [dt.date(year, 1, 1) for year in (2003, 2004, 2005)]
DAYS = np.concatenate([dekad_dates(window) for window in WINDOWS]).astype(np.int64)
TARGETS = slice(DEKADS, 2 * DEKADS)


def landscape(shape: tuple[int, int], seed: int, days: np.ndarray = DAYS) -> np.ndarray:
    """Return reflectance [n, 6, y, x] with seasons that differ from pixel to pixel and weather that pixels share."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.1, 0.3, (1, 6, *shape))
    swing = rng.uniform(0.0, 0.1, (1, 6, *shape))
    phase = rng.uniform(0, 0.5, (1, 1, *shape))
    season = np.sin(2 * np.pi * days / 365.25)[:, None, None, None] + phase
    shared = rng.normal(0, 0.015, (len(days), 6, 1, 1))
    return (base + swing * season + shared + rng.normal(0, 0.002, (len(days), 6, *shape))).astype(np.float32)


def series_of(shape: tuple[int, int], seed: int = 1, share: float = 0.4) -> tuple[Series, np.ndarray]:
    truth = landscape(shape, seed)
    seen = np.random.default_rng(seed + 1).random((len(DAYS), *shape)) < share
    return Series(np.where(seen[:, None], truth, np.float32(0)), seen, DAYS), truth


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, DONORS + 8))
def test_predictions_are_kriging_left_one_out(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(2000, count, replace=False))
    series = rng.standard_normal((count, 6, 1)).astype(np.float32)
    seen, noise = rng.random((count, 1)) < 0.7, rng.uniform(0.1, 5, (count, 1)).astype(np.float32)
    expected, others, told = predict_in_time(series, seen, days, noise, slice(0, count))
    assert told.sum() == min(seen.sum(), DONORS)
    alike = covariance(days).astype(float)
    for target in range(count):
        rest = np.flatnonzero(told[:, 0] & (np.arange(count) != target))
        matrix = alike[np.ix_(rest, rest)] + np.diag(noise[rest, 0])
        weights = np.linalg.solve(matrix, alike[rest, target]) if rest.size else np.zeros(0)
        wanted = weights @ series[rest, :, 0].astype(float) if rest.size else np.zeros(6)
        assert np.abs(expected[target, :, 0] - wanted).max() < 2e-3
        if told[target, 0]:
            assert np.array_equal(expected[target], others[target])


def test_what_is_observed_comes_back_and_gaps_come_near_the_truth() -> None:
    series, truth = series_of((24, 30))
    filled, known = fill_gaps(series, TARGETS)
    seen = np.broadcast_to(series.seen[TARGETS][:, None], filled.shape)
    assert known.all()
    assert np.array_equal(filled[seen], truth[TARGETS][seen])
    error = np.abs(filled - truth[TARGETS])[~seen].mean()
    without_neighbours = np.abs(expect(series, TARGETS) - truth[TARGETS])[~seen].mean()
    assert error < 0.006
    assert without_neighbours > 0.009


def test_a_value_that_is_hidden_has_no_part_in_what_fills_it() -> None:
    series, _ = series_of((12, 12))
    wild = np.where(series.seen[:, None], series.values, np.float32(9.9))
    for one, other in zip(fill_gaps(series, TARGETS), fill_gaps(Series(wild, series.seen, DAYS), TARGETS), strict=True):
        assert np.array_equal(one, other)


def test_a_pixel_never_observed_stays_empty() -> None:
    series, _ = series_of((9, 9))
    series.seen[:, 4, 4] = False
    filled, known = fill_gaps(series, TARGETS)
    assert not known[4, 4]
    assert known.sum() == 80
    assert not filled[:, :, 4, 4].any()


def test_tiles_with_their_margin_are_the_whole() -> None:
    series, _ = series_of((8, 2 * MARGIN + 30), share=0.3)
    with ThreadPoolExecutor(2) as pool:
        whole, _ = fill_gaps(series, TARGETS, mapper=pool.map)
    for start, end in ((0, 15), (MARGIN + 10, MARGIN + 30)):
        left, right = max(start - MARGIN, 0), end + MARGIN
        part = Series(series.values[..., left:right], series.seen[..., left:right], DAYS)
        tile, _ = fill_gaps(part, TARGETS)
        assert np.array_equal(tile[..., start - left : end - left], whole[..., start:end])


def test_stripes_do_not_show() -> None:
    series, truth = series_of((40, 20), share=0.25)
    stripe = np.arange(40) % 14 < 4
    date = DEKADS + 17
    series.seen[date] = ~stripe[:, None]
    series.values[date] = np.where(series.seen[date], truth[date] + 0.03, 0)
    filled, _ = fill_gaps(series, TARGETS)
    bias = (filled[17] - truth[date] - 0.03).mean(axis=(0, 2))
    assert np.abs(bias[stripe]).max() < 0.004
    assert np.array_equal(bias[~stripe].round(6), np.zeros((~stripe).sum()))


def test_haze_that_the_mask_missed_hardly_moves_its_neighbours_in_time() -> None:
    series, truth = series_of((24, 24), share=0.3)
    hazy = np.arange(DEKADS + 10, DEKADS + 26, 5)
    series.seen[hazy] = True
    series.values[hazy] = truth[hazy] + 0.15
    moved = np.abs(expect(series, TARGETS) - truth[TARGETS]).mean()
    series.seen[hazy] = False
    assert moved < 1.25 * np.abs(expect(series, TARGETS) - truth[TARGETS]).mean()


def test_neighbours_far_away_add_nothing() -> None:
    expected, observed = np.zeros((6, 90, 4), np.float32), np.ones((6, 90, 4), np.float32)
    seen = np.zeros((90, 4), dtype=bool)
    seen[:4] = True
    moved = add_neighbours(expected, observed, seen)
    assert moved[:, 4].min() > 0.9
    assert not moved[:, 4 + MARGIN :].any()
    assert (np.diff(moved[0, 3:, 0]) <= 1e-6).all()


def test_a_coarse_sensor_helps_where_it_tells_and_does_no_harm_where_it_does_not() -> None:
    series, truth = series_of((16, 16), share=0.15)
    dates = np.random.default_rng(4).random(len(DAYS)) < 0.8
    smooth = truth.mean(axis=(2, 3), keepdims=True) * np.ones_like(truth)
    everywhere = np.broadcast_to(dates[:, None, None], series.seen.shape).copy()
    rng = np.random.default_rng(8)
    noise = landscape((1, 1), 77) + rng.normal(0, 0.02, (len(DAYS), 6, 1, 1))
    errors = {}
    for name, values in (("telling", smooth), ("noise", noise * np.ones_like(truth))):
        coarse = Series(np.where(dates[:, None, None, None], values, 0).astype(np.float32), everywhere, DAYS)
        errors[name] = np.abs(expect(series, TARGETS, coarse) - truth[TARGETS])[dates[TARGETS]].mean()
    alone = np.abs(expect(series, TARGETS) - truth[TARGETS])[dates[TARGETS]].mean()
    assert errors["telling"] < 0.8 * alone
    assert errors["noise"] < 1.15 * alone


def scene_of(date: dt.date, sensor: str) -> Scene:
    layers = tuple(Layer(band, "absent") for band in BANDS)
    return Scene(f"{sensor}{date}", "test", "P", sensor, date, (date, date), GRID, Path("absent"), layers)


@pytest.mark.parametrize(
    "wrong", [{"fill": "magic"}, {"dilate": -1}, {"dilate": 51}, {"reach": 6}], ids=["fill", "less", "more", "reach"]
)
def test_a_recipe_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SceneError, match=str(next(iter(wrong.values())))):
        Recipe(**wrong)  # type: ignore[arg-type]  # what is wrong is the point


def test_real_scenes_are_filled_from_neighbours_in_time_and_space(shared_data: Path) -> None:
    files = sorted((shared_data / "landsat_espa_wa").glob("*.tar.gz"))
    scenes, _ = find_scenes([file for file in files if "2001" <= file.name[9:13] <= "2003"])
    read = [read_scene(scene, scene.geobox) for scene in scenes]
    values = np.stack([observation.reflectance[:, 40:64, 40:64] for observation in read])
    clear = np.stack([observation.clear[:, 40:64, 40:64] for observation in read])
    days = np.array([scene.acquired.toordinal() for scene in scenes])
    years = np.array([scene.acquired.year for scene in scenes])
    seen = clear.all(axis=1) & keep_mask(values, clear, days)
    first, last = np.flatnonzero(years == 2002)[[0, -1]]
    targets = slice(first, last + 1)
    hidden = np.random.default_rng(2).random(seen[targets].shape) < 0.1
    rest = seen.copy()
    rest[targets] &= ~hidden
    filled, _ = fill_gaps(Series(values, rest, days), targets)
    asked = seen[targets] & hidden
    error = np.abs(filled - values[targets]).mean(axis=1)[asked].mean()
    before = np.where(rest, np.arange(len(days))[:, None, None], 0)
    latest = np.maximum.accumulate(before, axis=0)[targets]
    repeated = np.take_along_axis(values, latest[:, None], axis=0)
    assert error < 0.5 * np.abs(repeated - values[targets]).mean(axis=1)[asked].mean()
    assert error < 0.012


def test_a_block_tells_fill_from_observation() -> None:
    recipe = Recipe(fill="fusion")
    stack = BlockStack(WINDOWS[1], (6, 7), recipe)
    rng = np.random.default_rng(3)
    scale = BAND_SCALES[:, None, None]
    for window in WINDOWS:
        for month in range(1, 13, 2):
            clear = np.broadcast_to(rng.random((6, 7)) < 0.7, (6, 6, 7)).copy()
            clear[:, 0, 0] &= window != WINDOWS[1]
            values = np.where(clear, 0.2 + 0.1 * scale * rng.standard_normal((6, 6, 7)), 0).astype(np.float32)
            date = dt.date(window.year, month, 5)
            stack.add(scene_of(date, "TM"), Observation(values, clear))
    stack.fill()
    dekads = stack.rows(slice(0, 6))
    assert not (dekads.filled & (dekads.weights > 0)).any()
    inside = np.ones((6, 7), dtype=bool)
    inside[0, 0] = False
    assert (dekads.filled | (dekads.weights > 0))[:, :, inside].all()
    assert not dekads.given[:, :, 0, 0].any(), "a pixel without observations in the window stays no data"
    assert np.abs(dekads.values[:, :, inside] - 0.2).max() < 0.05
