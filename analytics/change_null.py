"""The distribution of unchanged angles where nobody marked unchanged land.

Land differs in how far apart two years of it lie that have not changed: crops turn more than forest, and vectors of few
observations more than those of many. The angles of a landscape are a mixture of all that, which no one shape fits. How far
an unchanged pixel turns is told from its vector of the first year; pixels are sorted into strata by it, and divided by a
low quantile of their stratum their angles have about one shape. The null is that shape at the scales of all strata.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from esd.hashing import hash_bits

__all__ = ["MixedNull", "Sample"]

KEPT = 50_000
"""Pixels of each half of the land whose angles are kept: enough for a quantile of two in a hundred of any stratum."""
SEED = 0
STRATA, IN_A_STRATUM = 8, 100
"""Strata at most, and pixels in each at least."""
SCALE_LEVEL = 0.16
"""The quantile that tells a stratum's scale: low, where changed pixels are rare, and above the angles of a level or none."""
LEVELS = np.array([0.02, 0.05, 0.1, 0.16, 0.25, 0.35, 0.5, 0.6])
"""Shares of the angles to which the null distribution is fitted."""
SCORES = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
POWERS = tuple(step * 0.25 for step in range(9))
ROUNDS = 8
"""How often the regression is fitted to the half that lies lowest of the last fit: changed pixels lie high."""
NARROWEST = 1e-6

Doubles = npt.NDArray[np.float64]


@dataclass
class Sample:
    """Rows of numbers of at most KEPT pixels, drawn by a hash of their place: the same for every tiling."""

    columns: int
    total: int = 0
    """Pixels that were offered."""
    hashes: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    rows: Doubles = field(init=False)

    def __post_init__(self) -> None:
        self.rows = np.empty((0, self.columns))

    def add(self, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64], rows: Doubles) -> None:
        """Offer pixels [n] at places [n] with rows [n, columns]; those with the lowest hashes stay, in their order."""
        self.total += len(rows)
        hashes = np.concatenate([self.hashes, hash_bits((y, x), SEED)])
        order = np.argsort(hashes)[:KEPT]
        self.hashes, self.rows = hashes[order], np.concatenate([self.rows, rows])[order]


@dataclass(frozen=True)
class _Null:
    """A power of the number (0 stands for its logarithm) is normal."""

    power: float
    centre: float
    spread: float

    @classmethod
    def fit(cls, numbers: Doubles) -> _Null:
        """Fit the lower quantiles: the power that makes them most nearly normal, then centre and spread by a line."""
        quantiles = np.quantile(numbers, LEVELS)
        if quantiles[-1] - quantiles[0] < NARROWEST * quantiles[-1]:
            return cls(1.0, float(quantiles[-1]), 0.0)
        best = max(POWERS, key=lambda power: float(np.corrcoef(SCORES, _to_power(quantiles, power))[0, 1]))
        spread, centre = np.polyfit(SCORES, _to_power(quantiles, best), 1)
        return cls(best, float(centre), float(spread))

    def tail(self, number: float) -> float:
        """Return the share of unchanged pixels that exceed a number."""
        value = float(_to_power(np.array([number]), self.power)[0])
        if self.spread == 0:
            return float(value < self.centre)
        return 1 - NormalDist(self.centre, self.spread).cdf(value)


def _to_power(numbers: Doubles, power: float) -> Doubles:
    return np.log(numbers) if power == 0 else numbers**power


@dataclass(frozen=True)
class MixedNull:
    """The distribution of unchanged angles: one shape, at the scale of each stratum of the land."""

    shape: _Null
    scales: tuple[float, ...]
    shares: tuple[float, ...]

    @classmethod
    def fit(cls, angles: Doubles, vectors: Doubles | None, smallest: float) -> MixedNull:
        """Fit angles [n] in radians; angles below `smallest` count as it, because no smaller one means anything.

        `vectors` [n, k] tell what land a pixel is, None for land that is all alike.
        """
        angles = np.maximum(angles, smallest)
        strata = np.zeros(len(angles), dtype=np.intp) if vectors is None else _strata(angles, vectors)
        counts = np.bincount(strata)
        scales = np.array([np.quantile(angles[strata == stratum], SCALE_LEVEL) for stratum in range(len(counts))])
        shares = counts / len(angles)
        return cls(_Null.fit(angles / scales[strata]), tuple(map(float, scales)), tuple(map(float, shares)))

    def tail(self, angle: float) -> float:
        """Return the share of unchanged pixels that exceed an angle."""
        parts = zip(self.shares, self.scales, strict=True)
        return sum(share * self.shape.tail(angle / scale) for share, scale in parts)

    def upper(self, alpha: float) -> float:
        """Return the angle that a share `alpha` of unchanged pixels exceeds; at most pi."""
        if self.shape.spread == 0:
            return min(max(self.scales) * self.shape.centre, math.pi)
        if self.tail(math.pi) >= alpha:
            return math.pi
        lowest = min(self.scales) * NARROWEST
        return float(brentq(lambda angle: self.tail(angle) - alpha, lowest, math.pi))


def _strata(angles: Doubles, vectors: Doubles) -> npt.NDArray[np.intp]:
    """Sort pixels into strata of equal size by how far land like them turns while it has not changed: [n], from 0."""
    expected = _expected(np.log(angles), vectors)
    number = max(1, min(STRATA, len(angles) // IN_A_STRATUM))
    edges = np.quantile(expected, np.arange(1, number) / number)
    return np.unique(np.searchsorted(edges, expected), return_inverse=True)[1]


def _expected(numbers: Doubles, vectors: Doubles) -> Doubles:
    """Return what a regression on vectors and their squares expects of unchanged pixels: [n]."""
    spread = vectors.std(axis=0)
    centred = (vectors - vectors.mean(axis=0)) / np.where(spread > 0, spread, 1)
    terms = np.concatenate([np.ones((len(numbers), 1)), centred, centred**2], axis=1)
    kept = np.ones(len(numbers), dtype=bool)
    expected = numbers
    for _round in range(ROUNDS):
        expected = terms @ np.linalg.lstsq(terms[kept], numbers[kept], rcond=None)[0]
        above = numbers - expected
        kept = above <= np.median(above)
    return expected
