"""Distributions of series over time: how often values, pairs of values and intervals come, pixel by pixel.

What is not valid, and NaN, is not counted. Counts are valid everywhere; where nothing is valid they are 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.engine.lower import elementwise_type
from esd.errors import ExpressionError
from esd.operator import Tile, operator
from esd.space import CubeType, Space

from .regressions import WHOLE_SERIES

__all__: list[str] = []

Array = npt.NDArray[Any]
MOST_CELLS = 4096
"""Values or cells of a distribution at most: a number each for every pixel."""


def _counted(image: CubeType, names: Sequence[str]) -> CubeType:
    return image.with_(time=tuple(names), dtype=np.dtype(np.int64), space=Space.VALUE, encoder=None)


def _counts(cells: Array, inside: npt.NDArray[np.bool_], number: int) -> Block:
    """Count cells [time, band, y, x] of 0 to number - 1 for each band and pixel."""
    shape = cells.shape[1:]
    pixel = np.arange(int(np.prod(shape))).reshape(shape)
    places = np.broadcast_to(pixel, cells.shape)[inside] * number + cells[inside]
    counts = np.bincount(places, minlength=pixel.size * number).reshape(*shape, number)
    return Block(np.ascontiguousarray(np.moveaxis(counts, -1, 0)), np.ones((1, 1, *shape[1:]), dtype=bool))


def _work(number: int, given: Sequence[CubeType], pixels: int) -> int:
    """Bytes of the counts as they are made, and of the cells of the series."""
    return pixels * len(given[0].bands) * 8 * (number + 3 * len(given[0].time))


def _frequency_rule(image: CubeType, *, values: tuple[float, ...]) -> CubeType:
    if not values or len(set(values)) != len(values) or len(values) > MOST_CELLS or any(map(math.isnan, values)):
        raise ExpressionError(f"frequency_histogram: values={tuple(values)} must be 1 to {MOST_CELLS} different numbers")
    return _counted(image, [f"{value:g}" for value in values])


@operator(
    "reducer",
    Tile.TIME,
    _frequency_rule,
    work=lambda given, args, pixels: _work(len(args["values"]), given, pixels),
    interpreted=WHOLE_SERIES,
    example="image.frequency_histogram((1, 2, 3))",
)
def frequency_histogram(image: Block, values: tuple[float, ...]) -> Block:
    """How often each of some values comes over time, such as the years that a pixel was of a class; int64.

    The values are the times of the result, in the order given. Other values are not counted; of regions
    `esd.region_tables.zonal_histogram` counts all. Raises ExpressionError for values that repeat.
    """
    wanted = np.array(values, dtype=np.float64)
    order = np.argsort(wanted)
    numbers = image.values.astype(np.float64)
    place = np.minimum(np.searchsorted(wanted[order], numbers), len(wanted) - 1)
    return _counts(order[place], image.full_valid & (wanted[order][place] == numbers), len(wanted))


def _edges(bins: int, lowest: float, highest: float) -> Array:
    return np.linspace(lowest, highest, bins + 1)


def _two_rule(
    a: CubeType, b: CubeType, *, bins: tuple[int, ...], lowest: tuple[float, ...], highest: tuple[float, ...]
) -> CubeType:
    sizes = {len(bins), len(lowest), len(highest)}
    whole = sizes == {2} and all(isinstance(n, int) and n >= 1 for n in bins) and bins[0] * bins[1] <= MOST_CELLS
    if not whole or not all(low < high for low, high in zip(lowest, highest, strict=True)):
        raise ExpressionError(
            f"histogram2d: bins={tuple(bins)} of {tuple(lowest)}..{tuple(highest)}: give two numbers of bins, of at most "
            f"{MOST_CELLS} cells, two lowest and two highest values"
        )
    if len(a.time) != len(b.time) or len(a.bands) != len(b.bands):
        raise ExpressionError(
            f"histogram2d: {len(a.time)} x {len(a.bands)} and {len(b.time)} x {len(b.bands)} times and bands; give as many"
        )
    first, second = (_edges(n, low, high)[:-1] for n, low, high in zip(bins, lowest, highest, strict=True))
    return _counted(elementwise_type("histogram2d", np.add, (a, b), {}), [f"{x:g},{y:g}" for x in first for y in second])


@operator(
    "reducer",
    Tile.TIME,
    _two_rule,
    work=lambda given, args, pixels: _work(args["bins"][0] * args["bins"][1], given, pixels),
    interpreted=WHOLE_SERIES,
    example="image['nir'].histogram2d(image['red'], (4, 4), (0.0, 0.0), (1.0, 0.5))",
)
def histogram2d(a: Block, b: Block, bins: tuple[float, ...], lowest: tuple[float, ...], highest: tuple[float, ...]) -> Block:
    """How many pairs of two series lie in each cell of a grid of values; int64, as NumPy's histogram2d.

    `bins`, `lowest` and `highest` are pairs, of `a` and of `b`; the last interval of each holds its upper end. The cells
    are the times of the result, those of one interval of `a` in a row, named by their lower ends "a,b". Times at which one
    of the two is not valid, NaN, or outside are not counted.
    """
    inside, cells = a.full_valid & b.full_valid, np.zeros(np.broadcast_shapes(a.values.shape, b.values.shape), np.int64)
    for block, number, low, high in zip((a, b), map(int, bins), lowest, highest, strict=True):
        values = block.values.astype(np.float64)
        inside = inside & (values >= low) & (values <= high)
        cell = np.searchsorted(_edges(number, low, high), values, side="right") - 1
        cells = cells * number + np.clip(cell, 0, number - 1)
    return _counts(cells, inside, int(bins[0]) * int(bins[1]))


def _auto_rule(image: CubeType, *, buckets: int) -> CubeType:
    if not 2 <= buckets <= MOST_CELLS:
        raise ExpressionError(f"auto_histogram: buckets={buckets} is out of range; give 2 to {MOST_CELLS}")
    return _counted(image, ["start", "width", *map(str, range(buckets))]).with_(dtype=np.dtype(np.float64))


def _auto_work(given: Sequence[CubeType], args: Mapping[str, Any], pixels: int) -> int:
    return _work(3 * args["buckets"], given, pixels)


@operator("reducer", Tile.TIME, _auto_rule, work=_auto_work, interpreted=WHOLE_SERIES, example="image.auto_histogram(16)")
def auto_histogram(image: Block, buckets: int = 64) -> Block:
    """Histogram over time whose intervals each pixel chooses itself: their start, their width, then the counts; float64.

    The width is the smallest power of two of which at most `buckets` intervals, from a multiple of it on, hold all values; 1
    where all are equal. Infinite values are not counted; not valid where nothing is. Source: Earth Engine's autoHistogram.
    """
    values = image.values.astype(np.float64)
    valid = image.full_valid & np.isfinite(values)
    known = valid.any(axis=0)
    low = np.where(known, np.where(valid, values, np.inf).min(axis=0), 0)
    high = np.where(known, np.where(valid, values, -np.inf).max(axis=0), 0)
    _mantissa, exponent = np.frexp(np.where(high > low, high / buckets - low / buckets, 0.5))
    width = np.ldexp(1.0, exponent - 1)
    for _step in range(3):  # the first guess is at most two doublings short: one for frexp, one for the multiple
        width = np.where(np.floor(high / width) - np.floor(low / width) >= buckets, 2 * width, width)
    width = np.where(high > low, width, 1.0)
    start = np.floor(low / width)
    cells = np.where(valid, np.floor(np.where(valid, values, 0) / width) - start, 0).astype(np.int64)
    counts = _counts(cells, valid, buckets).values
    found = np.concatenate([(start * width)[None], width[None], counts.astype(np.float64)])
    return Block(np.where(known, found, 0), np.ascontiguousarray(np.broadcast_to(known, found.shape)))
