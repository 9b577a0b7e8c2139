"""Clusters of the pixels of a scene, or of its square cells, by what they look like: k-means and G-means.

Bands are scaled by their spread. Clusters are numbered by the sum of their scaled means, smallest first, so that a number
means the same in every run. A pixel takes part where all bands are valid and finite; times by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.engine.scene import Scene, Whole
from esd.errors import ExpressionError
from esd.operator import Tile, operator
from esd.space import CubeType

from .neighbours import value_type
from .scenes import scene_work
from .segments import each_time

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Find = Callable[[Array], Array]
"""From pixels [n, band] to the means of clusters."""

ITERATIONS = 100
"""Iterations of k-means at most."""
FEWEST = 8
"""Pixels of a cluster that is still tested for a split."""
CRITICAL = 1.8692
"""Anderson and Darling's statistic above which numbers are not normal at a level of 0.0001 (Hamerly and Elkan, 2003)."""


def _settled(pixels: Array, means: Array) -> Array:
    """Return the means of clusters after Lloyd's iterations; a cluster that loses all its pixels stays where it was."""
    from scipy.cluster.vq import vq

    for _iteration in range(ITERATIONS):
        labels, number = vq(pixels, means)[0], len(means)
        count = np.bincount(labels, minlength=number)[:, None]
        total = np.stack([np.bincount(labels, weights, minlength=number) for weights in pixels.T], axis=1)
        moved = np.where(count > 0, total / np.maximum(count, 1), means)
        if np.array_equal(moved, means):
            break
        means = moved
    return means


def _k_means(pixels: Array, number: int, seed: int) -> Array:
    """Return the means of clusters from a start by k-means++; fewer of them where different pixels are as few."""
    from scipy.cluster.vq import vq

    rng = np.random.default_rng(seed)
    means = pixels[[rng.integers(len(pixels))]]
    while len(means) < number:
        apart = vq(pixels, means)[1] ** 2
        if not apart.any():
            return means
        means = np.concatenate([means, pixels[[rng.choice(len(pixels), p=apart / apart.sum())]]])
    return _settled(pixels, means)


def _normal(numbers: Array) -> bool:
    """Test numbers for a normal distribution of unknown mean and variance. Source: Anderson and Darling (1954)."""
    from scipy.special import log_ndtr

    count, spread = len(numbers), numbers.std(ddof=1)
    if spread == 0:
        return True
    standard = np.sort((numbers - numbers.mean()) / spread)
    ranks = 2 * np.arange(1, count + 1) - 1
    statistic = -count - np.sum(ranks * (log_ndtr(standard) + log_ndtr(-standard[::-1]))) / count
    return bool(statistic * (1 + 4 / count - 25 / count**2) <= CRITICAL)


def _split(pixels: Array) -> Array:
    """Return the means of the two halves of a cluster, or its one mean where it looks normal along the line between them."""
    mean = pixels.mean(axis=0)
    if len(pixels) < FEWEST:
        return mean[None]
    variance, axes = np.linalg.eigh(np.atleast_2d(np.cov(pixels.T)))
    axis = axes[:, -1] * np.sqrt(2 * max(variance[-1], 0) / np.pi)
    halves = _settled(pixels, np.stack([mean - axis, mean + axis]))
    line = halves[1] - halves[0]
    return mean[None] if not line.any() or _normal(pixels @ line) else halves


def _g_means(pixels: Array, most: int) -> Array:
    """Return the means of clusters: those that do not look normal are split, until all do or there are `most`."""
    from scipy.cluster.vq import vq

    means = pixels.mean(axis=0, keepdims=True)
    while len(means) < most:
        labels = vq(pixels, means)[0]
        parts = [_split(pixels[labels == label]) for label in range(len(means)) if (labels == label).any()]
        room = most - len(parts)
        chosen = []
        for part in parts:
            chosen.append(part if len(part) == 1 or room > 0 else part.mean(axis=0, keepdims=True))
            room -= len(chosen[-1]) - 1
        found = np.concatenate(chosen)
        if len(found) == len(means):
            break
        means = _settled(pixels, found)
    return means


def _labels(bands: Array, usable: Mask, find: Find) -> Array:
    from scipy.cluster.vq import vq

    pixels = np.ascontiguousarray(bands[:, usable].T)
    spread = pixels.std(axis=0)
    scaled = pixels / np.where(spread > 0, spread, 1)
    means = find(scaled)
    means = means[np.argsort(means.sum(axis=1), kind="stable")]
    labels = np.zeros(usable.shape, dtype=np.int32)
    labels[usable] = vq(scaled, means)[0] + 1
    return labels


def _in_cells(bands: Array, usable: Mask, find: Find, cell: int) -> Array:
    rows, columns = usable.shape
    side = cell or max(rows, columns)
    labels = np.zeros(usable.shape, dtype=np.int32)
    for top in range(0, rows, side):
        for left in range(0, columns, side):
            inside = np.s_[top : top + side, left : left + side]
            if usable[inside].any():
                labels[inside] = _labels(bands[:, *inside], usable[inside], find)
    return labels


def _clusters_type(name: str, image: CubeType, number: int, cell: int, seed: int = 0) -> CubeType:
    if not 2 <= number <= 1000 or cell < 0 or seed < 0:
        raise ExpressionError(f"{name}: {number} clusters must be 2 to 1000, cell={cell} and seed={seed} 0 or more")
    return value_type(image, np.dtype(np.int32)).with_(bands=("segments",))


def _kmeans_rule(image: CubeType, *, number: int, cell: int, seed: int) -> CubeType:
    return _clusters_type("kmeans_segment", image, number, cell, seed)


@operator("objects", Tile.GLOBAL, _kmeans_rule, work=scene_work(3, 9), example="image.decode().median().kmeans_segment(4)")
def kmeans_segment(image: Scene, number: int = 8, cell: int = 0, seed: int = 0) -> Whole:
    """K-means clusters of the pixels of a scene: band `segments`, int32, 1 to `number`.

    With `cell`, every square cell of as many pixels a side is clustered by itself, from 1. Valid where all bands are, and
    are finite. Deterministic for a `seed`. Source: Lloyd (1982), started as by Arthur and Vassilvitskii (2007).
    """
    return each_time(image, partial(_in_cells, find=partial(_k_means, number=number, seed=seed), cell=cell))


def _gmeans_rule(image: CubeType, *, most: int, cell: int) -> CubeType:
    return _clusters_type("gmeans_segment", image, most, cell)


@operator("objects", Tile.GLOBAL, _gmeans_rule, work=scene_work(6, 12), example="image.decode().median().gmeans_segment(12)")
def gmeans_segment(image: Scene, most: int = 32, cell: int = 0) -> Whole:
    """Clusters of the pixels of a scene, as many as look normal, up to `most`: band `segments`, int32, from 1.

    From one cluster on, those whose pixels are not normal along the line between their halves are split (Anderson and
    Darling's test at 0.0001). `cell` and validity as in `kmeans_segment`. Source: Hamerly and Elkan (2003).
    """
    return each_time(image, partial(_in_cells, find=partial(_g_means, most=most), cell=cell))
