"""Measures of accuracy equal scikit-learn's; areas equal the worked example of Olofsson et al. (2014)."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from esd.analytics.accuracy import confusion_matrix, olofsson_area, regression_metrics
from esd.errors import TableError


@pytest.mark.parametrize("labels", [("water", "forest", "crop", "town"), (1, 2, 5, 9)])
def test_measures_equal_scikit_learn(labels: tuple[object, ...]) -> None:
    rng = np.random.default_rng(0)
    actual = [labels[i] for i in rng.integers(0, 4, 500)]
    predicted = [one if rng.random() < 0.6 else labels[rng.integers(0, 4)] for one in actual]
    found = confusion_matrix(actual, predicted)
    order = list(found.classes)
    assert order == sorted(labels, key=lambda name: name)  # type: ignore[type-var]  # numbers or texts, not both
    assert np.array_equal(found.counts, metrics.confusion_matrix(actual, predicted, labels=order))
    assert found.accuracy == pytest.approx(metrics.accuracy_score(actual, predicted))
    assert found.kappa == pytest.approx(metrics.cohen_kappa_score(actual, predicted))
    by_class = {"labels": order, "average": None}
    assert np.allclose(found.producers_accuracy, metrics.recall_score(actual, predicted, **by_class))
    assert np.allclose(found.consumers_accuracy, metrics.precision_score(actual, predicted, **by_class))
    assert np.allclose(found.fscore(), metrics.f1_score(actual, predicted, **by_class))
    assert np.allclose(found.fscore(2), metrics.fbeta_score(actual, predicted, beta=2, **by_class))
    assert np.allclose(found.iou, metrics.jaccard_score(actual, predicted, **by_class))


def test_missing_pairs_are_dropped_and_counted() -> None:
    found = confusion_matrix(["a", None, "b", "a"], ["a", "a", float("nan"), "c"], order=["c", "a", "b"])
    assert found.dropped == 2
    assert found.counts.tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert found.accuracy == 0.5
    assert np.isnan(found.producers_accuracy[2])


def test_areas_of_the_worked_example() -> None:
    """Olofsson et al. (2014), section 5.1: deforestation, forest gain, stable forest, stable non-forest, in pixels."""
    by_map = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
    actual = [j for i in range(4) for j in range(4) for _ in range(by_map[i, j])]
    predicted = [i for i in range(4) for j in range(4) for _ in range(by_map[i, j])]
    mapped = [200_000, 150_000, 3_200_000, 6_450_000]
    found = olofsson_area(confusion_matrix(actual, predicted), mapped)
    hectares = found.area * 0.09
    assert hectares[0] == pytest.approx(21_158, abs=1)
    assert found.half_width[0] * 0.09 == pytest.approx(6_158, abs=2)
    assert found.accuracy == pytest.approx(0.95, abs=0.005)
    assert found.accuracy_half_width == pytest.approx(0.02, abs=0.005)
    assert found.area.sum() == pytest.approx(sum(mapped))


def test_regression_equals_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    actual = rng.normal(size=300)
    predicted = actual + rng.normal(0.1, 0.3, 300)
    found = regression_metrics([*actual, np.nan], [*predicted, 1.0])
    assert found["n"] == 300
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(actual, predicted))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(actual, predicted))
    assert found["r2"] == pytest.approx(metrics.r2_score(actual, predicted))
    assert found["bias"] == pytest.approx(np.mean(predicted - actual))


def test_what_cannot_be_counted_is_refused() -> None:
    for call, reason in (
        (lambda: confusion_matrix([1], [1, 2]), "as many of both"),
        (lambda: confusion_matrix([None], [1]), "no pair"),
        (lambda: confusion_matrix([1], [2], order=[1]), "not in order"),
        (lambda: olofsson_area(confusion_matrix([1, 2], [1, 2]), [3, 4]), "fewer than 2 samples"),
        (lambda: olofsson_area(confusion_matrix([1, 2], [1, 2]), [3]), "as many areas"),
        (lambda: regression_metrics([np.nan], [1]), "no pair"),
    ):
        with pytest.raises(TableError, match=reason):
            call()
