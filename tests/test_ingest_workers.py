"""A worker that is lost, of Dask's or of our own, is not missed: the store is the undisturbed one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dask_world import QUIET, dask_client
from fault_world import World, say, small_plan, stored
from random_codecs import random_codec

from esd.engine import dask_executor
from esd.engine.executors import Executor, executor_of
from esd.errors import JobError
from esd.ingest.pipeline import run_ingest
from esd.ingest.workers import ProcessExecutor

TRIALS = int(os.environ.get("ESD_FAULTS", "1"))
SEED = int(os.environ.get("ESD_SEED", "20261120"))
pytestmark = QUIET


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with dask_client(tmp_path_factory.mktemp("dask"), {"distributed.scheduler.allowed-failures": 10}) as connected:
        yield connected


def kill_one(pids: Callable[[], list[int]], rng: np.random.Generator, seconds: float, lost: list[int]) -> threading.Thread:
    """Kill a worker at a random moment, in the background."""

    def later() -> None:
        time.sleep(rng.uniform(0, seconds))
        alive = pids()
        if alive:
            lost.append(int(rng.choice(alive)))
            os.kill(lost[-1], signal.SIGKILL)

    thread = threading.Thread(target=later)
    thread.start()
    return thread


def lose_workers(
    world: World,
    out: Path,
    executor: Executor,
    pids: Callable[[], list[int]],
    name: str,
    replace: Callable[[], None] = lambda: None,
) -> None:
    """Lose a worker in each of many ingests; where an ingest ends because none is left, `replace` them and resume."""
    lost: list[int] = []
    ended = 0
    for trial in range(TRIALS):
        rng = np.random.default_rng([SEED, trial, *name.encode()])
        replace()
        thread = kill_one(pids, rng, 2 * world.seconds, lost)
        store = out / f"{trial}.esd.zarr"
        try:
            run_ingest(small_plan(world.scenes), store, random_codec(), executor=executor)
        except JobError:
            ended += 1
            replace()
            run_ingest(small_plan(world.scenes), store, random_codec(), executor=executor, resume=store.exists())
        thread.join()
        assert stored(store) == world.files, f"seed {SEED}, trial {trial}"
        world.finish(store)
    say(f"{name}: {len(lost)} workers lost in {TRIALS} ingests, {ended} of them ended by it; seed {SEED}")


def test_a_lost_dask_worker(world: World, tmp_path: Path, client: Any) -> None:
    def pids() -> list[int]:
        return list(client.run(os.getpid).values())

    def replace() -> None:
        if len(pids()) < 2:  # a nanny whose worker dies while it starts gives up, and the cluster goes on counting it
            client.cluster.scale(0)
            client.cluster.scale(2)
        client.wait_for_workers(2, timeout=120)

    lose_workers(world, tmp_path, executor_of(client), pids, "dask", replace)


def test_a_lost_process(world: World, tmp_path: Path) -> None:
    def pids() -> list[int]:
        return [child.pid for child in multiprocessing.active_children() if child.pid and "Spawn" in type(child).__name__]

    lose_workers(world, tmp_path, ProcessExecutor(2), pids, "processes")


def test_a_cluster_that_has_lost_all_workers_is_waited_for(
    world: World, tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that died together are started again by their nannies; a cluster that starts none is told."""
    for pid in client.run(os.getpid).values():
        os.kill(pid, signal.SIGKILL)
    run_ingest(small_plan(world.scenes), tmp_path / "a.esd.zarr", random_codec(), executor=executor_of(client))
    assert stored(tmp_path / "a.esd.zarr") == world.files
    monkeypatch.setattr(dask_executor, "PATIENCE", 0.5)
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", host="127.0.0.1") as empty,
        distributed.Client(empty, set_as_default=False) as connected,
        pytest.raises(JobError, match="no workers"),
    ):
        run_ingest(small_plan(world.scenes), tmp_path / "b.esd.zarr", random_codec(), executor=executor_of(connected))
