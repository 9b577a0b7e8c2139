"""Training, judging and the configuration, on networks small enough for a test."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from esd.codec import Codec
from esd.encoder import shipped
from esd.encoder.baselines import PrincipalComponents, lloyd_max
from esd.encoder.config import Config
from esd.encoder.evaluate import evaluate, score
from esd.encoder.export import codec_bytes
from esd.encoder.fit import Point, build_model, fit
from esd.encoder.normalization import features
from esd.encoder.sampling import Source, calibration_pixels, hide_dekads, split
from esd.encoder.sources import table_source
from esd.encoder.train import build_sources, train
from esd.errors import EncoderError

DOCUMENT: dict[str, Any] = {
    "id": "tiny",
    "model": {
        "levels": [8, 8, 8, 5, 5, 5],
        "encoder": [["fold", 32], ["mix", 16], ["residual", 32, 1], ["linear", 6]],
        "full": [["linear", 32], ["mix", 16], ["residual", 32, 1], ["unfold", 6]],
        "fast": [["flatten", 24], ["relu"], ["expand", 36, 6]],
        "uncertainty": [["flatten", 8], ["relu"], ["expand", 36, 6]],
    },
    "data": {"sources": [{"name": "waves", "kind": "table", "share": 1.0}]},
    "training": {"steps": 60, "batch": 64, "learning_rate": 3e-3, "warmup": 10, "report_every": 20, "precision": "f32"},
}


def waves(pixels: int = 400, seed: int = 0) -> Source:
    """Seasons of random height and phase, seen on two thirds of the dekads."""
    rng = np.random.default_rng(seed)
    phase, height = rng.uniform(0, 2 * np.pi, pixels), rng.uniform(0.02, 0.1, (6, pixels))
    season = np.cos(2 * np.pi * np.arange(36)[:, None] / 36 - phase)
    weights = np.broadcast_to(rng.random((36, 1, pixels)) < 0.66, (36, 6, pixels)).astype(np.uint8)
    values = (0.2 + height * season[:, None]).astype(np.float32) * (weights > 0)
    return Source("waves", values, weights, np.arange(pixels) % 20)


def config(**training: Any) -> Config:
    document = copy.deepcopy(DOCUMENT)
    document["training"].update(training)
    return Config.from_document(document)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_a_run_learns_writes_its_files_and_is_reproducible(tmp_path: Path) -> None:
    points: list[Point] = []
    first = train([waves()], config(), tmp_path / "first", points.append)
    second = train([waves()], config(), tmp_path / "second")
    assert first.codec.read_bytes() == second.codec.read_bytes()
    assert first.finished
    assert [point.step for point in points] == [20, 40, 60]
    assert points[-1].held_out["waves"] < points[0].held_out["waves"]
    assert first.figure.read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "first" / "tiny.checkpoint").exists()
    card = first.card.read_text()
    assert Codec.load(first.codec).sha256 in card
    assert "| waves | PCA, clear |" in card
    figures = json.loads((tmp_path / "first" / "tiny.json").read_text())
    assert figures["held_out"]["waves"]["tiny"]["visible"]["mae"] == first.compared[0].results["tiny"]["visible"].mae


def test_a_resumed_run_ends_at_the_same_weights(tmp_path: Path) -> None:
    def stop(point: Point) -> None:
        if point.step == 40:
            raise KeyboardInterrupt

    whole = fit([waves()], config(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit([waves()], config(), tmp_path / "parts", stop)
    resumed = fit([waves()], config(), tmp_path / "parts", resume=True)
    assert [point.step for point in resumed.curve] == [20, 40, 60]
    for expected, found in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(expected, found)


def test_a_checkpoint_of_another_config_is_refused(tmp_path: Path) -> None:
    fit([waves()], config(steps=20), tmp_path / "run")
    fit([waves()], config(steps=20, minutes=5.0), tmp_path / "run", resume=True)
    with pytest.raises(EncoderError, match="of another config"):
        fit([waves()], config(steps=20, seed=1), tmp_path / "run", resume=True)


def test_a_run_that_its_limit_stopped_says_so_and_is_kept(tmp_path: Path) -> None:
    stopped = train([waves()], config(minutes=1e-9, steps=10_000), tmp_path)
    assert not stopped.finished
    assert stopped.codec.is_file()


def test_hidden_observations_do_not_reach_the_codes() -> None:
    codec = Codec.load(shipped()["esd24"])
    pixels = waves(50)
    shown = hide_dekads(pixels.weights, 0.4, seed=0)
    spoiled = np.where(shown > 0, pixels.values, 0.9).astype(np.float32)
    np.testing.assert_array_equal(codec.encode(pixels.values, shown), codec.encode(spoiled, shown))


def test_scores_by_hand() -> None:
    values = np.zeros((36, 6, 2), np.float32)
    values[0, 0] = (0.1, 0.3)
    chosen = np.zeros(values.shape, bool)
    chosen[0, 0] = True
    found = score(values + np.float32(0.1), values, chosen)
    assert (found.count, found.mae, found.rmse) == (2, pytest.approx(0.1), pytest.approx(0.1))
    assert found.band_cc[0] == pytest.approx(1.0)
    assert math.isnan(found.band_mae[1])


def test_evaluation_tells_visible_from_hidden() -> None:
    codec = Codec.load(shipped()["esd24"])
    pixels = waves(80)
    hidden = np.zeros(pixels.weights.shape, bool)
    hidden[::4] = True
    found = evaluate(codec, pixels.values, pixels.weights, hidden)
    assert found["visible"].count == (pixels.weights > 0)[~hidden].sum()
    assert found["hidden"].count == (pixels.weights > 0)[hidden].sum()
    assert "hidden" not in evaluate(codec, pixels.values, pixels.weights)
    with pytest.raises(EncoderError, match="no pixel-year has an observation"):
        evaluate(codec, pixels.values, np.zeros_like(pixels.weights))


def test_lloyd_max_levels_of_a_normal_variable_are_those_of_the_literature() -> None:
    samples = np.random.default_rng(0).normal(size=200_000)
    np.testing.assert_allclose(lloyd_max(samples, 1), [-0.7979, 0.7979], atol=0.01)
    np.testing.assert_allclose(lloyd_max(samples, 2), [-1.510, -0.4528, 0.4528, 1.510], atol=0.03)


def test_principal_components_use_all_their_bits_and_gain_from_more() -> None:
    pixels = waves(600)
    small, large = (PrincipalComponents.fit(pixels.values, pixels.weights, size) for size in (3, 12))
    bits = [sum(math.log2(level.size) for level in codec.quantizer.levels) for codec in (small, large)]
    assert bits == [24, 96]
    errors = [
        score(codec.reconstruct(pixels.values, pixels.weights), pixels.values, pixels.weights > 0).rmse
        for codec in (small, large)
    ]
    assert errors[1] < errors[0] < 0.03


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        ("training", "stepz", 5, "training.stepz is unknown"),
        ("training", "steps", "many", "training.steps is 'many'"),
        ("training", "steps", 0, "at least 1"),
        ("training", "precision", "f8", "use 'bf16' or 'f32'"),
        ("data", "fold", 5, "data.fold is 5"),
        ("data", "sources", [], "no \\[\\[data.sources\\]\\]"),
        ("hiding", "bands", 1.5, "outside of 0 to 1"),
        ("model", "depth", 3, "model.depth is unknown"),
    ],
)
def test_a_fault_in_the_config_is_named_in_one_line(place: str, key: str, value: object, message: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    document.setdefault(place, {})[key] = value
    with pytest.raises(EncoderError, match=message) as caught:
        Config.from_document(document)
    assert "\n" not in str(caught.value)


def test_a_config_that_is_missing_or_not_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="is not there"):
        Config.load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("steps = = 3")
    with pytest.raises(EncoderError, match="is not TOML"):
        Config.load(tmp_path / "bad.toml")


def test_intervals_hold_nine_tenths_of_the_pixels_they_are_calibrated_on(tmp_path: Path) -> None:
    fitted = fit([waves(800)], config(steps=120), tmp_path / "checkpoint")
    aside = fitted.training[0].take(calibration_pixels(fitted.training[0]))
    codec = Codec(codec_bytes("tiny", fitted.model, fitted.normalization, fitted.factor, half=False))
    codes = codec.encode(aside.values, aside.weights)
    inside = np.abs(codec.decode(codes) - aside.values) <= codec.interval(codes)
    assert inside[aside.weights > 0].mean() == pytest.approx(0.9, abs=0.01)


def test_consistency_holds_the_embedding_steady_under_hidden_observations(tmp_path: Path) -> None:
    def spread(weight: float) -> float:
        fitted = fit([waves()], config(steps=150, consistency=weight), tmp_path / f"checkpoint{weight}")
        pixels, normal = fitted.held_out[0], fitted.normalization
        with torch.no_grad():
            views = [
                fitted.model.bounded(fitted.model.latent(features(pixels.values, shown, normal)))
                for shown in (pixels.weights, hide_dekads(pixels.weights, 0.5, 1))
            ]
        return float((views[0] - views[1]).square().mean() / views[0].var())

    assert spread(20.0) < 0.8 * spread(0.0)


def test_codes_spread_over_their_levels_where_usage_counts(tmp_path: Path) -> None:
    def bits(weight: float) -> float:
        fitted = fit([waves()], config(steps=200, usage=weight), tmp_path / f"checkpoint{weight}")
        pixels = fitted.training[0]
        with torch.no_grad():
            values = fitted.model.quantize(
                fitted.model.latent(features(pixels.values, pixels.weights, fitted.normalization))
            )
        shares = [np.unique(column, return_counts=True)[1] / len(column) for column in values.flatten(1).numpy().T]
        return float(np.mean([-(share * np.log2(share)).sum() for share in shares]))

    assert bits(3.0) > bits(0.0) + 0.1


def test_settling_goes_on_after_the_training_at_its_own_rate(tmp_path: Path) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["settling"] = {"steps": 40, "learning_rate": 2e-3, "band_balance": 0.25}
    document["training"].update(consistency=1.0, usage=1.0)
    described = Config.from_document(document)
    assert described.at(59) == described.training
    settled = described.at(60)
    assert (settled.steps, settled.band_balance, settled.consistency, settled.usage) == (40, 0.25, 0.0, 0.0)
    points: list[Point] = []
    fitted = fit([waves()], described, tmp_path / "checkpoint", points.append)
    assert [point.step for point in points] == [20, 40, 60, 80, 100]
    assert points[-1].held_out["waves"] < points[2].held_out["waves"]
    assert fitted.finished


def test_a_rung_starts_from_the_weights_that_fit(tmp_path: Path) -> None:
    first = train([waves()], config(steps=20), tmp_path / "first")
    document = copy.deepcopy(DOCUMENT)
    document["model"].update(levels=[8, 6, 5], start=str(first.codec))
    document["model"]["encoder"][-1] = ["linear", 3]
    rung = build_model(Config.from_document(document).model)
    given = load_file(first.codec)
    torch.testing.assert_close(rung.tensors()["encoder.2.0.weight"], given["encoder.2.0.weight"].float())
    assert rung.tensors()["encoder.3.weight"].shape == (3, 32)


def test_a_run_stops_when_the_calibration_error_rises(tmp_path: Path) -> None:
    stopped = fit([waves()], config(steps=400, report_every=10, patience=1, learning_rate=1.0), tmp_path / "checkpoint")
    assert stopped.curve[-1].step < 400
    assert stopped.finished


def test_a_config_says_what_is_drawn_evenly(tmp_path: Path) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["data"]["sources"][0] |= {"kind": "waves", "even": "place"}
    described = Config.from_document(document)
    sources = build_sources(described, tmp_path, {"waves": lambda _row, _folder: waves()})
    assert sources[0].even == "place"
    evenly = fit(sources, described, tmp_path / "evenly")
    assert evenly.training[0].even == "place"
    document["data"]["sources"][0]["even"] = "class"
    with pytest.raises(EncoderError, match="source 'waves' has no labels"):
        build_sources(Config.from_document(document), tmp_path, {"waves": lambda _row, _folder: waves()})


def test_a_source_of_unknown_kind_is_named(tmp_path: Path) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["data"]["sources"][0]["kind"] = "dream"
    with pytest.raises(EncoderError, match="of kind 'dream'"):
        build_sources(Config.from_document(document), tmp_path, {})


@pytest.mark.parametrize("name", sorted(shipped()))
def test_the_shipped_config_makes_the_shipped_codec(name: str) -> None:
    folder = shipped()[name].parent
    path = folder.parent / "configs" / f"{name}.toml"
    described = Config.load(path)
    codec = Codec.load(shipped()[name])
    assert codec.id == name
    assert codec.spec["levels"] == list(described.model.levels)
    assert codec.steps == described.model.steps
    for part in ("encoder", "full", "fast", "uncertainty"):
        assert [layer["op"] for layer in codec.layers[part]] == [layer[0] for layer in getattr(described.model, part)]
    assert codec.spec["card"]["seed"] == described.training.seed
    assert codec.spec["card"]["steps"] == described.steps
    assert codec.sha256 in (folder / f"{name}.md").read_text()
    assert shipped()[name].stat().st_size < 3_000_000


def test_the_shipped_codec_beats_principal_components_on_whole_degrees_not_trained_on(shared_data: Path) -> None:
    pixels = table_source(shared_data / "landsat8_pantanal_dev.parquet", "landsat8_pantanal", 1.0)
    training, tested = split(pixels)
    calm = ~(tested.values[:, 0] > 0.2).any(axis=0)
    tested = tested.take(calm)
    found = evaluate(Codec.load(shipped()["esd24"]), tested.values, tested.weights)["visible"]
    training = training.take(~(training.values[:, 0] > 0.2).any(axis=0))
    rival = PrincipalComponents.fit(training.values, training.weights, 24)
    baseline = score(rival.reconstruct(tested.values, tested.weights), tested.values, tested.weights > 0)
    assert found.mae < baseline.mae
    assert found.rmse < baseline.rmse
