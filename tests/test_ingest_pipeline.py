"""The pipeline: scenes to a cube, the same every time, and one clear line for whatever is wrong."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyproj import Transformer
from random_codecs import random_codec
from scene_files import GRID, MODIS_GRID, flat, write_espa, write_landsat_c2, write_mod09a1

from esd.codec import Codec
from esd.cube import Cube, quantize_error
from esd.dekad import step_counts
from esd.errors import CubeError, EsdError, GridError, MemoryLimitError, SceneError, WindowError
from esd.fsq import FILL
from esd.grid import Region, geobox_from_bounds, sub_geobox
from esd.ingest.gap_stack import dekads_of_scenes
from esd.ingest.ledger import ledger_path
from esd.ingest.pipeline import run_ingest
from esd.ingest.plan import plan_ingest
from esd.ingest.readers import find_scenes

WINDOWS = (dt.date(2004, 1, 1), dt.date(2005, 1, 1))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two years of scenes of two product forms, with clouds, in a folder."""
    folder = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(5)
    for number in range(16):
        date = dt.date(2004, 1, 11) + dt.timedelta(days=45 * number)
        cloudy = rng.random(tuple(GRID.shape)) < 0.3
        values = flat() * rng.uniform(0.7, 1.3, (6, *GRID.shape))
        if number % 2:
            write_espa(folder, date, values, mask=np.where(cloudy, 4, 0).astype(np.uint8))
            for leftover in folder.glob("*-folder"):
                leftover.rename(leftover.with_name(f".{leftover.name}"))
        else:
            quality = np.where(cloudy, 1 << 3, 1 << 6).astype(np.uint16)
            write_landsat_c2(folder, date, values, quality=quality)
    return folder


def read_cube(path: Path) -> dict[str, np.ndarray]:
    cube = Cube.open(path)
    (grid,) = cube.grids
    whole = Region(0, cube.grids[grid].shape.y, 0, cube.grids[grid].shape.x)
    return {
        name: np.stack([cube.read(name, grid, window, whole) for window in cube.windows])
        for name in ("codes", "count", "error")
    }


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert np.array_equal(array, other[name]), name


def test_a_cube_holds_what_the_parts_say(scenes: Path, tmp_path: Path, codec: Codec) -> None:
    plan = plan_ingest([scenes], WINDOWS)
    report = run_ingest(plan, tmp_path / "a.esd.zarr", codec)
    assert plan.geobox == GRID
    assert (report.scenes, report.failures, report.blocks, report.skipped) == (16, (), 2, 0)
    assert report.bytes_in == plan.bytes_in == 16 * GRID.shape.y * GRID.shape.x * 12
    arrays = read_cube(report.path)
    for number, window in enumerate(WINDOWS):
        values, weights = dekads_of_scenes(plan.scenes, GRID, window)
        codes = codec.encode(values, weights)
        assert np.array_equal(arrays["codes"][number], codes)
        assert np.array_equal(arrays["count"][number], step_counts(weights))
        seen = weights > 0
        squared = np.where(seen, codec.decode(codes) - values, 0) ** 2
        with np.errstate(invalid="ignore", divide="ignore"):
            rmse = np.sqrt(squared.sum(axis=(0, 1), dtype=np.float64) / seen.sum(axis=(0, 1))).astype(np.float32)
        assert np.array_equal(arrays["error"][number], quantize_error(rmse))


def test_the_same_scenes_give_the_same_bytes_in_any_order(scenes: Path, tmp_path: Path, codec: Codec) -> None:
    files = sorted(path for path in scenes.iterdir() if not path.name.startswith("."))
    for name, given in (("a", files), ("b", files[::-1])):
        run_ingest(plan_ingest(given, WINDOWS), tmp_path / name, codec)
    one, other = (
        {f.relative_to(p): f.read_bytes() for f in p.rglob("c/**/*") if f.is_file()}
        for p in (tmp_path / "a", tmp_path / "b")
    )
    assert one == other
    assert one


def test_windows_default_to_those_of_the_scenes(scenes: Path) -> None:
    assert plan_ingest([scenes]).windows == WINDOWS
    assert [window.isoformat() for window in plan_ingest([scenes], start_month=7).windows] == [
        "2003-07-01",
        "2004-07-01",
        "2005-07-01",
    ]


def lonlat_of(x: float, y: float) -> tuple[float, float]:
    return Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True).transform(x, y)


def test_a_box_cuts_the_grid(scenes: Path, tmp_path: Path, codec: Codec) -> None:
    west, south = lonlat_of(500_000 + 5.5 * 30, 5_000_000 + 4.5 * 30)
    east, north = lonlat_of(500_000 + 10.5 * 30, 5_000_000 + 9.5 * 30)
    plan = plan_ingest([scenes], WINDOWS, aoi=f"{west},{south},{east},{north}")
    assert plan.geobox == sub_geobox(GRID, Region(10, 16, 5, 11))
    run_ingest(plan_ingest([scenes], WINDOWS), tmp_path / "whole", codec)
    run_ingest(plan, tmp_path / "part", codec)
    whole, part = read_cube(tmp_path / "whole"), read_cube(tmp_path / "part")
    assert_equal(part, {name: array[..., 10:16, 5:11] for name, array in whole.items()})


def test_pixels_outside_a_polygon_stay_empty(scenes: Path, tmp_path: Path, codec: Codec) -> None:
    corners = [(60, 60), (60, 540), (540, 60), (60, 60)]
    ring = [lonlat_of(500_000 + x, 5_000_000 + y) for x, y in corners]
    polygon = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (tmp_path / "aoi.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [polygon]}))
    plan = plan_ingest([scenes], WINDOWS, aoi=tmp_path / "aoi.geojson")
    run_ingest(plan, tmp_path / "a", codec)
    arrays = read_cube(tmp_path / "a")
    rows, columns = plan.geobox.shape
    assert (rows, columns) == (16, 16)
    outside, inside = ~np.tri(rows, columns, dtype=bool), np.tri(rows, columns, -1, dtype=bool)
    assert (arrays["codes"][:, :, outside] == FILL).all()
    assert (arrays["count"][:, :, outside] == 0).all()
    assert (arrays["error"][:, outside] == 255).all()
    assert (arrays["codes"][:, :, inside] != FILL).all()


def test_one_bad_scene_does_not_end_the_others(scenes: Path, tmp_path: Path, codec: Codec) -> None:
    bad = write_landsat_c2(tmp_path, dt.date(2004, 3, 3))
    band = next(bad.glob("*_SR_B1.TIF"))
    band.write_bytes(band.read_bytes()[:300])
    cut = tmp_path / "LT50460272004100XXX03-SC20160826120223.tar.gz"
    cut.write_bytes(next(scenes.glob("*.tar.gz")).read_bytes()[:2000])
    out = tmp_path / "a.esd.zarr"
    report = run_ingest(plan_ingest([scenes, bad, cut], WINDOWS), out, codec)
    assert report.scenes == 16
    assert {failure.source for failure in report.failures} == {bad.name, cut.name}
    assert any(band.name in failure.cause for failure in report.failures)
    run_ingest(plan_ingest([scenes], WINDOWS), tmp_path / "good", codec)
    assert_equal(read_cube(out), read_cube(tmp_path / "good"))
    again = run_ingest(plan_ingest([scenes, bad, cut], WINDOWS), out, codec, resume=True)
    assert (again.skipped, again.failures, again.scenes) == (2, report.failures, 16)


def test_modis_joins_landsat_when_asked_to(tmp_path: Path, codec: Codec) -> None:
    date = dt.date(2004, 5, 1)
    lonlat = Transformer.from_crs(str(MODIS_GRID.crs), "EPSG:32633", always_xy=True)
    x, y = lonlat.transform(*MODIS_GRID.boundingbox.bbox[:2])
    grid = geobox_from_bounds(
        round(x / 30) * 30, round(y / 30) * 30, round(x / 30) * 30 + 900, round(y / 30) * 30 + 900, "EPSG:32633", 30
    )
    quality = np.full(tuple(grid.shape), 1 << 6, dtype=np.uint16)
    quality[:, :9] = 1 << 3
    write_landsat_c2(tmp_path / "s", date, flat(grid), geobox=grid, quality=quality)
    write_mod09a1(tmp_path / "s", date, np.zeros(tuple(MODIS_GRID.shape), dtype=np.uint16))
    with pytest.raises(GridError, match=r"MOD09A1\.A2004122.*another CRS.*--reproject"):
        plan_ingest([tmp_path / "s"])
    plan = plan_ingest([tmp_path / "s"], reproject=True)
    assert plan.geobox == grid
    report = run_ingest(plan, tmp_path / "a", codec)
    assert report.scenes == 2
    seen = read_cube(tmp_path / "a")["count"][0, 4]
    assert seen.max() == 1, "MODIS counts where Landsat has seen nothing, and only there"
    assert (seen[:, 9:] == 1).all()
    assert seen[:, :9].any()
    values, _ = dekads_of_scenes(plan.scenes, plan.geobox, dt.date(2004, 1, 1))
    assert np.abs(values[12, :, :, 9:] - flat(grid)[:, :, 9:]).max() < 1e-4


def test_a_resolution_and_crs_can_be_chosen(scenes: Path) -> None:
    plan = plan_ingest([scenes], crs="EPSG:3035", resolution=60, reproject=True)
    assert str(plan.geobox.crs) == "EPSG:3035"
    assert (plan.geobox.affine.c % 60, plan.geobox.affine.f % 60) == (0, 0)
    assert len(plan.scenes) == 16


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"windows": (dt.date(2009, 1, 1),)}, WindowError, "window 2009-01-01 holds no scene.*--windows 2004/2005"),
        ({"windows": (dt.date(2004, 1, 1), dt.date(1999, 1, 1))}, WindowError, "window 1999-01-01"),
        ({"aoi": "1,2,3"}, GridError, "'1,2,3' is neither a file nor"),
        ({"aoi": "50,10,51,11"}, GridError, "does not meet any scene"),
        ({"aoi": "5,10,4,11"}, GridError, "west below east"),
        ({"crs": "EPSG:1"}, GridError, "EPSG:1"),
        ({"crs": "EPSG:3035"}, GridError, "--resolution"),
        ({"crs": "EPSG:3035", "resolution": 30}, GridError, "--reproject"),
        ({"resolution": -1}, GridError, "must be above 0"),
        ({"max_memory": 1000}, MemoryLimitError, "raise --max-memory"),
    ],
)
def test_bad_requests_are_one_clear_line(
    scenes: Path, arguments: dict[str, Any], kind: type[EsdError], message: str
) -> None:
    with pytest.raises(kind, match=message) as error:
        plan_ingest([scenes], **arguments)
    assert "\n" not in str(error.value)


def test_nothing_to_read_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="no scene of a known product"):
        plan_ingest([tmp_path])
    (tmp_path / "bad.tar.gz").write_bytes(b"not a tarball")
    with pytest.raises(SceneError, match=r"none of the scenes given can be used.*bad\.tar\.gz"):
        plan_ingest([tmp_path])


def test_if_no_scene_can_be_read_nothing_is_left(tmp_path: Path, codec: Codec) -> None:
    folder = write_landsat_c2(tmp_path / "s", dt.date(2004, 3, 3))
    for band in folder.glob("*_SR_B*.TIF"):
        band.write_bytes(band.read_bytes()[:300])
    with pytest.raises(SceneError, match="none of the 1 scenes can be read"):
        run_ingest(plan_ingest([folder]), tmp_path / "out" / "a.esd.zarr", codec)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_existing_cube_is_only_touched_with_resume(scenes: Path, tmp_path: Path, codec: Codec) -> None:
    out = tmp_path / "a"
    run_ingest(plan_ingest([scenes], WINDOWS), out, codec)
    before = read_cube(out)
    with pytest.raises(CubeError, match="--resume"):
        run_ingest(plan_ingest([scenes], WINDOWS), out, codec)
    with pytest.raises(CubeError, match=r"windows.*not the same"):
        run_ingest(plan_ingest([scenes], WINDOWS[:1]), out, codec, resume=True)
    with pytest.raises(CubeError, match="encoder"):
        run_ingest(plan_ingest([scenes], WINDOWS), out, random_codec(seed=9), resume=True)
    ledger_path(out).unlink()
    with pytest.raises(CubeError, match="no ledger"):
        run_ingest(plan_ingest([scenes], WINDOWS), out, codec, resume=True)
    assert_equal(read_cube(out), before)


def test_a_damaged_block_is_made_again(scenes: Path, tmp_path: Path, codec: Codec) -> None:
    out = tmp_path / "a"
    plan = plan_ingest([scenes], WINDOWS)
    run_ingest(plan, out, codec)
    before = read_cube(out)
    shard = next(file for file in sorted(out.rglob("codes/c/**/*")) if file.is_file())
    shard.unlink()
    report = run_ingest(plan, out, codec, resume=True)
    assert report.skipped == 1
    assert_equal(read_cube(out), before)


def test_less_memory_means_smaller_blocks(scenes: Path) -> None:
    roomy = plan_ingest([scenes])
    assert roomy.block == 512
    large = geobox_from_bounds(500_000, 5_000_000, 500_000 + 30 * 900, 5_000_000 + 30 * 600, "EPSG:32633", 30)
    wide = roomy.__class__(roomy.scenes, (), roomy.windows, large, None, 512)
    small = roomy.__class__(roomy.scenes, (), roomy.windows, large, None, 256)
    assert small.peak_bytes < wide.peak_bytes


def test_progress_counts_every_scene_and_strip(scenes: Path, tmp_path: Path, codec: Codec) -> None:
    heard: list[tuple[int, str]] = []
    totals: list[int] = []

    class Listener:
        def start(self, total: int) -> None:
            totals.append(total)

        def advance(self, n: int, message: str) -> None:
            heard.append((n, message.split()[0]))

    plan = plan_ingest([scenes], WINDOWS)
    run_ingest(plan, tmp_path / "a", codec, Listener())
    assert [word for _, word in heard].count("reading") == sum(len(task.scenes) for task in plan.tasks)
    assert [word for _, word in heard].count("encoding") == len(plan.tasks)
    assert totals == [sum(n for n, _ in heard)]
    heard.clear()
    run_ingest(plan, tmp_path / "a", codec, Listener(), resume=True)
    assert totals[1] == sum(n for n, _ in heard) == totals[0]


def test_scratch_and_leftovers_are_gone(scenes: Path, tmp_path: Path, codec: Codec) -> None:
    out = tmp_path / "a.esd.zarr"
    (tmp_path / ".a.esd.zarr.99.part").mkdir()
    (tmp_path / ".a.esd.zarr.scratch").mkdir()
    run_ingest(plan_ingest([scenes], WINDOWS), out, codec)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.esd.zarr", "a.esd.zarr.ledger.duckdb"]


def test_a_scene_that_changed_since_is_noticed(tmp_path: Path, codec: Codec, make_scene: Callable[..., Path]) -> None:
    folder = make_scene(tmp_path / "s", 0)
    run_ingest(plan_ingest([folder]), tmp_path / "a", codec)
    band = next(folder.glob("*_SR_B1.TIF"))
    band.write_bytes(band.read_bytes() + b"more")
    with pytest.raises(CubeError, match="scenes given now"):
        run_ingest(plan_ingest([folder]), tmp_path / "a", codec, resume=True)


@pytest.fixture
def make_scene() -> Callable[..., Path]:
    return lambda parent, day: write_landsat_c2(parent, dt.date(2004, 6, 1) + dt.timedelta(days=day))


def test_the_scan_tells_the_failures_of_the_plan(tmp_path: Path) -> None:
    folder = write_landsat_c2(tmp_path, dt.date(2004, 6, 1))
    (tmp_path / "LC08_junk.tar").write_bytes(b"x" * 600)
    scenes, failures = find_scenes([tmp_path])
    assert [scene.id for scene in scenes] == [folder.name]
    assert plan_ingest([tmp_path]).failures == failures
