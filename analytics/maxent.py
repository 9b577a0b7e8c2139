"""Maximum entropy: the most even distribution over a background with the means of the places where something was found."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.errors import ExpressionError

__all__ = ["TRANSFORMS", "entropy_scores", "fit_entropy", "transformed"]

TRANSFORMS = ("linear", "quadratic", "product", "hinge")
KNOTS = 8
"""Hinges of each feature in either direction, at even distances over its range."""

Doubles = npt.NDArray[np.float64]
Arrays = Mapping[str, npt.NDArray[Any]]


def transformed(features: npt.NDArray[np.floating], arrays: Arrays) -> Doubles:
    """Return features [n, d] brought to 0..1 by their range and transformed [n, k]."""
    low, high = arrays["low"], arrays["high"]
    span = np.where(high > low, high - low, 1.0)
    unit = np.clip((features.astype(np.float64) - low) / span, 0, 1)
    kinds, parts = arrays["transforms"], list[Doubles]()
    if kinds[0]:
        parts.append(unit)
    if kinds[1]:
        parts.append(unit**2)
    if kinds[2]:
        parts += [(unit[:, one] * unit[:, other])[:, None] for one, other in combinations(range(unit.shape[1]), 2)]
    if kinds[3]:
        for knot in np.arange(KNOTS) / KNOTS:
            parts.append(np.maximum(unit - knot, 0) / (1 - knot))
            parts.append(np.maximum((1 - knot) - unit, 0) / (1 - knot))
    return np.concatenate(parts, axis=1) if parts else unit[:, :0]


def fit_entropy(
    presence: npt.NDArray[np.floating],
    background: npt.NDArray[np.floating],
    transforms: tuple[str, ...],
    strength: float,
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a model: the range of the features, weights, and what makes suitability of scores."""
    if not transforms or not set(transforms) <= set(TRANSFORMS) or not strength > 0:
        raise ExpressionError(
            f"maxent: transforms={transforms}, regularization={strength:g}: give some of {', '.join(TRANSFORMS)}, and "
            "a number above 0"
        )
    arrays: dict[str, npt.NDArray[Any]] = {
        "low": background.min(axis=0).astype(np.float64),
        "high": background.max(axis=0).astype(np.float64),
        "transforms": np.array([name in transforms for name in TRANSFORMS], dtype=np.uint8),
    }
    found, around = transformed(presence, arrays), transformed(background, arrays)
    spread = np.maximum(found.std(axis=0), around.std(axis=0) * 0.05)
    penalty = strength * np.maximum(spread, 1e-3) / np.sqrt(len(found))
    weights = _most_even(found.mean(axis=0), around, penalty)
    scores = around @ weights
    top = scores.max()
    total = top + np.log(np.exp(scores - top).sum())
    shares = np.exp(scores - total)
    entropy = -float((shares * (scores - total)).sum())
    return arrays | {"weights": weights, "penalty": penalty, "shift": np.array([entropy - total])}


def _most_even(means: Doubles, around: Doubles, penalty: Doubles) -> Doubles:
    """Minimize the penalized log-likelihood's negative; weights are differences of two that are not below 0.

    Its optimality is that the distribution's means differ from those found by at most the penalties.
    """
    from scipy.optimize import minimize

    number = len(means)

    def loss(pair: Doubles) -> tuple[float, Doubles]:
        weights = pair[:number] - pair[number:]
        scores = around @ weights
        top = scores.max()
        shares = np.exp(scores - top)
        total = shares.sum()
        slope = shares @ around / total - means
        value = top + np.log(total) - weights @ means + penalty @ (pair[:number] + pair[number:])
        return float(value), np.concatenate([slope + penalty, -slope + penalty])

    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-14, "gtol": 1e-8, "maxcor": 30}
    best = minimize(
        loss, np.zeros(2 * number), jac=True, method="L-BFGS-B", bounds=[(0, None)] * 2 * number, options=options
    )
    return np.asarray(best.x[:number] - best.x[number:])


def entropy_scores(features: npt.NDArray[np.floating], arrays: Arrays) -> Doubles:
    """Return the suitability [n] of features [n, d], 0 to 1: 1 - exp(-exp(score - log of the sum + entropy))."""
    scores = transformed(features, arrays) @ arrays["weights"] + arrays["shift"][0]
    return np.asarray(-np.expm1(-np.exp(np.minimum(scores, 700.0))))
