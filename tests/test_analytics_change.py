"""Change by angle: thresholds that keep their false-alarm rate, and find what has changed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from code_cubes import cube_of, random_codes
from random_codecs import random_codec

from esd.analytics.change import change_threshold, detect_change
from esd.analytics.embedding import one_level_angle
from esd.codec import Codec
from esd.cube import Cube
from esd.errors import ExpressionError, GridError
from esd.grid import geobox_from_bounds

SIZE = 160
CHANGED = np.s_[100:140, 20:90]


def jittered(codec: Codec, codes: np.ndarray, seed: int) -> np.ndarray:
    """Move about one level in ten by one, up or down, as noise does to the codes of unchanged land."""
    rng = np.random.default_rng(seed)
    levels = codec.fsq.indices_to_levels(codes)
    moved = levels + rng.choice([-1, 0, 1], levels.shape, p=[0.05, 0.9, 0.05])
    return codec.fsq.levels_to_indices(np.clip(moved, 0, np.array(codec.fsq.levels) - 1))


@pytest.fixture(scope="module")
def changed_cube(tmp_path_factory: pytest.TempPathFactory, codec: Codec) -> Cube:
    """Two years of the same land with jitter; 11 percent of it new in 2005, some without data."""
    land = random_codes(codec, SIZE, SIZE)
    before, after = jittered(codec, land, 1), jittered(codec, land, 2)
    after[(..., *CHANGED)] = random_codes(codec, SIZE, SIZE, seed=3)[(..., *CHANGED)]
    after[:, :3, :5] = 65535
    return cube_of(tmp_path_factory.mktemp("change") / "c.esd.zarr", codec, {2004: before, 2005: after})


def truth() -> tuple[np.ndarray, np.ndarray]:
    changed = np.zeros((SIZE, SIZE), dtype=bool)
    changed[CHANGED] = True
    stable = ~changed
    stable[:3, :5] = False
    return changed, stable


@pytest.mark.parametrize("given", [True, False], ids=["stable mask", "bulk"])
def test_change_is_found_and_false_alarms_are_as_rare_as_asked(changed_cube: Cube, given: bool) -> None:
    changed, stable = truth()
    found = detect_change(changed_cube.image(2004), changed_cube.image(2005), 0.01, stable if given else None)
    raster = found.changed.compute()
    assert raster.values.dtype == bool
    assert raster.values[0, 0][changed].mean() > 0.99
    rate = raster.values[0, 0][stable].mean()
    assert 0.001 < rate < 0.02
    told = found.calibration
    assert told.basis == ("stable pixels" if given else "bulk of the angles")
    assert abs(told.false_alarm_rate - 0.01) < 0.006
    assert np.isclose(told.changed_share, raster.values[raster.valid].mean())
    assert told.calibration_pixels + told.held_out_pixels == (stable.sum() if given else raster.valid.sum())
    angle = found.angle.compute()
    assert np.array_equal((angle.values > told.threshold) & angle.valid, raster.values)


def test_an_image_of_stable_land_is_the_same_as_an_array(changed_cube: Cube) -> None:
    one, other = changed_cube.image(2004), changed_cube.image(2005)
    mask = one.ndvi().median() > 0
    raster = mask.compute()
    by_image = detect_change(one, other, 0.05, mask)
    by_array = detect_change(one, other, 0.05, raster.values[0, 0] & raster.valid[0, 0])
    assert by_image.calibration == by_array.calibration


def test_the_calibration_does_not_depend_on_tiles(changed_cube: Cube, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = changed_cube.image(2004), changed_cube.image(2005)
    whole = detect_change(one, other).calibration
    monkeypatch.setattr("esd.engine.plan.DEFAULT_TILE", 57)
    assert detect_change(one, other).calibration == whole


def test_equal_windows_have_not_changed(changed_cube: Cube) -> None:
    image = changed_cube.image(2004)
    found = detect_change(image, image)
    assert found.threshold == found.calibration.smallest_angle
    assert found.calibration.changed_share == 0
    assert not found.changed.compute().values.any()


def test_the_smallest_angle_is_that_of_one_level() -> None:
    codec = random_codec(seed=0, levels=(8, 8, 8, 5, 5, 5))
    vector = np.zeros(72)
    vector[3], step = 5.0, np.zeros(72)
    step[0] = 0.25
    expected = math.acos(vector @ (vector + step) / 5.0 / np.linalg.norm(vector + step))
    assert np.isclose(one_level_angle(codec, 5.0), expected)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_stable_pixels_give_the_conformal_rank(alpha: float) -> None:
    rng = np.random.default_rng(0)
    angles, stable = rng.gamma(4, 0.05, (100, 100)), rng.random((100, 100)) < 0.3
    threshold = change_threshold(angles, alpha, stable)
    ordered = np.sort(angles[stable])
    rank = math.ceil((ordered.size + 1) * (1 - alpha))
    assert 0 <= threshold - ordered[rank - 1] < 1e-4


def test_stable_pixels_keep_the_rate_on_average() -> None:
    rng = np.random.default_rng(1)
    rates = []
    for _draw in range(200):
        angles = rng.gamma(4, 0.05, 150)
        threshold = change_threshold(angles, 0.05, np.ones(150, dtype=bool))
        rates.append((rng.gamma(4, 0.05, 1000) > threshold).mean())
    assert 0.03 < np.mean(rates) < 0.053


NULLS = {
    "normal": lambda rng, n: rng.normal(0.6, 0.1, n),
    "gamma": lambda rng, n: rng.gamma(9, 0.03, n),
    "right-skewed": lambda rng, n: rng.gamma(3, 0.05, n),
    "log-normal": lambda rng, n: np.exp(rng.normal(-1.5, 0.4, n)),
}


@pytest.mark.parametrize("share", [0.0, 0.05, 0.15])
@pytest.mark.parametrize("null", NULLS)
def test_the_bulk_gives_a_cautious_threshold_for_many_shapes(null: str, share: float) -> None:
    rng = np.random.default_rng(2)
    stable = NULLS[null](rng, 40_000)
    changed = rng.normal(1.6, 0.2, int(40_000 * share))
    threshold = change_threshold(np.concatenate([stable, changed]), 0.01)
    assert (stable > threshold).mean() < 0.02
    assert threshold < 1.6


def test_what_cannot_be_calibrated_says_why(changed_cube: Cube) -> None:
    one, other = changed_cube.image(2004), changed_cube.image(2005)
    few = np.zeros((SIZE, SIZE), dtype=bool)
    few[40:46, 40:46] = True
    with pytest.raises(ExpressionError, match=r"stable pixels cannot tell a false-alarm rate of 0\.001, 999 are needed"):
        detect_change(one, other, 0.001, few)
    with pytest.raises(ExpressionError, match="alpha=1"):
        detect_change(one, other, 1.0)
    with pytest.raises(GridError, match=r"\(5, 5\)"):
        detect_change(one, other, stable=np.ones((5, 5), dtype=bool))
    corner = geobox_from_bounds(500_000, 5_000_000, 500_300, 5_000_300, "EPSG:32633", 30)
    with pytest.raises(ExpressionError, match="valid pixels in half of the land"):
        detect_change(one, other, geobox=corner)
    shifted = geobox_from_bounds(500_007, 5_000_000, 503_007, 5_003_000, "EPSG:32633", 30)
    with pytest.raises(GridError, match="another grid"):
        detect_change(one, other, geobox=shifted)
