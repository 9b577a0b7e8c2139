"""Models as ONNX graphs: equal to what they were exported from, in any tiling, through a file, and what is refused."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_graphs import graph_of
from sample_images import grid
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

import esd
from esd.analytics import Classifier, Regressor, classifier_onnx, regressor_onnx
from esd.analytics.onnx_graph import _session
from esd.errors import EncoderError, EsdError, ExpressionError, TableError
from esd.image import Image

RNG = np.random.default_rng(0)
TRAIN = RNG.normal(size=(300, 7)).astype(np.float32)
NAMES = np.array(["field", "forest", "water"])
TARGET = NAMES[(TRAIN[:, 0] > 0) + (TRAIN[:, 1] > 0.3).astype(int)]
MODELS = {
    "forest": RandomForestClassifier(20, random_state=0),
    "logistic": LogisticRegression(),
}


def exported(path: Path, model: Any, **options: Any) -> Path:
    path.write_bytes(to_onnx(model, TRAIN[:1], **options).SerializeToString())
    return path


def write(path: Path, *graph: Any) -> Path:
    path.write_bytes(graph_of(*graph))
    return path


def image(rows: int = 70, columns: int = 60) -> tuple[Image, np.ndarray]:
    values = np.random.default_rng(1).normal(size=(7, rows, columns)).astype(np.float32)
    valid = np.random.default_rng(2).random((7, rows, columns)) > 0.02
    values[3, 5, 7] = np.nan
    valid[:, 5, 7] = True
    return esd.from_array(values, grid(rows, columns), [f"b{i}" for i in range(7)], valid=valid[None]), valid.all(axis=0)


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("name", ["forest", "logistic"])
def test_a_graph_says_what_scikit_learn_says_in_any_tiling(name: str, zipmap: bool, tmp_path: Path) -> None:
    model = MODELS[name].fit(TRAIN, TARGET)
    path = exported(tmp_path / "model.onnx", model, options={"zipmap": zipmap})
    given = classifier_onnx(path, labels=None if zipmap else model.classes_)
    classifier = Classifier.load(given.save(tmp_path / "model.safetensors"))
    assert classifier.token == given.token
    assert list(classifier.classes) == list(model.classes_)
    picture, whole = image()
    whole[5, 7] = False
    rows = picture.compute().values[0].reshape(7, -1).T[whole.ravel()]
    classes, shares = picture.classify(classifier), picture.classify_probabilities(classifier)
    found, made = classes.compute(), shares.compute()
    assert np.array_equal(found.valid[0, 0], whole)
    assert np.array_equal(NAMES[found.values[0, 0][whole] - 1], model.predict(rows))
    assert made.values.dtype == np.float32
    assert np.allclose(made.values[0][:, whole].T, model.predict_proba(rows), atol=2e-6)
    sure = picture.classify_confidence(classifier).compute().values[0, 0]
    assert np.array_equal(sure[whole], made.values[0][:, whole].max(axis=0))
    for tile in (32, 47):
        for lazy, once in ((classes, found), (shares, made)):
            again = lazy.compute(tile=tile)
            assert again.values.tobytes() == once.values.tobytes()
            assert again.valid.tobytes() == once.valid.tobytes()


def test_the_label_of_the_graph_counts_before_the_largest_score(tmp_path: Path) -> None:
    soft = helper.make_node("Softmax", ["x"], ["p"], axis=1)
    least = helper.make_node("ArgMin", ["p"], ["label"], axis=1, keepdims=0)
    outputs = {"label": (TensorProto.INT64, [None]), "p": (TensorProto.FLOAT, [None, 3])}
    path = write(tmp_path / "odd.onnx", [soft, least], [None, 3], outputs)
    classifier = classifier_onnx(path, ["a", "b", "c"], labels=range(3))
    numbers = np.random.default_rng(3).normal(size=(100, 3)).astype(np.float32)
    classes, sure = classifier.predict(numbers)
    shares = classifier.probabilities(numbers)
    assert np.array_equal(classes, numbers.argmin(axis=1) + 1)
    assert np.allclose(sure, shares.min(axis=1))
    assert np.allclose(shares.sum(axis=1), 1)


@pytest.mark.parametrize("rows", [None, 1, 300])
@pytest.mark.parametrize("columns", [1, 3])
def test_logits_of_a_network_of_any_fixed_batch(rows: int | None, columns: int, tmp_path: Path) -> None:
    weights = np.random.default_rng(4).normal(size=(7, columns)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["logits"])]
    outputs = {"logits": (TensorProto.FLOAT, [rows, columns])}
    path = write(tmp_path / "network.onnx", nodes, [rows, 7], outputs, {"w": weights})
    classifier = classifier_onnx(path, scores="logits")
    numbers = TRAIN.astype(np.float64) @ weights
    if columns == 1:
        numbers = np.concatenate([np.zeros_like(numbers), numbers], axis=1)
    shares = np.exp(numbers) / np.exp(numbers).sum(axis=1, keepdims=True)
    assert classifier.classes == tuple(str(i) for i in range(max(columns, 2)))
    assert np.allclose(classifier.probabilities(TRAIN), shares, atol=1e-6)
    assert np.array_equal(classifier.predict(TRAIN)[0], shares.argmax(axis=1) + 1)
    shuffled = np.random.default_rng(5).permutation(300)
    assert classifier.probabilities(TRAIN[shuffled]).tobytes() == classifier.probabilities(TRAIN)[shuffled].tobytes()
    with pytest.raises(TableError, match="scores='logits'"):
        classifier_onnx(path).predict(TRAIN * 100)


def test_labels_alone_have_no_probabilities(tmp_path: Path) -> None:
    nodes = [helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0)]
    path = write(tmp_path / "labels.onnx", nodes, [None, 3], {"label": (TensorProto.INT64, [None])})
    classifier = classifier_onnx(path, labels=range(3), classes=("a", "b", "c"))
    classes, sure = classifier.predict(TRAIN[:, :3])
    assert np.array_equal(classes, TRAIN[:, :3].argmax(axis=1) + 1)
    assert (sure == 1).all()
    with pytest.raises(ExpressionError, match="labels only"):
        classifier.probabilities(TRAIN[:, :3])
    with pytest.raises(TableError, match="label '2', none of 0, 1"):
        classifier_onnx(path, labels=range(2)).predict(TRAIN[:, :3])


def test_a_regression_says_what_scikit_learn_says(tmp_path: Path) -> None:
    model = GradientBoostingRegressor(n_estimators=20, random_state=0).fit(TRAIN, TRAIN[:, 0] * 3 + TRAIN[:, 1])
    given = regressor_onnx(exported(tmp_path / "model.onnx", model))
    regressor = Regressor.load(given.save(tmp_path / "model.safetensors"))
    picture, whole = image()
    whole[5, 7] = False
    found = picture.regress(regressor).compute()
    rows = picture.compute().values[0].reshape(7, -1).T[whole.ravel()]
    assert np.array_equal(found.valid[0, 0], whole)
    assert np.allclose(found.values[0, 0][whole], model.predict(rows), atol=1e-5)
    assert picture.regress(regressor).compute(tile=31).values.tobytes() == found.values.tobytes()


def test_a_classifier_travels_between_processes(tmp_path: Path) -> None:
    classifier = classifier_onnx(exported(tmp_path / "forest.onnx", MODELS["forest"].fit(TRAIN, TARGET)))
    before = classifier.predict(TRAIN)
    again = pickle.loads(pickle.dumps(classifier))  # noqa: S301 - our own
    assert again.token == classifier.token
    assert all(np.array_equal(one, other) for one, other in zip(again.predict(TRAIN), before, strict=True))


def test_what_is_not_finite_is_not_valid(tmp_path: Path) -> None:
    nodes = [helper.make_node("Log", ["x"], ["logits"])]
    path = write(tmp_path / "log.onnx", nodes, [None, 3], {"logits": (TensorProto.FLOAT, [None, 3])})
    classifier = classifier_onnx(path, scores="logits")
    numbers = np.array([[1, 2, 3], [-1, 2, 3], [np.nan, 1, 1], [1, 0, 1]], dtype=np.float32)
    assert classifier.predict(numbers)[0].tolist() == [3, 0, 0, 1]
    assert np.isfinite(classifier.probabilities(numbers)).all(axis=1).tolist() == [True, False, False, True]


def test_what_is_refused_is_told_in_one_line(tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.onnx"
    rubbish.write_bytes(b"rubbish")
    bare = exported(tmp_path / "bare.onnx", MODELS["logistic"].fit(TRAIN, TARGET), options={"zipmap": False})
    forest = exported(tmp_path / "forest.onnx", MODELS["forest"].fit(TRAIN, TARGET))
    nodes = [helper.make_node("Add", ["x", "x"], ["y"])]
    chips = write(tmp_path / "chips.onnx", nodes, [1, 3, 8, 8], {"y": (TensorProto.FLOAT, [1, 3, 8, 8])})
    wide = write(tmp_path / "wide.onnx", nodes, [None, None], {"y": (TensorProto.FLOAT, [None, None])})
    cases: list[tuple[Any, type[EsdError], str]] = [
        (lambda: classifier_onnx(tmp_path / "none.onnx"), TableError, "not there"),
        (lambda: classifier_onnx(rubbish), TableError, "no ONNX graph"),
        (lambda: classifier_onnx(chips), TableError, "2 axes"),
        (lambda: classifier_onnx(bare), TableError, "give labels="),
        (lambda: classifier_onnx(bare, labels=NAMES[:2]), TableError, "2 labels for 3 scores"),
        (lambda: classifier_onnx(forest, ["a", "b"]), TableError, "2 names for 3 classes"),
        (lambda: classifier_onnx(forest, ["a", "b", "b"]), TableError, "each another"),
        (lambda: classifier_onnx(forest, scores="votes"), TableError, "votes"),
        (lambda: classifier_onnx(forest, space="embedding"), EncoderError, "codec"),
        (lambda: classifier_onnx(forest, features=8), TableError, "takes 7 features, not 8"),
        (lambda: classifier_onnx(wide), TableError, "takes any features"),
        (lambda: classifier_onnx(forest).predict(TRAIN[:, :3]), TableError, "7 features"),
        (lambda: regressor_onnx(forest), TableError, "one number"),
        (lambda: image()[0].select("b1", "b2").classify(classifier_onnx(forest)), ExpressionError, "7 features"),
    ]
    for call, error, reason in cases:
        with pytest.raises(error, match=reason) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_without_onnxruntime_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = exported(tmp_path / "forest.onnx", MODELS["forest"].fit(TRAIN, TARGET))
    _session.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExpressionError, match=r"esd-toolkit\[onnx\]"):
        classifier_onnx(path)
