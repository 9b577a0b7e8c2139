"""Classifiers and clusters equal scikit-learn's, sample by sample, after they have been through a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sample_images import grid
from sklearn import ensemble, naive_bayes, neighbors, tree
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

import esd
from esd.analytics import Classifier, decision_tree, train_classifier, train_clusterer
from esd.analytics.trees import TREES
from esd.errors import EncoderError, ExpressionError, TableError

REFERENCES = {
    "cart": tree.DecisionTreeClassifier(random_state=0),
    "random_forest": ensemble.RandomForestClassifier(20, random_state=0),
    "extra_trees": ensemble.ExtraTreesClassifier(20, random_state=0),
    "adaboost": ensemble.AdaBoostClassifier(n_estimators=20, random_state=0),
    "gradient_boost": ensemble.GradientBoostingClassifier(n_estimators=20, random_state=0),
    "naive_bayes": naive_bayes.GaussianNB(),
    "minimum_distance": neighbors.NearestCentroid(),
}


def samples(classes: int, n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes of unequal size, features of unequal scale."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes * 2, n) % (classes + 1) % classes
    centres = np.random.default_rng(5).normal(size=(classes, 7)) * 1.3
    return ((centres[target] + rng.normal(size=(n, 7))) * np.arange(1, 8)).astype(np.float32), target


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("method", REFERENCES)
def test_predictions_equal_scikit_learn(method: str, classes: int, tmp_path: Path) -> None:
    train, target = samples(classes)
    test, truth = samples(classes, 500, seed=1)
    made = train_classifier(train, target, method, space="value", trees=20)
    classifier = Classifier.load(made.save(tmp_path / "classifier.safetensors"))
    found, confidence = classifier.predict(test)
    centre, scale = made.arrays["centre"], made.arrays["scale"]
    reference = REFERENCES[method].fit((train - centre) / scale, target)
    expected = reference.predict((test - centre) / scale)
    assert ((found - 1) == expected).mean() >= (1.0 if method in TREES else 0.998)  # float32 at the boundary of two classes
    assert ((found - 1) == truth).mean() > 0.5
    assert ((confidence >= 0) & (confidence <= 1 + 1e-6)).all()
    if method in ("cart", "random_forest", "extra_trees", "gradient_boost", "naive_bayes"):
        assert np.allclose(confidence, reference.predict_proba((test - centre) / scale).max(axis=1), atol=1e-4)


@pytest.mark.parametrize("method", ["random_forest", "naive_bayes", "minimum_distance", "gradient_boost"])
def test_images_are_classified_the_same_in_any_tiling(method: str) -> None:
    train, target = samples(3)
    classifier = train_classifier(train, target, method, space="value", trees=5)
    values = samples(3, 70 * 60, seed=2)[0].T.reshape(7, 70, 60)
    valid = np.random.default_rng(3).random((7, 70, 60)) > 0.02
    image = esd.from_array(values, grid(70, 60), [f"b{i}" for i in range(7)], valid=valid[None])
    whole = image.classify(classifier).compute()
    assert np.array_equal(whole.valid[0, 0], valid.all(axis=0))
    expected = classifier.predict(values.reshape(7, -1).T)[0].reshape(70, 60)
    assert np.array_equal(whole.values[0, 0][whole.valid[0, 0]], expected[whole.valid[0, 0]])
    for tile in (32, 47):
        again = image.classify(classifier).compute(tile=tile)
        assert again.values.tobytes() == whole.values.tobytes()


@pytest.mark.parametrize("method", ["kmeans", "gmm"])
def test_clusters_equal_scikit_learn_and_are_numbered_by_size(method: str) -> None:
    features, _target = samples(4, 600)
    clusterer = train_clusterer(features, 4, method, space="value")
    found = clusterer.predict(features)[0]
    sizes = np.bincount(found)[1:]
    assert (np.diff(sizes) <= 0).all()
    standard = (features - clusterer.arrays["centre"]) / clusterer.arrays["scale"]
    if method == "kmeans":
        expected = KMeans(4, n_init=10, random_state=0).fit_predict(standard)
    else:
        expected = GaussianMixture(4, covariance_type="diag", random_state=0, max_iter=500).fit_predict(
            standard.astype(float)
        )
    assert adjusted_rand_score(found, expected) > 0.99
    assert train_clusterer(features, 4, method, space="value").to_bytes() == clusterer.to_bytes()
    assert clusterer.legend[1] == "cluster 1"


def test_what_cannot_be_clustered_is_refused() -> None:
    features, target = samples(2, 20)
    for call, error, reason in (
        (lambda: train_clusterer(features, 1, space="value"), TableError, "1 clusters"),
        (lambda: train_clusterer(features, 21, space="value"), TableError, "21 clusters of 20"),
        (lambda: train_clusterer(features * np.nan, 2, space="value"), TableError, "finite"),
        (lambda: train_clusterer(features, 2, "som", space="value"), ExpressionError, "som"),
        (lambda: train_clusterer(features, 2), EncoderError, "codec"),
        (lambda: train_classifier(features, target, "cart", space="value", trees=0), ExpressionError, "trees=0"),
    ):
        with pytest.raises(error, match=reason):
            call()


RULES = """
1) root 9999 9999 9999
  2) nir< 0.25 9999 9999 water *
  3) nir>=0.25 9999 9999 9999
    6) red>0.125 120 20 soil (0.1 0.9)
      12) nir<=5e-1 60 10 soil *
      13) nir>0.5 60 10 town *
    7) red<=0.125 9999 9999 forest *
"""


def test_a_tree_from_text_decides_as_it_is_written() -> None:
    values = np.random.default_rng(0).choice([0.1, 0.125, 0.13, 0.25, 0.3, 0.5, 0.6], (2, 30, 31)).astype(np.float32)
    image = esd.from_array(values, grid(30, 31), ("red", "nir"))
    classifier = decision_tree(RULES, ("red", "nir"))
    found = image.classify(classifier).compute().values[0, 0]
    red, nir = values
    land = np.where(red > 0.125, np.where(nir <= 0.5, "soil", "town"), "forest")
    expected = np.where(nir < 0.25, "water", land)
    assert classifier.legend == {1: "forest", 2: "soil", 3: "town", 4: "water"}
    assert np.array_equal(np.array(["", *classifier.classes])[found], expected)
    for text, reason in (
        ("1) root 9 9 9\n2) nir<1 9 9 a *", "no child 3"),
        ("1) root 9 9 9\n2) blue<1 9 9 a *\n3) blue>=1 9 9 b *", "no feature 'blue'"),
        ("if nir > 3", "is no node"),
        ("2) nir<1 9 9 a *", "no node 1"),
        ("1) root 9 9 a *", "one class"),
    ):
        with pytest.raises(ExpressionError, match=reason):
            decision_tree(text, ("red", "nir"))
