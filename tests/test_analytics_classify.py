"""Classifiers against scikit-learn and NumPy, their files, and the operators that apply them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from random_codecs import random_codec
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from esd.analytics.classify import METHODS, Classifier, train_classifier
from esd.codec import Codec
from esd.cube import Cube
from esd.errors import EncoderError, ExpressionError, TableError


def clusters(n: int, dims: int = 72, seed: int = 0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Samples [n, dims] around three centres, and their labels."""
    centres = np.random.default_rng(99).normal(size=(3, dims))
    rng = np.random.default_rng(seed)
    which = rng.integers(0, 3, n)
    return centres[which] + rng.normal(size=(n, dims)) * spread, np.array(["water", "forest", "crop"])[which]


def standard(features: np.ndarray, like: np.ndarray) -> np.ndarray:
    return (features - like.mean(0)) / like.std(0)


def names_of(classifier: Classifier, features: np.ndarray) -> np.ndarray:
    return np.array([classifier.legend[value] for value in classifier.predict(features)[0]])


@pytest.mark.parametrize("method", METHODS)
def test_separable_classes_are_told_apart(method: str, codec: Codec) -> None:
    train, labels = clusters(90)
    test, truth = clusters(3000, seed=1)
    classifier = train_classifier(train, labels, method, codec=codec)
    assert classifier.legend == {1: "crop", 2: "forest", 3: "water"}
    least = 0.8 if method in ("cart", "gradient_boost") else 0.99  # a tree sees one feature at a time
    assert (names_of(classifier, test) == truth).mean() > least
    _classes, confidence = classifier.predict(test)
    assert confidence.dtype == np.float32
    assert ((confidence >= 0) & (confidence <= 1)).all()


def test_prototypes_are_means_of_unit_vectors_by_cosine() -> None:
    train, labels = clusters(60, spread=2.0)
    test, _truth = clusters(400, seed=1, spread=2.0)
    classifier = train_classifier(train, labels, "prototype", space="value")
    units = standard(train, train)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    means = np.stack([units[labels == name].mean(0) for name in classifier.classes])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    cosine = standard(test, train) @ means.T / np.linalg.norm(standard(test, train), axis=1, keepdims=True)
    classes, confidence = classifier.predict(test)
    assert np.array_equal(classes - 1, cosine.argmax(1))
    ordered = np.sort(cosine, axis=1)
    assert np.allclose(confidence, (ordered[:, -1] - ordered[:, -2]) / 2, atol=1e-5)


def test_neighbours_are_those_of_scikit_learn() -> None:
    train, labels = clusters(150, dims=20, spread=3.0)
    test, _truth = clusters(500, dims=20, seed=1, spread=3.0)
    classifier = train_classifier(train, labels, "knn", space="value", neighbours=5)
    reference = KNeighborsClassifier(5, metric="cosine").fit(standard(train, train), labels)
    shares = reference.predict_proba(standard(test, train))
    classes, confidence = classifier.predict(test)
    assert np.allclose(confidence, shares.max(1), atol=1e-6)
    clear = (shares == shares.max(1, keepdims=True)).sum(1) == 1
    assert clear.mean() > 0.7
    assert np.array_equal((classes - 1)[clear], shares.argmax(1)[clear])


def test_equal_votes_go_to_the_class_of_the_nearest_sample() -> None:
    train = np.array([[1.0, 0.0], [0.0, 1.0]])
    classifier = train_classifier(train, ["a", "b"], "knn", space="value", neighbours=2)
    classes, confidence = classifier.predict(np.array([[0.9, 0.1], [0.1, 0.9]]))
    assert list(classes) == [1, 2]
    assert list(confidence) == [0.5, 0.5]


def test_one_neighbour_knows_its_own_training_samples() -> None:
    train, labels = clusters(200, spread=10.0)
    classifier = train_classifier(train, labels, "knn", space="value", neighbours=1)
    assert np.array_equal(names_of(classifier, train), labels)


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_regression_is_that_of_scikit_learn(classes: int) -> None:
    train, labels = clusters(120, dims=20, spread=3.0)
    test, _truth = clusters(300, dims=20, seed=1, spread=3.0)
    kept = labels != "water" if classes == 2 else np.ones(len(labels), dtype=bool)
    train, labels = train[kept], labels[kept]
    classifier = train_classifier(train, labels, "logistic", space="value")
    reference = LogisticRegression(C=0.1, class_weight="balanced", max_iter=5000).fit(standard(train, train), labels)
    shares = reference.predict_proba(standard(test, train))
    found, confidence = classifier.predict(test)
    assert np.allclose(confidence, shares.max(1), atol=1e-3)
    clear = np.abs(np.diff(np.sort(shares, axis=1)[:, -2:], axis=1)[:, 0]) > 1e-3
    assert np.array_equal((found - 1)[clear], shares.argmax(1)[clear])


def test_a_file_gives_the_same_classifier_back(tmp_path: Path, codec: Codec) -> None:
    train, labels = clusters(60)
    for method in METHODS:
        classifier = train_classifier(train, labels, method, codec=codec)
        loaded = Classifier.load(classifier.save(tmp_path / f"{method}.safetensors"))
        assert loaded.token == classifier.token
        assert loaded.legend == classifier.legend
        assert (loaded.encoder, loaded.encoder_id) == (codec.sha256, codec.id)
        for one, other in zip(loaded.predict(train), classifier.predict(train), strict=True):
            assert np.array_equal(one, other)
        assert train_classifier(train, labels, method, codec=codec).to_bytes() == classifier.to_bytes()
    assert len(list(tmp_path.iterdir())) == len(METHODS)


def test_files_that_are_no_classifier(tmp_path: Path, codec: Codec) -> None:
    with pytest.raises(TableError, match="not there"):
        Classifier.load(tmp_path / "none.safetensors")
    for name, data in (("text", b"hello world, this is no classifier"), ("codec", codec.data)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(TableError, match=f"{name} is not a classifier file"):
            Classifier.load(tmp_path / name)


@pytest.fixture(scope="module")
def trained(cube: Cube) -> Classifier:
    rng = np.random.default_rng(0)
    values = cube.image(2004).embedding().compute()
    whole = values.valid[0, 0]
    features = values.values[:, :, whole].reshape(72, -1).T[:500]
    return train_classifier(features, rng.integers(0, 4, 500), "logistic", codec=cube.codec)


def test_the_operator_classifies_every_valid_pixel(cube: Cube, trained: Classifier) -> None:
    raster = cube.image(2004).classify(trained).compute()
    values = cube.image(2004).embedding().compute()
    whole = values.valid[0, 0]
    expected, confidence = trained.predict(values.values[:, :, whole].reshape(72, -1).T)
    assert raster.values.dtype == np.uint8
    assert np.array_equal(raster.valid[0, 0], whole)
    assert np.array_equal(raster.values[0, 0][whole], expected)
    assert not raster.values[0, 0][~whole].any()
    sure = cube.image(2004).classify_confidence(trained).compute()
    assert np.array_equal(sure.values[0, 0][whole], confidence)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tile", [64, 97])
def test_classes_do_not_depend_on_tiles(cube: Cube, trained: Classifier, method: str, tile: int) -> None:
    train, labels = clusters(40)
    classifier = trained if method == "logistic" else train_classifier(train, labels, method, codec=cube.codec)
    for name in ("classify", "classify_confidence"):
        image = getattr(cube.image(2005), name)(classifier)
        assert np.array_equal(image.compute().values, image.compute(tile=tile).values)


def test_reflectance_and_computed_images_are_features_too(cube: Cube) -> None:
    rng = np.random.default_rng(0)
    raw = train_classifier(rng.random((30, 216)), ["a", "b", "c"] * 10, "prototype", space="reflectance")
    assert cube.image(2004).classify(raw).compute().valid.any()
    indices = cube.image(2004).ndvi().median()
    one = train_classifier(rng.random((20, 1)), ["a", "b"] * 10, "logistic", space="value")
    raster = indices.classify(one).compute()
    assert set(np.unique(raster.values[raster.valid])) <= {1, 2}


def test_what_is_not_finite_has_no_class() -> None:
    classifier = train_classifier(np.array([[0.0], [1.0]]), ["a", "b"], "logistic", space="value")
    classes, confidence = classifier.predict(np.array([[np.nan], [np.inf], [1.0]]))
    assert list(classes) == [0, 0, 2]
    assert list(confidence[:2]) == [0, 0]


def test_codes_of_another_encoder_are_refused(trained: Classifier, make_cube: Callable[..., Cube]) -> None:
    other = make_cube(random_codec(seed=5, name="other"))
    with pytest.raises(EncoderError, match=r"trained on codes of random .* train it again"):
        other.image(2004).classify(trained)


def test_features_of_another_number_are_refused(cube: Cube, trained: Classifier) -> None:
    with pytest.raises(ExpressionError, match="72 features, the image has 6"):
        cube.image(2004).filter_date("2004-07-01", "2004-08-01").classify(trained)
    with pytest.raises(TableError, match="needs 72 features"):
        trained.predict(np.zeros((3, 5)))
    with pytest.raises(ExpressionError, match="not a Classifier"):
        cube.image(2004).classify("forest")


def test_training_data_that_cannot_be_used(codec: Codec) -> None:
    train, labels = clusters(30)
    broken = train.copy()
    broken[:4, 0] = np.nan
    with pytest.raises(TableError, match="4 of 30 samples have no features"):
        train_classifier(broken, labels, codec=codec)
    with pytest.raises(TableError, match="1 classes"):
        train_classifier(train, ["same"] * 30, codec=codec)
    with pytest.raises(TableError, match="29 labels do not fit"):
        train_classifier(train, labels[:29], codec=codec)
    with pytest.raises(ExpressionError, match="'forest' is not one of prototype, logistic, knn"):
        train_classifier(train, labels, "forest", codec=codec)
    with pytest.raises(ExpressionError, match="feature space 'raw'"):
        train_classifier(train, labels, space="raw")
    with pytest.raises(EncoderError, match=r"codec=cube\.codec"):
        train_classifier(train, labels)
    with pytest.raises(ExpressionError, match="neighbours=0"):
        train_classifier(train, labels, "knn", codec=codec, neighbours=0)
