"""Operators and analyses: importing this package declares the operators."""

from . import arithmetic, embedding, focal, logic, spectral, temporal
from .change import Calibration, Change, change_threshold, detect_change
from .classify import METHODS, Classifier, train_classifier
from .few_shot import FewShotReport, few_shot_report

__all__ = [
    "METHODS",
    "Calibration",
    "Change",
    "Classifier",
    "FewShotReport",
    "arithmetic",
    "change_threshold",
    "detect_change",
    "embedding",
    "few_shot_report",
    "focal",
    "logic",
    "spectral",
    "temporal",
    "train_classifier",
]
