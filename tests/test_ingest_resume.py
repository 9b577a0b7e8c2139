"""Restart: an ingest killed at random moments ends in the same bytes as one that was never disturbed."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from random_codecs import random_codec
from scene_files import flat, write_landsat_c2

from esd.grid import geobox_from_bounds
from esd.ingest.pipeline import run_ingest
from esd.ingest.plan import plan_ingest

KILLS = 5
SEED = 20_240_715
SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from random_codecs import random_codec
from esd.ingest.pipeline import run_ingest
from esd.ingest.plan import plan_ingest

class Loud:
    def start(self, total):
        print("started", flush=True)
    def advance(self, n, message):
        print(message, flush=True)

plan = plan_ingest([{scenes!r}], max_memory={memory})
print(len(plan.tasks), flush=True)
run_ingest(plan, {out!r}, random_codec(), Loud(), resume=True)
"""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of two years, larger than a block, of which six rows of each block are clear: quick to encode."""
    folder = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(11)
    grid = geobox_from_bounds(500_000, 5_000_000, 500_000 + 30 * 520, 5_000_000 + 30 * 300, "EPSG:32633", 30)
    for number in range(16):
        clear = (np.arange(grid.shape.y)[:, None] % 256 < 6) & (rng.random(tuple(grid.shape)) < 0.8)
        quality = np.where(clear, 1 << 6, 1 << 3).astype(np.uint16)
        values = flat(grid) * rng.uniform(0.7, 1.3, (6, 1, 1))
        write_landsat_c2(folder, dt.date(2004, 1, 11) + dt.timedelta(days=45 * number), values, geobox=grid, quality=quality)
    return folder


def stored(store: Path) -> dict[str, bytes]:
    return {str(file.relative_to(store)): file.read_bytes() for file in sorted(store.rglob("*")) if file.is_file()}


def run_and_kill(scenes: Path, out: Path, memory: int, wait: float) -> int:
    """Run an ingest in a process of its own and kill it `wait` seconds after it has started; return its exit status."""
    script = SCRIPT.format(tests=str(Path(__file__).parent), scenes=str(scenes), memory=memory, out=str(out))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("started"):
            break
    time.sleep(wait)
    os.kill(process.pid, signal.SIGKILL)
    process.stdout.close()
    return process.wait()


def test_killed_five_times_and_still_the_same_bytes(scenes: Path, tmp_path: Path) -> None:
    memory = plan_ingest([scenes]).peak_bytes - 1  # too little for blocks of 512 pixels
    plan = plan_ingest([scenes], max_memory=memory)
    assert (plan.block, len(plan.tasks)) == (256, 12)
    report = run_ingest(plan, tmp_path / "calm.esd.zarr", random_codec())
    chance = np.random.default_rng(SEED)
    out = tmp_path / "killed.esd.zarr"
    waits = chance.uniform(0, report.seconds / KILLS, KILLS)
    statuses = [run_and_kill(scenes, out, memory, wait) for wait in waits]
    story = f"seed {SEED}: killed after {waits} seconds, exit statuses {statuses}"
    assert -signal.SIGKILL in statuses, story
    run_ingest(plan, out, random_codec(), resume=True)
    assert stored(out) == stored(tmp_path / "calm.esd.zarr"), story


def test_a_run_killed_before_its_store_existed_is_begun_anew(scenes: Path, tmp_path: Path) -> None:
    plan = plan_ingest([scenes], aoi="15.0,45.154,15.02,45.16")
    out = tmp_path / "a.esd.zarr"
    (tmp_path / "a.esd.zarr.ledger.duckdb").write_bytes(b"")
    report = run_ingest(plan, out, random_codec())
    assert report.skipped == 0
    assert run_ingest(plan, out, random_codec(), resume=True).skipped == report.blocks
