"""Reconstruction error on real observations, through the codec that cubes are read with (no torch).

Only observed values are scored: those that the encoder saw apart from those that were hidden from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from esd.codec import Codec
from esd.dekad import BANDS
from esd.errors import EncoderError

__all__ = ["CLOUDY_BLUE", "Score", "cloudy", "evaluate", "score", "scores"]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

CLOUDY_BLUE = 0.2
"""Blue reflectance above which an observation is taken for cloud or snow that the mask left in."""


@dataclass(frozen=True)
class Score:
    """Error of reflectance over `count` observed values.

    `mae` and `rmse` are over all values of all bands; `cc` is the mean of the observed bands' Pearson correlations; the
    `band_` fields hold the same by band, in the order of BANDS. NaN where there is nothing to score.
    """

    count: int
    mae: float
    rmse: float
    cc: float
    band_mae: tuple[float, ...]
    band_rmse: tuple[float, ...]
    band_cc: tuple[float, ...]

    def summary(self) -> dict[str, float]:
        """Return the overall figures as plain numbers."""
        return {"values": self.count, "mae": self.mae, "rmse": self.rmse, "cc": self.cc}


def _correlation(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    if first.size < 2 or first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def score(predicted: Floats, values: Floats, chosen: Mask) -> Score:
    """Compare predicted with observed reflectance where `chosen` is True; all [36, 6, n]."""
    band_mae, band_rmse, band_cc = [], [], []
    absolute = squared = 0.0
    for band in range(len(BANDS)):
        where = chosen[:, band]
        guess, truth = predicted[:, band][where].astype(np.float64), values[:, band][where].astype(np.float64)
        error = guess - truth
        absolute += float(np.abs(error).sum())
        squared += float(np.square(error).sum())
        band_mae.append(float(np.abs(error).mean()) if error.size else float("nan"))
        band_rmse.append(float(np.sqrt(np.square(error).mean())) if error.size else float("nan"))
        band_cc.append(_correlation(guess, truth))
    count = int(chosen.sum())
    mae, rmse = (absolute / count, float(np.sqrt(squared / count))) if count else (float("nan"), float("nan"))
    known = [found for found in band_cc if not np.isnan(found)]
    cc = float(np.mean(known)) if known else float("nan")
    return Score(count, mae, rmse, cc, tuple(band_mae), tuple(band_rmse), tuple(band_cc))


def cloudy(values: Floats, weights: Weights) -> Mask:
    """Return which pixel-years have a value of blue above 0.2, [n]; values and weights are [36, 6, n]."""
    bright = (weights[:, 0] > 0) & (values[:, 0] > CLOUDY_BLUE)
    return np.asarray(bright.any(axis=0))


def scores(predicted: Floats, values: Floats, weights: Weights, shown: Weights) -> dict[str, Score]:
    """Score a reconstruction on what was observed, [36, 6, n] all.

    `weights` are all observations, `shown` those that the encoder got. Returns "visible" and "visible_clear" (only
    where blue was not above 0.2), and, where something was hidden, "hidden" and "hidden_clear".
    """
    observed, visible = weights > 0, (weights > 0) & (shown > 0)
    clear = ~((weights[:, :1] > 0) & (values[:, :1] > CLOUDY_BLUE))
    result = {"visible": score(predicted, values, visible)}
    result["visible_clear"] = score(predicted, values, visible & clear)
    hidden = observed & ~visible
    if hidden.any():
        result["hidden"] = score(predicted, values, hidden)
        result["hidden_clear"] = score(predicted, values, hidden & clear)
    return result


def evaluate(codec: Codec, values: Floats, weights: Weights, hidden: Mask | None = None) -> dict[str, Score]:
    """Encode and decode pixel-years and score them.

    `values` float32 reflectance and `weights` uint8 are [36, 6, n]; `hidden`, a mask of the same shape, is kept from
    the encoder. A pixel-year of which nothing is left is not scored. Returns what `scores` returns. Raises
    EncoderError if nothing was observed, or nothing is left to encode.
    """
    shown = weights if hidden is None else np.where(hidden, 0, weights).astype(np.uint8)
    left = (shown > 0).any(axis=(0, 1))
    if not left.any():
        raise EncoderError("no pixel-year has an observation to encode; give observed values or hide fewer")
    values, weights, shown = values[..., left], weights[..., left], shown[..., left]
    return scores(codec.decode(codec.encode(values, shown)), values, weights, shown)
