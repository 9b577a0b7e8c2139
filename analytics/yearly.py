"""What segmentations of yearly series share: rising dates, times that count first, and many series at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import BandError, ExpressionError
from esd.space import CubeType, Space

from .composites import finite
from .seasons import check_days

__all__ = ["AT_ONCE", "Ordered", "by_series", "check_rising", "one_index"]

Array = npt.NDArray[Any]
AT_ONCE = 4096
"""Series that go through the steps side by side, few enough for a processor's cache."""


def check_rising(name: str, image: CubeType, days: Sequence[float]) -> None:
    """Raise ExpressionError where the days are not those of the times, or do not rise."""
    check_days(name, image, days)
    if any(one >= other for one, other in itertools.pairwise(days)):
        raise ExpressionError(f"{name}: the times must rise; aggregate them to one a year first")


def one_index(name: str, image: CubeType, days: Sequence[float], bands: Sequence[str]) -> CubeType:
    """Return the type of bands, float64, that are told of an index at its rising times. Raises BandError for two indices."""
    check_rising(name, image, days)
    if len(image.bands) != 1:
        raise BandError(f"{name}: the input has bands {', '.join(image.bands)}; .select() the index to segment by")
    return image.with_(bands=tuple(bands), dtype=np.dtype(np.float64), space=Space.VALUE, encoder=None)


class Ordered:
    """Series of which what is known comes first: x and y [time, series], and the last place that is.

    `order` are the times in that order; y is 0 where nothing is known.
    """

    def __init__(self, years: Array, values: Array, valid: Array) -> None:
        self.known = finite(values, valid)
        self.order = np.argsort(~self.known, axis=0, kind="stable")
        self.last = np.maximum(self.known.sum(axis=0) - 1, 0)
        self.x = np.take_along_axis(np.broadcast_to(years[:, None], self.known.shape), self.order, axis=0)
        self.y = np.take_along_axis(np.where(self.known, values, 0).astype(np.float64), self.order, axis=0)


def by_series(image: Block, bands: int, steps: Callable[[Array, Array], tuple[Array, Array]]) -> Block:
    """Apply steps to values and validity [time, band, series] of a block, so many series at a time.

    They return planes [time, so many bands, series], and which of them are known.
    """
    times, given, *size = image.values.shape
    pixels = image.values[0, 0].size
    values, valid = (one.reshape(times, given, pixels) for one in (image.values, image.full_valid))
    out, known = np.zeros((times, bands, pixels)), np.zeros((times, bands, pixels), dtype=bool)
    for start in range(0, pixels, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        out[:, :, part], known[:, :, part] = steps(values[:, :, part], valid[:, :, part])
    shape = (times, bands, *size)
    return Block(np.where(known, out, 0.0).reshape(shape), known.reshape(shape))
