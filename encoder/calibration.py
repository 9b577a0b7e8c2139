"""Intervals that hold what they say: the factor that widens a network's intervals to their coverage on unseen pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .fidelity import HIDDEN_SHARE
from .losses import COVERAGE
from .model import ESDNet
from .normalization import Normalization, features
from .sampling import Source, hide_dekads

__all__ = ["interval_factor"]

CALIBRATED = 4000
"""Pixel-years of a source at most that the factor is found on."""


def interval_factor(model: ESDNet, sources: Sequence[Source], normal: Normalization) -> float:
    """Return what the network's widths have to be multiplied with to hold COVERAGE of the observations of `sources`.

    A fifth of the dekads is hidden from the encoder, for an interval is of what gaps decode to as well. Every source counts
    by its share, however many pixels it has (split conformal prediction; Vovk et al. 2005, with a weight for each
    observation).
    """
    ratios, weights = [], []
    for source in sources:
        part = source.take(np.sort(np.random.default_rng(0).permutation(source.size)[:CALIBRATED]))
        ratio = _error_in_widths(model, part, normal)
        ratios.append(ratio)
        weights.append(np.full(ratio.size, source.share / ratio.size))
    ratio, weight = np.concatenate(ratios), np.concatenate(weights)
    order = np.argsort(ratio)
    reached = np.cumsum(weight[order]) / weight.sum()
    return float(ratio[order][np.searchsorted(reached, COVERAGE)])


def _error_in_widths(model: ESDNet, source: Source, normal: Normalization) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    shown = hide_dekads(source.weights, HIDDEN_SHARE, seed=0)
    with torch.no_grad():
        values = model.quantize(model.latent(features(source.values, shown, normal)))
        predicted, width = model.decode(values).numpy(), model.decode(values, "uncertainty").exp().numpy()
    observed = (source.values.transpose(2, 0, 1) - normal.mean) / normal.std
    return (np.abs(predicted - observed) / width)[(source.weights > 0).transpose(2, 0, 1)]
