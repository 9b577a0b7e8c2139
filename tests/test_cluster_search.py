"""Clusterings that search find the groups that there are, number them by size, and are the same in every run."""

from __future__ import annotations

import numpy as np
import pytest
from sample_images import grid
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, calinski_harabasz_score

import esd
from esd.analytics import Classifier, train_clusterer
from esd.analytics.cluster_search import SEARCHES
from esd.errors import TableError


def groups(number: int, n: int = 600, side: float = 30.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Groups of unequal size and one spread, whose centres lie far from each other in a cube, along all of its sides."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, side, (300, 3))
    centres = places[[int(places.sum(axis=1).argmin())]]
    while len(centres) < number:
        apart = np.linalg.norm(places[:, None] - centres[None], axis=2).min(axis=1)
        centres = np.concatenate([centres, places[[int(apart.argmax())]]])
    which = rng.choice(number, n, p=np.arange(2, number + 2) / np.arange(2, number + 2).sum())
    return (centres[which] + rng.normal(size=(n, 3))).astype(np.float32), which


@pytest.mark.parametrize("number", [2, 3, 5, 7])
@pytest.mark.parametrize("method", ["xmeans", "cascade_kmeans", "isodata"])
def test_the_number_of_groups_is_found(method: str, number: int) -> None:
    features, truth = groups(number)
    clusterer = train_clusterer(features, 12, method, space="value")
    found = clusterer.classify(features)
    least = 1.0 if method != "isodata" else 0.9  # which merges and splits by fixed widths
    assert adjusted_rand_score(truth, found) >= least
    assert method == "isodata" or len(clusterer.classes) == number
    assert (np.diff(np.bincount(found)[1:]) <= 0).all()
    assert 2 <= len(clusterer.classes) <= 12


@pytest.mark.parametrize("method", SEARCHES)
def test_every_run_is_the_same_and_a_file_keeps_it(method: str, tmp_path: object) -> None:
    features, _truth = groups(4, 300, side=8.0)
    made = train_clusterer(features, 6, method, space="value", seed=5)
    assert train_clusterer(features, 6, method, space="value", seed=5).to_bytes() == made.to_bytes()
    path = made.save(f"{tmp_path}/clusters.safetensors")
    assert np.array_equal(Classifier.load(path).classify(features), made.classify(features))
    values = features.T.reshape(3, 15, 20)
    image = esd.from_array(values, grid(15, 20), ("a", "b", "c")).classify(made)
    assert np.array_equal(image.compute(tile=8).values[0, 0].ravel(), made.classify(features))


def test_the_cascade_takes_the_best_ratio_of_all() -> None:
    features, _truth = groups(6, 300, side=8.0, seed=3)
    made = train_clusterer(features, 9, "cascade_kmeans", space="value", fewest=3)
    standard = ((features - made.arrays["centre"]) / made.arrays["scale"]).astype(np.float64)
    scores = {
        k: calinski_harabasz_score(standard, KMeans(k, n_init=10, random_state=0).fit_predict(standard))
        for k in range(3, 10)
    }
    assert len(made.classes) == max(scores, key=lambda k: scores[k])


def test_one_group_is_not_split_further() -> None:
    features = np.random.default_rng(1).normal(size=(500, 3)).astype(np.float32)
    assert len(train_clusterer(features, 8, "xmeans", space="value").classes) == 2


def test_quantization_is_near_to_k_means() -> None:
    features, truth = groups(5)
    found = train_clusterer(features, 5, "lvq", space="value")
    assert adjusted_rand_score(truth, found.classify(features)) == 1
    best = train_clusterer(features, 5, "kmeans", space="value")
    assert np.allclose(found.arrays["means"], best.arrays["means"], atol=0.1)


def test_fewest_must_fit() -> None:
    features, _truth = groups(2, 30)
    for fewest in (1, 6):
        with pytest.raises(TableError, match=f"fewest={fewest}"):
            train_clusterer(features, 5, "xmeans", space="value", fewest=fewest)
