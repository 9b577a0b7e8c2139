"""Cross-validation equals scikit-learn's, keeps blocks of land apart, and counts what it drops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from test_classifiers import samples

from esd.analytics import cross_validate, spatial_blocks
from esd.errors import ExpressionError, TableError


def test_predictions_equal_scikit_learn() -> None:
    features, target = samples(3)
    found = cross_validate(features, target, "naive_bayes", 5, space="value", seed=4)
    folds = StratifiedKFold(5, shuffle=True, random_state=4)
    expected = cross_val_predict(GaussianNB(), features.astype(float), target, cv=folds)
    assert (found.predicted.astype(int) == expected).mean() > 0.99  # float32 at the boundary of two classes
    assert found.matrix.counts.sum() == len(target)
    assert found.matrix.accuracy == pytest.approx((found.predicted.astype(int) == target).mean())
    sizes = np.bincount(found.fold)
    assert found.accuracy @ sizes / sizes.sum() == pytest.approx(found.matrix.accuracy)
    again = cross_validate(features, target, "naive_bayes", 5, space="value", seed=4)
    assert again.predicted.tolist() == found.predicted.tolist()


def test_blocks_are_never_on_both_sides_and_show_what_neighbours_hide() -> None:
    """Features that tell the place and not the class: good by samples, no better than chance by blocks."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 100, (2, 1200))
    blocks = spatial_blocks(x, y, 10.0)
    assert len(np.unique(blocks)) == 100
    assert blocks.max() == 99
    corners = np.stack([np.floor(x / 10), np.floor(y / 10)], axis=1)
    assert all(len(np.unique(corners[blocks == block], axis=0)) == 1 for block in range(100))
    target = rng.integers(0, 2, 100)[blocks]
    features = np.stack([x, y], axis=1)
    apart = cross_validate(features, target, "cart", 5, blocks=blocks, space="value")
    for block in range(100):
        assert len(np.unique(apart.fold[blocks == block])) == 1
    together = cross_validate(features, target, "cart", 5, space="value")
    assert together.matrix.accuracy > 0.9
    assert apart.matrix.accuracy < 0.7
    names = np.array([f"block {block}" for block in blocks])
    assert cross_validate(features, target, "cart", 5, blocks=names, space="value").matrix.accuracy < 0.7


def test_what_is_missing_is_dropped_and_counted() -> None:
    features, target = samples(2, 100)
    labels = target.astype(object)
    labels[3] = None
    features[5, 2] = np.nan
    blocks = np.arange(100.0) // 5
    blocks[50] = np.nan
    found = cross_validate(features, labels, "minimum_distance", 4, blocks=blocks, space="value")
    assert np.flatnonzero(found.fold == -1).tolist() == [3, 5, 50]
    assert found.matrix.dropped == 3
    assert found.matrix.counts.sum() == 97


def test_what_cannot_be_validated_is_refused() -> None:
    features, target = samples(2, 40)
    for arguments, options, error, reason in (
        ((features, target[:3]), {}, TableError, "3 labels"),
        ((features, target), {"blocks": [1, 2]}, TableError, r"blocks \(2,\)"),
        ((features, target), {"blocks": target}, TableError, "1 blocks"),
        ((features, np.zeros(40)), {}, TableError, "two classes"),
        ((features, target, "cart", 100), {}, TableError, "100 folds"),
        ((features, target, "wrong"), {}, ExpressionError, "'wrong'"),
    ):
        with pytest.raises(error, match=reason) as caught:
            cross_validate(*arguments, space="value", **options)  # type: ignore[arg-type]  # of mixed kinds
        assert "\n" not in str(caught.value)
    with pytest.raises(TableError, match="size=0"):
        spatial_blocks([1.0], [2.0], 0.0)
