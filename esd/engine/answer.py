"""Answers that a person waits for: an image, or a part of it, as arrays; kept, so that nothing is computed twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from esd.errors import ExpressionError
from esd.grid import Region, region_of, sub_geobox, tiles
from esd.reducer import State, get_reducer
from esd.regrid import without_default

from .cache import ResultCache
from .compiled import ready_kernel
from .execute import Raster, grid_of, region_for
from .executors import Executor, executor_of, fewer_threads
from .looking import decoder_of
from .lower import infer
from .overviews import at_overview
from .plan import Plan, make_plan
from .pool import thread_pool
from .program import Program
from .scene import hold
from .stop import CancelToken, Stop, stop_after
from .tasks import ComputeTile, TotalStates
from .total_order import TOTAL_BLOCK
from .totals import Total
from .version import data_version

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from esd.image import Image

    from .batch import Progress

__all__ = ["compute", "result_key"]

T = TypeVar("T")

GROUPED = 2
"""Blocks of a total a side that one task computes."""
VERSION = 2
"""To be raised when the engine's numbers change, so that results kept on disk are not taken for new ones."""


def result_key(plan: Plan) -> str:
    """Return the hash of all that a result depends on: expression, region, grid and the version of the data."""
    parts = (VERSION, plan.root.key, plan.region, grid_of(plan), data_version(plan.root, plan.region))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def compute(
    image: Image,
    geobox: GeoBox | None = None,
    *,
    tile: int | None = None,
    max_memory: int | None = None,
    resampling: str | None = None,
    executor: Any = None,
    deadline: float | None = None,
    cancel: CancelToken | None = None,
    cache: ResultCache | None = None,
    exact: bool = False,
    progress: Progress | None = None,
) -> Raster:
    """Compute an image into arrays; see `Image.compute`."""
    stop, chosen = stop_after(deadline, cancel), executor_of(executor)
    if geobox is not None:
        image = type(image)(without_default(image.expr))
    asked = image if exact or geobox is None else at_overview(image, geobox)
    placed, region = region_for(asked, geobox, resampling)
    chosen, plan = fewer_threads(chosen, lambda threads: make_plan(placed.expr, region, tile, max_memory, threads=threads))
    about: dict[str, Any] = {"approximate": asked is not image, "decoder": decoder_of(plan.root)}
    if cache is None:
        return replace(_run(plan, chosen, stop, progress), **about)
    key = result_key(plan)
    known = cache.get(key)
    if known is None:
        raster = _run(plan, chosen, stop, progress)
        cache.put(key, raster.values, raster.valid)
        known = raster.values, raster.valid
    values, valid = known
    return Raster(values, valid, plan.type, sub_geobox(grid_of(plan), region), **about)


def _telling(results: Iterator[T], count: int, progress: Progress | None) -> Iterator[T]:
    """Yield results as they come; `progress` is told of each when its receiver is done with it."""
    for done, result in enumerate(results, 1):
        yield result
        if progress is not None:
            progress(done, count)


def _run(plan: Plan, executor: Executor, stop: Stop, progress: Progress | None) -> Raster:
    given = plan.type
    shape = (len(given.time), len(given.bands), *plan.region.shape)
    values, valid = np.zeros(shape, dtype=given.dtype), np.zeros(shape, dtype=bool)
    if plan.root.op == "reduce_all":
        return _run_total(plan, executor, stop, progress)
    with hold(plan.root, plan.tile):
        results = executor.run(ComputeTile(plan.root), plan.tiles, stop)
        for part, block in _telling(results, len(plan.tiles), progress):
            rows, columns = part.within(plan.region)
            mask = block.full_valid
            valid[:, :, rows, columns] = mask
            np.copyto(values[:, :, rows, columns], block.values, where=mask)
    return Raster(values, valid, given, sub_geobox(grid_of(plan), plan.region))


def _run_total(plan: Plan, executor: Executor, stop: Stop, progress: Progress | None) -> Raster:
    """Reduce a whole image: states of blocks from the workers, merged here in the order of the blocks."""
    node = plan.root
    grid, combine = infer(node.src[0]).grid, get_reducer(node.args["reducer"]).combine
    if grid is None or combine is None:
        raise ExpressionError(f"reduce_all: {node.args['reducer']!r} of {node.src[0]!r} cannot be merged over tiles")
    blocks: dict[Region, State] = {}
    groups = list(tiles(region_of(grid), GROUPED * TOTAL_BLOCK))
    with hold(node, plan.tile):
        for _region, states in _telling(executor.run(TotalStates(node), groups, stop), len(groups), progress):
            blocks |= states
    ordered = [blocks[part] for part in tiles(region_of(grid), TOTAL_BLOCK)]
    result = Total(node, Program, ready_kernel, thread_pool()).finish(reduce(combine, ordered))
    valid = result.full_valid
    values = np.where(valid, result.values, plan.type.dtype.type(0))
    return Raster(values, valid.copy(), plan.type, grid_of(plan))
