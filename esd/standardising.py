"""How numbers are put on one scale before a classifier, a regression or a clustering sees them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["centre_and_scale"]

Doubles = npt.NDArray[np.float64]


def centre_and_scale(features: npt.NDArray[np.floating], weighed: bool) -> tuple[Doubles, Doubles]:
    """Return the means [d] of features [n, d], and by what each is divided [d]: its standard deviation, 1 where that is 0.

    The size of `weighed` features, such as the numbers of an embedding, says what they count in distances. They are divided
    by the root of the product of their own standard deviation and that of all, and so keep the root of their weight: what
    learns from samples finds in the lesser numbers what distances had better leave out.
    """
    spread = features.std(axis=0, dtype=np.float64)
    if weighed:
        spread = np.sqrt(spread * np.sqrt(np.square(spread).mean()))
    return features.mean(axis=0, dtype=np.float64), np.where(spread > 0, spread, 1.0)
