"""Batch: all shards of a result, written from the workers, and a ledger that makes a second call go on where one ended.

The part folder beside the destination holds `job.json` (what is computed), `ledger.jsonl` (a line for each shard that is
written, with its checksum) and the store itself. A shard counts as done when its files have the checksum of its line.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esd.errors import JobError
from esd.expr import Expr
from esd.grid import Region, sub_geobox
from esd.space import CubeType

from .execute import grid_of
from .executors import Executor, fewer_threads
from .plan import DEFAULT_MEMORY, Plan, make_plan
from .scene import hold
from .stop import NEVER, Stop
from .store import Store, create_store, open_store, shard_side, stored_dtype
from .tasks import WriteTile
from .version import data_version

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["Job", "Ledger", "job_for", "part_folder", "run_job"]

VERSION = 1
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Job:
    """A result to be written: its plan, the store that its shards go to, the grid that they cover, and who computes them."""

    plan: Plan
    store: Store
    geobox: GeoBox
    executor: Executor

    @property
    def identity(self) -> dict[str, Any]:
        """All that the result depends on, and how it is cut: a part folder of another identity is of no use."""
        return {
            "version": VERSION,
            "expression": self.plan.root.key,
            "data": data_version(self.plan.root, self.plan.region),
            "region": [*dataclasses.astuple(self.store.region)],
            "names": list(self.store.names),
            "dtype": self.store.dtype,
            "fill": repr(self.store.fill),
            "side": self.store.side,
        }


def part_folder(path: Path) -> Path:
    """Return the folder beside a destination that holds what is finished of it."""
    return path.with_name(f".{path.name}.part")


def _band_names(given: CubeType) -> tuple[str, ...]:
    return given.bands


def job_for(
    expr: Expr,
    region: Region,
    folder: Path,
    fill: float,
    executor: Executor,
    tile: int | None = None,
    max_memory: int | None = None,
    names: Callable[[CubeType], tuple[str, ...]] = _band_names,
) -> Job:
    """Plan the writing of a region. Raises MemoryLimitError where tiles and the shard that they fill do not fit."""
    from .lower import infer, lower

    given = infer(lower(expr))
    side = shard_side(given)
    store = Store(
        path=str(folder / "store"),
        region=region,
        names=names(given),
        times=len(given.time),
        dtype=stored_dtype(given.dtype).name,
        fill=fill,
        side=side,
    )
    allowed = DEFAULT_MEMORY if max_memory is None else max_memory

    def plan_for(threads: int) -> Plan:
        left = max(allowed - threads * store.shard_bytes, 0)
        return make_plan(expr, region, None if tile is None else min(tile, side), left, threads=threads)

    chosen, plan = fewer_threads(executor, plan_for)
    return Job(plan, store, sub_geobox(grid_of(plan), region), chosen)


class Ledger:
    """The shards that are finished, with checksums: a line of JSON each, appended when the shard is on disk."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ledger.jsonl"

    def add(self, region: Region, checksum: str) -> None:
        """Note a finished shard."""
        with self._file.open("a") as file:
            file.write(json.dumps({"region": [region.y0, region.y1, region.x0, region.x1], "sha256": checksum}) + "\n")

    def finished(self) -> dict[Region, str]:
        """Return the checksums of finished shards; a line that was cut off by a crash does not count."""
        found: dict[Region, str] = {}
        for line in self._file.read_text().splitlines() if self._file.is_file() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            found[Region(*row["region"])] = row["sha256"]
        return found


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a part folder for this process. Raises JobError if another one writes there."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JobError(f"{folder} is being written by another process; wait for it, or choose another path") from error
        yield


def _prepare(job: Job, folder: Path) -> None:
    """Make the part folder of a job, or keep it as it is if it was begun for the same result."""
    identity, described = job.identity, folder / "job.json"
    if described.is_file() and described.read_text() == json.dumps(identity):
        return
    for old in (described, folder / "ledger.jsonl"):
        old.unlink(missing_ok=True)
    shutil.rmtree(job.store.path, ignore_errors=True)
    open_store.cache_clear()
    create_store(job.store, job.plan.type, job.geobox, {})
    described.write_text(json.dumps(identity))


def run_job(job: Job, folder: Path, progress: Progress | None = None, stop: Stop = NEVER) -> None:
    """Write all shards of a job that are not on disk yet. The caller holds the folder's lock."""
    _prepare(job, folder)
    ledger, shards = Ledger(folder), job.store.shards
    finished, opened = ledger.finished(), open_store(job.store)
    left = [region for region in shards if finished.get(region) != opened.checksum(region)]
    done = len(shards) - len(left)
    if progress is not None and done:
        progress(done, len(shards))
    task = WriteTile(job.plan.root, job.store, job.plan.tile)
    with hold(job.plan.root, job.plan.tile):
        for region, checksum in job.executor.run(task, left, stop):
            ledger.add(region, checksum)
            done += 1
            if progress is not None:
                progress(done, len(shards))
