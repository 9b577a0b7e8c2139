"""Land cover from embeddings beside raw series: the same samples, classifiers and draws, blocks of land apart.

Whole groups (degrees, chips' blocks) are either trained on or tested on. A feature set is one array [n, d], or one array
for each fold where the encoder of that fold was trained without the fold's groups. All classifiers see features that are
standardised by their training samples as the package's own classifiers do.
Protocol: five spatial folds for the full sample, and for few-shot `draws` seeded balanced draws from the training groups
of a fold, tested on that fold's groups, the folds in turn. An encoder that learned from labels may only be judged on
folds that it was not trained on: name them in `Samples.judged`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.errors import TableError
from esd.standardising import centre_and_scale

from .sampling import held_out

__all__ = ["CLASSIFIERS", "Paired", "Samples", "balanced", "classification", "draw", "few_shot", "paired", "standardized"]

Floats = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.int64]
Features = Floats | Sequence[Floats]
Predictor = Callable[[Floats, Indices, Floats], Indices]

TREES = 200
FEW, FEW_SHOT_TREES = 500, 100
"""Up to so many training samples fewer trees do: more change nothing but the time."""
REGULARIZATION = 1.0
"""C of the logistic regression on standardised features, fixed so that no feature set is tuned more than another."""
WEIGHED = "embedding"
"""The features whose numbers keep their size beside each other: it says what they change in reflectance."""
SMALLEST_TEST = 5
"""A class with fewer test samples than this is left out of a draw's balanced accuracy."""
RESAMPLES = 1000


@dataclass(frozen=True)
class Paired:
    """A mean difference with its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    def summary(self) -> dict[str, float]:
        """Return it as plain numbers."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Samples:
    """Labels [n] and the groups [n] that are held out as a whole, in `folds` folds, of which those `judged` are tested.

    Raises TableError if there are fewer than two classes, or a fold would have no test or no training samples.
    """

    labels: npt.NDArray[Any]
    groups: npt.NDArray[Any]
    folds: int = 5
    judged: tuple[int, ...] = (0, 1, 2, 3, 4)

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.groups):
            raise TableError(f"{len(self.labels)} labels and {len(self.groups)} groups do not fit; give one group a sample")
        if len(self.classes) < 2:
            raise TableError(f"the samples have {len(self.classes)} class; classification needs at least two")
        if len(np.unique(self.groups)) < self.folds:
            raise TableError(f"{len(np.unique(self.groups))} groups make no {self.folds} folds; give samples of more places")

    @cached_property
    def classes(self) -> npt.NDArray[Any]:
        """Names of the classes, sorted."""
        return np.unique(np.asarray(self.labels).astype(str))

    @cached_property
    def target(self) -> Indices:
        """Number of each sample's class, [n]."""
        return np.unique(np.asarray(self.labels).astype(str), return_inverse=True)[1].astype(np.int64)

    @cached_property
    def tested(self) -> npt.NDArray[np.bool_]:
        """Which samples lie in a fold that is judged, [n]."""
        return np.asarray(np.logical_or.reduce([self.test(fold) for fold in self.judged]))

    def test(self, fold: int) -> npt.NDArray[np.bool_]:
        """Return which samples lie in the held-out groups of a fold."""
        return held_out(self.groups, self.folds, fold)


def _forest(train: Floats, target: Indices, test: Floats) -> Indices:
    from sklearn.ensemble import RandomForestClassifier

    trees = TREES if len(train) > FEW else FEW_SHOT_TREES
    forest = RandomForestClassifier(trees, random_state=0, n_jobs=1).fit(train, target)
    return np.asarray(forest.predict(test), dtype=np.int64)


def _logistic(train: Floats, target: Indices, test: Floats) -> Indices:
    from sklearn.linear_model import LogisticRegression

    # Rougher than scikit-learn's 1e-4 changes no class in a thousand and takes half of the time.
    model = LogisticRegression(C=REGULARIZATION, max_iter=300, tol=1e-3).fit(train, target)
    return np.asarray(model.predict(test), dtype=np.int64)


def _vectors(train: Floats, target: Indices, test: Floats) -> Indices:
    from sklearn.svm import SVC

    return np.asarray(SVC(gamma=1 / train.shape[1]).fit(train, target).predict(test), dtype=np.int64)


def _neighbours(count: int) -> Predictor:
    """Return the vote of the nearest training samples by Euclidean distance; of equal votes the nearest one's wins."""

    def predict(train: Floats, target: Indices, test: Floats) -> Indices:
        k = min(count, len(train))
        distance = np.square(train).sum(axis=1) - 2 * (test @ train.T)
        near = np.argpartition(distance, k - 1, axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(distance, near, axis=1), axis=1, kind="stable")
        voters = target[np.take_along_axis(near, order, axis=1)]
        votes = voters[:, :, None] == np.arange(int(target.max()) + 1)
        first = np.where(votes.any(axis=1), votes.argmax(axis=1), k)
        return np.asarray((votes.sum(axis=1) - first / (k + 1)).argmax(axis=1), dtype=np.int64)

    return predict


CLASSIFIERS: Mapping[str, Predictor] = {
    "forest": _forest,
    "logistic": _logistic,
    "svm": _vectors,
    "knn1": _neighbours(1),
    "knn3": _neighbours(3),
    "knn20": _neighbours(20),
}
"""Random forest (200 trees, 100 for few-shot), logistic regression (L2, C = 1), support vectors (C = 1, radial, gamma of
1 / features) and the nearest 1, 3 and 20 samples."""


def _of_fold(features: Features, fold: int) -> Floats:
    return features[fold] if isinstance(features, list | tuple) else np.asarray(features)


def _check(feature_sets: Mapping[str, Features], samples: Samples) -> None:
    for name, features in feature_sets.items():
        if isinstance(features, list | tuple) and len(features) != samples.folds:
            raise TableError(f"features {name!r} are of {len(features)} folds, the samples of {samples.folds}")
        array = _of_fold(features, 0)
        if array.ndim != 2 or len(array) != len(samples.labels):
            raise TableError(
                f"features {name!r} have shape {array.shape}, the labels are {len(samples.labels)}; give [n, d]"
            )
        if not np.isfinite(array).all():
            raise TableError(f"features {name!r} are not all finite; leave out samples without features")


def standardized(train: Floats, test: Floats, weighed: bool = False) -> tuple[Floats, Floats]:
    """Return both float32, less the mean and divided by the spread of the training samples' features.

    Features that are `weighed` keep the root of their weights (`esd.standardising`).
    """
    mean, scale = centre_and_scale(train, weighed)
    return ((train - mean) / scale).astype(np.float32), ((test - mean) / scale).astype(np.float32)


def balanced(target: Indices, predicted: Indices, least: int = 1) -> float:
    """Return the mean over the classes that have at least `least` samples of the share found."""
    right = np.bincount(target[target == predicted], minlength=int(target.max()) + 1)
    of_class = np.bincount(target)
    chosen = of_class >= least
    return float((right[chosen] / of_class[chosen]).mean())


def paired(differences: Floats) -> Paired:
    """Return the mean of paired differences [n] and its 95 % interval by Student's t."""
    from scipy import stats

    mean, count = float(differences.mean()), len(differences)
    if count < 2:
        return Paired(mean, float("nan"), float("nan"))
    half = float(stats.t.ppf(0.975, count - 1) * differences.std(ddof=1) / np.sqrt(count))
    return Paired(mean, mean - half, mean + half)


def _by_groups(one: Indices, other: Indices, samples: Samples, seed: int) -> Paired:
    """Return the difference in overall accuracy of two predictions, its interval by resampling whole groups."""
    tested = samples.tested
    number = np.unique(samples.groups[tested], return_inverse=True)[1]
    gain = ((one == samples.target).astype(np.int64) - (other == samples.target))[tested]
    sums, sizes = np.bincount(number, gain), np.bincount(number)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [0.025, 0.975])
    return Paired(float(gain.mean()), float(low), float(high))


def _best(accuracy: Mapping[str, float]) -> str:
    return max(accuracy, key=lambda name: accuracy[name])


def classification(
    feature_sets: Mapping[str, Features],
    samples: Samples,
    classifiers: Sequence[str] = tuple(CLASSIFIERS),
    reference: str = "raw",
    seed: int = 0,
) -> dict[str, Any]:
    """Classify every sample of the judged folds by classifiers trained on the groups of the other four.

    `feature_sets` are arrays [n, d] (or one a fold) by name. Returns for every feature set and classifier the overall and
    balanced accuracy over those samples and the overall accuracy of each fold; against `reference`, if it is among them, the
    difference in overall accuracy by the same classifier and best against best, intervals by resampling whole groups.
    Raises TableError for features or samples that do not fit.
    """
    _check(feature_sets, samples)
    target, tests = samples.target, {fold: samples.test(fold) for fold in samples.judged}
    predicted = {name: {key: np.zeros(len(target), np.int64) for key in classifiers} for name in feature_sets}
    for name, features in feature_sets.items():
        for fold, test in tests.items():
            array = _of_fold(features, fold)
            train_x, test_x = standardized(array[~test], array[test], name == WEIGHED)
            for key in classifiers:
                predicted[name][key][test] = CLASSIFIERS[key](train_x, target[~test], test_x)
    result: dict[str, Any] = {}
    for name, found in predicted.items():
        result[name] = {
            key: {
                "overall": float((guess == target)[samples.tested].mean()),
                "balanced": balanced(target[samples.tested], guess[samples.tested]),
                "folds": {str(fold): float((guess == target)[test].mean()) for fold, test in tests.items()},
            }
            for key, guess in found.items()
        }
        result[name]["best"] = _best({key: result[name][key]["overall"] for key in classifiers})
    if reference in predicted:
        for name in set(predicted) - {reference}:
            result[name]["difference"] = _differences(
                predicted[name], predicted[reference], result, name, reference, samples, seed
            )
    return result


def _differences(
    ours: Mapping[str, Indices],
    theirs: Mapping[str, Indices],
    result: Mapping[str, Any],
    name: str,
    reference: str,
    samples: Samples,
    seed: int,
) -> dict[str, dict[str, float]]:
    rows = {key: _by_groups(guess, theirs[key], samples, seed).summary() for key, guess in ours.items()}
    best = _by_groups(ours[result[name]["best"]], theirs[result[reference]["best"]], samples, seed)
    return rows | {"best": best.summary()}


def draw(samples: Samples, per_class: int, number: int, seed: int = 0) -> tuple[int, Indices, Indices]:
    """Return fold, training and test samples of one draw: `per_class` samples of every class, no group in both.

    Draw `number` depends on the seed, `per_class` and the number only. Raises TableError if a class has too few training
    samples in the fold.
    """
    fold = samples.judged[number % len(samples.judged)]
    test, target = samples.test(fold), samples.target
    rng = np.random.default_rng([seed, per_class, number])
    picks = []
    for index, name in enumerate(samples.classes):
        known = np.flatnonzero(~test & (target == index))
        if len(known) < per_class:
            raise TableError(
                f"class {str(name)!r} has {len(known)} samples outside of fold {fold}; ask for fewer than {per_class}"
            )
        picks.append(rng.choice(known, per_class, replace=False))
    return fold, np.concatenate(picks), np.flatnonzero(test)


def few_shot(
    feature_sets: Mapping[str, Features],
    samples: Samples,
    per_class: Sequence[int] = (5, 10, 20),
    draws: int = 50,
    classifiers: Sequence[str] = tuple(CLASSIFIERS),
    reference: str = "raw",
    seed: int = 0,
) -> dict[str, Any]:
    """Classify with a handful of samples a class; every feature set and classifier sees the same draws.

    Returns by number of samples a class, feature set and classifier the mean and standard deviation over the draws of the
    balanced accuracy, the best classifier by mean, and against `reference`, if it is among them, paired differences with
    their 95 % intervals: by the same classifier, and "best" of the one against best of the other. Raises TableError as
    `classification` does, or if a class has too few samples.
    """
    _check(feature_sets, samples)
    result: dict[str, Any] = {}
    for size in per_class:
        scores = {name: {key: np.zeros(draws) for key in classifiers} for name in feature_sets}
        for number in range(draws):
            fold, train, test = draw(samples, size, number, seed)
            for name, features in feature_sets.items():
                array = _of_fold(features, fold)
                train_x, test_x = standardized(array[train], array[test], name == WEIGHED)
                for key in classifiers:
                    guess = CLASSIFIERS[key](train_x, samples.target[train], test_x)
                    scores[name][key][number] = balanced(samples.target[test], guess, SMALLEST_TEST)
        result[str(size)] = _few_shot_rows(scores, reference)
    return result


def _few_shot_rows(scores: Mapping[str, Mapping[str, Floats]], reference: str) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for name, found in scores.items():
        spread = {key: float(values.std(ddof=1)) if len(values) > 1 else 0.0 for key, values in found.items()}
        rows[name] = {key: {"mean": float(values.mean()), "sd": spread[key]} for key, values in found.items()}
        rows[name]["best"] = _best({key: float(values.mean()) for key, values in found.items()})
    for name in set(scores) - {reference} if reference in scores else ():
        theirs = scores[reference]
        same = {key: paired(values - theirs[key]).summary() for key, values in scores[name].items()}
        best = paired(scores[name][rows[name]["best"]] - theirs[rows[reference]["best"]])
        rows[name]["difference"] = same | {"best": best.summary()}
    return rows
