"""Images without the ends of their axes that hold nothing valid. Where those are is known only after one pass over them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .engine.execute import grid_of
from .engine.executors import executor_of, fewer_threads
from .engine.plan import make_plan
from .engine.scene import hold
from .engine.tasks import ComputeTile
from .errors import TableError
from .grid import Region, sub_geobox
from .image import Image, call

__all__ = ["Held", "between", "cut", "held", "trim_cube"]

Mask = npt.NDArray[np.bool_]
Held = tuple[Mask, Mask, Mask, Mask]
"""Which times, bands, rows and columns hold anything valid."""


def held(image: Image, *, tile: int | None = None, max_memory: int | None = None, executor: Any = None) -> Held:
    """Compute an image once, tile by tile, and return which of its times, bands, rows and columns hold anything valid."""
    chosen, plan = fewer_threads(
        executor_of(executor), lambda threads: make_plan(image.expr, None, tile, max_memory, threads=threads)
    )
    rows, columns = grid_of(plan).shape
    times, bands = np.zeros(len(plan.type.time), dtype=bool), np.zeros(len(plan.type.bands), dtype=bool)
    down, across = np.zeros(rows, dtype=bool), np.zeros(columns, dtype=bool)
    with hold(plan.root, plan.tile):
        for region, block in chosen.run(ComputeTile(plan.root), plan.tiles):
            valid = block.full_valid
            times |= valid.any(axis=(1, 2, 3))
            bands |= valid.any(axis=(0, 2, 3))
            down[region.slices[0]] |= valid.any(axis=(0, 1, 3))
            across[region.slices[1]] |= valid.any(axis=(0, 1, 2))
    return times, bands, down, across


def between(mask: Mask) -> npt.NDArray[np.int64]:
    """Return all places from the first to the last that is true."""
    found = np.flatnonzero(mask)
    return np.arange(found[0], found[-1] + 1) if len(found) else np.zeros(0, dtype=np.int64)


def cut(image: Image, times: npt.NDArray[Any], bands: npt.NDArray[Any], rows: Mask, columns: Mask) -> Image:
    """Return the image with some times and bands, by place, and what lies between the first and last row and column."""
    given = image.type
    if len(bands) < len(given.bands):
        image = call("select", image, *(given.bands[place] for place in bands))
    if len(times) < len(given.time):
        image = call("rearrange", image, tuple(int(place) for place in times))
    down, across = between(rows), between(columns)
    if given.grid is None or (len(down), len(across)) == tuple(given.grid.shape):
        return image
    region = Region(int(down[0]), int(down[-1]) + 1, int(across[0]), int(across[-1]) + 1)
    return image.reproject_to(sub_geobox(given.grid, region), "nearest")


def trim_cube(image: Image, **options: Any) -> Image:
    """Return the image without the times, rows and columns at its ends, and the bands, that hold nothing valid.

    The image is computed once, tile by tile, when this is called, to see where it is valid; the result is lazy again, its
    pixels stay what they are. Times, rows and columns between others stay. Options are `tile`, `max_memory` and `executor`
    of `Image.compute`. Raises TableError where nothing is valid at all. Source: openEO's proposal trim_cube.
    """
    times, bands, rows, columns = held(image, **options)
    if not times.any():
        raise TableError("trim_cube: the image holds nothing valid; widen its dates or its area")
    return cut(image, between(times), np.flatnonzero(bands), rows, columns)
