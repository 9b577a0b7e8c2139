"""Statistics of all bands together over time: the geometric median and the covariance matrix of each pixel.

A time counts where all bands are valid and finite. All is computed in float64, sums in the order of time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.operator import Tile, operator
from esd.space import CubeType, Space

from .regressions import WHOLE_SERIES, centred, in_order

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def _whole_times(image: Block) -> tuple[Floats, Mask]:
    """Return the values [time, band, pixel], 0 where a time does not count, and which times of a pixel count."""
    times, bands = image.values.shape[:2]
    values = image.values.reshape(times, bands, -1).astype(np.float64)
    valid = np.asarray(image.full_valid.reshape(times, bands, -1).all(axis=1) & np.isfinite(values).all(axis=1))
    return np.where(valid[:, None], values, 0.0), valid


def _median_rule(image: CubeType, *, iterations: int, tolerance: float) -> CubeType:
    if iterations < 1 or not 0 <= tolerance < 1:
        raise ExpressionError(
            f"geometric_median: iterations={iterations} and tolerance={tolerance:g}; give at least 1, and 0 or more but "
            "less than 1"
        )
    return image.with_(time=image.time[:1], dtype=np.result_type(image.dtype, np.float32), encoder=image.encoder)


def _median_work(given: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    """Bytes of the series in float64, twice as those that still move are taken out, and of differences."""
    return pixels * len(given[0].bands) * 8 * (3 * len(given[0].time) + 8)


@operator(
    "reducer",
    Tile.ARRAY,
    _median_rule,
    work=_median_work,
    interpreted="goes on for each pixel until it stands",
    example="image.geometric_median()",
)
def geometric_median(image: Block, iterations: int = 500, tolerance: float = 1e-7) -> Block:
    """Geometric median over time: the vector of bands with the least sum of Euclidean distances to those of all times.

    One vector that belongs together, unlike the medians of the bands; in the unit and space of the image, float. A pixel is
    done when it moves by less than `tolerance` of the series' mean distance from its mean, or after `iterations` steps. Not
    valid where no time counts. Source: Weiszfeld's algorithm as amended by Vardi and Zhang (2000), from the mean.
    """
    values, valid = _whole_times(image)
    count = valid.sum(axis=0)
    found = in_order(values) / np.maximum(count, 1)
    size = in_order(np.where(valid, _lengths(values - found), 0.0)) / np.maximum(count, 1)
    moving = np.flatnonzero((count > 1) & (size > 0))
    for _step in range(iterations):
        if not moving.size:
            break
        here = found[:, moving]
        there = _step_of(values[:, :, moving], valid[:, moving], here, size[moving])
        found[:, moving] = there
        moving = moving[_lengths((there - here)[None])[0] > tolerance * size[moving]]
    found = _best_time(values, valid, found)
    known = (count > 0).reshape(1, 1, *image.values.shape[2:])
    dtype = np.result_type(image.values.dtype, np.float32)
    return Block(found.reshape(1, -1, *image.values.shape[2:]).astype(dtype), known)


def _best_time(values: Floats, valid: Mask, found: Floats) -> Floats:
    """Return the vector of a time instead of what was found where it is nearer to all: the way to one takes many steps."""
    least = in_order(np.where(valid, _lengths(values - found), 0.0))
    for time in range(len(values)):
        total = in_order(np.where(valid, _lengths(values - values[time]), 0.0))
        better = valid[time] & (total < least)
        found, least = np.where(better, values[time], found), np.where(better, total, least)
    return found


def _lengths(vectors: Floats) -> Floats:
    """Return the lengths [time, pixel] of vectors [time, band, pixel], summed in the order of the bands."""
    total = np.zeros((vectors.shape[0], vectors.shape[2]))
    for band in range(vectors.shape[1]):
        total += vectors[:, band] ** 2
    return np.sqrt(total)


def _step_of(values: Floats, valid: Mask, here: Floats, size: Floats) -> Floats:
    """Return the next guess [band, pixel]: the mean weighted by 1 / distance, held back where a time lies on the guess."""
    away = _lengths(values - here)
    on = valid & (away <= 1e-12 * size)
    weight = np.where(valid & ~on, 1 / np.where(on | ~valid, 1, away), 0.0)
    total = in_order(weight)
    mean = in_order(weight[:, None] * values) / np.where(total > 0, total, 1)
    pull = total * _lengths((mean - here)[None])[0]
    held = np.where(pull > 0, np.minimum(on.sum(axis=0) / np.where(pull > 0, pull, 1), 1), np.where(total > 0, 0, 1))
    return np.asarray((1 - held) * mean + held * here)


def _matrix_rule(image: CubeType, **_args: bool) -> CubeType:
    return image.with_(time=image.bands, dtype=np.dtype(np.float64), space=Space.VALUE, encoder=None)


@operator("reducer", Tile.ARRAY, _matrix_rule, interpreted=WHOLE_SERIES, example="image.covariance_matrix()")
def covariance_matrix(image: Block, centered: bool = False) -> Block:
    """Covariance matrix of the bands over time, divided by n - 1: the bands are its rows (times) and its columns (bands).

    A matrix per pixel as the matrix operators take it. `centered` says that the series have mean 0 already: nothing is
    subtracted. Not valid for fewer than two times that count. Of a region: `esd.region_tables.covariance`.
    """
    values, valid = _whole_times(image)
    bands = values.shape[1]
    apart = [values[:, band] if centered else centred(values[:, band], valid)[0] for band in range(bands)]
    count = valid.sum(axis=0)
    known = count > 1
    matrix = np.stack([np.stack([in_order(a * b) for b in apart]) for a in apart]) / np.maximum(count - 1, 1)
    shape = (bands, bands, *image.values.shape[2:])
    return Block(np.where(known, matrix, 0).reshape(shape), known.reshape(1, 1, *shape[2:]))
