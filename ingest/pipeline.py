"""The ingest itself: block by block, scenes to dekads to codes, written once, and safe to kill at any moment."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from threadpoolctl import threadpool_limits

from esd.codec import Codec
from esd.cube import UNKNOWN_ERROR, Cube, open_cube, quantize_error
from esd.dekad import step_counts
from esd.engine.executors import Executor
from esd.engine.stop import checkpoint
from esd.errors import CancelledError, SceneError
from esd.grid import Region, region_of, sub_geobox
from esd.store_paths import ObjectPath, Place, place_of

from .archive import Scratch
from .filling import row_strips
from .gap_stack import BlockStack
from .ledger import BlockRow, Corner
from .plan import WORKERS, IngestPlan, Task
from .provenance import block_document, clear_share
from .readers import Failure, read_scene
from .scene import Observation, Scene
from .session import Session, append_session, discard, ingest_session

__all__ = ["IngestReport", "Progress", "carry_out", "run_append", "run_ingest"]

STRIP_PIXELS = 4096
"""Pixels that one thread composites and encodes at a time: whole batches of the codec."""
PAUSES = (0.02, 0.2)
"""Seconds before a scene that could not be read is tried again."""
STRIP_WORK = 4
"""Steps of progress that encoding a strip counts for; reading a scene counts for one."""

Codes = npt.NDArray[np.unsignedinteger]
Bytes = npt.NDArray[np.uint8]
Block = tuple[Codes, Bytes, Bytes]


class Progress(Protocol):
    """Is told how far the work is."""

    def start(self, total: int) -> None:
        """Hear how many steps there are."""
        ...

    def advance(self, n: int, message: str) -> None:
        """Hear that `n` more are done, and what is being worked on."""
        ...


class _Silent:
    def start(self, total: int) -> None:
        """Say nothing."""

    def advance(self, n: int, message: str) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class IngestReport:
    """What an ingest has done. `bytes_in` counts the scenes without failure; `skipped` blocks were done before."""

    path: Place
    scenes: int
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    windows: tuple[dt.date, ...]
    blocks: int
    skipped: int
    bytes_in: int
    seconds: float


def run_ingest(
    plan: IngestPlan | Sequence[IngestPlan],
    out: str | Place,
    codec: Codec,
    progress: Progress | None = None,
    *,
    resume: bool = False,
    executor: Executor | None = None,
) -> IngestReport:
    """Carry out a plan, or one for each zone (`zones.plan_zones`), into the store `out`; its ledger lies beside it.

    A scene that cannot be read is written down with its cause and left out. With `resume`, blocks that are written whole
    are skipped, and those that lack a scene which can be read now are made again; a store that does not exist is begun.
    `executor` makes blocks in other processes: a `workers.ProcessExecutor`, or the engine's `DaskExecutor`.
    Raises CubeError if the store exists and `resume` is not set, was begun with other settings or is being written;
    SceneError, with nothing left behind, if no scene at all could be read.
    """
    plans = (plan,) if isinstance(plan, IngestPlan) else tuple(plan)
    with ingest_session(plans, place_of(out), codec, resume=resume) as sessions:
        report = _joined(plans, [carry_out(session, progress, executor) for session in sessions])
    if not report.scenes:
        if sessions[0].created:
            discard(place_of(out))
        tried = len({scene.id for one in plans for scene in one.scenes})
        raise SceneError(f"none of the {tried} scenes can be read; the first: {report.failures[0].cause}")
    return report


def _joined(plans: Sequence[IngestPlan], reports: Sequence[IngestReport]) -> IngestReport:
    """Return the reports of several grids of one cube as one; a scene that meets several of them counts once."""
    failed = {failure.source for failure in reports[-1].failures}
    return replace(
        reports[-1],
        scenes=len({scene.id for plan in plans for scene in plan.scenes} - failed),
        notes=tuple(dict.fromkeys(note for report in reports for note in report.notes)),
        windows=tuple(sorted({window for report in reports for window in report.windows})),
        blocks=sum(report.blocks for report in reports),
        skipped=sum(report.skipped for report in reports),
        bytes_in=sum(report.bytes_in for report in reports),
        seconds=sum(report.seconds for report in reports),
    )


def run_append(
    plan: IngestPlan | Sequence[IngestPlan],
    store: str | Place,
    progress: Progress | None = None,
    *,
    resume: bool = False,
    executor: Executor | None = None,
) -> IngestReport:
    """Add the windows of plans (see `append.plan_append`) to a store, by its own encoder; else as `run_ingest`."""
    plans = (plan,) if isinstance(plan, IngestPlan) else tuple(plan)
    with append_session(plans, place_of(store), resume=resume) as sessions:
        return _joined(plans, [carry_out(session, progress, executor) for session in sessions])


def carry_out(session: Session, progress: Progress | None, executor: Executor | None) -> IngestReport:
    """Write all blocks of a session's plan that are not whole yet; see `run_ingest`."""
    started, plan, progress = time.monotonic(), session.plan, progress or _Silent()
    progress.start(len(plan.scenes) + sum(_steps(task) for task in plan.tasks))
    hashes = session.hashes(lambda scene: progress.advance(1, f"looking at {scene.id}"))
    skipped = _write_blocks(session, hashes, progress, executor)
    failures = session.settle()
    failed = {failure.source for failure in failures}
    read = [scene for scene in plan.scenes if scene.id not in failed]
    return IngestReport(
        path=session.cube.path,
        scenes=len(read),
        failures=failures,
        notes=plan.notes,
        windows=plan.windows,
        blocks=len(plan.tasks),
        skipped=skipped,
        bytes_in=sum(plan.scene_bytes[scene.id] for scene in read),
        seconds=time.monotonic() - started,
    )


def _write_blocks(session: Session, hashes: Mapping[str, str], progress: Progress, executor: Executor | None) -> int:
    """Write all blocks that are not yet whole, window by window; return how many were."""
    plan, cube = session.plan, session.cube
    known = session.ledger.blocks(plan.grid)
    left = Counter(scene.path for task in plan.tasks for scene in task.scenes)
    skipped = 0
    with (
        Scratch(_scratch_of(cube.path)) as scratch,
        # BLAS would start as many threads again in each worker, and they would only wait for one another.
        threadpool_limits(1),
    ):
        make = MakeBlock(plan, cube.path, scratch.root, session.origin, hashes, known)
        for task, made in _run(make, executor, progress):
            if made is None:
                skipped += 1
            else:
                place = (plan.grid, task.window, task.region)
                session.ledger.finish_block(*place, made.row, made.seconds, made.failures)
            left.subtract(scene.path for scene in task.scenes)
            for scene in task.scenes:
                if not left[scene.path]:
                    scratch.release(scene.path)
    return skipped


def _scratch_of(store: Place) -> Path | None:
    """Return where tarballs are unpacked: beside a cube on a disk; None, a temporary folder, for an object store."""
    return None if isinstance(store, ObjectPath) else store.with_name(f".{store.name}.scratch")


def _run(make: MakeBlock, executor: Executor | None, progress: Progress) -> Iterator[tuple[Task, MadeBlock | None]]:
    """Make all blocks of a plan, here or elsewhere."""
    tasks = make.tasks
    if executor is None:
        for place, task in tasks.items():
            yield task, make(place, progress)
        return
    for done, made in executor.run(make, list(tasks)):
        task = tasks[done]
        progress.advance(_steps(task), f"{task.window} rows {done.y0}-{done.y1}")
        yield task, made


def _steps(task: Task) -> int:
    """Return the steps of progress that a block takes."""
    return len(task.scenes) + STRIP_WORK * len(row_strips(task.region.shape, STRIP_PIXELS))


@dataclass(frozen=True)
class MadeBlock:
    """A block that was written, for the ledger."""

    row: BlockRow
    failures: tuple[Failure, ...]
    seconds: float


@dataclass(frozen=True)
class MakeBlock:
    """Makes the blocks of a plan, in whichever process it is called: reads the scenes, writes the block.

    `known` are the blocks in the ledger; one of them that is whole, and of all that can be read, is left as it is.
    """

    plan: IngestPlan
    store: Place
    scratch: Path
    origin: Mapping[str, object]
    hashes: Mapping[str, str]
    known: Mapping[Corner, BlockRow]

    @cached_property
    def tasks(self) -> dict[Region, Task]:
        """The blocks of the plan, by place."""
        return {task.place: task for task in self.plan.tasks}

    def __call__(self, place: Region, progress: Progress | None = None) -> MadeBlock | None:
        """Make one block and return what the ledger has to know; None if it is done already."""
        task, told = self.tasks[place], progress or _Silent()
        cube, scratch = open_cube(self.store), Scratch.shared(self.scratch)
        with ThreadPoolExecutor(WORKERS) as pool:
            if self._is_done(task, cube, scratch):
                told.advance(_steps(task), f"{task.window} is there already")
                return None
            return _write_block(self, task, cube, scratch, pool, told)

    def _is_done(self, task: Task, cube: Cube, scratch: Scratch) -> bool:
        """Whether a block is as its row says, and no scene that it lacks can be read now."""
        row = self.known.get((task.window, task.region.y0, task.region.x0))
        if row is None or cube.block_checksum(self.plan.grid, task.window, task.region) != row.checksum:
            return False
        lacking = [scene for scene in task.scenes if row.inputs.get(scene.id) != self.hashes[scene.id]]
        around = task.region.grow(self.plan.recipe.margin).intersect(region_of(self.plan.geobox))
        geobox = sub_geobox(self.plan.geobox, around)
        return all(isinstance(_attempt(scene, geobox, scratch), SceneError) for scene in lacking)


def _write_block(
    make: MakeBlock, task: Task, cube: Cube, scratch: Scratch, pool: ThreadPoolExecutor, progress: Progress
) -> MadeBlock:
    started, plan = time.monotonic(), make.plan
    grid, around = plan.grid, task.region.grow(plan.recipe.margin).intersect(region_of(plan.geobox))
    geobox = sub_geobox(plan.geobox, around)
    stack = BlockStack(task.window, around.shape, plan.recipe, task.region.within(around))
    failures, used = [], []
    for scene, result in _read_all(task.scenes, geobox, scratch, pool):
        if isinstance(result, SceneError):
            failures.append(Failure(scene.id, str(result)))
        else:
            stack.add(scene, result)
            used.append((scene.id, make.hashes[scene.id], clear_share(result.clear[:, *task.region.within(around)])))
        progress.advance(1, f"reading {scene.id}")
        checkpoint()
    stack.fill(pool.map)
    inside = plan.area.inside(sub_geobox(plan.geobox, task.region)) if plan.area is not None else None
    told = partial(progress.advance, STRIP_WORK, f"encoding {task.window} rows {task.region.y0}-{task.region.y1}")
    origin = block_document(make.origin, task.window, task.region, used, [failure.source for failure in failures])
    arrays = _encode_block(stack, cube.codec, plan.recipe.refine, inside, pool, told)
    checkpoint()
    if failures and scratch.gone:
        raise CancelledError("the ingest that asked for this block is over; what it lacks may be there all the same")
    cube.write_block(grid, task.window, task.region, *arrays, provenance=origin)
    checksum = cube.block_checksum(grid, task.window, task.region)
    row = BlockRow(checksum, {name: sha256 for name, sha256, _ in used}, tuple(failure.source for failure in failures))
    return MadeBlock(row, tuple(failures), time.monotonic() - started)


def _read_all(
    scenes: tuple[Scene, ...], geobox: GeoBox, scratch: Scratch, pool: ThreadPoolExecutor
) -> Iterator[tuple[Scene, Observation | SceneError]]:
    """Read scenes in their order."""
    return zip(scenes, pool.map(lambda scene: _attempt(scene, geobox, scratch), scenes), strict=True)


def _attempt(scene: Scene, geobox: GeoBox, scratch: Scratch) -> Observation | SceneError:
    """Read a scene, again after a pause if that fails: disks and networks have moments, files do not."""
    for pause in (*PAUSES, None):
        try:
            return read_scene(scene, geobox, scratch)
        except SceneError as error:
            failed = error
        if pause is not None:
            scratch.forget(scene.path)
            time.sleep(pause)
    return failed


def _encode_block(
    stack: BlockStack,
    codec: Codec,
    refine: int,
    inside: npt.NDArray[np.bool_] | None,
    pool: ThreadPoolExecutor,
    told: Callable[[], None],
) -> Block:
    """Return codes and count [steps, y, x] and error [y, x] of a block; pixels not `inside` stay empty."""
    rows, columns = stack.shape
    codes = np.full((codec.steps, rows, columns), codec.fill, dtype=codec.code_dtype)
    count, error = np.zeros(codes.shape, dtype=np.uint8), np.full(stack.shape, UNKNOWN_ERROR, dtype=np.uint8)

    def encode(strip: slice) -> None:
        dekads = stack.rows(strip)
        values, weights, given = dekads.values, dekads.weights, dekads.given
        if inside is not None:
            weights, given = weights * inside[strip], given * inside[strip]
        if not given.any():  # outside of the scenes or of the area
            return
        codes[:, strip] = codec.encode(values, given, refine)
        count[:, strip] = step_counts(weights, codec.steps)
        error[strip] = quantize_error(_rmse(codec.decode(codes[:, strip]), values, weights))

    for _ in pool.map(encode, row_strips(stack.shape, STRIP_PIXELS)):
        told()
    return codes, count, error


def _rmse(decoded: npt.NDArray[np.float32], values: npt.NDArray[np.float32], weights: Bytes) -> npt.NDArray[np.float32]:
    """Return the root mean squared error [y, x] against all observed dekads and bands; NaN where there are none."""
    seen = weights > 0
    number = seen.sum(axis=(0, 1))
    squared = np.where(seen, decoded - values, np.float32(0)) ** 2
    total = squared.sum(axis=(0, 1), dtype=np.float64)
    rmse = np.sqrt(total / np.maximum(number, 1))
    return np.where(number > 0, rmse, np.nan).astype(np.float32)
