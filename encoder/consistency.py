"""Does an embedding stay put? Angles between embeddings of the same ground from other observations, sensors and years.

The yardstick is the median angle between two different pixel-years of the same class: an embedding whose angle under a
change of the input is not well below it tells the change, not the land.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.errors import EncoderError

from .adapter import Runtime
from .evaluate import score
from .sampling import MODIS_BANDS_MISSING, hide_dekads, observed_pixels

__all__ = [
    "angles",
    "between",
    "cloud_drift",
    "halves",
    "halves_consistency",
    "missing_bands",
    "same_ground",
    "stable_years",
]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

FEWEST = 4
"""Observed dekads that a pixel-year needs to be cut into two halves."""
PAIRS = 20000
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
STABLE = 0.01
"""Reflectance by which the summers of two years may differ: absolute difference of medians, mean over the bands."""
SUMMER = slice(12, 27)
"""Dekads of May to September, for windows that begin in January."""


def angles(first: Floats, second: Floats) -> npt.NDArray[np.float64]:
    """Return the angles between the rows of two arrays [n, d], degrees 0..180; NaN where one is the zero vector."""
    one, other = first.astype(np.float64), second.astype(np.float64)
    length = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosine = np.where(length > 0, (one * other).sum(axis=1) / np.where(length > 0, length, 1), np.nan)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def between(embeddings: Floats, labels: npt.NDArray[Any] | None, seed: int = 0) -> npt.NDArray[np.float64]:
    """Return angles between random pairs of different rows of the same label (of any rows without labels), degrees."""
    rng = np.random.default_rng(seed)
    count = len(embeddings)
    number = np.zeros(count, dtype=np.int64) if labels is None else np.unique(labels, return_inverse=True)[1]
    order = np.argsort(number, kind="stable")
    start, size = np.searchsorted(number[order], np.arange(number.max() + 1)), np.bincount(number)
    first = rng.integers(0, count, PAIRS)
    first = first[size[number[first]] > 1]
    second = order[start[number[first]] + rng.integers(0, size[number[first]])]
    different = first != second
    return angles(embeddings[first[different]], embeddings[second[different]])


def halves(weights: Weights, seed: int = 0) -> tuple[Weights, Weights]:
    """Cut each pixel-year's observed dekads at random into two disjoint halves: weights [36, 6, n] to two of the shape.

    The halves differ by one dekad at most and together are all. Pixel-years with fewer than four observed dekads give
    nothing to either.
    """
    rng = np.random.default_rng(seed)
    seen = (weights > 0).any(axis=1)
    rank = np.argsort(np.where(seen, rng.random(seen.shape), 2.0), axis=0).argsort(axis=0)
    usable = seen & (seen.sum(axis=0) >= FEWEST)
    first, second = usable & (rank % 2 == 0), usable & (rank % 2 == 1)
    return (
        np.where(first[:, None], weights, 0).astype(np.uint8),
        np.where(second[:, None], weights, 0).astype(np.uint8),
    )


def _compared(first: Floats, second: Floats, apart: npt.NDArray[np.float64]) -> dict[str, float]:
    same = float(np.nanmedian(angles(first, second)))
    other = float(np.nanmedian(apart))
    return {"pixel_years": len(first), "angle": same, "between_pixels": other, "factor": other / same if same else np.inf}


def halves_consistency(
    runtime: Runtime, values: Floats, weights: Weights, labels: npt.NDArray[Any] | None = None, seed: int = 0
) -> dict[str, float]:
    """Compare embeddings of the two halves of each pixel-year with those of different pixel-years of the same class.

    `values` and `weights` are [36, 6, n], `labels` [n] (None: any two pixel-years). Returns the median `angle` between
    the halves, the median angle `between_pixels` (from all of their observations), and by what `factor` it is larger.
    Raises EncoderError if no pixel-year has four observed dekads.
    """
    first, second = halves(weights, seed)
    usable = observed_pixels(first)
    if not usable.any():
        raise EncoderError(f"no pixel-year has {FEWEST} observed dekads; consistency needs two halves")
    values, kept = values[..., usable], None if labels is None else labels[usable]
    one, other = (runtime.embed(runtime.encode(values, part[..., usable])) for part in (first, second))
    whole = runtime.embed(runtime.encode(values, weights[..., usable]))
    return _compared(one, other, between(whole, kept, seed))


def missing_bands(
    runtime: Runtime, values: Floats, weights: Weights, labels: npt.NDArray[Any] | None = None
) -> dict[str, float]:
    """Compare embeddings of all bands with those of the four that MOD13Q1 has (no green, no swir1); arrays [36, 6, n]."""
    four = weights.copy()
    four[:, list(MODIS_BANDS_MISSING)] = 0
    usable = observed_pixels(four)
    if not usable.any():
        raise EncoderError("no pixel-year has blue, red, nir or swir2; there is nothing to compare")
    values = values[..., usable]
    whole, part = (runtime.embed(runtime.encode(values, given[..., usable])) for given in (weights, four))
    return _compared(whole, part, between(whole, None if labels is None else labels[usable]))


def same_ground(
    runtime: Runtime, values: Sequence[Floats], weights: Sequence[Weights], fewest: int = FEWEST
) -> dict[str, float]:
    """Compare embeddings of the same pixel-years from two sensors: two of values and of weights, [36, 6, n] each.

    Pixel-years where either has fewer than `fewest` observed dekads are left out. `between_pixels` is among any two
    pixel-years of the first sensor. Raises EncoderError if none is left.
    """
    enough = [(given > 0).any(axis=1).sum(axis=0) >= fewest for given in weights]
    both = enough[0] & enough[1]
    if not both.any():
        raise EncoderError(f"no pixel-year was seen by both sensors in {fewest} dekads; there is nothing to compare")
    pairs = zip(values, weights, strict=True)
    one, other = (runtime.embed(runtime.encode(value[..., both], weight[..., both])) for value, weight in pairs)
    return _compared(one, other, between(one, None))


def _summer(values: Floats, weights: Weights) -> npt.NDArray[np.float64]:
    """Return the median of what each band showed in May to September, [6, ...]; NaN where it showed nothing."""
    seen = weights[SUMMER] > 0
    ordered = np.sort(np.where(seen, values[SUMMER], np.nan).astype(np.float64), axis=0)  # NaN last
    count = seen.sum(axis=0)
    low = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0)[None], axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(ordered) - 1)[None], axis=0)[0]
    return np.where(count > 0, (low + high) / 2, np.nan)


def stable_years(runtime: Runtime, values: Floats, weights: Weights, most: int = 3000, seed: int = 0) -> dict[str, float]:
    """Compare embeddings of neighbouring years of pixels that stayed the same: values and weights [36, 6, years, n].

    A pixel is taken for stable from one year to the next if the medians of its May to September differ by at most 0.01
    of reflectance, the mean over the bands; `most` pairs are drawn. Raises EncoderError if there is none.
    """
    summer = _summer(values, weights)
    change = np.abs(np.diff(summer, axis=1)).mean(axis=0)
    year, pixel = np.nonzero(change <= STABLE)  # NaN compares false
    if not year.size:
        raise EncoderError("no pixel stayed the same between neighbouring years; there is nothing to compare")
    drawn = np.sort(np.random.default_rng(seed).permutation(year.size)[:most])
    year, pixel = year[drawn], pixel[drawn]
    one, other = (
        runtime.embed(runtime.encode(values[:, :, at, pixel], weights[:, :, at, pixel])) for at in (year, year + 1)
    )
    return _compared(one, other, between(one, None))


def cloud_drift(
    runtime: Runtime, values: Floats, weights: Weights, shares: Sequence[float] = SHARES, seed: int = 0
) -> list[dict[str, float]]:
    """Hide rising shares of each pixel-year's observed dekads: what does it cost, and how far does the embedding move?

    Arrays are [36, 6, n]. For every share: `mae` on what remains visible, `mae_before` on those same values when nothing
    was hidden, `cost` = mae / mae_before - 1, `mae_hidden`, and the median `angle` to the embedding of all observations.
    """
    codes = runtime.encode(values, weights)
    whole, before = runtime.embed(codes), runtime.decode(codes)
    rows = []
    for share in shares:
        shown = hide_dekads(weights, share, seed)
        codes = runtime.encode(values, shown)
        after = runtime.decode(codes)
        visible, hidden = shown > 0, (weights > 0) & (shown == 0)
        mae, same = score(after, values, visible).mae, score(before, values, visible).mae
        row = {"share": share, "mae": mae, "mae_before": same, "cost": mae / same - 1 if same else float("nan")}
        row |= {
            "mae_hidden": score(after, values, hidden).mae,
            "angle": float(np.nanmedian(angles(whole, runtime.embed(codes)))),
        }
        rows.append(row)
    return rows
