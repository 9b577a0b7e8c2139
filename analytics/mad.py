"""Multivariate alteration detection: change between two images as differences of canonical variates (MAD, IR-MAD).

The moments of the whole grid are exact sums of integers, so that neither where tiles are cut nor the order in which they
come shows in the result: numbers are rounded to 2**-20 of half their range, weights to 2**-10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.engine.scene import Scene, Whole
from esd.errors import BandError, ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType, Space
from esd.structure import common_grid

from .composites import finite
from .thresholds import Constants

__all__: list[str] = []

Array = npt.NDArray[Any]
MOST_ITERATIONS = 100
UNIT, WEIGHT = 2.0**20, 2.0**10
AT_ONCE = 4096
"""Products of 50 bits that are added up before they are split: 2**12 of them stay below 2**63."""
LOW_BITS = np.int64((1 << 32) - 1)
NOTHING = 1e-12
DEPENDENT = 1e-10
"""Smallest eigenvalue of correlations below which bands say the same: rounding alone leaves about 1e-12."""


@dataclass(frozen=True)
class Variates:
    """Differences of canonical variates: row i of `weights` [n, 2n] and `offsets` [n] gives the i-th, of `variances` [n]."""

    weights: Array
    offsets: Array
    variances: Array

    def of(self, numbers: Array) -> Array:
        """Return the differences [n, ...] of numbers [2n, ...], band after band."""
        out = np.empty((len(self.weights), *numbers.shape[1:]))
        for place, row in enumerate(self.weights):
            total = np.full(numbers.shape[1:], self.offsets[place])
            for weight, band in zip(row, numbers, strict=True):
                total += weight * band
            out[place] = total
        return out

    def squares(self, differences: Array) -> Array:
        """Return the sum of the squared differences in units of their variance: chi-square where nothing changed."""
        total = np.zeros(differences.shape[1:])
        for variance, plane in zip(self.variances, differences, strict=True):
            if variance > NOTHING:
                total += plane * plane / variance
        return total

    @property
    def flat(self) -> Array:
        """All numbers in a row."""
        return np.concatenate([self.weights.ravel(), self.offsets, self.variances])

    @classmethod
    def from_flat(cls, numbers: Array, n: int) -> Variates:
        """Return what `flat` made a row of."""
        weights, offsets, variances = np.split(numbers, [2 * n * n, 2 * n * n + n])
        return cls(weights.reshape(n, 2 * n), offsets, variances)


def _exact_sum(values: npt.NDArray[np.int64]) -> int:
    """Return the exact sum of integers below 2**50."""
    whole = -(-len(values) // AT_ONCE) * AT_ONCE
    parts = np.pad(values, (0, whole - len(values))).reshape(-1, AT_ONCE).sum(axis=1)
    return (int((parts >> np.int64(32)).sum()) << 32) + int((parts & LOW_BITS).sum())


def _complete(block: Block, time: int) -> Array:
    """Return numbers [band, pixel] of the pixels at which all bands are valid and finite."""
    known = finite(block.values[time], block.full_valid[time]).all(axis=0)
    return np.asarray(block.values[time][:, known], dtype=np.float64)


def _ranges(scene: Scene) -> tuple[Array, Array]:
    """Return the middle and half the range of each time and band."""
    low, high = np.full(scene.shape[:2], np.inf), np.full(scene.shape[:2], -np.inf)
    for _region, block in scene.tiles():
        for time in range(len(low)):
            numbers = _complete(block, time)
            if numbers.size:
                low[time], high[time] = (
                    np.minimum(low[time], numbers.min(axis=1)),
                    np.maximum(high[time], numbers.max(axis=1)),
                )
    if not (low < high).all():
        raise ExpressionError("mad: a band has no valid pixels, or the same number everywhere; choose other bands or times")
    return (low + high) / 2, (high - low) / 2


class _Moments:
    """Exact weighted sums of the numbers of 2n bands and of their products."""

    def __init__(self, size: int) -> None:
        self.size, self.total = size, 0
        self.sums = [0] * size
        self.products = [[0] * size for _band in range(size)]

    def add(self, numbers: Array, weights: Array) -> None:
        whole = np.rint(numbers * UNIT).astype(np.int64)
        counts = np.rint(weights * WEIGHT).astype(np.int64)
        self.total += _exact_sum(counts)
        for i in range(self.size):
            weighted = whole[i] * counts
            self.sums[i] += _exact_sum(weighted)
            for j in range(i, self.size):
                self.products[i][j] += _exact_sum(weighted * whole[j])

    def result(self) -> tuple[Array, Array]:
        """Return the means and the covariance matrix."""
        means, matrix = np.empty(self.size), np.empty((self.size, self.size))
        for i in range(self.size):
            means[i] = self.sums[i] / self.total / UNIT
            for j in range(i, self.size):
                apart = self.products[i][j] * self.total - self.sums[i] * self.sums[j]
                matrix[i, j] = matrix[j, i] = apart / self.total**2 / UNIT**2
        return means, matrix


def _independence(matrix: Array) -> float:
    """Return the smallest eigenvalue of the correlations of a covariance matrix."""
    spread = np.sqrt(np.maximum(np.diag(matrix), NOTHING))
    return float(np.linalg.eigvalsh(matrix / np.outer(spread, spread))[0])


def _variates(means: Array, matrix: Array) -> Variates:
    """Return the differences of canonical variates, the least correlated pair first; each pair correlates positively."""
    from scipy.linalg import eigh

    n = len(means) // 2
    one, both, other = matrix[:n, :n], matrix[:n, n:], matrix[n:, n:]
    if min(_independence(one), _independence(other)) < DEPENDENT:
        raise ExpressionError("mad: the bands of an image depend on one another; leave some of them out")
    inverse = np.linalg.solve(other, both.T)
    values, left = eigh(both @ inverse, one)
    correlation = np.sqrt(np.clip(values, 0, 1))
    turned = np.sign((one @ left / np.sqrt(np.diag(one))[:, None]).sum(axis=0))
    left = left * np.where(turned == 0, 1, turned)
    right = inverse @ left / np.maximum(correlation, NOTHING)
    weights = np.concatenate([left, -right]).T
    return Variates(weights, -(weights @ means), 2 * (1 - correlation))


def _found(scene: Scene, iterations: int) -> list[Variates]:
    """Return the variates of each time, in units of the ranges, after so many rounds of new weights."""
    from scipy.special import chdtrc

    centre, half = _ranges(scene)
    times, size = centre.shape
    found: list[Variates] = []
    for _round in range(iterations + 1):
        moments = [_Moments(size) for _time in range(times)]
        for _region, block in scene.tiles():
            for time in range(times):
                numbers = (_complete(block, time) - centre[time, :, None]) / half[time, :, None]
                weights = np.ones(numbers.shape[1])
                if found:
                    weights = chdtrc(size // 2, found[time].squares(found[time].of(numbers)))
                moments[time].add(numbers, weights)
        if any(moment.total == 0 for moment in moments):
            raise ExpressionError("mad: no pixel is left that has not changed; iterate less")
        found = [_variates(*moment.result()) for moment in moments]
    return [_in_units(variates, *pair) for variates, pair in zip(found, zip(centre, half, strict=True), strict=True)]


def _in_units(variates: Variates, centre: Array, half: Array) -> Variates:
    """Return variates of numbers as they are."""
    weights = variates.weights / half
    return Variates(weights, variates.offsets - weights @ centre, variates.variances)


def _coefficient_rule(image: CubeType, *, iterations: int) -> CubeType:
    if len(image.bands) % 2 or image.grid is None:
        raise BandError(f"mad_coefficients: {image.describe()}; join as many bands of each of two images on a grid")
    if not 0 <= iterations <= MOST_ITERATIONS:
        raise ExpressionError(f"mad: iterations={iterations} is out of range; give 0 to {MOST_ITERATIONS}")
    n = len(image.bands) // 2
    names = tuple(f"c{place}" for place in range(2 * n * n + 2 * n))
    return image.with_(bands=names, dtype=np.dtype(np.float64), space=Space.VALUE, encoder=None)


def _coefficient_work(types: Sequence[CubeType], _args: Mapping[str, Any], _pixels: int) -> int:
    return 40 * 8 * 512**2 + len(types[0].bands) * 8 * 512**2


@operator(
    "change",
    Tile.GLOBAL,
    _coefficient_rule,
    work=_coefficient_work,
    example="before['nir'].add_bands(after['nir'].rename('later')).mad_coefficients()",
)
def mad_coefficients(image: Scene, iterations: int = 0) -> Whole:
    """What `mad` multiplies the bands of two images by, the same at every pixel: as bands, for each time by itself.

    The first half of the bands is the first image. Raises ExpressionError where bands are constant or depend on one another.
    """
    rows = np.stack([variates.flat for variates in _found(image, iterations)])
    return Constants(rows, np.ones(rows.shape, dtype=bool))


def _apply_rule(image: CubeType, coefficients: CubeType) -> CubeType:
    n = len(image.bands) // 2
    if len(coefficients.bands) != 2 * n * n + 2 * n or len(coefficients.time) != len(image.time):
        raise BandError(f"mad_variates: {coefficients.describe()} are not the coefficients of {image.describe()}")
    common_grid("mad_variates", (image, coefficients))
    names = (*(f"mad{place}" for place in range(1, n + 1)), "chi2")
    return image.with_(bands=names, dtype=np.dtype(np.float64), space=Space.VALUE, encoder=None)


@operator(
    "change",
    Tile.ARRAY,
    _apply_rule,
    interpreted="sums of bands are NumPy's loops over planes, in float64",
    example="sar.add_bands(nir).mad_variates(sar.add_bands(nir).mad_coefficients())",
)
def mad_variates(image: Block, coefficients: Block) -> Block:
    """The bands of two images times the numbers of `mad_coefficients`: "mad1", ... and "chi2"; `mad` explains."""
    times, bands, rows, columns = image.values.shape
    n = bands // 2
    known = np.asarray(finite(image.values, image.full_valid).all(axis=1))
    out = np.zeros((times, n + 1, rows, columns))
    for time in range(times):
        variates = Variates.from_flat(coefficients.values[time, :, 0, 0], n)
        out[time, :n] = variates.of(np.where(known[time], image.values[time], 0).astype(np.float64))
        out[time, n] = variates.squares(out[time, :n])
    valid = np.broadcast_to(known[:, None], out.shape)
    return Block(np.where(valid, out, 0), valid.copy())


@composite("change", example="before.select('nir', 'red').mad(after.select('nir', 'red'))")
def mad(a: Image, b: Image, iterations: int = 0) -> Image:
    """Change as the differences of canonical variates, blind to gains and offsets: bands "mad1", "mad2", ..., "chi2".

    Of each image the combinations of bands are taken that correlate most with one of the other image's; "mad1" is the
    difference of the pair that correlates least, where change shows most, and "chi2" the sum of all their squares in units
    of their variances: of a chi-square with as many degrees of freedom as bands where nothing has changed. With
    `iterations` (IR-MAD, 10 to 30 usually do) the moments are taken again, each pixel weighted by its probability of no
    change; that parts change from the rest better, but the variances come out too small and "chi2" too large, so that a
    threshold is to be taken from it (`otsu`) and not from the distribution.
    Statistics are those of the whole grid, each time by itself; mask what is not to count (`esd.regions.clip`).
    float64; not valid where a band of either is not valid. Raises BandError for images of different numbers of bands,
    ExpressionError where bands are constant or depend on one another. Source: Nielsen, Conradsen and Simpson (1998);
    Nielsen (2007), "The regularized iteratively reweighted MAD method".
    """
    if len(a.type.bands) != len(b.type.bands):
        raise BandError(f"mad: the images have {len(a.type.bands)} and {len(b.type.bands)} bands; .select() as many")
    renamed = [
        call("rename", image, *(f"{side}{place}" for place in range(len(image.type.bands))))
        for side, image in (("a", a), ("b", b))
    ]
    joined = call("add_bands", *renamed)
    return call("mad_variates", joined, call("mad_coefficients", joined, iterations))
