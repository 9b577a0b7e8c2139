"""Clusterings that look for the number of clusters, or for the centres in another way than k-means.

Each takes standardised features [n, d] and returns centres [k, d], of which the nearest one decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SEARCHES", "assigned"]

Doubles = npt.NDArray[np.float64]
Labels = npt.NDArray[Any]
EPOCHS, FIRST_RATE = 20, 0.3
"""Times that vector quantization goes over the samples, and the share of the way that a centre first moves."""
ROUNDS = 60
SPLIT_AT, MERGE_AT = 1.0, 0.75
"""ISODATA splits a cluster whose widest feature has more standard deviations than one of all samples would, and merges
centres nearer than this, in standard deviations a feature (root mean square)."""


def _means(features: Doubles, number: int, seed: int, start: Doubles | None = None) -> tuple[Doubles, Labels, float]:
    """Return k-means' centres, labels and sum of squares."""
    from sklearn.cluster import KMeans

    model = KMeans(
        number, init="k-means++" if start is None else start, n_init=10 if start is None else 1, random_state=seed
    )
    model.fit(features)
    return model.cluster_centers_, model.labels_, float(model.inertia_)


def _criterion(squares: float, sizes: Labels, dims: int) -> float:
    """Return Schwarz's criterion of spherical Gaussians of one variance. Source: Pelleg and Moore (2000), section 3.2."""
    total, number = int(sizes.sum()), len(sizes)
    if total <= number:
        return -np.inf
    variance = max(squares / (dims * (total - number)), 1e-12)
    likelihood = (sizes * np.log(sizes / total)).sum() - total * dims / 2 * np.log(2 * np.pi * variance)
    return float(likelihood - dims * (total - number) / 2 - number * (dims + 1) / 2 * np.log(total))


def _halves(own: Doubles, seed: int) -> tuple[float, Doubles]:
    """Return what it gains to make two clusters of one, by the criterion, and their centres."""
    if len(own) < 4 or len(np.unique(own, axis=0)) < 2:
        return -np.inf, own[:0]
    centres, labels, squares = _means(own, 2, seed)
    before = float(((own - own.mean(axis=0)) ** 2).sum())
    sizes = np.bincount(labels, minlength=2)
    dims = own.shape[1]
    return _criterion(squares, sizes, dims) - _criterion(before, np.array([len(own)]), dims), centres


def _xmeans(features: Doubles, fewest: int, most: int, seed: int) -> Doubles:
    """Split clusters, those that gain most first, as long as Schwarz's criterion of their samples rises."""
    centres, labels, _squares = _means(features, fewest, seed)
    while len(centres) < most:
        found = [_halves(features[labels == place], seed) for place in range(len(centres))]
        gains = [gain for gain, _pair in found]
        chosen = [int(place) for place in np.argsort(-np.array(gains), kind="stable") if gains[place] > 0]
        chosen = chosen[: most - len(centres)]
        if not chosen:
            break
        start = [found[place][1] if place in chosen else centres[[place]] for place in range(len(centres))]
        centres, labels, _squares = _means(features, len(centres) + len(chosen), seed, np.concatenate(start))
    return centres


def _cascade(features: Doubles, fewest: int, most: int, seed: int) -> Doubles:
    """Take the number of clusters of the largest ratio of spreads. Source: Calinski and Harabasz (1974)."""
    whole = float(((features - features.mean(axis=0)) ** 2).sum())
    best, score = features[:0], -np.inf
    for number in range(fewest, min(most, len(features) - 1) + 1):
        centres, _labels, inside = _means(features, number, seed)
        ratio = (whole - inside) / (number - 1) / max(inside / (len(features) - number), 1e-300)
        if ratio > score:
            best, score = centres, ratio
    return best


def _quantized(features: Doubles, _fewest: int, number: int, seed: int) -> Doubles:
    """Move the nearest centre towards one sample after the other, ever less. Source: Kohonen (1995), chapter 6."""
    from sklearn.cluster import kmeans_plusplus

    centres = kmeans_plusplus(features, number, random_state=seed)[0].astype(np.float64)
    rng, steps, step = np.random.default_rng(seed), EPOCHS * len(features), 0
    for _epoch in range(EPOCHS):
        for place in rng.permutation(len(features)):
            nearest = int(((centres - features[place]) ** 2).sum(axis=1).argmin())
            centres[nearest] += FIRST_RATE * (1 - step / steps) * (features[place] - centres[nearest])
            step += 1
    return centres


def assigned(features: Doubles, centres: Doubles) -> Labels:
    """Return the position of the nearest centre of each vector."""
    return np.stack([((features - centre) ** 2).sum(axis=1) for centre in centres], axis=1).argmin(axis=1)


def _isodata(features: Doubles, fewest: int, number: int, seed: int) -> Doubles:
    """Drop small clusters, split wide ones, merge near ones, until nothing changes. Source: Ball and Hall (1965)."""
    from sklearn.cluster import kmeans_plusplus

    least = max(2, len(features) // (20 * number))
    centres = kmeans_plusplus(features, number, random_state=seed)[0].astype(np.float64)
    for turn in range(ROUNDS):
        before = centres
        labels = assigned(features, centres)
        kept = [place for place, size in enumerate(np.bincount(labels, minlength=len(centres))) if size >= least]
        if len(kept) < fewest:
            kept = list(np.argsort(-np.bincount(labels, minlength=len(centres)), kind="stable")[:fewest])
        labels = assigned(features, centres[kept])
        centres = np.stack([features[labels == place].mean(axis=0) for place in range(len(kept))])
        if turn < ROUNDS - 10 and turn % 2 == 0 and len(centres) < number:
            centres = _split(features, centres, labels, least, number)
        elif turn % 2 == 1 and len(centres) > fewest:
            centres = _merged(centres, np.bincount(labels, minlength=len(centres)))
        if turn % 2 == 1 and centres.shape == before.shape and np.allclose(centres, before):
            break
    return centres


def _split(features: Doubles, centres: Doubles, labels: Labels, least: int, number: int) -> Doubles:
    """Put two centres for each of a wide and large cluster, apart along its widest feature."""
    found = list(centres)
    for place in range(len(centres)):
        own = features[labels == place]
        spread = own.std(axis=0)
        if len(found) < number and spread.max() > SPLIT_AT and len(own) > 2 * (least + 1):
            shift = np.where(np.arange(len(spread)) == spread.argmax(), spread / 2, 0)
            found[place] = centres[place] - shift
            found.append(centres[place] + shift)
    return np.stack(found)


def _merged(centres: Doubles, sizes: Labels) -> Doubles:
    """Put one centre for the nearest two, weighted by their samples, where they are near."""
    apart = np.sqrt(((centres[:, None] - centres[None]) ** 2).mean(axis=2)) + np.diag(np.full(len(centres), np.inf))
    one, other = np.unravel_index(int(apart.argmin()), apart.shape)
    if apart[one, other] >= MERGE_AT:
        return centres
    both = (centres[one] * sizes[one] + centres[other] * sizes[other]) / (sizes[one] + sizes[other])
    return np.concatenate([np.delete(centres, (one, other), axis=0), both[None]])


SEARCHES: dict[str, Callable[[Doubles, int, int, int], Doubles]] = {
    "xmeans": _xmeans,
    "cascade_kmeans": _cascade,
    "lvq": _quantized,
    "isodata": _isodata,
}
"""By name: a function of standardised features, the fewest and the most clusters, and a seed."""
