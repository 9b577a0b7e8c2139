"""Is the codec as sure as it says? The share of observations inside of the intervals that it predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .fidelity import cuts, kinds

__all__ = ["NOMINAL", "coverage", "intervals"]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

NOMINAL = 0.9
"""Share of the observations that the interval is meant to hold."""
SMALLEST_PART = 200
"""A season or class with fewer observations has no coverage worth telling."""


def coverage(predicted: Floats, half: Floats, values: Floats, chosen: Mask) -> dict[str, float]:
    """Return how many of the chosen observations lie within `half` of the prediction, and the mean width; all [36, 6, n].

    NaN where nothing is chosen.
    """
    count = int(chosen.sum())
    if not count:
        return {"values": 0, "coverage": float("nan"), "width": float("nan")}
    inside = np.abs(predicted[chosen] - values[chosen]) <= half[chosen]
    return {"values": count, "coverage": float(inside.mean()), "width": float(2 * half[chosen].mean(dtype=np.float64))}


def intervals(
    predicted: Floats,
    half: Floats,
    values: Floats,
    weights: Weights,
    shown: Weights,
    labels: npt.NDArray[Any] | None = None,
    start_month: int = 1,
) -> dict[str, Any]:
    """Return the coverage of all observations of blue up to 0.2, of the visible and of the hidden ones; all [36, 6, n].

    "all" holds it by season and, where `labels` [n] are given, by class too; parts of fewer than 200 observations are
    left out.
    """
    found = kinds(values, weights, shown)
    chosen = {name.removesuffix("_clear"): mask for name, mask in found.items() if name.endswith("_clear")}
    everything = np.logical_or.reduce(list(chosen.values()))
    result: dict[str, Any] = {"nominal": NOMINAL, "all": coverage(predicted, half, values, everything)}
    result |= {name: coverage(predicted, half, values, mask) for name, mask in chosen.items()}
    for way, parts in _parts(shown, labels, start_month).items():
        rows = {key: coverage(predicted, half, values, everything & part) for key, part in parts.items()}
        result["all"][way] = {key: row for key, row in rows.items() if row["values"] >= SMALLEST_PART}
    return result


def _parts(shown: Weights, labels: npt.NDArray[Any] | None, start_month: int) -> Mapping[str, Mapping[str, Mask]]:
    return {way: parts for way, parts in cuts(shown, labels, start_month).items() if way != "gap"}
