"""A session of writing: the lock on a store, its ledger, the cube, and what of it is done already.

Opening one settles everything that can be refused before a pixel is read: another writer, other settings, other
scenes, a full disk.
"""

from __future__ import annotations

import datetime as dt
import glob
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from esd.codec import Codec
from esd.cube import Cube
from esd.errors import CubeError, WindowError
from esd.extend import add_grids, add_windows, set_provenance
from esd.grid import grid_name
from esd.shards import remove_partial_files
from esd.store_paths import ObjectPath, Place, remove_tree

from .ledger import Ledger, Run, ledger_path
from .ledger_place import opened_ledger, write_lock
from .plan import IngestPlan
from .provenance import origin_of
from .readers import Failure
from .scene import Scene

__all__ = ["Session", "append_session", "discard", "ingest_session"]


@dataclass(frozen=True)
class Session:
    """A store that this process alone may write, and the run of its ledger that a plan belongs to."""

    plan: IngestPlan
    cube: Cube
    ledger: Ledger
    run: Run
    created: bool

    def hashes(self, told: Callable[[Scene], None]) -> dict[str, str]:
        """Return the hash of the bytes of each scene of the plan, by id."""
        return self.ledger.hash_scenes(self.run, self.plan.scenes, told)

    def settle(self) -> tuple[Failure, ...]:
        """Let the cube tell of its scenes as the ledger knows them now; return the failures that hold."""
        set_provenance(self.cube, self.ledger.origin())
        return self.ledger.failures()

    @property
    def origin(self) -> dict[str, object]:
        """What is the same for all blocks of the run: software, encoder, and the hash of its settings."""
        return origin_of(self.cube, self.run.settings)


@contextmanager
def ingest_session(plans: Sequence[IngestPlan], out: Place, codec: Codec, *, resume: bool) -> Iterator[tuple[Session, ...]]:
    """Begin a store, or go on with one: a session for each plan, each of its own grid.

    A store of tiles gets those that it lacks. Raises CubeError if the store is there and `resume` is not set, or does not
    agree.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with write_lock(out) as lock:
        _remove_beginnings(out)
        created = not out.exists()
        if not created and not resume:
            raise CubeError(f"{out} exists already; give --resume to go on with it, or another --out")
        _require_ledger(out, created)
        if created:
            _remove_remains(out)
        else:
            plans = _joining(plans, Cube.open(out))
        require_space(plans, codec, out)
        with opened_ledger(out, lock) as ledger:
            several = len(plans) > 1 or plans[0].tile is not None
            if not created and several:
                _require_alike(plans[0], ledger, codec)
                _add_tiles(plans, Cube.open(out))
                _require_grids(plans, Cube.open(out))
            runs = [_run_of(plan, ledger, codec, several) for plan in plans]
            if created:
                grids = {plan.grid: plan.geobox for plan in plans}
                Cube.create(out, grids, _windows(plans), codec, plans[0].block, _provenance(plans))
            cube = Cube.open(out)
            _require_grids(plans, cube)
            yield tuple(_settled(plan, cube, ledger, run, created) for plan, run in zip(plans, runs, strict=True))
            remove_partial_files(cube.path)  # of workers that were lost meanwhile


def _joining(plans: Sequence[IngestPlan], cube: Cube) -> Sequence[IngestPlan]:
    """Return plans of tiles in the blocks of the store that they go into; other plans as they are."""
    if plans[0].tile is None:
        return plans
    whole = [name for name, geobox in cube.grids.items() if name == grid_name(geobox)]
    if whole:
        raise CubeError(
            f"{cube.path.name} has the grid {whole[0]}, which is no tile; give another --out, or leave out --tiles"
        )
    return [replace(plan, block=cube.block) for plan in plans]


def _require_alike(plan: IngestPlan, ledger: Ledger, codec: Codec) -> None:
    """Raise CubeError unless a plan is by the recipe and the encoder of what is in the store."""
    settings = plan.settings(_encoder_of(codec))
    for run in ledger.runs()[:1]:
        ledger.check(run, {name: settings[name] for name in ("recipe", "encoder")})


def _add_tiles(plans: Sequence[IngestPlan], cube: Cube) -> None:
    """Give a store the tiles and windows of plans that it lacks, empty."""
    new = {plan.grid: plan.geobox for plan in plans if plan.tile is not None and plan.grid not in cube.grids}
    if new:
        add_grids(add_windows(cube, _windows(plans)), new)


def _require_grids(plans: Sequence[IngestPlan], cube: Cube) -> None:
    """Raise CubeError unless a store has the grids of plans, and but for tiles no others."""
    given = {plan.grid for plan in plans}
    if not given <= set(cube.grids) or (plans[0].tile is None and given != set(cube.grids)):
        now, then = (", ".join(sorted(names)) for names in (given, cube.grids))
        raise CubeError(f"{cube.path} has the grids {then}, the scenes given now have {now}; give the same to --resume")


def _encoder_of(codec: Codec) -> str:
    return f"{codec.id} {codec.sha256[:16]}"


def _windows(plans: Sequence[IngestPlan]) -> tuple[dt.date, ...]:
    return tuple(sorted({window for plan in plans for window in plan.windows}))


@contextmanager
def append_session(plans: Sequence[IngestPlan], store: Place, *, resume: bool) -> Iterator[tuple[Session, ...]]:
    """Add windows to a store, or go on with adding them: a session for each plan, each of its own grid.

    Raises WindowError if the store has them and `resume` is not set.
    """
    with write_lock(store) as lock:
        _require_ledger(store, not store.exists())
        cube = Cube.open(store)
        windows = _windows(plans)
        there = [window for window in windows if window in cube.windows]
        if there and not resume:
            raise WindowError(f"window {there[0]} is in {store.name} already; give --resume to go on with it")
        require_space(plans, cube.codec, store)
        with opened_ledger(store, lock) as ledger:
            runs = [_run_of(plan, ledger, cube.codec, len(cube.grids) > 1) for plan in plans]
            grown = add_windows(cube, windows)
            yield tuple(_settled(plan, grown, ledger, run, False) for plan, run in zip(plans, runs, strict=True))
            remove_partial_files(cube.path)  # of workers that were lost meanwhile


def _settled(plan: IngestPlan, cube: Cube, ledger: Ledger, run: Run, created: bool) -> Session:
    sizes = plan.scene_bytes
    ledger.admit(run, [(scene, sizes[scene.id]) for scene in plan.scenes], plan.failures)
    remove_partial_files(cube.path)
    return Session(plan, cube, ledger, run, created)


def _require_ledger(out: Place, created: bool) -> None:
    if not created and not ledger_path(out).exists():
        raise CubeError(f"{out} has no ledger beside it, so it cannot be resumed; give another --out")


def _run_of(plan: IngestPlan, ledger: Ledger, codec: Codec, several: bool = False) -> Run:
    """Return the run of the plan's windows, begun now if there is none. Raises CubeError if its settings differ.

    Of `several` grids in one cube each has a run of its own.
    """
    settings: Mapping[str, Any] = plan.settings(_encoder_of(codec))
    runs = [run for run in ledger.runs() if not several or _place_of(run.settings) == _place_of(settings)]
    for run in runs:
        if run.settings["windows"] == settings["windows"]:
            ledger.check(run, settings)
            return run
    known = {window for run in runs for window in run.settings["windows"]}
    if known & {window.isoformat() for window in plan.windows}:
        ledger.check(runs[0], settings)
    return ledger.begin(settings, plan.area, [(scene, plan.scene_bytes[scene.id]) for scene in plan.scenes])


def _place_of(settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return what tells the grids of one cube apart: tile and coordinate system."""
    return settings.get("tile"), settings["grid"][0]


def discard(out: Place) -> None:
    """Remove a store that holds nothing, and its ledger."""
    remove_tree(out)
    _remove_remains(out)


def _remove_beginnings(out: Place) -> None:
    """Remove an empty cube that a killed run had only partly put into an object store: it has a ledger, but no root."""
    if isinstance(out, ObjectPath) and ledger_path(out).exists() and not (out / "zarr.json").exists():
        remove_tree(out)


def _remove_remains(out: Place) -> None:
    """Remove what a run leaves behind that is killed before its store exists."""
    path = ledger_path(out)
    if isinstance(path, ObjectPath) or isinstance(out, ObjectPath):
        path.unlink(missing_ok=True)
        return
    for file in (path, path.with_name(path.name + ".wal")):
        file.unlink(missing_ok=True)
    for folder in out.parent.glob(f".{glob.escape(out.name)}.*.part"):
        shutil.rmtree(folder)


def require_space(plans: Sequence[IngestPlan], codec: Codec, out: Place) -> None:
    """Raise CubeError if a disk has less room than the plans may need at most: for blocks, and tarballs unpacked.

    Of a cube in an object store only tarballs need a disk, that of temporary files.
    """
    folder = Path(tempfile.gettempdir()) if isinstance(out, ObjectPath) else out.parent
    there = isinstance(out, ObjectPath)
    needed = sum(plan.unpacked_bytes if there else plan.disk_bytes(codec.bytes_per_pixel_year) for plan in plans)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CubeError(
            f"{folder} has {free / 1e9:.3f} GB free and the ingest may need {needed / 1e9:.3f} GB; free space, "
            "give --out on another disk, or a smaller --aoi"
        )


def _provenance(plans: Sequence[IngestPlan]) -> dict[str, Any]:
    scenes = [scene for plan in plans for scene in plan.scenes]
    return {
        "sources": sorted({f"{scene.product} {scene.platform}" for scene in scenes}),
        "scenes": list(dict.fromkeys(scene.id for scene in scenes)),
        "bytes_in": sum(plan.bytes_in for plan in plans),
        "notes": list(dict.fromkeys(note for plan in plans for note in plan.notes)),
    }
