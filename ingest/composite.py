"""Composites: the clear observations of a window as dekads, each the mean of what was seen in its ten days.

Landsat and MODIS do not mix: a pixel of 30 m that Landsat has seen in the window has Landsat's values alone, and MODIS
may help to fill their gaps (`gap_stack`). Where Landsat has seen nothing, MODIS counts as observed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from esd.dekad import BANDS, DEKADS, dekad_index, window_end

from .recipe import Recipe
from .scene import Observation, Scene
from .screening import keep_mask

__all__ = ["COARSE_SENSORS", "WindowStack", "in_window"]

COARSE_SENSORS = ("MODIS",)

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


def in_window(scene: Scene, window: dt.date) -> bool:
    """Tell whether a scene can hold observations of a window."""
    first, last = scene.period
    return first < window_end(window) and last >= window


class WindowStack:
    """The observations of one window on one grid, in the order in which they were added.

    Add scenes in order of their dates. Nothing is averaged until `dekads` is asked, because the screening in time
    has to see each pixel's whole year.
    """

    def __init__(self, window: dt.date, shape: tuple[int, int], recipe: Recipe | None = None) -> None:
        self.window = window
        self.shape = shape
        self.recipe = recipe or Recipe()
        self._coarse: list[bool] = []
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
        self._coarse.append(scene.sensor in COARSE_SENSORS)

    def seen_by_fine(self, rows: slice | None = None) -> Bools:
        """Return which pixels [y, x] of some rows any sensor but a coarse one has seen in the window."""
        rows = rows or slice(0, self.shape[0])
        seen = np.zeros((len(range(*rows.indices(self.shape[0]))), self.shape[1]), dtype=bool)
        for observation, dekads, coarse in zip(self._observations, self._dekads, self._coarse, strict=True):
            if not coarse:
                seen |= observation.clear[:, rows].any(axis=0) & (dekads >= 0)
        return seen

    def dekads(self, rows: slice | None = None, sensors: str = "best") -> tuple[Floats, Weights]:
        """Return values float32 and weights uint8 [36, 6, y, x] of some rows of the grid, screened in time.

        A value is the mean of the clear observations in its ten days, each weighing the same; the weight is their
        number. A value of weight 0 is 0. `sensors` are "fine", "coarse", or for each pixel the "best" it has.
        """
        rows = rows or slice(0, self.shape[0])
        shape = (DEKADS, len(BANDS), len(range(*rows.indices(self.shape[0]))), self.shape[1])
        sums, weights = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.uint8)
        for coarse in (False, True):
            allowed = self._allowed(coarse, rows, sensors)
            chosen = [number for number, kind in enumerate(self._coarse) if kind == coarse]
            if not chosen or not allowed.any():
                continue
            reflectance, clear = self._screened(chosen, rows)
            for number, values, seen in zip(chosen, reflectance, clear & allowed, strict=True):
                dekads = self._dekads[number]
                for dekad in np.unique(dekads[dekads >= 0]):
                    here = seen & (dekads[rows] == dekad) if dekads.ndim else seen
                    sums[dekad] += np.where(here, values, np.float32(0))
                    weights[dekad] += here & (weights[dekad] < np.iinfo(np.uint8).max)
        return np.divide(sums, np.maximum(weights, 1), dtype=np.float32), weights

    def _allowed(self, coarse: bool, rows: slice, sensors: str) -> Bools:
        """Return the pixels [y, x] at which a kind of sensor counts."""
        if sensors == "best":
            return ~self.seen_by_fine(rows) if coarse else np.ones((1, 1), dtype=bool)
        return np.full((1, 1), coarse == (sensors == "coarse"))

    def _screened(self, chosen: Sequence[int], rows: slice) -> tuple[Floats, Bools]:
        """Return reflectance and what stays clear [n, 6, y, x] of some observations."""
        reflectance = np.stack([self._observations[number].reflectance[:, rows] for number in chosen])
        clear = np.stack([self._observations[number].clear[:, rows] for number in chosen])
        if self.recipe.screen:
            clear &= keep_mask(reflectance, clear, np.array(self._days)[list(chosen)])[:, None]
        return reflectance, clear
