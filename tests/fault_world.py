"""A small world for faults: scenes whose cube takes a second, a child that makes it, and a reader that watches it."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import numpy.typing as npt
from random_codecs import random_codec
from scene_files import flat, pack, write_landsat_c2

from esd.cube import Cube
from esd.errors import EsdError
from esd.fsq import FILL
from esd.grid import geobox_from_bounds, region_of
from esd.ingest.ledger import ledger_path
from esd.ingest.pipeline import IngestReport, run_ingest
from esd.ingest.plan import IngestPlan, plan_ingest

Arrays = dict[str, npt.NDArray[np.generic]]

GRID = geobox_from_bounds(500_000, 5_000_000, 500_000 + 30 * 40, 5_000_000 + 30 * 300, "EPSG:32633", 30)
SCENES = 8
EMPTY = {"codes": FILL, "count": 0, "error": 255}
REFUSED, LEFT_OUT = 2, 3
LONGEST = 300
"""Seconds after which a child counts as hanging."""
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["fault_world", "duckdb", "rasterio", "zarr"])
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))


def write_scenes(folder: Path) -> Path:
    """Write two years of scenes, folders and tarballs, of which few rows of each block are clear: quick to encode."""
    rng = np.random.default_rng(11)
    for number in range(SCENES):
        clear = (np.arange(GRID.shape.y)[:, None] % 256 < 3) & (rng.random(tuple(GRID.shape)) < 0.8)
        quality = np.where(clear, 1 << 6, 1 << 3).astype(np.uint16)
        date = dt.date(2004, 1, 11) + dt.timedelta(days=90 * number)
        made = write_landsat_c2(folder, date, flat(GRID) * rng.uniform(0.7, 1.3, (6, 1, 1)), geobox=GRID, quality=quality)
        if number % 3:
            pack(made, folder / f"{made.name}{'.tar' if number % 3 == 1 else '.tar.gz'}")
            shutil.rmtree(made)
    return folder


def small_plan(scenes: Path) -> IngestPlan:
    """Plan four blocks: two windows of two blocks."""
    roomy = plan_ingest([scenes])
    return IngestPlan(roomy.scenes, roomy.failures, roomy.windows, roomy.geobox, None, 256)


def make_cube(scenes: Path, out: Path, said: Path | None = None) -> None:
    """Make or resume the cube, as the command line would: what went wrong is the exit code, and told in a file."""
    try:
        report = run_ingest(small_plan(scenes), out, random_codec(), resume=True)
    except (EsdError, OSError) as error:
        if said is not None:
            said.write_text(str(error))
        sys.exit(REFUSED)
    sys.exit(LEFT_OUT if report.failures else 0)


def child(target: Callable[..., None], *arguments: object) -> BaseProcess:
    """Start a function in a fresh process that has its imports done."""
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    return process


def say(text: str) -> None:
    """Tell what was tried; pytest shows it with -s, and where a test fails."""
    sys.stdout.write(text + "\n")


def stored(store: Path) -> dict[str, bytes]:
    """All files of a store."""
    return {str(file.relative_to(store)): file.read_bytes() for file in sorted(store.rglob("*")) if file.is_file()}


def arrays_of(store: Path) -> Arrays:
    """Read a whole cube as a reader would, the codes first."""
    cube = Cube.open(store)
    grid, whole = cube.grid(), region_of(cube.grids[cube.grid()])
    return {name: np.stack([cube.read(name, grid, window, whole) for window in cube.windows]) for name in EMPTY}


class World:
    """Scenes, the cube that they give undisturbed, and what a reader may see of one in the making."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scenes = write_scenes(folder / "scenes")
        self.calm = folder / "calm.esd.zarr"
        self.seconds = time.monotonic()
        process = child(make_cube, self.scenes, self.calm)
        process.join(LONGEST)
        self.seconds = time.monotonic() - self.seconds
        assert process.exitcode == 0
        self.files, self.arrays = stored(self.calm), arrays_of(self.calm)

    @cached_property
    def places(self) -> list[Path]:
        """The scenes' files and folders."""
        return sorted(path for path in self.scenes.iterdir() if not path.name.startswith("."))

    def without(self, scene: Path) -> Arrays:
        """What the cube holds where one scene could not be read."""
        out = self.folder / f"without-{scene.name}.esd.zarr"
        if not out.exists():
            plan = small_plan(self.scenes)
            kept = tuple(one for one in plan.scenes if one.path != scene)
            run_ingest(IngestPlan(kept, (), plan.windows, plan.geobox, None, 256), out, random_codec())
        return arrays_of(out)

    def finish(self, out: Path) -> IngestReport:
        """Resume undisturbed, and check that nothing can be told from a cube that never was."""
        report = run_ingest(small_plan(self.scenes), out, random_codec(), resume=True)
        assert report.failures == ()
        assert stored(out) == self.files
        beside = {path.name for path in out.parent.iterdir() if out.name in path.name}
        assert beside == {out.name, ledger_path(out).name}
        return report

    def watch(self, out: Path, busy: Callable[[], bool], others: Sequence[Arrays] = ()) -> int:
        """Read a cube in the making until it is no longer, and check every value; return how often."""
        looks = 0
        while busy():
            if (out / "zarr.json").is_file():
                check_reader(arrays_of(out), [self.arrays, *others])
                looks += 1
            time.sleep(0.005)
        return looks


def check_reader(seen: Arrays, allowed: Sequence[Arrays]) -> None:
    """Every pixel is empty or as in one of the cubes; where there are codes, count and error are there too."""
    written = (seen["codes"] != FILL).any(axis=1)
    explained = np.zeros(written.shape, dtype=bool)
    for cube in allowed:
        whole = (seen["codes"] == cube["codes"]).all(axis=1) & (seen["count"] == cube["count"]).all(axis=1)
        explained |= whole & (seen["error"] == cube["error"])
    assert explained[written].all(), f"{np.count_nonzero(written & ~explained)} pixels are of no cube"
    for name, empty in EMPTY.items():
        early = seen[name] == empty
        for cube in allowed:
            early |= seen[name] == cube[name]
        assert early.all(), f"{name} holds values of no cube"


def ends_within(process: BaseProcess, seconds: float = LONGEST) -> int:
    """Return the exit code of a process that does not hang."""
    process.join(seconds)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


@contextmanager
def spoiled(path: Path, spoil: Callable[[Path], None]) -> Iterator[None]:
    """Let a file be another for a while; its bytes and times come back."""
    kept = path.with_name(f".{path.name}.kept")
    os.link(path, kept)
    try:
        changed = path.with_name(f".{path.name}.changed")
        shutil.copy2(path, changed)
        spoil(changed)
        changed.replace(path) if os.path.lexists(changed) else path.unlink()
        yield
    finally:
        kept.replace(path)
