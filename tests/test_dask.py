"""A Dask cluster of processes gives what threads give, and a worker that dies in mid-run is not missed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dask_world import QUIET, dask_client

import esd
from esd.cube import Cube
from esd.engine.execute import evaluate
from esd.engine.executors import executor_of
from esd.engine.plan import make_plan
from esd.engine.stop import CancelToken
from esd.errors import CancelledError, DeadlineError, JobError
from esd.grid import Region

pytest.importorskip("distributed", reason="the extra 'dask' is not installed: pip install 'esd-toolkit[dask]'")
pytestmark = QUIET


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    settings = {"distributed.worker.daemon": True, "distributed.scheduler.allowed-failures": 1}
    path = os.pathsep.join(p for p in (os.environ.get("PYTHONPATH"), str(Path(__file__).parent)) if p)
    with dask_client(tmp_path_factory.mktemp("dask"), settings, {"PYTHONPATH": path}) as connected:
        yield connected


def pids(client: Any) -> list[int]:
    return sorted(client.run(os.getpid).values())


@pytest.fixture
def large(make_cube: Callable[..., Cube]) -> Cube:
    from random_codecs import random_codec

    return make_cube(random_codec(seed=0), rows=1100, columns=1100, years=(2004,))


def test_threads_and_processes_compute_the_same_bytes(cube: Cube, client: Any) -> None:
    image = cube.image(2004).ndvi().median().focal_mean(2)
    here, there = image.compute(tile=64, executor=2), image.compute(tile=64, executor=client)
    assert there.values.tobytes() == here.values.tobytes()
    assert there.valid.tobytes() == here.valid.tobytes()
    assert len(pids(client)) == 2
    assert os.getpid() not in pids(client)


def test_a_graph_of_any_depth_travels(cube: Cube, client: Any) -> None:
    deep = cube.image(2004)["e0"].max()
    for _ in range(600):
        deep = deep + 1
    here, there = deep.compute(tile=100, executor=1), deep.compute(tile=100, executor=client)
    assert there.values.tobytes() == here.values.tobytes()


@pytest.mark.parametrize("reducer", ["sum", "mean", "count", "max", "std"])
def test_totals_are_made_of_the_states_of_the_workers(large: Cube, client: Any, reducer: str) -> None:
    image = (large.plane("error", 2004) * 3 + 1).reduce_all(reducer)
    alone = evaluate(make_plan(image.expr).root, Region(0, 1, 0, 1))
    for executor in (1, 3, client):
        raster = image.compute(executor=executor)
        assert raster.values.tobytes() == alone.values.tobytes()
        assert raster.valid.all()


def slowly(region: Region) -> tuple[int, int]:
    time.sleep(0.15)
    return region.y0, os.getpid()


def test_a_region_whose_worker_died_is_computed_elsewhere(client: Any) -> None:
    regions = [Region(i, i + 1, 0, 1) for i in range(24)]
    seen: dict[int, int] = {}
    victim = None
    for region, (row, pid) in executor_of(client).run(slowly, regions):
        seen[region.y0] = pid
        assert row == region.y0
        if victim is None:
            victim = pid
            os.kill(victim, signal.SIGKILL)
    assert sorted(seen) == list(range(24))
    assert len(set(seen.values())) >= 2


def test_a_job_ends_right_though_a_worker_is_killed_in_mid_run(large: Cube, client: Any, tmp_path: Path) -> None:
    image = (large.plane("error", 2004) * 3 + 1).focal_mean(2)
    expected = image.to_geotiff(tmp_path / "threads.tif", executor=1)
    steps: list[tuple[int, int]] = []

    def kill_one(done: int, shards: int) -> None:
        steps.append((done, shards))
        if len(steps) == 2:
            os.kill(pids(client)[0], signal.SIGKILL)

    got = image.to_geotiff(tmp_path / "dask.tif", executor=client, progress=kill_one)
    assert got.read_bytes() == expected.read_bytes()
    assert steps == [(i, 9) for i in range(1, 10)]
    assert {path.name for path in tmp_path.iterdir()} == {"threads.tif", "dask.tif"}


def test_workers_write_the_same_store(cube: Cube, client: Any, tmp_path: Path) -> None:
    image = cube.image(2004).select("e0", "e3").max()
    stores = [image.to_zarr(tmp_path / name, executor=executor) for name, executor in (("a.zarr", 1), ("b.zarr", client))]
    contents = [{f.relative_to(s): f.read_bytes() for f in sorted(s.rglob("*")) if f.is_file()} for s in stores]
    assert contents[0] == contents[1]


def forever(_region: Region) -> None:
    time.sleep(0.3)


def test_a_run_on_a_cluster_is_stopped(client: Any, cube: Cube) -> None:
    from esd.engine.stop import stop_after

    regions, token = [Region(i, i + 1, 0, 1) for i in range(200)], CancelToken()
    with pytest.raises(DeadlineError, match=r"0\.5 s"):
        list(executor_of(client).run(forever, regions, stop_after(0.5)))
    threading.Timer(0.5, token.cancel).start()
    with pytest.raises(CancelledError):
        list(executor_of(client).run(forever, regions, stop_after(None, token)))


class Diary:
    """A task that takes its time, as one that reads scenes does, and then writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, region: Region) -> None:
        from esd.engine.stop import checkpoint

        (self.folder / f"{region.y0} begun").touch()
        for _ in range(10 * region.y0):
            time.sleep(0.05)
            checkpoint()
        (self.folder / f"{region.y0} written").touch()


def test_nobody_is_at_work_for_a_run_that_is_over(client: Any, tmp_path: Path) -> None:
    """Dask cancels a task that runs in name only: it would write into what the next run writes."""
    run = executor_of(client).run(Diary(tmp_path), [Region(i, i + 1, 0, 1) for i in (0, 3, 4, 5)])
    assert next(run)[0].y0 == 0
    while not list(tmp_path.glob("[345] begun")):
        time.sleep(0.01)
    run.close()
    seen = sorted(path.name for path in tmp_path.iterdir())
    time.sleep(2.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == seen


def test_a_task_that_comes_after_the_end_of_its_run_does_not_begin() -> None:
    import asyncio

    from esd.engine.dask_runs import end_run, working

    with working("one") as stop:
        stop.check()
    asyncio.run(end_run("one"))
    with pytest.raises(CancelledError, match="is over"), working("one"):
        raise AssertionError("it began")


def deadly(_region: Region) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_work_that_kills_every_worker_is_told(client: Any) -> None:
    with pytest.raises(JobError, match="workers died"):
        list(executor_of(client).run(deadly, [Region(0, 1, 0, 1)]))
    deadline = time.monotonic() + 30
    while len(client.scheduler_info(n_workers=-1)["workers"]) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)


def failing(_region: Region) -> None:
    raise ValueError("wrong")


def test_a_mistake_in_a_task_is_raised_here(client: Any) -> None:
    with pytest.raises(ValueError, match="wrong"):
        list(executor_of(client).run(failing, [Region(0, 1, 0, 1)]))


@esd.udf_focal(window=((-1, 1), (-1, 1), (0, 0)))
def window_spread(window: Any, valid: Any, gain: float = 1.0) -> Any:
    """Spread of the valid values around a pixel."""
    largest = np.where(valid, window, -np.inf).max(axis=(0, 1, 2))
    return gain * (largest - np.where(valid, window, np.inf).min(axis=(0, 1, 2)))


def test_functions_of_users_and_wholes_of_grids_reach_the_workers(cube: Cube, client: Any) -> None:
    steep = window_spread(cube.image(2004).ndvi().median(), gain=2.0)
    image = esd.call("add_bands", (steep > 1).component_size().rename("size"), (steep > 1).distance_transform())
    here, there = image.compute(tile=64, executor=2), image.compute(tile=64, executor=client)
    assert here.valid.any()
    assert there.values.tobytes() == here.values.tobytes()
    assert there.valid.tobytes() == here.valid.tobytes()


def _spy(path: str) -> None:
    """Note every evaluation of a whole grid in a file, on a worker."""
    from esd.engine import scene

    made = scene.make_whole

    def noting(node: Any, *args: Any) -> Any:
        with Path(path).open("a") as file:
            file.write(f"{node.op} {os.getpid()}\n")
        return made(node, *args)

    scene.make_whole = noting
    if "esd.engine.dask_executor" in sys.modules:
        sys.modules["esd.engine.dask_executor"].make_whole = noting  # type: ignore[attr-defined]  # imported by name


def test_what_needs_the_whole_grid_is_computed_once_for_all_workers(large: Cube, client: Any, tmp_path: Path) -> None:
    image = (large.plane("error", 2004) > 0.03).connected_components().component_size()
    here = image.compute(tile=256, executor=1)
    client.run(_import_executor)
    client.run(_spy, str(tmp_path / "made"))
    there = image.compute(tile=256, executor=client)
    assert there.values.tobytes() == here.values.tobytes()
    assert there.valid.tobytes() == here.valid.tobytes()
    made = [line.split()[0] for line in (tmp_path / "made").read_text().splitlines()]
    assert sorted(made) == ["component_size", "connected_components"]


def _import_executor() -> None:
    import esd.engine.dask_executor  # noqa: F401 - so that what it imported can be replaced
