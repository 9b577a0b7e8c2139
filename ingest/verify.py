"""Verifying a store: every block against the checksum that was taken when it was written, and making again what is not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from esd.codec import Codec
from esd.cube import Cube
from esd.engine.executors import Executor
from esd.errors import CubeError
from esd.grid import Region
from esd.shards import remove_partial_files
from esd.store_paths import Place, place_of

from .append import plan_of_run
from .ledger import Ledger, ledger_path
from .ledger_place import opened_ledger, write_lock
from .pipeline import Progress, carry_out
from .session import Session

__all__ = ["DamagedBlock", "Verified", "run_verify"]


@dataclass(frozen=True, order=True)
class DamagedBlock:
    """A block whose files are not those that were written."""

    window: dt.date
    rows: tuple[int, int]
    columns: tuple[int, int]
    grid: str


@dataclass(frozen=True)
class Verified:
    """What was found of a store: blocks looked at, those damaged, how many were never written, and a codec put back."""

    blocks: int
    damaged: tuple[DamagedBlock, ...]
    unfinished: int
    codec_restored: bool = False


def run_verify(
    store: str | Place,
    progress: Progress | None = None,
    *,
    repair: bool = False,
    executor: Executor | None = None,
    codecs: Iterable[Codec] = (),
) -> Verified:
    """Look at every block of a store; with `repair`, make those again that are damaged, missing or not finished.

    What is found is returned. The scenes have to be where they were; a codec that is damaged is put back from that one of
    `codecs` which wrote the store. Raises CubeError if the store is being written, has no ledger, is damaged beyond its
    blocks and codec, or if what was repaired is still not what was written.
    """
    with _opened(place_of(store)) as (cube, ledger):
        restored = repair and cube.restore_codec(codecs)
        found = replace(_verify(cube, ledger), codec_restored=restored)
        if not repair:
            return found
        remove_partial_files(cube.path)
        for run in ledger.runs():
            plan = plan_of_run(cube, ledger, run)
            ledger.check(run, plan.settings(str(run.settings["encoder"])))
            sizes = plan.scene_bytes
            ledger.admit(run, [(scene, sizes[scene.id]) for scene in plan.scenes], ledger.failures_of(run))
            carry_out(Session(plan, cube, ledger, run, created=False), progress, executor)
        remove_partial_files(cube.path)  # of workers that were lost meanwhile
        left = _verify(cube, ledger)
        if left.damaged:
            raise CubeError(f"{len(left.damaged)} blocks of {cube.path} are damaged again; look at its disk")
        return found


@contextmanager
def _opened(store: Place) -> Iterator[tuple[Cube, Ledger]]:
    cube = Cube.open(store)
    with write_lock(store) as lock:
        if not ledger_path(store).exists():
            raise CubeError(f"{store} has no ledger beside it, so there is nothing to compare with; restore the ledger")
        with opened_ledger(store, lock) as ledger:
            yield cube, ledger


def _verify(cube: Cube, ledger: Ledger) -> Verified:
    """Compare every block's bytes with the checksum of its row, and the codec with its own.

    Raises CubeError if metadata or codec are damaged.
    """
    looked_at, damaged, unfinished = 0, [], 0
    for grid in cube.grids:
        regions = {(region.y0, region.x0): region for region in cube.blocks(grid)}
        rows = ledger.blocks(grid)
        looked_at += len(rows)
        for (window, y0, x0), row in rows.items():
            if cube.block_checksum(grid, window, regions[y0, x0]) != row.checksum:
                damaged.append(_damaged(window, regions[y0, x0], grid))
        unfinished += sum(
            (window, *corner) not in rows and cube.provenance_file(grid, window, region).exists()
            for window in cube.windows
            for corner, region in regions.items()
        )
    _ = cube.codec
    return Verified(looked_at, tuple(sorted(damaged)), unfinished)


def _damaged(window: dt.date, region: Region, grid: str) -> DamagedBlock:
    return DamagedBlock(window, (region.y0, region.y1), (region.x0, region.x1), grid)
