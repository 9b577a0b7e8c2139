"""Thresholds that the image itself tells: Otsu's, from the histogram of the whole grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.engine.scene import Scene, Whole
from esd.errors import ExpressionError
from esd.grid import Region
from esd.operator import Tile, operator
from esd.space import CubeType, Space

from .composites import finite

__all__ = ["Constants"]

Array = npt.NDArray[Any]
MOST_BINS = 65_536


@dataclass(frozen=True)
class Constants:
    """Numbers [time, band] that are the same for every pixel, and whether they are known."""

    values: Array
    known: npt.NDArray[np.bool_]

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        return self.values.nbytes + self.known.nbytes

    def crop(self, region: Region) -> Block:
        """Return a region: the numbers at every pixel."""
        shape = (*self.values.shape, *region.shape)
        kept = np.where(self.known, self.values, 0)
        values, valid = (np.broadcast_to(array[:, :, None, None], shape).copy() for array in (kept, self.known))
        return Block(values, valid)


def _otsu_rule(image: CubeType, *, bins: int) -> CubeType:
    if not 2 <= bins <= MOST_BINS:
        raise ExpressionError(f"otsu: bins={bins} is out of range; give 2 to {MOST_BINS}")
    if image.grid is None:
        raise ExpressionError("otsu: a constant has no histogram; use an image of a cube")
    return image.with_(dtype=np.dtype(np.float64), space=Space.VALUE, encoder=None)


def _otsu_work(types: Sequence[CubeType], args: Mapping[str, Any], _pixels: int) -> int:
    return len(types[0].time) * len(types[0].bands) * int(args["bins"]) * 8


def _range(scene: Scene) -> tuple[Array, Array]:
    """Return the smallest and largest valid number of each time and band; the one above the other for none."""
    shape = scene.shape[:2]
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    for _region, block in scene.tiles():
        known = finite(block.values, block.full_valid)
        low = np.minimum(low, np.where(known, block.values, np.inf).min(axis=(2, 3)))
        high = np.maximum(high, np.where(known, block.values, -np.inf).max(axis=(2, 3)))
    return low, high


def _counts(scene: Scene, low: Array, high: Array, bins: int) -> Array:
    """Count the valid numbers in equal intervals of their range: [time, band, bin]. NumPy's own histogram, added up."""
    counts = np.zeros((*low.shape, bins), dtype=np.int64)
    for _region, block in scene.tiles():
        known = finite(block.values, block.full_valid)
        for place in zip(*np.nonzero(low < high), strict=True):
            values = block.values[place][known[place]].astype(np.float64)
            counts[place] += np.histogram(values, bins, (low[place], high[place]))[0]
    return counts


def _best_split(counts: Array, low: float, high: float) -> float:
    """Return the middle of the interval after which the two classes' means differ most, weighted by their sizes."""
    edges = np.linspace(low, high, len(counts) + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    sizes, sums = np.cumsum(counts, dtype=np.float64), np.cumsum(counts * centres)
    below, above = sizes[:-1], sizes[-1] - sizes[:-1]
    apart = sums[:-1] / np.maximum(below, 1) - (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(centres[int(np.argmax(below * above * apart**2))])


@operator("change", Tile.GLOBAL, _otsu_rule, work=_otsu_work, example="nir.otsu()")
def otsu(image: Scene, bins: int = 256) -> Whole:
    """Otsu's threshold of each time and band, the same at every pixel: it parts the numbers of the whole grid into two.

    The threshold for which the two classes differ most, from a histogram of `bins` equal intervals of the range of the
    valid, finite numbers: the middle of the interval that ends the lower class, float64, for `image > image.otsu()`. Where
    all are equal it is that number; where none is valid it is not. To look at a part of the image, mask the rest
    (`esd.regions.clip`). Raises ExpressionError for a constant or bins outside of 2 to 65,536. Source: Otsu (1979),
    scikit-image's threshold_otsu.
    """
    low, high = _range(image)
    counts = _counts(image, low, high, bins)
    values = np.where(low == high, low, 0.0)
    for place in zip(*np.nonzero(low < high), strict=True):
        values[place] = _best_split(counts[place], low[place], high[place])
    return Constants(values, low <= high)
