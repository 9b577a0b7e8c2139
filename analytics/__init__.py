"""Operators and analyses: importing this package declares the operators."""

from . import (
    accuracy,
    arithmetic,
    components,
    convolution,
    embedding,
    focal,
    kernels,
    logic,
    morphology,
    spectral,
    temporal,
    terrain,
    texture,
)
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
    "accuracy",
    "arithmetic",
    "change_threshold",
    "components",
    "convolution",
    "decision_tree",
    "detect_change",
    "embedding",
    "few_shot_report",
    "focal",
    "kernels",
    "logic",
    "morphology",
    "spectral",
    "temporal",
    "terrain",
    "texture",
    "train_classifier",
    "train_clusterer",
]
