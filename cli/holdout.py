"""How good a classifier is on samples that it has not seen: cross-validation by blocks of land."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from esd.errors import EsdError

if TYPE_CHECKING:
    from esd.codec import Codec

__all__ = ["confusion_figures", "held_out_accuracy"]

CELLS_ACROSS = 6
"""The samples' extent is cut into this many cells a side; a fold holds whole cells, so that no test sample has a training
sample beside it."""
MOST_FOLDS = 5


def held_out_accuracy(
    features: npt.NDArray[np.float32],
    labels: npt.NDArray[Any],
    places: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    method: str,
    space: str,
    codec: Codec,
) -> dict[str, Any]:
    """Return accuracy by spatial folds, or the reason why there are too few samples for it.

    `features` [n, d], `labels` [n], `places` longitude and latitude [n].
    """
    from esd.analytics import cross_validate

    names, cells = labels.astype(str), _cells(*places)
    spread = {name: len(set(cells[names == name])) for name in np.unique(names)}
    folds = min(MOST_FOLDS, *spread.values())
    if folds < 2:
        poorest = min(spread, key=lambda name: spread[name])
        return {"folds": 0, "reason": f"the samples of {poorest!r} lie in one place only; accuracy needs them spread out"}
    try:
        found = cross_validate(features, names, method, folds, blocks=cells, space=space, codec=codec)
    except EsdError as error:
        return {"folds": 0, "reason": str(error)}
    return {"folds": folds, "cells": len(set(cells)), **confusion_figures(names, found.predicted.astype(str))}


def _cells(longitude: npt.NDArray[np.float64], latitude: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the number of the cell of a coarse grid that holds each sample."""

    def part(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        span = max(float(np.ptp(values)), 1e-9)
        return np.minimum((values - values.min()) / span * CELLS_ACROSS, CELLS_ACROSS - 1).astype(np.int64)

    return part(latitude) * CELLS_ACROSS + part(longitude)


def confusion_figures(truth: npt.NDArray[Any], mapped: npt.NDArray[Any]) -> dict[str, Any]:
    """Return overall and balanced accuracy, and per class the producer's (share of the truth found) and the user's accuracy
    (share of what is mapped that is right), with the confusion matrix: rows truth, columns map."""
    classes = sorted(set(truth.tolist()) | set(mapped.tolist()))
    position = {name: index for index, name in enumerate(classes)}
    matrix = np.zeros((len(classes), len(classes)), dtype=np.int64)
    pairs = ([position[name] for name in truth.tolist()], [position[name] for name in mapped.tolist()])
    np.add.at(matrix, pairs, 1)
    right, of_truth, of_map = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    producers = right / np.where(of_truth > 0, of_truth, np.nan)
    users = right / np.where(of_map > 0, of_map, np.nan)
    rows = [
        {
            "class": name,
            "samples": int(of_truth[index]),
            "producers_accuracy": float(producers[index]),
            "users_accuracy": float(users[index]),
        }
        for index, name in enumerate(classes)
    ]
    return {
        "overall_accuracy": float(right.sum() / matrix.sum()),
        "balanced_accuracy": float(np.nanmean(producers)),
        "classes": rows,
        "confusion": {"classes": classes, "rows_truth_columns_map": matrix.tolist()},
    }
