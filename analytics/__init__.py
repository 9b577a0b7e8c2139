"""Operators and analyses: importing this package declares the operators."""

from . import arithmetic, components, convolution, embedding, focal, logic, morphology, spectral, temporal, terrain, texture
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
    "components",
    "convolution",
    "detect_change",
    "embedding",
    "few_shot_report",
    "focal",
    "logic",
    "morphology",
    "spectral",
    "temporal",
    "terrain",
    "texture",
    "train_classifier",
]
