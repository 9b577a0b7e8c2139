"""Operators and analyses. What is asked for is imported, not all of it: `declared` declares every operator at once."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .change import Calibration, Change, change_threshold, detect_change
    from .classify import METHODS, Classifier, train_classifier
    from .clusters import CLUSTERERS, train_clusterer
    from .few_shot import FewShotReport, few_shot_report
    from .tree_text import decision_tree

__all__ = [
    "CLUSTERERS",
    "METHODS",
    "Calibration",
    "Change",
    "Classifier",
    "FewShotReport",
    "change_threshold",
    "decision_tree",
    "detect_change",
    "few_shot_report",
    "train_classifier",
    "train_clusterer",
]

_HOMES = {
    "change": ("Calibration", "Change", "change_threshold", "detect_change"),
    "classify": ("METHODS", "Classifier", "train_classifier"),
    "clusters": ("CLUSTERERS", "train_clusterer"),
    "few_shot": ("FewShotReport", "few_shot_report"),
    "tree_text": ("decision_tree",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the module of a public name when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
