"""Accuracy of a classification: confusion matrix, its measures, areas with their error, blocked cross-validation.

Rows of a matrix are what is there (the reference), columns what was predicted. Sources: Congalton (1991), Cohen (1960),
Olofsson et al. (2014).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.errors import TableError

__all__ = ["AreaEstimate", "ConfusionMatrix", "confusion_matrix", "olofsson_area", "regression_metrics"]

Floats = npt.NDArray[np.float64]
Z95 = 1.959963984540054
"""Standard errors on either side that hold 95 % of a normal distribution."""


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Counts [reference, predicted] by class, in the order of `classes`; `dropped` pairs had no class on one side.

    A measure is NaN where it would divide by nothing.
    """

    counts: npt.NDArray[np.int64]
    classes: tuple[Any, ...]
    dropped: int = 0

    def __repr__(self) -> str:
        return f"ConfusionMatrix({len(self.classes)} classes, {int(self.counts.sum())} pairs, accuracy {self.accuracy:.3f})"

    @property
    def accuracy(self) -> float:
        """Share of the pairs that agree, 0 to 1."""
        return float(_share(np.trace(self.counts), self.counts.sum()))

    @property
    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond chance; 1 is perfect, 0 is chance."""
        total = self.counts.sum()
        by_chance = _share(self.counts.sum(axis=0) @ self.counts.sum(axis=1), total * total)
        return float(_share(self.accuracy - by_chance, 1 - by_chance))

    @property
    def producers_accuracy(self) -> Floats:
        """Share of each class that was found: recall, 1 - omission."""
        return _share(np.diag(self.counts), self.counts.sum(axis=1))

    @property
    def consumers_accuracy(self) -> Floats:
        """Share of what was called a class that is it: precision, user's accuracy, 1 - commission."""
        return _share(np.diag(self.counts), self.counts.sum(axis=0))

    def fscore(self, beta: float = 1.0) -> Floats:
        """Weighted harmonic mean of precision and recall of each class; `beta` above 1 weighs recall more."""
        square, hits = beta**2, np.diag(self.counts)
        return _share((1 + square) * hits, square * self.counts.sum(axis=1) + self.counts.sum(axis=0))

    @property
    def iou(self) -> Floats:
        """Intersection over union of each class."""
        hits = np.diag(self.counts)
        return _share(hits, self.counts.sum(axis=0) + self.counts.sum(axis=1) - hits)


def _share(part: Any, whole: Any) -> Any:
    whole = np.asarray(whole, dtype=np.float64)
    return np.where(whole == 0, np.nan, np.asarray(part, dtype=np.float64) / np.where(whole == 0, 1, whole))


def confusion_matrix(actual: Sequence[Any], predicted: Sequence[Any], order: Sequence[Any] | None = None) -> ConfusionMatrix:
    """Count pairs of reference and prediction [n] each, of numbers or texts; `order` names the classes and their order.

    Pairs with a missing value (None, NaN, pandas' NA) are dropped and counted. Raises TableError for lists of different
    length, no pair at all, or a class that is not in `order`.
    """
    import pandas as pd

    one, other = pd.Series(list(actual), dtype=object), pd.Series(list(predicted), dtype=object)
    if len(one) != len(other):
        raise TableError(f"confusion_matrix: {len(one)} references and {len(other)} predictions; give as many of both")
    known = one.notna() & other.notna()
    if not known.any():
        raise TableError("confusion_matrix: there is no pair of reference and prediction; give at least one")
    one, other = one[known], other[known]
    found = set(one) | set(other)
    classes = tuple(sorted(found, key=lambda name: (str(type(name)), name)) if order is None else order)
    strange = found - set(classes)
    if strange:
        raise TableError(f"confusion_matrix: class {min(map(str, strange))!r} is not in order={list(classes)}")
    place = {name: i for i, name in enumerate(classes)}
    pairs = one.map(place).to_numpy(dtype=np.int64) * len(classes) + other.map(place).to_numpy(dtype=np.int64)
    counts = np.bincount(pairs, minlength=len(classes) ** 2).reshape(len(classes), len(classes))
    return ConfusionMatrix(counts.astype(np.int64), classes, int((~known).sum()))


@dataclass(frozen=True, eq=False)
class AreaEstimate:
    """Areas of the classes, in the unit of the mapped areas, and half of their 95 % intervals; accuracies by area."""

    area: Floats
    half_width: Floats
    accuracy: float
    accuracy_half_width: float
    consumers_accuracy: Floats
    producers_accuracy: Floats


def olofsson_area(matrix: ConfusionMatrix, mapped_area: Sequence[float]) -> AreaEstimate:
    """Estimate the area of each class from a sample that was drawn by mapped class.

    `matrix` has the reference in rows and the map in columns, `mapped_area` the area of each mapped class in the same order.
    Raises TableError where a mapped class has fewer than two samples. Source: Olofsson et al. (2014), equations 1 to 11.
    """
    areas = np.asarray(mapped_area, dtype=np.float64)
    counts = matrix.counts.T.astype(np.float64)
    size = counts.sum(axis=1)
    if areas.shape != size.shape or not (areas >= 0).all() or areas.sum() == 0:
        raise TableError(f"olofsson_area: {len(size)} classes need as many areas of at least 0, got {list(mapped_area)}")
    if (size < 2).any():
        raise TableError(f"olofsson_area: class {matrix.classes[int(np.argmin(size))]!r} has fewer than 2 samples")
    weight = areas / areas.sum()
    shares = weight[:, None] * counts / size[:, None]
    spread = weight[:, None] ** 2 * (counts / size[:, None]) * (1 - counts / size[:, None]) / (size[:, None] - 1)
    users = np.diag(counts) / size
    overall = float(weight @ users)
    error = float(np.sqrt(np.sum(weight**2 * users * (1 - users) / (size - 1))))
    return AreaEstimate(
        area=shares.sum(axis=0) * areas.sum(),
        half_width=Z95 * np.sqrt(spread.sum(axis=0)) * areas.sum(),
        accuracy=overall,
        accuracy_half_width=Z95 * error,
        consumers_accuracy=users,
        producers_accuracy=_share(np.diag(shares), shares.sum(axis=0)),
    )


def regression_metrics(actual: npt.ArrayLike, predicted: npt.ArrayLike) -> Mapping[str, float]:
    """Return rmse, mae, bias (mean of predicted minus actual), r2 and the number of pairs n; pairs with NaN are dropped.

    `r2` is 1 - squares left over squares about the mean, and NaN where all that is there is alike. Raises TableError for
    arrays of different shape or without any pair.
    """
    one, other = np.asarray(actual, dtype=np.float64).ravel(), np.asarray(predicted, dtype=np.float64).ravel()
    if one.shape != other.shape:
        raise TableError(f"regression_metrics: {one.size} and {other.size} numbers; give as many of both")
    known = np.isfinite(one) & np.isfinite(other)
    if not known.any():
        raise TableError("regression_metrics: there is no pair of numbers; give at least one")
    one, apart = one[known], other[known] - one[known]
    return {
        "rmse": float(np.sqrt(np.mean(apart**2))),
        "mae": float(np.mean(np.abs(apart))),
        "bias": float(np.mean(apart)),
        "r2": float(1 - _share(np.sum(apart**2), np.sum((one - one.mean()) ** 2))),
        "n": int(known.sum()),
    }
