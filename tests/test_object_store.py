"""Cubes in an object store: the same bytes as on a disk, and the same refusals."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from cli_world import esd
from code_cubes import cube_of
from published_tiles import UTM33, esd_numbers, grid_of, write_esd, write_raster
from s3_world import BUCKET, FaultyProxy, address_of, needs_s3, objects_of, random_faults
from scene_files import GRID, flat, write_landsat_c2
from stac_world import item_of

from esd.chunks import read_plain
from esd.codec import Codec
from esd.cube import Cube, open_cube
from esd.errors import CubeError
from esd.grid import geobox_from_bounds, region_of
from esd.ingest.append import plan_append
from esd.ingest.lease import CLOCK_SECONDS, Lease
from esd.ingest.ledger import ledger_path
from esd.ingest.pipeline import run_append, run_ingest
from esd.ingest.plan import plan_ingest
from esd.ingest.verify import run_verify
from esd.ingest.workers import ProcessExecutor
from esd.store_paths import ObjectPath, ReplacedError, place_of, s3_store

pytestmark = [
    needs_s3,
    pytest.mark.usefixtures("server"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
LASTS = 3.0
WINDOW = dt.date(2004, 1, 1)


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("years"), np.random.default_rng(5)
    for year in (2004, 2005):
        for month in (2, 5, 9):
            quality = np.where(rng.random(tuple(GRID.shape)) < 0.3, 1 << 3, 1 << 6).astype(np.uint16)
            values = flat() * rng.uniform(0.7, 1.3, (6, *GRID.shape))
            write_landsat_c2(folder / str(year), dt.date(year, month, 11), values, quality=quality)
    return folder


def files(store: Path) -> dict[str, bytes]:
    return {str(file.relative_to(store)): file.read_bytes() for file in sorted(store.rglob("*")) if file.is_file()}


@contextmanager
def asking(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ask another address for a while."""
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        s3_store.cache_clear()
        yield
    s3_store.cache_clear()


def test_a_cube_in_a_store_is_the_cube_on_a_disk_to_the_byte(years: Path, tmp_path: Path, codec: Codec) -> None:
    there, here = address_of("a.esd.zarr"), tmp_path / "a.esd.zarr"
    for out in (there, here):
        run_ingest(plan_ingest([years / "2004"]), str(out), codec)
        run_append(plan_append(out, [years / "2005"]), out)
        Cube.open(out).build_overviews("nearest_to_mean", smallest=8)
    assert objects_of(there) == files(here)
    cube, local = open_cube(str(there)), open_cube(here)
    assert cube.bytes_on_disk() == local.bytes_on_disk()
    for name in ("codes", "count", "error"):
        region = region_of(GRID)
        assert np.array_equal(cube.read(name, cube.grid(), WINDOW, region), local.read(name, cube.grid(), WINDOW, region))
    one, other = (opened.image(2004).ndvi().median().compute() for opened in (cube, local))
    assert np.array_equal(one.values, other.values)
    assert np.array_equal(one.valid, other.valid)
    beside = {file.name for file, _ in there.parent.below() if file.parent == there.parent}
    assert beside >= {ledger_path(there).name, f".{there.name}.lock"}


def test_damage_in_a_store_is_found_and_repaired(years: Path, codec: Codec) -> None:
    out = address_of("d.esd.zarr")
    run_ingest(plan_ingest([years]), out, codec, executor=ProcessExecutor(2))
    before = objects_of(out)
    shard = out / "epsg32633" / "codes" / "c" / "1" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(CubeError, match="damaged"):
        Cube.open(out).read("codes", "epsg32633", dt.date(2005, 1, 1), region_of(GRID))
    (out / "epsg32633" / "count" / "c" / "0" / "0" / "0" / "0").unlink()
    assert len(run_verify(out).damaged) == 2
    run_verify(out, repair=True)
    assert objects_of(out) == before
    report = run_ingest(plan_ingest([years]), out, codec, resume=True)
    assert (report.skipped, report.blocks) == (2, 2)


def test_the_command_line_knows_addresses(years: Path, tmp_path: Path, codec: Codec) -> None:
    weights, out = tmp_path / "random.safetensors", f"s3://{BUCKET}/cli/b.esd.zarr"
    weights.write_bytes(codec.data)
    words = ("ingest", years / "2004", "--out", out, "--encoder", weights, "--json")
    assert esd(*words).document["cube"] == out
    told = esd("info", out, "--json").document
    place = place_of(out)
    assert isinstance(place, ObjectPath)
    assert told["size"]["disk_bytes_total"] == sum(size for _, size in place.below())
    assert told["ingest"] == "1 of at most 1 blocks written"
    assert esd("verify", out).code == 0
    picture = tmp_path / "ndvi.tif"
    outcome = esd("compute", out, "ndvi().median()", "--window", "2004", "--out", picture)
    assert outcome.code == 0, outcome.err
    assert picture.is_file()
    again = esd(*words)
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "exists already" in again.err
    assert esd(*words, "--resume").document["blocks_done_before"] == 1


def test_published_tiles_are_imported_into_a_store(tmp_path: Path) -> None:
    tile = write_esd(tmp_path, esd_numbers(64, 70), 2004)
    assert esd("import", tile, f"s3://{BUCKET}/tiles.esd.zarr", "--json").document["windows"] == ["2004-01-01"]
    assert esd("import", tile, tmp_path / "tiles.esd.zarr").code == 0
    west, north = grid_of(1, 1).affine.c, grid_of(1, 1).affine.f
    beside = geobox_from_bounds(west + 1_500, north - 1_920, west + 3_600, north, UTM33, 30)
    tile = write_raster(tmp_path / "SDC30_EBD_V001_33UXP_2004.tif", esd_numbers(64, 70, seed=2), beside)
    for out in (f"s3://{BUCKET}/tiles.esd.zarr", tmp_path / "tiles.esd.zarr"):
        outcome = esd("import", tile, out)
        assert outcome.code == 0, outcome.err
    place = place_of(f"s3://{BUCKET}/tiles.esd.zarr")
    assert isinstance(place, ObjectPath)
    assert sorted(Cube.open(place).grids) == ["33UWP", "33UXP"]
    assert objects_of(place) == files(tmp_path / "tiles.esd.zarr")


@pytest.mark.parametrize("address", ["s3://", "s3://bucket", "gs://bucket/a.zarr", "http://host/a.zarr"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(CubeError, match="is no place for a cube"):
        place_of(address)


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(CubeError, match="is not a cube"):
        Cube.open(address_of("nothing.esd.zarr"))
    with pytest.raises(FileNotFoundError, match="no such bucket"):
        ObjectPath("nobodys", "a").write_bytes(b"")


def test_one_writer_at_a_time(years: Path, codec: Codec) -> None:
    out = address_of("l.esd.zarr")
    with Lease(out), pytest.raises(CubeError, match=r"is being written by process \d+ on .* for \d+ s more") as error:
        run_ingest(plan_ingest([years / "2004"]), out, codec)
    assert "\n" not in str(error.value)
    run_ingest(plan_ingest([years / "2004"]), out, codec)  # what was given back is taken at once
    foreign = Lease(address_of("f.esd.zarr"))
    foreign.path.write_bytes(b"what is this?")
    with pytest.raises(CubeError, match="does not tell its name"), foreign:
        pass


def test_the_lease_of_a_killed_writer_ends_and_one_that_is_lost_writes_nothing(years: Path, codec: Codec) -> None:
    out = address_of("e.esd.zarr")
    killed = Lease(out, seconds=LASTS)
    killed.__enter__()
    killed._end.set()  # nobody renews it any more
    with pytest.raises(CubeError, match="is being written"), Lease(out):
        pass
    plan = plan_ingest([years / "2004"])
    time.sleep(LASTS + 2 * CLOCK_SECONDS)
    report = run_ingest(plan, out, codec)
    assert report.blocks == 1
    killed._end.clear()
    with pytest.raises(CubeError, match="taken over by another writer"):
        killed.check()
    killed.__exit__(None, None, None)
    with Lease(out):
        pass


def test_a_store_that_puts_whatever_the_condition_is_refused(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless(FaultyProxy):
        def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
            return super().forward(method, path, {k: v for k, v in headers.items() if k.lower() != "if-match"}, body)

    lease = Lease(address_of("c.esd.zarr"))
    careless, refused = Careless(server, lambda _method, _number: ""), pytest.raises(CubeError, match="does not keep to If")
    with careless.running() as address, asking(address, monkeypatch), refused, lease:
        pass


def test_a_ledger_that_another_wrote_is_not_overwritten(years: Path, codec: Codec) -> None:
    out = address_of("w.esd.zarr")
    run_ingest(plan_ingest([years / "2004"]), out, codec)
    ledger = ledger_path(out)
    data, tag = ledger.read_tagged()
    ledger.put(data + b"1", tag)
    with pytest.raises(ReplacedError, match="written by another process"):
        ledger.put(data + b"2", tag)
    with pytest.raises(ReplacedError):
        ledger.put(data + b"3", None)
    assert ledger.read_bytes() == data + b"1"


@pytest.mark.parametrize("kind", ["error after", "drop after"])
def test_an_answer_that_is_lost_is_asked_for(server: str, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    for name, before in (("new", None), ("old", b"before")):
        place = address_of(f"{name} {kind}".replace(" ", "-"))
        tag = place.put(before, None) if before else None
        proxy = FaultyProxy(server, lambda _method, number: kind if number == 0 else "")
        with proxy.running() as address, asking(address, monkeypatch):
            place.put(b"after", tag)
        assert proxy.happened[kind] == 1
        assert place.read_bytes() == b"after"


def test_a_shard_that_is_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(8)
    codes = rng.integers(0, 1000, (2, 12, 300, 300)).astype(np.uint16)
    local, other = (cube_of(tmp_path / str(n), codec, {2004: codes[n]}, block=512) for n in range(2))
    grid, out = local.grid(), address_of("r.esd.zarr")
    for path in sorted(file for file in local.path.rglob("*") if file.is_file()):
        out.joinpath(*path.relative_to(local.path).parts).write_bytes(path.read_bytes())
    names = ("codes", "c", "0", "0", "0", "0")
    shard, real, asked = out.joinpath(grid, *names), ObjectPath.get_range, []

    def get_range(self: ObjectPath, span: object, tag: str | None) -> tuple[bytes, int, str]:
        asked.append(tag)
        if len(asked) == 3:  # the index and a chunk are read, others are not
            shard.write_bytes((other.path / grid).joinpath(*names).read_bytes())
        return real(self, span, tag)  # type: ignore[arg-type]

    monkeypatch.setattr(ObjectPath, "get_range", get_range)
    read = read_plain(out / grid / "codes", 0, slice(0, 300), slice(0, 300))
    assert np.array_equal(read, codes[1])
    assert asked.count(None) == 2


def test_a_store_with_moments_is_read_and_written_all_the_same(
    server: str, years: Path, tmp_path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calm = address_of("m.esd.zarr"), tmp_path / "m.esd.zarr"
    run_ingest(plan_ingest([years]), calm, codec)
    proxy = FaultyProxy(
        server, random_faults(np.random.default_rng(2), 0.2, "error", "error after", "drop", "drop after", "cut")
    )
    with proxy.running() as address, asking(address, monkeypatch):
        run_ingest(plan_ingest([years]), out, codec)
        told = Cube.open(out).image(2005).ndvi().compute()
    assert objects_of(out) == files(calm)
    assert np.array_equal(told.values, Cube.open(calm).image(2005).ndvi().compute().values)
    assert sum(proxy.happened.values()) > proxy.happened[""] > 0


def test_scenes_whose_bands_are_objects_are_read_with_retries(
    server: str, years: Path, tmp_path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, folder = plan_ingest([years / "2004"]), tmp_path / "items"
    folder.mkdir()
    for scene in local.scenes:
        for name in scene.files:
            ObjectPath(BUCKET, f"scenes/{scene.path.name}/{name}").write_bytes((scene.path / name).read_bytes())
        item = item_of(scene, f"s3://{BUCKET}/scenes")
        (folder / f"{scene.id}.item.json").write_text(json.dumps(item))
    failing = FaultyProxy(server, lambda method, number: "error" if method == "GET" and number % 4 == 0 else "")
    with failing.running() as address, asking(address, monkeypatch):
        run_ingest(plan_ingest([folder]), tmp_path / "there.esd.zarr", codec)
    assert failing.happened["error"] > 0
    run_ingest(local, tmp_path / "here.esd.zarr", codec)
    one, other = (Cube.open(tmp_path / f"{name}.esd.zarr") for name in ("there", "here"))
    for name in ("codes", "count", "error"):
        assert np.array_equal(*(cube.read(name, cube.grid(), WINDOW, region_of(GRID)) for cube in (one, other)))
