"""Simulated pixel-years for training: varied, gappy like Landsat, and true to the clean series behind them."""

from __future__ import annotations

import numpy as np
import pytest

from esd.errors import WindowError
from esd.ingest.simulate import PixelYears, simulate_pixels


@pytest.fixture(scope="session")
def pixels() -> PixelYears:
    return simulate_pixels(8000, seed=11)


def test_shapes_types_and_the_meaning_of_weight_zero(pixels: PixelYears) -> None:
    assert pixels.values.shape == pixels.weights.shape == pixels.truth.shape == (36, 6, 8000)
    assert (pixels.values.dtype, pixels.weights.dtype) == (np.float32, np.uint8)
    assert pixels.labels.shape == pixels.groups.shape == (8000,)
    assert (pixels.values[pixels.weights == 0] == 0).all()
    assert np.isfinite(pixels.values).all()
    assert 0 < pixels.truth.min() < pixels.truth.max() <= 1


def test_same_arguments_give_the_same_arrays(pixels: PixelYears) -> None:
    assert all(np.array_equal(a, b) for a, b in zip(simulate_pixels(8000, seed=11), pixels, strict=True))
    assert not np.array_equal(simulate_pixels(400, seed=12).truth, pixels.truth[..., :400])


def test_observations_are_the_truth_within_noise_and_a_few_blemishes(pixels: PixelYears) -> None:
    error = np.abs(pixels.values - pixels.truth)[pixels.weights > 0]
    assert np.median(error) < 0.005
    assert np.quantile(error, 0.99) > 0.015
    assert np.mean(error > 0.1) < 0.02


def test_gaps_are_those_of_landsat(pixels: PixelYears) -> None:
    seen = pixels.weights[:, 0] > 0
    dekads = seen.sum(axis=0)
    assert 0.25 < seen.mean() < 0.65
    assert np.quantile(dekads, 0.05) < 8
    assert np.quantile(dekads, 0.95) > 22
    assert (pixels.weights.max(axis=1) != pixels.weights.min(axis=1)).mean() > 0.002
    together = np.array(
        [
            np.corrcoef(seen[:, i], seen[:, i + 1])[0, 1]
            for i in range(0, 2000, 40)
            if 5 < dekads[i] < 31 and 5 < dekads[i + 1] < 31
        ]
    )
    assert together.mean() > 0.3


def test_seasons_of_both_hemispheres_and_every_class(pixels: PixelYears) -> None:
    assert set(pixels.labels.tolist()) == set(range(1, 17))
    infrared = pixels.truth[:, 3]
    seasonal = np.ptp(infrared, axis=0) > 0.15
    peaks = np.bincount(infrared[:, seasonal].argmax(axis=0) // 9, minlength=4) / seasonal.sum()
    assert peaks.min() > 0.1
    assert 0.2 < seasonal.mean() < 0.8


def test_groups_are_sites_of_few_pixels(pixels: PixelYears) -> None:
    sizes = np.bincount(pixels.groups)
    assert sizes.max() == 40
    assert len(sizes) == 200


def test_scan_gaps_thin_the_years_of_landsat_7_alone() -> None:
    whole = simulate_pixels(4000, 1, (2000, 2002)).weights[:, 0] > 0
    alone = simulate_pixels(4000, 1, (2012, 2012)).weights[:, 0] > 0
    assert alone.mean() < 0.75 * whole.mean()


def test_years_without_a_landsat_are_refused() -> None:
    with pytest.raises(WindowError, match="1970"):
        simulate_pixels(10, 1, (1970, 1975))
