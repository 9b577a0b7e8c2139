"""The ingest itself: block by block, scenes to dekads to codes, written once, and safe to kill at any moment."""

from __future__ import annotations

import datetime as dt
import glob
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from threadpoolctl import threadpool_limits

from esd.codec import Codec
from esd.cube import Cube, quantize_error
from esd.dekad import step_counts
from esd.errors import CubeError, SceneError
from esd.grid import region_of, sub_geobox

from .archive import Scratch
from .filling import row_strips
from .gap_stack import BlockStack
from .ledger import Ledger, ledger_path
from .plan import WORKERS, IngestPlan, Task
from .readers import Failure, read_scene
from .scene import Observation, Scene

__all__ = ["IngestReport", "Progress", "run_ingest"]

STRIP_PIXELS = 4096
"""Pixels that one thread composites and encodes at a time: whole batches of the codec."""
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

    path: Path
    scenes: int
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    windows: tuple[dt.date, ...]
    blocks: int
    skipped: int
    bytes_in: int
    seconds: float


def run_ingest(
    plan: IngestPlan, out: str | Path, codec: Codec, progress: Progress | None = None, *, resume: bool = False
) -> IngestReport:
    """Carry out a plan into the store `out`; its ledger lies beside it (see `ledger_path`).

    A scene that cannot be read is written down with its cause and left out. With `resume`, blocks that are written
    whole are skipped; a store that does not exist is begun. Raises CubeError if the store exists and `resume` is not
    set, or was begun with other settings; SceneError, with nothing left behind, if no scene at all could be read.
    """
    started = time.monotonic()
    out = Path(out)
    if out.exists() and not resume:
        raise CubeError(f"{out} exists already; give --resume to go on with it, or another --out")
    if out.exists() and not ledger_path(out).exists():
        raise CubeError(f"{out} has no ledger beside it, so it cannot be resumed; give another --out")
    created = not out.exists()
    with _open_ledger(plan, out, codec) as ledger:
        if created:
            Cube.create(out, plan.geobox, plan.windows, codec, plan.block, _provenance(plan))
        cube = Cube.open(out)
        skipped = _write_blocks(plan, cube, ledger, progress or _Silent())
        failures = ledger.failures()
    failed = {failure.source for failure in failures}
    read = [scene for scene in plan.scenes if scene.id not in failed]
    if not read and created:
        shutil.rmtree(out)
        ledger_path(out).unlink()
    if not read:
        raise SceneError(f"none of the {len(plan.scenes)} scenes can be read; the first: {failures[0].cause}")
    return IngestReport(
        path=out,
        scenes=len(read),
        failures=failures,
        notes=plan.notes,
        windows=plan.windows,
        blocks=len(plan.tasks),
        skipped=skipped,
        bytes_in=sum(plan.scene_bytes[scene.id] for scene in read),
        seconds=time.monotonic() - started,
    )


def _open_ledger(plan: IngestPlan, out: Path, codec: Codec) -> Ledger:
    """Open the ledger of a store, begun with the plan's settings or checked against them."""
    path = ledger_path(out)
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_remains(out)
    ledger = Ledger(path)
    settings = plan.settings(f"{codec.id} {codec.sha256[:16]}")
    if ledger.begun:
        ledger.check(settings)
    else:
        sizes = plan.scene_bytes
        ledger.begin(settings, [(scene, sizes[scene.id]) for scene in plan.scenes], plan.failures)
    return ledger


def _remove_remains(out: Path) -> None:
    """Remove what a run leaves behind that is killed before its store exists."""
    path = ledger_path(out)
    for file in (path, path.with_name(path.name + ".wal")):
        file.unlink(missing_ok=True)
    for folder in out.parent.glob(f".{glob.escape(out.name)}.*.part"):
        shutil.rmtree(folder)


def _provenance(plan: IngestPlan) -> dict[str, object]:
    return {
        "sources": sorted({f"{scene.product} {scene.platform}" for scene in plan.scenes}),
        "scenes": [scene.id for scene in plan.scenes],
        "bytes_in": plan.bytes_in,
        "notes": list(plan.notes),
    }


def _write_blocks(plan: IngestPlan, cube: Cube, ledger: Ledger, progress: Progress) -> int:
    """Write all blocks that are not yet whole; return how many were."""
    grid = cube.grid()
    _remove_partial_files(cube.path)
    known = ledger.checksums(grid)
    progress.start(sum(_steps(task) for task in plan.tasks))
    skipped = 0
    with (
        Scratch(cube.path.with_name(f".{cube.path.name}.scratch")) as scratch,
        ThreadPoolExecutor(WORKERS) as pool,
        # BLAS would start as many threads again in each worker, and they would only wait for one another.
        threadpool_limits(1),
    ):
        for number, task in enumerate(plan.tasks):
            place = (task.window, task.region.y0, task.region.x0)
            if place in known and cube.block_checksum(grid, task.window, task.region) == known[place]:
                skipped += 1
                progress.advance(_steps(task), f"{task.window} is there already")
            else:
                _write_block(plan, task, cube, ledger, scratch, pool, progress)
            following = plan.tasks[number + 1].scenes if number + 1 < len(plan.tasks) else ()
            _release(scratch, task, following)
    return skipped


def _steps(task: Task) -> int:
    """Return the steps of progress that a block takes."""
    return len(task.scenes) + STRIP_WORK * len(row_strips(task.region.shape, STRIP_PIXELS))


def _release(scratch: Scratch, task: Task, following: Iterable[Scene]) -> None:
    """Give back the unpacked tarballs of a window when the next block is of another."""
    still = {scene.path for scene in following}
    if not still & {scene.path for scene in task.scenes}:
        for scene in task.scenes:
            scratch.release(scene.path)


def _remove_partial_files(store: Path) -> None:
    """Remove what a killed writer has left: Zarr writes each shard under such a name before it renames it."""
    for file in store.rglob("*.partial"):
        file.unlink()


def _write_block(
    plan: IngestPlan,
    task: Task,
    cube: Cube,
    ledger: Ledger,
    scratch: Scratch,
    pool: ThreadPoolExecutor,
    progress: Progress,
) -> None:
    started = time.monotonic()
    grid, around = cube.grid(), task.region.grow(plan.recipe.margin).intersect(region_of(plan.geobox))
    geobox = sub_geobox(plan.geobox, around)
    stack = BlockStack(task.window, around.shape, plan.recipe, task.region.within(around))
    failures = []
    for scene, result in _read_all(task.scenes, geobox, scratch, pool):
        if isinstance(result, SceneError):
            failures.append(Failure(scene.id, str(result)))
        else:
            stack.add(scene, result)
        progress.advance(1, f"reading {scene.id}")
    stack.fill(pool.map)
    inside = plan.area.inside(sub_geobox(plan.geobox, task.region)) if plan.area is not None else None
    told = partial(progress.advance, STRIP_WORK, f"encoding {task.window} rows {task.region.y0}-{task.region.y1}")
    cube.write_block(grid, task.window, task.region, *_encode_block(stack, cube.codec, inside, pool, told))
    checksum = cube.block_checksum(grid, task.window, task.region)
    ledger.finish_block(grid, task.window, task.region, checksum, time.monotonic() - started, failures)


def _read_all(
    scenes: tuple[Scene, ...], geobox: GeoBox, scratch: Scratch, pool: ThreadPoolExecutor
) -> Iterator[tuple[Scene, Observation | SceneError]]:
    """Read scenes in their order."""

    def read(scene: Scene) -> Observation | SceneError:
        try:
            return read_scene(scene, geobox, scratch)
        except SceneError as error:
            return error

    return zip(scenes, pool.map(read, scenes), strict=True)


def _encode_block(
    stack: BlockStack,
    codec: Codec,
    inside: npt.NDArray[np.bool_] | None,
    pool: ThreadPoolExecutor,
    told: Callable[[], None],
) -> Block:
    """Return codes and count [steps, y, x] and error [y, x] of a block; pixels not `inside` stay empty."""
    rows, columns = stack.shape
    codes = np.empty((codec.steps, rows, columns), dtype=codec.code_dtype)
    count, error = np.empty(codes.shape, dtype=np.uint8), np.empty(stack.shape, dtype=np.uint8)

    def encode(strip: slice) -> None:
        dekads = stack.rows(strip)
        values, weights, given = dekads.values, dekads.weights, dekads.given
        if inside is not None:
            weights, given = weights * inside[strip], given * inside[strip]
        codes[:, strip] = codec.encode(values, given)
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
