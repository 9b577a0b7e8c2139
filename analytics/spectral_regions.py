"""Regions of the plane of two bands: which pixels lie in a polygon of their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from esd.block import Block
from esd.errors import ExpressionError
from esd.operator import Tile, operator
from esd.space import CubeType, Space

__all__: list[str] = []


def _rule(image: CubeType, *, coordinates: tuple[float, ...]) -> CubeType:
    if len(image.bands) != 2:
        raise ExpressionError(f"spectral_region: needs two bands, got {', '.join(image.bands)}; .select() them")
    if len(coordinates) < 6 or len(coordinates) % 2 or not np.isfinite(coordinates).all():
        raise ExpressionError(
            f"spectral_region: {len(coordinates)} coordinates are no polygon; give x and y of three corners or more in turn"
        )
    return image.with_(bands=("inside",), dtype=np.dtype(bool), space=Space.VALUE, encoder=None)


def _work(given: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    """Bytes of the two bands in float64, and of what is compared for one side."""
    return pixels * len(given[0].time) * (2 * 8 + 4 * 8)


@operator(
    "classify",
    Tile.ARRAY,
    _rule,
    work=_work,
    interpreted="a loop over the sides of the polygon",
    example="image['red', 'nir'].spectral_region((0.0, 0.2, 0.1, 0.2, 0.1, 0.6, 0.0, 0.6))",
)
def spectral_region(image: Block, coordinates: tuple[float, ...]) -> Block:
    """Whether the values of two bands, as x and y, lie in a polygon: a fixed classifier of two bands, each time by itself.

    `coordinates` are x and y of its corners in turn, in the bands' unit; it closes by itself, and where its sides cross
    counts what an odd number of them encloses. Of its sides, the lower and left ones belong to it. NaN lies outside; valid
    where both bands are. Source: Shimrat (1962), Earth Engine's spectralRegion.
    """
    x, y = (image.values[:, [band]].astype(np.float64) for band in (0, 1))
    corners = np.asarray(coordinates, dtype=np.float64).reshape(-1, 2)
    inside = np.zeros(x.shape, dtype=bool)
    with np.errstate(invalid="ignore"):  # infinite values: compared, never equal
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            crosses = (y0 > y) != (y1 > y)
            if y0 != y1:
                inside ^= crosses & (x < (x1 - x0) * ((y - y0) / (y1 - y0)) + x0)
    return Block(inside, np.asarray(image.full_valid.all(axis=1, keepdims=True)))
