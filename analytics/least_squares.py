"""Least squares of every pixel's series on the same columns, each pixel with its own gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.space import CubeType

from .composites import finite

__all__ = ["Fit", "fit_columns", "fit_work", "harmonic_columns"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
CLOSE = 1e-10
"""Smallest eigenvalue, of columns scaled to length 1, at which they still tell different things."""


@dataclass(frozen=True)
class Fit:
    """Coefficients [column, ...], where they are known [...], the residuals' sum of squares, and how many times count.

    `inverse` is the diagonal of the inverted normal matrix [column, ...], from which standard errors follow.
    """

    coefficients: Array
    known: Mask
    squares: Array
    count: Array
    inverse: Array

    def predicted(self, columns: Array) -> Array:
        """Return the fitted value at other rows of the columns [time, column]: [time, ...]."""
        return np.stack([_weighted(self.coefficients, row) for row in columns])


def _weighted(coefficients: Array, row: Array) -> Array:
    total = np.zeros(coefficients.shape[1:])
    for coefficient, number in zip(coefficients, row, strict=True):
        total += coefficient * number
    return total


def harmonic_columns(days: Sequence[float], n: int, period: float, origin: float, year: float) -> Array:
    """Return the columns [time, 2 + 2n] of a constant, a trend per year, and n pairs of cosine and sine of a period."""
    since = np.asarray(days, dtype=np.float64) - origin
    columns = [np.ones_like(since), since / year]
    for order in range(1, n + 1):
        angle = 2 * np.pi * order * since / period
        columns += [np.cos(angle), np.sin(angle)]
    return np.stack(columns, axis=1)


def fit_columns(columns: Array, values: Array, valid: Mask, spare: int = 0) -> Fit:
    """Fit values [time, ...] by columns [time, column] over the times that are valid and finite, in float64.

    Not known for fewer times than columns plus `spare`, or where the columns depend on one another at the times that a
    pixel has. Sums run in the order of time, so that where a tile was cut does not show.
    """
    known = finite(values, valid)
    numbers = np.where(known, values, 0).astype(np.float64)
    size, shape = columns.shape[1], values.shape[1:]
    normal, right = np.zeros((*shape, size, size)), np.zeros((*shape, size))
    for row, number, counts in zip(columns, numbers, known, strict=True):
        normal += counts[..., None, None] * (row[:, None] * row)
        right += number[..., None] * row
    count = known.sum(axis=0)
    length = np.sqrt(np.maximum(np.diagonal(normal, axis1=-2, axis2=-1), 1e-300))
    scaled = normal / (length[..., :, None] * length[..., None, :])
    enough = (count >= size + spare) & (np.linalg.eigvalsh(scaled)[..., 0] > CLOSE)
    solvable = np.where(enough[..., None, None], scaled, np.eye(size))
    coefficients = np.linalg.solve(solvable, np.where(enough[..., None], right / length, 0)[..., None])[..., 0] / length
    inverse = np.diagonal(np.linalg.inv(solvable), axis1=-2, axis2=-1) / length**2
    coefficients = np.moveaxis(coefficients, -1, 0)
    squares = np.zeros(shape)
    for row, number, counts in zip(columns, numbers, known, strict=True):
        squares += np.where(counts, number - _weighted(coefficients, row), 0) ** 2
    return Fit(coefficients, enough, np.where(enough, squares, 0), count, np.moveaxis(inverse, -1, 0))


def fit_work(size: int, types: Sequence[CubeType], pixels: int) -> int:
    """Bytes that a fit of `size` columns works in: matrices a few times over, and the series in float64."""
    given: CubeType = types[0]
    return pixels * len(given.bands) * 8 * (6 * size * size + 6 * size + 2 * len(given.time) + 8)


def result(planes: Sequence[Array], known: Sequence[Mask]) -> Block:
    """Return planes [band, y, x] as the times of a block, 0 where they are not known."""
    valid = np.stack(list(known))
    return Block(np.where(valid, np.stack(list(planes)), 0.0), valid)


def columns_of(args: Mapping[str, Any]) -> int:
    """Return how many columns a harmonic fit has, from its arguments."""
    return 2 + 2 * int(args["n"])
