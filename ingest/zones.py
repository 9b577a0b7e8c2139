"""Scenes of several UTM zones as one cube: a plan for each zone, on the scenes' own pixels, so that nothing is resampled."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from esd.errors import SceneError, WindowError

from .gridding import NothingMetError
from .plan import IngestPlan, plan_of_scenes, windows_of
from .readers import Failure, find_scenes
from .recipe import Recipe
from .scene import Scene

__all__ = ["plan_zones", "scenes_by_zone", "zone_of"]


def plan_zones(
    paths: Iterable[str | Path],
    windows: Sequence[dt.date] | None = None,
    *,
    start_month: int = 1,
    aoi: str | Path | None = None,
    reproject: bool = False,
    max_memory: int | None = None,
    recipe: Recipe | None = None,
) -> tuple[IngestPlan, ...]:
    """Plan an ingest of scenes of several UTM zones, each into its own grid of one cube, from west to east.

    As `plan.plan_ingest`, with the area cut to each zone's scenes; a zone that the area does not meet is left out, and so is
    a window in a zone that has no scene of it. Scenes in no UTM zone (MODIS) serve every zone, if `reproject` is set.
    Raises SceneError, WindowError, GridError and MemoryLimitError as there.
    """
    found, failures = find_scenes(paths)
    zones = scenes_by_zone(found)
    if not zones:
        raise SceneError("none of the scenes given is in a UTM zone; leave --zones out")
    windows = tuple(sorted(set(windows))) if windows else windows_of(found, start_month)
    plans: list[IngestPlan] = []
    reasons: list[NothingMetError | WindowError] = []
    options: dict[str, Any] = {"aoi": aoi, "reproject": reproject, "max_memory": max_memory, "recipe": recipe}
    for scenes in zones:
        own = [window for window in windows if window in windows_of(scenes, windows[0].month)]
        try:
            if not own:
                raise WindowError(f"none of the windows {windows[0]} to {windows[-1]} holds a scene")
            plans.append(plan_of_scenes(scenes, _told_once(failures, plans), own, **options))
        except (NothingMetError, WindowError) as error:
            reasons.append(error)
    if not plans:
        raise reasons[0]
    smallest = min(plan.block for plan in plans)
    return tuple(replace(plan, block=smallest) for plan in plans)


def _told_once(failures: tuple[Failure, ...], before: Sequence[IngestPlan]) -> tuple[Failure, ...]:
    """Failures of the scan belong to the first plan."""
    return () if before else failures


def zone_of(scenes: Sequence[Scene]) -> str:
    """Return the UTM zone of scenes of one zone and of none, such as "33N"."""
    zones = (scene.geobox.crs.proj.utm_zone for scene in scenes if scene.geobox.crs is not None)
    return next(str(zone) for zone in zones if zone is not None)


def scenes_by_zone(scenes: Sequence[Scene]) -> list[tuple[Scene, ...]]:
    """Return the scenes of each UTM zone, west to east, north before south, each with those of no zone."""
    zones: dict[str, list[Scene]] = {}
    others = []
    for scene in scenes:
        zone = scene.geobox.crs.proj.utm_zone if scene.geobox.crs is not None else None
        if zone is None:
            others.append(scene)
        else:
            zones.setdefault(f"{zone:>3}", []).append(scene)
    return [tuple(sorted((*zones[zone], *others), key=lambda scene: (scene.acquired, scene.id))) for zone in sorted(zones)]
