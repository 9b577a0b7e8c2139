"""Bad input gives one clear line, exit code 2, no traceback, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pandas as pd
import pytest
from cli_world import World, esd, listing

from esd.errors import SceneError

pytest_plugins = ["cli_fixtures"]


def refused(folder: Path, *words: object, because: str) -> None:
    """Run, and check that it ends as bad input has to."""
    before = listing(folder)
    outcome = esd(*words)
    assert outcome.code == 2, (outcome.out, outcome.err)
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("esd: error: ")
    assert because in lines[0]
    assert outcome.out == ""
    assert listing(folder) == before


def packed(world: World, path: Path) -> Path:
    scene = min(world.scenes.iterdir())
    with tarfile.open(path, "w:gz") as archive:
        for file in sorted(scene.iterdir()):
            archive.add(file, file.name)
    return path


@pytest.fixture
def truncated(world: World, tmp_path: Path) -> Path:
    whole = packed(world, tmp_path / "LT05_L2SP_190027_20040101_20200904_02_T1.tar.gz")
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return whole


def test_a_truncated_tarball_alone(world: World, truncated: Path, tmp_path: Path) -> None:
    out = tmp_path / "cube.esd.zarr"
    refused(tmp_path, "ingest", truncated, "--out", out, "--encoder", world.codec, because=truncated.name)


def test_a_truncated_tarball_among_others_is_named_and_left_out(world: World, truncated: Path, tmp_path: Path) -> None:
    out = tmp_path / "cube.esd.zarr"
    outcome = esd("ingest", truncated, world.scenes, "--out", out, "--windows", 2004, "--encoder", world.codec, "--json")
    assert outcome.code == 3
    assert truncated.name in outcome.err
    document = json.loads(outcome.out)
    assert document["scenes"] > 5
    assert len(document["failures"]) == 1
    assert esd("info", out, "--json").document["failures"] == document["failures"]


def test_a_scene_of_another_crs(world: World, tmp_path: Path) -> None:
    words = ("--size", 32, "--years", "2004/2004", "--products", "landsat", "--revisit-days", 160, "--crs", "EPSG:32632")
    assert esd("simulate", tmp_path / "other", *words).code == 0
    out = tmp_path / "cube.esd.zarr"
    refused(tmp_path, "ingest", world.scenes, tmp_path / "other" / "landsat", "--out", out, because="--reproject")


def test_a_window_without_scenes(world: World, tmp_path: Path) -> None:
    words = ("ingest", world.scenes, "--out", tmp_path / "c", "--windows")
    refused(tmp_path, *words, "1999", because="holds no scene")
    refused(tmp_path, *words, "2005/2004", because="runs backwards")
    refused(tmp_path, *words, "last year", because="not understood")


def test_a_cube_that_is_there_already(world: World, tmp_path: Path) -> None:
    refused(tmp_path, "ingest", world.scenes, "--out", world.cube, "--encoder", world.codec, because="--resume")


@pytest.mark.parametrize(
    ("expression", "because"),
    [
        ("nvdi().median()", "did you mean"),
        ("purple + 1", "there is no band 'purple'"),
        ("nir.__class__", "attributes cannot be read"),
        ("__import__('os').system('true')", "cannot be called"),
        ("open('x')", "no operator 'open'"),
        ("load(cube='x', array='codes', window='2004-01-01', grid='g')", "cannot be called"),
        ("nir +", "not understood"),
        ("1 + 2", "constant"),
    ],
)
def test_expressions_that_are_none(world: World, tmp_path: Path, expression: str, because: str) -> None:
    words = ("compute", world.cube, expression, "--window", 2004, "--out", tmp_path / "x.tif")
    refused(tmp_path, *words, because=because)


def test_compute_refuses_what_cannot_be(world: World, tmp_path: Path) -> None:
    words = ("compute", world.cube, "ndvi().median()")
    one = (*words, "--window", "2004")
    refused(tmp_path, *words, because="choose one with --window")
    refused(tmp_path, *words, "--window", "1999", because="1999")
    refused(tmp_path, *words, "--window", "2004", "--windows", "2004/2005", because="not both")
    refused(tmp_path, *one, "--aoi", "0,0,1,1", because="does not meet")
    refused(tmp_path, *one, "--aoi", "nothing.geojson", because="neither a file")
    refused(tmp_path, *one, "--max-memory", "much", because="not understood")
    refused(tmp_path, *one, "--max-memory", "1kB", because="raise --max-memory")
    refused(tmp_path, *one, "--crs", "EPSG:0", because="EPSG:0")
    refused(tmp_path, *one, "--out", tmp_path / "x.jpg", because=".tif")
    refused(tmp_path, *one, "--grid", "moon", because="moon")
    refused(tmp_path, "compute", world.cube, "ndvi()", "--window", "2004", "--png", tmp_path / "x.png", because="36")


@pytest.mark.parametrize(
    "words",
    [
        ("info", "nowhere"),
        ("compute", "nowhere", "ndvi()"),
        ("sample", "nowhere", "points.csv", "--out", "x.parquet"),
        ("similar", "nowhere", "--at", "1,2"),
        ("classify", "nowhere", "points.csv", "--out", "x.tif"),
        ("change", "nowhere", "--from", "2004", "--to", "2005", "--out", "x.tif"),
        ("export", "nowhere", "--out", "x.tif"),
        ("search", "nowhere.duckdb"),
        ("encode", "nowhere.parquet", "--out", "x.parquet"),
        ("decode", "nowhere.parquet", "--out", "x.parquet"),
        ("train", "nowhere.toml", "--out", "x"),
        ("ingest", "nowhere", "--out", "x"),
    ],
    ids=lambda words: words[0],
)
def test_a_path_that_is_not_there(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(tmp_path, *words, because="nowhere")


def test_tables_and_points_that_cannot_be_used(world: World, tmp_path: Path) -> None:
    scaled, dateless, text = (tmp_path / f"{name}.parquet" for name in ("scaled", "dateless", "text"))
    pd.DataFrame({"sample_id": [1], "date": pd.to_datetime(["2004-01-01"]), "nir": [3000.0]}).to_parquet(scaled)
    pd.DataFrame({"sample_id": [1], "nir": [0.3]}).to_parquet(dateless)
    text.write_text("not a table")
    points = tmp_path / "points.csv"
    points.write_text("x,y\n1,2\n")
    out = tmp_path / "x.parquet"
    refused(tmp_path, "encode", scaled, "--out", out, because="0.0001")
    refused(tmp_path, "encode", dateless, "--out", out, because="date")
    refused(tmp_path, "encode", text, "--out", out, because="not a Parquet")
    refused(tmp_path, "encode", scaled, "--out", tmp_path / "x.csv", because=".parquet")
    refused(tmp_path, "encode", scaled, "--out", out, "--encoder", "nonesuch", because="nonesuch")
    refused(tmp_path, "sample", world.cube, points, "--out", out, because="longitude")
    refused(tmp_path, "sample", world.cube, world.samples, "--space", "light", "--out", out, because="light")
    map_of = ("--out", tmp_path / "x.tif")
    refused(tmp_path, "classify", world.cube, world.samples, "--window", 2004, "--label", "crop", *map_of, because="crop")
    refused(tmp_path, "similar", world.cube, "--at", "200,2", "--window", 2004, because="globe")
    refused(tmp_path, "similar", world.cube, "--at", "1,2", "--window", 2004, because="outside")
    years = ("--from", 2004, "--to", 2005)
    refused(tmp_path, "change", world.cube, *years, "--stable", tmp_path / "no.tif", *map_of, because="no.tif")


def test_codes_of_another_encoder_are_not_decoded(world: World, tmp_path: Path) -> None:
    from random_codecs import random_codec

    other, codes = tmp_path / "other.safetensors", tmp_path / "codes.parquet"
    other.write_bytes(random_codec(seed=1, name="other").data)
    assert esd("sample", world.cube, world.samples, "--out", codes).code == 0
    refused(tmp_path, "decode", codes, "--out", tmp_path / "x.parquet", "--encoder", other, because="not by other")


def test_a_damaged_cube_is_told(world: World, tmp_path: Path) -> None:
    truncated, without_codec = tmp_path / "truncated.esd.zarr", tmp_path / "codecless.esd.zarr"
    shutil.copytree(world.cube, truncated)
    shutil.copytree(world.cube, without_codec)
    shard = next(path for path in (truncated / "epsg32633" / "codes" / "c").rglob("*") if path.is_file())
    shard.write_bytes(shard.read_bytes()[:100])
    (without_codec / "codec" / "file" / "c" / "0").unlink()
    refused(tmp_path, "info", truncated, because="codes of window")
    refused(tmp_path, "compute", truncated, "ndvi().max()", "--windows", "2004/2005", because="damaged")
    refused(tmp_path, "info", without_codec, because="codecless.esd.zarr is damaged")


def test_an_interrupted_ingest_says_how_to_go_on(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("esd.ingest.pipeline.run_ingest", interrupted)
    outcome = esd("ingest", world.scenes, "--out", tmp_path / "c", "--encoder", world.codec)
    assert outcome.code == 130
    assert "--resume" in outcome.err
    assert outcome.out == ""


def test_a_message_of_several_lines_becomes_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def failing(*_args: object, **_options: object) -> None:
        raise SceneError("first\nsecond")

    monkeypatch.setattr("esd.ingest.plan.plan_ingest", failing)
    refused(tmp_path, "ingest", "x", "--out", tmp_path / "c", because="first second")


def test_wrong_usage_ends_with_two() -> None:
    for words in (("nonesuch",), ("info", "a", "b"), ("compute",), ("ingest", "x")):
        outcome = esd(*words)
        assert outcome.code == 2
        assert outcome.out == ""
