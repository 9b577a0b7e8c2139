"""Reducers against NumPy's masked arrays, whole and in pieces."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import esd
from esd.errors import ExpressionError
from esd.reducer import REDUCERS, get_reducer

esd.operators()  # packages of operators bring reducers too


def percentiles(array: np.ma.MaskedArray, percent: float) -> np.ma.MaskedArray:
    known = array.count(axis=0) > 0
    rows = [np.percentile(row.compressed() if some else [0.0], percent) for row, some in zip(array.T, known, strict=True)]
    return np.ma.MaskedArray(rows, mask=~known)


def rows_of(array: np.ma.MaskedArray, reduce: Callable[[np.ndarray], float]) -> np.ma.MaskedArray:
    """Reduce the valid values of each pixel by itself."""
    results = [reduce(row.compressed()) if row.count() else np.nan for row in array.T]
    return np.ma.MaskedArray(results, mask=array.count(axis=0) == 0)


def standardized(moment: Callable[..., float]) -> Callable[[np.ma.MaskedArray], np.ma.MaskedArray]:
    """Return SciPy's moment as a reference; it has none where all values are equal."""

    def reduce(array: np.ma.MaskedArray) -> np.ma.MaskedArray:
        found = rows_of(array, lambda row: moment(row) if np.ptp(row) else np.nan)
        return np.ma.MaskedArray(found.data, mask=np.ma.getmaskarray(found) | np.isnan(found.data))

    return reduce


Reference = Callable[[np.ma.MaskedArray], np.ma.MaskedArray]
REFERENCE: dict[str, Reference] = {
    "sum": lambda a: a.sum(axis=0),
    "mean": lambda a: a.mean(axis=0),
    "count": lambda a: np.ma.MaskedArray(a.count(axis=0)),
    "min": lambda a: a.min(axis=0),
    "max": lambda a: a.max(axis=0),
    "median": lambda a: np.ma.median(a, axis=0),
    "first": lambda a: np.ma.MaskedArray([row.compressed()[:1].sum() for row in a.T], mask=a.count(axis=0) == 0),
    "last": lambda a: np.ma.MaskedArray([row.compressed()[-1:].sum() for row in a.T], mask=a.count(axis=0) == 0),
    "argmin": lambda a: np.ma.MaskedArray(a.filled(np.inf).argmin(axis=0), mask=a.count(axis=0) == 0),
    "argmax": lambda a: np.ma.MaskedArray(a.filled(-np.inf).argmax(axis=0), mask=a.count(axis=0) == 0),
    "p10": lambda a: percentiles(a, 10),
    "p50": lambda a: np.ma.median(a, axis=0),
    "p97.5": lambda a: percentiles(a, 97.5),
    "variance": lambda a: a.var(axis=0),
    "std": lambda a: a.std(axis=0),
    "sample_variance": lambda a: np.ma.MaskedArray(a.var(axis=0, ddof=1), mask=a.count(axis=0) < 2),
    "product": lambda a: rows_of(a, np.prod),
    "all": lambda a: rows_of(a, np.all).astype(bool),
    "any": lambda a: rows_of(a, np.any).astype(bool),
    "mode": lambda a: rows_of(a, lambda row: stats.mode(row).mode),
    "count_distinct": lambda a: np.ma.MaskedArray([len(np.unique(row.compressed())) for row in a.T]),
    "count_runs": lambda a: np.ma.MaskedArray([len(list(groupby(row.compressed()))) for row in a.T]),
    "skew": standardized(stats.skew),
    "kurtosis": standardized(stats.kurtosis),
    "count_every": lambda a: np.ma.MaskedArray(np.full(a.shape[1:], len(a))),
    "bitwise_and": lambda a: rows_of(a, lambda row: np.bitwise_and.reduce(row.astype("i4"))),
    "bitwise_or": lambda a: rows_of(a, lambda row: np.bitwise_or.reduce(row.astype("i4"))),
    "circular_mean": lambda a: rows_of(a, lambda row: stats.circmean(row, high=np.pi, low=-np.pi)),
    "circular_variance": lambda a: rows_of(a, stats.circvar),
    "circular_std": lambda a: rows_of(a, stats.circstd),
    "sample_std": lambda a: np.ma.MaskedArray(a.std(axis=0, ddof=1), mask=a.count(axis=0) < 2),
}


def stack(seed: int, times: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(times, 40)) * 10
    values = np.trunc(values / 5) if seed % 2 else values  # equal values, zeros among them
    valid = rng.random(values.shape) < rng.choice([0.1, 0.5, 0.95])
    return values.astype(kind), valid


@pytest.mark.parametrize("name", sorted(REFERENCE))
@given(st.integers(0, 10_000), st.integers(1, 9), st.sampled_from(["f4", "f8", "i4"]))
def test_equal_to_masked_numpy(name: str, seed: int, times: int, kind: str) -> None:
    kind = kind if kind[0] in get_reducer(name).kinds else "i4"
    values, valid = stack(seed, times, kind)
    masked = np.ma.MaskedArray(values.astype("f8"), mask=~valid)
    with np.errstate(all="ignore"):
        expected = REFERENCE[name](masked)
    result, result_valid = get_reducer(name)(values, valid)
    assert np.array_equal(result_valid, ~np.ma.getmaskarray(expected))
    found, wanted = result[result_valid], expected.compressed()
    if name == "circular_mean":  # pi and -pi are one direction
        found, wanted = np.exp(1j * found), np.exp(1j * wanted)
    assert np.allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert np.isfinite(result).all()


@pytest.mark.parametrize("name", sorted(name for name, reducer in REDUCERS.items() if reducer.combine))
@given(st.integers(0, 10_000), st.integers(2, 9), st.data())
def test_pieces_combine_to_the_whole(name: str, seed: int, times: int, data: st.DataObject) -> None:
    values, valid = stack(seed, times, "f8")
    cut = data.draw(st.integers(1, times - 1))
    reducer = get_reducer(name)
    assert reducer.combine is not None
    state = reducer.combine(reducer.chunk(values[:cut], valid[:cut]), reducer.chunk(values[cut:], valid[cut:]))
    pieces, pieces_valid = reducer.finalize(state)
    whole, whole_valid = reducer(values, valid)
    assert np.array_equal(pieces_valid, whole_valid)
    assert np.allclose(pieces[whole_valid], whole[whole_valid], rtol=1e-9, atol=1e-9)


def test_nothing_valid_is_not_valid_and_never_zero() -> None:
    values, valid = np.ones((3, 5), dtype=int), np.zeros((3, 5), dtype=bool)
    for name, reducer in ((name, reducer) for name, reducer in REDUCERS.items() if name != "count_every"):
        result, result_valid = reducer(values, valid)
        assert result_valid.all() == result_valid.any() == name.startswith("count")
        assert (result == 0).all()


def test_every_reducer_has_a_reference() -> None:
    assert REDUCERS.keys() <= REFERENCE.keys()


@pytest.mark.parametrize("name", ["p", "p-1", "p100.1", "pi", "p1e2", "p5.5.5"])
def test_what_is_no_percentile_is_no_reducer(name: str) -> None:
    with pytest.raises(ExpressionError, match="p0 to p100"):
        get_reducer(name)


def test_nan_is_a_value_for_the_median() -> None:
    values = np.array([[1.0, np.nan], [2.0, 2.0], [3.0, 3.0]])
    result, valid = get_reducer("median")(values, np.ones(values.shape, bool))
    assert valid.all()
    assert result[0] == 2
    assert np.isnan(result[1])


def test_variance_of_large_numbers_does_not_cancel() -> None:
    values = np.array([1e9 + 1, 1e9 + 2, 1e9 + 3])[:, None]
    result, _valid = get_reducer("variance")(values, np.ones(values.shape, bool))
    assert np.isclose(result[0], 2 / 3)


def test_an_unknown_reducer_names_those_there_are() -> None:
    with pytest.raises(ExpressionError, match=r"average.*median"):
        get_reducer("average")
