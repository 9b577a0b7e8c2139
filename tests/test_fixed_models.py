"""Trees and polygons that are written down, what models tell of themselves, and models of tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shapely
from matplotlib.path import Path as Outline
from sample_images import grid
from sklearn.tree import DecisionTreeClassifier
from test_classifiers import RULES, samples

import esd
from esd.analytics import (
    Classifier,
    classify_features,
    decision_tree,
    decision_tree_ensemble,
    explain,
    permutation_importance,
    train_classifier,
    train_regressor,
)
from esd.errors import EsdError, ExpressionError, TableError

STUMP = "1) root 9 9 9\n2) red<0.3 9 9 water *\n3) red>=0.3 9 9 town *"


def test_trees_vote(tmp_path: Path) -> None:
    values = np.random.default_rng(0).choice([0.1, 0.125, 0.13, 0.25, 0.3, 0.5, 0.6], (500, 2)).astype(np.float32)
    trees = [RULES, STUMP, STUMP.replace("0.3", "0.2")]
    made = decision_tree_ensemble(trees, ("red", "nir"))
    together = Classifier.load(made.save(tmp_path / "trees"))
    found, confidence = together.predict(values)
    each = [decision_tree(text, ("red", "nir")) for text in trees]
    votes = np.zeros((len(values), len(together.classes)))
    for tree in each:
        names = np.array(tree.classes)[tree.predict(values)[0] - 1]
        votes += names[:, None] == np.array(together.classes)
    assert np.array_equal(found, votes.argmax(axis=1) + 1)
    assert np.allclose(confidence, votes.max(axis=1) / 3)
    assert (votes.max(axis=1) == 2).any()
    for texts, reason in (([], "give at least two"), ([STUMP, "what"], "is no node")):
        with pytest.raises(ExpressionError, match=reason):
            decision_tree_ensemble(texts, ("red", "nir"))


POLYGONS = {
    "concave": (0.1, 0.1, 0.8, 0.2, 0.45, 0.5, 0.9, 0.9, 0.2, 0.8),
    "turned": (0.2, 0.8, 0.9, 0.9, 0.45, 0.5, 0.8, 0.2, 0.1, 0.1),
    "three corners": (0.0, 0.0, 1.0, 0.0, 0.0, 1.0),
}


@pytest.mark.parametrize("name", POLYGONS)
def test_a_spectral_region_is_a_polygon(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    values, valid = rng.random((3, 2, 40, 50)).astype(np.float32), rng.random((3, 2, 40, 50)) > 0.1
    image = esd.from_array(values, grid(40, 50), ("red", "nir"), ("2001", "2002", "2003"), valid)
    corners = np.reshape(POLYGONS[name], (-1, 2))
    flat = values.transpose(0, 2, 3, 1).reshape(-1, 2).astype(float)
    expected = shapely.contains_xy(shapely.Polygon(corners), flat).reshape(3, 40, 50)
    assert np.array_equal(expected.ravel(), Outline(corners).contains_points(flat))
    found = image.spectral_region(POLYGONS[name])
    for tier in ("interpreted", "compiled"):
        monkeypatch.setenv("ESD_TIER", tier)
        for tile in (1000, 13, 8):
            raster = found.compute(tile=tile)
            assert np.array_equal(raster.valid[:, 0], valid.all(axis=1))
            assert np.array_equal(raster.values[:, 0], expected & valid.all(axis=1))


def test_sides_belong_to_one_region_only() -> None:
    """Two squares side by side share no pixel and leave none out."""
    values = np.stack(np.meshgrid(np.arange(0, 2.01, 0.25), np.arange(0, 1.01, 0.25)))
    image = esd.from_array(values, grid(5, 9), ("x", "y"))
    one, other = ((0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0), (1.0, 0.0, 2.0, 0.0, 2.0, 1.0, 1.0, 1.0))
    parts = [image.spectral_region(part).compute().values[0, 0] for part in (one, other)]
    assert np.array_equal(parts[0].astype(int) + parts[1], (values[0] < 2) & (values[1] < 1))
    odd = np.array([[[np.nan, np.inf, 0.5]], [[0.5, 0.5, -np.inf]]])
    assert not esd.from_array(odd, grid(1, 3)).spectral_region(one).compute().values.any()


def test_models_tell_what_they_are(tmp_path: Path) -> None:
    features, target = samples(3)
    names = list("abcdefg")
    made = train_classifier(features, target, "cart", space="value")
    told = explain(Classifier.load(made.save(tmp_path / "cart")), names)
    standard = (features - made.arrays["centre"]) / made.arrays["scale"]
    reference = DecisionTreeClassifier(random_state=0).fit(standard, target)
    assert list(told["importance"]) == names
    assert np.allclose(list(told["importance"].values()), reference.feature_importances_)
    assert told["trees"] == {
        "number": 1,
        "nodes": reference.tree_.node_count,
        "leaves": reference.get_n_leaves(),
        "depth": reference.get_depth(),
    }
    assert told["classes"] == ["0", "1", "2"]
    assert told["bytes"] == (tmp_path / "cart").stat().st_size
    assert explain(train_classifier(features, target, "knn", space="value"))["importance"] is None
    linear = train_regressor(features, 3 * standard[:, 2] + standard[:, 4], "linear", space="value")
    assert np.allclose(list(explain(linear)["importance"].values()), [0, 0, 0.75, 0, 0.25, 0, 0], atol=1e-4)


def test_what_a_model_does_not_use_has_no_importance() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(2000, 4))
    labels = np.where(features[:, 1] > 0, "high", "low")
    tree = train_classifier(features[:1000], labels[:1000], "cart", space="value")
    found = permutation_importance(tree, features[1000:], labels[1000:], list("abcd"))
    assert found["b"] == pytest.approx(0.5, abs=0.05)
    assert [found[name] for name in "acd"] == pytest.approx([0, 0, 0], abs=0.01)
    line = train_regressor(features, 2 * features[:, 3] + features[:, 0], "linear", space="value")
    loss = permutation_importance(line, features, 2 * features[:, 3] + features[:, 0], list("abcd"), repeats=20)
    assert loss["d"] == pytest.approx(2 * 4 / 5, abs=0.1)
    assert loss["a"] == pytest.approx(2 * 1 / 5, abs=0.05)
    assert loss["b"] == pytest.approx(0, abs=1e-6)


def test_features_are_classified_by_their_properties() -> None:
    features, target = samples(3, 40)
    model = train_classifier(features, np.array(["x", "y", "z"])[target], "naive_bayes", space="value")
    names = [f"p{i}" for i in range(7)]
    table = pd.DataFrame(features, columns=names).astype("Float64")
    table.loc[3, "p2"] = pd.NA
    frame = esd.features(shapely.points(np.arange(40.0), 0.0), "EPSG:4326").compute().join(table)
    found = classify_features(esd.features(frame), model, names).filter("p0 > -1000").compute()
    expected = [model.legend[value] for value in model.classify(features)]
    assert found["class"].isna().tolist() == [i == 3 for i in range(40)]
    assert found["class"].drop(3).tolist() == expected[:3] + expected[4:]
    line = train_regressor(features, features[:, 0], "linear", space="value")
    numbers = classify_features(esd.features(frame), line, names, "number").compute()["number"]
    assert np.allclose(numbers.drop(3).to_numpy(float), np.delete(features[:, 0], 3), atol=1e-4)


def test_what_does_not_fit_is_refused() -> None:
    features, target = samples(2, 30)
    model = train_classifier(features, target, "cart", space="value")
    image = esd.from_array(np.zeros((2, 3, 3)), grid(3, 3), ("a", "b"))
    points = esd.features(shapely.points(np.arange(3.0), 0.0), "EPSG:4326")
    calls: list[tuple[Any, type[EsdError], str]] = [
        (lambda: image["a"].spectral_region((0.0, 0.0, 1.0, 0.0, 0.0, 1.0)).type, ExpressionError, "two bands"),
        (lambda: image.spectral_region((0.0, 0.0, 1.0, 0.0)).type, ExpressionError, "4 coordinates"),
        (lambda: explain(model, ["a"]), TableError, "1 names for 7"),
        (lambda: permutation_importance(model, features, target[:3]), TableError, "3 labels"),
        (lambda: classify_features(points, model, ["a"]), TableError, "1 columns"),
        (lambda: classify_features(points, model, list("abcdefg")).compute(), TableError, "no property of numbers"),
    ]
    for call, error, reason in calls:
        with pytest.raises(error, match=reason) as caught:
            call()
        assert "\n" not in str(caught.value)
