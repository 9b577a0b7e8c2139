"""Linear mixtures: how much of each of some endmembers a pixel's spectrum is made of."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.operator import Tile, operator
from esd.space import CubeType

from .neighbours import settle, value_type

__all__: list[str] = []

Array = npt.NDArray[Any]
MOST_ENDMEMBERS = 8


def _matrix(endmembers: Sequence[Sequence[float]]) -> Array:
    """Return the endmembers as columns [band, endmember]."""
    return np.array(endmembers, dtype=np.float64).T


def _unmix_rule(image: CubeType, *, endmembers: tuple[tuple[float, ...], ...], **_constraints: bool) -> CubeType:
    number, bands = len(endmembers), len(image.bands)
    rows = [row for row in endmembers if isinstance(row, tuple | list)]
    finite = all(isinstance(value, int | float) and math.isfinite(value) for row in rows for value in row)
    if not rows or len(rows) != number or any(len(row) != bands for row in rows) or not finite:
        raise ExpressionError(
            f"unmix: each endmember must have {bands} finite numbers, one for each band ({', '.join(image.bands)}); "
            f"got {str(endmembers)[:60]}"
        )
    if number > min(MOST_ENDMEMBERS, bands):
        raise ExpressionError(
            f"unmix: {number} endmembers are more than {min(MOST_ENDMEMBERS, bands)}, the most of {bands} bands"
        )
    if np.linalg.matrix_rank(_matrix(endmembers)) < number:
        raise ExpressionError("unmix: an endmember is a mixture of the others; leave one of them out")
    names = tuple(f"endmember_{i + 1}" for i in range(number))
    return value_type(image, np.dtype(np.float64)).with_(bands=names)


def _unmix_work(types: Sequence[CubeType], args: Mapping[str, Any], pixels: int) -> int:
    """Bytes of the bands of one time in double precision, and of three copies of the fractions."""
    return (2 * len(types[0].bands) + 4 * len(args["endmembers"]) + 8) * 8 * pixels


def _solution(matrix: Array, sum_to_one: bool) -> tuple[Array, Array]:
    """Return the weights [endmember, band] and the constant [endmember] of the least-squares fractions of a spectrum."""
    inverse = np.linalg.pinv(matrix)
    if not sum_to_one:
        return inverse, np.zeros(len(inverse))
    normal = np.linalg.inv(matrix.T @ matrix)
    share = normal.sum(axis=1) / normal.sum()
    return inverse - np.outer(share, inverse.sum(axis=0)), share


def _times(weights: Array, planes: Sequence[Array], constant: Array) -> list[Array]:
    """Multiply a matrix by planes, term by term in one order."""
    results = []
    for row, start in zip(weights, constant, strict=True):
        total = np.full(planes[0].shape, float(start))
        for weight, plane in zip(row, planes, strict=True):
            total += weight * plane
        results.append(total)
    return results


def _fractions(matrix: Array, bands: Sequence[Array], sum_to_one: bool) -> list[Array]:
    weights, constant = _solution(matrix, sum_to_one)
    return _times(weights, bands, constant)


def _best_of_sets(matrix: Array, bands: Sequence[Array], sum_to_one: bool) -> Array:
    """Return the fractions of the set of endmembers that leaves the least and takes none negatively.

    The fractions sought are the unconstrained ones of those endmembers that they take, so that trying every set finds them.
    """
    number = matrix.shape[1]
    best = np.zeros((number, *bands[0].shape))
    least = np.full(bands[0].shape, np.inf)
    sets = [taken for size in range(1, number + 1) for taken in itertools.combinations(range(number), size)]
    for taken in sets if sum_to_one else [(), *sets]:
        part = matrix[:, list(taken)]
        found = _fractions(part, bands, sum_to_one) if taken else []
        rest = np.zeros(bands[0].shape)
        for band, row in zip(bands, part, strict=True):
            own = band
            for share, fraction in zip(row, found, strict=True):
                own = own - share * fraction
            rest += own * own
        better = rest < least
        for fraction in found:
            better &= fraction >= 0
        least = np.where(better, rest, least)
        best = np.where(better, 0.0, best)
        for place, fraction in zip(taken, found, strict=True):
            best[place] = np.where(better, fraction, best[place])
    return best


@operator(
    "spectral",
    Tile.ARRAY,
    _unmix_rule,
    work=_unmix_work,
    interpreted="sums over bands are NumPy's loops over planes, in float64",
    example="image.decode().median().unmix(((0.02, 0.05, 0.03, 0.4, 0.2, 0.1), (0.1, 0.12, 0.15, 0.2, 0.3, 0.25)))",
)
def unmix(
    image: Block,
    endmembers: tuple[tuple[float, ...], ...],
    sum_to_one: bool = False,
    non_negative: bool = False,
) -> Block:
    """Fractions of endmembers of which each pixel's bands are the closest mixture, by least squares; float64.

    `endmembers` are at most 8 spectra, each of as many numbers as there are bands, none a mixture of the others: bands
    endmember_1, endmember_2, ... in their order. `sum_to_one` and `non_negative` hold exactly where asked for. Each time by
    itself; valid where all bands are, and are finite. Raises ExpressionError for endmembers that do not fit.
    """
    matrix = _matrix(endmembers)
    values = np.zeros((len(image.values), len(endmembers), *image.values.shape[2:]))
    valid = np.zeros((len(values), 1, *values.shape[2:]), dtype=bool)
    for time, planes in enumerate(image.values):
        whole = np.asarray(image.full_valid[time].all(axis=0) & np.isfinite(planes).all(axis=0))
        bands = [np.where(whole, plane, 0).astype(np.float64) for plane in planes]
        found = _best_of_sets(matrix, bands, sum_to_one) if non_negative else _fractions(matrix, bands, sum_to_one)
        values[time], valid[time, 0] = np.where(whole, found, 0), whole
    return Block(settle(values), np.broadcast_to(valid, values.shape))
