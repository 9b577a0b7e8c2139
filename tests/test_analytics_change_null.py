"""The null of angles without a mask: land of several kinds, each turning by another measure."""

from __future__ import annotations

import numpy as np
import pytest

from esd.analytics.change_null import KEPT, MixedNull, Sample

PIXELS = 40_000
SMALLEST = 0.001
TURNS = np.array([0.02, 0.05, 0.15, 0.3])
"""Scales of unchanged angles by kind of land, radians: from forest to crops."""


def landscape(seed: int, changed: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles, vectors and truth of four kinds of land in equal shares, `changed` of each turned far away."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, len(TURNS), PIXELS)
    vectors = np.stack([kind % 2, kind // 2], axis=1) + rng.normal(0, 0.15, (PIXELS, 2))
    angles = rng.gamma(4, TURNS[kind] / 4)
    new = rng.random(PIXELS) < changed
    angles[new] = rng.normal(1.6, 0.15, int(new.sum()))
    return angles, vectors, new


@pytest.mark.parametrize("changed", [0.0, 0.1, 0.25])
def test_false_alarms_are_as_rare_as_asked_on_land_of_several_kinds(changed: float) -> None:
    angles, vectors, new = landscape(3, changed)
    threshold = MixedNull.fit(angles, vectors, SMALLEST).upper(0.01)
    rate = (angles[~new] > threshold).mean()
    assert rate < 0.02
    assert (angles[new] > threshold).mean() > 0.98 if changed else rate > 0.004


def test_one_shape_for_all_land_loses_what_kinds_keep() -> None:
    angles, vectors, new = landscape(4, 0.1)
    alike, known = (MixedNull.fit(angles, given, SMALLEST).upper(0.01) for given in (None, vectors))
    exact = np.quantile(angles[~new], 0.99)
    assert abs(np.log(known / exact)) < 0.5 * abs(np.log(alike / exact))


@pytest.mark.parametrize("alpha", [0.002, 0.01, 0.1])
def test_tail_and_upper_are_inverse(alpha: float) -> None:
    angles, vectors, _new = landscape(5, 0.05)
    null = MixedNull.fit(angles, vectors, SMALLEST)
    assert np.isclose(null.tail(null.upper(alpha)), alpha, rtol=1e-3)


def test_the_unit_of_angles_and_of_vectors_does_not_matter() -> None:
    angles, vectors, _new = landscape(6, 0.05)
    one = MixedNull.fit(angles, vectors, SMALLEST).upper(0.01)
    other = MixedNull.fit(angles / 2, vectors * [3.0, 0.1] - 5, SMALLEST / 2).upper(0.01)
    assert np.isclose(one, 2 * other, rtol=0.02)


def test_vectors_that_are_all_equal_tell_nothing() -> None:
    angles, _vectors, _new = landscape(7, 0.0)
    assert MixedNull.fit(angles, np.ones((PIXELS, 3)), SMALLEST) == MixedNull.fit(angles, None, SMALLEST)


def test_a_sample_is_the_same_in_any_order() -> None:
    rng = np.random.default_rng(8)
    y, x = (index.ravel().astype(np.int64) for index in np.indices((400, 300)))
    rows = rng.random((y.size, 3))
    whole, pieces = Sample(3), Sample(3)
    whole.add(y, x, rows)
    for part in np.array_split(rng.permutation(y.size), 7):
        pieces.add(y[part], x[part], rows[part])
    assert whole.total == pieces.total == y.size
    assert whole.rows.shape == (KEPT, 3)
    assert np.array_equal(whole.rows, pieces.rows)
    corner = (whole.rows[:, None] == rows[(y < 40) & (x < 30)][None, :20]).all(axis=2).any(axis=0)
    assert 2 < corner.sum() < 18  # drawn from all over, not the first to come
