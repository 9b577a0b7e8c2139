"""The scene simulator: its products are genuine in form, agree with the truth beside them, and repeat to the byte."""

from __future__ import annotations

import datetime as dt
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import zarr
from scipy.ndimage import binary_dilation

from esd.dekad import dekad_dates, window_start
from esd.errors import EsdError, GridError, SceneError, WindowError
from esd.ingest.product_writer import product_id
from esd.ingest.readers import find_scenes, read_scene
from esd.ingest.sensors import PLATFORMS, WIDEST_GAP, Platform, passes, quality_bits, scan_gaps, wrs_path
from esd.ingest.simulate import SceneSimulator, SimulationReport, simulate
from esd.ingest.weather import Clouds, clear_sky

SIZE, YEARS, SEED = 64, (2003, 2004), 5
TM, ETM, OLI = PLATFORMS[0], PLATFORMS[1], PLATFORMS[2]
FILL, DILATED, CIRRUS, CLOUD, SHADOW, CLEAR, WATER = (1 << bit for bit in (0, 1, 2, 3, 4, 6, 7))


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> SimulationReport:
    return simulate(tmp_path_factory.mktemp("simulated") / "scenes", SIZE, YEARS, SEED, revisit_days=64)


@pytest.fixture(scope="session")
def simulator() -> SceneSimulator:
    return SceneSimulator(SIZE, YEARS, SEED, "EPSG:32633", 0.45)


def read_band(report: SimulationReport, product: str, layer: str) -> npt.NDArray[np.uint16]:
    with rasterio.open(report.out / "landsat" / product / f"{product}_{layer}.TIF") as dataset:
        return np.asarray(dataset.read(1))


def test_same_settings_give_the_same_bytes(report: SimulationReport, tmp_path: Path) -> None:
    again = simulate(tmp_path / "again", SIZE, YEARS, SEED, revisit_days=64)
    files = sorted(path.relative_to(report.out) for path in report.out.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again.out) for path in again.out.rglob("*") if path.is_file())
    assert all((report.out / file).read_bytes() == (again.out / file).read_bytes() for file in files)
    assert again.landsat == report.landsat


def test_another_seed_gives_another_landscape(simulator: SceneSimulator) -> None:
    other = SceneSimulator(SIZE, YEARS, SEED + 1, "EPSG:32633", 0.45)
    assert np.mean(other.surface.land.cover != simulator.surface.land.cover) > 0.2


def test_a_day_does_not_depend_on_the_days_asked_before(simulator: SceneSimulator) -> None:
    date = dt.date(2004, 6, 12)
    fresh = SceneSimulator(SIZE, YEARS, SEED, "EPSG:32633", 0.45)
    simulator.surface.reflectance(dt.date(2003, 2, 1))
    assert np.array_equal(fresh.surface.reflectance(date), simulator.surface.reflectance(date))


def test_the_readers_find_every_scene(report: SimulationReport) -> None:
    scenes, failures = find_scenes([report.out])
    assert not failures
    assert sorted(scene.id for scene in scenes if scene.product == "landsat-c2") == sorted(report.landsat)
    assert len(scenes) == len(report.landsat) + len(report.modis)
    for scene in scenes:
        assert not scene.notes
        assert len(scene.bands) == 6
        if scene.product == "landsat-c2":
            assert scene.geobox == report.geobox
            assert scene.acquired.strftime("%Y%m%d") in scene.id


def test_the_mtl_places_the_grid_by_its_pixel_centres(report: SimulationReport) -> None:
    name = report.landsat[0]
    text = (report.out / "landsat" / name / f"{name}_MTL.txt").read_text()
    entries = dict(line.split(" = ") for line in map(str.strip, text.splitlines()) if " = " in line)
    box = report.geobox.boundingbox
    assert float(entries["CORNER_UL_PROJECTION_X_PRODUCT"]) == box.left + 15
    assert float(entries["CORNER_LR_PROJECTION_Y_PRODUCT"]) == box.bottom + 15
    assert entries["LANDSAT_PRODUCT_ID"] == f'"{name}"'
    assert text.endswith("END_GROUP = LANDSAT_METADATA_FILE\nEND\n")


def test_clear_pixels_are_the_truth_within_the_sensors_noise(report: SimulationReport, simulator: SceneSimulator) -> None:
    scenes = [scene for scene in find_scenes([report.out / "landsat"])[0] if scene.cloud_cover < 60]
    assert scenes
    for scene in scenes:
        observation = read_scene(scene, report.geobox)
        platform = next(one for one in PLATFORMS if one.spacecraft == scene.platform)
        _, clouds = simulator.landsat(platform, scene.acquired)
        blue_sky = (clouds.opacity < 0.002) & (clouds.shadow < 0.002)
        truth = simulator.surface.reflectance(scene.acquired)
        for band in range(6):
            used = blue_sky & observation.clear[band]
            if used.sum() < 50:
                continue
            error = observation.reflectance[band][used] - truth[band][used]
            assert abs(np.median(error)) < 0.02
            assert np.std(error) < 0.012


def test_the_truth_array_is_the_surface_of_each_dekad(report: SimulationReport, simulator: SceneSimulator) -> None:
    array = zarr.open_array(str(report.out / "truth" / "reflectance_2004.zarr"), mode="r")
    assert array.shape == (36, 6, SIZE, SIZE)
    for dekad in (0, 17, 35):
        day = dekad_dates(window_start(2004))[dekad].item()
        stored = np.asarray(array[dekad]).astype(np.float32) * array.attrs["scale_factor"]
        assert np.allclose(stored, simulator.surface.reflectance(day), atol=6e-5)


def test_quality_bits_follow_the_true_clouds(simulator: SceneSimulator) -> None:
    for platform in (TM, OLI):
        for date in passes(TM, simulator.path, (2003, 2003)):
            image, clouds = simulator.landsat(platform, date)
            bits = image.quality
            assert np.array_equal((bits & CLOUD) > 0, clouds.detected & ~image.fill)
            assert not ((bits & CLOUD > 0) & (clouds.opacity < 0.1)).any()
            assert not ((bits & SHADOW > 0) & (clouds.shadow < 0.15)).any()
            assert (clouds.opacity[bits & CLEAR > 0] < 0.45).all()
            rim = binary_dilation(clouds.detected, iterations=3) & ~clouds.detected
            assert np.array_equal((bits & DILATED) > 0, rim)


def test_masks_miss_some_thin_cloud_but_little(simulator: SceneSimulator) -> None:
    missed, clear = 0, 0
    for date in passes(TM, simulator.path, YEARS):
        image, clouds = simulator.landsat(TM, date)
        kept = (image.quality & (FILL | DILATED | CIRRUS | CLOUD | SHADOW)) == 0
        missed, clear = missed + int((kept & (clouds.opacity > 0.05)).sum()), clear + int(kept.sum())
    assert 0.001 < missed / clear < 0.25


@pytest.mark.parametrize(("platform", "clear", "water", "cloud"), [(TM, 5440, 5504, 5896), (OLI, 21824, 21952, 22280)])
def test_quality_values_are_those_of_collection_2(platform: Platform, clear: int, water: int, cloud: int) -> None:
    nothing, wet = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    wet[8, 8] = True
    overcast = np.zeros((9, 9), bool)
    overcast[0, 0] = True
    empty = clear_sky((9, 9))
    sky = Clouds(empty.opacity, empty.shadow, empty.brightness, overcast, nothing, False)
    bits = quality_bits(platform, sky, wet, nothing)
    assert (bits[4, 4], bits[8, 8], bits[0, 0]) == (clear, water, cloud)
    assert quality_bits(platform, empty, nothing, ~nothing).min() == FILL


def test_clouds_vary_from_none_to_all(simulator: SceneSimulator) -> None:
    covers = [simulator.landsat(TM, date)[0].cloud_cover for date in passes(TM, simulator.path, YEARS)]
    assert min(covers) < 2
    assert max(covers) > 98
    assert 20 < np.mean(covers) < 65


def test_no_cloudiness_means_no_cloud() -> None:
    clear = SceneSimulator(SIZE, YEARS, SEED, "EPSG:32633", 0.0)
    image, clouds = clear.landsat(TM, passes(TM, clear.path, YEARS)[3])
    assert image.cloud_cover == 0
    assert not clouds.opacity.any()


def test_scan_gaps_begin_with_the_failure_and_fill_every_layer(report: SimulationReport) -> None:
    for name in (name for name in report.landsat if name.startswith("LE07")):
        empty = read_band(report, name, "SR_B3") == 0
        after = name[17:25] > "20030531"
        assert empty.any() == after
        assert np.array_equal(empty, read_band(report, name, "QA_PIXEL") == FILL)
        assert not read_band(report, name, "QA_RADSAT")[empty].any()
        if after:
            assert 0.05 < empty.mean() < 0.48


def test_scan_gaps_are_a_wedge() -> None:
    whole = scan_gaps((640, 6166), -92_500.0, 3.0)
    share = whole.reshape(640, 6166)[:, :6160].reshape(640, 10, 616).mean(axis=(0, 2))
    assert share[4:6].max() < 0.03
    assert (np.diff(share[5:]) > 0).all()
    assert (np.diff(share[:5]) < 0).all()
    assert 0.15 < whole.mean() < 0.27
    assert abs(scan_gaps((320, 40), 91_000.0, 0.0).mean() - WIDEST_GAP / 32) < 0.03


def test_passes_keep_the_orbit(simulator: SceneSimulator) -> None:
    five, seven = (passes(platform, 190, (2003, 2005)) for platform in (TM, ETM))
    assert {(later - earlier).days for earlier, later in pairwise(five)} == {16}
    assert {(day - five[0]).days % 16 for day in seven} == {8}
    assert not passes(OLI, 190, (2003, 2005))
    assert not [day for day in seven if dt.date(2003, 5, 31) <= day < dt.date(2003, 7, 14)]
    assert simulator.path == wrs_path(14.6) == 190
    assert product_id(TM, 190, dt.date(2003, 4, 12)) == "LT05_L2SP_190027_20030412_20200904_02_T1"


@pytest.mark.parametrize(
    ("platform", "path", "day"),
    [
        (TM, 46, "2000-01-05"),
        (ETM, 46, "2000-01-29"),
        (OLI, 17, "2015-12-05"),
        (OLI, 218, "2019-01-14"),
        (OLI, 8, "2019-12-01"),
    ],
)
def test_passes_are_those_of_genuine_scenes(platform: Platform, path: int, day: str) -> None:
    date = dt.date.fromisoformat(day)
    assert date in passes(platform, path, (date.year, date.year))


def test_modis_composites_are_the_mean_of_the_landscape(report: SimulationReport, simulator: SceneSimulator) -> None:
    scenes, _ = find_scenes([report.out / "modis"])
    assert len(report.modis) == 92
    assert report.modis[0] == "MOD09A1.A2003001.h18v04.061.tif"
    seen = 0
    for scene in scenes:
        observation = read_scene(scene, scene.geobox)
        whole = observation.clear.all(axis=0)
        if not whole.any():
            continue
        truth = simulator.surface.reflectance(scene.acquired)
        assert abs(observation.reflectance[3][whole].mean() - truth[3].mean()) < 0.12
        seen += 1
    assert seen > 25


def test_manifest_names_and_hashes_everything(report: SimulationReport) -> None:
    manifest = json.loads((report.out / "manifest.json").read_text())
    assert manifest["settings"]["seed"] == SEED
    assert manifest["scenes"] == [*report.landsat, *report.modis]
    members = {
        path.relative_to(report.out).as_posix()
        for part in ("landsat", "modis", "truth")
        for path in (report.out / part).iterdir()
    }
    assert set(manifest["sha256"]) == members


@pytest.mark.parametrize(
    ("settings", "error", "named"),
    [
        ({"size": 8}, GridError, "size 8"),
        ({"years": (2005, 2003)}, WindowError, "2005 to 2003"),
        ({"products": ("sentinel",)}, SceneError, "products sentinel"),
        ({"products": ()}, SceneError, "products none"),
        ({"seed": -1}, SceneError, "seed -1"),
        ({"crs": "nowhere"}, GridError, "'nowhere'"),
        ({"crs": "EPSG:3035"}, GridError, "northern UTM zone"),
        ({"revisit_days": 10}, WindowError, "revisit of 10 days"),
        ({"cloudiness": 1.5}, SceneError, "cloudiness 1.5"),
        ({"size": 32, "years": (1990, 1991), "products": ("modis",)}, WindowError, "flew in 1990"),
    ],
)
def test_senseless_settings_are_told_in_one_line(
    tmp_path: Path, settings: dict[str, Any], error: type[EsdError], named: str
) -> None:
    with pytest.raises(error, match=named) as caught:
        simulate(tmp_path / "out", **settings)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_content_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(SceneError, match="is not empty"):
        simulate(tmp_path, SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    class Count:
        total, done = 0, 0

        def start(self, total: int) -> None:
            self.total = total

        def advance(self, n: int, message: str) -> None:
            assert message
            self.done += n

    count = Count()
    simulate(tmp_path / "out", 32, (2003, 2003), SEED, ("landsat",), revisit_days=96, progress=count)
    assert count.done == count.total > 12
