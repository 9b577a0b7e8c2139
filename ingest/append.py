"""Planning for a store that is there: new windows of new scenes, and what an earlier run had planned."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path

from esd.cube import Cube
from esd.errors import CubeError, GridError, SceneError
from esd.grid import aligned
from esd.store_paths import Place

from .harmonizing import require_sun
from .ledger import Ledger, Run
from .ledger_place import locked_ledger
from .plan import IngestPlan, scenes_in, windows_of
from .raster import native_region
from .readers import find_scenes
from .recipe import Recipe

__all__ = ["plan_append", "plan_of_run"]


def plan_append(
    store: str | Place, paths: Iterable[str | Path], windows: Sequence[dt.date] | None = None, *, reproject: bool = False
) -> IngestPlan:
    """Plan to add windows to a store, on its own grid, blocks and area; see `plan.plan_ingest`.

    `windows` default to those of the scenes that come after the store's. Its recipe is the store's; one that fills gaps also
    reads scenes given of the windows around, the store's own among them, whose blocks stay as they are.
    Raises SceneError if no scene meets the grid, WindowError if a window holds no scene, GridError if a scene has other
    pixels and `reproject` is not set.
    """
    cube = Cube.open(store)
    if len(cube.grids) > 1:
        raise GridError(f"{cube.path.name} has several grids and cannot grow; ingest all windows at once")
    with locked_ledger(cube.path) as ledger:
        first = _first_run(ledger, cube)
    found, failures = find_scenes(paths)
    geobox = cube.grids[cube.grid()]
    met = tuple(scene for scene in found if native_region(scene.geobox, geobox).size)
    if not met:
        raise SceneError(f"none of the scenes given ({len(found)} found) meets the grid of {cube.path.name}")
    if windows is None:
        own = windows_of(met, cube.windows[0].month)
        windows = tuple(window for window in own if window > cube.windows[-1]) or own
    recipe = Recipe(**first.settings["recipe"])
    chosen = scenes_in(met, windows, recipe)
    if recipe.brdf:
        require_sun(chosen)
    others = [scene for scene in chosen if not aligned(geobox, scene.geobox)]
    if others and not reproject:
        raise GridError(f"scene {others[0].id} has other pixels than {cube.path.name}; give --reproject to resample it")
    return IngestPlan(chosen, failures, tuple(sorted(windows)), geobox, first.area, cube.block, recipe)


def _first_run(ledger: Ledger, cube: Cube) -> Run:
    runs = ledger.runs()
    if not runs:
        raise CubeError(f"{ledger.path.name} knows nothing of {cube.path.name}; restore the ledger that was written with it")
    return runs[0]


def plan_of_run(cube: Cube, ledger: Ledger, run: Run) -> IngestPlan:
    """Return the plan that a run was made by, from its ledger. Scenes that are gone are left out."""
    found, failures = find_scenes({path: None for path, _, _ in ledger.scenes(run).values()})
    known = ledger.scenes(run)
    windows = tuple(dt.date.fromisoformat(text) for text in run.settings["windows"])
    scenes = tuple(scene for scene in found if scene.id in known)
    geobox = next(grid for grid in cube.grids.values() if str(grid.crs) == run.settings["grid"][0])
    return IngestPlan(scenes, failures, windows, geobox, run.area, cube.block, Recipe(**run.settings["recipe"]))
