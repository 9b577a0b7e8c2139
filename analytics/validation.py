"""Cross-validation of classifiers, by samples or by blocks of land.

Samples beside each other are alike, and a test sample beside a training sample flatters a map: blocks keep them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.codec import Codec
from esd.errors import TableError

from .accuracy import ConfusionMatrix, confusion_matrix
from .classify import train_classifier

__all__ = ["CrossValidation", "cross_validate", "spatial_blocks"]

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What classifiers say of samples that they were not trained on: `matrix` of all samples, `accuracy` of each fold.

    `predicted` are the names of the classes [n], None for samples that were dropped; `fold` [n] is the fold that each was
    tested in, from 0, and -1 for those.
    """

    matrix: ConfusionMatrix
    accuracy: npt.NDArray[np.float64]
    predicted: npt.NDArray[Any]
    fold: Indices

    def __repr__(self) -> str:
        low, high = self.accuracy.min(), self.accuracy.max()
        return f"CrossValidation({len(self.accuracy)} folds, accuracy {self.matrix.accuracy:.3f}, {low:.3f} to {high:.3f})"


def spatial_blocks(x: npt.ArrayLike, y: npt.ArrayLike, size: float) -> Indices:
    """Return the number of the square block, `size` a side in the unit of the coordinates, that holds each sample [n].

    Blocks are numbered from 0 by column, then row; their corners are whole multiples of the size. Raises TableError for
    another number of x than y, or a size that is not above 0.
    """
    columns, rows = (np.asarray(part, dtype=np.float64).ravel() for part in (x, y))
    if columns.shape != rows.shape or not size > 0:
        raise TableError(f"spatial_blocks: {columns.size} x, {rows.size} y, size={size:g}; give as many, and a size above 0")
    cells = np.floor(np.stack([columns, rows]) / size)
    return np.unique(cells, axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _folds(names: npt.NDArray[Any], blocks: Indices | None, folds: int, seed: int) -> Indices:
    """Return the fold of each sample; every class is spread over the folds as evenly as whole blocks allow."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    holders = np.arange(len(names)) if blocks is None else blocks
    places = {name: len(np.unique(holders[names == name])) for name in np.unique(names)}
    poorest = min(places, key=lambda name: places[name])
    if len(places) < 2 or not 2 <= folds <= places[poorest]:
        what = "samples" if blocks is None else "blocks"
        raise TableError(
            f"cross_validate: {folds} folds of {len(places)} classes, {poorest!r} being in {places[poorest]} {what}; give "
            f"two classes or more, and 2 to {max(places[poorest], 2)} folds"
        )
    kind = StratifiedKFold if blocks is None else StratifiedGroupKFold
    found = np.empty(len(names), dtype=np.int64)
    for fold, (_train, test) in enumerate(kind(folds, shuffle=True, random_state=seed).split(names, names, blocks)):
        found[test] = fold
    return found


def cross_validate(
    features: npt.NDArray[np.floating],
    labels: Sequence[Any] | npt.NDArray[Any],
    method: str = "logistic",
    folds: int = 5,
    *,
    blocks: npt.ArrayLike | None = None,
    space: str = "embedding",
    codec: Codec | None = None,
    seed: int = 0,
    **options: Any,
) -> CrossValidation:
    """Train on all folds but one and test on that one, in turn, for feature vectors [n, d] and n labels.

    `blocks` [n] says which samples belong together, such as `spatial_blocks`: a fold holds whole blocks. Without them
    samples are drawn one by one, which flatters where they lie close. Samples without features, label or block (NaN, None)
    are dropped and counted. Other arguments are those of `train_classifier`. Deterministic for a seed. Raises TableError
    for shapes that do not fit, or classes that are in fewer blocks than there are folds. Source: Roberts et al. (2017).
    """
    import pandas as pd

    values = pd.Series(list(labels), dtype=object)
    given = None if blocks is None else np.asarray(blocks)
    if features.ndim != 2 or len(features) != len(values) or (given is not None and given.shape != (len(values),)):
        shape = "none" if given is None else given.shape
        raise TableError(
            f"cross_validate: features {features.shape}, {len(values)} labels and blocks {shape} do not fit; give [n, d], "
            "n, and n"
        )
    known = values.notna().to_numpy() & np.isfinite(features).all(axis=1)
    held = None
    if given is not None:
        held = pd.Series(given.tolist(), dtype=object)
        known = known & held.notna().to_numpy()
    names = np.array([str(value) for value in values[known]])
    groups = None if held is None else np.unique(held[known].astype(str), return_inverse=True)[1].astype(np.int64)
    place, kept = _folds(names, groups, folds, seed), features[known]
    predicted = np.empty(len(names), dtype=object)
    for fold in range(folds):
        test = place == fold
        trained = train_classifier(kept[~test], names[~test], method, space=space, codec=codec, seed=seed, **options)
        predicted[test] = [trained.legend[int(code)] for code in trained.classify(kept[test])]
    accuracy = np.array([(predicted[place == fold] == names[place == fold]).mean() for fold in range(folds)])
    everything, fold_of = np.full(len(values), None, dtype=object), np.full(len(values), -1, dtype=np.int64)
    everything[known], fold_of[known] = predicted, place
    truth = [str(value) if there else None for value, there in zip(values, known, strict=True)]
    return CrossValidation(confusion_matrix(truth, everything.tolist()), accuracy, everything, fold_of)
