"""`esd evaluate`: one document, tables, a figure, and one line for bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_world import esd
from random_ladder import ladder_codec

QUICK = ("--parts", "reconstruction,consistency")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two codecs, one of them five times for five folds, and a table of labelled series."""
    folder = tmp_path_factory.mktemp("evaluate")
    for fold in range(5):
        (folder / f"fold{fold}.safetensors").write_bytes(ladder_codec(24, seed=fold).data)
    (folder / "small.safetensors").write_bytes(ladder_codec(6, seed=9).data)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"sample_id": np.repeat(np.arange(60), 12), "date": list(pd.date_range("2018-01-05", periods=12, freq="30D")) * 60}
    )
    frame["longitude"], frame["latitude"] = frame["sample_id"] % 12 - 60.5, -15.5
    frame["label"] = np.where(frame["sample_id"] % 2, "pasture", "forest")
    for band in ("blue", "green", "red", "nir", "swir1", "swir2"):
        frame[band] = rng.uniform(0.02, 0.18, len(frame))
    frame.to_parquet(folder / "pixels.parquet")
    frame[frame["sample_id"] % 12 == 0].to_parquet(folder / "one_place.parquet")
    return folder


def test_a_document_for_every_encoder_and_table(folder: Path) -> None:
    words = ("evaluate", folder / "small.safetensors", folder / "fold{n}.safetensors", "--on", folder / "pixels.parquet")
    document = esd(*words, "--parts", "reconstruction,drift", "--json").document
    small, folds = document["results"]
    assert (small["judged_on"], folds["judged_on"]) == ("all", "each fold by its own codec")
    assert small["pixel_years"] == folds["pixel_years"] == 60
    assert len(folds["sha256"]) == 5
    assert small["codes"]["bytes_nominal"] == 6
    assert set(small["reconstruction"]) == {"full", "fast"}
    assert len(small["drift"]) == 9
    assert "classification" not in small


def test_tables_and_a_figure_for_a_person(folder: Path, tmp_path: Path) -> None:
    words = ("evaluate", folder / "small.safetensors", "--on", folder / "pixels.parquet", "--ladder", tmp_path / "l.png")
    outcome = esd(*words, "--fold", 1, "--draws", 1, "--parts", "reconstruction,classification")
    assert outcome.code == 0, outcome.err
    for text in ("Reconstruction, decoder fast", "Intervals of 90%", "Land cover", "Ladder", "harmonics 36"):
        assert text in outcome.out
    assert (tmp_path / "l.png").read_bytes().startswith(b"\x89PNG")


def test_scenes_are_judged_by_sensor_and_year(folder: Path, tmp_path: Path) -> None:
    words = ("--size", 32, "--years", "2004/2005", "--products", "landsat", "--revisit-days", 32)
    made = esd("simulate", tmp_path / "s", *words)
    assert made.code == 0, made.err
    document = esd("evaluate", folder / "small.safetensors", "--on", tmp_path / "s" / "landsat", *QUICK, "--json").document
    found = document["results"][0]
    assert found["reconstruction"]["full"]["partly"]["hidden_clean_summer"]["values"] > 0
    assert "stable_years" in found["consistency"]
    assert "class" not in found["reconstruction"]["full"]["whole"]["visible_clear"]


def test_bad_input_gives_one_line(folder: Path, tmp_path: Path) -> None:
    table, codec = folder / "pixels.parquet", folder / "small.safetensors"
    bad = {
        "not known; use": ("nobody", "--on", table),
        "fold5": (folder / "fold5{n}.safetensors", "--on", table),
        "at least two": (codec, "--on", folder / "one_place.parquet", "--fold", 0, "--parts", "drift"),
        "is not there": (codec, "--on", tmp_path / "none.parquet"),
        "choose among": (codec, "--on", table, "--parts", "everything"),
        "not one of five": (codec, "--on", table, "--fold", 7),
        "--draws": (codec, "--on", table, "--draws", 0),
        "not a month": (codec, "--on", table, "--start-month", 13),
        ".png": (codec, "--on", table, "--ladder", tmp_path / "l.jpg"),
    }
    for because, words in bad.items():
        outcome = esd("evaluate", *words)
        lines = outcome.err.strip().splitlines()
        assert outcome.code == 2, (because, outcome.err)
        assert len(lines) == 1, outcome.err
        assert lines[0].startswith("esd: error: ")
        assert because in lines[0]
        assert outcome.out == ""
    assert not list(tmp_path.iterdir())
