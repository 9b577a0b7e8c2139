"""Regressions equal scikit-learn's; maximum entropy keeps the conditions of its optimum; both after they were in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_images import grid
from sklearn import ensemble, linear_model

import esd
from esd.analytics import Classifier, Regressor, train_classifier, train_maxent, train_regressor
from esd.analytics.maxent import transformed
from esd.errors import EncoderError, EsdError, ExpressionError, TableError

REFERENCES: dict[str, Any] = {
    "linear": linear_model.LinearRegression(),
    "ridge": linear_model.Ridge(2.5),
    "random_forest": ensemble.RandomForestRegressor(20, random_state=1),
    "gradient_boost": ensemble.GradientBoostingRegressor(n_estimators=20, random_state=1),
}


def samples(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=(n, 5)) * np.arange(1, 6) + 3).astype(np.float32)
    return features, features[:, 0] - 0.1 * features[:, 1] ** 2 + rng.normal(size=n)


@pytest.mark.parametrize("method", REFERENCES)
def test_predictions_equal_scikit_learn_in_any_tiling(method: str, tmp_path: Path) -> None:
    features, target = samples(200)
    made = train_regressor(features, target, method, space="value", penalty=2.5, trees=20, seed=1)
    regressor = Regressor.load(made.save(tmp_path / "regressor.safetensors"))
    assert regressor.token == made.token
    test, _truth = samples(60 * 70, seed=1)
    centre, scale = made.arrays["centre"], made.arrays["scale"]
    reference = REFERENCES[method].fit((features - centre) / scale, target)
    expected = reference.predict((test - centre) / scale)
    assert np.allclose(regressor.predict(test), expected, rtol=1e-5, atol=1e-5)
    values = test.T.reshape(5, 60, 70)
    valid = np.random.default_rng(3).random(values.shape) > 0.02
    image = esd.from_array(values, grid(60, 70), list("abcde"), valid=valid[None]).regress(regressor)
    whole = image.compute()
    assert whole.values.dtype == np.float64
    assert np.array_equal(whole.valid[0, 0], valid.all(axis=0))
    seen = whole.valid[0, 0]
    assert np.allclose(whole.values[0, 0][seen], expected.reshape(60, 70)[seen], rtol=1e-5, atol=1e-5)
    for tile in (32, 47):
        assert image.compute(tile=tile).values.tobytes() == whole.values.tobytes()


def test_what_is_not_finite_has_no_number() -> None:
    features, target = samples(50)
    regressor = train_regressor(features, target, "linear", space="value")
    features[3, 1] = np.nan
    assert np.flatnonzero(np.isnan(regressor.predict(features))).tolist() == [3]


def species(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Background over a square, and places found by a suitability with one optimum."""
    rng = np.random.default_rng(seed)
    background = rng.uniform(-2, 3, (4000, 3))
    chance = np.exp(-((background[:, 0] - 1) ** 2) * 2 + 0.5 * background[:, 1])
    return background[rng.choice(len(background), n, p=chance / chance.sum())], background


@pytest.mark.parametrize("transforms", [("linear",), ("linear", "quadratic"), ("linear", "quadratic", "product", "hinge")])
def test_maximum_entropy_keeps_its_constraints(transforms: tuple[str, ...], tmp_path: Path) -> None:
    """Dudik et al. (2007): the means of the found distribution lie within the penalties, at them where a weight is not 0."""
    presence, background = species(200, 2)
    made = train_maxent(presence, background, transforms=transforms)
    model = Regressor.load(made.save(tmp_path / "maxent.safetensors"))
    around, weights = transformed(background, model.arrays), model.arrays["weights"]
    shares = np.exp(around @ weights)
    shares /= shares.sum()
    apart = shares @ around - transformed(presence, model.arrays).mean(axis=0)
    penalty = model.arrays["penalty"]
    assert (np.abs(apart) <= penalty + 1e-4).all()
    active = np.abs(weights) > 1e-3
    assert active.any()
    assert np.allclose(apart[active], -np.sign(weights[active]) * penalty[active], atol=1e-4)
    suitable = model.predict(background)
    entropy = -(shares * np.log(shares)).sum()
    assert np.allclose(suitable, 1 - np.exp(-np.exp(entropy) * shares), atol=1e-9)
    assert ((suitable >= 0) & (suitable <= 1)).all()
    assert model.predict(presence).mean() > suitable.mean() + 0.1
    outside = background.copy()
    outside[:, 2] = np.where(outside[:, 2] > 0.5, background[:, 2].max(), background[:, 2].min())
    beyond = outside + [0, 0, 100] * np.sign(outside[:, 2] - 0.5)[:, None]
    assert np.allclose(model.predict(outside), model.predict(beyond))
    assert train_maxent(presence, background, transforms=transforms).to_bytes() == made.to_bytes()


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    features, target = samples(20)
    value = {"space": "value"}
    classifier = train_classifier(features, np.arange(20) % 2, "cart", space="value")
    classifier.save(tmp_path / "c")
    image = esd.from_array(np.zeros((4, 3, 3)), grid(3, 3))
    calls: list[tuple[Any, type[EsdError], str]] = [
        (lambda: train_regressor(features, target), EncoderError, "codec"),
        (lambda: train_regressor(features, target, "lasso", **value), ExpressionError, "'lasso'"),
        (lambda: train_regressor(features, target[:3], **value), TableError, "20 finite numbers"),
        (lambda: train_regressor(features * np.nan, target, **value), TableError, "finite"),
        (lambda: train_maxent(features, features[:, :2]), TableError, "the same ones"),
        (lambda: train_maxent(features, features, transforms=("cubic",)), ExpressionError, "cubic"),
        (lambda: Regressor.load(tmp_path / "c"), TableError, "not a regressor file"),
        (lambda: Classifier.load(tmp_path / "none"), TableError, "not there"),
        (lambda: image.regress(train_regressor(features, target, **value)).type, ExpressionError, "5 features, the image"),
        (lambda: image.regress(classifier).type, ExpressionError, "not a Regressor"),
    ]
    for call, error, reason in calls:
        with pytest.raises(error, match=reason) as caught:
            call()
        assert "\n" not in str(caught.value)
