"""How classifiers decide and how they are fitted: a function for each method, on standardised features.

Prototypes and the logistic regression, whose scores are linear in the features, decide in `classify`.

Scores are a function of features [n, d], the classifier's arrays and the neighbours that vote; they return a score for each
class [n, classes], of which the largest wins, and a confidence [n], 0 to 1.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.errors import ExpressionError

from .boundaries import fit_likelihood, fit_network, fit_svm, likelihood_scores, network_scores, svm_scores
from .scores import unit_vectors, with_shares
from .trees import TREES, tree_scores

__all__ = ["FIT", "METHODS", "SCORES", "check_options"]

REGULARIZATION = 0.1
"""scikit-learn's C. Its default of 1 overfits where features outnumber samples, as they do in few-shot work."""

Floats = npt.NDArray[np.float32]
Arrays = Mapping[str, npt.NDArray[Any]]


def _neighbour_scores(features: Floats, arrays: Arrays, neighbours: int) -> tuple[Floats, Floats]:
    """Votes of the nearest samples by cosine; of classes with equal votes the one with the nearest sample wins."""
    similarity = unit_vectors(features) @ arrays["samples"].T
    k = min(neighbours, similarity.shape[1])
    near = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(similarity, near, axis=1), axis=1, kind="stable")
    voters = arrays["sample_class"][np.take_along_axis(near, order, axis=1)]
    votes = voters[:, :, None] == np.arange(int(arrays["sample_class"].max()) + 1)
    counts = votes.sum(axis=1).astype(np.float32)
    first = np.where(counts > 0, votes.argmax(axis=1), k)
    nearest_first = (k - first).astype(np.float32) / np.float32(k + 1)
    return counts + nearest_first, np.asarray(counts.max(axis=1) / np.float32(k), dtype=np.float32)


def _distance_scores(features: Floats, arrays: Arrays, _neighbours: int) -> tuple[Floats, Floats]:
    """Nearer centres score higher; the confidence is how much further away the second is than the first, 0 to 1."""
    away = np.stack([((features - mean) ** 2).sum(axis=1) for mean in arrays["means"]], axis=1)
    first, second = np.sqrt(np.partition(away, 1, axis=1)[:, :2].T)
    return -away, np.asarray((second - first) / np.maximum(second, np.float32(1e-12)), dtype=np.float32)


def _bayes_scores(features: Floats, arrays: Arrays, _neighbours: int) -> tuple[Any, Floats]:
    """Logarithms of prior times Gaussian densities, features independent of each other."""
    numbers, scores = features.astype(np.float64), []
    for mean, variance, prior in zip(arrays["means"], arrays["variances"].astype(np.float64), arrays["priors"], strict=True):
        scores.append(prior - 0.5 * (np.log(2 * np.pi * variance).sum() + ((numbers - mean) ** 2 / variance).sum(axis=1)))
    return with_shares(np.stack(scores, axis=1))


def _vote_scores(features: Floats, arrays: Arrays, _neighbours: int) -> tuple[Any, Floats]:
    scores = tree_scores(features, arrays)
    return scores, np.asarray(scores.max(axis=1) / scores.sum(axis=1), dtype=np.float32)


def _boosted_scores(features: Floats, arrays: Arrays, _neighbours: int) -> tuple[Any, Floats]:
    return with_shares(tree_scores(features, arrays))


SCORES: dict[str, Callable[[Floats, Arrays, int], tuple[Any, Floats]]] = {
    "knn": _neighbour_scores,
    "minimum_distance": _distance_scores,
    "naive_bayes": _bayes_scores,
    "max_likelihood": likelihood_scores,
    "svm": svm_scores,
    "mlp": network_scores,
    **{method: _boosted_scores if method == "gradient_boost" else _vote_scores for method in TREES},
}
METHODS = ("prototype", "logistic", *SCORES)


def _fit_prototype(features: Floats, target: npt.NDArray[np.int64], classes: int) -> dict[str, npt.NDArray[Any]]:
    unit = unit_vectors(features)
    means = np.stack([unit[target == i].mean(axis=0) for i in range(classes)])
    return {"prototypes": unit_vectors(means)}


def _fit_neighbours(features: Floats, target: npt.NDArray[np.int64], _classes: int) -> dict[str, npt.NDArray[Any]]:
    return {"samples": unit_vectors(features), "sample_class": target}


def _fit_logistic(features: Floats, target: npt.NDArray[np.int64], classes: int) -> dict[str, npt.NDArray[Any]]:
    from sklearn.linear_model import LogisticRegression

    # Classes weigh the same however many samples each has: the shares of a sample are rarely those of the area.
    model = LogisticRegression(C=REGULARIZATION, class_weight="balanced", max_iter=5000).fit(
        features.astype(np.float64), target
    )
    weights, intercept = model.coef_, model.intercept_
    if classes == 2:
        weights, intercept = np.vstack([np.zeros_like(weights), weights]), np.array([0.0, intercept[0]])
    return {"weights": weights.astype(np.float32), "intercept": intercept.astype(np.float32)}


def _fit_centres(features: Floats, target: npt.NDArray[np.int64], classes: int) -> dict[str, npt.NDArray[Any]]:
    return {"means": np.stack([features[target == i].mean(axis=0) for i in range(classes)])}


def _fit_bayes(features: Floats, target: npt.NDArray[np.int64], _classes: int) -> dict[str, npt.NDArray[Any]]:
    from sklearn.naive_bayes import GaussianNB

    model = GaussianNB().fit(features.astype(np.float64), target)
    return {"means": model.theta_, "variances": model.var_, "priors": np.log(model.class_prior_)}


FIT: dict[str, Callable[..., dict[str, npt.NDArray[Any]]]] = {
    "prototype": _fit_prototype,
    "knn": _fit_neighbours,
    "logistic": _fit_logistic,
    "minimum_distance": _fit_centres,
    "naive_bayes": _fit_bayes,
    "max_likelihood": fit_likelihood,
    "svm": fit_svm,
    "mlp": fit_network,
}


def check_options(method: str, options: Mapping[str, Any]) -> None:
    """Raise ExpressionError for options that a method does not have."""
    known = inspect.signature(FIT[method]).parameters.values() if method in FIT else ()
    own = [p.name for p in known if p.kind is p.KEYWORD_ONLY and p.name != "seed"]
    strange = sorted(options.keys() - set(own))
    if strange:
        raise ExpressionError(
            f"classifier {method} has no option {strange[0]!r}; it takes {', '.join(own) if own else 'none of its own'}"
        )
