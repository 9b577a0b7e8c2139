"""MGRS tiles as groups of one cube: overlaps are real, answered by a declared rule, without a seam, whatever the tiling."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from cli_world import esd as run
from random_codecs import random_codec
from scene_files import write_landsat_c2
from test_zones import EAST, WEST, lonlat_of, write

import esd
from esd.codec import Codec
from esd.cube import Cube
from esd.errors import CubeError, GridError
from esd.grid import bounds_lonlat, geobox_from_bounds, region_of, sub_geobox
from esd.ingest.append import plan_append
from esd.ingest.mgrs import square_named, squares_in
from esd.ingest.mgrs_tiles import plan_tiles
from esd.ingest.pipeline import run_append, run_ingest
from esd.ingest.plan import plan_ingest
from esd.ingest.recipe import Recipe
from esd.ingest.verify import run_verify
from esd.ingest.zones import plan_zones
from esd.query.similarity import Query, query_at, similar
from esd.zones import zones_of

SIZE = 60
MIDDLE = 404_880, 5_395_110
"""Where four tiles of zone 33 overlap, near the middle of what they share."""
TILES = ["33UUP", "33UUQ", "33UVP", "33UVQ"]
HERE = geobox_from_bounds(
    MIDDLE[0] - 915, MIDDLE[1] - 915, MIDDLE[0] - 915 + 30 * SIZE, MIDDLE[1] - 915 + 30 * SIZE, "EPSG:32633", 30
)
AOI = ",".join(f"{edge:.6f}" for edge in bounds_lonlat(HERE))


def land(season: float) -> np.ndarray:
    lon, lat = lonlat_of(HERE)
    wave = 0.5 + 0.25 * np.sin(lon * 400) + 0.25 * np.cos(lat * 300)
    return np.stack([0.05 + (0.02 + 0.05 * band) * wave * season for band in range(6)])


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiles")
    for year in (2004, 2005):
        for month in range(1, 13, 2):
            season = 1 + 0.4 * np.sin(month / 12 * 2 * np.pi) + 0.1 * (year - 2004)
            write_landsat_c2(folder / str(year), dt.date(year, month, 11), land(season), geobox=HERE, zone=33)
    return folder


@pytest.fixture(scope="module")
def cube(years: Path, tmp_path_factory: pytest.TempPathFactory) -> Cube:
    out = tmp_path_factory.mktemp("cube") / "tiles.esd.zarr"
    report = run_ingest(plan_tiles([years / "2004"], TILES), out, random_codec())
    assert (report.scenes, report.failures) == (6, ())
    return esd.open(out)


def stored(store: Path) -> dict[str, bytes]:
    return {str(file.relative_to(store)): file.read_bytes() for file in sorted(store.rglob("*")) if file.is_file()}


def test_names_of_squares_are_those_that_sentinel_2_and_esd_are_delivered_by() -> None:
    # corners in masks of Sentinel-2 products (T32TNM, T53HPA, T53HNV), and ESD's tile at (99945, 8100055), 15 m further out
    for name, southern, left, top in (
        ("32TNM", False, 499_980, 4_700_040),
        ("53HPA", True, 600_000, 6_100_000),
        ("53HNV", True, 499_980, 6_000_040),
    ):
        assert square_named(name).tile(southern)[::3] == (left, top)
    south = square_named("19KBA")
    corners = {square.tile(southern=True)[::3] for square in squares_in(19, (100_000, 8_000_000, 199_999, 8_100_000), True)}
    assert corners == {(99_960, 8_100_040)}
    assert south.centre[1] < 0
    for zone in (1, 32, 33, 60):
        for southern in (False, True):
            bounds = (100_000, 1_200_000, 899_999, 9_200_000)
            for square in list(squares_in(zone, bounds, southern))[::7]:
                assert square_named(square.name) == square
    for wrong in ("33UAA", "61UWP", "33IWP", "UWP", "33UWPX", "33UWI", "33UWE"):
        with pytest.raises(GridError, match="such as 33UWP"):
            square_named(wrong)


def test_each_tile_is_a_whole_group_and_overlaps_are_real(cube: Cube, years: Path) -> None:
    assert list(cube.grids) == TILES
    for name, geobox in cube.grids.items():
        left, bottom, right, top = square_named(name).tile(southern=False)
        box = geobox.boundingbox
        assert tuple(geobox.shape) == (3661, 3661) or tuple(geobox.shape) == (3660, 3660)
        assert box.left <= left < box.left + 30 and box.top - 30 < top <= box.top  # noqa: PT018 - one corner
        assert box.right >= right and box.bottom <= bottom  # noqa: PT018 - one corner
    alone = plan_ingest([years / "2004"]).geobox
    parts = [cube.image(2004, name).reproject_to(alone).compute() for name in TILES]
    assert all(part.valid.all() for part in parts)
    met = {square.name for square in squares_in(33, alone.boundingbox.bbox, southern=False)}
    assert [plan.tile for plan in plan_tiles([years / "2004"])] == sorted(met) == ["33UVP"]


def test_no_seam_where_tiles_meet(cube: Cube, years: Path, tmp_path: Path) -> None:
    """The mosaic of four tiles is what one grid over all of it has, to the byte."""
    run_ingest(plan_ingest([years / "2004"]), tmp_path / "one.esd.zarr", random_codec())
    one = esd.open(tmp_path / "one.esd.zarr")
    grid = one.grids[one.grid()]
    for array in ("codes", "count", "error"):
        whole = one.image(2004) if array == "codes" else one.plane(array, 2004)
        told, expected = cube.mosaic(2004, grid, array).compute(), whole.compute()
        assert told.values.tobytes() == expected.values.tobytes()
        assert told.valid.tobytes() == expected.valid.tobytes()
    image = cube.image(2004).normalized_difference("nir", "red").focal_mean(2)
    assert image.type.grid == cube.whole_grid()
    asked = image.compute(grid)
    edges = [image.compute(sub_geobox(grid, part)) for part in (region_of(grid).grow(-20), region_of(grid))]
    assert np.array_equal(edges[0].values, asked.values[..., 20:-20, 20:-20])
    assert image.compute(grid, tile=17).values.tobytes() == asked.values.tobytes()


def test_no_seam_where_tiles_of_two_zones_meet(tmp_path: Path) -> None:
    """Tiles are but another way to store what zones hold: both mosaics have the same bytes, on grids of either zone."""
    for month in (2, 6, 10):
        for geobox in (WEST, EAST):
            write(tmp_path / "scenes", geobox, month, 1 + month / 20)
    tiles, zones = tmp_path / "tiles.esd.zarr", tmp_path / "zones.esd.zarr"
    run_ingest(plan_tiles([tmp_path / "scenes"]), tiles, random_codec())
    run_ingest(plan_zones([tmp_path / "scenes"]), zones, random_codec())
    one, other = esd.open(tiles), esd.open(zones)
    assert {str(geobox.crs) for geobox in one.grids.values()} == {"EPSG:32633", "EPSG:32634"}
    for geobox in (WEST, EAST):
        for array in ("codes", "count", "error"):
            told, expected = (cube.mosaic(2004, geobox, array).compute() for cube in (one, other))
            assert told.values.tobytes() == expected.values.tobytes()
            assert told.valid.tobytes() == expected.valid.tobytes()
        assert told.valid.mean() > 0.9
        again = one.mosaic(2004, geobox).compute(tile=23)
        assert again.values.tobytes() == one.mosaic(2004, geobox).compute().values.tobytes()


def random_tiles(path: Path, holes: float = 0.3, block: int = 256) -> Cube:
    """Overlapping grids of two zones, random codes with holes: whatever the rule says can be seen."""
    rng = np.random.default_rng(3)
    base = geobox_from_bounds(700_000, 5_300_000, 700_000 + 30 * 70, 5_300_000 + 30 * 64, "EPSG:32633", 30)
    grids = {
        name: sub_geobox(base, region_of(base).__class__(*place))
        for name, place in {"b": (0, 40, 0, 44), "a": (3, 50, 30, 70), "c": (33, 64, 5, 52)}.items()
    }
    cube = Cube.create(path, grids, [dt.date(2004, 1, 1), dt.date(2005, 1, 1)], random_codec(), block)
    for name in cube.grids:
        for window in cube.windows:
            for region in cube.blocks(name):
                codes = rng.integers(0, cube.codec.fsq.size, (12, *region.shape)).astype(cube.codec.code_dtype)
                codes[:, rng.random(region.shape) < holes] = cube.codec.fill
                count, error = rng.integers(1, 4, codes.shape), rng.integers(0, 99, region.shape)
                cube.write_block(name, window, region, codes, count.astype(np.uint8), error.astype(np.uint8))
    return Cube.open(path)


def by_rule(cube: Cube, window: dt.date) -> np.ndarray:
    """Which group answers each pixel of the whole grid, by brute force: -1 for none."""
    (zone,) = zones_of(cube.grids)
    owner = np.full(zone.geobox.shape, -1)
    codes = {name: cube.read("codes", name, window, region_of(cube.grids[name])) for name in zone.groups}
    for y, x in np.ndindex(*zone.geobox.shape):
        found = []
        for number, (name, place) in enumerate(zip(zone.groups, zone.places, strict=True)):
            row, column = y - place.y0, x - place.x0
            if 0 <= row < place.shape[0] and 0 <= column < place.shape[1] and codes[name][0, row, column] != cube.codec.fill:
                far = (y + 0.5 - (place.y0 + place.y1) / 2) ** 2 + (x + 0.5 - (place.x0 + place.x1) / 2) ** 2
                found.append((far, number))
        owner[y, x] = min(found)[1] if found else -1
    return owner


def test_the_nearest_centre_with_data_answers(tmp_path: Path) -> None:
    cube = random_tiles(tmp_path / "random.esd.zarr")
    (zone,), window = zones_of(cube.grids), cube.windows[0]
    owner = by_rule(cube, window)
    assert set(np.unique(owner)) == {-1, 0, 1, 2}
    planes = {name: cube.image(2004) if name == "codes" else cube.plane(name, 2004) for name in ("codes", "count", "error")}
    told = {name: plane.compute() for name, plane in planes.items()}
    for number, (name, place) in enumerate(zip(zone.groups, zone.places, strict=True)):
        rows, columns = np.nonzero(owner == number)
        for array in ("codes", "count"):
            expected = cube.read(array, name, window, region_of(cube.grids[name]))[:, rows - place.y0, columns - place.x0]
            assert np.array_equal(told[array].values[:, 0, rows, columns], expected)
        error = cube.read("error", name, window, region_of(cube.grids[name]))[rows - place.y0, columns - place.x0]
        assert np.allclose(told["error"].values[0, 0, rows, columns], error * 0.0005)
    assert np.array_equal(told["codes"].valid[0, 0], owner >= 0)
    for tile in (13, 31):
        assert planes["codes"].compute(tile=tile).values.tobytes() == told["codes"].values.tobytes()
    some = cube.image(2004).filter_date("2004-03-01", "2004-06-01").compute()
    assert np.array_equal(some.values, told["codes"].values[2:5])


def test_points_and_hits_are_told_once_and_by_the_rule(tmp_path: Path) -> None:
    from esd.query.points import sample_cube

    cube = random_tiles(tmp_path / "random.esd.zarr")
    (zone,) = zones_of(cube.grids)
    owner, longitude, latitude = by_rule(cube, cube.windows[0]), *lonlat_of(zone.geobox)
    import pandas as pd

    points = pd.DataFrame({"longitude": longitude.ravel(), "latitude": latitude.ravel()})
    sampled, shown = sample_cube(cube, points, "codes", [2004]), cube.image(2004).compute()
    assert np.array_equal(sampled["status"] == "valid", owner.ravel() >= 0)
    valid = owner.ravel() >= 0
    assert np.array_equal(sampled["code_7"].to_numpy()[valid], shown.values[7, 0].ravel()[valid])
    seen = np.argwhere(owner >= 0)[40]
    query = query_at(cube, [(float(longitude[*seen]), float(latitude[*seen]))], 2004)
    hits = similar(cube, query, k=10**6, windows=[2004])
    assert len(hits) == valid.sum()
    places = hits.apply(lambda hit: zone.places[zone.groups.index(hit["grid"])], axis=1)
    rows = hits["row"] + [place.y0 for place in places]
    columns = hits["column"] + [place.x0 for place in places]
    assert len(set(zip(rows, columns, strict=True))) == len(hits)
    assert np.array_equal(owner[rows, columns], [zone.groups.index(name) for name in hits["grid"]])
    assert hits["score"].is_monotonic_decreasing
    assert (rows[0], columns[0]) == tuple(seen)
    asked = cube.image(2004).embedding().select("e0").max() > 0.5
    allowed = asked.compute()
    masked = similar(cube, query, k=10**6, windows=[2004], mask=asked)
    assert 0 < len(masked) == int((allowed.values & allowed.valid).sum()) < len(hits)


def test_a_tile_in_its_own_cube_finds_what_it_finds_by_name(tmp_path: Path) -> None:
    cube = random_tiles(tmp_path / "random.esd.zarr")
    for name in cube.grids:
        codes = cube.read("codes", name, cube.windows[0], region_of(cube.grids[name]))
        y, x = np.argwhere(codes[0] != cube.codec.fill)[5]
        named = similar(cube, Query.from_codes(codes[:, y, x][:, None], cube), 5, [2004], name)
        assert (named["row"][0], named["column"][0]) == (y, x)
        assert "grid" not in named


def test_appending_to_tiles_is_resumed_to_the_byte(years: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = random_codec()
    undisturbed, killed = tmp_path / "a" / "t.esd.zarr", tmp_path / "b" / "t.esd.zarr"
    for out in (undisturbed, killed):
        run_ingest(plan_tiles([years / "2004"], TILES[:2], aoi=AOI), out, codec)
    run_append(plan_append(undisturbed, [years / "2005"]), undisturbed)
    write, left = Cube.write_block, [1]

    def dies(self: Cube, *args: object, **named: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        write(self, *args, **named)  # type: ignore[arg-type]

    plans = plan_append(killed, [years / "2005"])
    with monkeypatch.context() as patch:
        patch.setattr(Cube, "write_block", dies)
        with pytest.raises(KeyboardInterrupt):
            run_append(plans, killed)
    assert esd.open(killed).windows == esd.open(undisturbed).windows
    report = run_append(plan_append(killed, [years / "2005"], [dt.date(2005, 1, 1)]), killed, resume=True)
    assert (report.skipped, report.scenes) == (1, 6)
    assert stored(killed) == stored(undisturbed)
    assert run_verify(killed).damaged == ()
    shard = next(file for file in sorted(killed.rglob("*")) if "33UUQ/codes/c/1/" in str(file) and file.is_file())
    shard.write_bytes(b"")
    assert [block.grid for block in run_verify(killed, repair=True).damaged] == ["33UUQ"]
    assert stored(killed) == stored(undisturbed)


def test_a_cube_of_tiles_gets_more_of_them(years: Path, tmp_path: Path) -> None:
    """One tile after another, or all at once: the same cube."""
    codec, once, grown = random_codec(), tmp_path / "once.esd.zarr", tmp_path / "grown.esd.zarr"
    run_ingest(plan_tiles([years / "2004"], TILES[:2]), once, codec)
    run_ingest(plan_tiles([years / "2004"], TILES[:1]), grown, codec)
    with pytest.raises(CubeError, match="--resume"):
        run_ingest(plan_tiles([years / "2004"], TILES[1:2]), grown, codec)
    with pytest.raises(CubeError, match="recipe"):
        run_ingest(plan_tiles([years / "2004"], TILES[1:2], recipe=Recipe(dilate=1)), grown, codec, resume=True)
    with pytest.raises(CubeError, match="encoder"):
        run_ingest(plan_tiles([years / "2004"], TILES[1:2]), grown, random_codec(seed=1), resume=True)
    assert list(esd.open(grown).grids) == TILES[:1]
    run_ingest(plan_tiles([years / "2004"], TILES[1:2]), grown, codec, resume=True)
    assert run_ingest(plan_tiles([years / "2004"], TILES[:2]), grown, codec, resume=True).skipped == 2
    assert stored(grown) == stored(once)
    assert run_verify(grown).damaged == ()
    with pytest.raises(CubeError, match="grid given now"):
        run_ingest(plan_ingest([years / "2004"]), grown, codec, resume=True)
    assert stored(grown) == stored(once)
    assert run_verify(grown, repair=True).damaged == ()


def test_tiles_by_the_command_line(years: Path, tmp_path: Path, codec: Codec) -> None:
    weights, out = tmp_path / "w.safetensors", tmp_path / "t.esd.zarr"
    weights.write_bytes(codec.data)
    words = ("ingest", years / "2004", "--out", out, "--encoder", weights, "--aoi", AOI)
    planned = run(*words, "--tiles", "33UUP,33UVP", "--plan", "--json").document["tiles"]
    assert [(tile["grid"]["name"], len(tile["scenes"])) for tile in planned] == [("33UUP", 6), ("33UVP", 6)]
    assert run(*words, "--tiles", "33UUP,33UVP", "--json").document["scenes"] == 6
    assert run(*words, "--tiles", "33UUP,33UVP", "--resume", "--json").document["blocks_done_before"] == 2
    told = run("info", out, "--json").document
    assert sorted(told["grids"]) == ["33UUP", "33UVP"]
    assert told["scenes"] == 6
    sizes = [tile["bytes_in"] for tile in planned]
    assert told["size"]["raw_bytes"] == sum(sizes) == 2 * 6 * SIZE**2 * 12
    west, south, east, north = bounds_lonlat(HERE)
    point = f"{(west + east) / 2},{(south + north) / 2}"
    origin = run("info", out, "--provenance", point, "--json").document
    assert origin["grid"] in told["grids"]
    assert len(origin["scenes"]) == 6
    found = run("similar", out, "--at", point, "-k", 9, "--json").document["hits"]
    assert len({(hit["longitude"], hit["latitude"]) for hit in found}) == 9
    for wrong, cause in (
        (("--tiles", "33UUP,34UBU"), "zone 34"),
        (("--tiles", "33UUP,33TUP"), "same square"),
        (("--tiles", "33UXP"), "33UXP"),
        (("--tiles", "33UUP", "--crs", "EPSG:32633"), "leave out --crs"),
    ):
        refused = run(*words, *wrong)
        assert refused.code == 2, wrong
        assert cause in refused.err
