"""Fixed decision trees from their texts, in the form that R's rpart prints and Earth Engine's decisionTree reads.

    1) root 9999 9999 9999
      2) nir< 0.2 9999 9999 0 *
      3) nir>=0.2 9999 9999 9999
        6) red<=0.1 9999 9999 1 *
        7) red>0.1 9999 9999 2 *

Each line is a node: its number, the test that leads to it, samples, loss, and class; `*` marks a leaf. The children of
node n are 2 n and 2 n + 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.errors import ExpressionError

from .classify import Classifier

__all__ = ["decision_tree", "decision_tree_ensemble"]

_LINE = re.compile(
    r"\s*(?P<node>\d+)\)\s+(?:root|(?P<feature>[\w.]+)\s*(?P<sign><=|>=|<|>)\s*(?P<number>-?[\d.]+(?:[eE][+-]?\d+)?))"
    r"\s+\S+\s+\S+\s+(?P<label>\S+)(?:\s+\([^)]*\))?\s*(?P<leaf>\*)?\s*"
)


def _nodes(text: str) -> dict[int, re.Match[str]]:
    found = {}
    for line in filter(str.strip, text.splitlines()):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ExpressionError(f"decision_tree: {line.strip()[:60]!r} is no node; write such as 2) nir< 0.2 99 9 crop *")
        found[int(match["node"])] = match
    for node, match in found.items():
        for child in (2 * node, 2 * node + 1) if not match["leaf"] else ():
            if child not in found or found[child]["feature"] is None:
                raise ExpressionError(
                    f"decision_tree: node {node} has no child {child}; add it, or mark the node as a leaf by *"
                )
    if 1 not in found:
        raise ExpressionError("decision_tree: there is no node 1; begin with 1) root")
    return found


def decision_tree(text: str, features: Sequence[str], space: str = "value") -> Classifier:
    """Return the classifier that a text describes, for `classify`; its classes are the leaves' labels, sorted.

    `features` name the bands of the image in order (time slowest, where it has several). The test of a node's first child
    decides. Raises ExpressionError for text that is none, or a feature that is not among them.
    """
    return decision_tree_ensemble([text], features, space)


def decision_tree_ensemble(texts: Sequence[str], features: Sequence[str], space: str = "value") -> Classifier:
    """Return the classifier in which several trees, each a text as `decision_tree` reads, have one vote each.

    The class with most votes wins, of equal ones the first in the order of the labels; the confidence is its share of the
    votes. Raises ExpressionError as `decision_tree` does, and for no text.
    """
    trees = [_nodes(text) for text in texts]
    classes = tuple(sorted({match["label"] for tree in trees for match in tree.values() if match["leaf"]}))
    if len(classes) < 2:
        raise ExpressionError(f"decision_tree: all leaves are of one class ({', '.join(classes)}); give at least two")
    parts, used, roots = list[dict[str, npt.NDArray[Any]]](), 0, list[int]()
    for tree in trees:
        parts.append(_arrays(tree, features, classes, used))
        roots.append(used)
        used += len(tree)
    arrays: dict[str, npt.NDArray[Any]] = {
        "centre": np.zeros(len(features), dtype=np.float32),
        "scale": np.ones(len(features), dtype=np.float32),
        "tree_root": np.array(roots, dtype=np.int32),
        "tree_depth": np.array([max(max(tree) for tree in trees).bit_length() - 1], dtype=np.int32),
        "tree_start": np.zeros(len(classes)),
    }
    arrays |= {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Classifier("cart", classes, space, len(features), "", "", 1, arrays)


def _arrays(
    nodes: dict[int, re.Match[str]], features: Sequence[str], classes: Sequence[str], first: int
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays over the nodes of one tree, which lie from `first` on."""
    order = {node: place for place, node in enumerate(sorted(nodes))}
    own = np.arange(first, first + len(nodes), dtype=np.int32)
    arrays: dict[str, npt.NDArray[Any]] = {
        "tree_feature": np.zeros(len(nodes), dtype=np.int32),
        "tree_threshold": np.zeros(len(nodes)),
        "tree_left": own.copy(),
        "tree_right": own.copy(),
        "tree_value": np.zeros((len(nodes), len(classes))),
    }
    for node, place in order.items():
        if nodes[node]["leaf"]:
            arrays["tree_value"][place, classes.index(nodes[node]["label"])] = 1
            continue
        feature, threshold, below_first = _test(nodes[2 * node], features)
        children = (first + order[2 * node], first + order[2 * node + 1])
        arrays["tree_feature"][place], arrays["tree_threshold"][place] = feature, threshold
        arrays["tree_left"][place], arrays["tree_right"][place] = children if below_first else children[::-1]
    return arrays


def _test(match: re.Match[str], features: Sequence[str]) -> tuple[int, float, bool]:
    """Return the feature, the largest float32 that counts as below, and whether what is below goes to this child."""
    name, sign, number = match["feature"], match["sign"], np.float32(match["number"])
    if name not in features:
        raise ExpressionError(f"decision_tree: there is no feature {name!r}; the features are {', '.join(features)}")
    threshold = number if sign in ("<=", ">") else np.nextafter(number, np.float32(-np.inf))
    return features.index(name), float(threshold), sign in ("<", "<=")
