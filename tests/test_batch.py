"""Batch: resumed where it ended, the same bytes whoever computes, within the memory allowed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_codecs import random_codec

import esd
from esd.cube import Cube
from esd.engine.batch import part_folder
from esd.engine.executors import LocalExecutor
from esd.engine.stop import NEVER, CancelToken, Stop
from esd.errors import BandError, CancelledError, CubeError, DeadlineError, ExpressionError, JobError, MemoryLimitError
from esd.grid import Region, geobox_from_bounds, sub_geobox
from esd.image import Image

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def large(make_cube: Callable[..., Cube]) -> Cube:
    """Nine shards of 512 pixels."""
    return make_cube(random_codec(seed=0), rows=1100, columns=1100, years=(2004,))


def quick(cube: Cube) -> Image:
    return (cube.plane("error", 2004) * 3 + 1).rename("scaled")


class Shuffled(LocalExecutor):
    """Runs the regions in another order, and gives the results in that order."""

    def run(self, task: Callable, regions: Sequence[Region], stop: Stop = NEVER) -> Iterator:  # type: ignore[type-arg]  # as declared
        mixed = list(regions)
        random.Random(7).shuffle(mixed)
        return super().run(task, mixed, stop)


@pytest.mark.parametrize("tier", ["interpreted", "compiled"])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(threads=st.integers(1, 5), tile=st.sampled_from([33, 64, 200, 4096]), shuffled=st.booleans())
def test_neither_threads_nor_tiles_nor_order_nor_tier_change_a_byte(
    cube: Cube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tier: str, threads: int, tile: int, shuffled: bool
) -> None:
    image = (cube.image(2004).filter_date("2004-07-01", "2004-09-01").evi().median() * 2 + 1).focal_mean(2)
    monkeypatch.setenv("ESD_TIER", "interpreted")
    reference = tmp_path / "reference.tif"
    if not reference.exists():
        image.to_geotiff(reference, executor=1)
    monkeypatch.setenv("ESD_TIER", tier)
    executor = Shuffled(threads) if shuffled else LocalExecutor(threads)
    got = image.to_geotiff(tmp_path / "got.tif", tile=tile, executor=executor)
    assert got.read_bytes() == reference.read_bytes()
    raster, whole = image.compute(tile=tile, executor=executor), image.compute(executor=1)
    assert raster.values.tobytes() == whole.values.tobytes()
    assert raster.valid.tobytes() == whole.valid.tobytes()


def files_of(store: Path) -> dict[Path, bytes]:
    return {file.relative_to(store): file.read_bytes() for file in sorted(store.rglob("*")) if file.is_file()}


def test_a_store_is_the_same_for_any_tile_and_memory(large: Cube, tmp_path: Path) -> None:
    image = quick(large)
    one = files_of(image.to_zarr(tmp_path / "one.zarr", executor=1))
    assert files_of(image.to_zarr(tmp_path / "two.zarr", tile=100, executor=Shuffled(3))) == one
    assert files_of(image.to_zarr(tmp_path / "three.zarr", max_memory=60_000_000)) == one


def test_plain_xarray_opens_the_store(cube: Cube, tmp_path: Path) -> None:
    image, grid = cube.image(2004).embedding().select("e1", "e4"), cube.grids["epsg32633"]
    box = sub_geobox(grid, Region(20, 170, 33, 90))
    store = image.to_zarr(tmp_path / "e.zarr", box, attributes={"title": "two dimensions"})
    raster = image.compute(box)
    with xr.open_zarr(store, chunks=None) as dataset:
        assert dataset.attrs["title"] == "two dimensions"
        assert float(dataset.x[0]) == grid.affine.c + 33.5 * 30
        assert str(dataset.time.values[0])[:10] == image.type.time[0]
        for band, name in enumerate(("e1", "e4")):
            expected = np.where(raster.valid[:, band], raster.values[:, band], np.nan)
            assert np.array_equal(dataset[name].values, expected, equal_nan=True)
    with pytest.raises(CubeError, match="exists already"):
        image.to_zarr(store)
    with pytest.raises(BandError, match="time"):
        image.rename("time", "b").to_zarr(tmp_path / "f.zarr")
    assert not part_folder(tmp_path / "f.zarr").exists()


def test_what_is_not_valid_is_told_by_a_number_that_fits(cube: Cube, tmp_path: Path) -> None:
    grid = geobox_from_bounds(0, 0, 600, 600, "EPSG:32631", 30)
    numbers = np.arange(400).reshape(20, 20)
    for dtype, fill in (("uint16", 65535), ("int16", -32768), ("bool", 255), ("float64", None)):
        image = esd.from_array(numbers.astype(dtype), grid, ["n"], valid=numbers % 7 > 0)
        with xr.open_zarr(image.to_zarr(tmp_path / f"{dtype}.zarr"), chunks=None, mask_and_scale=False) as dataset:
            stored = dataset.n.values[0]
        lost = numbers % 7 == 0
        assert (np.isnan(stored[lost]) if fill is None else stored[lost] == fill).all()
        assert np.array_equal(stored[~lost], numbers.astype(dtype)[~lost])


def test_a_geotiff_is_a_cloud_optimized_one(large: Cube, tmp_path: Path) -> None:
    path = quick(large).to_geotiff(tmp_path / "a.tif")
    assert b"LAYOUT=IFDS_BEFORE_DATA" in path.read_bytes()[:400]
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.block_shapes == [(256, 256)]
        assert file.overviews(1)[:2] == [2, 4]
        assert file.descriptions == ("scaled",)
        assert not file.tags(1, ns="TIFF").get("IFD_OFFSET", "").startswith("-")


def test_smaller_copies_average_numbers_and_choose_among_classes(tmp_path: Path) -> None:
    grid = geobox_from_bounds(0, 0, 512 * 30, 512 * 30, "EPSG:32631", 30)
    rng = np.random.default_rng(0)
    valid = rng.random((512, 512)) > 0.2
    for dtype, averaged in (("float32", True), ("uint8", False), ("bool", False)):
        values = rng.integers(0, 2 if dtype == "bool" else 9, (512, 512)).astype(dtype)
        path = esd.from_array(values, grid, ["n"], valid=valid).to_geotiff(tmp_path / f"{dtype}.tif")
        with rasterio.open(path, overview_level=0) as file:
            small = file.read(1)
        four = np.ma.MaskedArray(values, ~valid).reshape(256, 2, 256, 2)
        mean = four.mean(axis=(1, 3)).filled(np.nan)
        if averaged:
            assert np.allclose(small, mean, rtol=1e-6, equal_nan=True)
        else:
            choices = np.where(valid, values, 255 if dtype == "bool" else 0).reshape(256, 2, 256, 2)
            assert (choices == small[:, None, :, None]).any(axis=(1, 3)).all()


WORK = """
    import sys, os, signal
    sys.path.insert(0, {tests!r})
    import esd
    cube = esd.open({cube!r})
    def progress(done, shards):
        if done == {kill_at}:
            os.kill(os.getpid(), signal.SIGKILL)
    image = (cube.plane("error", 2004) * 3 + 1).rename("scaled")
    image.{call}({path!r}, executor=1, progress=progress)
"""


@pytest.mark.parametrize("call", ["to_geotiff", "to_zarr"])
def test_a_killed_job_goes_on_where_it_was(large: Cube, tmp_path: Path, call: str) -> None:
    path, steps = tmp_path / "result", []
    script = WORK.format(tests=str(ROOT / "tests"), cube=str(large.path), kill_at=4, path=str(path), call=call)
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert not path.exists()
    assert len((part_folder(path) / "ledger.jsonl").read_text().splitlines()) == 4
    getattr(quick(large), call)(path, progress=lambda done, shards: steps.append((done, shards)))
    assert steps == [(done, 9) for done in range(4, 10)]
    whole = getattr(quick(large), call)(tmp_path / "whole")
    if call == "to_zarr":
        assert files_of(path) == files_of(whole)
    else:
        assert path.read_bytes() == whole.read_bytes()
    assert not part_folder(path).exists()


def interrupt(image: Image, path: Path, at: int) -> None:
    token = CancelToken()
    with pytest.raises(CancelledError):
        image.to_zarr(path, executor=1, cancel=token, progress=lambda done, _all: token.cancel() if done == at else None)


def test_a_damaged_shard_is_computed_again(large: Cube, tmp_path: Path) -> None:
    image, path, steps = quick(large), tmp_path / "a.zarr", []
    interrupt(image, path, 5)
    folder = part_folder(path)
    shard = folder / "store" / "scaled" / "c" / "0" / "0" / "1"
    shard.write_bytes(shard.read_bytes()[:-9] + b"\0" * 9)
    with (folder / "ledger.jsonl").open("a") as ledger:
        ledger.write('{"region": [0, 5')
    image.to_zarr(path, progress=lambda done, _all: steps.append(done))
    assert steps == [4, 5, 6, 7, 8, 9]
    assert files_of(path) == files_of(image.to_zarr(tmp_path / "whole.zarr"))


def test_another_question_or_other_data_begin_anew(make_cube: Callable[..., Cube], tmp_path: Path) -> None:
    cube, path = make_cube(random_codec(seed=0), rows=600, columns=600, years=(2004,)), tmp_path / "a.zarr"
    interrupt(quick(cube), path, 2)
    other, steps = (cube.plane("error", 2004) * 2).rename("scaled"), []
    interrupt(other, path, 2)
    name, window, block = cube.grid(), cube.windows[0], cube.blocks(cube.grid())[0]
    error = cube.read("error", name, window, block)
    cube.write_block(name, window, block, *(cube.read(n, name, window, block) for n in ("codes", "count")), 254 - error)
    other.to_zarr(path, progress=lambda done, _all: steps.append(done))
    assert steps == [1, 2, 3, 4]
    with xr.open_zarr(path, chunks=None) as dataset:
        assert np.array_equal(np.nan_to_num(dataset.scaled.values), other.compute().values[:, 0])


def test_two_processes_do_not_write_the_same_result(large: Cube, tmp_path: Path) -> None:
    seen = []

    def again(done: int, _all: int) -> None:
        if done == 1:
            with pytest.raises(JobError, match="another process"):
                quick(large).to_geotiff(tmp_path / "a.tif", executor=1)
            seen.append(done)

    quick(large).to_geotiff(tmp_path / "a.tif", executor=1, progress=again)
    assert seen == [1]


def test_a_deadline_ends_a_job_which_then_goes_on(large: Cube, tmp_path: Path) -> None:
    image = large.image(2004).decode().mean()
    with pytest.raises(DeadlineError, match=r"0\.3 s allowed"):
        image.compute(deadline=0.3)
    with pytest.raises(DeadlineError):
        image.to_geotiff(tmp_path / "a.tif", deadline=0.3)
    assert not (tmp_path / "a.tif").exists()


def test_storage_that_fails_once_is_asked_again() -> None:
    calls: list[Region] = []

    def shaky(region: Region) -> int:
        calls.append(region)
        if len(calls) == 2:
            raise OSError("the network blinked")
        return region.y0

    regions = [Region(i, i + 1, 0, 1) for i in range(4)]
    assert [row for _region, row in LocalExecutor(1).run(shaky, regions)] == [0, 1, 2, 3]
    assert len(calls) == 5
    calls[:] = [regions[0]]
    with pytest.raises(OSError, match="blinked"):
        list(LocalExecutor(1, retries=0).run(shaky, regions))
    for wrong in ("threads", 0, True):
        with pytest.raises(ExpressionError):
            esd.from_array(np.zeros((5, 5)), geobox_from_bounds(0, 0, 150, 150, "EPSG:32631", 30)).compute(executor=wrong)


def test_costs_are_told_before(large: Cube) -> None:
    cost = large.image(2004).ndvi().median().cost(probe=False, executor=1)
    assert (cost.pixels, cost.tiles, cost.seconds) == (1_210_000, 9, None)
    assert cost.result_bytes == 4 * cost.pixels
    assert cost.read_bytes == 1_210_000 * 12 * 3
    probed = quick(large).cost()
    assert probed.seconds is not None
    assert probed.seconds > 0
    assert "1,210,000 pixels in 9 tiles" in probed.describe()
    assert "about" in probed.describe()


def test_memory_holds_the_shard_as_well(large: Cube, tmp_path: Path) -> None:
    with pytest.raises(MemoryLimitError, match="allowed"):
        quick(large).to_zarr(tmp_path / "a.zarr", max_memory=3_000_000, executor=1)
    assert not part_folder(tmp_path / "a.zarr").exists()


RSS = """
    import sys, json
    sys.path[:0] = [{root!r} + "/tests", {root!r}]
    from benchmarks.bench_batch import run
    print(json.dumps(run({side}, {memory})))
"""


def test_a_large_expression_keeps_to_the_memory_allowed() -> None:
    memory = 300_000_000  # the whole result would take 784 MB; `make bench` runs 40,000 x 40,000 pixels in 1 GB
    script = textwrap.dedent(RSS.format(root=str(ROOT), side=14_000, memory=memory))
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ
    )
    measured = json.loads(ended.stdout)
    assert measured["right"]
    assert measured["peak_rss"] < memory * 1.3
