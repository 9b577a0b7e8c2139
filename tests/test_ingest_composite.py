"""Composites: means of clear observations, honest weights, and screening that drops cloud but keeps change."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scene_files import GRID, MODIS_GRID, flat, write_landsat_c2, write_mod09a1

from esd.dekad import BANDS, DEKADS, dekad_index, step_counts
from esd.ingest.composite import WindowStack, in_window
from esd.ingest.gap_stack import dekads_of_scenes
from esd.ingest.readers import find_scenes
from esd.ingest.scene import Observation, Scene
from esd.ingest.screening import keep_mask

WINDOW = dt.date(2004, 1, 1)
SOIL = np.array([0.09, 0.13, 0.18, 0.26, 0.34, 0.28])
FIELD = np.array([0.04, 0.07, 0.05, 0.40, 0.20, 0.09])


def scene_of(date: dt.date) -> Scene:
    return Scene(date.isoformat(), "test", "P", "S", date, (date, date), GRID, Path("absent"), ())


def series(*spectra: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return reflectance and clear [n, 6, 1, 1] of a series of spectra."""
    reflectance = np.array(spectra, dtype=np.float32)[:, :, None, None]
    return reflectance, np.ones(reflectance.shape, dtype=bool)


def kept(days: list[int], *spectra: np.ndarray) -> list[bool]:
    return [bool(keep) for keep in keep_mask(*series(*spectra), np.array(days))[:, 0, 0]]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 3))
def test_values_are_means_of_what_was_clear(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    stack = WindowStack(WINDOW, (3, 4))
    sums, weights = np.zeros((DEKADS, 6, 3, 4)), np.zeros((DEKADS, 6, 3, 4), dtype=int)
    for day in sorted(rng.integers(0, 366, count)):
        date = WINDOW + dt.timedelta(days=int(day))
        clear = rng.random((6, 3, 4)) < 0.6
        values = np.where(clear, rng.uniform(0.05, 0.1, (6, 3, 4)), 0).astype(np.float32)
        stack.add(scene_of(date), Observation(values, clear))
        dekad = dekad_index(np.datetime64(date), WINDOW)
        sums[dekad] += values
        weights[dekad] += clear
    values, counted = stack.dekads()
    assert np.array_equal(counted, weights)
    assert np.abs(values - sums / np.maximum(weights, 1)).max() < 1e-6
    assert (values[counted == 0] == 0).all()


def test_rows_are_parts_of_the_whole() -> None:
    rng = np.random.default_rng(3)
    stack = WindowStack(WINDOW, (7, 5))
    for month in range(1, 13):
        clear = np.broadcast_to(rng.random((7, 5)) < 0.8, (6, 7, 5))
        values = np.where(clear, rng.uniform(0, 0.5, (6, 7, 5)), 0).astype(np.float32)
        stack.add(scene_of(dt.date(2004, month, 9)), Observation(values, clear))
    whole = stack.dekads()
    for rows in (slice(0, 2), slice(2, 7)):
        part = stack.dekads(rows)
        assert np.array_equal(part[0], whole[0][:, :, rows])
        assert np.array_equal(part[1], whole[1][:, :, rows])


def test_step_counts_take_the_best_band_and_add_dekads() -> None:
    weights = np.zeros((DEKADS, 6, 2), dtype=np.uint8)
    weights[0, 2, 0], weights[1, 3, 0], weights[1, 4, 0], weights[2, 0, 0] = 1, 2, 1, 3
    weights[33:36, 1, 1] = 200
    counts = step_counts(weights)
    assert counts.shape == (12, 2)
    assert (counts[0, 0], counts[11, 1]) == (6, 254)
    assert counts.sum() == 260


def test_a_haze_lift_is_dropped_and_a_ploughed_field_is_not() -> None:
    days = list(range(0, 360, 30))
    spectra = [FIELD] * 12
    spectra[4] = FIELD + 0.12
    spectra[8] = SOIL
    assert kept(days, *spectra) == [number != 4 for number in range(12)]


def test_few_observations_drop_nothing() -> None:
    assert all(kept([0, 30, 60], FIELD, FIELD + 0.3, FIELD))


def test_a_shadow_is_dropped_but_a_flood_a_fire_and_a_clearing_stay() -> None:
    days = list(range(0, 240, 20))
    flood = np.array([0.06, 0.08, 0.07, 0.06, 0.03, 0.02])
    burnt = np.array([0.03, 0.04, 0.04, 0.10, 0.11, 0.12])
    shadow = FIELD * 0.4
    spectra = [FIELD] * 12
    assert kept(days, *spectra[:5], shadow, *spectra[6:]) == [number != 5 for number in range(12)]
    assert all(kept(days, *spectra[:5], flood, *spectra[6:]))
    assert all(kept(days, *spectra[:6], *[burnt] * 6))


def test_a_shadow_far_from_its_neighbours_in_time_stays() -> None:
    assert all(kept([0, 100, 200, 300], FIELD, FIELD * 0.4, FIELD, FIELD))


def test_screening_needs_the_bands_it_compares() -> None:
    reflectance, clear = series(*[FIELD] * 6)
    reflectance[2] += 0.3
    clear[2, BANDS.index("red")] = False
    assert keep_mask(reflectance, clear, np.arange(6) * 20).all()


def test_days_of_pixels_choose_their_dekads(tmp_path: Path) -> None:
    days = np.full(tuple(MODIS_GRID.shape), 365)
    days[0] = 366
    days[1] = 1
    composite = write_mod09a1(tmp_path, dt.date(2004, 12, 26), np.zeros(days.shape, dtype=np.uint16), days)
    scene = find_scenes([composite])[0][0]
    assert in_window(scene, WINDOW)
    assert in_window(scene, dt.date(2005, 1, 1))
    _, old = dekads_of_scenes([scene], MODIS_GRID, WINDOW)
    _, new = dekads_of_scenes([scene], MODIS_GRID, dt.date(2005, 1, 1))
    assert old[35, 0].sum() == days.size - days.shape[1]
    assert new[0, 0].sum() == days.shape[1]
    assert old.sum() + new.sum() == days.size * 6


def test_a_window_may_start_in_july(tmp_path: Path) -> None:
    dates = [dt.date(2003, 7, 1), dt.date(2004, 6, 30), dt.date(2004, 7, 1)]
    for date in dates:
        write_landsat_c2(tmp_path, date, flat())
    values, weights = dekads_of_scenes(find_scenes([tmp_path])[0], GRID, dt.date(2003, 7, 1))
    assert list(np.flatnonzero(weights[:, 0, 0, 0])) == [0, 35]
    assert values[0, 3, 0, 0] == pytest.approx(0.3, abs=2e-5)
