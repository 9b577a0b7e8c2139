"""Reconstruction error in full: by band, season, class and length of the gap, for visible and for hidden observations.

Only observed values are scored. Arrays are dekads: values float32 and weights uint8, [36, 6, n].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.dekad import BANDS, DEKADS

from .evaluate import CLOUDY_BLUE, Score, score

__all__ = [
    "GAPS",
    "GROWING",
    "HIDDEN_SHARE",
    "SEASONS",
    "TEST_SEED",
    "clean_summer",
    "cuts",
    "fidelity",
    "gap_lengths",
    "kinds",
    "months",
    "seasons",
]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

SEASONS = ("Jan-Mar", "Apr-Jun", "Jul-Sep", "Oct-Dec")
GAPS: Mapping[str, tuple[int, int]] = {"1-2": (1, 2), "3-4": (3, 4), "5-8": (5, 8), "9-36": (9, DEKADS)}
"""Lengths of gaps by name, in dekads, both ends included."""
GROWING = range(4, 10)
"""April to September, the months in which clean observations are judged."""
HIDDEN_SHARE = 0.2
"""Share of each pixel's observed dekads that is hidden from the encoder where hidden observations are scored."""
TEST_SEED = 2024
BRIGHTEST_NIR = 0.8
"""Near infrared above which no ground is that is dark in blue: leaves end at 0.7, and snow is bright in both."""
CLEAN_BLUE = 0.08
"""Reflectance of blue below which an observation of land is surely clear of thin cloud."""


def months(start_month: int) -> npt.NDArray[np.int64]:
    """Return the month (1..12) of each of the 36 dekads of a window that begins in `start_month`."""
    return (np.arange(DEKADS) // 3 + start_month - 1) % 12 + 1


def seasons(start_month: int = 1) -> dict[str, Mask]:
    """Return by season which dekads lie in it, [36, 1, 1]."""
    quarter = (months(start_month) - 1) // 3
    return {name: (quarter == index)[:, None, None] for index, name in enumerate(SEASONS)}


def clean_summer(values: Floats, weights: Weights, start_month: int = 1) -> Mask:
    """Return which dekads of April to September have blue below 0.08, [36, 1, n]."""
    summer = np.isin(months(start_month), GROWING)[:, None, None]
    return np.asarray(summer & (weights[:, :1] > 0) & (values[:, :1] < CLEAN_BLUE))


def gap_lengths(shown: Weights) -> npt.NDArray[np.int64]:
    """Return how many dekads in a row lack a shown observation around each dekad, it counted in: [36, n], 1..36.

    For a shown dekad it is the gap that would be there without it. Gaps end at the ends of the window.
    """
    seen = (shown > 0).any(axis=1)
    position = np.arange(DEKADS)[:, None]
    last = np.maximum.accumulate(np.where(seen, position, -1), axis=0)
    following = np.minimum.accumulate(np.where(seen, position, DEKADS)[::-1], axis=0)[::-1]
    before = np.concatenate([np.full((1, seen.shape[1]), -1), last[:-1]])
    after = np.concatenate([following[1:], np.full((1, seen.shape[1]), DEKADS)])
    return np.asarray(after - before - 1)


def kinds(values: Floats, weights: Weights, shown: Weights, start_month: int = 1) -> dict[str, Mask]:
    """Return which observations are of each kind, [36, 6, n]: what the encoder saw and what was hidden from it.

    "visible" and "hidden" are all of them; "_clear" leaves out those whose blue is above 0.2; "_plausible" those too of
    pixel-years with near infrared above 0.8 beside blue up to 0.2: corrupt values, few, that rule squared errors and
    correlations; "_cloud_free" those of pixel-years with any blue above 0.2; "_clean_summer" keeps those of April to
    September with blue below 0.08.
    """
    observed = weights > 0
    bright = observed[:, :1] & (values[:, :1] > CLOUDY_BLUE)
    corrupt = observed[:, :1] & observed[:, 3:4] & (values[:, 3:4] > BRIGHTEST_NIR) & ~bright
    result = {}
    for name, chosen in (("visible", observed & (shown > 0)), ("hidden", observed & (shown == 0))):
        if chosen.any():
            result[name] = chosen
            result[f"{name}_clear"] = chosen & ~bright
            result[f"{name}_plausible"] = chosen & ~bright & ~corrupt.any(axis=0)
            result[f"{name}_cloud_free"] = chosen & ~bright.any(axis=0)
            result[f"{name}_clean_summer"] = chosen & clean_summer(values, weights, start_month)
    return result


def cuts(shown: Weights, labels: npt.NDArray[Any] | None, start_month: int) -> dict[str, dict[str, Mask]]:
    """Return the ways in which scores are broken down, each a mask that broadcasts to [36, 6, n] by name."""
    length = gap_lengths(shown)
    found = {
        "season": seasons(start_month),
        "gap": {name: ((length >= low) & (length <= high))[:, None, :] for name, (low, high) in GAPS.items()},
    }
    if labels is not None:
        names = labels.astype(str)
        found["class"] = {str(name): (names == name)[None, None, :] for name in np.unique(names)}
    return found


def _plain(found: Score) -> dict[str, Any]:
    bands = zip(BANDS, found.band_mae, found.band_rmse, found.band_cc, strict=True)
    by_band = {band: {"mae": mae, "rmse": rmse, "cc": cc} for band, mae, rmse, cc in bands if not np.isnan(mae)}
    return found.summary() | {"band": by_band}


def fidelity(
    predicted: Floats,
    values: Floats,
    weights: Weights,
    shown: Weights,
    labels: npt.NDArray[Any] | None = None,
    start_month: int = 1,
) -> dict[str, Any]:
    """Score a reconstruction of what the encoder was shown, all [36, 6, n].

    Returns by kind of observation (see `kinds`) count, MAE, RMSE and CC with the same by band, and for those of blue up
    to 0.2 by season, gap and, where `labels` [n] are given, class.
    """
    chosen = kinds(values, weights, shown, start_month)
    ways = cuts(shown, labels, start_month)
    result: dict[str, Any] = {}
    for name, mask in chosen.items():
        result[name] = _plain(score(predicted, values, mask))
        if name.endswith("_clear"):
            for way, parts in ways.items():
                rows = {key: score(predicted, values, mask & part).summary() for key, part in parts.items()}
                result[name][way] = {key: row for key, row in rows.items() if row["values"]}
    return result
