"""Support vectors, Gaussians and networks equal scikit-learn's and SciPy's, after they have been through a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sample_images import grid
from scipy import stats
from scipy.special import softmax
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC
from test_classifiers import samples

import esd
from esd.analytics import Classifier, train_classifier
from esd.errors import ExpressionError, TableError


class Gaussians:
    """SciPy's densities of NumPy's covariances, as a model of scikit-learn's form."""

    def __init__(self, classes: int) -> None:
        self.classes = range(classes)

    def fit(self, features: np.ndarray, target: np.ndarray) -> Gaussians:
        parts = [features[target == i] for i in self.classes]
        spread = [0.8 * np.cov(part.T) + 0.2 * np.eye(features.shape[1]) for part in parts]
        self.densities = [stats.multivariate_normal(p.mean(axis=0), c) for p, c in zip(parts, spread, strict=True)]
        return self

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        return softmax(np.stack([density.logpdf(features) for density in self.densities], axis=1), axis=1)

    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.predict_proba(features).argmax(axis=1)


CASES = {
    "svm": ({"cost": 2.0}, lambda _classes: SVC(C=2.0, gamma=1 / 7)),
    "svm, linear": ({"kernel": "linear"}, lambda _classes: SVC(kernel="linear")),
    "svm, gamma": ({"gamma": 0.3}, lambda _classes: SVC(gamma=0.3)),
    "max_likelihood": ({"shrinkage": 0.2}, Gaussians),
    "mlp": (
        {"layers": (8, 5), "penalty": 0.1},
        lambda _classes: MLPClassifier((8, 5), solver="lbfgs", alpha=0.1, max_iter=5000, random_state=3),
    ),
}


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", CASES)
def test_predictions_equal_the_reference(name: str, classes: int, tmp_path: Path) -> None:
    options, make = CASES[name]
    train, target = samples(classes)
    test, truth = samples(classes, 3000, seed=1)
    made = train_classifier(train, target, name.split(",")[0], space="value", seed=3, **options)
    classifier = Classifier.load(made.save(tmp_path / "classifier.safetensors"))
    found, confidence = classifier.predict(test)
    centre, scale = made.arrays["centre"], made.arrays["scale"]
    standard = [((part - centre) / scale).astype(np.float32).astype(np.float64) for part in (train, test)]
    reference = make(classes).fit(standard[0], target)
    assert ((found - 1) == reference.predict(standard[1])).mean() >= 0.999
    assert ((found - 1) == truth).mean() > 0.55
    assert ((confidence >= 0) & (confidence <= 1)).all()
    if not name.startswith("svm"):
        assert np.allclose(confidence, reference.predict_proba(standard[1]).max(axis=1), atol=1e-4)
    else:
        margin = np.abs(reference.decision_function(standard[1])) if classes == 2 else None
        assert margin is None or np.allclose(confidence, 1 / (1 + np.exp(-margin)), atol=1e-6)
    again = train_classifier(train, target, name.split(",")[0], space="value", seed=3, **options)
    assert again.to_bytes() == made.to_bytes()


@pytest.mark.parametrize("method", ["svm", "max_likelihood", "mlp"])
def test_images_are_classified_the_same_in_any_tiling(method: str) -> None:
    train, target = samples(3)
    classifier = train_classifier(train, target, method, space="value")
    values = samples(3, 70 * 60, seed=2)[0].T.reshape(7, 70, 60)
    valid = np.random.default_rng(3).random((7, 70, 60)) > 0.02
    image = esd.from_array(values, grid(70, 60), [f"b{i}" for i in range(7)], valid=valid[None])
    whole = image.classify(classifier).compute()
    assert np.array_equal(whole.valid[0, 0], valid.all(axis=0))
    sure = image.classify_confidence(classifier).compute()
    expected, confidence = (part.reshape(70, 60) for part in classifier.predict(values.reshape(7, -1).T))
    seen = whole.valid[0, 0]
    assert np.array_equal(whole.values[0, 0][seen], expected[seen])
    assert np.array_equal(sure.values[0, 0][seen], confidence[seen])
    for tile in (32, 47):
        for operator, first in ((image.classify, whole), (image.classify_confidence, sure)):
            assert operator(classifier).compute(tile=tile).values.tobytes() == first.values.tobytes()


def test_wrong_options_are_refused() -> None:
    features, target = samples(2, 40)
    for options, error, reason in (
        ({"method": "svm", "kernel": "cosine"}, ExpressionError, "rbf or linear"),
        ({"method": "svm", "cost": 0.0}, ExpressionError, "above 0"),
        ({"method": "svm", "layers": (3,)}, ExpressionError, "no option 'layers'; it takes cost, kernel, gamma"),
        ({"method": "knn", "cost": 1.0}, ExpressionError, "none of its own"),
        ({"method": "cart", "depth": 1}, ExpressionError, "no option 'depth'"),
        ({"method": "mlp", "layers": ()}, ExpressionError, "sizes of 1 or more"),
        ({"method": "max_likelihood", "shrinkage": 2.0}, ExpressionError, "out of range"),
    ):
        with pytest.raises(error, match=reason) as caught:
            train_classifier(features, target, space="value", **options)  # type: ignore[arg-type]  # of mixed kinds
        assert "\n" not in str(caught.value)
    few = np.arange(10) % 2
    with pytest.raises(TableError, match="shrinkage= above 0"):
        train_classifier(features[:10], few, "max_likelihood", space="value", shrinkage=0.0)
