"""Decision trees and ensembles of them: fitted by scikit-learn, kept as plain arrays, applied by NumPy.

All trees lie one after the other in arrays over their nodes: a node sends a sample to `left` where its `feature` is at most
`threshold`, else to `right`; a leaf sends it to itself. The score of a class is `start` plus the sum of the `value` of the
leaves that a sample ends in, tree by tree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["REGRESSION_TREES", "TREES", "fit_regression_trees", "fit_trees", "tree_scores"]

Floats = npt.NDArray[np.float32]
Arrays = Mapping[str, npt.NDArray[Any]]
Leaves = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
"""From the numbers that scikit-learn keeps for each node to a score for each class."""


def _shares(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return values / values.sum(axis=1, keepdims=True)


def _packed(trees: Sequence[Any], leaves: Sequence[Leaves], start: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of scikit-learn's trees."""
    parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in ("feature", "threshold", "left", "right", "value")}
    roots, used = [], 0
    for tree, leaf in zip(trees, leaves, strict=True):
        own = np.arange(tree.node_count)
        ends = tree.children_left < 0
        parts["feature"].append(np.where(ends, 0, tree.feature))
        parts["threshold"].append(tree.threshold)
        parts["left"].append(np.where(ends, own, tree.children_left) + used)
        parts["right"].append(np.where(ends, own, tree.children_right) + used)
        parts["value"].append(leaf(tree.value[:, 0, :]))
        roots.append(used)
        used += tree.node_count
    arrays = {f"tree_{name}": np.concatenate(part) for name, part in parts.items()}
    for name in ("feature", "left", "right"):
        arrays[f"tree_{name}"] = arrays[f"tree_{name}"].astype(np.int32)
    depth = max(int(tree.max_depth) for tree in trees)
    return arrays | {
        "tree_root": np.array(roots, dtype=np.int32),
        "tree_depth": np.array([depth], dtype=np.int32),
        "tree_start": start,
    }


def _fit_cart(features: Floats, target: npt.NDArray[np.int64], _trees: int, seed: int) -> dict[str, npt.NDArray[Any]]:
    from sklearn.tree import DecisionTreeClassifier

    model = DecisionTreeClassifier(random_state=seed).fit(features, target)
    packed = _packed([model.tree_], [_shares], np.zeros(int(target.max()) + 1))
    return packed | {"importance": model.feature_importances_}


def _fit_bagged(name: str) -> Callable[[Floats, npt.NDArray[np.int64], int, int], dict[str, npt.NDArray[Any]]]:
    def fit(features: Floats, target: npt.NDArray[np.int64], trees: int, seed: int) -> dict[str, npt.NDArray[Any]]:
        from sklearn import ensemble

        model = getattr(ensemble, name)(trees, random_state=seed, n_jobs=1).fit(features, target)
        members = [member.tree_ for member in model.estimators_]
        packed = _packed(members, [_shares] * len(members), np.zeros(int(target.max()) + 1))
        return packed | {"importance": model.feature_importances_}

    return fit


def _fit_adaboost(features: Floats, target: npt.NDArray[np.int64], trees: int, seed: int) -> dict[str, npt.NDArray[Any]]:
    """Each tree votes with its weight for one class."""
    from sklearn.ensemble import AdaBoostClassifier

    model = AdaBoostClassifier(n_estimators=trees, random_state=seed).fit(features, target)
    members = [member.tree_ for member in model.estimators_]

    def votes(weight: float) -> Leaves:
        return lambda values: weight * (np.arange(values.shape[1]) == values.argmax(axis=1)[:, None])

    weights = model.estimator_weights_[: len(members)]
    packed = _packed(members, [votes(float(weight)) for weight in weights], np.zeros(int(target.max()) + 1))
    return packed | {"importance": model.feature_importances_}


def _fit_boosted(features: Floats, target: npt.NDArray[np.int64], trees: int, seed: int) -> dict[str, npt.NDArray[Any]]:
    """Scores are logits; with two classes scikit-learn keeps that of the second only."""
    from sklearn.ensemble import GradientBoostingClassifier

    classes = int(target.max()) + 1
    model = GradientBoostingClassifier(n_estimators=trees, random_state=seed).fit(features, target)
    members, leaves = [], []

    def steps(place: int) -> Leaves:
        return lambda values: model.learning_rate * values * (np.arange(classes) == place)

    for stage in model.estimators_:
        for i, member in enumerate(stage):
            members.append(member.tree_)
            leaves.append(steps(1 if classes == 2 else i))
    prior = np.log(np.bincount(target, minlength=classes) / len(target))
    return _packed(members, leaves, prior) | {"importance": model.feature_importances_}


_FIT: dict[str, Callable[[Floats, npt.NDArray[np.int64], int, int], dict[str, npt.NDArray[Any]]]] = {
    "cart": _fit_cart,
    "random_forest": _fit_bagged("RandomForestClassifier"),
    "extra_trees": _fit_bagged("ExtraTreesClassifier"),
    "adaboost": _fit_adaboost,
    "gradient_boost": _fit_boosted,
}
TREES = tuple(_FIT)


def fit_trees(
    method: str, features: Floats, target: npt.NDArray[np.int64], trees: int, seed: int
) -> dict[str, npt.NDArray[Any]]:
    """Fit one of TREES on features [n, d] and classes [n] from 0; returns its arrays. Equal for equal seeds."""
    return _FIT[method](features, target, trees, seed)


REGRESSION_TREES = ("random_forest", "gradient_boost")


def fit_regression_trees(
    method: str, features: Floats, target: npt.NDArray[np.float64], trees: int, seed: int
) -> dict[str, npt.NDArray[Any]]:
    """Fit one of REGRESSION_TREES on features [n, d] and numbers [n]; the one score is the number. Equal for equal seeds."""
    from sklearn import ensemble

    if method == "random_forest":
        model = ensemble.RandomForestRegressor(trees, random_state=seed, n_jobs=1).fit(features, target)
        members, share, start = [member.tree_ for member in model.estimators_], 1 / trees, 0.0
    else:
        model = ensemble.GradientBoostingRegressor(n_estimators=trees, random_state=seed).fit(features, target)
        members, share = [member.tree_ for member in model.estimators_[:, 0]], model.learning_rate
        start = float(target.mean())
    arrays = _packed(members, [lambda values: share * values] * len(members), np.array([start]))
    return arrays | {"importance": model.feature_importances_}


def tree_scores(features: Floats, arrays: Arrays) -> npt.NDArray[np.float64]:
    """Return the scores [n, classes] of features [n, d], the leaves' values added up tree by tree."""
    nodes = np.broadcast_to(arrays["tree_root"], (len(features), len(arrays["tree_root"])))
    rows = np.arange(len(features))[:, None]
    for _level in range(int(arrays["tree_depth"][0])):
        below = features[rows, arrays["tree_feature"][nodes]] <= arrays["tree_threshold"][nodes]
        nodes = np.where(below, arrays["tree_left"][nodes], arrays["tree_right"][nodes])
    scores = np.tile(arrays["tree_start"], (len(features), 1))
    for tree in range(nodes.shape[1]):
        scores += arrays["tree_value"][nodes[:, tree]]
    return scores
