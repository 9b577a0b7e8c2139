"""What a plan would give, told without reading a pixel: scenes by window, sensor and place, months without any, time."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from esd.codec import Codec
from esd.dekad import BANDS, DEKADS, window_of
from esd.grid import region_of

from .plan import IngestPlan
from .raster import native_region
from .scene import Scene

__all__ = ["WindowCoverage", "coverage_of", "estimate_seconds", "scene_counts"]

MONTHS = 12
SECONDS_OF_A_READ_PIXEL = 1.1e-7
"""Reading, masking and compositing one pixel of one scene on one core: an assumption, not measured here."""
TRIAL_PIXELS = 4096


@dataclass(frozen=True)
class WindowCoverage:
    """The scenes of one window: how many of each sensor, and the months (by first day) in which there is none."""

    window: dt.date
    sensors: dict[str, int]
    gaps: tuple[dt.date, ...]
    mean_cloud_cover: float | None


def _months(window: dt.date) -> list[dt.date]:
    first = 12 * window.year + window.month - 1
    return [dt.date((first + month) // 12, (first + month) % 12 + 1, 1) for month in range(MONTHS)]


def coverage_of(plan: IngestPlan) -> tuple[WindowCoverage, ...]:
    """Return the coverage of each window of a plan, in order; scenes count in the window of their own day."""
    found = []
    for window in plan.windows:
        mine = [scene for scene in plan.scenes if window_of(scene.acquired, window.month) == window]
        covers = [scene.cloud_cover for scene in mine if scene.cloud_cover is not None]
        seen = {scene.acquired.replace(day=1) for scene in mine}
        found.append(
            WindowCoverage(
                window,
                dict(sorted(Counter(_sensor(scene) for scene in mine).items())),
                tuple(month for month in _months(window) if month not in seen),
                sum(covers) / len(covers) if covers else None,
            )
        )
    return tuple(found)


def _sensor(scene: Scene) -> str:
    return f"{scene.platform} {scene.sensor}"


def scene_counts(plan: IngestPlan, window: dt.date, longest: int = 1024) -> npt.NDArray[np.int32]:
    """Return how many scenes of a window lie over each pixel of the grid, thinned to at most `longest` a side.

    It tells of footprints, not of clouds or gaps within a scene.
    """
    rows, columns = plan.geobox.shape
    step = -(-max(rows, columns) // longest)
    counts = np.zeros((-(-rows // step), -(-columns // step)), dtype=np.int32)
    for scene in plan.scenes:
        if window_of(scene.acquired, window.month) == window:
            met = native_region(plan.geobox, scene.geobox).intersect(region_of(plan.geobox))
            counts[met.y0 // step : -(-met.y1 // step), met.x0 // step : -(-met.x1 // step)] += met.size > 0
    return counts


def estimate_seconds(plan: IngestPlan, codec: Codec) -> float:
    """Return about how long the plan takes on one core here: reading at a known rate, encoding by a short trial."""
    values = np.full((DEKADS, len(BANDS), TRIAL_PIXELS), 0.1, dtype=np.float32)
    weights = np.ones(values.shape, dtype=np.uint8)
    codec.encode(values[..., :64], weights[..., :64])
    started = time.perf_counter()
    codec.decode(codec.encode(values, weights, plan.recipe.refine))
    each = (time.perf_counter() - started) / TRIAL_PIXELS
    encoded = sum(task.region.size for task in plan.tasks)
    read = sum(task.region.size * len(task.scenes) for task in plan.tasks)
    return encoded * each + read * SECONDS_OF_A_READ_PIXEL
