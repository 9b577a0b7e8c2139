"""Probabilities of classes equal scikit-learn's; models of embeddings see codes as what they stand for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sample_images import grid
from sklearn import ensemble, linear_model, naive_bayes, neighbors, neural_network
from test_classifiers import samples

import esd
from esd.analytics import METHODS, train_classifier, train_regressor
from esd.analytics.scores import unit_vectors
from esd.codec import Codec
from esd.cube import Cube
from esd.errors import ExpressionError, SpaceError

NONE = ("prototype", "minimum_distance", "svm")
REFERENCES = {
    "logistic": linear_model.LogisticRegression(C=0.1, class_weight="balanced", max_iter=5000),
    "naive_bayes": naive_bayes.GaussianNB(),
    "random_forest": ensemble.RandomForestClassifier(20, random_state=0),
    "gradient_boost": ensemble.GradientBoostingClassifier(n_estimators=20, random_state=0),
    "knn": neighbors.KNeighborsClassifier(5),
    "mlp": neural_network.MLPClassifier((64,), solver="lbfgs", max_iter=5000, random_state=0),
}


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("method", [method for method in METHODS if method not in NONE])
def test_probabilities_equal_scikit_learn(method: str, classes: int) -> None:
    features, target = samples(classes)
    test = samples(classes, 40 * 50, seed=1)[0]
    model = train_classifier(features, target, method, space="value", trees=20)
    found = model.probabilities(test)
    assert np.allclose(found.sum(axis=1), 1)
    chosen, confidence = model.predict(test)
    assert np.allclose(found.max(axis=1), confidence, atol=1e-6)
    ties = (np.sort(found, axis=1)[:, -1] - np.sort(found, axis=1)[:, -2]) < 1e-6
    assert (found.argmax(axis=1) == chosen - 1)[~ties].all()
    if method in REFERENCES:
        centre, scale = model.arrays["centre"], model.arrays["scale"]
        train, other = (((part - centre) / scale).astype(np.float32) for part in (features, test))
        if method == "knn":
            train, other = unit_vectors(train), unit_vectors(other)
        expected = REFERENCES[method].fit(train, target).predict_proba(other)
        assert (np.abs(found - expected).max(axis=1) < 1e-3).mean() > 0.995
    values = test.T.reshape(7, 40, 50)
    valid = np.random.default_rng(3).random(values.shape) > 0.02
    image = esd.from_array(values, grid(40, 50), list("abcdefg"), valid=valid[None]).classify_probabilities(model)
    whole = image.compute()
    assert whole.type.bands == model.classes
    assert np.array_equal(whole.valid[0], np.broadcast_to(valid.all(axis=0), whole.valid[0].shape))
    assert np.array_equal(whole.values[0], np.where(valid.all(axis=0), found.T.reshape(-1, 40, 50), 0).astype(np.float32))
    for tile in (16, 23):
        assert image.compute(tile=tile).values.tobytes() == whole.values.tobytes()


@pytest.mark.parametrize("method", NONE)
def test_some_methods_have_no_probabilities(method: str) -> None:
    features, target = samples(2, 40)
    model = train_classifier(features, target, method, space="value")
    image = esd.from_array(np.zeros((7, 3, 3)), grid(3, 3), list("abcdefg"))
    with pytest.raises(ExpressionError, match=f"{method} has no probabilities; train one of logistic"):
        image.classify_probabilities(model)


def test_models_see_codes_as_embeddings(make_cube: Callable[..., Cube], codec: Codec) -> None:
    """Codes are turned into embeddings by themselves, whatever the model, and give the same bytes."""
    codes = make_cube(codec).image(2004)
    vectors = codes.embedding()
    raster = vectors.compute()
    number = raster.values.shape[0] * raster.values.shape[1]
    whole = raster.valid.all(axis=(0, 1))
    features = raster.values.reshape(number, *whole.shape)[:, whole].T[:120]
    target = np.arange(len(features)) % 3
    classifiers = [train_classifier(features, target, method, codec=codec, trees=5) for method in ("svm", "mlp", "cart")]
    regressor = train_regressor(features, features[:, 0] * 2, codec=codec)
    pairs = [(codes.classify(model), vectors.classify(model)) for model in classifiers]
    pairs += [(codes.classify_probabilities(classifiers[1]), vectors.classify_probabilities(classifiers[1]))]
    pairs += [(codes.regress(regressor), vectors.regress(regressor))]
    for one, other in pairs:
        assert one.type == other.type
        first, second = one.compute(), other.compute()
        assert first.valid.any()
        assert first.values.tobytes() == second.values.tobytes()
        assert first.valid.tobytes() == second.valid.tobytes()
    median = vectors.geometric_median()
    assert (median.type.space, median.type.bands, median.type.encoder) == (
        vectors.type.space,
        vectors.type.bands,
        codec.sha256,
    )
    assert median.cosine_similarity(tuple(np.ones(number // len(vectors.type.time)))).compute().valid.any()
    with pytest.raises(SpaceError, match="codes are labels"):
        codes.geometric_median()
