"""Reducers of regions that need all pixels of a region at once: they are kept with their weights, and sorted at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import MemoryLimitError
from .reducer import percent_of

__all__ = ["PAIRED", "Pairs", "Statistic"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Paired = Callable[[Floats, Floats, Indices], tuple[Any, Any]]
"""From values and weights, by region, then value, and where each region starts: its number, and whether it is defined."""


@dataclass(frozen=True)
class Statistic:
    """A number for each region: `values` float64 [regions], `known` where there is one."""

    values: Floats
    known: Mask


def _spread(numbers: Floats, starts: Indices, length: int) -> Floats:
    """Return the number of each region for each of its pixels."""
    return np.repeat(numbers, np.diff(np.append(starts, length)))


def _runs(values: Floats, starts: Indices) -> Indices:
    """Return where runs of equal values of one region start."""
    new = np.concatenate([[True], values[1:] != values[:-1]])
    new[starts] = True
    return np.flatnonzero(new)


def _mode(values: Floats, weights: Floats, starts: Indices) -> tuple[Floats, Mask]:
    """The value of most weight, the smallest of equal ones."""
    runs = _runs(values, starts)
    total = np.add.reduceat(weights, runs)
    first = np.searchsorted(runs, starts)
    largest = _spread(np.maximum.reduceat(total, first), first, len(runs))
    place = np.minimum.reduceat(np.where(total == largest, np.arange(len(runs)), len(runs)), first)
    return values[runs[place]], np.ones(len(starts), dtype=bool)


def _distinct(values: Floats, _weights: Floats, starts: Indices) -> tuple[Floats, Mask]:
    """The number of different values."""
    runs = _runs(values, starts)
    return np.diff(np.append(np.searchsorted(runs, starts), len(runs))).astype(np.float64), np.ones(len(starts), dtype=bool)


def _moment(values: Floats, weights: Floats, starts: Indices, power: int) -> tuple[Floats, Mask]:
    """Standardized central moment of a power, divided by the sum of the weights; not defined where all are equal."""
    total = np.add.reduceat(weights, starts)
    mean = np.add.reduceat(weights * values, starts) / total
    apart = values - _spread(mean, starts, len(values))
    variance = np.add.reduceat(weights * apart**2, starts) / total
    moment = np.add.reduceat(weights * apart**power, starts) / total
    defined = np.maximum.reduceat(values, starts) > np.minimum.reduceat(values, starts)
    result = moment / np.where(defined, variance, 1) ** (power / 2) - (3 if power == 4 else 0)
    return np.where(defined, result, 0), defined


def _direction(values: Floats, weights: Floats, starts: Indices, part: str) -> tuple[Floats, Mask]:
    """Direction and length of the mean of unit vectors; see the reducers over time of these names."""
    total = np.add.reduceat(weights, starts)
    with np.errstate(invalid="ignore"):  # an infinite angle has no direction: NaN
        east = np.add.reduceat(weights * np.cos(values), starts) / total
        north = np.add.reduceat(weights * np.sin(values), starts) / total
    length = np.minimum(np.hypot(east, north), 1.0)
    if part == "mean":
        return np.arctan2(north, east), np.ones(len(starts), dtype=bool)
    if part == "variance":
        return 1 - length, np.ones(len(starts), dtype=bool)
    return np.sqrt(-2 * np.log(np.where(length == 0, 1, length))), length != 0


def _joined(values: Floats, _weights: Floats, starts: Indices, function: np.ufunc) -> tuple[Floats, Mask]:
    with np.errstate(over="ignore"):  # the product of many pixels may be infinite
        return np.asarray(function.reduceat(values, starts), dtype=np.float64), np.ones(len(starts), dtype=bool)


PAIRED: dict[str, Paired] = {
    "mode": _mode,
    "count_distinct": _distinct,
    "skew": partial(_moment, power=3),
    "kurtosis": partial(_moment, power=4),
    "product": partial(_joined, function=np.multiply),
    "all": partial(_joined, function=np.logical_and),
    "any": partial(_joined, function=np.logical_or),
    **{f"circular_{part}": partial(_direction, part=part) for part in ("mean", "variance", "std")},
}
"""Reducers by name; those of one name over time give the same where all weights are 1."""


class Pairs:
    """Values with their coverage, region by region, for what cannot be merged."""

    def __init__(self, planes: int, regions: int, most: int) -> None:
        self.kept: list[list[tuple[Indices, Floats, Floats]]] = [[] for _ in range(planes)]
        self.regions, self.most, self.number = regions, most, 0
        self.sorted: dict[int, tuple[Indices, Floats, Floats]] = {}

    def add(self, plane: int, owners: Indices, values: Floats, weights: Floats) -> None:
        """Keep the pixels of some regions that count."""
        seen = weights > 0
        self.number += int(seen.sum())
        if self.number > self.most:
            raise MemoryLimitError(
                f"reduce_regions: a median, percentile or mode keeps every pixel, more than the {self.most} allowed; take "
                "fewer regions, bands or times at once, or raise max_pairs="
            )
        self.kept[plane].append((owners[seen], values[seen], weights[seen]))

    def statistic(self, reducer: str, plane: int) -> Statistic:
        """Return the number of each region: of a reducer of PAIRED, the median, or a percentile."""
        if plane not in self.sorted:
            self.sorted[plane] = _in_order(self.kept[plane])
            self.kept[plane] = []
        if reducer not in PAIRED:
            percent = 50.0 if reducer == "median" else percent_of(reducer)
            assert percent is not None
            return _quantile(*self.sorted[plane], percent / 100, self.regions)
        owners, values, weights = self.sorted[plane]
        known = np.bincount(owners, minlength=self.regions) > 0
        result = np.zeros(self.regions)
        if len(owners):
            starts = np.flatnonzero(np.concatenate([[True], owners[1:] != owners[:-1]]))
            result[known], defined = PAIRED[reducer](values, weights, starts)
            known[known] = defined
        return Statistic(np.where(known, result, 0), known | (reducer == "count_distinct"))


def _in_order(kept: Sequence[tuple[Indices, Floats, Floats]]) -> tuple[Indices, Floats, Floats]:
    """Return owners, values and weights by owner, then value, then weight: the order they came in does not show."""
    if not kept:
        return np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0)
    owners, values, weights = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    order = np.lexsort((weights, values, owners))
    return owners[order], values[order], weights[order]


def _quantile(owners: Indices, values: Floats, weights: Floats, share: float, regions: int) -> Statistic:
    """Weighted quantile as exactextract takes it: linear between the places (k - 1) w_k + (n - 1) sum of w_i, i < k."""
    count = np.bincount(owners, minlength=regions)
    known = count > 0
    if not known.any():
        return Statistic(np.zeros(regions), known)
    first = np.asarray(np.cumsum(count) - count)[known]
    lengths = count[known]
    running = np.cumsum(weights, dtype=np.longdouble)  # over all regions: the differences keep double precision
    before = running - weights - np.repeat(running[first] - weights[first], lengths)
    rank = np.arange(len(values)) - np.repeat(first, lengths)
    place = np.asarray(rank * weights + np.repeat(lengths - 1, lengths) * before, dtype=np.float64)
    last = first + lengths - 1
    wanted = share * place[last]
    below = np.add.reduceat(place <= np.repeat(wanted, lengths), first, dtype=np.int64)
    low = first + np.maximum(below - 1, 0)
    high = np.minimum(low + 1, last)
    gap = place[high] - place[low]
    part = np.where(gap > 0, (wanted - place[low]) / np.where(gap > 0, gap, 1), 0)
    result = np.zeros(regions)
    result[known] = values[low] + part * (values[high] - values[low])
    return Statistic(result, known)
