"""Clustering: k-means, Gaussian mixtures, COBWEB, and searches for the number of clusters, as classifiers of the clusters.

Clusters are numbered from 1 by the samples that they hold, largest first; of equal ones the one with the smaller centre, so
that a number means the same in every run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from esd.codec import Codec
from esd.errors import EncoderError, ExpressionError, TableError

from .classify import MOST_CLASSES, Classifier, standardised
from .cluster_search import SEARCHES, assigned
from .cobweb import cobweb
from .features import FEATURE_SPACES

__all__ = ["CLUSTERERS", "train_clusterer"]

CLUSTERERS = ("kmeans", "gmm", "cobweb", *SEARCHES)
GAUSSIANS = ("gmm", "cobweb")


def train_clusterer(
    features: npt.NDArray[np.floating],
    number: int,
    method: str = "kmeans",
    *,
    space: str = "embedding",
    codec: Codec | None = None,
    fewest: int = 2,
    acuity: float = 0.25,
    cutoff: float = 0.01,
    seed: int = 0,
) -> Classifier:
    """Group feature vectors [n, d] into `number` clusters; returns a Classifier for the operator `classify`.

    `method` is kmeans (the nearest of `number` centres), gmm (the most likely of as many Gaussians without correlation), or
    lvq (the nearest of centres that move to the samples one by one). Others find from `fewest` to `number` clusters: xmeans
    splits as long as Schwarz's criterion rises, cascade_kmeans takes k-means of the best ratio of spreads between and
    within, isodata splits wide clusters and merges near ones. cobweb finds 1 to `number` Gaussians as it takes one vector
    after the other: no spread counts as less than `acuity` (of standardised features), and concepts whose category utility
    is below `cutoff` are not divided. Features are standardised, embeddings as a whole. `space` embedding needs the
    `codec` that they come from. Deterministic for a seed. Raises TableError for fewer vectors than clusters or
    ones that are not finite, ExpressionError for an unknown method.
    """
    if method not in CLUSTERERS or space not in FEATURE_SPACES:
        raise ExpressionError(f"clusterer {method!r} of {space!r}: give one of {', '.join(CLUSTERERS)}; {FEATURE_SPACES}")
    if space == "embedding" and codec is None:
        raise EncoderError("clusters of embeddings need their codec; give codec=cube.codec, or another space=")
    if features.ndim != 2 or not np.isfinite(features).all():
        raise TableError(f"features {features.shape} must be [n, d] and finite; drop samples without data first")
    if not 2 <= number <= min(MOST_CLASSES, len(features)):
        raise TableError(f"{number} clusters of {len(features)} samples; give 2 to {min(MOST_CLASSES, len(features))}")
    if not 2 <= fewest <= number:
        raise TableError(f"fewest={fewest} clusters of at most {number}; give 2 to {number}")
    if not acuity > 0 or not cutoff >= 0:
        raise ExpressionError(f"clusterer: acuity={acuity:g} must be above 0, cutoff={cutoff:g} 0 or more")
    arrays, standard = standardised(features, weighed=space == "embedding")
    if method == "cobweb":
        fitted = cobweb(standard.astype(np.float64), number, seed, acuity, cutoff)
    elif method in SEARCHES:
        centres = SEARCHES[method](standard.astype(np.float64), fewest, number, seed)
        labels = assigned(standard.astype(np.float64), centres)
        fitted = {"means": centres[_order(labels, centres)]}
    else:
        fitted = _kmeans(standard, number, seed) if method == "kmeans" else _mixture(standard, number, seed)
    arrays |= {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in fitted.items()}
    sha, name = (codec.sha256, codec.id) if codec is not None and space == "embedding" else ("", "")
    classes = tuple(f"cluster {i}" for i in range(1, len(fitted["means"]) + 1))
    rule = "naive_bayes" if method in GAUSSIANS else "minimum_distance"
    return Classifier(rule, classes, space, features.shape[1], sha, name, 1, arrays)


def _order(labels: npt.NDArray[Any], centres: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    counts = np.bincount(labels, minlength=len(centres))
    return np.lexsort((*np.round(centres, 4).T[::-1], -counts))


def _kmeans(features: npt.NDArray[np.float32], number: int, seed: int) -> dict[str, npt.NDArray[Any]]:
    from sklearn.cluster import KMeans

    model = KMeans(number, n_init=10, random_state=seed).fit(features)
    return {"means": model.cluster_centers_[_order(model.labels_, model.cluster_centers_)]}


def _mixture(features: npt.NDArray[np.float32], number: int, seed: int) -> dict[str, npt.NDArray[Any]]:
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(number, covariance_type="diag", random_state=seed, max_iter=500).fit(features.astype(np.float64))
    order = _order(model.predict(features.astype(np.float64)), model.means_)
    return {
        "means": model.means_[order],
        "variances": model.covariances_[order],
        "priors": np.log(model.weights_[order]),
    }
