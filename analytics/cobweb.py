"""Conceptual clustering of numbers, one vector after the other: COBWEB with Gaussian category utility, as CLASSIT.

A concept keeps the count, the sums and the sums of squares of its vectors, and its sub-concepts. Sources: Fisher (1987),
Knowledge acquisition via incremental conceptual clustering; Gennari, Langley and Fisher (1989), Models of incremental
concept formation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["Concept", "category_utility", "cobweb", "grown"]

Doubles = npt.NDArray[np.float64]

SCALE = 1 / (2 * math.sqrt(math.pi))
"""What makes the reciprocal of a standard deviation the integral of the square of a Gaussian's density."""


@dataclass(eq=False)
class Concept:
    """A node of the tree: how many vectors it holds, their sum and the sum of their squares [d], and its parts."""

    count: int
    total: Doubles
    squares: Doubles
    parts: list[Concept] = field(default_factory=list)

    @classmethod
    def of(cls, vector: Doubles) -> Concept:
        """Return the concept of one vector."""
        return cls(1, vector.copy(), vector * vector)

    @property
    def mean(self) -> Doubles:
        """The mean of its vectors."""
        return self.total / self.count

    def spread(self, acuity: float) -> Doubles:
        """Standard deviations (divided by n) [d], at least the acuity."""
        variance = self.squares / self.count - (self.total / self.count) ** 2
        return np.sqrt(np.maximum(variance, acuity**2))

    def worth(self, acuity: float) -> float:
        """Its vectors times the sum of the reciprocals of the standard deviations."""
        return float(self.count * (1 / self.spread(acuity)).sum())

    def with_(self, *others: Concept) -> Concept:
        """Return the concept of the vectors of this and others, without parts."""
        every = (self, *others)
        return Concept(sum(one.count for one in every), sum(o.total for o in every), sum(o.squares for o in every))  # type: ignore[arg-type]  # sums of arrays

    def take(self, other: Concept) -> None:
        """Count the vectors of another as its own."""
        self.count += other.count
        self.total = self.total + other.total
        self.squares = self.squares + other.squares


def category_utility(parent: Concept, parts: Sequence[Concept], acuity: float) -> float:
    """Return how much better parts tell the features than their whole does, for each part: CLASSIT's category utility.

    The sum over the parts of their share of the vectors times the sum over the features of 1 / spread, less the same of the
    whole, over the number of parts and twice the root of pi.
    """
    return _utility(parent, sum(part.worth(acuity) for part in parts), len(parts), acuity)


def _utility(parent: Concept, worth: float, number: int, acuity: float) -> float:
    return SCALE * (worth - parent.worth(acuity)) / (parent.count * number)


def _hosts(parts: Sequence[Concept], new: Concept, acuity: float) -> tuple[list[float], int, int | None]:
    """Return what each part gains in worth by a vector, and the places of the best two hosts."""
    gains = [part.with_(new).worth(acuity) - part.worth(acuity) for part in parts]
    order = sorted(range(len(parts)), key=lambda place: -gains[place])
    return gains, order[0], order[1] if len(order) > 1 else None


def _choose(node: Concept, new: Concept, acuity: float) -> tuple[float, str, int, int | None]:
    """Return the best category utility of what can be done with a vector that the node has counted, and what that is."""
    parts = node.parts
    worth = sum(part.worth(acuity) for part in parts)
    gains, best, second = _hosts(parts, new, acuity)
    options = [
        (_utility(node, worth + gains[best], len(parts), acuity), "host"),
        (_utility(node, worth + new.worth(acuity), len(parts) + 1, acuity), "new"),
    ]
    if second is not None and len(parts) > 2:
        joined = parts[best].with_(parts[second], new).worth(acuity)
        rest = worth - parts[best].worth(acuity) - parts[second].worth(acuity)
        options.append((_utility(node, rest + joined, len(parts) - 1, acuity), "merge"))
    if parts[best].parts:
        inner = parts[best].parts
        gained = max(_hosts(inner, new, acuity)[0])
        rest = worth - parts[best].worth(acuity) + sum(part.worth(acuity) for part in inner)
        options.append((_utility(node, rest + gained, len(parts) - 1 + len(inner), acuity), "split"))
    utility, action = max(options, key=lambda option: option[0])
    return utility, action, best, second


def _insert(root: Concept, new: Concept, acuity: float, cutoff: float) -> None:
    node = root
    node.take(new)
    while True:
        if not node.parts:
            before = Concept(node.count - new.count, node.total - new.total, node.squares - new.squares)
            if before.count and category_utility(node, (before, new), acuity) >= cutoff:
                node.parts = [before, new]
            return
        utility, action, best, second = _choose(node, new, acuity)
        if utility < cutoff:
            node.parts = []
            return
        if action == "new":
            node.parts.append(new)
            return
        if action == "split":
            node.parts[best : best + 1] = node.parts[best].parts
            continue
        if action == "merge" and second is not None:
            pair = node.parts[best], node.parts[second]
            joined = pair[0].with_(pair[1])
            joined.parts = list(pair)
            node.parts = [part for part in node.parts if part not in pair] + [joined]
            best = len(node.parts) - 1
        node = node.parts[best]
        node.take(new)


def grown(vectors: Doubles, acuity: float, cutoff: float) -> Concept:
    """Return the tree of concepts of vectors [n, d], taken in their order."""
    root = Concept(0, np.zeros(vectors.shape[1]), np.zeros(vectors.shape[1]))
    for vector in vectors:
        _insert(root, Concept.of(vector), acuity, cutoff)
    return root


def _opened(root: Concept, most: int, acuity: float) -> list[Concept]:
    """Return the leaves of a tree, or what is reached from the root by opening what parts tell best while no more result."""
    found = [root]
    while True:
        worth = [
            category_utility(one, one.parts, acuity) * one.count
            if one.parts and len(found) - 1 + len(one.parts) <= most
            else -1.0
            for one in found
        ]
        place = max(range(len(found)), key=worth.__getitem__)
        if worth[place] < 0:
            return found
        found[place : place + 1] = found[place].parts


def cobweb(features: Doubles, most: int, seed: int, acuity: float, cutoff: float) -> dict[str, Doubles]:
    """Return the concepts of standardised features [n, d], at most so many, as Gaussians: means, variances and priors.

    Vectors are taken in an order drawn by the seed. The largest concept comes first, of equal ones that of the smaller mean.
    """
    order = np.random.default_rng(seed).permutation(len(features))
    concepts = _opened(grown(features[order], acuity, cutoff), most, acuity)
    concepts.sort(key=lambda one: (-one.count, *np.round(one.mean, 4)))
    return {
        "means": np.stack([one.mean for one in concepts]),
        "variances": np.stack([one.spread(acuity) ** 2 for one in concepts]),
        "priors": np.log([one.count / len(features) for one in concepts]),
    }
