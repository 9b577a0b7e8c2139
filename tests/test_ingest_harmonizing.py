"""Harmonisation against published numbers: Roy et al. 2016 for sensors and sun, Lucht et al. 2000 for the kernels."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scene_files import GRID, flat, write_espa, write_landsat_c2

from esd.dekad import BANDS
from esd.errors import SceneError
from esd.ingest import find_scenes, plan_ingest, read_scene
from esd.ingest.brdf import c_factor, li_sparse, modelled, ross_thick
from esd.ingest.harmonizing import prepare, to_oli, to_standard_sun, widen_cloud
from esd.ingest.recipe import Recipe
from esd.ingest.scene import Layer, Observation, Scene

DATE = dt.date(2004, 7, 1)
OLI_TO_ETM = {
    "blue": (1.0219, 0.0097),
    "green": (1.0480, 0.0017),
    "red": (1.0179, 0.0022),
    "nir": (0.9928, 0.0021),
    "swir1": (0.9831, 0.0030),
    "swir2": (1.0051, -0.0029),
}
"""ETM+ = slope * OLI + intercept: the other direction, as reduced major axis regression has it."""
ANGLES = st.floats(0, 75)


def scene_of(sensor: str, sun_elevation: float | None = 41.25) -> Scene:
    layers = tuple(Layer(band, "absent") for band in BANDS)
    period = (DATE, DATE)
    return Scene("s", "test", "P", sensor, DATE, period, GRID, Path("absent"), layers, sun_elevation=sun_elevation)


def observation_of(values: np.ndarray, clear: np.ndarray | None = None, cloud: np.ndarray | None = None) -> Observation:
    clear = np.ones(values.shape, dtype=bool) if clear is None else clear
    return Observation(np.where(clear, values, 0).astype(np.float32), clear, cloud=cloud)


@pytest.mark.parametrize("sensor", ["TM", "ETM"])
def test_older_sensors_become_oli_and_the_published_way_back_leads_back(sensor: str) -> None:
    values = np.random.default_rng(1).uniform(0, 0.5, (6, 3, 4)).astype(np.float32)
    moved = to_oli(scene_of(sensor), observation_of(values)).reflectance
    assert moved[0] == pytest.approx(0.9785 * values[0] - 0.0095, abs=1e-6)
    assert moved[3] == pytest.approx(1.0073 * values[3] - 0.0021, abs=1e-6)
    for number, band in enumerate(BANDS):
        slope, intercept = OLI_TO_ETM[band]
        assert slope * moved[number] + intercept == pytest.approx(values[number], abs=3e-4)


@pytest.mark.parametrize("sensor", ["OLI_TIRS", "MODIS"])
def test_other_sensors_are_left_alone(sensor: str) -> None:
    observation = observation_of(flat())
    assert to_oli(scene_of(sensor), observation) is observation


def test_what_is_not_clear_stays_zero() -> None:
    clear = np.random.default_rng(2).random((6, 20, 24)) < 0.5
    observation = observation_of(flat(), clear)
    done = prepare(scene_of("TM"), observation, Recipe(harmonize=True, brdf=True))
    assert not done.reflectance[~clear].any()
    assert np.array_equal(done.clear, clear)


def test_kernels_have_their_known_values() -> None:
    assert ross_thick(0, 0, 0) == pytest.approx(0, abs=1e-12)
    assert li_sparse(0, 0, 0) == pytest.approx(0, abs=1e-12)
    assert ross_thick(45, 0, 0) == pytest.approx(-0.045862, abs=1e-6)
    overlap = math.acos(2 / (1 + math.sqrt(2)))
    hidden = (overlap - math.sin(2 * overlap) / 2) * (1 + math.sqrt(2)) / math.pi
    lit = (1 + math.sqrt(0.5)) / math.sqrt(2)
    assert li_sparse(45, 0, 0) == pytest.approx(hidden - 1 - math.sqrt(2) + lit, abs=1e-12)
    hot_spot = 1 / np.cos(np.radians(30)) ** 2 - 1 / np.cos(np.radians(30))
    assert li_sparse(30, 30, 0) == pytest.approx(hot_spot, abs=1e-12)
    assert ross_thick(30, 30, 0) == pytest.approx(np.pi / 4 / np.cos(np.radians(30)) - np.pi / 4, abs=1e-9)


@given(sun=ANGLES, view=ANGLES, azimuth=st.floats(0, 180))
def test_the_kernels_are_reciprocal(sun: float, view: float, azimuth: float) -> None:
    for kernel in (ross_thick, li_sparse):
        assert kernel(sun, view, azimuth) == pytest.approx(kernel(view, sun, azimuth), abs=1e-9)


def test_the_c_factor_is_one_at_home_and_a_low_sun_is_brightened() -> None:
    assert c_factor(45, 45) == pytest.approx(np.ones(6))
    assert modelled(0, 0, 0) == pytest.approx([0.0774, 0.1306, 0.1690, 0.3093, 0.3430, 0.2658])
    assert (c_factor(60, 45) > 1).all()
    assert (c_factor(30, 45) < 1).all()
    assert np.abs(c_factor(45, 45, 7.5, 0) - 1).max() < 0.06


def test_one_sun_for_all_dates() -> None:
    moved = to_standard_sun(scene_of("OLI_TIRS", 30), observation_of(flat())).reflectance
    assert moved[:, 0, 0] == pytest.approx(flat()[:, 0, 0] * c_factor(60, 45), abs=1e-6)
    assert to_standard_sun(scene_of("MODIS", None), one := observation_of(flat())) is one


def test_a_scene_without_a_sun_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="sun elevation None"):
        to_standard_sun(scene_of("TM", None), observation_of(flat()))
    folder = write_landsat_c2(tmp_path, DATE)
    (text,) = folder.glob("*_MTL.txt")
    text.write_text("\n".join(line for line in text.read_text().splitlines() if "SUN_ELEVATION" not in line))
    assert plan_ingest([tmp_path]).scenes
    with pytest.raises(SceneError, match=r"sun elevation None.*without the BRDF"):
        plan_ingest([tmp_path], recipe=Recipe(brdf=True))


@given(pixels=st.integers(1, 6))
def test_cloud_grows_by_what_was_asked(pixels: int) -> None:
    cloud = np.zeros((20, 24), dtype=bool)
    cloud[10, 12] = True
    clear = np.broadcast_to(~cloud, (6, 20, 24)).copy()
    done = widen_cloud(observation_of(flat(), clear, cloud), pixels)
    rows, columns = np.indices(cloud.shape)
    near = np.abs(rows - 10) + np.abs(columns - 12) <= pixels
    assert np.array_equal(done.clear, np.broadcast_to(~near, (6, 20, 24)))
    assert not done.reflectance[~done.clear].any()
    assert widen_cloud(replace(done, cloud=None), pixels).clear.sum() == done.clear.sum()


def test_stripes_and_fill_do_not_grow(tmp_path: Path) -> None:
    mask = np.zeros(tuple(GRID.shape), dtype=np.uint8)
    mask[5], mask[9, 3], mask[12, 3] = 255, 4, 2
    write_espa(tmp_path / "espa", DATE, flat(), mask=mask)
    quality = np.full(tuple(GRID.shape), 1 << 6, dtype=np.uint16)
    quality[5], quality[9, 3], quality[12, 3] = 1, 1 << 3, 1 << 4
    write_landsat_c2(tmp_path / "c2", DATE, quality=quality)
    for folder in ("espa", "c2"):
        scene = find_scenes([tmp_path / folder])[0][0]
        observation = read_scene(scene, scene.geobox)
        assert observation.cloud is not None
        assert list(np.argwhere(observation.cloud).ravel()) == [9, 3, 12, 3]
        assert not observation.clear[:, 5].any()
