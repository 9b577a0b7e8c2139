"""Regression over time that outliers do not pull: Huber's M-estimator, pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.operator import Tile, operator
from esd.reducer import REDUCERS
from esd.space import CubeType

from .regressions import coefficients, in_order, prepared, with_intercept

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
SWEEPS = 500
"""Rounds of reweighting at most."""
CLOSE = 1e-10
"""Change of the fitted values, in units of the target's spread, at which a pixel is done."""
HUBER = 1.345
"""Standard deviations of normal residuals at which it is 95 % as efficient as least squares. Source: Huber (1981)."""
MAD_TO_SIGMA = 1.4826


def _rule(images: Sequence[CubeType], beta: float | None) -> CubeType:
    if beta is not None and not beta > 0:
        raise ExpressionError(f"robust_regression: beta={beta:g} must be above 0, in the target's unit")
    return coefficients("robust_regression", images)


@operator(
    "reducer",
    Tile.TIME,
    lambda *images, beta: _rule(images, beta),
    interpreted="goes on for each pixel until it stands",
    example="call('robust_regression', image['nir'], image['red'])",
)
def robust_regression(*images: Block, beta: float | None = None) -> Block:
    """Regression of the first image by the others over time that outliers hardly pull: the intercept, then the slopes.

    Minimizes Huber's loss: squares of residuals up to `beta`, in the target's unit, and straight lines beyond. Without
    `beta` it is 1.345 times 1.4826 times the median of the absolute residuals of least squares. Validity and errors are
    those of `linear_regression`; ExpressionError for a beta of 0 or less. Source: Huber (1981), by iterated reweighting.
    """
    target, series, means, valid = prepared(images)
    columns = [np.where(valid, 1.0, 0.0), *series]
    found, known = _weighted(columns, target, valid.astype(np.float64))
    enough = valid.sum(axis=0) > len(series)
    known &= enough
    rest = _rest(target, columns, found)
    margin = HUBER * MAD_TO_SIGMA * _typical(rest, valid) if beta is None else np.full(rest.shape[1:], float(beta))
    near = CLOSE * np.sqrt(in_order(target * target) / np.maximum(valid.sum(axis=0), 1))
    moving = known & (margin > 0) & np.isfinite(margin)
    for _sweep in range(SWEEPS):
        if not moving.any():
            break
        size = np.abs(rest)
        weights = np.where(valid, np.minimum(1, margin / np.where(size > 0, size, np.inf)), 0.0)
        weights = np.where(valid & (size == 0), 1.0, weights)
        new, solved = _weighted(columns, target, weights)
        found = np.where(moving & solved, new, found)
        after = _rest(target, columns, found)
        moving &= solved & (np.abs(after - rest).max(axis=0) > near)
        rest = after
    result = with_intercept(list(found[1:]), means, known)
    result.values[0] += np.where(known, found[0], 0)
    return result


def _typical(rest: Array, valid: Mask) -> Array:
    return REDUCERS["median"](np.abs(rest), valid)[0]


def _rest(target: Array, columns: Sequence[Array], found: Array) -> Array:
    rest = target.copy()
    for column, coefficient in zip(columns, found, strict=True):
        rest = rest - column * coefficient
    return rest


def _weighted(columns: Sequence[Array], target: Array, weights: Array) -> tuple[Array, Mask]:
    """Solve weighted least squares: the coefficients [column, band, y, x], and where there is one solution."""
    normal = np.stack([np.stack([in_order(weights * a * b) for b in columns], axis=-1) for a in columns], axis=-2)
    right = np.stack([in_order(weights * a * target) for a in columns], axis=-1)[..., None]
    finite = np.isfinite(normal).all(axis=(-1, -2)) & np.isfinite(right).all(axis=(-1, -2))
    clean = np.where(finite[..., None, None], normal, 0)
    spread = np.sqrt(np.maximum(np.diagonal(clean, axis1=-2, axis2=-1), 1e-300))
    scaled = clean / spread[..., :, None] / spread[..., None, :]
    known = finite & (np.linalg.matrix_rank(scaled, hermitian=True) == len(columns))
    solvable = np.where(known[..., None, None], normal, np.eye(len(columns)))
    found = np.linalg.solve(solvable, np.where(known[..., None, None], right, 0))[..., 0]
    return np.ascontiguousarray(np.moveaxis(found, -1, 0)), known
