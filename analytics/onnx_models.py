"""Classifiers and regressors of others as ONNX graphs, applied as those that are trained here (the extra `onnx`).

>>> forest = esd.analytics.classifier_onnx("forest.onnx", space="reflectance")        # doctest: +SKIP
>>> image.classify(forest)                                                            # doctest: +SKIP

A graph takes feature vectors [n, d] as a `Classifier` does, of whatever number it likes at a time: it is always given 2048,
the last ones zeros, so that a pixel's result has no part in where tiles are cut.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.codec import Codec
from esd.errors import EncoderError, ExpressionError, TableError

from .classify import MOST_CLASSES, Classifier
from .features import FEATURE_SPACES
from .onnx_graph import Graph, Port, read_graph
from .regressors import Regressor
from .scores import batches

__all__ = ["SCORES", "OnnxClassifier", "OnnxRegressor", "classifier_onnx", "onnx_features", "regressor_onnx"]

SCORES = ("probabilities", "logits")
"""What a graph's scores of the classes can be."""
NUMBERS = ("tensor(float)", "tensor(double)", "tensor(float16)")
NAMES = ("tensor(int64)", "tensor(int32)", "tensor(string)")

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


class OnnxClassifier(Classifier):
    """A classifier whose arrays are an ONNX graph and what its outputs mean; kept and applied as any other."""

    @cached_property
    def graph(self) -> Graph:
        """The graph."""
        return Graph(self.arrays["graph"].tobytes())

    @cached_property
    def meaning(self) -> dict[str, Any]:
        """What the outputs mean: `scores`, one of SCORES or none, and `labels`, the graph's for the classes, as texts."""
        read: dict[str, Any] = json.loads(self.arrays["meaning"].tobytes())
        return read

    def predict(self, features: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Classify feature vectors [n, d]: the class, uint8 [n] from 1, and its probability, float32 [n] (see `classify`).

        The class is the graph's own label where it gives one, else that of the largest score, the first of equal ones. The
        probability is 1 where the graph gives labels only. Both are 0 where a feature or a score is not finite. Raises
        TableError for another number of features, or a label that is none of the classes.
        """
        self._check(features)
        classes, confidence = np.zeros(len(features), dtype=np.uint8), np.zeros(len(features), dtype=np.float32)
        for part, batch in batches(features):
            shares, chosen = self._decided(batch, part.size)
            known = np.isfinite(shares).all(axis=1)
            classes[part] = np.where(known, chosen + 1, 0)
            confidence[part] = np.where(known, shares[np.arange(part.size), chosen], 0)
        return classes, confidence

    def probabilities(self, features: npt.NDArray[np.floating]) -> Doubles:
        """Return the probability of each class, float64 [n, classes]; NaN where a feature or a score is not finite.

        They add up to 1. Raises ExpressionError where the graph gives labels only, TableError as `predict` does.
        """
        if self.meaning["scores"] is None:
            raise ExpressionError("the ONNX graph gives labels only and has no probabilities; export it with its scores")
        self._check(features)
        found = np.full((len(features), len(self.classes)), np.nan)
        for part, batch in batches(features):
            shares = self._decided(batch, part.size)[0]
            found[part] = np.where(np.isfinite(shares).all(axis=1, keepdims=True), shares, np.nan)
        return found

    def _decided(self, batch: Doubles, count: int) -> tuple[Doubles, Places]:
        """Return probabilities [count, classes] and places of the classes [count] of the first vectors of a batch."""
        labels, scores = _outputs(self.graph, batch, tuple(self.meaning["labels"]))
        places = None if labels is None else self._places(labels[:count])
        if scores is None:
            return np.eye(len(self.classes))[places], np.asarray(places)
        shares = _shares(scores[:count], self.meaning["scores"])
        return shares, np.asarray(np.argmax(shares, axis=1) if places is None else places)

    def _places(self, labels: Sequence[str]) -> Places:
        known = {label: place for place, label in enumerate(self.meaning["labels"])}
        strange = sorted(set(labels) - known.keys())
        if strange:
            raise TableError(f"the ONNX graph gives label {strange[0]!r}, none of {', '.join(known)}; give labels= in order")
        return np.array([known[label] for label in labels], dtype=np.int64)


class OnnxRegressor(Regressor):
    """A regression whose array is an ONNX graph; kept and applied as any other."""

    @cached_property
    def graph(self) -> Graph:
        """The graph."""
        return Graph(self.arrays["graph"].tobytes())

    def _predict(self, batch: Doubles) -> Doubles:
        return np.asarray(self.graph.run(batch)[0], dtype=np.float64).reshape(len(batch))


def _ports(graph: Graph) -> tuple[int | None, int | None]:
    """Return the places of the outputs that hold labels and scores, None where there is none."""

    def first(wanted: Any) -> int | None:
        return next((place for place, port in enumerate(graph.outputs) if wanted(port)), None)

    labels = first(lambda port: port.type in NAMES and len(port.shape) <= 2)
    return labels, first(lambda port: port.type.startswith("seq(map") or (port.type in NUMBERS and len(port.shape) <= 2))


def _outputs(graph: Graph, batch: Doubles, known: Sequence[str]) -> tuple[list[str] | None, Doubles | None]:
    """Run a graph on feature vectors [n, d]. Returns its labels as texts [n] and its scores [n, classes]."""
    made, (at_labels, at_scores) = graph.run(batch), _ports(graph)
    labels = None if at_labels is None else [str(label) for label in np.ravel(made[at_labels])]
    if at_scores is None:
        return labels, None
    scores = made[at_scores]
    if isinstance(scores, list):  # a dictionary for each vector, as scikit-learn's converter writes
        table = [{str(label): score for label, score in each.items()} for each in scores]
        return labels, np.array([[each[label] for label in known or each] for each in table], dtype=np.float64)
    return labels, np.asarray(scores, dtype=np.float64).reshape(len(batch), -1)


def _shares(scores: Doubles, kind: str) -> Doubles:
    """Return scores [n, classes] as probabilities that add up to 1; one column is that of the second of two classes."""
    one = scores.shape[1] == 1
    if kind == "logits":
        numbers = np.concatenate([np.zeros_like(scores), scores], axis=1) if one else scores
        with np.errstate(invalid="ignore"):  # of infinite scores, which are not valid
            shares = np.exp(numbers - numbers.max(axis=1, keepdims=True))
    else:
        shares = np.concatenate([1 - scores, scores], axis=1) if one else scores
        if (shares < -1e-6).any() or (shares > 1 + 1e-3).any():
            raise TableError(f"the ONNX graph's scores reach {shares.min():.3g} to {shares.max():.3g}; give scores='logits'")
        shares = np.maximum(shares, 0)
    with np.errstate(invalid="ignore"):  # of nothing but zeros
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def onnx_features(graph: Graph, name: str, features: int | None, space: str, codec: Codec | None) -> tuple[int, str, str]:
    """Return the number of features, and hash and name of the encoder. Raises what is wrong with them."""
    if space not in FEATURE_SPACES:
        raise ExpressionError(f"feature space {space!r} is not one of {', '.join(FEATURE_SPACES)}")
    if space == "embedding" and codec is None:
        raise EncoderError(f"{name}: embeddings need their codec; give codec=cube.codec, or another space=")
    width = graph.source.shape[1] or features
    if width is None or features not in (None, width):
        raise TableError(f"{name}: the graph takes {graph.source.shape[1] or 'any'} features, not {features}")
    return (width, codec.sha256, codec.id) if codec is not None and space == "embedding" else (width, "", "")


def classifier_onnx(
    path: str | Path,
    classes: Sequence[str] | None = None,
    *,
    labels: Sequence[Any] | None = None,
    scores: str = "probabilities",
    space: str = "value",
    codec: Codec | None = None,
    features: int | None = None,
) -> Classifier:
    """Read a classifier of feature vectors [n, d] from an ONNX file; an argument of `classify` and its kin.

    The graph's outputs are labels [n], scores [n, classes] (or a dictionary for each vector, as scikit-learn's converter
    writes), or both: the class is its label, else that of the largest score. `scores` says what they are, probabilities or
    logits; one column is that of the second of two classes. `labels` are the graph's own in the order of its scores, asked
    for where it gives labels and does not tell that order; `classes` name them, in that order, or the labels do. `space` is
    what features are (`FEATURE_SPACES`), and `features` how many, where the graph takes any. `save` keeps the graph in the
    classifier's file. Raises TableError for what is no such graph, ExpressionError where onnxruntime is missing,
    EncoderError for embeddings without their codec.
    """
    graph = read_graph(path, 2)
    width, sha, encoder = onnx_features(graph, "classifier_onnx", features, space, codec)
    if scores not in SCORES or _ports(graph) == (None, None):
        made = ", ".join(f"{port.name} {port.type} {list(port.shape)}" for port in graph.outputs)
        raise TableError(f"classifier_onnx: scores={scores!r} of {made}; give one of {', '.join(SCORES)}, of [n, classes]")
    names = _labels(graph, width, labels)
    wanted = names if classes is None else [str(name) for name in classes]
    if len(wanted) != len(names) or len({*wanted}) != len(wanted) or not 2 <= len(wanted) <= MOST_CLASSES:
        raise TableError(
            f"classifier_onnx: {len(wanted)} names for {len(names)} classes; give 2 to {MOST_CLASSES}, each another"
        )
    meaning = {"labels": names, "scores": None if _ports(graph)[1] is None else scores}
    arrays = {"graph": _as_array(graph.data), "meaning": _as_array(json.dumps(meaning, ensure_ascii=False).encode())}
    return OnnxClassifier("onnx", tuple(wanted), space, width, sha, encoder, 1, arrays)


def _as_array(data: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8)


def _labels(graph: Graph, width: int, given: Sequence[Any] | None) -> list[str]:
    """Return a graph's labels as texts, in the order of its scores: of its dictionaries, else those given, else 0, 1, ..."""
    at_labels, at_scores = _ports(graph)
    made = None if at_scores is None else graph.run(np.zeros((1, width)))[at_scores]
    if isinstance(made, list):
        return [str(label) for label in made[0]]
    if given is None and at_labels is not None:
        raise TableError(
            "classifier_onnx: the graph does not tell which label is which score; give labels=, in order, such as range(3)"
        )
    count = None if made is None else max(int(np.size(made)), 2)
    if given is not None and count not in (None, len(given)):
        raise TableError(f"classifier_onnx: {len(given)} labels for {count} scores; give one for each")
    return [str(label) for label in (range(count or 0) if given is None else given)]


def regressor_onnx(
    path: str | Path, *, space: str = "value", codec: Codec | None = None, features: int | None = None
) -> Regressor:
    """Read a regression of feature vectors [n, d] from an ONNX file, whose first output is a number for each [n] or [n, 1].

    An argument of `regress`. Options and errors are those of `classifier_onnx`.
    """
    graph = read_graph(path, 2)
    width, sha, encoder = onnx_features(graph, "regressor_onnx", features, space, codec)
    port: Port = graph.outputs[0]
    if port.type not in NUMBERS or port.shape[1:] not in ((), (1,)):
        raise TableError(f"regressor_onnx: the graph gives {port.name} {port.type} {list(port.shape)}; one number is needed")
    arrays: Mapping[str, npt.NDArray[Any]] = {"graph": _as_array(graph.data)}
    return OnnxRegressor("onnx", space, width, sha, encoder, arrays)
