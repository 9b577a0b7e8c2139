"""The evaluation's figures against independent definitions, and what never reaches the encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_codecs import random_codec
from random_ladder import ladder_codec

from esd.encoder.adapter import Runtime
from esd.encoder.baselines import PrincipalComponents, Quantizer
from esd.encoder.card import compare
from esd.encoder.consistency import (
    angles,
    between,
    cloud_drift,
    halves,
    halves_consistency,
    missing_bands,
    same_ground,
    stable_years,
)
from esd.encoder.coverage import coverage, intervals
from esd.encoder.fidelity import SEASONS, fidelity, gap_lengths, kinds, months, seasons
from esd.encoder.harness import PARTS, Chip, Effort, Ground, averaged, evaluation, join, raw_features, rebuild
from esd.encoder.ladder import classical_scores, drawn, rungs
from esd.encoder.sampling import MODIS_BANDS_MISSING, Source, hide_dekads, split
from esd.encoder.sources import table_source
from esd.encoder.transforms import Transform, cosine_basis, harmonic_basis
from esd.encoder.usage import code_usage, entropy
from esd.errors import EncoderError

SMALL = Effort(scored=60, consistency=40, draws=2, per_class=(2,), classifiers=("logistic", "knn1"))


def pixels(count: int = 120, seed: int = 0, seen: float = 0.6) -> Source:
    """Seasons of two classes in ten places, seen on some dekads, a few of them cloudy."""
    rng = np.random.default_rng(seed)
    kind = np.arange(count) % 2
    phase = rng.normal(0, 0.3, count) + kind
    season = np.cos(2 * np.pi * np.arange(36)[:, None] / 36 - phase)
    height = rng.uniform(0.02, 0.06, (6, count))
    weights = np.broadcast_to(rng.random((36, 1, count)) < seen, (36, 6, count)).astype(np.uint8)
    values = (0.12 + height * season[:, None] + rng.normal(0, 0.01, (36, 6, count))).astype(np.float32)
    values = np.where(rng.random((36, 1, count)) < 0.02, np.float32(0.5), values) * (weights > 0)
    return Source("seasons", values, weights, np.arange(count) % 10, labels=np.array(["crop", "forest"])[kind])


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime(random_codec(seed=3))


def plain_errors(predicted: Any, values: Any, chosen: Any) -> tuple[float, float, float]:
    """MAE, RMSE and the mean of the bands' correlations, value by value."""
    error = [float(predicted[i]) - float(values[i]) for i in zip(*np.nonzero(chosen), strict=True)]
    by_band = []
    for band in range(6):
        at = np.nonzero(chosen[:, band])
        by_band.append(np.corrcoef(predicted[:, band][at], values[:, band][at])[0, 1])
    return float(np.mean(np.abs(error))), float(np.sqrt(np.mean(np.square(error)))), float(np.mean(by_band))


def test_figures_equal_plain_definitions() -> None:
    source = pixels(20)
    source.values[9, 3, :4] = 0.95  # corrupt where it was observed and is not a cloud
    shown = hide_dekads(source.weights, 0.3, 1)
    predicted = (source.values + np.random.default_rng(1).normal(0, 0.02, source.values.shape)).astype(np.float32)
    found = fidelity(predicted, source.values, source.weights, shown, source.labels, start_month=7)
    observed = source.weights > 0
    clear = observed & ~(source.values[:, :1] > 0.2)
    dark = observed[:, 3] & observed[:, 0] & (source.values[:, 3] > 0.8) & (source.values[:, 0] <= 0.2)
    assert dark.any()
    expected = {
        "visible": shown > 0,
        "visible_clear": (shown > 0) & clear,
        "visible_plausible": (shown > 0) & clear & ~dark.any(axis=0),
        "hidden": observed & (shown == 0),
        "hidden_clear": observed & (shown == 0) & clear,
    }
    for name, chosen in expected.items():
        figures = plain_errors(predicted, source.values, chosen)
        assert (found[name]["mae"], found[name]["rmse"], found[name]["cc"]) == pytest.approx(figures, rel=1e-5)
        assert found[name]["values"] == chosen.sum()
    forest = expected["hidden_clear"] & (source.labels == "forest")
    assert found["hidden_clear"]["class"]["forest"]["mae"] == pytest.approx(
        plain_errors(predicted, source.values, forest)[0], rel=1e-5
    )
    spring = expected["visible_clear"] & np.isin(months(7), (4, 5, 6))[:, None, None]
    assert found["visible_clear"]["season"]["Apr-Jun"]["values"] == spring.sum()
    assert found["visible"]["band"]["nir"]["mae"] == pytest.approx(
        np.abs(predicted - source.values)[:, 3][(shown > 0)[:, 3]].mean(), rel=1e-5
    )


@pytest.mark.parametrize("way", ["season", "gap", "class"])
def test_the_parts_of_a_breakdown_are_all_of_it(way: str) -> None:
    source = pixels(40)
    shown = hide_dekads(source.weights, 0.4, 1)
    found = fidelity(source.values + np.float32(0.01), source.values, source.weights, shown, source.labels)
    for kind in ("visible_clear", "hidden_clear"):
        assert sum(row["values"] for row in found[kind][way].values()) == found[kind]["values"]


def test_a_band_that_was_never_seen_does_not_spoil_the_correlation() -> None:
    source = pixels(20)
    weights = source.weights.copy()
    weights[:, [1, 4]] = 0
    predicted = source.values + np.float32(0.01)
    found = fidelity(predicted, source.values, weights, weights)["visible"]
    assert found["cc"] == pytest.approx(1, abs=1e-5)
    assert set(found["band"]) == {"blue", "red", "nir", "swir2"}


def test_seasons_follow_the_month_in_which_a_window_begins() -> None:
    assert list(months(7)[[0, 2, 3, 35]]) == [7, 7, 8, 6]
    found = seasons(7)
    assert tuple(found) == SEASONS
    assert np.flatnonzero(found["Jul-Sep"]).tolist() == list(range(9))
    np.testing.assert_array_equal(sum(mask.astype(int) for mask in found.values()), np.ones((36, 1, 1)))


def test_gap_lengths_by_hand() -> None:
    weights = np.zeros((36, 6, 1), np.uint8)
    weights[[2, 5, 6], 0] = 1
    found = gap_lengths(weights)[:, 0]
    assert found[[0, 2, 3, 4, 5, 6, 7]].tolist() == [2, 5, 2, 2, 3, 30, 29]


def test_clean_summer_is_told_by_blue_and_month() -> None:
    source = pixels(30)
    found = kinds(source.values, source.weights, source.weights)["visible_clean_summer"]
    assert source.values[:, 0][found[:, 0]].max() < 0.08
    assert not found[:9].any()
    assert not found[27:].any()


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.05, 0.9))
def test_hidden_values_never_reach_the_codes(seed: int, share: float) -> None:
    codec = random_codec(seed=1)
    source = pixels(6, seed)
    shown = hide_dekads(source.weights, share, seed)
    spoiled = np.where(shown > 0, source.values, np.random.default_rng(seed).uniform(-1, 2, source.values.shape))
    np.testing.assert_array_equal(codec.encode(source.values, shown), codec.encode(spoiled.astype(np.float32), shown))


def test_what_is_rebuilt_of_hidden_values_does_not_depend_on_them(runtime: Runtime) -> None:
    source = pixels(30)
    first = rebuild(runtime, source)
    hidden = (source.weights > 0) & (first.shown == 0)
    assert hidden.any()
    spoiled = Source("spoiled", np.where(hidden, np.float32(0.9), source.values), source.weights, source.groups)
    second = rebuild(runtime, spoiled)
    np.testing.assert_array_equal(first.partly["full"], second.partly["full"])
    assert (first.whole["full"] != second.whole["full"]).any()


@given(st.integers(0, 10_000))
def test_halves_are_disjoint_and_together_all(seed: int) -> None:
    weights = pixels(12, seed, seen=0.2).weights
    first, second = halves(weights, seed)
    seen = (weights > 0).any(axis=1)
    usable = seen.sum(axis=0) >= 4
    assert not ((first > 0) & (second > 0)).any()
    np.testing.assert_array_equal((first + second)[..., usable], weights[..., usable])
    assert not (first + second)[..., ~usable].any()
    counts = [(half > 0).any(axis=1).sum(axis=0) for half in (first, second)]
    assert np.abs(counts[0] - counts[1]).max(initial=0) <= 1


def test_angles_by_hand() -> None:
    first = np.array([[1, 0], [1, 1], [2, 0], [0, 0]], np.float32)
    second = np.array([[0, 3], [1, 0], [4, 0], [1, 0]], np.float32)
    np.testing.assert_allclose(angles(first, second), [90, 45, 0, np.nan], atol=1e-4)


def test_pairs_are_of_two_pixels_of_one_class() -> None:
    labels = np.array(["a", "a", "b", "b", "c"])
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [-1, 0]], np.float32)
    found = between(vectors, labels)
    expected = np.degrees(np.arctan(0.1))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found.size > 1000


def test_an_embedding_of_the_same_input_has_not_moved(runtime: Runtime) -> None:
    source = pixels(40)
    only_four = source.weights.copy()
    only_four[:, list(MODIS_BANDS_MISSING)] = 0
    assert missing_bands(runtime, source.values, only_four)["angle"] == pytest.approx(0, abs=1e-3)
    assert missing_bands(runtime, source.values, source.weights)["angle"] > 1
    values, weights = [source.values] * 2, [source.weights] * 2
    assert same_ground(runtime, values, weights)["angle"] == pytest.approx(0, abs=1e-3)
    years = (np.stack([source.values] * 3, axis=2), np.stack([source.weights] * 3, axis=2))
    assert stable_years(runtime, *years)["angle"] == pytest.approx(0, abs=1e-3)
    assert halves_consistency(runtime, source.values, source.weights, source.labels)["angle"] > 1


def test_pixels_that_changed_are_not_stable(runtime: Runtime) -> None:
    source = pixels(40)
    changed = np.stack([source.values, source.values + np.float32(0.05)], axis=2)
    with pytest.raises(EncoderError, match="stayed the same"):
        stable_years(runtime, changed, np.stack([source.weights] * 2, axis=2))


def test_drift_is_nothing_where_nothing_is_hidden(runtime: Runtime) -> None:
    source = pixels(30)
    none, half = cloud_drift(runtime, source.values, source.weights, (0.0, 0.5))
    assert none["cost"] == 0
    assert none["angle"] == pytest.approx(0, abs=1e-3)
    assert half["angle"] > 1
    shown = hide_dekads(source.weights, 0.5, 0)
    predicted = runtime.decode(runtime.encode(source.values, source.weights))
    expected = np.abs(predicted - source.values)[shown > 0].mean()
    assert half["mae_before"] == pytest.approx(expected, rel=1e-5)


def test_the_interval_of_a_known_gaussian_covers_its_share() -> None:
    rng = np.random.default_rng(0)
    source = pixels(400, seen=0.9)
    spread = rng.uniform(0.005, 0.05, source.values.shape)
    truth = (0.1 + rng.normal(0, 1, spread.shape) * spread).astype(np.float32)
    truth[:, 0] = np.minimum(truth[:, 0], 0.19)
    middle, half = np.full(truth.shape, 0.1, np.float32), (1.6448536 * spread).astype(np.float32)
    found = intervals(middle, half, truth, source.weights, source.weights, source.labels)
    assert found["all"]["coverage"] == pytest.approx(0.9, abs=0.005)
    for way in ("season", "class"):
        assert all(row["coverage"] == pytest.approx(0.9, abs=0.01) for row in found["all"][way].values())
    too_narrow = coverage(middle, half / 2, truth, source.weights > 0)
    assert too_narrow["coverage"] == pytest.approx(0.589, abs=0.01)
    assert too_narrow["width"] == pytest.approx(half.mean(), rel=0.01)


def test_entropy_and_code_usage() -> None:
    assert entropy(np.array([4, 4, 0, 4, 4])) == 2
    assert entropy(np.array([7])) == 0
    codec = random_codec()
    rng = np.random.default_rng(0)
    even = code_usage(codec, rng.integers(0, 64000, (12, 4000)).astype(np.uint16))
    assert even["bits_by_level"] == pytest.approx(even["bits_nominal"], abs=0.02)
    assert even["bytes_stored"] == pytest.approx(24, abs=0.5)
    assert min(even["share_of_levels"]) > 0.99
    one = code_usage(codec, np.full((12, 4000), 5, np.uint16))
    assert (one["bits"], one["bits_by_level"], one["codes_met"]) == (0, 0, 1)
    assert one["bytes_stored"] < 0.1


def test_bases_are_orthonormal() -> None:
    for basis in (cosine_basis(), harmonic_basis()):
        np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-12)


@pytest.mark.parametrize("fit", [PrincipalComponents.fit, Transform.cosines, Transform.harmonics])
def test_a_classical_codec_gets_better_with_bytes_and_never_sees_what_is_hidden(fit: Any) -> None:
    source = pixels(200, seen=0.8)
    errors = []
    for size in (2, 6, 24):
        made = fit(source.values, source.weights, size)
        errors.append(np.square(made.reconstruct(source.values, source.weights) - source.values)[source.weights > 0].mean())
    assert errors[0] > errors[1] > errors[2]
    shown = hide_dekads(source.weights, 0.3, 0)
    spoiled = np.where(shown > 0, source.values, np.float32(0.7))
    np.testing.assert_array_equal(made.reconstruct(source.values, shown), made.reconstruct(spoiled, shown))


def test_bits_go_where_they_lower_the_error_most() -> None:
    rng = np.random.default_rng(0)
    coefficients = rng.normal(0, 1, (2000, 3)) * np.array([0.1, 3.0, 1.0])
    made = Quantizer.fit(coefficients, 6)
    bits = dict(zip(made.columns.tolist(), (int(np.log2(levels.size)) for levels in made.levels), strict=True))
    assert sum(bits.values()) == 6
    assert bits[1] > bits[2] > bits.get(0, 0)


def test_mir_of_modis_stands_for_swir2(tmp_path: Path) -> None:
    dates = pd.date_range("2018-01-05", periods=3, freq="30D")
    frame = pd.DataFrame({"sample_id": 1, "longitude": 1.5, "latitude": 2.5, "date": dates, "red": 0.1, "mir": 0.25})
    frame.to_parquet(tmp_path / "modis.parquet")
    found = table_source(tmp_path / "modis.parquet", "modis", 1.0)
    assert found.weights.sum(axis=(0, 2)).tolist() == [0, 0, 3, 0, 0, 3]
    assert found.values[:, 5].max() == np.float32(0.25)


def test_what_a_card_tells_of_a_source() -> None:
    training, test = split(pixels(200))
    found = compare(ladder_codec(12), training, test)
    assert set(found.figures["reconstruction"]) == {"full", "fast"}
    assert found.figures["reconstruction"]["full"]["whole"]["visible"]["mae"] == found.results["ladder12"]["visible"].mae
    assert found.figures["pixel_years"] == found.tested == test.size


def test_raw_features_are_the_observations_where_all_are_seen() -> None:
    source = pixels(20)
    weights = np.zeros_like(source.weights)
    weights[[3, 9, 30]] = 1
    features = raw_features(Source("three", source.values, weights, source.groups))
    assert features.shape == (20, 18)
    np.testing.assert_array_equal(features[:, :6].T, source.values[3])


def test_an_evaluation_of_a_codec_with_all_parts_is_reproducible(runtime: Runtime) -> None:
    tested = Ground(pixels(200))
    told: list[str] = []
    first = evaluation((runtime,), tested, 0, effort=SMALL, told=told.append)
    assert tuple(told) == PARTS
    assert first["pixel_years"] == split(tested.source)[1].size
    assert first["intervals"] is None
    assert first == evaluation((runtime,), tested, 0, effort=SMALL)


def test_codecs_of_five_folds_are_each_judged_on_their_own() -> None:
    source = pixels(200)
    each = tuple(Runtime(random_codec(seed=seed)) for seed in range(5))
    found = evaluation(each, Ground(source), None, ("reconstruction", "consistency"), Effort(scored=1000))
    assert found["pixel_years"] == 200
    by_fold = join([rebuild(each[fold], split(source, fold=fold)[1]) for fold in range(5)])
    errors = np.abs(by_fold.whole["full"] - by_fold.source.values)[by_fold.source.weights > 0]
    assert found["reconstruction"]["full"]["whole"]["visible"]["mae"] == pytest.approx(errors.mean(), rel=1e-5)
    assert averaged([{"a": 1.0, "b": [2, 4]}, {"a": 3.0, "b": [4, 8]}]) == {"a": 2.0, "b": [3.0, 6.0]}


def test_sensors_and_years_of_a_chip_are_compared(runtime: Runtime) -> None:
    source = pixels(120)
    values, weights = source.values.reshape(36, 6, 2, 60), source.weights.reshape(36, 6, 2, 60)
    groups = source.groups[:60]
    chip = Chip(values, weights, groups, {"one": (values, weights), "other": (values, weights)})
    found = evaluation((runtime,), Ground(source, 1, chip), None, ("consistency",), SMALL)["consistency"]
    assert found["one / other"]["angle"] == pytest.approx(0, abs=1e-3)
    assert "stable_years" in found


@pytest.mark.parametrize("size", [6, 36])
def test_every_rung_is_judged_with_both_decoders_and_its_intervals(size: int) -> None:
    rung = Runtime(ladder_codec(size))
    found = evaluation((rung,), Ground(pixels(100)), 0, ("reconstruction", "consistency", "classification"), SMALL)
    full, fast = (found["reconstruction"][name]["whole"]["visible"]["mae"] for name in ("full", "fast"))
    assert full != fast
    assert found["intervals"]["all"]["values"] > 0
    assert found["codes"]["bytes_nominal"] == size


def test_a_ladder_has_every_method_at_every_size(runtime: Runtime) -> None:
    source = pixels(200)
    found = rungs([(runtime,)], source, 1, sizes=(6, 12))
    assert [(rung.family, rung.bytes) for rung in found] == [
        ("esd", 24),
        *((n, s) for n in ("PCA", "cosines", "harmonics") for s in (6, 12)),
    ]
    expected = classical_scores("PCA", 12, source, (1,))
    pca = next(rung for rung in found if rung.name == "PCA 12")
    assert (pca.rmse, pca.hidden) == (expected["visible_clear"].rmse, expected["hidden_clear"].mae)
    assert all(0 <= rung.accuracy <= 1 for rung in found)
    assert drawn(found, "seasons").startswith(b"\x89PNG")
    with pytest.raises(EncoderError, match="one a fold"):
        rungs([(runtime,), (runtime,) * 5], source)
