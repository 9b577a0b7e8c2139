"""The scale on which networks see reflectance, and the encoder's input made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from esd.codec import fill_linear
from esd.dekad import BANDS

from .sampling import Source

__all__ = ["Normalization", "features", "normalization"]

Floats = npt.NDArray[np.float32]
CLOUDY_BLUE = 0.2
"""Blue reflectance above which an observation is taken for cloud or snow left in the data."""


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of each band, shape (6,), reflectance."""

    mean: Floats
    std: Floats


def normalization(sources: Sequence[Source]) -> Normalization:
    """Return mean and standard deviation of each band over the observations of the sources by their shares.

    Observations whose blue is above 0.2 (cloud, snow) are set aside, so that they do not stretch the scale.
    """
    moments = np.zeros((2, len(BANDS)))
    total = sum(source.share for source in sources)
    for source in sources:
        clear = source.values[:, :1] <= CLOUDY_BLUE
        for band in range(len(BANDS)):
            seen = (source.weights[:, band] > 0) & clear[:, 0]
            values = source.values[:, band][seen].astype(np.float64)
            moments[:, band] += source.share / total * np.array([values.mean(), np.square(values).mean()])
    mean = moments[0]
    std = np.sqrt(moments[1] - mean**2)
    return Normalization(mean.astype(np.float32), std.astype(np.float32))


def features(values: Floats, shown: npt.NDArray[np.uint8], normal: Normalization) -> Tensor:
    """Return the encoder's input: [36, 6, n] values and shown weights to [n, 36, 12], as the codec does it."""
    filled = fill_linear(values, shown, normal.mean)
    scaled = (filled - normal.mean[:, None]) / normal.std[:, None]
    stacked = np.concatenate([scaled, (shown > 0).astype(np.float32)], axis=1)
    return torch.from_numpy(np.ascontiguousarray(stacked.transpose(2, 0, 1)))
