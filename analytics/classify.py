"""Classification: prototypes, centres, neighbours, logistic regression, Gaussians, support vectors, networks, trees.

A `Classifier` is trained on feature vectors [n, d] and is an argument of the operators `classify` and
`classify_confidence`. Features are the whole vector of a pixel, time slowest: embeddings (steps x dims), reflectance
(36 x 6) or any other image of that many numbers (`value`). It is kept as a safetensors file, never as a pickle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.codec import Codec
from esd.errors import EncoderError, ExpressionError, TableError
from esd.operator import Tile, operator
from esd.per_step import PerStep, on_grid, rounded
from esd.space import CubeType, Space
from esd.standardising import centre_and_scale

from .features import FEATURE_SPACES, check_fits, feature_space, flat
from .methods import FIT, METHODS, SCORES, check_options
from .model_file import not_a_model, read_model, to_bytes, write_model
from .scores import batches, probability, prototype_margin, standard
from .trees import TREES, fit_trees

__all__ = ["FEATURE_SPACES", "METHODS", "Classifier", "standardised", "train_classifier"]

MOST_CLASSES = 254
MATRICES = "is a product of matrices, which BLAS computes faster than any code of ours"

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Arrays = Mapping[str, npt.NDArray[Any]]


LINEAR = {"prototype": ("prototypes", prototype_margin), "logistic": ("weights", probability)}
"""Methods whose scores are sums over the features: the array of their weights, and the confidence from the scores."""


SOFTMAX = ("logistic", "naive_bayes", "max_likelihood", "mlp", "gradient_boost")
"""Methods whose scores are logarithms of probabilities, but for what all classes share."""
VOTES = ("knn", *(method for method in TREES if method not in SOFTMAX))


def _linear_scores(batch: Doubles, trained: Classifier) -> Doubles:
    weights, start = trained.linear
    if trained.space == "embedding":
        batch = on_grid(batch)
    return np.asarray(batch @ weights.T + start, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained classifier.

    `classes` are the names; class i of them is written as i + 1, and 0 means none. `space` is what the features are
    (`FEATURE_SPACES`) and `features` how many; `encoder` and `encoder_id` tell the encoder of embeddings, empty otherwise.
    """

    method: str
    classes: tuple[str, ...]
    space: str
    features: int
    encoder: str
    encoder_id: str
    neighbours: int
    arrays: Arrays

    @property
    def legend(self) -> dict[int, str]:
        """The name of each value of a class image."""
        return dict(enumerate(self.classes, start=1))

    @cached_property
    def token(self) -> str:
        """SHA-256 of the file that `save` writes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @cached_property
    def linear(self) -> tuple[Doubles, Doubles]:
        """The weights of the features as they come [classes, features], and what is added [classes].

        For the prototypes and the logistic regression only. Those of embeddings are rounded to 2**-25 of the largest, and
        the features to 2**-20: every sum is then exact (`esd.per_step`), and codes can be looked up. The score of a
        prototype is its cosine times the length of the standardised features, which puts the classes in the same order.
        """
        weights = self.arrays[LINEAR[self.method][0]] / self.arrays["scale"].astype(np.float64)
        start = self.arrays.get("intercept", np.zeros(1)) - weights @ self.arrays["centre"].astype(np.float64)
        return rounded(weights) if self.space == "embedding" else weights, np.asarray(start, dtype=np.float64)

    def __repr__(self) -> str:
        return f"Classifier({self.method}, {len(self.classes)} classes, {self.features} {self.space} features)"

    def predict(self, features: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.uint8], Floats]:
        """Classify feature vectors [n, d].

        Returns the class, uint8 [n] from 1, and a confidence, float32 [n] in 0..1: the probability of a logistic
        classifier, Gaussians, a network or boosted trees, the share of the votes of a kNN or of trees, half of the distance
        between the two best cosines of prototypes, how much nearer the nearest centre is than the next, the logistic
        function of a support vector machine's narrowest margin (not probabilities). Both are 0 where a feature is not
        finite. Raises TableError for another number of features.
        """
        self._check(features)
        classes = np.zeros(len(features), dtype=np.uint8)
        confidence = np.zeros(len(features), dtype=np.float32)
        for part, batch in batches(features):
            scores, certain = self._scores(batch)
            classes[part] = scores.argmax(axis=1)[: part.size] + 1
            confidence[part] = certain[: part.size]
        return classes, confidence

    def _check(self, features: npt.NDArray[np.floating]) -> None:
        if features.ndim != 2 or features.shape[1] != self.features:
            raise TableError(f"the classifier needs {self.features} features a sample, got an array {features.shape}")

    def _scores(self, batch: Doubles) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        if self.method not in LINEAR:
            return SCORES[self.method](standard(batch, self.arrays), self.arrays, self.neighbours)
        scores = _linear_scores(batch, self)
        return scores, LINEAR[self.method][1](batch, scores, self.arrays)

    def classify(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
        """Return the class of feature vectors [n, d] only: that of `predict`, sooner. Raises as it does."""
        if self.method not in LINEAR:
            return self.predict(features)[0]
        self._check(features)
        classes = np.zeros(len(features), dtype=np.uint8)
        for part, batch in batches(features):
            classes[part] = _linear_scores(batch, self).argmax(axis=1)[: part.size] + 1
        return classes

    def probabilities(self, features: npt.NDArray[np.floating]) -> Doubles:
        """Return the probability of each class, float64 [n, classes], for vectors [n, d]; NaN where one is not finite.

        The model's own for logistic, naive_bayes, max_likelihood, mlp and gradient_boost; for trees, forests, adaboost and
        knn the shares of the votes. Raises ExpressionError for the other methods, TableError for another number of features.
        """
        if self.method not in (*SOFTMAX, *VOTES):
            raise ExpressionError(
                f"classifier {self.method} has no probabilities; train one of {', '.join((*SOFTMAX, *VOTES))}"
            )
        self._check(features)
        found = np.full((len(features), len(self.classes)), np.nan)
        for part, batch in batches(features):
            scores = np.asarray(self._scores(batch)[0], dtype=np.float64)[: part.size]
            if self.method in SOFTMAX:
                scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            elif self.method == "knn":
                scores = np.floor(scores)  # what is below one tells whose the nearest sample is
            found[part] = scores / scores.sum(axis=1, keepdims=True)
        return found

    def to_bytes(self) -> bytes:
        """Return the classifier as the bytes of a safetensors file with its facts as JSON in the header."""
        facts = {
            "method": self.method,
            "classes": list(self.classes),
            "space": self.space,
            "features": self.features,
            "encoder": {"id": self.encoder_id, "sha256": self.encoder},
            "neighbours": self.neighbours,
        }
        return to_bytes("classifier", facts, self.arrays)

    def save(self, path: str | Path) -> Path:
        """Write the classifier to a file, whole or not at all. Returns its path."""
        return write_model(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> Classifier:
        """Read a classifier that `save` wrote. Raises TableError if the file is not there or not one."""
        facts, arrays = read_model(path, "classifier")
        try:
            return _from_facts(facts, arrays)
        except (KeyError, TypeError, ValueError) as error:
            raise not_a_model(path, "classifier", error) from error


def _class_of(method: str) -> type[Classifier]:
    if method != "onnx":
        return Classifier
    from .onnx_models import OnnxClassifier

    return OnnxClassifier


def _from_facts(facts: Mapping[str, Any], arrays: Arrays) -> Classifier:
    if facts["method"] not in (*METHODS, "onnx") or facts["space"] not in FEATURE_SPACES:
        raise ValueError(f"unknown method {facts['method']!r} or space {facts['space']!r}")
    return _class_of(facts["method"])(
        method=facts["method"],
        classes=tuple(facts["classes"]),
        space=facts["space"],
        features=int(facts["features"]),
        encoder=facts["encoder"]["sha256"],
        encoder_id=facts["encoder"]["id"],
        neighbours=int(facts["neighbours"]),
        arrays=arrays,
    )


def _check_training(features: npt.NDArray[np.floating], names: Sequence[str], method: str, space: str) -> None:
    if method not in METHODS:
        raise ExpressionError(f"classifier method {method!r} is not one of {', '.join(METHODS)}")
    if space not in FEATURE_SPACES:
        raise ExpressionError(f"feature space {space!r} is not one of {', '.join(FEATURE_SPACES)}")
    if features.ndim != 2 or len(features) != len(names):
        raise TableError(f"features {features.shape} and {len(names)} labels do not fit; give [n, d] and n labels")
    bad = int((~np.isfinite(features)).any(axis=1).sum())
    if bad:
        raise TableError(f"{bad} of {len(features)} samples have no features (outside or no data); drop them first")
    found = len(set(names))
    if not 2 <= found <= MOST_CLASSES:
        raise TableError(f"the samples have {found} classes; a classifier needs 2 to {MOST_CLASSES}")


def train_classifier(
    features: npt.NDArray[np.floating],
    labels: Sequence[Any] | npt.NDArray[Any],
    method: str = "logistic",
    *,
    space: str = "embedding",
    codec: Codec | None = None,
    neighbours: int = 5,
    trees: int = 100,
    seed: int = 0,
    weighed: bool | None = None,
    **options: Any,
) -> Classifier:
    """Train a classifier on feature vectors [n, d] and n labels (any values; their texts become the class names, sorted).

    `method` is one of METHODS. All standardise the features by the training samples; numbers of embeddings keep the root of
    what they weigh. Prototypes are the means of unit
    vectors, compared by cosine; neighbours (`neighbours` of them) vote by cosine; the logistic regression is scikit-learn's,
    L2 with C = 0.1; minimum_distance takes the nearest mean, naive_bayes the likeliest Gaussian; cart is one tree,
    random_forest, extra_trees, adaboost and gradient_boost are `trees` of scikit-learn's. Options of the others: svm takes
    `cost` (1), `kernel` ("rbf", "linear") and `gamma` (1 / features); mlp `layers` (64,) and `penalty` (1e-4);
    max_likelihood, Gaussians with covariance and no priors, `shrinkage` (0.1). Deterministic for a `seed`.
    `space` embedding needs the `codec` that the features come from; `weighed` tells of other features whether their size
    is a weight. Raises TableError for features or labels that cannot be used, ExpressionError for an unknown
    method or option, EncoderError for a missing codec.
    """
    names = [str(label) for label in labels]
    _check_training(features, names, method, space)
    check_options(method, options)
    if space == "embedding" and codec is None:
        raise EncoderError("a classifier of embeddings needs their codec; give codec=cube.codec, or another space=")
    if neighbours < 1 or trees < 1:
        raise ExpressionError(f"neighbours={neighbours} and trees={trees} must be at least 1")
    classes, target = np.unique(np.array(names), return_inverse=True)
    arrays, standard = standardised(features, weighed=space == "embedding" if weighed is None else weighed)
    numbers = target.astype(np.int64)
    if method in TREES:
        fitted = fit_trees(method, standard, numbers, trees, seed)
    else:
        fitted = FIT[method](standard, numbers, len(classes), **options | ({"seed": seed} if method == "mlp" else {}))
    # safetensors writes memory as it lies, and scikit-learn's coefficients lie in Fortran order.
    arrays |= {name: np.ascontiguousarray(array) for name, array in fitted.items()}
    sha, name = (codec.sha256, codec.id) if codec is not None and space == "embedding" else ("", "")
    facts = tuple(str(label) for label in classes)
    return Classifier(method, facts, space, features.shape[1], sha, name, neighbours, arrays)


def standardised(features: npt.NDArray[np.floating], weighed: bool = False) -> tuple[dict[str, npt.NDArray[Any]], Floats]:
    """Return the arrays `centre` and `scale` of features [n, d], and the features standardised by them.

    Where they are `weighed` they keep the root of their weights (`esd.standardising`).
    """
    centre, scale = (numbers.astype(np.float32) for numbers in centre_and_scale(features, weighed))
    return {"centre": centre, "scale": scale}, ((features - centre) / scale).astype(np.float32)


def _feature_space(_given: CubeType, args: Mapping[str, Any]) -> Space:
    return feature_space(_checked(args["classifier"]))


def _checked(classifier: Any) -> Classifier:
    if not isinstance(classifier, Classifier):
        raise ExpressionError(f"classify: {classifier!r} is not a Classifier; make one with train_classifier")
    return classifier


def _class_rule(image: CubeType, *, classifier: Classifier) -> CubeType:
    check_fits("classify", image, classifier)
    return CubeType(image.grid, image.time[:1], ("class",), np.dtype(np.uint8), Space.VALUE)


def _confidence_rule(image: CubeType, *, classifier: Classifier) -> CubeType:
    check_fits("classify", image, classifier)
    return CubeType(image.grid, image.time[:1], ("confidence",), np.dtype(np.float32), Space.VALUE)


def _weights(args: Mapping[str, Any], _places: int) -> Doubles:
    return np.ascontiguousarray(args["classifier"].linear[0].T)


def _best(sums: Sequence[Doubles]) -> tuple[npt.NDArray[np.uint8], None]:
    return (np.argmax(np.stack(sums), axis=0) + 1).astype(np.uint8), None


CLASS_SUMS = PerStep(
    lambda number, own: tuple(number * weight for weight in own),
    _weights,
    lambda args, _steps, _dims: args["classifier"].linear[1],
    _best,
    "class",
)
MOST_LOOKED_UP = 32
"""Classes beyond which the tables leave the cache, and a product of matrices is as fast."""


def _as_sums(args: Mapping[str, Any]) -> PerStep | None:
    classifier = args["classifier"]
    linear = classifier.method in LINEAR and classifier.space == "embedding"
    return CLASS_SUMS if linear and len(classifier.classes) <= MOST_LOOKED_UP else None


@operator("classify", Tile.ARRAY, _class_rule, _feature_space, per_step=_as_sums, interpreted=MATRICES)
def classify(image: Block, classifier: Classifier) -> Block:
    """Class of each pixel by a trained classifier: uint8 from 1, in the order of `classifier.legend`; 0 means none.

    Input [time, band, y, x] in the classifier's space, codes are turned into it; result [1, 1, y, x]. Not valid where any
    of the features is not, or is not finite. Codes are looked up by prototypes and logistic regressions of at most 32
    classes. Raises EncoderError for embeddings of another encoder, ExpressionError for another number of features.
    """
    features, whole = flat(image, classifier)
    classes = np.zeros(whole.shape, dtype=np.uint8)
    classes[whole] = classifier.classify(features)
    return Block(classes[None, None], (whole & (classes > 0))[None, None])


@operator("classify", Tile.ARRAY, _confidence_rule, _feature_space, interpreted=MATRICES)
def classify_confidence(image: Block, classifier: Classifier) -> Block:
    """How sure a trained classifier is of each pixel's class: float32, 0..1, [1, 1, y, x].

    The probability of a logistic classifier, the share of the votes of a kNN, half of the distance between the two best
    cosines of prototypes. Not valid where any of the features is not, or is not finite. Raises as `classify` does.
    """
    features, whole = flat(image, classifier)
    confidence = np.zeros(whole.shape, dtype=np.float32)
    classes, confidence[whole] = classifier.predict(features)
    valid = whole.copy()
    valid[whole] = classes > 0
    return Block(confidence[None, None], valid[None, None])


def _probability_rule(image: CubeType, *, classifier: Classifier) -> CubeType:
    check_fits("classify_probabilities", image, classifier)
    classifier.probabilities(np.zeros((0, classifier.features), dtype=np.float32))  # whether the method has any
    return CubeType(image.grid, image.time[:1], classifier.classes, np.dtype(np.float32), Space.VALUE)


def _probability_work(given: Sequence[CubeType], args: Mapping[str, Any], pixels: int) -> int:
    """Bytes of the features as rows, and of the probabilities in float64."""
    return pixels * (given[0].bytes_per_pixel + 2 * 8 * len(args["classifier"].classes))


@operator(
    "classify",
    Tile.ARRAY,
    _probability_rule,
    _feature_space,
    work=_probability_work,
    interpreted=MATRICES,
    example="image.classify_probabilities(train_classifier(samples, labels, 'naive_bayes', space='reflectance'))",
)
def classify_probabilities(image: Block, classifier: Classifier) -> Block:
    """Probability of each class by a trained classifier: a band for each class, float32, 0..1, [1, class, y, x].

    The bands are named as the classes and add up to 1; see `Classifier.probabilities`. Not valid where any of the features
    is not, or is not finite. Raises as `classify` does, and ExpressionError for methods that have none.
    """
    features, whole = flat(image, classifier)
    shares = classifier.probabilities(features)
    found = np.zeros((len(classifier.classes), *whole.shape), dtype=np.float32)
    known = ~np.isnan(shares[:, 0])
    found[:, whole] = np.where(known[:, None], shares, 0).T
    valid = whole.copy()
    valid[whole] = known
    return Block(found[None], valid[None, None])
