"""Classical codecs of the same size, to be beaten: principal components with Lloyd-Max levels and optimal bits.

A learned code that does not beat this at equal bytes is not worth shipping. Sources: Lloyd, "Least squares
quantization in PCM" (1982); Gersho and Gray, "Vector Quantization and Signal Compression" (1992), chapter 8.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from esd.codec import fill_linear
from esd.dekad import BANDS, DEKADS
from esd.errors import EncoderError

__all__ = ["Classical", "PrincipalComponents", "Quantizer", "band_means", "draw", "lloyd_max"]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]

LARGEST_BITS = 9
FITTED = 20000
"""Pixel-years at most that the components and levels are fitted to."""


class Classical(Protocol):
    """A codec without a network: quantizes and rebuilds in one call."""

    def reconstruct(self, values: Floats, weights: Weights) -> Floats:
        """Quantize and rebuild pixel-years: [36, 6, n] values and shown weights to reflectance of the same shape."""


def lloyd_max(samples: npt.NDArray[np.float64], bits: int, rounds: int = 40) -> npt.NDArray[np.float64]:
    """Return the 2**bits levels that minimise the squared error over `samples`, ascending, by Lloyd's iteration."""
    if bits == 0:
        return np.array([samples.mean()])
    ordered = np.sort(samples)
    totals = np.concatenate([[0.0], np.cumsum(ordered)])
    levels = np.quantile(ordered, (np.arange(2**bits) + 0.5) / 2**bits)
    for _ in range(rounds):
        edges = np.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2)
        bounds = np.concatenate([[0], edges, [ordered.size]])
        counts = np.diff(bounds)
        means = np.diff(totals[bounds]) / np.maximum(counts, 1)
        levels = np.sort(np.where(counts > 0, means, levels))
    return levels


def _nearest(samples: npt.NDArray[np.float64], levels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, samples)]


def _distortion(samples: npt.NDArray[np.float64], levels: npt.NDArray[np.float64]) -> float:
    return float(np.square(samples - _nearest(samples, levels)).mean())


@dataclass(frozen=True)
class Quantizer:
    """Lloyd-Max levels for those columns of [n, columns] coefficients that get bits; the others become their mean.

    The transform that made the coefficients has to be orthonormal, for their squared error to be the reconstruction's.
    """

    mean: npt.NDArray[np.float64]
    columns: npt.NDArray[np.int64]
    levels: tuple[npt.NDArray[np.float64], ...]

    @classmethod
    def fit(cls, coefficients: npt.NDArray[np.float64], bits: int) -> Quantizer:
        """Give `bits` bits to the columns, one at a time to the column whose squared error it lowers most."""
        ordered = np.argsort(-coefficients.var(axis=0), kind="stable")
        levels = _allocate(coefficients[:, ordered], bits)
        used = [k for k, found in enumerate(levels) if found.size > 1]
        return cls(coefficients.mean(axis=0), ordered[used], tuple(levels[k] for k in used))

    def quantize(self, coefficients: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the coefficients [n, columns] at their nearest levels."""
        result = np.tile(self.mean, (len(coefficients), 1))
        for column, levels in zip(self.columns, self.levels, strict=True):
            result[:, column] = _nearest(coefficients[:, column], levels)
        return result


def draw(values: Floats, weights: Weights, seed: int) -> tuple[Floats, Weights]:
    """Draw the pixel-years that a codec is fitted to, 20,000 at most. Raises EncoderError if there are fewer than two."""
    count = values.shape[2]
    if count < 2:
        raise EncoderError(f"a classical codec needs at least two pixel-years to be fitted to; there are {count}")
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:FITTED])
    return values[..., chosen], weights[..., chosen]


def band_means(values: Floats, weights: Weights) -> Floats:
    """Return the mean of the observed values of each band, [6]; 0 for a band never observed."""
    seen = weights > 0
    means = [values[:, band][seen[:, band]].mean() if seen[:, band].any() else 0.0 for band in range(len(BANDS))]
    return np.array(means, dtype=np.float32)


@dataclass(frozen=True)
class PrincipalComponents:
    """PCA of the filled series with Lloyd-Max levels and greedy optimal bit allocation.

    The series are filled linearly in time and cut to the dekads and bands that any fitted pixel-year observed: where
    all pixel-years share their dates this is PCA on the observations themselves. Fit it with `fit`.
    """

    fill: Floats
    columns: npt.NDArray[np.bool_]
    mean: npt.NDArray[np.float64]
    components: npt.NDArray[np.float64]
    quantizer: Quantizer

    @classmethod
    def fit(cls, values: Floats, weights: Weights, size: int, seed: int = 0) -> PrincipalComponents:
        """Fit to pixel-years [36, 6, n] for `size` bytes a pixel-year.

        Raises EncoderError if there are fewer than two pixel-years.
        """
        values, weights = draw(values, weights, seed)
        fill = band_means(values, weights)
        columns = (weights > 0).any(axis=2).reshape(-1)
        series = _series(values, weights, fill)[:, columns]
        mean = series.mean(axis=0)
        _left, _spread, components = np.linalg.svd(series - mean, full_matrices=False)
        return cls(fill, columns, mean, components, Quantizer.fit((series - mean) @ components.T, size * 8))

    def reconstruct(self, values: Floats, weights: Weights) -> Floats:
        """Quantize and rebuild pixel-years: [36, 6, n] values and shown weights to reflectance of the same shape.

        Dekads and bands that no fitted pixel-year observed keep the fill.
        """
        series = _series(values, weights, self.fill)
        quantized = self.quantizer.quantize((series[:, self.columns] - self.mean) @ self.components.T)
        result = np.tile(self.fill, (series.shape[0], DEKADS, 1)).reshape(series.shape).astype(np.float64)
        result[:, self.columns] = quantized @ self.components + self.mean
        return result.reshape(-1, DEKADS, len(BANDS)).transpose(1, 2, 0).astype(np.float32)


def _series(values: Floats, weights: Weights, fill: Floats) -> npt.NDArray[np.float64]:
    filled = fill_linear(values, weights, fill)
    return filled.reshape(DEKADS * len(BANDS), -1).T.astype(np.float64)


def _allocate(scores: npt.NDArray[np.float64], bits: int) -> tuple[npt.NDArray[np.float64], ...]:
    """Give each bit to the component whose squared error it lowers most; return each one's levels."""
    chosen = [lloyd_max(scores[:, k], 0) for k in range(scores.shape[1])]
    gains: list[tuple[float, int, npt.NDArray[np.float64]]] = []

    def offer(component: int) -> None:
        used = int(np.log2(chosen[component].size))
        if used < LARGEST_BITS:
            better = lloyd_max(scores[:, component], used + 1)
            column = scores[:, component]
            gain = _distortion(column, chosen[component]) - _distortion(column, better)
            heapq.heappush(gains, (-gain, component, better))

    for component in range(min(scores.shape[1], bits)):
        offer(component)
    for _ in range(bits):
        if not gains:
            break
        _gain, component, better = heapq.heappop(gains)
        chosen[component] = better
        offer(component)
    return tuple(chosen)
