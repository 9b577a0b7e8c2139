"""Land cover by protocol: spatially disjoint, balanced, paired, and the same everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from esd.encoder.protocol import CLASSIFIERS, Samples, balanced, classification, draw, few_shot, paired
from esd.errors import TableError

QUICK = ("logistic", "knn3")


def land(count: int = 600, classes: int = 4, groups: int = 30, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    return Samples(np.array([f"class {i}" for i in rng.integers(0, classes, count)]), rng.integers(0, groups, count))


def blobs(samples: Samples, noise: float, dims: int = 5, seed: int = 1) -> Any:
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (len(samples.classes), dims))
    return centres[samples.target] + rng.normal(0, noise, (len(samples.labels), dims))


@given(st.integers(0, 200), st.integers(1, 15), st.integers(0, 50))
def test_draws_are_balanced_spatially_disjoint_and_repeatable(number: int, size: int, seed: int) -> None:
    samples = land()
    fold, train, test = draw(samples, size, number, seed)
    assert np.bincount(samples.target[train]).tolist() == [size] * 4
    assert len(set(train.tolist())) == 4 * size
    assert not set(samples.groups[train]) & set(samples.groups[test])
    again = draw(samples, size, number, seed)
    assert fold == again[0]
    np.testing.assert_array_equal(train, again[1])
    np.testing.assert_array_equal(test, again[2])


def test_folds_test_every_sample_once() -> None:
    samples = land()
    tests = [samples.test(fold) for fold in range(5)]
    np.testing.assert_array_equal(np.sum(tests, axis=0), 1)
    for test in tests:
        assert not set(samples.groups[test]) & set(samples.groups[~test])


def test_equal_features_differ_by_nothing_and_better_ones_win() -> None:
    samples = land()
    good, poor = blobs(samples, 0.3), blobs(samples, 3.0)
    same = classification({"twin": poor, "raw": poor}, samples, QUICK)["twin"]["difference"]
    assert all(row == {"mean": 0.0, "low": 0.0, "high": 0.0} for row in same.values())
    found = classification({"good": good, "raw": poor}, samples, QUICK)["good"]
    assert found["difference"]["best"]["low"] > 0.1
    assert found["knn3"]["overall"] > 0.9
    shots = few_shot({"good": good, "raw": poor}, samples, (5,), 10, QUICK)["5"]["good"]
    assert shots["difference"]["best"]["low"] > 0.1
    twins = few_shot({"twin": poor, "raw": poor}, samples, (5,), 4, QUICK)["5"]["twin"]["difference"]
    assert all(row["mean"] == 0 for row in twins.values())


def test_test_samples_do_not_reach_the_classifier() -> None:
    samples = land()
    features = blobs(samples, 1.0)
    fold, train, test = draw(samples, 5, 2)
    known = classification({"raw": features}, samples, QUICK)
    for key in QUICK:
        expected = (samples.target[samples.test(fold)] == _predicted(features, samples, fold, key)).mean()
        assert known["raw"][key]["folds"][str(fold)] == pytest.approx(expected)
    assert not set(train) & set(test)


def _predicted(features: Any, samples: Samples, fold: int, key: str) -> Any:
    test = samples.test(fold)
    mean, spread = features[~test].mean(axis=0), features[~test].std(axis=0)
    scaled = ((features - mean) / spread).astype(np.float32)
    return CLASSIFIERS[key](scaled[~test], samples.target[~test], scaled[test])


def test_features_of_each_fold_are_used_in_that_fold() -> None:
    samples = land()
    good, poor = blobs(samples, 0.1), blobs(samples, 50.0)
    found = classification({"mixed": (good, poor, poor, poor, poor)}, samples, ("knn1",))["mixed"]["knn1"]["folds"]
    assert found.pop("0") > 0.95
    assert max(found.values()) < 0.5


def test_only_judged_folds_are_tested() -> None:
    whole = land()
    samples = Samples(whole.labels, whole.groups, judged=(3,))
    features = blobs(samples, 1.0)
    alone = classification({"raw": features}, samples, QUICK)["raw"]["knn3"]
    all_folds = classification({"raw": features}, whole, QUICK)["raw"]["knn3"]["folds"]
    assert alone["folds"] == {"3": all_folds["3"]}
    assert alone["overall"] == all_folds["3"]
    assert {draw(samples, 2, number)[0] for number in range(8)} == {3}


@pytest.mark.parametrize("count", [1, 20])
def test_neighbours_equal_scikit_learn(count: int) -> None:
    samples = land(seed=3)
    features = blobs(samples, 1.0).astype(np.float32)
    ours = CLASSIFIERS[f"knn{count}"](features[:400], samples.target[:400], features[400:])
    theirs = KNeighborsClassifier(count).fit(features[:400], samples.target[:400])
    votes = np.sort(theirs.predict_proba(features[400:]), axis=1)
    clear = votes[:, -1] > votes[:, -2]
    np.testing.assert_array_equal(ours[clear], theirs.predict(features[400:])[clear])
    assert clear.mean() > 0.8


def test_the_nearest_sample_is_itself() -> None:
    samples = land()
    features = blobs(samples, 1.0).astype(np.float32)
    assert (CLASSIFIERS["knn1"](features, samples.target, features) == samples.target).all()


def test_balanced_accuracy_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 5, 300), rng.integers(0, 5, 300)
    assert balanced(truth, guess) == pytest.approx(balanced_accuracy_score(truth, guess))
    truth = np.array([0, 0, 0, 1])
    assert balanced(truth, np.array([0, 0, 1, 0]), least=2) == pytest.approx(2 / 3)


def test_the_interval_of_paired_differences_by_hand() -> None:
    found = paired(np.array([0.1, 0.2, 0.3]))
    assert found.mean == pytest.approx(0.2)
    assert found.high - found.mean == pytest.approx(4.302653 * 0.1 / np.sqrt(3), rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "groups", "because"),
    [
        (["a", "b"], [1], "do not fit"),
        (["a", "a"] * 5, list(range(10)), "at least two"),
        (["a", "b"] * 5, [1, 2] * 5, "places"),
    ],
)
def test_samples_that_cannot_be_used(labels: list[str], groups: list[int], because: str) -> None:
    with pytest.raises(TableError, match=because):
        Samples(np.array(labels), np.array(groups))


def test_features_and_draws_that_cannot_be_used() -> None:
    samples = land(100)
    features = blobs(samples, 1.0)
    with pytest.raises(TableError, match="have shape"):
        classification({"raw": features[:50]}, samples)
    with pytest.raises(TableError, match="finite"):
        classification({"raw": features * np.nan}, samples)
    with pytest.raises(TableError, match="2 folds"):
        classification({"raw": (features, features)}, samples)
    with pytest.raises(TableError, match="ask for fewer"):
        few_shot({"raw": features}, samples, (90,), 1)
