"""Few-shot classification, measured: how well do a handful of samples a class do, and with which features?

In every draw whole blocks of land (1 degree) are put aside for the test, so that no training sample lies beside a test
sample; k samples a class are drawn from the other blocks. All feature sets and methods see the same draws, so that
differences between them are paired. The score is balanced accuracy: the mean over classes of the share found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.errors import TableError

from .classify import train_classifier

__all__ = ["FewShotReport", "FewShotScore", "few_shot_report"]

SMALLEST_TEST = 5
"""Test samples of each class that a split must leave, so that its share found means something."""
TRIES = 1000

Indices = npt.NDArray[np.int64]

FEW_SHOT = ("prototype", "knn", "logistic", "svm")
"""Methods that a handful of samples is enough for."""


@dataclass(frozen=True)
class FewShotScore:
    """Balanced accuracy, 0..1, of one feature set and method, one number a draw."""

    features: str
    method: str
    draws: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the draws."""
        return float(np.mean(self.draws))

    @property
    def sd(self) -> float:
        """Standard deviation over the draws (n - 1); 0 for a single one."""
        return float(np.std(self.draws, ddof=1)) if len(self.draws) > 1 else 0.0


@dataclass(frozen=True)
class FewShotReport:
    """All scores of one protocol: `per_class` samples a class, blocks of `block` degrees, tests of `test_samples` each."""

    scores: tuple[FewShotScore, ...]
    classes: tuple[str, ...]
    per_class: int
    block: float
    blocks: int
    seed: int
    test_samples: tuple[int, ...]

    def score(self, features: str, method: str) -> FewShotScore:
        """Return the score of a feature set and method. Raises TableError for one that was not measured."""
        for found in self.scores:
            if (found.features, found.method) == (features, method):
                return found
        measured = ", ".join(f"{found.features}/{found.method}" for found in self.scores)
        raise TableError(f"{features}/{method} was not measured; there are {measured}")

    def difference(self, one: str, other: str, method: str) -> FewShotScore:
        """Return the paired differences, one minus other, draw by draw."""
        pairs = zip(self.score(one, method).draws, self.score(other, method).draws, strict=True)
        return FewShotScore(f"{one} - {other}", method, tuple(a - b for a, b in pairs))

    def rows(self) -> list[dict[str, Any]]:
        """Return the scores as plain rows: features, method, mean, sd and the draws."""
        return [
            {"features": s.features, "method": s.method, "mean": s.mean, "sd": s.sd, "draws": list(s.draws)}
            for s in self.scores
        ]

    def __str__(self) -> str:
        head = (
            f"balanced accuracy, {self.per_class} samples a class of {len(self.classes)}, {len(self.test_samples)} draws, "
            f"blocks of {self.block:g} degrees ({self.blocks}), {int(np.mean(self.test_samples))} test samples"
        )
        lines = [f"  {s.features:<14} {s.method:<10} {s.mean:.3f} +- {s.sd:.3f}" for s in self.scores]
        return "\n".join([head, *lines])


def _blocks(longitude: npt.ArrayLike, latitude: npt.ArrayLike, size: float) -> Indices:
    """Return the number of the block of land that holds each sample."""
    column = np.floor(np.asarray(longitude, dtype=float) / size)
    row = np.floor(np.asarray(latitude, dtype=float) / size)
    return np.unique(np.stack([row, column]), axis=1, return_inverse=True)[1].reshape(-1)


def _enough(target: Indices, chosen: npt.NDArray[np.bool_], classes: int, least: int) -> bool:
    return bool((np.bincount(target[chosen], minlength=classes) >= least).all())


def _split(block: Indices, target: Indices, per_class: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Return training and test samples: half of the blocks each, k of every class drawn from the first half."""
    blocks, classes = int(block.max()) + 1, int(target.max()) + 1
    for _try in range(TRIES):
        in_test = np.zeros(blocks, dtype=bool)
        in_test[rng.permutation(blocks)[: blocks // 2]] = True
        test = in_test[block]
        if _enough(target, ~test, classes, per_class) and _enough(target, test, classes, SMALLEST_TEST):
            picks = [rng.choice(np.flatnonzero(~test & (target == i)), per_class, replace=False) for i in range(classes)]
            return np.concatenate(picks), np.flatnonzero(test)
    fewest = int(np.bincount(target).argmin())
    raise TableError(
        f"no split of {blocks} blocks leaves {per_class} training and {SMALLEST_TEST} test samples of every class (the "
        f"smallest class has {int((target == fewest).sum())} samples in {len(np.unique(block[target == fewest]))} blocks); "
        "ask for fewer samples a class or smaller blocks"
    )


def _usable(feature_sets: Mapping[str, npt.NDArray[np.floating]], samples: int) -> npt.NDArray[np.bool_]:
    usable = np.ones(samples, dtype=bool)
    for name, features in feature_sets.items():
        if features.ndim != 2 or len(features) != samples:
            raise TableError(f"features {name!r} have shape {features.shape}, the labels are {samples}; give [n, d]")
        usable &= np.isfinite(features).all(axis=1)
    if not feature_sets or not usable.any():
        raise TableError("no sample has features in every feature set; nothing can be measured")
    return usable


def few_shot_report(
    feature_sets: Mapping[str, npt.NDArray[np.floating]],
    labels: Sequence[Any] | npt.NDArray[Any],
    longitude: npt.ArrayLike,
    latitude: npt.ArrayLike,
    per_class: int = 20,
    draws: int = 10,
    seed: int = 0,
    methods: Sequence[str] = FEW_SHOT,
    block: float = 1.0,
    neighbours: int = 3,
    weighed: Sequence[str] = ("embedding",),
) -> FewShotReport:
    """Measure few-shot classification of several feature sets on the same samples and draws.

    `feature_sets` are arrays [n, d] by name, of the n samples that `labels`, `longitude` and `latitude` (degrees) describe;
    samples without finite features in all of them are left out. The size of those `weighed` is a weight, whose root they
    keep. Draw i depends on `seed` and i only. Raises TableError where shapes do not fit or no split of blocks leaves enough
    samples of every class.
    """
    from sklearn.metrics import balanced_accuracy_score

    names = np.array([str(label) for label in labels])
    usable = _usable(feature_sets, len(names))
    classes, target = np.unique(names[usable], return_inverse=True)
    land = _blocks(np.asarray(longitude)[usable], np.asarray(latitude)[usable], block)
    found: dict[tuple[str, str], list[float]] = {(name, method): [] for name in feature_sets for method in methods}
    sizes = []
    for draw in range(draws):
        train, test = _split(land, target, per_class, np.random.default_rng([seed, draw]))
        sizes.append(len(test))
        for (name, method), scores in found.items():
            features = feature_sets[name][usable]
            labelled = features[train], classes[target[train]]
            trained = train_classifier(*labelled, method, space="value", neighbours=neighbours, weighed=name in weighed)
            predicted, _confidence = trained.predict(features[test])
            scores.append(float(balanced_accuracy_score(target[test], predicted.astype(np.int64) - 1)))
    return FewShotReport(
        scores=tuple(FewShotScore(name, method, tuple(scores)) for (name, method), scores in found.items()),
        classes=tuple(str(name) for name in classes),
        per_class=per_class,
        block=block,
        blocks=int(land.max()) + 1,
        seed=seed,
        test_samples=tuple(sizes),
    )
