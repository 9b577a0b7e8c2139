"""Classical codecs of the same size, to be beaten: principal components with Lloyd-Max levels and optimal bits.

A learned code that does not beat this at equal bytes is not worth shipping. Sources: Lloyd, "Least squares
quantization in PCM" (1982); Gersho and Gray, "Vector Quantization and Signal Compression" (1992), chapter 8.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from esd.codec import fill_linear
from esd.dekad import BANDS, DEKADS
from esd.errors import EncoderError

__all__ = ["PrincipalComponents", "lloyd_max"]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]

LARGEST_BITS = 9
FITTED = 20000
"""Pixel-years at most that the components and levels are fitted to."""


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
class PrincipalComponents:
    """PCA of the filled series with Lloyd-Max levels and greedy optimal bit allocation.

    The series are filled linearly in time and cut to the dekads and bands that any fitted pixel-year observed: where
    all pixel-years share their dates this is PCA on the observations themselves. Fit it with `fit`.
    """

    fill: Floats
    columns: npt.NDArray[np.bool_]
    mean: npt.NDArray[np.float64]
    components: npt.NDArray[np.float64]
    levels: tuple[npt.NDArray[np.float64], ...]

    @classmethod
    def fit(cls, values: Floats, weights: Weights, size: int, seed: int = 0) -> PrincipalComponents:
        """Fit to pixel-years [36, 6, n] for `size` bytes a pixel-year.

        Raises EncoderError if there are fewer than two pixel-years.
        """
        count = values.shape[2]
        if count < 2:
            raise EncoderError(f"principal components need at least two pixel-years; there are {count}")
        chosen = np.sort(np.random.default_rng(seed).permutation(count)[:FITTED])
        values, weights = values[..., chosen], weights[..., chosen]
        seen = weights > 0
        fill = np.array(
            [values[:, band][seen[:, band]].mean() if seen[:, band].any() else 0.0 for band in range(len(BANDS))],
            dtype=np.float32,
        )
        columns = seen.any(axis=2).reshape(-1)
        series = _series(values, weights, fill)[:, columns]
        mean = series.mean(axis=0)
        _left, _spread, components = np.linalg.svd(series - mean, full_matrices=False)
        scores = (series - mean) @ components.T
        levels = _allocate(scores, size * 8)
        return cls(fill, columns, mean, components[: len(levels)], levels)

    def reconstruct(self, values: Floats, weights: Weights) -> Floats:
        """Quantize and rebuild pixel-years: [36, 6, n] values and shown weights to reflectance of the same shape.

        Dekads and bands that no fitted pixel-year observed keep the fill.
        """
        series = _series(values, weights, self.fill)
        scores = (series[:, self.columns] - self.mean) @ self.components.T
        quantized = np.stack([_nearest(scores[:, k], level) for k, level in enumerate(self.levels)], axis=1)
        result = np.tile(self.fill, (series.shape[0], DEKADS, 1)).reshape(series.shape).astype(np.float64)
        result[:, self.columns] = quantized @ self.components + self.mean
        return result.reshape(-1, DEKADS, len(BANDS)).transpose(1, 2, 0).astype(np.float32)


def _series(values: Floats, weights: Weights, fill: Floats) -> npt.NDArray[np.float64]:
    filled = fill_linear(values, weights, fill)
    return filled.reshape(DEKADS * len(BANDS), -1).T.astype(np.float64)


def _allocate(scores: npt.NDArray[np.float64], bits: int) -> tuple[npt.NDArray[np.float64], ...]:
    """Give each bit to the component whose squared error it lowers most; return levels of the components that got any."""
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
    used = max((k + 1 for k, levels in enumerate(chosen) if levels.size > 1), default=1)
    return tuple(chosen[:used])
