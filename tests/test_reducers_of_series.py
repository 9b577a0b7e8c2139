"""Reducers and distributions of series equal independent references, masks included, in both tiers and three tilings."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from references import Case, known, series
from scipy import optimize
from test_reference import COLUMNS, ROWS, TILES, leaf

import esd
from esd.errors import ExpressionError
from esd.image import Image

Lists = list[Any]


def paired(*rows: Lists) -> np.ndarray:
    """The times at which all of the series are known, [time, series]."""
    return np.array([pair for pair in zip(*rows, strict=True) if None not in pair], dtype=float).reshape(-1, len(rows))


def huber(beta: float | None) -> Callable[..., Lists]:
    def fit(*rows: Lists) -> Lists:
        pairs = paired(*rows)
        y, design = pairs[:, 0], np.column_stack([np.ones(len(pairs)), pairs[:, 1:]])
        if len(y) < design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]:
            return [None] * len(rows)
        start = np.linalg.lstsq(design, y, rcond=None)[0]
        margin = 1.345 * 1.4826 * np.median(np.abs(design @ start - y)) if beta is None else beta
        if margin < 1e-9:
            return list(start)
        tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}
        return list(optimize.least_squares(lambda c: design @ c - y, start, loss="huber", f_scale=margin, **tight).x)

    return fit


def cells(*rows: Lists) -> Lists:
    pairs = paired(*rows)
    pairs = pairs[~np.isnan(pairs).any(axis=1)]
    return list(np.histogram2d(pairs[:, 0], pairs[:, 1], bins=(3, 2), range=((-1, 1), (-2, 3)))[0].ravel())


def automatic(values: Lists) -> Lists:
    """The widths one after the other, from far too small ones."""
    numbers = np.array(known(values), dtype=float)
    if not numbers.size:
        return [None] * 6
    widths = [1.0] if np.ptp(numbers) == 0 else (2.0**k for k in range(-60, 60))
    width = next(
        w
        for w in widths
        if len({math.floor(numbers.min() / w), math.floor(numbers.max() / w)})
        and (math.floor(numbers.max() / w) - math.floor(numbers.min() / w) < 4)
    )
    start = math.floor(numbers.min() / width)
    counts = [int(sum(math.floor(n / width) == start + i for n in numbers)) for i in range(4)]
    return [start * width, width, *counts]


CASES: dict[str, Case] = {
    "robust_regression": Case(
        lambda a, b: esd.call("robust_regression", a, b), series(huber(None)), ["i4"], 2, rtol=1e-3, spread=20.0
    ),
    "robust_regression, a margin": Case(
        lambda a, b: esd.call("robust_regression", a, b, beta=1.5), series(huber(1.5)), ["f8"], 2, rtol=1e-3
    ),
    "frequency_histogram": Case(
        lambda a: a.frequency_histogram((2.0, -1.0, 0.0)),
        series(lambda row: [known(row).count(v) for v in (2, -1, 0)]),
        ["i4", "f4", "u1"],
    ),
    "histogram2d": Case(lambda a, b: a.histogram2d(b, (3, 2), (-1.0, -2.0), (1.0, 3.0)), series(cells), ["f4", "i4"], 2),
    "auto_histogram": Case(lambda a: a.auto_histogram(4), series(automatic), ["f4", "i4", "f8"]),
    "circular_mean": Case(
        lambda a: (a * 0.3).circular_mean(),
        series(lambda row: [np.angle(np.exp(0.3j * np.array(known(row))).sum()) if known(row) else None]),
        ["f8"],
    ),
    "count_every": Case(lambda a: a.count_every(), series(lambda row: [len(row)]), ["f4"]),
    "bitwise_and": Case(
        lambda a: a.reduce("bitwise_and"),
        series(lambda row: [np.bitwise_and.reduce(known(row)) if known(row) else None]),
        ["u1", "i4"],
        spread=90.0,
    ),
}


@pytest.mark.parametrize(("name", "dtype"), [(name, dtype) for name, case in CASES.items() for dtype in case.dtypes])
def test_equal_to_the_reference(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    leaves = [leaf(case, dtype, seed) for seed in range(case.leaves)]
    expected = case.reference(*(array for _image, array in leaves))
    check(case.build(*(image for image, _array in leaves)), expected, case.rtol, monkeypatch)


def check(image: Image, expected: np.ma.MaskedArray, rtol: float, monkeypatch: pytest.MonkeyPatch) -> None:
    valid = ~np.ma.getmaskarray(expected)
    assert valid.any()
    found = set()
    for tier in ("interpreted", "compiled"):
        monkeypatch.setenv("ESD_TIER", tier)
        for tile in TILES:
            raster = image.compute(tile=tile)
            assert raster.values.dtype == image.type.dtype
            assert raster.values.shape == (len(image.type.time), len(image.type.bands), ROWS, COLUMNS)
            assert np.array_equal(raster.valid, np.broadcast_to(valid, raster.valid.shape))
            assert np.allclose(raster.values[raster.valid], expected.data[valid].astype("f8"), rtol=rtol, atol=rtol)
            assert (raster.values[~raster.valid] == 0).all()
            found.add(raster.values.tobytes())
    assert len(found) == 1


def all_bands(reference: Callable[[np.ndarray], Any], shape: tuple[int, int]) -> Callable[..., np.ma.MaskedArray]:
    """A function of one pixel's whole times [time, band]; None where there is no result."""

    def apply(array: np.ma.MaskedArray) -> np.ma.MaskedArray:
        out = np.ma.masked_all((*shape, ROWS, COLUMNS))
        whole = ~np.ma.getmaskarray(array).any(axis=1)
        for y, x in np.ndindex(ROWS, COLUMNS):
            result = reference(array.data[whole[:, y, x], :, y, x].astype(float))
            if result is not None:
                out[:, :, y, x] = result
        return out

    return apply


def nearest_to_all(points: np.ndarray) -> np.ndarray:
    """The best of many starts: the points themselves and what a simplex search makes of their mean."""
    options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}
    total = functools.partial(distance_to_all, points)
    searched = optimize.minimize(total, points.mean(axis=0), method="Nelder-Mead", options=options)
    return min([searched.x, *points], key=total)


def distance_to_all(points: np.ndarray, place: np.ndarray) -> float:
    return float(np.linalg.norm(points - place, axis=1).sum())


def test_the_geometric_median_is_nearest_to_all_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an even number of points on a line any point between the middle two is: the distances are compared."""
    image, array = leaf(CASES["histogram2d"], "f8", 3)
    median = image.geometric_median()
    found = median.compute()
    whole = ~np.ma.getmaskarray(array).any(axis=1)
    assert np.array_equal(found.valid[0, 0], whole.any(axis=0))
    for y, x in np.argwhere(found.valid[0, 0]):
        points = array.data[whole[:, y, x], :, y, x]
        best = distance_to_all(points, nearest_to_all(points))
        assert distance_to_all(points, found.values[0, :, y, x]) <= best * (1 + 1e-5) + 1e-12
    check(median, found.masked, 1e-12, monkeypatch)


@pytest.mark.parametrize("centered", [False, True])
def test_the_covariance_matrix_equals_numpy(centered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    image, array = leaf(CASES["histogram2d"], "f4", 4)

    def reference(points: np.ndarray) -> Any:
        if len(points) < 2:
            return None
        return points.T @ points / (len(points) - 1) if centered else np.cov(points.T)

    check(image.covariance_matrix(centered), all_bands(reference, (2, 2))(array), 1e-5, monkeypatch)


def test_reducers_combine_in_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    image, array = leaf(CASES["histogram2d"], "f8", 5)
    names = ("min", "sample_std", "p90")
    found = image.combine_reducers(names)
    assert found.type.bands == tuple(f"{band}_{name}" for name in names for band in "ab")
    each = [image.reduce(name).compute().masked for name in names]
    check(found, np.ma.concatenate(each, axis=1), 0, monkeypatch)
    across = image.reduce_bands("mean")
    assert across.type.bands == ("mean",)
    check(across, array.mean(axis=1, keepdims=True), 1e-12, monkeypatch)


def test_what_cannot_be_reduced_is_refused() -> None:
    image, _array = leaf(CASES["histogram2d"], "f4", 6)
    for call, reason in (
        (lambda: image.reduce("bitwise_or").type, "bitwise_or takes whole numbers, not float32"),
        (lambda: image.frequency_histogram((1.0, 1.0)).type, "different numbers"),
        (lambda: image.histogram2d(image, (3,), (0.0,), (1.0,)).type, "two numbers of bins"),
        (lambda: image.histogram2d(image, (3, 3), (0.0, 1.0), (1.0, 1.0)).type, "two numbers of bins"),
        (lambda: image.auto_histogram(1).type, "buckets=1"),
        (lambda: image.geometric_median(iterations=0).type, "iterations=0"),
        (lambda: esd.call("robust_regression", image, image, beta=0.0).type, "beta=0"),
        (lambda: esd.call("robust_regression", image).type, "explain it"),
        (lambda: image.combine_reducers(()).type, "one or more"),
        (lambda: image.combine_reducers(("mean", "wrong")).type, "no reducer 'wrong'"),
    ):
        with pytest.raises(ExpressionError, match=reason) as caught:
            call()
        assert "\n" not in str(caught.value)
