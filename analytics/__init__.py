"""Operators and analyses: importing this package declares them."""

from . import arithmetic, focal, logic, spectral, temporal


__all__ = [
    "METHODS",
    "Change",
    "Classifier",
    "arithmetic",
    "change_threshold",
    "detect_change",
    "embedding",
    "few_shot",
    "focal",
    "logic",
    "spectral",
    "temporal",
]
