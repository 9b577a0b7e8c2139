"""References for operators: NumPy and SciPy on masked arrays, or a pixel at a time where that is clearer.

A reference takes masked arrays [time, band, y, x], one for each leaf, and returns the masked array that an image must be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from scipy import ndimage, stats

import esd
from esd.image import Image

Masked = np.ma.MaskedArray[Any, Any]
Reference = Callable[..., Masked]


@dataclass(frozen=True)
class Case:
    """How an image is made of leaves of some dtypes, and its reference; `spread` scales the leaves' numbers."""

    build: Callable[..., Image]
    reference: Reference
    dtypes: Sequence[str] = ("f4",)
    leaves: int = 1
    spread: float = 2.0
    square: bool = False
    rtol: float = 1e-5


def plain(function: Callable[..., Any]) -> Reference:
    """A function of plain arrays; valid where all inputs are."""

    def reference(*arrays: Masked) -> Masked:
        with np.errstate(all="ignore"):
            values = function(*(array.data for array in arrays))
        return np.ma.MaskedArray(values, mask=np.logical_or.reduce([np.ma.getmaskarray(a) for a in arrays]))

    return reference


def pixel(
    name: str, function: Callable[..., Any], dtypes: str, leaves: int, args: tuple[Any, ...] = (), **more: Any
) -> Case:
    return Case(lambda *images: esd.call(name, *images, *args), plain(function), dtypes.split(), leaves, **more)


def series(function: Callable[..., Any]) -> Reference:
    """A function of one pixel's series, lists of numbers with None for what is not valid; it returns such a list."""

    def reference(*arrays: Masked) -> Masked:
        lists = [np.where(np.ma.getmaskarray(a), None, a.data.astype(object)) for a in arrays]
        shape = arrays[0].shape[1:]
        first = function(*(a[:, 0, 0, 0].tolist() for a in lists))
        out = np.empty((len(first), *shape), dtype=object)
        for place in np.ndindex(*shape):
            out[(slice(None), *place)] = function(*(a[(slice(None), *place)].tolist() for a in lists))
        mask = np.equal(out, None)
        return np.ma.MaskedArray(np.where(mask, 0, out).astype(np.float64), mask=mask)

    return reference


def matrix(function: Callable[..., Any]) -> Reference:
    """A function of one pixel's matrices; None where one has no result."""

    def reference(*arrays: Masked) -> Masked:
        shape = arrays[0].shape[2:]
        results: dict[tuple[int, ...], Any] = {}
        for place in np.ndindex(*shape):
            given = [a[(..., *place)] for a in arrays]
            usable = all(not np.ma.getmaskarray(m).any() and np.isfinite(m.data).all() for m in given)
            results[place] = function(*(m.data.astype(np.float64) for m in given)) if usable else None
        size = next(np.atleast_2d(r).shape for r in results.values() if r is not None)
        out = np.ma.masked_all((*size, *shape), dtype=np.float64)
        for place, result in results.items():
            if result is not None:
                out[(..., *place)] = np.atleast_2d(result)
        return out

    return reference


def known(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def padded(values: Sequence[Any], length: int) -> list[Any]:
    return [*values, *[None] * (length - len(values))]


def running(join: Callable[[Any, Any], Any], stop: bool) -> Callable[[list[Any]], list[Any]]:
    def function(values: list[Any]) -> list[Any]:
        out: list[Any] = []
        total, ended = None, False
        for value in values:
            ended |= value is None and stop
            if value is not None and not ended:
                total = value if total is None else join(total, value)
            out.append(None if value is None or ended else total)
        return out

    return function


def interpolated(values: list[Any]) -> list[Any]:
    places = [i for i, value in enumerate(values) if value is not None and not math.isnan(value)]
    filled = list(values)
    for one, other in pairwise(places):
        for i in range(one + 1, other):
            share = (i - one) / (other - one)
            filled[i] = values[one] * (1 - share) + values[other] * share
    return filled


def positions(values: list[Any], ascending: bool = True) -> list[int]:
    places = [i for i, value in enumerate(values) if value is not None]
    return sorted(places, key=lambda i: values[i] if ascending else -values[i])


def pairs(function: Callable[..., Any]) -> Callable[..., list[Any]]:
    """A statistic of the times at which two series are both valid; None for fewer than two or no spread."""

    def reference(one: list[Any], other: list[Any]) -> list[Any]:
        both = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
        x, y = np.array(both, dtype=float).reshape(-1, 2).T
        if len(both) < 2 or not np.ptp(x) or not np.ptp(y):
            return [None]
        return [float(function(x, y).statistic)]

    return reference


def regression(fit: Callable[[np.ndarray, np.ndarray], Any], least: int) -> Callable[..., list[Any]]:
    """Coefficients of scikit-learn or NumPy over the times at which all series are valid."""

    def reference(*lists: list[Any]) -> list[Any]:
        rows = [row for row in zip(*lists, strict=True) if None not in row]
        table = np.array(rows, dtype=float).reshape(-1, len(lists))
        if len(rows) < least:
            return [None] * len(lists)
        return list(fit(table[:, 1:], table[:, 0]))

    return reference


def least_squares(x: np.ndarray, y: np.ndarray) -> list[Any]:
    design = np.column_stack([np.ones(len(x)), x])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return [None] * design.shape[1]
    return list(np.linalg.lstsq(design, y, rcond=None)[0])


def fitted(model: Any) -> Callable[[np.ndarray, np.ndarray], list[Any]]:
    def fit(x: np.ndarray, y: np.ndarray) -> list[Any]:
        found = model.fit(x, y)
        return [found.intercept_, *found.coef_]

    return fit


def covariance(one: list[Any], other: list[Any]) -> list[Any]:
    both = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return [float(np.cov(np.array(both, dtype=float).T)[0, 1]) if len(both) > 1 else None]


def over_time(function: Callable[[list[int], list[Any]], Any], results: int) -> Callable[[list[Any]], list[Any]]:
    """A statistic of the valid times and values of a series; None for fewer than two."""

    def reference(values: list[Any]) -> list[Any]:
        times = [i for i, value in enumerate(values) if value is not None]
        return list(function(times, known(values))) if len(times) > 1 else [None] * results

    return reference


def theil(times: list[int], values: list[Any]) -> list[Any]:
    return [stats.theilslopes(values, times)[0]]


def rises(_times: list[int], values: list[Any]) -> list[Any]:
    return [sum(int(np.sign(later - earlier)) for earlier, later in combinations(values, 2))]


def between_percentiles(values: list[Any]) -> list[Any]:
    numbers = np.array(known(values), dtype=float)
    if not numbers.size:
        return [None]
    low, high = np.percentile(numbers, [20, 80])
    inside = numbers[(numbers >= low) & (numbers <= high)]
    return [float(inside.mean()) if inside.size else None]


def counted(values: list[Any]) -> list[Any]:
    return list(np.histogram([v for v in known(values) if not math.isnan(v)], bins=4, range=(-1, 1))[0])


def inverse(m: np.ndarray) -> Any:
    return np.linalg.inv(m) if np.linalg.matrix_rank(m) == len(m) else None


def cholesky(m: np.ndarray) -> Any:
    symmetric = np.tril(m) + np.tril(m, -1).T
    return np.linalg.cholesky(symmetric) if np.linalg.eigvalsh(symmetric)[0] > 1e-9 else None


def eigenvalues(m: np.ndarray) -> Any:
    return np.sort(np.linalg.eigvalsh(np.tril(m) + np.tril(m, -1).T))[::-1, None]


def eigenvectors(m: np.ndarray) -> Any:
    _values, vectors = np.linalg.eigh(np.tril(m) + np.tril(m, -1).T)
    columns = [v if v[np.argmax(abs(v))] > 0 else -v for v in vectors.T[::-1]]
    return np.array(columns).T


KERNEL = ((1.0, 2.0, 0.5), (0.0, 3.0, 4.0), (2.0, 0.1, 1.0))


def correlated(mode: str, cval: float = 0.0) -> Reference:
    """SciPy's correlation with the kernel, missing numbers replaced by -1."""

    def reference(array: Masked) -> Masked:
        clean = np.where(np.ma.getmaskarray(array) | ~np.isfinite(array.data), -1.0, array.data.astype(np.float64))
        summed = [[ndimage.correlate(p, np.array(KERNEL), mode=mode, cval=cval) for p in planes] for planes in clean]
        return np.ma.MaskedArray(np.array(summed) * 0.5, mask=False)

    return reference


def saturated(kind: str) -> Callable[[np.ndarray], np.ndarray]:
    limits = np.iinfo(kind)
    return lambda a: np.vectorize(lambda v: min(max(math.trunc(v), limits.min), limits.max), otypes=[np.int64])(
        np.nan_to_num(a.astype(np.float64), nan=0.0, posinf=1e30, neginf=-1e30)
    )


def masked_cast(array: Masked) -> Masked:
    values = np.trunc(array.data.astype(np.float64))
    outside = ~((values >= 0) & (values <= 255))
    return np.ma.MaskedArray(np.where(outside, 0, values), mask=np.ma.getmaskarray(array) | outside)


def number_cast(kind: str) -> Reference:
    def reference(array: Masked) -> Masked:
        mask = np.ma.getmaskarray(array) | np.isnan(array.data.astype(np.float64))
        return np.ma.MaskedArray(saturated(kind)(array.data), mask=mask)

    return reference
