"""What a trained model is made of and looks at, and models applied to tables of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from esd.errors import TableError

from .classify import Classifier
from .regressors import Regressor

if TYPE_CHECKING:
    from esd.vector import FeatureCollection

__all__ = ["classify_features", "explain", "permutation_importance"]


def _names(model: Classifier | Regressor, names: Sequence[str] | None) -> list[str]:
    found = [f"f{i}" for i in range(model.features)] if names is None else [str(name) for name in names]
    if len(found) != model.features or len(set(found)) != len(found):
        raise TableError(f"explain: {len(found)} names for {model.features} features; give as many different ones")
    return found


def _importance(model: Classifier | Regressor) -> npt.NDArray[np.float64] | None:
    """Return what each feature contributes as the model itself tells it; None where it does not."""
    if "importance" in model.arrays:
        return np.asarray(model.arrays["importance"], dtype=np.float64)
    if model.method not in ("logistic", "linear", "ridge"):
        return None
    size = np.abs(np.atleast_2d(model.arrays["weights"]).astype(np.float64)).mean(axis=0)
    return np.asarray(size / max(size.sum(), 1e-300))


def explain(model: Classifier | Regressor, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return what a model is: its method, classes, features, encoder, bytes, its trees, and the importance of the features.

    `importance` maps the features (`names`, or f0, f1, ...) to shares that add up to 1: of trees the impurity they take away
    (scikit-learn's), of linear models the mean size of the weights of standardised features. For other methods it is None:
    ask `permutation_importance`. Raises TableError for another number of names.
    """
    labels, importance = _names(model, names), _importance(model)
    told: dict[str, Any] = {
        "method": model.method,
        "space": model.space,
        "features": labels,
        "encoder": model.encoder_id or None,
        "bytes": len(model.to_bytes()),
        "importance": None if importance is None else dict(zip(labels, importance.tolist(), strict=True)),
    }
    if isinstance(model, Classifier):
        told["classes"] = list(model.classes)
    if "tree_root" in model.arrays:
        nodes = len(model.arrays["tree_left"])
        leaves = int((model.arrays["tree_left"] == np.arange(nodes)).sum())
        told["trees"] = {"number": len(model.arrays["tree_root"]), "nodes": nodes, "leaves": leaves}
        told["trees"]["depth"] = int(model.arrays["tree_depth"][0])
    return told


def _quality(model: Classifier | Regressor, features: npt.NDArray[np.floating], truth: npt.NDArray[Any]) -> float:
    """Return the share of right classes, or R squared."""
    if isinstance(model, Classifier):
        return float((model.classify(features) == truth).mean())
    apart = ((model.predict(features) - truth) ** 2).sum()
    return float(1 - apart / ((truth - truth.mean()) ** 2).sum())


def permutation_importance(
    model: Classifier | Regressor,
    features: npt.NDArray[np.floating],
    truth: Sequence[Any] | npt.NDArray[Any],
    names: Sequence[str] | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> dict[str, float]:
    """Return by how much a model gets worse on samples [n, d] when one feature's numbers are exchanged among them.

    Worse in the share of right classes (`truth` are labels), or in R squared (numbers); the mean of some `repeats`. Use
    samples that it was not trained on. Deterministic for a seed. Raises TableError where shapes do not fit. Source: Breiman
    (2001).
    """
    labels = _names(model, names)
    if features.ndim != 2 or features.shape != (len(truth), model.features) or repeats < 1:
        raise TableError(
            f"permutation_importance: features {features.shape}, {len(truth)} labels and repeats={repeats}; give "
            f"[n, {model.features}], n labels, and at least 1"
        )
    place = {name: i for i, name in enumerate(getattr(model, "classes", ()), start=1)}
    wanted = np.array([place.get(str(one), 0) for one in truth]) if place else np.asarray(truth, dtype=np.float64)
    rng, best = np.random.default_rng(seed), _quality(model, features, wanted)
    found = {}
    for column, label in enumerate(labels):
        mixed, loss = features.copy(), 0.0
        for _time in range(repeats):
            mixed[:, column] = rng.permutation(features[:, column])
            loss += best - _quality(model, mixed, wanted)
        found[label] = loss / repeats
    return found


def classify_features(
    features: FeatureCollection, model: Classifier | Regressor, columns: Sequence[str], name: str = ""
) -> FeatureCollection:
    """Add the class (a text) or the number that a model gives each feature by its properties, in the order of training.

    The new property is called `name`, or class or prediction; it is missing where a property is. Lazy, as all steps of a
    collection. Raises TableError, when computed, for a property that is not there or holds no numbers, and at once for
    another number of columns than the model has features.
    """
    if len(columns) != model.features:
        raise TableError(f"classify_features: {len(columns)} columns for a model of {model.features} features; give as many")

    def step(frame: Any) -> Any:
        return frame.assign(**{name or _default(model): _applied(frame, model, columns)})

    step.__name__ = "classify_features"
    return features.map(step)


def _default(model: Classifier | Regressor) -> str:
    return "class" if isinstance(model, Classifier) else "prediction"


def _applied(frame: Any, model: Classifier | Regressor, columns: Sequence[str]) -> Any:
    import pandas as pd
    from pandas.api import types

    for column in columns:
        if column not in frame.columns or not types.is_numeric_dtype(frame[column]):
            raise TableError(
                f"classify_features: {column!r} is no property of numbers; there are {', '.join(map(str, frame))}"
            )
    numbers = np.stack([frame[column].to_numpy(dtype=np.float64, na_value=np.nan) for column in columns], axis=1)
    if isinstance(model, Regressor):
        return pd.array(model.predict(numbers), dtype="Float64")
    legend: Mapping[int, Any] = {0: pd.NA, **model.legend}
    return pd.array([legend[int(value)] for value in model.classify(numbers)], dtype="string")
