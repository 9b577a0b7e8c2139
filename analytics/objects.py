"""Objects of a scene: statistics of labelled patches, seeds, and the cost of getting to a place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.engine.scene import Scene, Whole
from esd.errors import ExpressionError
from esd.grid import Region
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.reducer import get_reducer
from esd.space import CubeType

from .neighbours import metric_size, settle, value_type
from .scenes import Planes, check_pair, read_scene, scene_work, scikit_image, side_by_side

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
INT = np.dtype(np.int32)


def _reduce_groups(values: Array, valid: Mask, labels: Array, reducer: str) -> tuple[Array, Mask, Array]:
    """Reduce values by label: result and validity of each label, and where its numbers are; pixels in order, row by row.

    Labels of as many pixels are reduced side by side, as a stack [pixel of the label, label].
    """
    order = np.argsort(labels, kind="stable")
    found, start, number = np.unique(labels[order], return_index=True, return_counts=True)
    result: Array = np.zeros(len(found), dtype=np.float64)
    known = np.zeros(len(found), dtype=bool)
    for size in np.unique(number):
        groups = np.flatnonzero(number == size)
        places = order[start[groups] + np.arange(size)[:, None]]
        result[groups], known[groups] = get_reducer(reducer)(values[places], valid[places])
    return result, known, found


def _components_rule(image: CubeType, *, reducer: str) -> CubeType:
    if len(image.bands) < 2:
        raise ExpressionError("reduce_labels: needs the bands to reduce and one of labels after them, not one band alone")
    probe, _valid = get_reducer(reducer)(np.zeros((1, 1)), np.ones((1, 1), dtype=bool))
    if probe.ndim != 1:
        raise ExpressionError(f"reduce_connected_components: {reducer!r} gives no single number for each patch")
    return value_type(image, np.dtype(np.float64)).with_(bands=image.bands[:-1])


@operator("objects", Tile.GLOBAL, _components_rule, work=scene_work(3, 7))
def reduce_labels(image: Scene, reducer: str) -> Whole:
    """Reduce all bands but the last by the labels of the last; `reduce_connected_components` puts them so.

    What is not finite is no label.
    """
    values, valid = read_scene(image, np.float64)
    result, known = np.zeros_like(values[:, :-1]), np.zeros_like(valid[:, :-1])
    for time, band in np.ndindex(result.shape[:2]):
        labels = np.where(valid[time, -1] & (np.abs(values[time, -1]) < 2**53), values[time, -1], 0).astype(np.int64)
        member = labels != 0
        if member.any():
            found, counted, names = _reduce_groups(
                values[time, band][member], valid[time, band][member], labels[member], reducer
            )
            place = np.searchsorted(names, labels[member])
            result[time, band][member], known[time, band][member] = np.where(counted, found, 0)[place], counted[place]
    return Planes(settle(result), known)


@composite(
    "objects",
    example='image.ndvi().median().reduce_connected_components((image.ndvi().max() > 0.5).connected_components(), "mean")',
)
def reduce_connected_components(image: Image, labels: Image, reducer: str) -> Image:
    """A reducer (as "mean", "median", "p90", "count") over all pixels of each patch, in the place of every one; float64.

    `labels`, one band of integers as `connected_components` and `snic` give, tells the patches; 0 is none. What is not valid
    does not count; valid in patches for which the reducer has a result. Raises ExpressionError for labels that are no
    integers, or an unknown reducer.
    """
    if labels.type.dtype.kind not in "bui" or len(labels.type.bands) != 1:
        raise ExpressionError(
            "reduce_connected_components: labels must be one band of integers, as connected_components gives"
        )
    joined = side_by_side("reduce_connected_components", image, labels)
    return call("reduce_labels", joined, reducer)


SEEDS = ("square", "hexagon")


def _seed_rule(image: CubeType, *, size: int, arrangement: str) -> CubeType:
    if not 2 <= size <= 10_000:
        raise ExpressionError(f"seed_grid: size={size} pixels is out of range; give 2 to 10000")
    if arrangement not in SEEDS:
        raise ExpressionError(f"seed_grid: arrangement={arrangement!r} is not one of {', '.join(SEEDS)}")
    return value_type(image, INT).with_(bands=("seeds",), time=image.time[:1])


@dataclass(frozen=True)
class _Seeds(Whole):
    """Seeds as a rule rather than as pixels: rows of them `size` apart, every other row moved by half in hexagons."""

    size: int
    moved: bool
    columns: int

    @property
    def nbytes(self) -> int:
        return 3 * 8

    def crop(self, region: Region) -> Block:
        half, a_row = self.size // 2, -(-self.columns // self.size)
        y, x = np.arange(region.y0, region.y1)[:, None], np.arange(region.x0, region.x1)[None, :]
        row = (y - half) // self.size
        shift = np.where(row % 2 == 1, 0, half) if self.moved else half
        seed = ((y - half) % self.size == 0) & ((x - shift) % self.size == 0) & (y >= half) & (x >= shift)
        numbers = np.where(seed, row * a_row + (x - shift) // self.size + 1, 0).astype(np.int32)
        return Block(numbers[None, None], np.ones((1, 1, *numbers.shape), dtype=bool))


@operator("objects", Tile.GLOBAL, _seed_rule, example="image.ndvi().median().seed_grid(10)")
def seed_grid(image: Scene, size: int = 10, arrangement: str = "square") -> Whole:
    """Seeds every `size` pixels on the grid of an image: numbered from 1, row by row, 0 elsewhere; int32, valid all over.

    `arrangement` is square, or hexagon: every other row is moved by half of `size`. Made for `watershed` and `region_grow`.
    """
    return _Seeds(size, arrangement == "hexagon", image.shape[3])


def _cost_rule(image: CubeType, *, most: float) -> CubeType:
    if not most > 0:
        raise ExpressionError(f"cumulative_cost: most={most:g} must be above 0")
    check_pair("cumulative_cost", image)
    if image.grid is not None:
        metric_size("cumulative_cost", image.grid)
    return value_type(image, np.dtype(np.float64)).with_(bands=("cumulative_cost",))


@operator(
    "objects",
    Tile.GLOBAL,
    _cost_rule,
    work=scene_work(2, 12),
    example='image["nir", "red"].max().to_float64().cost_from_bands(100.0)',
)
def cost_from_bands(image: Scene, most: float) -> Whole:
    """Least cost of the first band from where the second is not 0; `cumulative_cost` puts them so."""
    values, valid = read_scene(image)
    result, known = np.zeros_like(values[:, :1]), np.zeros_like(valid[:, :1])
    graph, size = scikit_image("cumulative_cost", "graph"), metric_size("cumulative_cost", image.grid)
    for time in range(len(values)):
        usable = valid[time, 0] & np.isfinite(values[time, 0]) & (values[time, 0] >= 0)
        starts = np.argwhere(usable & (values[time, 1] != 0))
        if len(starts):
            cost = graph.MCP_Geometric(np.where(usable, values[time, 0], -1), sampling=size)
            total = cost.find_costs(starts)[0]
            known[time, 0] = usable & np.isfinite(total) & (total <= most)
            result[time, 0] = np.where(known[time, 0], total, 0)
    return Planes(settle(result), known)


@composite("objects", example="(image.ndvi().median() * 0 + 1).cumulative_cost(image.ndwi().max() > 0)")
def cumulative_cost(image: Image, source: Image, most: float = math.inf) -> Image:
    """Least cost of a way from the nearest place where `source` is not 0: the sum of metres times cost; float64, 0 on it.

    `image`, one band, is the cost of a metre, 0 or more; a step to one of eight neighbours costs the mean of both pixels.
    No way leads over what is not valid, negative or not finite; not valid there, where no way leads, and above `most`. By
    scikit-image (ExpressionError without it). Raises GridError for a grid in degrees.
    """
    if len(image.type.bands) != 1 or len(source.type.bands) != 1:
        raise ExpressionError("cumulative_cost: cost and source must have one band each; .select() it")
    joined = side_by_side("cumulative_cost", image, call("to_float64", source).unmask(0.0))
    return call("cost_from_bands", joined, most)
