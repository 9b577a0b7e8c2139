"""Classifiers of curved boundaries: support vectors, Gaussians with covariance, small neural networks.

scikit-learn fits; what is needed to decide is kept as plain arrays and applied by NumPy, as for trees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.errors import ExpressionError, TableError

from .scores import with_shares

__all__ = ["fit_likelihood", "fit_network", "fit_svm", "likelihood_scores", "network_scores", "svm_scores"]

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Targets = npt.NDArray[np.int64]
Arrays = Mapping[str, npt.NDArray[Any]]
KERNELS = ("rbf", "linear")
MOST_VECTORS = 1024
"""Support vectors that are looked at together: 16 MB of kernel values for a batch."""


def fit_svm(
    features: Floats, target: Targets, classes: int, *, cost: float = 1.0, kernel: str = "rbf", gamma: float | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Fit a support vector machine for each pair of classes: arrays of vectors [n, d], weights [pairs, n], start [pairs]."""
    from sklearn.svm import SVC

    if kernel not in KERNELS or not cost > 0 or not (gamma is None or gamma > 0):
        raise ExpressionError(
            f"svm: kernel={kernel!r}, cost={cost:g}, gamma={gamma}: give rbf or linear, and numbers above 0"
        )
    width = 1 / features.shape[1] if gamma is None else float(gamma)
    model = SVC(C=cost, kernel=kernel, gamma=width).fit(features.astype(np.float64), target)
    weights = np.zeros((classes * (classes - 1) // 2, len(model.support_)))
    if classes == 2:
        weights[0] = -model.dual_coef_[0]
        start = -model.intercept_
    else:
        owner = np.repeat(np.arange(classes), model.n_support_)
        for pair, (one, other) in enumerate(combinations(range(classes), 2)):
            weights[pair, owner == one] = model.dual_coef_[other - 1, owner == one]
            weights[pair, owner == other] = model.dual_coef_[one, owner == other]
        start = model.intercept_
    return {
        "vectors": model.support_vectors_,
        "vector_weights": weights,
        "start": np.asarray(start, dtype=np.float64),
        "gamma": np.array([width if kernel == "rbf" else 0.0]),
        "class_count": np.array([classes], dtype=np.int32),
    }


def svm_scores(features: Floats, arrays: Arrays, _neighbours: int) -> tuple[Doubles, Floats]:
    """Pairs of classes won, the first of equal ones counts; the confidence is by the narrowest margin of the class."""
    numbers, gamma = features.astype(np.float64), float(arrays["gamma"][0])
    margins = np.tile(arrays["start"], (len(numbers), 1))
    for first in range(0, len(arrays["vectors"]), MOST_VECTORS):
        vectors = arrays["vectors"][first : first + MOST_VECTORS]
        values = numbers @ vectors.T
        if gamma > 0:
            apart = (numbers**2).sum(axis=1)[:, None] + (vectors**2).sum(axis=1) - 2 * values
            values = np.exp(-gamma * np.maximum(apart, 0))
        margins += values @ arrays["vector_weights"][:, first : first + MOST_VECTORS].T
    classes = int(arrays["class_count"][0])
    votes, narrowest = np.zeros((len(numbers), classes)), np.full((len(numbers), classes), np.inf)
    for pair, (one, other) in enumerate(combinations(range(classes), 2)):
        won = margins[:, pair] > 0
        votes[:, one] += won
        votes[:, other] += ~won
        for place, margin in ((one, margins[:, pair]), (other, -margins[:, pair])):
            narrowest[:, place] = np.minimum(narrowest[:, place], margin)
    best = np.take_along_axis(narrowest, votes.argmax(axis=1)[:, None], axis=1)[:, 0]
    return votes, np.asarray(1 / (1 + np.exp(-np.clip(best, -50, 50))), dtype=np.float32)


def fit_likelihood(
    features: Floats, target: Targets, classes: int, *, shrinkage: float = 0.1
) -> dict[str, npt.NDArray[Any]]:
    """Fit a Gaussian to each class: means, inverses of the covariances' Cholesky factors, and what does not vary."""
    if not 0 <= shrinkage <= 1:
        raise ExpressionError(f"max_likelihood: shrinkage={shrinkage:g} is out of range; give 0 (as it is) to 1 (a sphere)")
    dims, means, factors, constants = features.shape[1], [], [], []
    for place in range(classes):
        own = features[target == place].astype(np.float64)
        means.append(own.mean(axis=0))
        apart = own - means[-1]
        covariance = (1 - shrinkage) * (apart.T @ apart) / max(len(own) - 1, 1) + shrinkage * np.eye(dims)
        if np.linalg.matrix_rank(covariance, hermitian=True) < dims:
            raise TableError(
                f"max_likelihood: a class has {len(own)} samples, too few or too alike for {dims} features; give more than "
                f"{dims + 1}, fewer features, or shrinkage= above 0"
            )
        lower = np.linalg.cholesky(covariance)
        factors.append(np.linalg.inv(lower))
        constants.append(-np.log(np.diag(lower)).sum())
    return {"means": np.stack(means), "factors": np.stack(factors), "constants": np.array(constants)}


def likelihood_scores(features: Floats, arrays: Arrays, _neighbours: int) -> tuple[Doubles, Floats]:
    """Logarithms of Gaussian densities, without the constant that all share."""
    numbers, scores = features.astype(np.float64), []
    for mean, factor, constant in zip(arrays["means"], arrays["factors"], arrays["constants"], strict=True):
        scores.append(constant - 0.5 * (((numbers - mean) @ factor.T) ** 2).sum(axis=1))
    return with_shares(np.stack(scores, axis=1))


def fit_network(
    features: Floats,
    target: Targets,
    _classes: int,
    *,
    layers: Sequence[int] = (64,),
    penalty: float = 1e-4,
    seed: int = 0,
) -> dict[str, npt.NDArray[Any]]:
    """Fit a network of ReLU layers by L-BFGS: the weights and the start of each layer."""
    from sklearn.neural_network import MLPClassifier

    sizes = tuple(layers)
    if not sizes or not all(isinstance(size, int) and size >= 1 for size in sizes) or not penalty >= 0:
        raise ExpressionError(f"mlp: layers={sizes} and penalty={penalty:g}; give sizes of 1 or more, and 0 or more")
    model = MLPClassifier(sizes, solver="lbfgs", alpha=penalty, max_iter=5000, random_state=seed)
    model.fit(features.astype(np.float64), target)
    weights, starts = list(model.coefs_), list(model.intercepts_)
    if weights[-1].shape[1] == 1:  # of two classes scikit-learn keeps the logit of the second only
        weights[-1], starts[-1] = (
            np.concatenate([np.zeros_like(part), part], axis=-1) for part in (weights[-1], starts[-1])
        )
    arrays = {f"layer_{i}_weights": weight for i, weight in enumerate(weights)}
    return arrays | {f"layer_{i}_start": start for i, start in enumerate(starts)}


def network_scores(features: Floats, arrays: Arrays, _neighbours: int) -> tuple[Doubles, Floats]:
    """Logits, layer by layer."""
    values = features.astype(np.float64)
    last = sum(name.endswith("_weights") for name in arrays) - 1
    for layer in range(last + 1):
        values = values @ arrays[f"layer_{layer}_weights"] + arrays[f"layer_{layer}_start"]
        if layer < last:
            values = np.maximum(values, 0)
    return with_shares(values)
