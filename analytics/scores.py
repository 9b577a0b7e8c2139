"""What the methods of classification share: batches, standardised features, confidences of linear scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["batches", "probability", "prototype_margin", "standard", "unit_vectors", "with_shares"]

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


def standard(batch: Doubles, arrays: Arrays) -> Floats:
    """Return features [n, d] standardised by the training samples."""
    return np.asarray((batch.astype(np.float32) - arrays["centre"]) / arrays["scale"], dtype=np.float32)


def prototype_margin(batch: Doubles, scores: Doubles, arrays: Arrays) -> Doubles:
    """Half of the distance between the two best cosines."""
    length = np.linalg.norm(standard(batch, arrays).astype(np.float64), axis=1)
    two_best = np.partition(scores, -2, axis=1)[:, -2:]
    return np.clip((two_best[:, 1] - two_best[:, 0]) / np.maximum(length, 1e-12) / 2, 0, 1)


def probability(_batch: Doubles, scores: Doubles, _arrays: Arrays) -> Doubles:
    """Return the softmax of the largest of the scores [n, classes]."""
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(1 / shares.sum(axis=1), dtype=np.float64)


def with_shares(scores: Doubles) -> tuple[Doubles, Floats]:
    """Return scores [n, classes], and the softmax of the largest of each."""
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores, np.asarray(shares.max(axis=1) / shares.sum(axis=1), dtype=np.float32)
