"""Operators and analyses. What is asked for is imported, not all of it: `declared` declares every operator at once."""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _TYPE_CHECKING:
    from .change import Calibration, Change, change_threshold, detect_change
    from .chips import Network, network_onnx
    from .classify import METHODS, Classifier, train_classifier
    from .clusters import CLUSTERERS, train_clusterer
    from .embedding_regions import embedding_aggregate
    from .explaining import classify_features, explain, permutation_importance
    from .few_shot import FewShotReport, few_shot_report
    from .indices import catalogue
    from .onnx_models import classifier_onnx, regressor_onnx
    from .regressors import REGRESSORS, Regressor, train_maxent, train_regressor
    from .tree_text import decision_tree, decision_tree_ensemble
    from .validation import CrossValidation, cross_validate, spatial_blocks

__all__ = [
    "CLUSTERERS",
    "METHODS",
    "REGRESSORS",
    "Calibration",
    "Change",
    "Classifier",
    "CrossValidation",
    "FewShotReport",
    "Network",
    "Regressor",
    "catalogue",
    "change_threshold",
    "classifier_onnx",
    "classify_features",
    "cross_validate",
    "decision_tree",
    "decision_tree_ensemble",
    "detect_change",
    "embedding_aggregate",
    "explain",
    "few_shot_report",
    "network_onnx",
    "permutation_importance",
    "regressor_onnx",
    "spatial_blocks",
    "train_classifier",
    "train_clusterer",
    "train_maxent",
    "train_regressor",
]

_HOMES = {
    "change": ("Calibration", "Change", "change_threshold", "detect_change"),
    "chips": ("Network", "network_onnx"),
    "classify": ("METHODS", "Classifier", "train_classifier"),
    "clusters": ("CLUSTERERS", "train_clusterer"),
    "embedding_regions": ("embedding_aggregate",),
    "explaining": ("classify_features", "explain", "permutation_importance"),
    "few_shot": ("FewShotReport", "few_shot_report"),
    "indices": ("catalogue",),
    "onnx_models": ("classifier_onnx", "regressor_onnx"),
    "regressors": ("REGRESSORS", "Regressor", "train_maxent", "train_regressor"),
    "tree_text": ("decision_tree", "decision_tree_ensemble"),
    "validation": ("CrossValidation", "cross_validate", "spatial_blocks"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> _Any:
    """Import the module of a public name when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
