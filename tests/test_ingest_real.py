"""The readers and the pipeline on real scenes; skipped where the shared data are absent."""

from __future__ import annotations

import csv
import datetime as dt
import shutil
from pathlib import Path

import numpy as np
import pytest

from esd.codec import Codec
from esd.cube import Cube
from esd.dekad import BANDS, parse_windows
from esd.grid import GeoBox, same_crs
from esd.ingest.archive import Package
from esd.ingest.mtl import Metadata
from esd.ingest.pipeline import run_ingest
from esd.ingest.plan import plan_ingest
from esd.ingest.readers import find_scenes, read_scene

CONUS_ALBERS = "+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs"
MIDDLE = "-123.29,46.863,-123.275,46.876"
"""A part of the chip, so that the test is quick."""


def test_espa_scenes_agree_with_their_index(shared_data: Path) -> None:
    folder = shared_data / "landsat_espa_wa"
    with (folder / "index.csv").open(newline="") as file:
        index = {row["scene_id"]: row for row in csv.DictReader(file)}
    chosen = [folder / row["file"] for row in list(index.values())[::8]]
    scenes, failures = find_scenes(chosen)
    assert failures == ()
    assert len(scenes) == len(chosen)
    for scene in scenes:
        row = index[scene.id]
        assert scene.acquired.isoformat() == row["date"]
        assert f"{scene.platform} {scene.sensor}".replace(" ETM", " ETM+") == row["sensor"]
        clear = read_scene(scene, scene.geobox).clear.any(axis=0).mean()
        assert clear == pytest.approx(float(row["clear_share"]), abs=5e-4)


def test_six_years_of_espa_scenes_make_a_cube(shared_data: Path, tmp_path: Path, codec: Codec) -> None:
    plan = plan_ingest([shared_data / "landsat_espa_wa"], parse_windows("2000/2005"))
    assert len(plan.scenes) == 95
    assert same_crs(plan.geobox, GeoBox((1, 1), plan.geobox.affine, CONUS_ALBERS))
    assert tuple(plan.geobox.shape) == (128, 128)
    assert plan.geobox.boundingbox.bbox == (-2062080, 2949120, -2058240, 2952960)
    assert plan.bytes_in == 95 * 128 * 128 * 12
    part = plan_ingest([shared_data / "landsat_espa_wa"], plan.windows, aoi=MIDDLE)
    assert part.geobox.shape.x < 64 > part.geobox.shape.y
    report = run_ingest(part, tmp_path / "wa.esd.zarr", codec)
    assert (report.scenes, report.failures, report.blocks) == (95, (), 6)
    cube = Cube.open(report.path)
    (block,) = cube.blocks(cube.grid())
    for window in cube.windows:
        assert (cube.read("codes", cube.grid(), window, block) != 65535).all()
        observations = cube.read("count", cube.grid(), window, block).sum(axis=0).mean()
        assert 5 < observations < 18


def test_a_truncated_espa_order_is_named_and_the_rest_goes_on(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "landsat_espa_wa").glob("*.tar.gz"))[:2]
    bad = tmp_path / files[0].name
    bad.write_bytes(files[0].read_bytes()[: files[0].stat().st_size * 2 // 3])
    scenes, failures = find_scenes([bad, files[1]])
    assert len(scenes) == 1
    assert [failure.source for failure in failures] == [bad.name]
    assert "truncated or damaged" in failures[0].cause


def test_collection_2_crops_take_their_grid_from_the_mtl(shared_data: Path) -> None:
    scenes, failures = find_scenes([shared_data / "c2_l2sp" / "xlandsat"])
    assert failures == ()
    found = {scene.id[10:25]: (str(scene.geobox.crs), scene.shape) for scene in scenes}
    assert found == {
        "017051_20151205": ("EPSG:32616", (333, 467)),
        "204023_20200927": ("EPSG:32630", (267, 433)),
        "218074_20190114": ("EPSG:32623", (300, 400)),
        "218074_20190130": ("EPSG:32623", (300, 400)),
    }
    brumadinho = scenes[1]
    assert brumadinho.geobox.boundingbox.bbox == (583485, -2231685, 595485, -2222685)
    assert "no QA_PIXEL" in brumadinho.notes[0]
    observation = read_scene(brumadinho, brumadinho.geobox)
    assert observation.clear.mean() > 0.99
    red, nir = (observation.reflectance[BANDS.index(band)].mean() for band in ("red", "nir"))
    assert 0.03 < red < 0.08
    assert 0.2 < nir < 0.4


def test_a_decimated_scene_keeps_the_grid_of_its_files(shared_data: Path) -> None:
    (scene,), _ = find_scenes([shared_data / "c2_l2sp" / "LC08_L2SP_008059_20191201"])
    assert str(scene.geobox.crs) == "EPSG:32618"
    assert scene.geobox.affine.a == pytest.approx(444.785, abs=1e-3)
    assert (scene.cloud_cover, scene.sun_elevation) == (81.02, 57.08727307)
    observation = read_scene(scene, scene.geobox)
    assert 0.05 < observation.clear[0].mean() < 0.19


@pytest.mark.parametrize("kind", ["xml", "json"])
def test_every_form_of_the_mtl_says_the_same(shared_data: Path, tmp_path: Path, kind: str) -> None:
    source = shared_data / "c2_l2sp" / "LC08_L2SP_008059_20191201"
    for file in source.iterdir():
        if not file.name.endswith(("MTL.txt", "MTL.xml", "MTL.json")) or file.name.endswith(f"MTL.{kind}"):
            shutil.copy(file, tmp_path)
    (text,), _ = find_scenes([source])
    (other,), failures = find_scenes([tmp_path])
    assert failures == ()
    for field in ("id", "acquired", "platform", "sensor", "layers", "quality", "cloud_cover", "sun_elevation", "geobox"):
        assert getattr(text, field) == getattr(other, field), field


def test_mtl_files_of_all_missions_are_understood(shared_data: Path) -> None:
    package = Package.open(shared_data / "c2_l2sp" / "mtl_only")
    platforms = set()
    for name in package.names:
        metadata = Metadata.parse(package, name)
        platforms.add(metadata.text("IMAGE_ATTRIBUTES", "SPACECRAFT_ID"))
        assert metadata.number("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", "REFLECTANCE_MULT_BAND_3") == 2.75e-05
    assert platforms == {f"LANDSAT_{number}" for number in (4, 5, 7, 8, 9)}
    scenes, failures = find_scenes([package.path])
    assert scenes == ()
    assert all("no SR_B file" in failure.cause for failure in failures)


def test_modis_hdf4(shared_data: Path) -> None:
    pytest.importorskip("pyhdf")
    (scene,), failures = find_scenes([shared_data / "modis_hdf"])
    assert failures == ()
    assert tuple(scene.geobox.shape) == (73, 66)
    assert scene.geobox.affine.a == pytest.approx(463.313, abs=1e-3)
    assert scene.period == (dt.date(2017, 7, 12), dt.date(2017, 7, 19))
    observation = read_scene(scene, scene.geobox)
    assert 0.8 < observation.clear.mean() < 1
    assert observation.day is not None
    assert (observation.day.min(), observation.day.max()) == (0, 7)
    assert observation.reflectance[BANDS.index("nir")][observation.clear[3]].mean() == pytest.approx(0.287, abs=1e-3)


def test_modis_composites_without_band_names(shared_data: Path, tmp_path: Path, codec: Codec) -> None:
    folder = shared_data / "modis_mod13q1_mt" / "mato_grosso_brazil"
    plan = plan_ingest([folder], start_month=9)
    assert len(plan.scenes) == 23
    assert plan.windows == (dt.date(2011, 9, 1), dt.date(2012, 9, 1))
    report = run_ingest(plan, tmp_path / "mt.esd.zarr", codec)
    assert report.failures == ()
    cube = Cube.open(report.path)
    count = cube.read("count", cube.grid(), cube.windows[0], cube.blocks(cube.grid())[0])
    assert count.shape == (12, 27, 37)
    assert 20 <= np.median(count.sum(axis=0)) <= 23
