"""Planning for a store that is there: new windows of new scenes, and what an earlier run had planned."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path

from esd.cube import Cube
from esd.errors import CubeError, GridError, SceneError
from esd.grid import aligned, same_crs
from esd.store_paths import Place

from .composite import in_window
from .harmonizing import require_sun
from .ledger import Ledger, Run, ledger_path
from .ledger_place import locked_ledger
from .plan import IngestPlan, scenes_in, windows_of
from .raster import native_region
from .readers import Failure, find_scenes
from .recipe import Recipe
from .scene import Scene

__all__ = ["plan_append", "plan_of_run"]


def plan_append(
    store: str | Place, paths: Iterable[str | Path], windows: Sequence[dt.date] | None = None, *, reproject: bool = False
) -> tuple[IngestPlan, ...]:
    """Plan to add windows to a store: a plan for each of its grids that scenes meet, on its own blocks and area.

    `windows` default to those of the scenes that come after the store's; each grid gets those in which it has scenes, and
    none of the scenes in another's zone. The recipe is the store's; one that fills
    gaps also reads scenes given of the windows around, the store's own among them, whose blocks stay as they are.
    Raises SceneError if no scene meets a grid, WindowError if a window holds no scene, GridError if a scene has other
    pixels and `reproject` is not set; see `plan.plan_ingest`.
    """
    cube = Cube.open(store)
    if not ledger_path(cube.path).exists():
        raise CubeError(
            f"{cube.path.name} has no ledger beside it, so it cannot grow; it was imported, or restore the ledger"
        )
    with locked_ledger(cube.path) as ledger:
        runs = _first_runs(ledger, cube)
    found, failures = find_scenes(paths)
    met = {grid: _met(found, cube, grid) for grid in runs}
    every = {scene.id: scene for scenes in met.values() for scene in scenes}
    if not every:
        raise SceneError(f"none of the scenes given ({len(found)} found) meets {_told_of(cube)} of {cube.path.name}")
    if windows is None:
        own = windows_of(tuple(every.values()), cube.windows[0].month)
        windows = tuple(window for window in own if window > cube.windows[-1]) or own
    scenes_in(tuple(every.values()), windows, Recipe())
    plans: list[IngestPlan] = []
    for grid, run in runs.items():
        mine = [window for window in sorted(windows) if any(in_window(scene, window) for scene in met[grid])]
        if mine:
            plans.append(_plan_of_grid(cube, grid, run, met[grid], mine, () if plans else failures, reproject))
    return tuple(plans)


def _told_of(cube: Cube) -> str:
    return "the grid" if len(cube.grids) == 1 else "a grid"


def _met(found: Sequence[Scene], cube: Cube, grid: str) -> tuple[Scene, ...]:
    """Return the scenes that meet a grid; of several grids not those in the zone of another."""
    geobox = cube.grids[grid]
    met = tuple(scene for scene in found if native_region(scene.geobox, geobox).size)
    if len(cube.grids) == 1:
        return met
    others = [other for other in cube.grids.values() if not same_crs(other, geobox)]
    return tuple(scene for scene in met if not any(same_crs(scene.geobox, other) for other in others))


def _plan_of_grid(
    cube: Cube,
    grid: str,
    run: Run,
    met: tuple[Scene, ...],
    windows: Sequence[dt.date],
    failures: tuple[Failure, ...],
    reproject: bool,
) -> IngestPlan:
    geobox, recipe = cube.grids[grid], Recipe(**run.settings["recipe"])
    chosen = scenes_in(met, windows, recipe)
    if recipe.brdf:
        require_sun(chosen)
    others = [scene for scene in chosen if not aligned(geobox, scene.geobox)]
    if others and not reproject:
        raise GridError(f"scene {others[0].id} has other pixels than {cube.path.name}; give --reproject to resample it")
    tile = run.settings.get("tile")
    return IngestPlan(chosen, failures, tuple(windows), geobox, run.area, cube.block, recipe, tile)


def _first_runs(ledger: Ledger, cube: Cube) -> dict[str, Run]:
    """Return the first run of each grid of a cube that has been written to. Raises CubeError if the ledger has none."""
    found: dict[str, Run] = {}
    for run in ledger.runs():
        found.setdefault(_grid_of(cube, run), run)
    if not found:
        raise CubeError(f"{ledger.path.name} knows nothing of {cube.path.name}; restore the ledger that was written with it")
    return {grid: found[grid] for grid in cube.grids if grid in found}


def _grid_of(cube: Cube, run: Run) -> str:
    """Return the grid of a cube that a run has written. Raises CubeError if the cube has no such grid."""
    tile = run.settings.get("tile")
    for name, geobox in cube.grids.items():
        if name == tile if tile is not None else str(geobox.crs) == run.settings["grid"][0]:
            return name
    raise CubeError(f"{cube.path.name} has no grid {tile or run.settings['grid'][0]}, which its ledger knows; restore both")


def plan_of_run(cube: Cube, ledger: Ledger, run: Run) -> IngestPlan:
    """Return the plan that a run was made by, from its ledger. Scenes that are gone are left out."""
    found, failures = find_scenes({path: None for path, _, _ in ledger.scenes(run).values()})
    known = ledger.scenes(run)
    windows = tuple(dt.date.fromisoformat(text) for text in run.settings["windows"])
    scenes = tuple(scene for scene in found if scene.id in known)
    recipe, tile = Recipe(**run.settings["recipe"]), run.settings.get("tile")
    return IngestPlan(scenes, failures, windows, cube.grids[_grid_of(cube, run)], run.area, cube.block, recipe, tile)
