"""Readers: what product files say is what arrives, masks and all."""

from __future__ import annotations

import datetime as dt
import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.warp import transform_bounds
from scene_files import (
    GRID,
    MODIS_GRID,
    TM_NUMBERS,
    flat,
    pack,
    write_espa,
    write_landsat_c2,
    write_mod09a1,
    write_raster,
)

from esd.dekad import BANDS
from esd.errors import SceneError
from esd.grid import Region, aligned, geobox_from_bounds, sub_geobox
from esd.ingest.archive import Scratch
from esd.ingest.modis import clear_by_state
from esd.ingest.readers import find_scenes, read_scene
from esd.ingest.scene import LOWEST_REFLECTANCE, Observation, Scene

DATE = dt.date(2004, 7, 15)
ROWS, COLUMNS = tuple(GRID.shape)


def only_scene(path: Path) -> Scene:
    scenes, failures = find_scenes([path])
    assert failures == ()
    assert len(scenes) == 1
    return scenes[0]


def read_all(path: Path) -> tuple[Scene, Observation]:
    scene = only_scene(path)
    return scene, read_scene(scene, scene.geobox)


def random_reflectance(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.01, 0.6, (6, ROWS, COLUMNS))


def test_landsat_c2_numbers_and_metadata(tmp_path: Path) -> None:
    truth = random_reflectance()
    scene, observation = read_all(write_landsat_c2(tmp_path, DATE, truth))
    assert (scene.acquired, scene.platform, scene.cloud_cover, scene.sun_elevation) == (DATE, "LANDSAT_5", 12.5, 41.25)
    assert scene.bands == BANDS
    assert scene.notes == ()
    assert scene.geobox == GRID
    assert observation.clear.all()
    assert np.abs(observation.reflectance - truth).max() <= 2.75e-5 / 2 + 1e-6


def test_oli_bands_are_numbered_one_higher(tmp_path: Path) -> None:
    truth = random_reflectance()
    _, observation = read_all(write_landsat_c2(tmp_path, DATE, truth, platform="LANDSAT_9"))
    assert np.abs(observation.reflectance - truth).max() < 2e-5


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_tarball_reads_as_its_folder(tmp_path: Path, suffix: str) -> None:
    folder = write_landsat_c2(tmp_path / "a", DATE, random_reflectance())
    tarball = pack(folder, tmp_path / f"{folder.name}{suffix}")
    _, expected = read_all(folder)
    _, observation = read_all(tarball)
    assert np.array_equal(observation.reflectance, expected.reflectance)
    assert np.array_equal(observation.clear, expected.clear)


def test_qa_pixel_bits_drop_what_is_not_clear(tmp_path: Path) -> None:
    quality = np.full((ROWS, COLUMNS), 1 << 6, dtype=np.uint16)
    quality[0, :8] = [1 << bit for bit in range(8)]
    _, observation = read_all(write_landsat_c2(tmp_path, DATE, quality=quality))
    dropped = [not clear for clear in observation.clear[0, 0, :8]]
    assert dropped == [True] * 6 + [False] * 2
    assert observation.clear[:, 1:].all()


def test_radsat_drops_only_the_saturated_band(tmp_path: Path) -> None:
    saturation = np.zeros((ROWS, COLUMNS), dtype=np.uint16)
    for column, number in enumerate(TM_NUMBERS):
        saturation[0, column] = 1 << (number - 1)
    saturation[1, 0] = 1 << 9
    _, observation = read_all(write_landsat_c2(tmp_path, DATE, saturation=saturation))
    for column in range(6):
        assert list(np.flatnonzero(~observation.clear[:, 0, column])) == [column]
    assert not observation.clear[:, 1, 0].any()


def test_invalid_numbers_are_dropped_per_band(tmp_path: Path) -> None:
    lowest = int(np.ceil((LOWEST_REFLECTANCE + 0.2) / 2.75e-5))
    counts = np.full((ROWS, COLUMNS), 9000, dtype=np.uint16)
    counts[0, :4] = [0, 65535, lowest - 1, lowest]
    _, observation = read_all(write_landsat_c2(tmp_path, DATE, raw={"red": counts}))
    red = BANDS.index("red")
    assert list(observation.clear[red, 0, :4]) == [False, False, False, True]
    assert (observation.reflectance[red, 0, :3] == 0).all()
    assert np.delete(observation.clear, red, axis=0).all()


def test_a_missing_band_is_not_a_failure(tmp_path: Path) -> None:
    bands = ("blue", "red", "nir")
    scene, observation = read_all(write_landsat_c2(tmp_path, DATE, bands=bands))
    assert scene.bands == bands
    assert [bool(clear.all()) for clear in observation.clear] == [band in bands for band in BANDS]


def test_without_qa_pixel_a_note_says_so(tmp_path: Path) -> None:
    scene, observation = read_all(write_landsat_c2(tmp_path, DATE, with_quality=False))
    assert observation.clear.all()
    assert len(scene.notes) == 1
    assert "no QA_PIXEL" in scene.notes[0]


def test_the_grid_comes_from_the_mtl_where_the_tiff_has_none(tmp_path: Path) -> None:
    scene = only_scene(write_landsat_c2(tmp_path, DATE, georeferenced=False, with_quality=False))
    assert scene.geobox == GRID
    assert str(scene.geobox.crs) == "EPSG:32633"


def test_espa_masks_scales_and_valid_range(tmp_path: Path) -> None:
    truth = random_reflectance()
    mask = np.zeros((ROWS, COLUMNS), dtype=np.uint8)
    mask[0, :6] = [0, 1, 2, 3, 4, 255]
    counts = np.rint(truth[0] * 10000).astype(np.int16)
    counts[1, :4] = [-9999, 20000, 16001, 16000]
    scene, observation = read_all(write_espa(tmp_path, DATE, truth, mask=mask, raw={"blue": counts}))
    assert scene.bands == BANDS
    assert scene.acquired == DATE
    assert scene.sun_elevation == pytest.approx(39.5)
    assert list(observation.clear[3, 0, :6]) == [True, True, False, False, False, False]
    assert list(observation.clear[0, 1, :4]) == [False, False, False, True]
    clear = observation.clear[1:]
    assert np.abs(observation.reflectance[1:] - truth[1:])[clear].max() < 6e-5


def test_espa_folder_and_tarball_agree(tmp_path: Path) -> None:
    _, packed = read_all(write_espa(tmp_path / "a", DATE, random_reflectance()))
    _, folder = read_all(write_espa(tmp_path / "b", DATE, random_reflectance(), packed=False))
    assert np.array_equal(packed.reflectance, folder.reflectance)


def test_mod09a1_bands_state_and_days(tmp_path: Path) -> None:
    shape = tuple(MODIS_GRID.shape)
    state = np.full(shape, 0b01000, dtype=np.uint16)
    state[0, :5] = [0b01, 0b10, 0b11, 1 << 2, 1 << 12]
    days = np.full(shape, 3)
    days[2, :3] = [361, 2, 200]
    first = dt.date(2003, 12, 27)
    scene, observation = read_all(write_mod09a1(tmp_path, first, state, days))
    assert scene.period == (first, dt.date(2004, 1, 3))
    assert scene.acquired == dt.date(2003, 12, 31)
    assert list(observation.clear[0, 0, :5]) == [False, False, True, False, False]
    seen = observation.reflectance[:, 4, 5]
    assert seen == pytest.approx([0.03, 0.04, 0.01, 0.02, 0.06, 0.07])
    assert observation.day is not None
    assert list(observation.day[2, :3]) == [0, 6, 4]
    assert observation.day[4, 4] == 7


def test_modis_state_bits() -> None:
    kept, dropped = (0, 0b11, 1 << 13, 1 << 8), (0b01, 0b10, 1 << 2, 1 << 9, 1 << 10, 1 << 12, 1 << 15, 65535)
    assert clear_by_state(np.array(kept)).all()
    assert not clear_by_state(np.array(dropped)).any()


def test_mod13q1_without_band_names(tmp_path: Path) -> None:
    shape = tuple(MODIS_GRID.shape)
    planes = [np.full(shape, value, dtype=np.float32) for value in (0.5, 0.6, 0.05, 0.03, 0.3, 0.1, 260)]
    planes[3][0, 0] = -3.4e38
    write_raster(tmp_path / "MOD13Q1_20110914_part.tif", planes, MODIS_GRID, nodata=-3.4e38)
    scene, observation = read_all(tmp_path / "MOD13Q1_20110914_part.tif")
    assert scene.bands == ("blue", "red", "nir", "swir2")
    assert observation.reflectance[:, 1, 1] == pytest.approx([0.03, 0, 0.05, 0.3, 0, 0.1])
    assert not observation.clear[0, 0, 0]
    assert not observation.clear[[1, 4]].any()
    assert observation.day is not None
    assert (observation.day == 3).all()


def test_a_window_is_the_same_part_of_the_whole(tmp_path: Path) -> None:
    scene, whole = read_all(write_landsat_c2(tmp_path, DATE, random_reflectance()))
    for region in (Region(3, 11, 5, 9), Region(-4, 6, -2, 30), Region(15, 40, 20, 60)):
        part = read_scene(scene, sub_geobox(GRID, region))
        inside = region.intersect(Region(0, ROWS, 0, COLUMNS))
        y, x = inside.within(region)
        assert np.array_equal(part.reflectance[:, y, x], whole.reflectance[:, *inside.slices])
        assert part.clear.sum() == inside.size * 6


def test_a_grid_elsewhere_sees_nothing(tmp_path: Path) -> None:
    scene = only_scene(write_landsat_c2(tmp_path, DATE))
    assert not read_scene(scene, sub_geobox(GRID, Region(500, 510, 0, 10))).clear.any()


def test_another_crs_keeps_values_and_never_mixes_masked_pixels(tmp_path: Path) -> None:
    quality = np.full((ROWS, COLUMNS), 1 << 6, dtype=np.uint16)
    truth = flat()
    truth[:, :, 12:] = 0.9
    quality[:, 12:] = 1 << 3
    scene = only_scene(write_landsat_c2(tmp_path, DATE, truth, quality=quality))
    bounds = transform_bounds("EPSG:32633", "EPSG:32632", *GRID.boundingbox.bbox)
    left, bottom, right, top = bounds
    target = geobox_from_bounds(left, bottom, right, top, "EPSG:32632", 30)
    assert not aligned(GRID, target)
    observation = read_scene(scene, target)
    share = observation.clear[0].mean()
    assert 0.3 < share < 0.6
    assert np.abs(observation.reflectance - flat()[:, :1, :1])[observation.clear].max() < 1e-4


def test_coarser_pixels_are_means(tmp_path: Path) -> None:
    truth = random_reflectance()
    scene = only_scene(write_landsat_c2(tmp_path, DATE, truth))
    coarse = read_scene(scene, GRID.zoom_out(4))
    expected = truth.reshape(6, ROWS // 4, 4, COLUMNS // 4, 4).mean(axis=(2, 4))
    assert coarse.clear.all()
    assert np.abs(coarse.reflectance - expected).max() < 1e-3


def test_a_truncated_tarball_is_one_line_that_names_it(tmp_path: Path) -> None:
    good = write_espa(tmp_path, DATE)
    bad = tmp_path / "LT50460272004001XXX03-SC20160826120223.tar.gz"
    bad.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    scenes, failures = find_scenes([tmp_path])
    assert len(scenes) == 1
    assert len(failures) == 1
    assert bad.name in failures[0].cause
    assert "download it again" in failures[0].cause
    assert "\n" not in failures[0].cause


def test_a_coordinate_system_of_no_place_is_one_line_that_names_the_scene(tmp_path: Path) -> None:
    scene = write_espa(tmp_path, DATE, packed=False)
    hall = CRS.from_wkt('LOCAL_CS["the plan of a hall",UNIT["metre",1]]')
    for band in scene.glob("*.tif"):
        with rasterio.open(band, "r+") as file:
            file.crs = hall
    scenes, failures = find_scenes([scene])
    assert scenes == ()
    assert [failure.source for failure in failures] == [scene.name]
    assert "\n" not in failures[0].cause


def test_members_cannot_leave_the_scratch_folder(tmp_path: Path) -> None:
    folder = write_espa(tmp_path / "a", DATE, packed=False)
    hostile = tmp_path / "hostile.tar.gz"
    with tarfile.open(hostile, "w:gz") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, f"../../{file.name}")
        link = tarfile.TarInfo("evil.tif")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        info = tarfile.TarInfo("/absolute.tif")
        archive.addfile(info, io.BytesIO(b""))
    scene = only_scene(hostile)
    with Scratch(tmp_path / "scratch") as scratch:
        assert read_scene(scene, GRID, scratch).clear.all()
        written = {file.name for file in (tmp_path / "scratch").rglob("*") if file.is_file()}
    assert written == set(scene.files)
    assert not (tmp_path / "scratch").exists()


def test_what_was_unpacked_for_work_that_has_ended_is_not_made_anew(tmp_path: Path) -> None:
    scene = only_scene(write_espa(tmp_path / "a", DATE, packed=True))
    with Scratch(tmp_path / "scratch") as ours, Scratch.shared(ours.root) as theirs:
        assert not theirs.gone
        ours.close()
        assert theirs.gone
        with pytest.raises(FileNotFoundError):
            read_scene(scene, GRID, theirs)
        with Scratch(tmp_path / "scratch") as next_one:
            assert theirs.gone
            assert next_one.root != theirs.root
            assert not list(next_one.root.iterdir())
    assert not (tmp_path / "scratch").exists()


def espa_folder(parent: Path, date: dt.date) -> Path:
    return write_espa(parent, date, packed=False)


@pytest.mark.parametrize(("write", "ending"), [(write_landsat_c2, "_MTL.txt"), (espa_folder, ".xml")])
@pytest.mark.parametrize("packed", [False, True])
def test_bands_without_their_metadata_are_not_passed_over(tmp_path: Path, write: Any, ending: str, packed: bool) -> None:
    whole = write(tmp_path / "a", DATE)
    lacking = write(tmp_path / "b", DATE + dt.timedelta(days=16))
    (metadata,) = lacking.glob(f"*{ending}")
    metadata.unlink()
    if packed:
        with tarfile.open(tmp_path / "b.tar", "w") as archive:
            archive.add(lacking, ".")
        shutil.rmtree(tmp_path / "b")
    scenes, failures = find_scenes([tmp_path])
    assert [scene.path for scene in scenes] == [whole]
    assert [failure.source for failure in failures] == [metadata.name.removesuffix(ending)]
    assert failures[0].cause.endswith(f"no {metadata.name}; download it again")


@pytest.mark.parametrize(("write", "band"), [(write_landsat_c2, "_SR_B4.TIF"), (espa_folder, "_sr_band4.tif")])
def test_a_band_that_is_missing_is_noted(tmp_path: Path, write: Any, band: str) -> None:
    folder = write(tmp_path, DATE)
    (missing,) = folder.glob(f"*{band}")
    missing.unlink()
    assert only_scene(folder).notes == (f"{missing.name.removesuffix(band)} has no nir",)


def test_a_folder_that_holds_itself_is_read_once(tmp_path: Path) -> None:
    folder = write_landsat_c2(tmp_path / "scenes", DATE)
    (tmp_path / "scenes" / "again").symlink_to(tmp_path / "scenes", target_is_directory=True)
    scenes, failures = find_scenes([tmp_path])
    assert ([scene.id for scene in scenes], failures) == ([folder.name], ())


def test_senseless_metadata_is_a_failure_and_no_traceback(tmp_path: Path) -> None:
    order = write_espa(tmp_path, DATE, packed=False)
    xml = next(order.glob("*.xml"))
    xml.write_text(xml.read_text().replace('scale_factor="0.0001"', 'scale_factor="small"'))
    write_mod09a1(tmp_path, DATE, np.zeros(tuple(MODIS_GRID.shape))).rename(tmp_path / "MOD09A1.A2004999.h18v04.061.tif")
    scenes, failures = find_scenes([tmp_path])
    assert scenes == ()
    assert all("makes no sense" in failure.cause for failure in failures)
    assert len(failures) == 2


def test_a_file_of_no_product_is_named(tmp_path: Path) -> None:
    other = write_raster(tmp_path / "dem.tif", [np.zeros((2, 2), dtype=np.uint8)], GRID)
    scenes, failures = find_scenes([other, tmp_path / "absent"])
    assert scenes == ()
    assert [failure.source for failure in failures] == ["absent", "dem.tif"]
    assert find_scenes([tmp_path]) == ((), ())


def test_a_scene_given_twice_is_used_once(tmp_path: Path) -> None:
    folder = write_landsat_c2(tmp_path, DATE)
    tarball = pack(folder, tmp_path / f"{folder.name}.tar")
    scenes, failures = find_scenes([folder, tarball])
    assert failures == ()
    assert len(scenes) == 1
    assert "given twice" in scenes[0].notes[-1]


def test_scenes_come_by_date_whatever_the_order_given(tmp_path: Path) -> None:
    folders = [write_landsat_c2(tmp_path, dt.date(2004, month, 1)) for month in (9, 2, 5)]
    forward, backward = find_scenes(folders)[0], find_scenes(folders[::-1])[0]
    assert [scene.acquired.month for scene in forward] == [2, 5, 9]
    assert forward == backward


@pytest.mark.parametrize("key", ["REFLECTANCE_MULT_BAND_3 = 2.75e-05\n", "DATE_ACQUIRED = 2004-07-15\n"])
def test_an_incomplete_mtl_names_the_key(tmp_path: Path, key: str) -> None:
    folder = write_landsat_c2(tmp_path, DATE)
    mtl = next(folder.glob("*_MTL.txt"))
    mtl.write_text(mtl.read_text().replace(key, "", 1))
    scenes, failures = find_scenes([folder])
    assert scenes == ()
    assert key.split(" =")[0] in failures[0].cause


def test_a_damaged_band_is_named_when_it_is_read(tmp_path: Path) -> None:
    folder = write_landsat_c2(tmp_path, DATE)
    band = next(folder.glob("*_SR_B4.TIF"))
    band.write_bytes(band.read_bytes()[:-20])
    scene = only_scene(folder)
    with pytest.raises(SceneError, match=band.name):
        read_scene(scene, GRID)


@pytest.mark.parametrize("name", ["a b", "per%20cent", "hash#tag", "ümlaut", "comma,and&"])
def test_folders_may_have_any_name(tmp_path: Path, name: str) -> None:
    _, observation = read_all(write_landsat_c2(tmp_path / name, DATE))
    assert observation.clear.all()
