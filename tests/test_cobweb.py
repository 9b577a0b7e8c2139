"""COBWEB: its category utility by integrals, trees that add up, blobs that are found, and what acuity and cutoff do."""

from __future__ import annotations

import numpy as np
import pytest
from sample_images import grid
from scipy import integrate, stats
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

import esd
from esd.analytics import train_clusterer
from esd.analytics.cobweb import Concept, category_utility, grown
from esd.errors import ExpressionError


def concept(vectors: np.ndarray) -> Concept:
    return Concept(len(vectors), vectors.sum(axis=0), (vectors**2).sum(axis=0))


def blobs(n: int = 400, spread: float = 0.4, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    features, target = make_blobs(n, 4, centers=5, cluster_std=spread, random_state=seed)
    return features.astype(np.float32), target


def squared_density(vectors: np.ndarray, acuity: float) -> float:
    """Sum over the features of the integral of the square of the Gaussian density: what a good guess of a number gains."""
    found = 0.0
    for column in vectors.T:
        normal = stats.norm(column.mean(), max(column.std(), acuity))
        found += integrate.quad(lambda x, normal=normal: normal.pdf(x) ** 2, column.min() - 9, column.max() + 9, limit=500)[
            0
        ]
    return found


def test_category_utility_is_what_the_paper_defines() -> None:
    rng = np.random.default_rng(0)
    groups = [rng.normal(size=(size, 3)) * scale + shift for size, scale, shift in ((9, 0.5, 0), (5, 1, 2), (1, 1, -1))]
    every = np.concatenate(groups)
    shares = [len(group) / len(every) * squared_density(group, 0.3) for group in groups]
    expected = (sum(shares) - squared_density(every, 0.3)) / len(groups)
    found = category_utility(concept(every), [concept(group) for group in groups], 0.3)
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_tree_counts_every_vector_once_on_every_level() -> None:
    features = blobs(150, 1.0)[0].astype(np.float64)
    root, nodes = grown(features, 0.3, 0.001), 0
    assert root.count == 150
    assert np.allclose(root.total, features.sum(axis=0))
    waiting = [root]
    while waiting:
        node = waiting.pop()
        nodes += 1
        if node.parts:
            assert len(node.parts) > 1
            assert sum(part.count for part in node.parts) == node.count
            assert np.allclose(sum(part.total for part in node.parts), node.total)
            assert np.allclose(sum(part.squares for part in node.parts), node.squares)
        waiting += node.parts
    assert nodes > 10


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_separate_blobs_are_found_in_any_order(seed: int) -> None:
    features, target = blobs()
    clusterer = train_clusterer(features, 50, "cobweb", space="value", seed=seed)
    found = clusterer.predict(features)[0]
    assert len(clusterer.classes) == 5
    assert adjusted_rand_score(found, target) == 1
    assert (np.diff(np.bincount(found)[1:]) <= 0).all()
    again = train_clusterer(features, 50, "cobweb", space="value", seed=seed)
    assert again.to_bytes() == clusterer.to_bytes()


def test_acuity_and_cutoff_bound_how_fine_concepts_are() -> None:
    features = blobs(300, 0.8)[0]

    def number(**options: float) -> int:
        return len(train_clusterer(features, 250, "cobweb", space="value", **options).classes)

    by_acuity = [number(acuity=acuity) for acuity in (0.1, 0.2, 0.4, 0.8, 1.5)]
    by_cutoff = [number(cutoff=cutoff) for cutoff in (0.0, 0.02, 0.1, 0.4, 5.0)]
    for numbers in (by_acuity, by_cutoff):
        assert numbers == sorted(numbers, reverse=True)
        assert numbers[0] > 10
        assert numbers[-1] == 1
    assert len(train_clusterer(features, 7, "cobweb", space="value", acuity=0.1).classes) in range(2, 8)
    with pytest.raises(ExpressionError, match="acuity=0 must"):
        number(acuity=0.0)


def test_an_image_of_concepts_is_the_same_in_any_tiling() -> None:
    features, target = blobs(40 * 30)
    image = esd.from_array(features.T.reshape(4, 40, 30), grid(40, 30), tuple("abcd"))
    clusterer = train_clusterer(features[::5], 20, "cobweb", space="value")
    found = image.classify(clusterer).compute()
    assert adjusted_rand_score(found.values.ravel(), target) == 1
    assert image.classify(clusterer).compute(tile=17).values.tobytes() == found.values.tobytes()
