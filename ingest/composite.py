"""Composites: the clear observations of a window as dekads, each the mean of what was seen in its ten days."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from esd.dekad import BANDS, DEKADS, dekad_index, window_end

from .archive import Scratch
from .readers import read_scene
from .scene import Observation, Scene
from .screening import keep_mask

__all__ = ["WindowStack", "dekads_of_scenes", "in_window"]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]


def in_window(scene: Scene, window: dt.date) -> bool:
    """Tell whether a scene can hold observations of a window."""
    first, last = scene.period
    return first < window_end(window) and last >= window


class WindowStack:
    """The observations of one window on one grid, in the order in which they were added.

    Add scenes in order of their dates. Nothing is averaged until `dekads` is asked, because the screening in time
    has to see each pixel's whole year.
    """

    def __init__(self, window: dt.date, shape: tuple[int, int]) -> None:
        self.window = window
        self.shape = shape
        self._observations: list[Observation] = []
        self._dekads: list[npt.NDArray[np.int64]] = []
        self._days: list[int] = []

    def __len__(self) -> int:
        return len(self._observations)

    def add(self, scene: Scene, observation: Observation) -> None:
        """Add a scene as read onto the grid; one without any clear pixel is passed over."""
        if not observation.clear.any():
            return
        dates = np.asarray(scene.acquired, dtype="datetime64[D]")
        if observation.day is not None:
            dates = np.datetime64(scene.period[0], "D") + observation.day.astype("timedelta64[D]")
        self._observations.append(observation)
        self._dekads.append(dekad_index(dates, self.window))
        self._days.append(scene.acquired.toordinal())

    def dekads(self, rows: slice | None = None) -> tuple[Floats, Weights]:
        """Return values float32 and weights uint8 [36, 6, y, x] of some rows of the grid, screened in time.

        A value is the mean of the clear observations in its ten days, each weighing the same; the weight is their
        number. A value of weight 0 is 0.
        """
        rows = rows or slice(0, self.shape[0])
        shape = (DEKADS, len(BANDS), len(range(*rows.indices(self.shape[0]))), self.shape[1])
        sums, weights = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.uint8)
        if not self._observations:
            return sums, weights
        reflectance = np.stack([observation.reflectance[:, rows] for observation in self._observations])
        clear = np.stack([observation.clear[:, rows] for observation in self._observations])
        clear &= keep_mask(reflectance, clear, np.array(self._days))[:, None]
        for values, seen, dekads in zip(reflectance, clear, self._dekads, strict=True):
            for dekad in np.unique(dekads[dekads >= 0]):
                here = seen & (dekads[rows] == dekad) if dekads.ndim else seen
                sums[dekad] += np.where(here, values, np.float32(0))
                weights[dekad] += here & (weights[dekad] < np.iinfo(np.uint8).max)
        return np.divide(sums, np.maximum(weights, 1), dtype=np.float32), weights


def dekads_of_scenes(
    scenes: Sequence[Scene], geobox: GeoBox, window: dt.date, scratch: Scratch | None = None
) -> tuple[Floats, Weights]:
    """Read the scenes of a window onto a grid: values float32 and weights uint8 [36, 6, y, x] (see WindowStack).

    Scenes outside the window are passed over. Raises SceneError if a scene cannot be read.
    """
    stack = WindowStack(window, (geobox.shape.y, geobox.shape.x))
    for scene in sorted(scenes, key=lambda scene: (scene.acquired, scene.id)):
        if in_window(scene, window):
            stack.add(scene, read_scene(scene, geobox, scratch))
    return stack.dekads()
