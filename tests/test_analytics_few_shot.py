"""The few-shot protocol: spatially apart, seeded, paired."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from esd.analytics.few_shot import _blocks, _split, few_shot_report
from esd.encoder import default
from esd.errors import TableError
from esd.series import dekads_from_table, read_table


def land(n: int = 1500, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels, longitude and latitude of samples spread over 6 x 5 degrees; classes are separable."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, 3, n)
    features = np.eye(3)[which] @ rng.normal(size=(3, 10)) + rng.normal(size=(n, 10)) * 0.3
    return features, np.array(["a", "b", "c"])[which], rng.uniform(10, 16, n), rng.uniform(-3, 2, n)


def test_separable_classes_score_high_and_noise_scores_by_chance() -> None:
    features, labels, lon, lat = land()
    noise = np.random.default_rng(1).normal(size=features.shape)
    report = few_shot_report({"good": features, "noise": noise}, labels, lon, lat, per_class=10, draws=4)
    for method in ("prototype", "knn", "logistic", "svm"):
        assert report.score("good", method).mean > 0.95
        assert abs(report.score("noise", method).mean - 1 / 3) < 0.06
        difference = report.difference("good", "noise", method)
        assert np.isclose(difference.mean, report.score("good", method).mean - report.score("noise", method).mean)
    assert report.classes == ("a", "b", "c")
    assert "good" in str(report)
    assert len(report.rows()) == 8


def test_draws_are_the_same_for_all_features_and_all_runs() -> None:
    features, labels, lon, lat = land()
    features += np.random.default_rng(5).normal(size=features.shape)
    options = {"per_class": 5, "draws": 3, "methods": ("prototype",)}
    report = few_shot_report({"one": features, "same": features.copy()}, labels, lon, lat, **options)
    assert report.score("one", "prototype").draws == report.score("same", "prototype").draws
    again = few_shot_report({"one": features}, labels, lon, lat, **options)
    assert again.score("one", "prototype").draws == report.score("one", "prototype").draws
    longer = few_shot_report({"one": features}, labels, lon, lat, **{**options, "draws": 5})
    assert longer.score("one", "prototype").draws[:3] == report.score("one", "prototype").draws
    other = few_shot_report({"one": features}, labels, lon, lat, seed=1, **options)
    assert other.score("one", "prototype").draws != report.score("one", "prototype").draws


def test_training_and_test_blocks_are_apart() -> None:
    _features, labels, lon, lat = land()
    target = np.unique(labels, return_inverse=True)[1]
    blocks = _blocks(lon, lat, 1.0)
    assert blocks.max() + 1 == 30
    for draw in range(10):
        train, test = _split(blocks, target, 20, np.random.default_rng([0, draw]))
        assert not set(blocks[train]) & set(blocks[test])
        assert np.array_equal(np.bincount(target[train]), [20, 20, 20])
        degree = {(int(np.floor(x)), int(np.floor(y))) for x, y in zip(lon[train], lat[train], strict=True)}
        assert not degree & {(int(np.floor(x)), int(np.floor(y))) for x, y in zip(lon[test], lat[test], strict=True)}


def test_samples_without_features_are_left_out_of_all() -> None:
    features, labels, lon, lat = land()
    holes = features.copy()
    holes[::7] = np.nan
    report = few_shot_report({"whole": features, "holes": holes}, labels, lon, lat, 5, 2, methods=("prototype",))
    assert report.score("whole", "prototype").draws == report.score("holes", "prototype").draws


def test_too_few_samples_say_which_class() -> None:
    features, labels, lon, lat = land(200)
    with pytest.raises(TableError, match=r"no split of .* fewer samples a class or smaller blocks"):
        few_shot_report({"all": features}, labels, lon, lat, per_class=60)
    with pytest.raises(TableError, match=r"shape \(199, 10\)"):
        few_shot_report({"all": features[1:]}, labels, lon, lat)
    with pytest.raises(TableError, match="nothing can be measured"):
        few_shot_report({"all": features * np.nan}, labels, lon, lat)
    report = few_shot_report({"all": features}, labels, lon, lat, 3, 1, methods=("knn",))
    with pytest.raises(TableError, match="all/knn"):
        report.score("all", "logistic")


def test_real_labels_embeddings_beside_raw_series(shared_data: Path, record_property: Callable[[str, object], None]) -> None:
    """Labelled Landsat 8 pixel-years of the Pantanal, 20 a class, blocks of a degree: 24 bytes beside 138 numbers."""
    frame = read_table(shared_data / "landsat8_pantanal_dev.parquet")
    bands = ["blue", "green", "red", "nir", "swir1", "swir2"]
    series, codec = dekads_from_table(frame), default()
    pixels = frame.drop_duplicates("sample_id").reset_index(drop=True)
    assert list(series.ids) == list(pixels["sample_id"])
    codes = codec.encode(series.values, series.weights)
    embedding = np.moveaxis(codec.embed(codes), 1, 0).reshape(len(series), -1)
    raw = frame[bands].to_numpy().reshape(len(series), -1)
    report = few_shot_report(
        {"embedding": embedding, "raw series": raw}, pixels["label"], pixels["longitude"], pixels["latitude"]
    )
    record_property("few-shot", str(report))
    assert len(report.classes) == 6
    best = {name: max(s.mean for s in report.scores if s.features == name) for name in ("embedding", "raw series")}
    assert best["embedding"] > 0.65
    assert best["embedding"] > best["raw series"] - 0.03
