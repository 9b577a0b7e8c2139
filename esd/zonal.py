"""Statistics of regions: one pass over the blocks of an image for however many regions, in bounded memory.

Blocks have one size whatever the tiles of the engine, and states are merged in their order, so that a result has the same
bytes for every tiling. Only blocks that a region meets are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .block import Block
from .engine.executors import LocalExecutor
from .engine.plan import Plan, make_plan
from .engine.program import evaluate
from .engine.scene import hold
from .engine.stop import CancelToken, stop_after
from .engine.total_order import TOTAL_BLOCK
from .errors import ExpressionError, TableError
from .grid import Region, tiles
from .reducer import get_reducer, percent_of
from .zonal_pairs import PAIRED, Pairs, Statistic

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from .coverage import Cells
    from .image import Image

__all__ = [
    "DEFAULT_PAIRS",
    "ZONAL",
    "Statistic",
    "check_zonal",
    "reduce_pieces",
    "reduce_zones",
    "walk",
    "weighted_pieces",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

SUMMED = ("count", "sum", "mean", "min", "max", "variance", "std", "pixels")
"""Reducers whose state merges: nothing is kept but a few numbers for each region."""
ZONAL = (*SUMMED, "median", *PAIRED)
"""Reducers of regions by name; p0 to p100 are percentiles."""
DEFAULT_PAIRS = 50_000_000
"""Pairs of a value and its coverage that reducers which do not merge may keep, 20 bytes each."""
ORDERED = ("first", "last", "argmin", "argmax", "count_runs")


def check_zonal(reducer: str) -> None:
    """Raise ExpressionError for a reducer that regions do not have, with the reason."""
    if reducer in ZONAL or percent_of(reducer) is not None:
        return
    if reducer.startswith("sample_"):
        other = reducer.removeprefix("sample_")
        raise ExpressionError(f"reduce_regions: {reducer} divides by n - 1, and parts of pixels have no n; use {other}")
    if reducer in ORDERED:
        raise ExpressionError(f"reduce_regions: {reducer} needs an order, and the pixels of a region have none; use another")
    get_reducer(reducer)
    raise ExpressionError(f"reduce_regions: {reducer} is not one of {', '.join(ZONAL)}, or p0 to p100")


@dataclass(frozen=True)
class _Piece:
    """Computes a block in the tiles that a plan allows."""

    plan: Plan

    def __call__(self, region: Region) -> Block:
        given = self.plan.type
        shape = (len(given.time), len(given.bands), *region.shape)
        values, valid = np.empty(shape, dtype=given.dtype), np.empty(shape, dtype=bool)
        for part in tiles(region, self.plan.tile):
            block = evaluate(self.plan.root, part)
            values[(..., *part.within(region))], valid[(..., *part.within(region))] = block.values, block.valid
        return Block(values, valid)


def _members(geometries: Array, grid: GeoBox, blocks: Sequence[Region]) -> list[tuple[Region, Indices]]:
    """Return the blocks that a region's box meets, each with the positions of those regions, in order."""
    import shapely

    affine = grid.affine
    corners = np.array([affine * (part.x0, part.y0) + affine * (part.x1, part.y1) for part in blocks]).T
    boxes = shapely.box(*(function(corners[i], corners[i + 2]) for function in (np.minimum, np.maximum) for i in (0, 1)))
    block, member = shapely.STRtree(geometries).query(boxes)
    order = np.lexsort((member, block))
    found = np.split(member[order], np.searchsorted(block[order], np.arange(1, len(blocks))))
    return [(part, members) for part, members in zip(blocks, found, strict=True) if len(members)]


def walk(
    image: Image,
    geometries: Array,
    coverage: str = "fraction",
    tile: int | None = None,
    max_memory: int | None = None,
    threads: int | None = None,
    deadline: float | None = None,
    cancel: CancelToken | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[Region, Block, Cells]]:
    """Yield each block that regions meet, its values, and the pixels that they cover there, some regions at a time.

    `geometries` are polygons in the image's coordinates, or None. `progress` is called with blocks done and blocks in all.
    Raises GridError for a grid that is not north-up, DeadlineError and CancelledError as `Image.compute` does.
    """
    stop = stop_after(deadline, cancel)
    try:
        from .coverage import cells_of, check_coverage
    except ModuleNotFoundError as error:
        raise TableError("regions need exactextract; install the extra: pip install 'esd-toolkit[vector]'") from error
    check_coverage(coverage)
    executor = LocalExecutor() if threads is None else LocalExecutor(threads)
    plan = make_plan(image.expr, None, None if tile is None else min(tile, TOTAL_BLOCK), max_memory, executor.threads)
    grid = plan.type.grid
    if grid is None:
        raise ExpressionError("regions: the image is a constant and has no grid; use an image of a cube")
    members = dict(_members(geometries, grid, list(tiles(plan.region, TOTAL_BLOCK))))
    with hold(plan.root, plan.tile):
        for done, (region, block) in enumerate(executor.run(_Piece(plan), list(members), stop), 1):
            for cells in cells_of(geometries, members[region], grid, region, coverage):
                yield region, block, cells
            if progress is not None:
                progress(done, len(members))


class _Sums:
    """Weights, sums, squares about the mean, and extremes of each plane and region: [planes, regions]."""

    def __init__(self, planes: int, regions: int) -> None:
        self.weight, self.pixels, self.total, self.squares = (np.zeros((planes, regions)) for _ in range(4))
        self.smallest, self.largest = np.full((planes, regions), np.inf), np.full((planes, regions), -np.inf)

    def add(self, plane: int, cells: Cells, values: Floats, weights: Floats) -> None:
        """Merge the numbers of some regions in one block. Source: Chan, Golub and LeVeque (1979)."""
        starts = cells.starts
        lengths = np.diff(np.append(starts, len(values)))
        weight, total = np.add.reduceat(weights, starts), np.add.reduceat(weights * values, starts)
        mean = total / np.where(weight > 0, weight, 1)
        squares = np.add.reduceat(weights * (values - np.repeat(mean, lengths)) ** 2, starts)
        at = plane, cells.regions
        before, known = self.weight[at], self.total[at]
        both = before + weight
        apart = mean - known / np.where(before > 0, before, 1)
        self.squares[at] += squares + apart**2 * before * weight / np.where(both > 0, both, 1)
        self.weight[at], self.total[at] = both, known + total
        seen = weights > 0
        self.pixels[at] += np.add.reduceat(seen.astype(np.float64), starts)
        for state, function, never in ((self.smallest, np.minimum, np.inf), (self.largest, np.maximum, -np.inf)):
            state[at] = function(state[at], function.reduceat(np.where(seen, values, never), starts))

    def statistic(self, reducer: str, plane: int) -> Statistic:
        weight, total = self.weight[plane], self.total[plane]
        known, safe = weight > 0, np.where(weight > 0, weight, 1)
        if reducer in ("count", "pixels"):
            counted = weight if reducer == "count" else self.pixels[plane]
            return Statistic(counted, np.ones(len(weight), dtype=bool))
        variance = self.squares[plane] / safe
        values = {
            "sum": total,
            "mean": total / safe,
            "min": self.smallest[plane],
            "max": self.largest[plane],
            "variance": variance,
            "std": np.sqrt(variance),
        }[reducer]
        return Statistic(np.where(known, values, 0), known)


Piece = tuple[Block, "Block | None", "Cells"]
"""The values of a block, the weights of its pixels or None, and the pixels of regions in it."""


def weighted_pieces(image: Image, weights: Image | None, geometries: Array, **options: Any) -> Iterator[Piece]:
    """Yield the pieces of an image that regions cover, with weights from another image of one band, of 1 or as many times.

    Raises ExpressionError for weights of several bands. Options are those of `walk`.
    """
    if weights is None:
        yield from ((block, None, cells) for _region, block, cells in walk(image, geometries, **options))
        return
    from .image import call

    if len(weights.type.bands) != 1:
        raise ExpressionError(f"weights have {len(weights.type.bands)} bands, not one; .select() the one that weighs")
    times = len(image.type.time)
    repeated = weights if len(weights.type.time) == times else call("rearrange", weights, (0,) * times)
    joined = call("add_bands", image, call("rename", repeated, " weight"))
    for _region, block, cells in walk(joined, geometries, **options):
        values, valid = block.values, block.full_valid
        yield Block(values[:, :-1], valid[:, :-1]), Block(values[:, -1:], valid[:, -1:]), cells


def reduce_pieces(
    pieces: Iterable[Piece], planes: tuple[int, int], regions: int, reducers: Sequence[str], max_pairs: int = DEFAULT_PAIRS
) -> dict[tuple[int, int, str], Statistic]:
    """Reduce pieces of `planes` times and bands to numbers of as many regions; see `reduce_zones`."""
    for reducer in reducers:
        check_zonal(reducer)
    times, bands = planes
    summed = [name for name in reducers if name in SUMMED]
    sums = _Sums(times * bands, regions) if summed else None
    pairs = Pairs(times * bands, regions, max_pairs) if len(summed) < len(reducers) else None
    for block, weighing, cells in pieces:
        owners = cells.owners if pairs is not None else cells.regions
        for plane in range(times * bands):
            values, weights = _weighted(block, weighing, plane, bands, cells)
            if sums is not None:
                sums.add(plane, cells, values, weights)
            if pairs is not None:
                pairs.add(plane, owners, values, weights)
    found = {}
    for plane in range(times * bands):
        for reducer in reducers:
            state = sums if reducer in SUMMED else pairs
            assert state is not None
            found[(*divmod(plane, bands), reducer)] = state.statistic(reducer, plane)
    return found


def reduce_zones(
    image: Image,
    geometries: Array,
    reducers: Sequence[str],
    max_pairs: int = DEFAULT_PAIRS,
    weights: Image | None = None,
    **options: Any,
) -> dict[tuple[int, int, str], Statistic]:
    """Reduce the pixels of regions to numbers, by position of time and band, and reducer.

    Pixels weigh by their coverage, times `weights` if given. What is not valid, and NaN, does not count; where nothing does
    there is no number, but 0 for `count`, the sum of the weights, and `pixels`, how many have one. Options are `coverage`,
    `tile`, `max_memory` and `threads` of `walk`.
    """
    for reducer in reducers:
        check_zonal(reducer)
    planes = len(image.type.time), len(image.type.bands)
    pieces = weighted_pieces(image, weights, geometries, **options)
    return reduce_pieces(pieces, planes, len(geometries), reducers, max_pairs)


def _weighted(block: Block, weighing: Block | None, plane: int, bands: int, cells: Cells) -> tuple[Floats, Floats]:
    """Return the values of the pixels and their weights, 0 where there is no value or no weight above 0."""
    place = divmod(plane, bands)
    values = block.values[place].ravel()[cells.pixels].astype(np.float64)
    counts = block.full_valid[place].ravel()[cells.pixels] & ~np.isnan(values)
    weights = cells.coverage
    if weighing is not None:
        own = weighing.values[place[0], 0].ravel()[cells.pixels].astype(np.float64)
        counts &= weighing.full_valid[place[0], 0].ravel()[cells.pixels] & (own > 0) & np.isfinite(own)
        weights = weights * np.where(counts, own, 0)
    return np.where(counts, values, 0), np.where(counts, weights, 0)
