"""Faults of an object store: whatever happens to an ingest into it, resuming ends in the undisturbed cube, to the byte.

A few of each here; `make faults` tries each ESD_FAULTS times. The seed is in the message of whatever fails.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fault_world import LEFT_OUT, LONGEST, REFUSED, World, arrays_of, check_reader, child, ends_within, say, small_plan
from random_codecs import random_codec
from s3_world import FaultyProxy, address_of, needs_s3, objects_of, outage, pointed_at, random_faults

from esd import store_paths
from esd.errors import CubeError
from esd.ingest import lease, ledger_place
from esd.ingest.ledger import ledger_path
from esd.ingest.pipeline import run_ingest
from esd.store_paths import ObjectPath, remove_tree, s3_store

TRIALS = int(os.environ.get("ESD_FAULTS", "2"))
SEED = int(os.environ.get("ESD_SEED", "20261120"))
LEASE = 4.0
MOST_REQUESTS = 60
"""Requests that an ingest has not yet done with, however it goes."""

pytestmark = [
    needs_s3,
    pytest.mark.usefixtures("server"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def make_there(scenes: Path, out: ObjectPath, endpoint: str, patience: int) -> None:
    """Make or resume the cube through a proxy, with little patience, and a lease that ends soon."""
    from fault_world import make_cube

    pointed_at(endpoint)
    s3_store.cache_clear()
    store_paths.RETRIES, store_paths.PAUSES, lease.LEASE_SECONDS, ledger_place.SECONDS_BETWEEN = (
        patience,
        (0.05,),
        LEASE,
        0.0,
    )
    make_cube(scenes, out)


def clean(out: ObjectPath) -> None:
    remove_tree(out)
    for left in (ledger_path(out), out.with_name(f".{out.name}.lock")):
        left.unlink(missing_ok=True)


def finish(world: World, out: ObjectPath) -> None:
    """Resume undisturbed, as soon as the lease of the one before has ended; nothing tells what had happened."""
    deadline = time.monotonic() + LEASE + 60
    while True:
        try:
            report = run_ingest(small_plan(world.scenes), out, random_codec(), resume=True)
            break
        except CubeError as error:
            if "is being written by process" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.3)
    assert report.failures == ()
    assert objects_of(out) == world.files


def watch(world: World, out: ObjectPath, busy: Iterator[bool]) -> int:
    """Read the cube while it is made, and check every value."""
    looks = 0
    while next(busy):
        if (out / "zarr.json").is_file():
            check_reader(arrays_of(out), [world.arrays])
            looks += 1
        time.sleep(0.02)
    return looks


def try_faults(world: World, server: str, name: str, kinds: tuple[str, ...], share: float, patience: int) -> None:
    """Let requests fail at random, and finish without faults."""
    out, happened, refused, looks = address_of(f"{name}.esd.zarr"), 0, 0, 0
    for trial in range(TRIALS):
        clean(out)
        rng = np.random.default_rng([SEED, trial, *name.encode()])
        fault = outage(int(rng.integers(MOST_REQUESTS)), kinds[0]) if share == 1 else random_faults(rng, share, *kinds)
        proxy = FaultyProxy(server, fault)
        with proxy.running() as address:
            process = child(make_there, world.scenes, out, address, patience)
            looks += watch(world, out, iter(process.is_alive, None))
            code = ends_within(process)
        assert code in (0, REFUSED, LEFT_OUT), f"seed {SEED}, trial {trial}: exit code {code}"
        happened += sum(count for kind, count in proxy.happened.items() if kind)
        refused += code == REFUSED
        finish(world, out)
    say(
        f"{name}: {happened} faults, {refused} of {TRIALS} ingests ended by them; a reader looked {looks} times; seed {SEED}"
    )
    assert happened


def test_errors_and_drops_now_and_then(world: World, server: str) -> None:
    try_faults(world, server, "moments", ("error", "error after", "drop", "drop after", "cut"), 0.25, patience=4)


def test_errors_that_are_more_than_patience(world: World, server: str) -> None:
    try_faults(world, server, "impatient", ("error", "error after", "drop after"), 0.3, patience=0)


@pytest.mark.parametrize("kind", ["error", "drop"])
def test_an_outage_from_any_moment_on(world: World, server: str, kind: str) -> None:
    try_faults(world, server, f"outage-{kind}", (kind,), 1, patience=1)


def test_timeouts(world: World, server: str) -> None:
    try_faults(world, server, "timeouts", ("stall",), 0.03, patience=4)


def at_request(number: int) -> tuple[threading.Event, Callable[[str, int], str]]:
    """Return an event, and the "fault" that sets it when a process has come to its n-th request."""
    there = threading.Event()

    def look(_method: str, asked: int) -> str:
        if asked >= number:
            there.set()
        return ""

    return there, look


def test_killed_at_any_moment_its_lease_ends(world: World, server: str) -> None:
    out, killed, refused = address_of("killed.esd.zarr"), 0, 0
    for trial in range(TRIALS):
        clean(out)
        moment = int(np.random.default_rng([SEED, trial, *b"killed"]).integers(3, MOST_REQUESTS))
        there, look = at_request(moment)
        with FaultyProxy(server, look).running() as address:
            process = child(make_there, world.scenes, out, address, 4)
            assert there.wait(LONGEST), f"seed {SEED}, trial {trial}: never came to request {moment}"
            process.kill()
            killed += ends_within(process) == -signal.SIGKILL
        refused += ends_within(child(make_there, world.scenes, out, server, 4)) == REFUSED
        finish(world, out)
    say(f"killed {killed} of {TRIALS}; of those that tried at once after it {refused} were refused; seed {SEED}")
    assert killed


def test_two_ingests_at_once(world: World, server: str) -> None:
    out, refused = address_of("two.esd.zarr"), 0
    for trial in range(TRIALS):
        clean(out)
        there, look = at_request(int(np.random.default_rng([SEED, trial, *b"two"]).integers(MOST_REQUESTS)))
        with FaultyProxy(server, look).running() as address:
            first = child(make_there, world.scenes, out, address, 4)
            assert there.wait(LONGEST)
            second = child(make_there, world.scenes, out, server, 4)
            codes = sorted([ends_within(first), ends_within(second)])
        assert codes in ([0, 0], [0, REFUSED]), f"seed {SEED}, trial {trial}: {codes}"
        refused += REFUSED in codes
        assert objects_of(out) == world.files
        finish(world, out)
    say(f"two at once: {refused} of {TRIALS} refused; seed {SEED}")
