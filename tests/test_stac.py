"""STAC: the same scenes are found in a static catalog and an API, and read by item as from their files."""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path

import numpy as np
import pytest
from cli_world import esd as run
from scene_files import GRID, write_landsat_c2
from stac_world import COLLECTION, item_of, serving, write_static

import esd
from esd.errors import SceneError, TableError
from esd.ingest import find_scenes, read_scene
from esd.ingest.fingerprint import hash_of
from esd.ingest.scene import Scene
from esd.query import Catalog, add_stac

DATES = [dt.date(2004, month, 10) for month in (4, 5, 6, 7, 8)]
BOX = (14.9, 45.1, 15.1, 45.2)


@pytest.fixture(autouse=True)
def straight_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landsat")
    rng = np.random.default_rng(0)
    for date in DATES:
        quality = np.where(rng.random(tuple(GRID.shape)) < 0.3, 0b1000, 0b1000000).astype(np.uint16)
        saturation = (rng.random(tuple(GRID.shape)) < 0.1).astype(np.uint16) * 4
        values = rng.uniform(0.02, 0.5, (6, *GRID.shape))
        write_landsat_c2(folder, date, values, quality=quality, saturation=saturation)
    return folder


@pytest.fixture(scope="module")
def scenes(files: Path) -> tuple[Scene, ...]:
    found, failures = find_scenes([files])
    assert len(found) == len(DATES)
    assert not failures
    return found


def same(one: Scene, other: Scene) -> None:
    read, expected = read_scene(one, GRID), read_scene(other, GRID)
    assert expected.clear.any()
    assert not expected.clear.all()
    assert np.array_equal(read.clear, expected.clear)
    assert np.array_equal(read.reflectance, expected.reflectance)
    assert np.array_equal(read.cloud, expected.cloud)


def test_a_static_catalog_is_searched_by_place_day_and_property(tmp_path: Path, scenes: tuple[Scene, ...]) -> None:
    items = [item_of(scene, os.path.relpath(scene.path.parent, tmp_path / "static")) for scene in scenes]
    items[1]["properties"]["eo:cloud_cover"] = 80.0
    items[2]["properties"]["platform"] = "landsat-7"
    root = write_static(tmp_path / "static", items)
    for asked, wanted in (
        ({}, [0, 1, 2, 3, 4]),
        ({"bbox": BOX}, [0, 1, 2, 3, 4]),
        ({"bbox": (20, 45, 21, 46)}, []),
        ({"start": "2004-05-10", "end": "2004-08-10"}, [1, 2, 3]),
        ({"where": {"cloud_cover": {"<": 50}}}, [0, 2, 3, 4]),
        ({"where": {"platform": "LANDSAT_7"}}, [2]),
        ({"collections": ["another"]}, []),
        ({"collections": [COLLECTION], "limit": 2}, [0, 1]),
    ):
        folder = tmp_path / f"items{len(list(tmp_path.iterdir()))}"
        with Catalog() as catalog:
            assert add_stac(catalog, root, folder, **asked) == len(wanted)
            found = catalog.search()
        assert [item.id for item in found] == [items[i]["id"] for i in wanted]
        assert {str(path) for path in folder.iterdir()} == {item.path for item in found}
    local, failures = find_scenes([folder])
    assert not failures
    for scene, expected in zip(local, scenes, strict=False):
        assert (scene.id, scene.acquired, scene.geobox) == (expected.id, expected.acquired, expected.geobox)
        same(scene, expected)


def test_scenes_found_by_an_api_are_read_over_http_with_retries(
    tmp_path: Path, files: Path, scenes: tuple[Scene, ...]
) -> None:
    with serving(files, failures=1) as api:
        api.items = [item_of(scene, api.url, with_grid=index > 0) for index, scene in enumerate(scenes)]
        with Catalog() as catalog:
            # Pages of two, and a server that does not know the property: the answer is exact all the same.
            api.items[3]["properties"]["eo:cloud_cover"] = 99.0
            added = add_stac(catalog, api.url, tmp_path, BOX, "2004-04-01", "2004-08-01", {"cloud_cover": {"<": 90}})
        assert added == 3
        assert len(api.asked) == 2
        assert api.asked[0]["datetime"] == "2004-04-01T00:00:00Z/2004-07-31T23:59:59Z"
        found, failures = find_scenes([tmp_path])
        assert not failures
        assert [scene.id for scene in found] == [scene.id for scene in scenes[:3]]
        same(found[0], scenes[0])
        assert found[0].geobox == scenes[0].geobox
    assert any(count > 1 for count in api.seen.values())


def test_search_then_ingest_by_the_command_line(
    tmp_path: Path, files: Path, scenes: tuple[Scene, ...], codec: object
) -> None:
    encoder = tmp_path / "codec.safetensors"
    encoder.write_bytes(codec.data)  # type: ignore[attr-defined]  # a Codec
    items = [item_of(scene, str(files)) for scene in scenes]
    root = write_static(tmp_path / "static", items)
    catalog = tmp_path / "found.duckdb"
    told = run("search", catalog, "--stac", root, "--end", "2004-07-01", "--json")
    assert told.document["found"] == told.document["added"] == 3
    outs = [tmp_path / "items.esd.zarr", tmp_path / "files.esd.zarr"]
    from_files = [scene.path for scene in scenes[:3]]
    for out, given in zip(outs, ([tmp_path / "found.items"], from_files), strict=True):
        done = run("ingest", *given, "--out", out, "--encoder", encoder, "--json")
        assert done.document["scenes"] == 3
    one, other = (esd.open(out).image(2004).compute() for out in outs)
    assert np.array_equal(one.values, other.values)


def test_the_hash_of_an_item_is_also_that_of_its_files(tmp_path: Path) -> None:
    folder = write_landsat_c2(tmp_path, DATES[0])
    (scene,) = find_scenes([folder])[0]
    item = tmp_path / "one.item.json"
    item.write_text(json.dumps(item_of(scene, str(tmp_path))))
    (found,) = find_scenes([item])[0]
    before = hash_of(found)
    band = folder / scene.layers[0].file
    band.write_bytes(band.read_bytes()[:-1] + b"!")
    assert hash_of(found) != before != ""
    band.unlink()
    assert hash_of(found) == ""


def test_an_item_of_another_place_than_its_files_is_refused(tmp_path: Path, files: Path, scenes: tuple[Scene, ...]) -> None:
    item = item_of(scenes[0], str(files))
    item["properties"]["proj:transform"][2] += 30
    path = tmp_path / "moved.item.json"
    path.write_text(json.dumps(item))
    (found,) = find_scenes([path])[0]
    with pytest.raises(SceneError, match="another grid"):
        read_scene(found, GRID)


def test_what_cannot_be_read_is_told_in_one_line(tmp_path: Path, scenes: tuple[Scene, ...]) -> None:
    with Catalog() as catalog, serving(tmp_path) as api:
        broken = tmp_path / "broken.json"
        broken.write_text("{")
        for url in (tmp_path / "absent.json", broken, f"{api.url}/absent"):
            with pytest.raises(TableError, match="cannot be read") as caught:
                add_stac(catalog, url, tmp_path / "items")
            assert "\n" not in str(caught.value)
    item = item_of(scenes[0], str(tmp_path / "gone"))
    cases = {
        "other": ({**item, "collection": "sentinel-2-l2a"}, "sentinel-2"),
        "bare": ({**item, "assets": {}}, "no link"),
        "unscaled": ({**item, "assets": {"red": {"href": "/x_SR_B3.TIF"}}}, "scale and offset"),
        "named": ({**item, "assets": {"red": {"href": "/x_B3.TIF"}}}, "_SR_B4"),
        "none": ({}, "no complete STAC item"),
        "day": ({**item, "properties": {**item["properties"], "datetime": "2004-04-11T10:00:00Z"}}, "its id 20040410"),
        "scale": ({**item, "assets": {"red": {**item["assets"]["red"], "scale": 3e-05}}}, "Collection 2"),
    }
    for name, (content, cause) in cases.items():
        path = tmp_path / f"{name}.item.json"
        path.write_text(json.dumps(content))
        found, failures = find_scenes([path])
        assert not found
        assert cause in failures[0].cause
    lost = tmp_path / "lost.item.json"
    lost.write_text(json.dumps(item))
    with pytest.raises(SceneError):
        read_scene(find_scenes([lost])[0][0], GRID)
