"""Faults: whatever happens to an ingest, resuming ends in the undisturbed store, and no reader ever saw a wrong value.

A few of each here; `make faults` tries each ESD_FAULTS times. The seed is in the message of whatever fails.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fault_world import LEFT_OUT, REFUSED, World, child, ends_within, make_cube, say, spoiled, stored

TRIALS = int(os.environ.get("ESD_FAULTS", "3"))
SEED = int(os.environ.get("ESD_SEED", "20261120"))
TMPFS_BYTES = 48_000_000

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def chances(name: str) -> Iterator[tuple[int, np.random.Generator]]:
    """Yield the number of each trial and its own random numbers."""
    for trial in range(TRIALS):
        yield trial, np.random.default_rng([SEED, trial, *name.encode()])


def clean(out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    for left in out.parent.glob(f"*{out.name}*"):
        left.unlink() if left.is_file() else shutil.rmtree(left)


def test_killed_at_any_moment(world: World, tmp_path: Path) -> None:
    out, tried, killed, looks = tmp_path / "k.esd.zarr", 0, 0, 0
    for trial, rng in chances("kill"):
        clean(out)
        for _ in range(1 + int(rng.integers(2))):  # a resumed run may be killed too
            process = child(make_cube, world.scenes, out)
            end = time.monotonic() + rng.uniform(0.05, world.seconds)
            looks += world.watch(out, lambda: process.is_alive() and time.monotonic() < end)  # noqa: B023 - ends here
            process.kill()
            tried, killed = tried + 1, killed + (ends_within(process) == -signal.SIGKILL)
        assert world.finish(out).path == out, f"seed {SEED}, trial {trial}"
    say(f"killed {killed} of {tried} ingests of {TRIALS} stores; a reader looked {looks} times; seed {SEED}")
    assert killed


def test_the_disk_is_full_at_any_moment(world: World, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small tmpfs; test_a_write_that_fails tries the same without")
    try:
        failed, looks = 0, 0
        for trial, rng in chances("full"):
            out = disk / "d.esd.zarr"
            clean(out)
            process = child(make_cube, world.scenes, out)
            ballast = disk / "ballast"
            moment = rng.uniform(0, 0.7 * world.seconds) if trial else 0.0
            full = threading.Timer(moment, fill_disk, [ballast])
            full.start()
            looks += world.watch(out, process.is_alive)
            code = ends_within(process)
            full.join()
            assert code in (0, REFUSED), f"seed {SEED}, trial {trial}: exit code {code}"
            failed += code == REFUSED
            ballast.unlink(missing_ok=True)
            world.finish(out)
        say(f"the disk ended {failed} of {TRIALS} ingests; a reader looked {looks} times; seed {SEED}")
        assert failed
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill_disk(ballast: Path) -> None:
    """Leave not a byte on a disk."""
    piece = b"x" * 1_000_000
    with ballast.open("wb", buffering=0) as file:
        while piece:
            try:
                file.write(piece)
            except OSError:
                piece = piece[: len(piece) // 2]


def full_after(writes: int, scenes: Path, out: Path) -> None:
    """Make the cube on a disk that is full from its n-th write on."""
    left, real = iter(range(writes)), os.fsync

    def fsync(descriptor: int) -> None:
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        real(descriptor)

    os.fsync = fsync
    make_cube(scenes, out)


def test_a_write_that_fails(world: World, tmp_path: Path) -> None:
    out = tmp_path / "w.esd.zarr"
    for trial, rng in chances("write"):
        clean(out)
        process = child(full_after, int(rng.integers(16)), world.scenes, out)
        world.watch(out, process.is_alive)
        assert ends_within(process) == REFUSED, f"seed {SEED}, trial {trial}"
        world.finish(out)


def truncate(rng: np.random.Generator) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        os.truncate(path, int(rng.integers(path.stat().st_size)))

    return spoil


def read_error(path: Path) -> None:
    """Let reading a file fail with EIO, as a dying disk does: the first page of a process is never there."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


@pytest.mark.parametrize("kind", ["truncated", "read error", "gone"])
def test_a_scene_that_cannot_be_read_for_a_while(world: World, tmp_path: Path, kind: str) -> None:
    out, left_out = tmp_path / "r.esd.zarr", 0
    for trial, rng in chances(kind):
        clean(out)
        scene = world.places[int(rng.integers(len(world.places)))]
        files = sorted(file for file in scene.iterdir() if "_SR_B" in file.name) if scene.is_dir() else [scene]
        file = files[int(rng.integers(len(files)))]
        spoil = {"truncated": truncate(rng), "read error": read_error, "gone": Path.unlink}[kind]
        process = child(make_cube, world.scenes, out)
        others = [world.without(scene)]
        world.watch(out, sleeping(process.is_alive, rng.uniform(0, 0.6 * world.seconds)), others)
        with spoiled(file, spoil):
            world.watch(out, process.is_alive, others)
            code = ends_within(process)
            assert code in (0, REFUSED, LEFT_OUT), f"seed {SEED}, trial {trial}: exit code {code}"
            left_out += code != 0
        world.finish(out)
    say(f"{kind}: {left_out} of {TRIALS} ingests left a scene out; seed {SEED}")


def sleeping(alive: Callable[[], bool], seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: alive() and time.monotonic() < end


def test_two_ingests_at_once(world: World, tmp_path: Path) -> None:
    out, said, refusals = tmp_path / "t.esd.zarr", [tmp_path / "first", tmp_path / "second"], 0
    for trial, rng in chances("two"):
        clean(out)
        first = child(make_cube, world.scenes, out, said[0])
        time.sleep(rng.uniform(0, world.seconds))
        second = child(make_cube, world.scenes, out, said[1])
        world.watch(out, lambda: first.is_alive() or second.is_alive())  # noqa: B023 - ends here
        codes = sorted([ends_within(first), ends_within(second)])
        assert codes in ([0, 0], [0, REFUSED]), f"seed {SEED}, trial {trial}: {codes}"
        lines = [file.read_text() for file in said if file.exists()]
        for file in said:
            file.unlink(missing_ok=True)
        assert all("is being written by process" in line for line in lines), lines
        assert len(lines) == codes.count(REFUSED)
        refusals += len(lines)
        assert stored(out) == world.files
        world.finish(out)
    say(f"two at once: {refusals} of {TRIALS} refused; seed {SEED}")
