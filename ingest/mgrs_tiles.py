"""Scenes as MGRS tiles: a plan for each tile, each a group of one cube, on the pixels of the scenes of its zone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from esd.errors import GridError, SceneError, WindowError
from esd.grid import sub_geobox

from .composite import in_window
from .gridding import NothingMetError, bounds_on_pixels, tile_grid
from .harmonizing import require_sun
from .mgrs import Square, square_named, squares_in
from .plan import BLOCK_SIZES, IngestPlan, fitted, scenes_in, windows_of
from .raster import native_region
from .readers import Failure, find_scenes
from .recipe import Recipe
from .scene import Scene
from .zones import scenes_by_zone, zone_of

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from .aoi import Area

__all__ = ["plan_tiles"]


def plan_tiles(
    paths: Iterable[str | Path],
    tiles: Sequence[str] | None = None,
    windows: Sequence[dt.date] | None = None,
    *,
    start_month: int = 1,
    aoi: str | Path | None = None,
    reproject: bool = False,
    max_memory: int | None = None,
    recipe: Recipe | None = None,
) -> tuple[IngestPlan, ...]:
    """Plan an ingest into MGRS tiles, each of 109.8 km a grid of one cube: those named, or all that scenes and area meet.

    A tile has the pixels of the scenes of its own UTM zone, always all of them (3,661 x 3,661 of Landsat, as the published
    ESD tiles); outside of the area they stay empty. It gets the windows in which it has scenes; of tiles that are not named,
    those with none are left out. Raises SceneError, WindowError, GridError and MemoryLimitError as `plan.plan_ingest`,
    GridError for a name that is none and for a tile that is named and that no scene meets.
    """
    found, failures = find_scenes(paths)
    zones = {zone_of(scenes): scenes for scenes in scenes_by_zone(found)}
    if not zones:
        raise SceneError("none of the scenes given is in a UTM zone; leave --tiles out")
    asked = None if tiles is None else _squares(tiles, zones)
    windows = tuple(sorted(set(windows))) if windows else windows_of(found, start_month)
    plans: list[IngestPlan] = []
    reasons: list[NothingMetError | WindowError] = []
    for zone, scenes in zones.items():
        for name, square in _tiles_of(zone, scenes, asked, aoi, reproject):
            told = () if plans else failures
            try:
                plan = _plan_of_tile(name, square, scenes, told, windows, aoi, reproject, recipe or Recipe())
                plans.append(fitted(plan, max_memory))
            except (NothingMetError, WindowError) as error:
                if asked is not None and isinstance(error, NothingMetError):
                    raise
                reasons.append(error)
    if not plans:
        raise reasons[0] if reasons else NothingMetError("no MGRS tile meets the scenes given; give others with --tiles")
    smallest = min(plan.block for plan in plans)
    return tuple(replace(plan, block=smallest) for plan in plans)


def _squares(names: Sequence[str], zones: Iterable[str]) -> dict[str, Square]:
    """Return the squares of names. Raises GridError for one that is none, is there twice or in no scene's zone."""
    found: dict[str, Square] = {}
    by_square: dict[Square, str] = {}
    known = sorted({zone[:-1] for zone in zones}, key=int)
    for given in names:
        square, name = square_named(given), given.strip().upper().zfill(5)
        if by_square.setdefault(square, name) != name:
            raise GridError(f"tiles {by_square[square]} and {name} are the same square; name it once")
        if str(square.zone) not in known:
            raise GridError(f"tile {name} is in zone {square.zone}, the scenes are in {', '.join(known)}; leave it out")
        found[name] = square
    return found


def _tiles_of(
    zone: str, scenes: Sequence[Scene], asked: dict[str, Square] | None, aoi: str | Path | None, reproject: bool
) -> list[tuple[str, Square]]:
    """Return the tiles of a zone by name: those that were asked for, else those whose squares meet scenes and area."""
    number = int(zone[:-1])
    if asked is not None:
        return [(name, square) for name, square in asked.items() if square.zone == number]
    try:
        bounds = bounds_on_pixels(scenes, aoi=aoi, reproject=reproject)
    except NothingMetError:
        return []
    return [(square.name, square) for square in squares_in(number, bounds, zone.endswith("S"))]


def _plan_of_tile(
    name: str,
    square: Square,
    scenes: Sequence[Scene],
    failures: tuple[Failure, ...],
    windows: Sequence[dt.date],
    aoi: str | Path | None,
    reproject: bool,
    recipe: Recipe,
) -> IngestPlan:
    southern = zone_of(scenes).endswith("S")
    geobox, area = tile_grid(scenes, square.tile(southern), name, aoi=aoi, reproject=reproject)
    met = tuple(scene for scene in scenes if _meets(scene, geobox, area))
    if not met:
        raise NothingMetError(f"tile {name} does not meet any scene; leave it out")
    own = [window for window in windows if any(in_window(scene, window) for scene in met)]
    if not own:
        raise WindowError(f"tile {name} holds no scene of the windows {windows[0]} to {windows[-1]}; give others")
    chosen = scenes_in(met, own, recipe)
    if recipe.brdf:
        require_sun(chosen)
    return IngestPlan(chosen, failures, tuple(own), geobox, area, BLOCK_SIZES[0], recipe, name)


def _meets(scene: Scene, geobox: GeoBox, area: Area | None) -> bool:
    """Tell whether a scene has pixels on a grid, in the area."""
    region = native_region(geobox, scene.geobox)
    return region.size > 0 and (area is None or area.meets(sub_geobox(geobox, region)))
