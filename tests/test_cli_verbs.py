"""Every verb does its work on a small world, and says it as one JSON document."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.features
import rasterio.warp
import xarray as xr
from cli_world import World, esd

from esd.cube import Cube

pytest_plugins = ["cli_fixtures"]


def test_ingest_tells_what_it_would_do_and_does_nothing(world: World, tmp_path: Path) -> None:
    plan = esd("ingest", world.scenes, "--out", tmp_path / "c", "--plan", "--json").document
    assert plan["windows"] == ["2004-01-01", "2005-01-01"]
    assert plan["grid"]["shape"] == [64, 64]
    assert not list(tmp_path.iterdir())


def test_ingest_of_an_area_starts_its_windows_where_asked(world: World, tmp_path: Path) -> None:
    west, south = (float(part) for part in world.point.split(","))
    box = f"{west - 0.005},{south - 0.005},{west + 0.005},{south + 0.005}"
    words = ("--aoi", box, "--start-month", 7, "--windows", "2004", "--encoder", world.codec, "--max-memory", "2GB")
    cube = tmp_path / "july.esd.zarr"
    document = esd("ingest", world.scenes, "--out", cube, *words, "--catalog", tmp_path / "cat.duckdb", "--json").document
    assert document["windows"] == ["2004-07-01"]
    rows, columns = Cube.open(cube).grids["epsg32633"].shape
    assert 10 < rows < 64
    assert 10 < columns < 64
    found = esd("search", tmp_path / "cat.duckdb", "--kind", "cube", "--json").document
    assert found["items"][0]["path"] == str(cube.resolve())


def test_an_ingest_that_is_done_resumes_to_nothing(world: World) -> None:
    words = ("ingest", world.scenes, "--out", world.cube, "--encoder", world.codec)
    document = esd(*words, "--resume", "--json").document
    assert document["blocks_done_before"] == document["blocks"] == 2


def test_info_keeps_an_honest_ledger(world: World) -> None:
    document = esd("info", world.cube, "--json").document
    weight = document["size"]
    assert [window["start"] for window in document["windows"]] == ["2004-01-01", "2005-01-01"]
    assert document["grids"]["epsg32633"]["shape"] == [64, 64]
    assert len(document["encoder"]["sha256"]) == 64
    assert weight["raw_bytes"] == document["scenes"] * 64 * 64 * 12
    assert weight["pixel_years"] == 2 * 64 * 64 * document["valid_share"]
    assert weight["nominal_bytes"] == pytest.approx(weight["pixel_years"] * 12 * np.log2(64000) / 8)
    stored = sum(file.stat().st_size for file in world.cube.rglob("*") if file.is_file())
    assert weight["disk_bytes_total"] == sum(weight["disk_bytes"].values()) == stored
    assert 0 < document["mean_error"] < 1
    assert "size ledger" in esd("info", world.cube).out


def test_info_lists_the_encoders_that_are_shipped() -> None:
    assert esd("info", "--encoders").code == 0
    for encoder in esd("info", "--encoders", "--json").document["encoders"]:
        assert encoder["bytes_per_pixel_year"] in (6, 12, 24, 36)


def test_search_adds_then_finds(world: World, tmp_path: Path) -> None:
    catalog = tmp_path / "cat.duckdb"
    added = esd("search", catalog, "--add", world.scenes, world.cube, "--json").document
    assert added["added"] == added["items_in_catalog"] == len(list(world.scenes.iterdir())) + 1
    words = ("--start", "2005-06-01", "--end", "2005-09-01", "--kind", "scene")
    summer = esd("search", catalog, *words, "--where", "cloud_cover < 50", "--json").document
    assert 0 < summer["found"] < added["added"]
    assert all("2005-06" <= item["start"] < "2005-09" and item["cloud_cover"] < 50 for item in summer["items"])
    assert esd("search", catalog, "--bbox", "0,0,1,1", "--json").document["found"] == 0


def test_compute_writes_what_its_statistics_say(world: World, tmp_path: Path) -> None:
    out, png = tmp_path / "ndvi.tif", tmp_path / "ndvi.png"
    words = ("compute", world.cube, "normalized_difference(nir, red).median()", "--window", "2004", "--json")
    written = esd(*words, "--out", out, "--png", png).document["bands"][0]
    with rasterio.open(out) as file:
        values = file.read(1, masked=True)
        assert file.shape == (64, 64)
    assert written["mean"] == pytest.approx(float(values.astype(float).mean()))
    assert png.read_bytes().startswith(b"\x89PNG")
    assert esd(*words).document["bands"][0] == pytest.approx(written)


def test_compute_clips_to_a_polygon_and_reprojects(world: World, tmp_path: Path) -> None:
    west, south = (float(part) for part in world.point.split(","))
    ring = [
        [west - 0.004, south - 0.004],
        [west + 0.004, south - 0.004],
        [west, south + 0.004],
        [west - 0.004, south - 0.004],
    ]
    area = tmp_path / "area.geojson"
    area.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    words = ("compute", world.cube, "nir.max()", "--window", 2005, "--json")
    share = esd(*words, "--aoi", area).document["bands"][0]["valid_share"]
    assert 0.3 < share < 0.7
    clipped = esd(*words, "--aoi", area, "--out", tmp_path / "clipped.tif").document["bands"][0]
    assert clipped["valid_share"] == pytest.approx(share)
    export = ("export", world.cube, "--window", 2005, "--aoi", area, "--json", "--out")
    assert esd(*export, tmp_path / "codes.tif").code == esd(*export, tmp_path / "codes.zarr").code == 0
    with rasterio.open(tmp_path / "clipped.tif") as floats, rasterio.open(tmp_path / "codes.tif") as file:
        inside = rasterio.features.geometry_mask(
            [rasterio.warp.transform_geom("EPSG:4326", file.crs, json.loads(area.read_text()))],
            file.shape,
            file.transform,
            invert=True,
        )
        assert np.array_equal(file.read(1) != 65535, inside)
        assert np.array_equal(~np.isnan(floats.read(1)), inside)
        with xr.open_zarr(tmp_path / "codes.zarr", mask_and_scale=False) as opened:
            assert np.array_equal(opened.code.values, file.read())
    assert esd(*words, "--crs", "EPSG:4326", "--out", tmp_path / "degrees.tif").code == 0
    with rasterio.open(tmp_path / "degrees.tif") as file:
        assert file.crs.to_epsg() == 4326


def test_compute_joins_windows_in_time(world: World) -> None:
    document = esd("compute", world.cube, "ndvi()", "--windows", "2004/2005", "--json").document
    assert len(document["bands"]) == 72
    assert document["times"] == ["2004-01-05", "2005-12-25"]


def test_compute_explains_without_computing(world: World) -> None:
    plan = esd("compute", world.cube, "evi().max()", "--window", 2004, "--explain", "--json").document["plan"]
    assert "peak memory" in plan
    assert "decode" in plan


def test_export_gives_codes_with_their_encoder(world: World, tmp_path: Path) -> None:
    out = tmp_path / "codes.tif"
    assert esd("export", world.cube, "--window", 2004, "--out", out, "--json").document["bands"] == ["code"]
    with rasterio.open(out) as file:
        assert (file.count, file.dtypes[0], file.nodata) == (12, "uint16", 65535)
        assert file.tags()["esd_encoder"] == "random"
        stored = file.read()
    assert np.array_equal(stored, np.asarray(Cube.open(world.cube).array("epsg32633", "codes")[0]))


def test_export_gives_zarr_that_plain_xarray_opens(world: World, tmp_path: Path) -> None:
    out = tmp_path / "summer.zarr"
    words = ("--space", "reflectance", "--dates", "2005-06-01/2005-09-01", "--bands", "red,nir", "--json")
    document = esd("export", world.cube, "--window", 2005, "--out", out, *words).document
    with xr.open_zarr(out) as opened:
        assert dict(opened.sizes) == {"time": 9, "y": 64, "x": 64}
        assert [str(day)[:10] for day in opened.time.values] == document["times"]
        assert float(opened.red.mean()) == pytest.approx(
            esd("compute", world.cube, "red.mean()", "--window", 2005, "--json").document["bands"][0]["mean"], abs=0.1
        )


def test_sample_reads_every_space_at_points(world: World, tmp_path: Path) -> None:
    points = len(json.loads(world.samples.read_text())["features"])
    for space, rows in (("codes", points), ("embedding", points), ("reflectance", 36 * points)):
        out = tmp_path / f"{space}.parquet"
        words = ("--space", space, "--windows", "2005", "--out", out, "--json")
        assert esd("sample", world.cube, world.samples, *words).document["rows"] == rows
        assert len(pd.read_parquet(out)) == rows


def test_codes_sampled_from_a_cube_decode_to_what_the_cube_decodes(world: World, tmp_path: Path) -> None:
    words = ("sample", world.cube, world.samples, "--windows", "2005")
    esd(*words, "--space", "codes", "--out", tmp_path / "codes.parquet")
    esd(*words, "--space", "reflectance", "--out", tmp_path / "direct.parquet")
    esd("decode", tmp_path / "codes.parquet", "--out", tmp_path / "decoded.parquet", "--encoder", world.codec)
    direct, decoded = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("direct", "decoded"))
    assert np.allclose(direct["nir"], decoded["nir"], atol=1e-6)


def test_similar_finds_its_own_point_first(world: World, tmp_path: Path) -> None:
    out, scores = tmp_path / "hits.geojson", tmp_path / "scores.tif"
    words = (
        "--at",
        world.point,
        "--window",
        2005,
        "-k",
        7,
        "--out",
        out,
        "--score-map",
        scores,
        "--png",
        tmp_path / "s.png",
    )
    document = esd("similar", world.cube, *words, "--json").document
    assert len(document["hits"]) == len(json.loads(out.read_text())["features"]) == 7
    best = document["hits"][0]
    assert best["score"] == pytest.approx(1)
    with rasterio.open(scores) as file:
        assert file.read(1)[best["row"], best["column"]] == pytest.approx(1)


def test_classify_maps_names_and_judges_itself(world: World, tmp_path: Path) -> None:
    out, saved = tmp_path / "cover.tif", tmp_path / "cover.safetensors"
    words = ("--window", 2005, "--year", "year", "--method", "prototype", "--out", out, "--save", saved)
    document = esd("classify", world.cube, world.samples, *words, "--png", tmp_path / "cover.png", "--json").document
    with rasterio.open(out) as file:
        assert file.colorinterp[0].name == "palette"
        assert file.tags()["class_1"] == document["classes"][0]["class"]
        assert document["classes"][0]["pixels"] == int((file.read(1) == 1).sum())
    assert sum(row["share"] for row in document["classes"]) == pytest.approx(1)
    assert document["holdout"]["balanced_accuracy"] > 2 / len(document["classes"])
    assert saved.is_file()


def test_change_says_its_false_alarms(world: World, tmp_path: Path) -> None:
    out = tmp_path / "change.tif"
    words = ("--from", 2004, "--to", 2005, "--alpha", 0.05, "--out", out, "--png", tmp_path / "change.png")
    document = esd("change", world.cube, *words, "--json").document
    with rasterio.open(out) as file:
        angle, changed = file.read()
        assert file.descriptions == ("angle", "changed")
    assert np.array_equal(changed == 1, angle > np.float32(document["threshold"]))
    assert document["changed_hectares"] == pytest.approx((changed == 1).sum() * 0.09)
    masked = esd("change", world.cube, *words, "--stable", world.truth / "landcover_2004.tif", "--json").document
    assert masked["basis"] == "stable pixels"
    assert masked["calibration_pixels"] + masked["held_out_pixels"] == 64 * 64


def test_encode_and_decode_go_round(world: World, tmp_path: Path) -> None:
    days = pd.to_datetime(["2004-02-03", "2004-06-11", "2004-06-15", "2005-07-01"])
    table = pd.DataFrame({"sample_id": ["a", "a", "b", "b"], "date": days, "red": 0.1, "nir": [0.3, 0.4, None, 0.2]})
    pixels, codes, back = (tmp_path / f"{name}.parquet" for name in ("pixels", "codes", "back"))
    table.to_parquet(pixels)
    document = esd("encode", pixels, "--out", codes, "--encoder", world.codec, "--json").document
    assert (document["samples"], document["pixel_years"], document["observed_values"]) == (2, 3, 7)
    words = ("--out", back, "--encoder", world.codec, "--json")
    assert esd("decode", codes, *words).document["rows"] == 3 * 36
    assert esd("decode", codes, *words, "--dates-from", pixels).document["rows"] == 4
    decoded = pd.read_parquet(back)
    assert decoded["sample_id"].tolist() == ["a", "a", "b", "b"]
    assert decoded["swir2"].notna().all()


def test_operators_are_told_from_the_registry() -> None:
    listed = {one["name"] for one in esd("operators", "--json").document["operators"]}
    assert {"ndvi", "median", "classify", "angle", "focal_mean"} <= listed
    one = esd("operators", "focal_mean", "--json").document
    assert one["parameters"][0] == {"name": "radius", "type": "int", "default": 1, "required": False}
    assert "Rouse" in esd("operators", "ndvi").out
    grouped = esd("operators", "--group", "spectral", "--json").document["operators"]
    assert {operator["group"] for operator in grouped} == {"spectral"}


def test_answers_for_people_name_what_was_written(world: World, tmp_path: Path) -> None:
    for words in (
        ("compute", world.cube, "ndvi().max()", "--window", 2004, "--out", tmp_path / "a.tif"),
        (
            "export",
            world.cube,
            "--window",
            2004,
            "--space",
            "error",
            "--out",
            tmp_path / "a.tif",
            "--png",
            tmp_path / "a.png",
        ),
        ("similar", world.cube, "--at", world.point, "--window", 2004, "--out", tmp_path / "a.csv"),
        ("classify", world.cube, world.samples, "--window", 2004, "--out", tmp_path / "a.tif", "--no-report"),
        ("change", world.cube, "--from", 2004, "--to", 2005, "--out", tmp_path / "a.tif"),
        ("sample", world.cube, world.samples, "--out", tmp_path / "a.csv"),
    ):
        outcome = esd(*words)
        assert outcome.code == 0, outcome.err
        assert "a.csv" in outcome.out or "a.tif" in outcome.out
        assert outcome.err == ""


TINY = """
id = "tiny"
[model]
levels = [8, 8, 8, 5, 5, 5]
encoder = [["fold", 16], ["mix", 8], ["linear", 6]]
full = [["linear", 16], ["mix", 8], ["unfold", 6]]
[data]
[[data.sources]]
name = "made up"
kind = "simulator"
share = 0.5
options = {{ pixels = 400, seed = 1, years = "2000/2004" }}
[[data.sources]]
name = "chip"
kind = "scenes"
share = 0.5
path = "{scenes}"
options = {{ windows = "2004" }}
[training]
steps = 6
batch = 32
report_every = 3
precision = "f32"
"""


def test_train_makes_an_encoder_that_encodes(world: World, tmp_path: Path) -> None:
    config, out = tmp_path / "tiny.toml", tmp_path / "trained"
    config.write_text(TINY.format(scenes=world.scenes))
    outcome = esd("train", config, "--out", out, "--json")
    document = outcome.document
    assert outcome.err.count("\n") >= 1 + len(document["curve"])
    assert document["finished"]
    assert [point["step"] for point in document["curve"]] == [3, 6]
    assert set(document["sources"]) == {"made up", "chip"}
    assert (out / "tiny.md").is_file()
    table = pd.DataFrame({"sample_id": [1], "date": pd.to_datetime(["2004-06-11"]), "nir": [0.3]})
    table.to_parquet(tmp_path / "pixels.parquet")
    words = ("encode", tmp_path / "pixels.parquet", "--out", tmp_path / "codes.parquet")
    assert esd(*words, "--encoder", document["codec"], "--json").document["encoder"]["id"] == "tiny"


def test_another_fold_is_held_out_of_a_codec_of_its_own_name(world: World, tmp_path: Path) -> None:
    config, out = tmp_path / "tiny.toml", tmp_path / "folds"
    config.write_text(TINY.format(scenes=world.scenes))
    documents = [esd("train", config, "--fold", fold, "--out", out, "--json").document for fold in (0, 3)]
    assert [Path(document["codec"]).name for document in documents] == ["tiny_fold0.safetensors", "tiny_fold3.safetensors"]
    cards = [(out / f"tiny_fold{fold}.md").read_text().splitlines() for fold in (0, 3)]
    rows = [next(line for line in card if line.startswith("| made up | ")) for card in cards]
    assert rows[0] != rows[1]  # sizes and names of what is held out
    outcome = esd("train", config, "--fold", 5, "--out", out)
    assert outcome.code == 2
    assert "data.fold is 5" in outcome.err


def test_a_device_that_is_not_there_is_refused(world: World, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    config, out = tmp_path / "tiny.toml", tmp_path / "trained"
    config.write_text(TINY.format(scenes=world.scenes))
    absent = {"tpu": "device 'tpu' is not known; use one of auto, cpu, cuda"}
    if not torch.cuda.is_available():
        absent["cuda"] = "torch finds no GPU"
    for device, because in absent.items():
        outcome = esd("train", config, "--out", out, "--device", device)
        assert outcome.code == 2
        assert because in outcome.err
        assert not out.exists()


def test_a_config_that_asks_for_the_impossible_is_refused(world: World, tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    for wrong, because in (("pixels", "pixls"), ('"simulator"', '"sky"'), ('"2000/2004"', "5")):
        config.write_text(TINY.format(scenes=world.scenes).replace(wrong, because))
        outcome = esd("train", config, "--out", tmp_path / "trained")
        assert outcome.code == 2
        assert because.strip('"') in outcome.err
        assert not (tmp_path / "trained").exists()
