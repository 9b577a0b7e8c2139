"""The lasso of many small regressions side by side: each series with its own times, all bands on the same columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Lasso", "fit_lasso"]

Array = npt.NDArray[Any]
FLAT = 1e-12
SWEEPS, ROUNDS = 4, 100
"""Sweeps of coordinate descent between two tries to solve for the coefficients that are not 0, and tries at the most."""
SLACK = 1e-9
"""How far, in shares of a band's deviation, a gradient may stand above the penalty at a solution."""


class Lasso:
    """Coefficients [series, column, band] and root mean squared residuals [series, band] of fits."""

    def __init__(self, coefficients: Array, rmse: Array) -> None:
        self.coefficients, self.rmse = coefficients, rmse


def _solved(gram: Array, moments: Array, signs: Array, penalty: Array) -> Array:
    """Return the coefficients [column, fit] where those of sign 0 are 0 and the others' gradients equal the penalty."""
    active = signs != 0
    both = active[:, None] & active[None]
    matrix = np.where(both, gram, 0.0) + (np.eye(len(gram)) * (1 + FLAT))[:, :, None] * ~both
    right = np.where(active, moments - penalty * signs, 0.0)
    return np.asarray(np.linalg.solve(matrix.transpose(2, 0, 1), right.T[:, :, None])[..., 0].T)


def _descend(gram: Array, moments: Array, found: Array, penalty: Array) -> None:
    """One sweep of coordinate descent over coefficients [column, fit], in place."""
    for j in range(len(found)):
        rest = moments[j] - (gram[j] * found).sum(axis=0) + gram[j, j] * found[j]
        found[j] = np.sign(rest) * np.maximum(np.abs(rest) - penalty, 0) / gram[j, j]


def _minimum(gram: Array, moments: Array, penalty: Array, scale: Array) -> Array:
    """Return the coefficients [column, fit] of least b'Gb/2 - m'b + penalty |b|, each fit for itself.

    Coordinate descent finds which coefficients are not 0; a linear system then tells them, and the conditions of a minimum
    (Friedman, Hastie and Tibshirani, 2010) whether it is one. Fits that are not there yet go on.
    """
    found, left = np.zeros(moments.shape), np.arange(moments.shape[1])
    descent = found.copy()
    for _round in range(ROUNDS):
        for _sweep in range(SWEEPS):
            _descend(gram, moments, descent, penalty)
        exact = _solved(gram, moments, np.sign(descent), penalty)
        gradient = moments - (gram * exact).sum(axis=1)
        fine = ((exact * descent > 0) | (descent == 0) | (penalty == 0)) & (np.abs(gradient) <= penalty + SLACK * scale)
        done = fine.all(axis=0)
        found[:, left] = np.where(done, exact, descent)
        if done.all():
            break
        left, keep = left[~done], ~done
        gram, moments, descent = gram[:, :, keep], moments[:, keep], np.ascontiguousarray(descent[:, keep])
        penalty, scale = penalty[keep], scale[keep]
    return found


def fit_lasso(sums: Array, sizes: Array, columns: int, penalty: float) -> Lasso:
    """Fit all bands of each series by its first `sizes` columns, of which the very first is a constant.

    `sums` [series, column + band, column + band] are those of products of columns and bands over the times of a series, of
    which there have to be more than columns. Least of the mean squared residual halved, plus `penalty` times the sum of the
    absolute coefficients but the constant's, those of columns brought to deviation 1, as glmnet has it; 0 for the columns
    left out and for those that do not vary. The squares are averaged over the times less the columns.
    """
    count, mean = sums[:, 0, 0], sums[:, 0] / sums[:, :1, 0]
    shared = sums / count[:, None, None] - mean[:, :, None] * mean[:, None, :]
    gram, moments = shared[:, 1:columns, 1:columns], shared[:, 1:columns, columns:]
    total = np.maximum(np.diagonal(shared, axis1=1, axis2=2)[:, columns:], 0)
    variance = np.diagonal(gram, axis1=1, axis2=2)
    live = (np.arange(1, columns) < sizes[:, None]) & (variance > FLAT)
    inverse = np.where(live, 1 / np.sqrt(np.where(live, variance, 1)), 0.0)
    unit = gram * inverse[:, :, None] * inverse[:, None, :] + np.eye(columns - 1) * ~live[:, None, :]
    pull = moments * inverse[:, :, None]
    scaled = _all_bands(unit, pull, penalty, np.sqrt(total))
    explained = (2 * pull * scaled).sum(axis=1)
    for j in range(columns - 1):
        explained -= scaled[:, j] * (unit[:, j, :, None] * scaled).sum(axis=1)
    rest = np.maximum(total - explained, 0) * (count / np.maximum(count - sizes, 1))[:, None]
    slopes = scaled * inverse[:, :, None]
    constant = mean[:, columns:] - (slopes * mean[:, 1:columns, None]).sum(axis=1)
    return Lasso(np.concatenate([constant[:, None], slopes], axis=1), np.sqrt(rest))


def _all_bands(unit: Array, pull: Array, penalty: float, scale: Array) -> Array:
    """Return the coefficients [series, column, band] for columns of deviation 1: each band is a fit by itself."""
    series, columns, bands = pull.shape
    gram = np.repeat(unit, bands, axis=0).transpose(1, 2, 0).copy()
    moments = pull.transpose(1, 0, 2).reshape(columns, -1).copy()
    found = _minimum(gram, moments, np.full(series * bands, float(penalty)), scale.ravel() + FLAT)
    return found.reshape(columns, series, bands).transpose(1, 0, 2)
