"""A store that can be trusted: it grows without touching what is there, tells of what it is made, and finds its damage."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from cli_world import esd
from random_codecs import random_codec
from scene_files import GRID, flat, write_espa, write_landsat_c2

from esd.codec import Codec
from esd.cube import Cube
from esd.errors import CubeError, GridError, JobError, WindowError
from esd.fsq import FILL
from esd.grid import Region, geobox_from_bounds, region_of
from esd.ingest.append import plan_append
from esd.ingest.coverage import scene_counts
from esd.ingest.ledger import ledger_path
from esd.ingest.lock import WriteLock, lock_path
from esd.ingest.pipeline import run_append, run_ingest
from esd.ingest.plan import plan_ingest
from esd.ingest.provenance import pixel_provenance
from esd.ingest.recipe import Recipe
from esd.ingest.simulate import simulate
from esd.ingest.verify import run_verify
from esd.ingest.workers import ProcessExecutor
from esd.shards import encode_shard, put_file

PIXEL = (GRID.boundingbox.left + 45, GRID.boundingbox.top - 45)


def lonlat(x: float, y: float) -> tuple[float, float]:
    from pyproj import Transformer

    return Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True).transform(x, y)


def write_year(folder: Path, year: int, seed: int = 0) -> Path:
    rng = np.random.default_rng([seed, year])
    for month in range(1, 13, 2):
        quality = np.where(rng.random(tuple(GRID.shape)) < 0.3, 1 << 3, 1 << 6).astype(np.uint16)
        values = flat() * rng.uniform(0.7, 1.3, (6, *GRID.shape))
        write_landsat_c2(folder / str(year), dt.date(year, month, 11), values, quality=quality)
    return folder / str(year)


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("years")
    for year in (2004, 2005, 2006):
        write_year(folder, year)
    return folder


def stored(store: Path) -> dict[str, bytes]:
    return {str(file.relative_to(store)): file.read_bytes() for file in sorted(store.rglob("*")) if file.is_file()}


def whole(cube: Cube, name: str, window: dt.date) -> np.ndarray:
    return cube.read(name, cube.grid(), window, region_of(GRID))


def test_appending_is_ingesting_later(years: Path, tmp_path: Path, codec: Codec) -> None:
    at_once, grown = tmp_path / "once.esd.zarr", tmp_path / "grown.esd.zarr"
    run_ingest(plan_ingest([years]), at_once, codec)
    run_ingest(plan_ingest([years / "2004"]), grown, codec)
    before = stored(grown)
    for year in (2005, 2006):
        run_append(plan_append(grown, [years / str(year)]), grown)
    one, other = Cube.open(at_once), Cube.open(grown)
    assert one.windows == other.windows
    for window in one.windows:
        for name in ("codes", "count", "error"):
            assert np.array_equal(whole(one, name, window), whole(other, name, window))
    assert other.attrs["esd:provenance"] == one.attrs["esd:provenance"]
    blocks = [name for name in before if "/c/0/" in name and "/window/" not in name]
    assert blocks
    assert all(stored(grown)[name] == before[name] for name in blocks)
    days = xr.open_zarr(grown, group=other.grid()).window.values
    assert [str(day)[:10] for day in days] == ["2004-01-01", "2005-01-01", "2006-01-01"]
    assert run_verify(grown).damaged == ()


@pytest.mark.parametrize("harm", [lambda data: data[:-9] + b"\0" + data[-8:], lambda data: data[:100], lambda _: None])
def test_a_codec_that_is_damaged_is_told_and_put_back(
    years: Path, tmp_path: Path, codec: Codec, harm: Callable[[bytes], bytes | None]
) -> None:
    out = tmp_path / "a.esd.zarr"
    run_ingest(plan_ingest([years / "2004"]), out, codec)
    before, file = stored(out), out / "codec/file/c/0"
    put_file(file, harm(file.read_bytes()))
    with pytest.raises(CubeError, match=f"codec of .* is damaged.*esd verify {out} --repair"):
        run_verify(out)
    with pytest.raises(CubeError, match="give it with --encoder"):
        run_verify(out, repair=True, codecs=[random_codec(seed=1)])
    found = run_verify(out, repair=True, codecs=[random_codec(seed=1), codec])
    assert (found.codec_restored, found.damaged) == (True, ())
    assert stored(out) == before


def test_appending_keeps_to_the_recipe_and_fills_from_the_windows_around(years: Path, tmp_path: Path, codec: Codec) -> None:
    recipe = Recipe(fill="fusion", dilate=1)
    at_once, grown, alone = (tmp_path / f"{name}.esd.zarr" for name in ("once", "grown", "alone"))
    run_ingest(plan_ingest([years], recipe=recipe), at_once, codec)
    for out, given in ((grown, years), (alone, years / "2005")):
        run_ingest(plan_ingest([years / "2004"], recipe=recipe), out, codec)
        (plan,) = plan_append(out, [given])
        assert plan.recipe == recipe
        run_append(plan, out)
    one, other = Cube.open(at_once), Cube.open(grown)
    assert one.windows == other.windows
    for window in one.windows[1:]:
        for name in ("codes", "count", "error"):
            assert np.array_equal(whole(one, name, window), whole(other, name, window))
    assert not np.array_equal(whole(one, "codes", one.windows[1]), whole(Cube.open(alone), "codes", one.windows[1]))
    assert run_verify(grown, repair=True).damaged == ()
    shard = grown / other.grid() / "codes/c/1/0/0/0"
    before = stored(grown)
    shard.write_bytes(b"")
    assert len(run_verify(grown, repair=True).damaged) == 1
    assert stored(grown) == before


def test_what_cannot_be_appended_is_told(years: Path, tmp_path: Path, codec: Codec) -> None:
    out = tmp_path / "a.esd.zarr"
    run_ingest(plan_ingest([years / "2005"]), out, codec)
    before = stored(out)
    with pytest.raises(WindowError, match=r"2005-01-01 is in a\.esd\.zarr already.*--resume"):
        run_append(plan_append(out, [years / "2005"]), out)
    with pytest.raises(WindowError, match="lies before"):
        run_append(plan_append(out, [years / "2004"]), out)
    shifted = geobox_from_bounds(500_010, 5_000_000, 500_010 + 30 * 24, 5_000_000 + 30 * 20, "EPSG:32633", 30)
    write_landsat_c2(tmp_path / "s", dt.date(2006, 1, 1), geobox=shifted)
    with pytest.raises(GridError, match="--reproject"):
        plan_append(out, [tmp_path / "s"])
    assert stored(out) == before


def test_damage_is_found_and_repaired_to_the_byte(years: Path, tmp_path: Path, codec: Codec) -> None:
    out = tmp_path / "a.esd.zarr"
    run_ingest(plan_ingest([years / "2004", years / "2005"]), out, codec)
    before = stored(out)
    shard = next(file for file in sorted((out / "epsg32633" / "codes" / "c").rglob("*")) if file.is_file())
    flipped = bytearray(shard.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    shard.write_bytes(bytes(flipped))
    next((out / "epsg32633" / "codes" / "provenance").glob("2005*")).unlink()
    found = run_verify(out)
    assert (found.blocks, [block.window.year for block in found.damaged]) == (2, [2004, 2005])
    assert run_verify(out, repair=True) == found
    assert run_verify(out).damaged == ()
    assert stored(out) == before


def test_a_store_without_its_ledger_or_scenes_is_not_repaired(tmp_path: Path, codec: Codec) -> None:
    folder, out = write_year(tmp_path, 2004), tmp_path / "a.esd.zarr"
    run_ingest(plan_ingest([folder]), out, codec)
    next(file for file in sorted((out / "epsg32633" / "codes" / "c").rglob("*")) if file.is_file()).unlink()
    next(folder.iterdir()).rename(tmp_path / "elsewhere")
    with pytest.raises(CubeError, match=r"scenes given now.*1 gone"):
        run_verify(out, repair=True)
    ledger_path(out).unlink()
    with pytest.raises(CubeError, match="no ledger beside it"):
        run_verify(out)


def test_every_block_knows_its_scenes(years: Path, tmp_path: Path, codec: Codec) -> None:
    out = tmp_path / "a.esd.zarr"
    plan = plan_ingest([years / "2004"])
    run_ingest(plan, out, codec)
    cube, window = Cube.open(out), dt.date(2004, 1, 1)
    paths = {scene.id: str(scene.path) for scene in plan.scenes}
    told = pixel_provenance(cube, *lonlat(*PIXEL), window, paths)
    assert (told["row"], told["column"], told["rows"], told["columns"]) == (1, 1, [0, 20], [0, 24])
    assert told["encoder"] == {"id": codec.id, "sha256": codec.sha256}
    assert [scene["id"] for scene in told["scenes"]] == [scene.id for scene in plan.scenes]
    assert all(0.6 < scene["clear_share"] < 0.8 for scene in told["scenes"])
    clear = sum(scene["clear_here"] for scene in told["scenes"])
    assert 0 < clear <= 6
    assert sum(told["clear_dekads_by_step"]) <= clear
    scene = plan.scenes[0]
    files = [scene.path / name for name in (*scene.metadata, *scene.files)]
    parts = [f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files]
    assert told["scenes"][0]["sha256"] == hashlib.sha256("\n".join(parts).encode()).hexdigest()
    with pytest.raises(GridError, match="outside"):
        pixel_provenance(cube, 0.0, 0.0, window, paths)


def test_a_repaired_scene_is_taken_in_by_the_blocks_that_lack_it(tmp_path: Path, codec: Codec) -> None:
    folder = write_year(tmp_path, 2004)
    run_ingest(plan_ingest([folder]), tmp_path / "good.esd.zarr", codec)
    scenes = sorted(folder.iterdir())
    band, metadata = next(scenes[1].glob("*_SR_B3.TIF")), next(scenes[2].glob("*_MTL.txt"))
    kept = [file.read_bytes() for file in (band, metadata)]
    band.write_bytes(kept[0][:300])
    metadata.write_text("GROUP = LANDSAT_METADATA_FILE")
    out = tmp_path / "a.esd.zarr"
    report = run_ingest(plan_ingest([folder]), out, codec)
    assert {failure.source for failure in report.failures} == {scenes[1].name, scenes[2].name}
    band.write_bytes(kept[0])
    metadata.write_bytes(kept[1])
    again = run_ingest(plan_ingest([folder]), out, codec, resume=True)
    assert (again.failures, again.skipped, again.scenes) == ((), 0, 6)
    assert stored(out) == stored(tmp_path / "good.esd.zarr")


def test_one_bad_file_in_a_hundred_leaves_ninety_nine(tmp_path: Path, codec: Codec) -> None:
    folder, weights = tmp_path / "scenes", tmp_path / "random.safetensors"
    weights.write_bytes(codec.data)
    for number in range(100):
        write_espa(folder, dt.date(2004, 1, 1) + dt.timedelta(days=7 * number), packed=number == 40)
    (folder / f"{next(folder.glob('*.tar.gz')).name.partition('-')[0]}-folder").rename(tmp_path / "unpacked")
    bad = next(folder.glob("*.tar.gz"))
    bad.write_bytes(bad.read_bytes()[:-400])
    words = ("ingest", folder, "--out", tmp_path / "a.esd.zarr", "--encoder", weights, "--json")
    outcome = esd(*words)
    assert outcome.code == 3
    assert json.loads(outcome.out)["scenes"] == 99
    (line,) = outcome.err.strip().splitlines()
    assert bad.name in line
    assert "download it again" in line
    assert line.endswith(
        f"then run: esd ingest {folder} --out {tmp_path / 'a.esd.zarr'} --encoder {weights} --json --resume"
    )


def test_the_size_ledger_is_right_to_the_byte(years: Path, tmp_path: Path, codec: Codec) -> None:
    out = tmp_path / "a.esd.zarr"
    plan = plan_ingest([years / "2004", years / "2005"])
    run_ingest(plan, out, codec)
    Cube.open(out).build_overviews(smallest=8)
    size = esd("info", out, "--json").document["size"]
    assert size["disk_bytes_total"] == sum(len(data) for data in stored(out).values()) == sum(size["disk_bytes"].values())
    assert size["raw_bytes"] == 12 * 20 * 24 * len(plan.scenes)
    valid = [int((whole(Cube.open(out), "codes", window) != FILL).all(axis=0).sum()) for window in plan.windows]
    assert size["pixel_years"] == sum(valid)
    assert size["daily_bytes"] == 12 * (366 * valid[0] + 365 * valid[1])
    assert size["disk_bytes"]["provenance"] > 0
    assert size["disk_bytes"]["overviews"] > 0


def test_workers_write_the_same_store_and_end_with_their_parent(years: Path, tmp_path: Path, codec: Codec) -> None:
    plan = plan_ingest([years / "2004", years / "2005"])
    run_ingest(plan, tmp_path / "one.esd.zarr", codec)
    run_ingest(plan, tmp_path / "two.esd.zarr", codec, executor=ProcessExecutor(2))
    assert stored(tmp_path / "one.esd.zarr") == stored(tmp_path / "two.esd.zarr")
    with pytest.raises(JobError, match="1 or more"):
        ProcessExecutor(0)


def test_one_writer_at_a_time(years: Path, tmp_path: Path, codec: Codec) -> None:
    out = tmp_path / "a.esd.zarr"
    with WriteLock(out), pytest.raises(CubeError, match=r"is being written by process \d+ on .* since") as error:
        run_ingest(plan_ingest([years / "2004"]), out, codec)
    assert "\n" not in str(error.value)
    assert not lock_path(out).exists()
    lock_path(out).write_text("process 1 on moon since ever")  # of one that was killed
    run_ingest(plan_ingest([years / "2004"]), out, codec)
    assert not lock_path(out).exists()


def test_a_disk_too_small_is_told_before_anything_is_written(
    years: Path, tmp_path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(CubeError, match=r"GB free and the ingest may need"):
        run_ingest(plan_ingest([years / "2004"]), tmp_path / "a.esd.zarr", codec)
    assert list(tmp_path.iterdir()) == []


def test_shards_are_the_bytes_that_zarr_writes(tmp_path: Path) -> None:
    grid = geobox_from_bounds(0, 0, 30 * 300, 30 * 280, "EPSG:32631", 30)
    cube = Cube.create(tmp_path / "a", grid, [dt.date(2004, 1, 1)], random_codec(), block=256)
    rng = np.random.default_rng(3)
    for region in cube.blocks(cube.grid()):
        codes = rng.integers(0, 64_000, (12, *region.shape)).astype(np.uint16)
        codes[:, :10] = FILL
        array = cube.array(cube.grid(), "codes")
        data = encode_shard(array, codes[None])
        array[(0, ..., *region.slices)] = codes
        row, column = region.y0 // 256, region.x0 // 256
        assert (cube.path / cube.grid() / "codes" / "c" / "0" / "0" / str(row) / str(column)).read_bytes() == data
    assert encode_shard(array, np.full((1, 12, 256, 256), FILL, dtype=np.uint16)) is None
    assert cube.blocks(cube.grid())[0] == Region(0, 256, 0, 256)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    put_file(tmp_path / "a", b"before")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        put_file(tmp_path / "a", b"after")
    assert (tmp_path / "a").read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_a_plan_tells_what_is_missing_and_does_nothing(years: Path, tmp_path: Path, codec: Codec) -> None:
    weights = tmp_path / "random.safetensors"
    weights.write_bytes(codec.data)
    words = ("ingest", years, "--windows", "2004/2005", "--out", tmp_path / "a.esd.zarr", "--plan", "--encoder", weights)
    told = esd(*words, "--map", tmp_path / "map.png", "--json").document
    first = told["coverage"][0]
    assert (first["window"], first["sensors"]) == ("2004-01-01", {"LANDSAT_5 TM": 6})
    assert first["months_without_scenes"] == [f"2004-{month:02d}-01" for month in range(2, 13, 2)]
    assert first["mean_cloud_cover"] == 12.5
    assert told["seconds"] > 0
    assert told["disk_bytes_at_most"] > 2 * 20 * 24 * 24
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.png", "random.safetensors"]
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
    plan = plan_ingest([years], [dt.date(2004, 1, 1)])
    assert (scene_counts(plan, dt.date(2004, 1, 1)) == 6).all()
    outcome = esd(*words)
    assert "2004-02" in outcome.out


def test_a_killed_simulation_leaves_nothing_behind_the_next(tmp_path: Path) -> None:
    (tmp_path / ".scenes.simulating" / "landsat").mkdir(parents=True)
    lock_path(tmp_path / "scenes").write_text("process 1 on moon since ever")
    simulate(tmp_path / "scenes", size=32, years=(2004, 2004), products=("landsat",), revisit_days=160)
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]
