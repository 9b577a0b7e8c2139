"""Statistics of series side by side, over time: correlations, regressions, histograms.

Times at which one of the series is not valid do not count. All is computed in float64, in the order of time.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.engine.lower import elementwise_type
from esd.errors import ExpressionError
from esd.operator import Tile, operator
from esd.space import CubeType, Space

__all__ = [
    "WHOLE_SERIES",
    "centred",
    "coefficients",
    "correlation_type",
    "in_order",
    "prepared",
    "together",
    "with_intercept",
]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
WHOLE_SERIES = "needs all times of a pixel at once"
SWEEPS = 2000
"""Rounds of coordinate descent at most."""
CLOSE = 1e-12
"""Change of a coefficient, in units of the target's spread, at which a pixel is done."""


def _paired(name: str, types: Sequence[CubeType]) -> CubeType:
    given = elementwise_type(name, np.add, types, {})
    if len({len(one.time) for one in types}) > 1:
        raise ExpressionError(f"{name}: the series have {[len(one.time) for one in types]} times; they must be as many")
    return given.with_(dtype=np.dtype(np.float64), space=Space.VALUE)


def correlation_type(name: str, a: CubeType, b: CubeType) -> CubeType:
    """Return the type of one number for two series of as many times, float64."""
    given = _paired(name, (a, b))
    return given.with_(time=given.time[:1])


def in_order(values: Array) -> Array:
    """Sum over the first axis in order, so that where a tile was cut does not show."""
    total = np.zeros(values.shape[1:], dtype=np.float64)
    for plane in values:
        total += plane
    return total


def together(blocks: Sequence[Block]) -> tuple[list[Array], Mask]:
    """Return the values of several series, float64 and 0 where one of them is not valid, and where all are."""
    values = np.broadcast_arrays(*(block.values for block in blocks))
    valid = np.logical_and.reduce(np.broadcast_arrays(*(block.full_valid for block in blocks)))
    return [np.where(valid, one, 0).astype(np.float64) for one in values], valid


def centred(values: Array, valid: Mask) -> tuple[Array, Array]:
    """Return deviations from the mean, 0 where not valid, and the mean."""
    mean = in_order(values) / np.maximum(valid.sum(axis=0), 1)
    return np.where(valid, values - mean, 0.0), mean


def _correlation(one: Array, other: Array, valid: Mask) -> Block:
    x, _mean = centred(one, valid)
    y, _mean = centred(other, valid)
    spread = np.sqrt(in_order(x * x) * in_order(y * y))
    known = (valid.sum(axis=0) > 1) & ((spread > 0) | np.isnan(spread))
    result = np.where(known, in_order(x * y) / np.where(known, spread, 1), 0)
    return Block(np.clip(result, -1, 1)[None], known[None])


@operator("reducer", Tile.TIME, lambda a, b: correlation_type("pearson", a, b), interpreted=WHOLE_SERIES)
def pearson(a: Block, b: Block) -> Block:
    """Pearson's correlation of two series, -1 to 1; not valid for fewer than two times or where one does not vary."""
    (one, other), valid = together((a, b))
    return _correlation(one, other, valid)


def _ranks(values: Array, valid: Mask) -> Array:
    """Return the ranks of the valid values from 1, equal ones sharing their mean rank; 0 where not valid."""
    ranks = np.zeros(values.shape, dtype=np.float64)
    for time, plane in enumerate(values):
        below = (valid & (values < plane)).sum(axis=0)
        same = (valid & (values == plane)).sum(axis=0)
        ranks[time] = np.where(valid[time], below + (same + 1) / 2, 0)
    return ranks


@operator("reducer", Tile.TIME, lambda a, b: correlation_type("spearman", a, b), interpreted=WHOLE_SERIES)
def spearman(a: Block, b: Block) -> Block:
    """Spearman's correlation: Pearson's of the ranks, equal values sharing their mean rank; validity as in `pearson`."""
    (one, other), valid = together((a, b))
    return _correlation(_ranks(one, valid), _ranks(other, valid), valid)


def _histogram_rule(image: CubeType, *, bins: int, lowest: float, highest: float) -> CubeType:
    if not 1 <= bins <= 1000 or not lowest < highest:
        raise ExpressionError(f"histogram: bins={bins} of {lowest:g}..{highest:g} are none; give 1 to 1000 of a range")
    edges = tuple(f"{lowest + (highest - lowest) * i / bins:g}" for i in range(bins))
    return image.with_(time=edges, dtype=np.dtype(np.int64), space=Space.VALUE, encoder=None)


@operator("reducer", Tile.TIME, _histogram_rule, interpreted=WHOLE_SERIES)
def histogram(image: Block, bins: int, lowest: float, highest: float) -> Block:
    """How many valid values lie in each of `bins` equal intervals of lowest..highest; the last one holds its upper end.

    The intervals are the times of the result, named by their lower ends. What lies outside, and NaN, is not counted.
    """
    edges = np.linspace(lowest, highest, bins + 1)
    valid, values = image.full_valid, image.values
    above = [np.where(valid & (values >= edge), 1, 0).sum(axis=0) for edge in edges[:-1]]
    above.append(np.where(valid & (values > edges[-1]), 1, 0).sum(axis=0))
    counts = np.stack([one - other for one, other in itertools.pairwise(above)])
    return Block(counts.astype(np.int64), np.ones((1, 1, *counts.shape[2:]), dtype=bool))


def coefficients(name: str, images: Sequence[CubeType]) -> CubeType:
    """Return the type of an intercept and a slope for each image after the first, as times."""
    if len(images) < 2:
        raise ExpressionError(f"{name}: give the target first, then one image or more that explain it")
    given = _paired(name, images)
    names = ("intercept", *(f"slope{i}" for i in range(1, len(images))))
    return given.with_(time=names)


def prepared(images: Sequence[Block]) -> tuple[Array, list[Array], list[Array], Mask]:
    """Return the centred target, the centred explaining series, all means (the target's first), and validity."""
    values, valid = together(images)
    apart = [centred(one, valid) for one in values]
    return apart[0][0], [x for x, _mean in apart[1:]], [mean for _x, mean in apart], valid


def with_intercept(slopes: Sequence[Array], means: Sequence[Array], known: Mask) -> Block:
    """Return the intercept that goes with slopes of centred series, and the slopes."""
    intercept = means[0].copy()
    for slope, mean in zip(slopes, means[1:], strict=True):
        intercept = intercept - slope * mean
    values = np.stack([np.where(known, one, 0) for one in (intercept, *slopes)])
    return Block(values, np.ascontiguousarray(np.broadcast_to(known, values.shape)))


def _least_squares(images: Sequence[Block], penalty: float) -> Block:
    """Solve the normal equations of centred series, `penalty` added to their diagonal."""
    target, series, means, valid = prepared(images)
    size = len(series)
    normal = np.stack([np.stack([in_order(a * b) for b in series], axis=-1) for a in series], axis=-2)
    normal = normal + penalty * np.eye(size)
    right = np.stack([in_order(a * target) for a in series], axis=-1)[..., None]
    finite = np.isfinite(normal).all(axis=(-1, -2)) & np.isfinite(right).all(axis=(-1, -2))
    scale = np.where(finite, np.abs(np.where(finite[..., None, None], normal, 0)).max(axis=(-1, -2)), 1)
    scaled = np.where(finite[..., None, None], normal, 0) / np.maximum(scale, 1e-300)[..., None, None]
    enough = valid.sum(axis=0) > (size if penalty == 0 else 0)
    known = finite & enough & (np.linalg.matrix_rank(scaled, hermitian=True) == size)
    solvable = np.where(known[..., None, None], normal, np.eye(size))
    slopes = np.linalg.solve(solvable, np.where(known[..., None, None], right, 0))[..., 0]
    return with_intercept([slopes[..., i] for i in range(size)], means, known)


@operator(
    "reducer",
    Tile.TIME,
    lambda *images: coefficients("linear_regression", images),
    interpreted=WHOLE_SERIES,
    example="call('linear_regression', image['nir'], image['red'], image['swir1'])",
)
def linear_regression(*images: Block) -> Block:
    """Least squares of the first image by the others, over time: the intercept, then a slope for each, as times.

    Not valid for fewer times than coefficients, or where the explaining images depend on one another.
    """
    return _least_squares(images, 0.0)


def _penalized(name: str, images: Sequence[CubeType], penalty: float) -> CubeType:
    if not penalty > 0:
        raise ExpressionError(f"{name}: penalty={penalty:g} must be above 0; linear_regression has none")
    return coefficients(name, images)


@operator(
    "reducer", Tile.TIME, lambda *images, penalty: _penalized("ridge_regression", images, penalty), interpreted=WHOLE_SERIES
)
def ridge_regression(*images: Block, penalty: float = 0.1) -> Block:
    """Ridge regression of the first image by the others: squares plus `penalty` times the squared slopes; see
    `linear_regression`. The intercept is not penalized. Source: Hoerl and Kennard (1970), scikit-learn's Ridge.
    """
    return _least_squares(images, penalty)


@operator(
    "reducer", Tile.TIME, lambda *images, penalty: _penalized("lasso_regression", images, penalty), interpreted=WHOLE_SERIES
)
def lasso_regression(*images: Block, penalty: float = 0.1) -> Block:
    """Lasso regression of the first image by the others: half the mean square plus `penalty` times the sum of absolute
    slopes; see `linear_regression`. Coordinate descent, each pixel until it stands. Source: Tibshirani (1996),
    scikit-learn's Lasso.
    """
    target, series, means, valid = prepared(images)
    count = np.maximum(valid.sum(axis=0), 1)
    squares = [in_order(x * x) / count for x in series]
    slopes = [np.zeros(target.shape[1:]) for _x in series]
    rest = target.copy()
    near = CLOSE * np.sqrt(in_order(target * target) / count)
    moving = np.isfinite(near) & (valid.sum(axis=0) > 0)
    for _sweep in range(SWEEPS):
        change = np.zeros(near.shape)
        for i, x in enumerate(series):
            pull = in_order(x * rest) / count + squares[i] * slopes[i]
            shrunk = np.sign(pull) * np.maximum(np.abs(pull) - penalty, 0) / np.where(squares[i] > 0, squares[i], 1)
            new = np.where(moving, shrunk, slopes[i])
            rest = rest - x * (new - slopes[i])
            change = np.maximum(change, np.abs(new - slopes[i]) * np.sqrt(squares[i]))
            slopes[i] = new
        moving &= change > near
        if not moving.any():
            break
    return with_intercept(slopes, means, np.isfinite(near) & (valid.sum(axis=0) > 0))
