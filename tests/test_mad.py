"""MAD and IR-MAD: equal to canonical correlation by NumPy, blind to gain and offset, and change is found."""

from __future__ import annotations

import numpy as np
import pytest
from sample_images import grid
from scipy import linalg, stats

import esd
from esd.errors import BandError, ExpressionError
from esd.image import Image

ROWS, COLUMNS, BANDS = 140, 150, ("a", "b", "c")


def pair(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two images [band, y, x] of one land under another light, where they are valid, and where the land has changed."""
    rng = np.random.default_rng(seed)
    land = rng.normal(size=(3, ROWS, COLUMNS))
    mixing = rng.normal(size=(3, 3)) + 2 * np.eye(3)
    one = np.einsum("ij,jyx->iyx", mixing, land) + 0.1 * rng.normal(size=land.shape)
    changed = np.zeros((ROWS, COLUMNS), dtype=bool)
    changed[30:60, 40:90] = True
    later = np.where(changed, rng.normal(size=land.shape) + 2, land)
    other = np.einsum("ij,jyx->iyx", rng.normal(size=(3, 3)) + 2 * np.eye(3), later) * 3 + 7
    other = other + 0.3 * rng.normal(size=land.shape)
    return one.astype(np.float32), other.astype(np.float32), rng.random((ROWS, COLUMNS)) > 0.1, changed


ONE, OTHER, VALID, CHANGED = pair()


def image(values: np.ndarray) -> Image:
    return esd.from_array(np.where(VALID, values, np.nan), grid(ROWS, COLUMNS), BANDS, valid=VALID)


A, B = image(ONE), image(OTHER)


def reference(iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """Canonical correlation analysis by NumPy: differences [band, pixel] and chi-square of the valid pixels."""
    x, y = (values[:, VALID].astype(float) for values in (ONE, OTHER))
    weights = np.ones(x.shape[1])
    for _round in range(iterations + 1):
        matrix = np.cov(np.concatenate([x, y]), aweights=weights, ddof=0)
        means = np.average(np.concatenate([x, y]), axis=1, weights=weights)
        one, both, other = matrix[:3, :3], matrix[:3, 3:], matrix[3:, 3:]
        squares, left = linalg.eigh(both @ np.linalg.inv(other) @ both.T, one)
        right = np.linalg.inv(other) @ both.T @ left / np.sqrt(squares)
        differences = left.T @ (x - means[:3, None]) - right.T @ (y - means[3:, None])
        chi2 = (differences**2 / (2 * (1 - np.sqrt(squares)))[:, None]).sum(axis=0)
        weights = stats.chi2.sf(chi2, 3)
    return differences, chi2


@pytest.mark.parametrize("iterations", [0, 4])
def test_equal_to_canonical_correlation(iterations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, chi2 = reference(iterations)
    changing = A.mad(B, iterations)
    assert changing.type.bands == ("mad1", "mad2", "mad3", "chi2")
    found = set()
    for tier in ("interpreted", "compiled"):
        monkeypatch.setenv("ESD_TIER", tier)
        for tile in (10_000, 64, 37):
            raster = changing.compute(tile=tile)
            found.add(raster.values.tobytes() + raster.valid.tobytes())
    assert len(found) == 1
    assert np.array_equal(raster.valid[0], np.broadcast_to(VALID, (4, ROWS, COLUMNS)))
    differences = raster.values[0][:, VALID]
    for place in range(3):
        sign = np.sign((differences[place] * expected[place]).sum())
        assert np.allclose(differences[place], sign * expected[place], atol=2e-3 * np.abs(expected[place]).max())
    assert np.allclose(differences[3], chi2, rtol=1e-2, atol=1e-2)


def test_change_is_found_whatever_the_light() -> None:
    def parted(chi2: np.ndarray) -> float:
        """The share of changed pixels beyond all but 1 % of the unchanged ones."""
        return float((chi2[CHANGED & VALID] > np.quantile(chi2[~CHANGED & VALID], 0.99)).mean())

    once, often = (A.mad(B, iterations).compute().values[0, 3] for iterations in (0, 10))
    assert (stats.chi2.sf(once[~CHANGED & VALID], 3) < 0.001).mean() < 0.002
    assert parted(often) > 0.99
    assert parted(often) >= parted(once)
    dimmed = A.mad(B * 0.25 - 40, 10).compute().values[0, 3]
    assert np.allclose(dimmed, often, rtol=2e-2, atol=2e-2)


def test_what_cannot_be_is_refused_in_one_line() -> None:
    with pytest.raises(BandError, match="3 and 2 bands"):
        A.mad(B.select("a", "b"))
    with pytest.raises(ExpressionError, match="iterations=-1"):
        A.mad(B, -1)
    with pytest.raises(ExpressionError, match="same number everywhere"):
        A.mad(B * 0).compute()
    twice = A["a"].add_bands((A["a"] * 2).rename("b"))
    with pytest.raises(ExpressionError, match="depend on one another"):
        B.select("a", "b").mad(twice).compute()
