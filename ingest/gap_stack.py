"""The dekads of a block as they are encoded: composited, and by the recipe's wish filled from windows around.

Filled values keep the weight 0: counts, errors and provenance tell observation from fill. The encoder is given them
as if they were observed once, so that it keeps them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from esd.dekad import BANDS, DEKADS, dekad_dates

from .archive import Scratch
from .composite import COARSE_SENSORS, WindowStack, in_window
from .filling import STRIP_PIXELS, Mapper, Series, fill_gaps, row_strips
from .harmonizing import prepare
from .readers import read_scene
from .recipe import Recipe
from .scene import Observation, Scene

__all__ = ["BlockStack", "Dekads", "dekads_of_scenes"]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Dekads:
    """Dekads of some pixels: `values` float32 [36, 6, y, x], `weights` uint8 (observations behind each).

    `filled` bool says which values of weight 0 are filled; the others of weight 0 are 0.
    """

    values: Floats
    weights: Weights
    filled: Bools

    @property
    def given(self) -> Weights:
        """The weights that an encoder is given: filled values count as one observation."""
        return np.maximum(self.weights, self.filled.astype(np.uint8))


class BlockStack:
    """The observations of one window on a block with its margin, and those of windows around that help to fill it.

    Add scenes in order of their dates, then ask for the rows of the block; `inner` is where in the grid with its
    margin the block lies. Filling needs observations of all windows that `recipe.windows_around` names.
    """

    def __init__(self, window: dt.date, shape: tuple[int, int], recipe: Recipe, inner: tuple[slice, slice] | None = None):
        self.window = window
        self.recipe = recipe
        self.inner = inner or (slice(0, shape[0]), slice(0, shape[1]))
        self.mapper: Mapper = map
        self._stacks = {around: WindowStack(around, shape, recipe) for around in recipe.windows_around(window)}
        self._bands: dict[bool, set[str]] = {False: set(), True: set()}

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the block."""
        rows, columns = self.inner
        return rows.stop - rows.start, columns.stop - columns.start

    def add(self, scene: Scene, observation: Observation) -> None:
        """Add a scene as read onto the grid. Raises SceneError if the recipe asks what the scene does not tell."""
        ready = prepare(scene, observation, self.recipe)
        for window, stack in self._stacks.items():
            if in_window(scene, window):
                stack.add(scene, ready)
                self._bands[scene.sensor in COARSE_SENSORS].update(scene.bands)

    def rows(self, rows: slice) -> Dekads:
        """Return some rows of the block."""
        if self.recipe.fills:
            whole = self._filled
            return Dekads(whole.values[:, :, rows], whole.weights[:, :, rows], whole.filled[:, :, rows])
        start, columns = self.inner[0].start, self.inner[1]
        values, weights = self._stacks[self.window].dekads(slice(start + rows.start, start + rows.stop))
        weights = weights[..., columns]
        return Dekads(values[..., columns], weights, np.zeros(weights.shape, dtype=bool))

    def fill(self, mapper: Mapper = map) -> None:
        """Fill the gaps of the block, if the recipe says so; `mapper` may work on strips in parallel."""
        self.mapper = mapper
        if self.recipe.fills:
            _ = self._filled

    @cached_property
    def _filled(self) -> Dekads:
        """The whole block, filled: Landsat's pixels from Landsat with MODIS's help, MODIS's own from MODIS."""
        own = self._stacks[self.window]
        values, weights = _composited(own, "best", self.mapper)
        fine = own.seen_by_fine()
        filled = np.zeros(weights.shape, dtype=bool)
        coarse_only = ~fine & (weights > 0).any(axis=(0, 1))
        for pixels, sensors in ((fine, "fine"), (coarse_only, "coarse")):
            if pixels[self.inner].any():
                helper = self._series("coarse") if sensors == "fine" and self._bands[True] else None
                first = DEKADS * list(self._stacks).index(self.window)
                guess, known = fill_gaps(self._series(sensors), slice(first, first + DEKADS), helper, self.mapper)
                gaps = (weights == 0) & (pixels & known) & self._has_bands(sensors)
                values, filled = np.where(gaps, guess, values), filled | gaps
        at = (slice(None), slice(None), *self.inner)
        return Dekads(values[at], weights[at], filled[at])

    def _has_bands(self, sensors: str) -> Bools:
        bands = self._bands[sensors == "coarse"]
        return np.array([band in bands for band in BANDS])[:, None, None]

    def _series(self, sensors: str) -> Series:
        """Return the dekads of all windows of the fine or coarse sensors as one series."""
        parts = [_composited(stack, sensors, self.mapper) for stack in self._stacks.values()]
        has = self._has_bands(sensors)
        seen = np.concatenate([((weights > 0) | ~has).all(axis=1) & weights.any(axis=1) for _, weights in parts])
        days = np.concatenate([dekad_dates(window) for window in self._stacks])
        return Series(np.concatenate([values for values, _ in parts]), seen, days.astype(np.int64))


def _composited(stack: WindowStack, sensors: str, mapper: Mapper) -> tuple[Floats, Weights]:
    """Return the dekads of a whole stack, made strip by strip because screening holds many copies of what it compares."""
    strips = list(row_strips(stack.shape, STRIP_PIXELS))
    parts = list(mapper(lambda rows: stack.dekads(rows, sensors), strips))
    return np.concatenate([part[0] for part in parts], axis=2), np.concatenate([part[1] for part in parts], axis=2)


def dekads_of_scenes(
    scenes: Sequence[Scene], geobox: GeoBox, window: dt.date, scratch: Scratch | None = None, recipe: Recipe | None = None
) -> tuple[Floats, Weights]:
    """Read the scenes of a window onto a grid: values float32 and weights uint8 [36, 6, y, x] (see WindowStack).

    Scenes outside the window (and those around that filling needs) are passed over. Filled values have weight 0.
    Raises SceneError if a scene cannot be read.
    """
    recipe = recipe or Recipe()
    stack = BlockStack(window, (geobox.shape.y, geobox.shape.x), recipe)
    for scene in sorted(scenes, key=lambda scene: (scene.acquired, scene.id)):
        if any(in_window(scene, around) for around in recipe.windows_around(window)):
            stack.add(scene, read_scene(scene, geobox, scratch))
    dekads = stack.rows(slice(0, geobox.shape.y))
    return dekads.values, dekads.weights
