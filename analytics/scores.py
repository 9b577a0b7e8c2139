"""Scores of classes from features: votes of neighbours, cosines of prototypes, logistic regression; batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["batches", "neighbour_scores", "probability", "prototype_margin", "unit_vectors"]

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Arrays = Mapping[str, npt.NDArray[Any]]
BATCH = 2048
"""Pixels a matrix product takes at a time, always padded to it: BLAS may sum in another order for another shape, and a
pixel's class must not depend on where a tile was cut."""


def batches(features: npt.NDArray[np.floating]) -> Iterator[tuple[npt.NDArray[np.intp], Doubles]]:
    """Yield the places of finite feature vectors and the vectors, padded to BATCH of them."""
    whole = np.flatnonzero(np.isfinite(features).all(axis=1))
    for start in range(0, whole.size, BATCH):
        part = whole[start : start + BATCH]
        batch = np.zeros((BATCH, features.shape[1]))
        batch[: part.size] = features[part]
        yield part, batch


def unit_vectors(vectors: Floats) -> Floats:
    """Return vectors [n, d] divided by their length; zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, np.float32(1e-12)), dtype=np.float32)


def _standard(batch: Doubles, arrays: Arrays) -> Floats:
    """Return features standardised by the training samples."""
    return np.asarray((batch.astype(np.float32) - arrays["centre"]) / arrays["scale"], dtype=np.float32)


def neighbour_scores(batch: Doubles, arrays: Arrays, neighbours: int) -> tuple[Floats, Floats]:
    """Votes of the nearest samples by cosine; of classes with equal votes the one with the nearest sample wins."""
    similarity = unit_vectors(_standard(batch, arrays)) @ arrays["samples"].T
    k = min(neighbours, similarity.shape[1])
    near = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(similarity, near, axis=1), axis=1, kind="stable")
    voters = arrays["sample_class"][np.take_along_axis(near, order, axis=1)]
    votes = voters[:, :, None] == np.arange(int(arrays["sample_class"].max()) + 1)
    counts = votes.sum(axis=1).astype(np.float32)
    first = np.where(counts > 0, votes.argmax(axis=1), k)
    nearest_first = (k - first).astype(np.float32) / np.float32(k + 1)
    return counts + nearest_first, np.asarray(counts.max(axis=1) / np.float32(k), dtype=np.float32)


def prototype_margin(batch: Doubles, scores: Doubles, arrays: Arrays) -> Doubles:
    """Half of the distance between the two best cosines."""
    length = np.linalg.norm(_standard(batch, arrays).astype(np.float64), axis=1)
    two_best = np.partition(scores, -2, axis=1)[:, -2:]
    return np.clip((two_best[:, 1] - two_best[:, 0]) / np.maximum(length, 1e-12) / 2, 0, 1)


def probability(_batch: Doubles, scores: Doubles, _arrays: Arrays) -> Doubles:
    """Return the softmax of the largest of the scores [n, classes]."""
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(1 / shares.sum(axis=1), dtype=np.float64)
