"""Many grids: scenes of two UTM zones in one cube, read as one, without a seam and the same for every tiling."""

from __future__ import annotations

import datetime as dt
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from cli_world import esd as run
from random_codecs import random_codec
from scene_files import write_landsat_c2
from scipy.spatial import cKDTree

import esd
from esd.codec import Codec
from esd.cube import Cube
from esd.errors import CubeError, GridError, WindowError
from esd.grid import bounds_lonlat, geobox_from_bounds, region_of
from esd.ingest.append import plan_append
from esd.ingest.pipeline import run_append, run_ingest
from esd.ingest.plan import plan_ingest
from esd.ingest.verify import run_verify
from esd.ingest.zones import plan_zones
from esd.query.similarity import query_at, similar

EDGE, LATITUDE = 18.0, 48.0
"""The edge of the zones 33 and 34."""
SIZE = 60


def zone_grid(epsg: int):
    """A grid of a zone around one point on the edge: half of it lies in the other zone."""
    from pyproj import Transformer

    x, y = Transformer.from_crs("EPSG:4326", epsg, always_xy=True).transform(EDGE, LATITUDE)
    left, top = round(x / 30) * 30 - 30 * SIZE // 2, round(y / 30) * 30 + 30 * SIZE // 2
    return geobox_from_bounds(left, top - 30 * SIZE, left + 30 * SIZE, top, f"EPSG:{epsg}", 30)


WEST, EAST = zone_grid(32633), zone_grid(32634)


def lonlat_of(geobox) -> tuple[np.ndarray, np.ndarray]:
    from pyproj import Transformer

    rows, columns = np.meshgrid(np.arange(geobox.shape.y) + 0.5, np.arange(geobox.shape.x) + 0.5, indexing="ij")
    x, y = geobox.affine @ (columns, rows)
    return Transformer.from_crs(geobox.crs.proj, "EPSG:4326", always_xy=True).transform(x, y)


def land(geobox, season: float) -> np.ndarray:
    """A smooth landscape that is the same in both zones: reflectance [6, y, x] of a place on earth."""
    lon, lat = lonlat_of(geobox)
    wave = 0.5 + 0.25 * np.sin((lon - EDGE) * 400) + 0.25 * np.cos((lat - LATITUDE) * 300)
    return np.stack([0.05 + (0.02 + 0.05 * band) * wave * season for band in range(6)])


def write(folder: Path, geobox, month: int, season: float = 1.0, year: int = 2004) -> None:
    path_row = "190027" if geobox is WEST else "189027"
    zone = int(geobox.crs.proj.utm_zone[:2])
    write_landsat_c2(folder, dt.date(year, month, 11), land(geobox, season), geobox=geobox, zone=zone, path_row=path_row)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zones")
    for geobox in (WEST, EAST):
        for month in range(1, 13):
            write(folder, geobox, month, 1 + 0.5 * np.sin(month / 12 * 2 * np.pi))
    return folder


@pytest.fixture(scope="module")
def cube(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Cube:
    out = tmp_path_factory.mktemp("cube") / "zones.esd.zarr"
    report = run_ingest(plan_zones([scenes]), out, random_codec())
    assert (report.scenes, report.blocks, report.failures) == (24, 2, ())
    return esd.open(out)


def test_each_zone_is_a_group_of_its_own_pixels(cube: Cube, scenes: Path, tmp_path: Path, codec: Codec) -> None:
    assert list(cube.grids) == ["epsg32633", "epsg32634"]
    for epsg, own in (("epsg32633", WEST), ("epsg32634", EAST)):
        alone = tmp_path / f"{epsg}.esd.zarr"
        plan = next(plan for plan in plan_zones([scenes]) if plan.grid == epsg)
        run_ingest(plan, alone, random_codec())
        assert cube.grids[epsg] == own
        for name in ("codes", "count", "error"):
            one, other = (c.read(name, epsg, cube.windows[0], region_of(own)) for c in (cube, Cube.open(alone)))
            assert np.array_equal(one, other)


def test_a_pixel_is_answered_by_its_own_zone_and_else_by_the_other(cube: Cube) -> None:
    for own, other, west in ((WEST, EAST, True), (EAST, WEST, False)):
        name, second = (f"epsg{geobox.crs.epsg}" for geobox in (own, other))
        told = cube.mosaic(2004, own).compute()
        mine = cube.image(2004, name).compute()
        theirs = cube.image(2004, second).reproject_to(own).compute()
        longitude = lonlat_of(own)[0]
        home = longitude <= EDGE if west else longitude > EDGE
        assert 0.4 < home.mean() < 0.6
        assert np.array_equal(told.values[..., home], mine.values[..., home])
        away = ~home & theirs.valid[0, 0]
        assert np.array_equal(told.values[..., away], theirs.values[..., away])
        alone = ~home & ~theirs.valid[0, 0]
        assert alone.any()
        assert np.array_equal(told.values[..., alone], mine.values[..., alone])
        assert told.valid.all()


def test_no_seam_at_the_edge_of_zones(cube: Cube) -> None:
    grid = cube.whole_grid()
    assert grid.crs in (WEST.crs, EAST.crs)
    west, south, east, north = bounds_lonlat(grid)
    for geobox in (WEST, EAST):
        box = bounds_lonlat(geobox)
        assert west <= box[0] and south <= box[1] and east >= box[2] and north >= box[3]  # noqa: PT018 - one box
    codes = cube.image(2004).compute()
    longitude, latitude = lonlat_of(grid)
    near = (np.abs(longitude - EDGE) < 0.002) & (np.abs(latitude - LATITUDE) < 0.005)
    assert near.sum() > 300
    assert codes.valid[0, 0][near].all()
    # what the mosaic shows is never farther from its place than the nearest pixel of either zone is
    shown = cube.image(2004).normalized_difference("nir", "red").median().compute().values[0, 0]
    steps = np.abs(np.diff(shown, axis=1))[near[:, 1:] & near[:, :-1]]
    crossing = (longitude[:, :-1] <= EDGE) & (longitude[:, 1:] > EDGE)
    across = np.abs(np.diff(shown, axis=1))[crossing & near[:, 1:] & near[:, :-1]]
    assert across.size > 20
    assert np.median(across) <= np.quantile(steps, 0.9)


def test_every_tiling_gives_the_same_bytes(cube: Cube) -> None:
    image = cube.image(2004).normalized_difference("nir", "red").focal_mean(2)
    whole = image.compute(tile=512)
    for tile in (17, 32):
        part = image.compute(tile=tile)
        assert part.values.tobytes() == whole.values.tobytes()
        assert part.valid.tobytes() == whole.valid.tobytes()
    count = cube.plane("count", 2004).compute()
    assert count.values.max() > 0


def test_similar_pixels_of_both_zones_are_found_once(cube: Cube) -> None:
    """All pixels, ranked: no place comes twice, none is left out, and each is told as the mosaic shows it."""
    point = (EDGE + 0.001, LATITUDE)
    query = query_at(cube, [point], 2004)
    hits = similar(cube, query, k=10**6, windows=[2004])
    assert set(hits["grid"]) == set(cube.grids)
    metres = np.stack([hits["longitude"] * 111_320 * np.cos(np.radians(LATITUDE)), hits["latitude"] * 111_200], axis=1)
    tree = cKDTree(metres)
    nearest = tree.query(metres, k=2)[0][:, 1]
    assert nearest.min() > 14.9  # pixels of one zone are 30 m apart; at the edge none lies in a pixel of the other zone
    for name, own in (("epsg32633", WEST), ("epsg32634", EAST)):
        longitude, latitude = lonlat_of(own)
        valid = cube.image(2004, name).compute().valid[0, 0]
        places = np.stack([longitude * 111_320 * np.cos(np.radians(LATITUDE)), latitude * 111_200], axis=-1)[valid]
        assert tree.query(places)[0].max() < 30 / np.sqrt(2) + 0.5  # each pixel's place is in a pixel that was found
        mine = hits[hits["grid"] == name]
        alone = similar(cube, query, 10**6, [2004], name).set_index(["row", "column"])["score"]
        assert np.array_equal(alone.loc[list(zip(mine["row"], mine["column"], strict=True))], mine["score"])
    assert hits["score"].is_monotonic_decreasing
    here = np.hypot(hits["longitude"] - point[0], hits["latitude"] - point[1]).idxmin()
    assert hits["score"][here] == hits["score"][0] == 1


def test_classes_and_change_are_one_map_of_all_zones(cube: Cube, scenes: Path, tmp_path: Path) -> None:
    longitude, latitude = lonlat_of(cube.whole_grid())
    shown = cube.image(2004).embedding().compute()
    kind = np.where(latitude > LATITUDE, "north", "south")
    rows, columns = np.nonzero(shown.valid[0, 0])
    chosen = np.random.default_rng(0).permutation(rows.size)[:80]
    samples, out = tmp_path / "samples.csv", tmp_path / "classes.tif"
    places = {"longitude": longitude[rows, columns][chosen], "latitude": latitude[rows, columns][chosen]}
    pd.DataFrame({**places, "label": kind[rows, columns][chosen]}).to_csv(samples, index=False)
    document = run("classify", cube.path, samples, "--window", 2004, "--out", out, "--no-report", "--json").document
    assert (document["samples"], document["samples_left_out"]) == (80, 0)
    with rasterio.open(out) as file:
        assert file.shape == tuple(cube.whole_grid().shape)
        assert np.array_equal(file.read(1) != 0, shown.valid[0, 0])
    one = run("classify", cube.path, samples, "--grid", "epsg32634", "--out", out, "--no-report", "--json").document
    assert sum(row["pixels"] for row in one["classes"]) == SIZE**2
    grown = tmp_path / "grown.esd.zarr"
    shutil.copytree(cube.path, grown)
    shutil.copy(f"{cube.path}.ledger.duckdb", f"{grown}.ledger.duckdb")
    later = tmp_path / "2005"
    for geobox in (WEST, EAST):
        write(later, geobox, 5, 1.4, year=2005)
    run_append(plan_append(grown, [later]), grown)
    changed = tmp_path / "change.tif"
    assert run("change", grown, "--from", 2004, "--to", 2005, "--out", changed).code == 0
    two = Cube.open(grown)
    angle = two.image(2004).angle(two.image(2005)).compute()
    with rasterio.open(changed) as file:
        assert np.array_equal(file.read(1, masked=True).filled(0), np.where(angle.valid, angle.values, 0)[0, 0])
    point = f"{EDGE + 0.001},{LATITUDE}"
    told = [
        run("info", cube.path, "--provenance", point, *words, "--json").document for words in ((), ("--grid", "epsg32633"))
    ]
    assert [one["grid"] for one in told] == ["epsg32634", "epsg32633"]
    assert all(len(one["scenes"]) == 12 for one in told)


def test_resuming_and_repairing_know_all_grids(scenes: Path, tmp_path: Path, codec: Codec) -> None:
    out = tmp_path / "r.esd.zarr"
    run_ingest(plan_zones([scenes]), out, codec)
    files = {file: file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}
    assert run_ingest(plan_zones([scenes]), out, codec, resume=True).skipped == 2
    shard = out / "epsg32634" / "codes" / "c" / "0" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-9])
    assert [block.grid for block in run_verify(out).damaged] == ["epsg32634"]
    run_verify(out, repair=True)
    assert {file: file.read_bytes() for file in files} == files
    with pytest.raises(CubeError, match=r"has the grids epsg32633, epsg32634, the scenes given now have epsg32633"):
        run_ingest(plan_zones([scenes])[:1], out, codec, resume=True)


def test_appending_to_zones_is_ingesting_later(scenes: Path, tmp_path: Path, codec: Codec) -> None:
    """Each zone grows by its own scenes; one that has none of the year stays empty there, and can get them later."""
    later = tmp_path / "2005"
    for geobox in (WEST, EAST):
        for month in (3, 7, 11):
            write(later / str(geobox.crs.epsg), geobox, month, 1.1, year=2005)
    grown, once = tmp_path / "grown.esd.zarr", tmp_path / "once.esd.zarr"
    run_ingest(plan_zones([scenes]), grown, codec)
    run_append(plan_append(grown, [later / "32634"]), grown)
    assert not Cube.open(grown).image(2005, "epsg32633").compute().valid.any()
    with pytest.raises(WindowError, match="--resume"):
        run_append(plan_append(grown, [later / "32633"], [dt.date(2005, 1, 1)]), grown)
    run_append(plan_append(grown, [later / "32633"], [dt.date(2005, 1, 1)]), grown, resume=True)
    run_ingest(plan_zones([scenes, later]), once, codec)
    one, other = Cube.open(once), Cube.open(grown)
    for name, window in product(one.grids, one.windows):
        for array in ("codes", "count", "error"):
            read = [cube.read(array, name, window, region_of(cube.grids[name])) for cube in (one, other)]
            assert np.array_equal(*read)
    assert run_verify(grown).damaged == ()


def test_the_command_line_across_zones(scenes: Path, tmp_path: Path, codec: Codec) -> None:
    weights, out = tmp_path / "w.safetensors", tmp_path / "z.esd.zarr"
    weights.write_bytes(codec.data)
    box = f"{EDGE - 0.005},{LATITUDE - 0.003},{EDGE + 0.005},{LATITUDE + 0.003}"
    words = ("ingest", scenes, "--out", out, "--encoder", weights, "--aoi", box, "--json")
    refused = run(*words)
    assert refused.code == 2
    assert "--zones" in refused.err
    assert [len(zone["scenes"]) for zone in run(*words, "--zones", "--plan").document["zones"]] == [12, 12]
    assert run(*words, "--zones").document["scenes"] == 24
    told = run("info", out, "--json").document
    assert sorted(told["grids"]) == ["epsg32633", "epsg32634"]
    picture = tmp_path / "ndvi.tif"
    outcome = run("compute", out, "ndvi().median()", "--out", picture)
    assert outcome.code == 0, outcome.err
    one_side = f"{EDGE - 0.012},{LATITUDE - 0.003},{EDGE - 0.011},{LATITUDE + 0.003}"
    assert {plan.grid for plan in plan_zones([scenes], aoi=one_side)} <= {"epsg32633", "epsg32634"}


def test_grids_that_are_no_zones_of_one_cube_are_refused(scenes: Path, tmp_path: Path, codec: Codec) -> None:
    plate = geobox_from_bounds(17, 47, 17.1, 47.1, "EPSG:4326", 0.001)
    coarse = geobox_from_bounds(*EAST.boundingbox.bbox, "EPSG:32634", 60)
    far = geobox_from_bounds(*EAST.boundingbox.bbox, "EPSG:32601", 30)
    farther = geobox_from_bounds(*EAST.boundingbox.bbox, "EPSG:32660", 30)
    for grids, cause in (
        ((WEST, plate), "UTM zones"),
        ((WEST, WEST), "same CRS"),
        ((WEST, coarse), "different size"),
        ((far, farther), "180 degrees"),
    ):
        with pytest.raises(GridError, match=cause):
            Cube.create(tmp_path / "x.esd.zarr", grids, [dt.date(2004, 1, 1)], codec)
    with pytest.raises(GridError, match="--zones"):
        plan_ingest([scenes])
    assert not (tmp_path / "x.esd.zarr").exists()
