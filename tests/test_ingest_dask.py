"""`esd ingest --dask`: blocks made on a cluster are those of one process, even where a worker is lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from cli_world import esd
from dask_world import QUIET
from fault_world import World, stored
from random_codecs import random_codec

pytest.importorskip("distributed", reason="the extra 'dask' is not installed")
pytestmark = QUIET


def workers() -> list[int]:
    """Processes that a cluster of this one has started."""
    import psutil

    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]


def lose_one(out: Path, lost: list[int]) -> None:
    """Kill a worker as soon as blocks are made."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not list(out.rglob("*.partial")) and not (out / "epsg32633/error/c").exists():
        time.sleep(0.005)
    for pid in workers()[:1]:
        os.kill(pid, signal.SIGKILL)
        lost.append(pid)


def test_a_cluster_makes_the_same_cube_and_a_lost_worker_is_not_missed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = World(tmp_path_factory.mktemp("world"))
    weights, one, two, lost = tmp_path / "w.safetensors", tmp_path / "one.esd.zarr", tmp_path / "two.esd.zarr", list[int]()
    weights.write_bytes(random_codec().data)
    words = ("ingest", world.scenes, "--encoder", weights, "--json")
    assert esd(*words, "--out", one).code == 0
    thread = threading.Thread(target=lose_one, args=(two, lost))
    thread.start()
    outcome = esd(*words, "--out", two, "--dask", "local:2")
    thread.join()
    assert outcome.code == 0, outcome.err
    assert lost
    assert stored(two) == stored(one)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (("--dask", "tcp://127.0.0.1:1"), "no Dask scheduler answers at 'tcp://127.0.0.1:1'"),
        (("--dask", "local:0"), "no Dask scheduler answers at 'local:0'"),
        (("--dask", "local:2", "--workers", "2"), "two ways for the same"),
    ],
)
def test_what_is_no_cluster_is_told_in_one_line(
    tmp_path: Path, options: tuple[str, ...], cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esd.cli.executors.CONNECT", "1s")
    outcome = esd("verify", tmp_path / "none.esd.zarr", *options)
    assert (outcome.code, outcome.err.strip().count("\n")) == (2, 0), outcome.err
    assert cause in outcome.err
