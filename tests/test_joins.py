"""Joins and tables of features: equal to looking at every pair, and to pandas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

import esd
from esd.errors import ExpressionError, TableError
from esd.joins import Condition, equal, max_difference, relation, within_distance

CRS = "EPSG:32633"


def parcels(seed: int = 0, count: int = 40) -> gpd.GeoDataFrame:
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(500_000, 501_000, count), rng.uniform(5_000_000, 5_001_000, count)
    size = rng.uniform(10, 120, count)
    shapes = [shapely.box(a, b, a + c, b + c) for a, b, c in zip(x, y, size, strict=True)]
    shapes[3] = None
    crop = np.array(["maize", "wheat", "rye", None], dtype=object)[rng.integers(0, 4, count)]
    yields = np.where(rng.random(count) < 0.1, np.nan, rng.integers(0, 30, count))
    seen = pd.to_datetime("2004-01-01") + pd.to_timedelta(rng.integers(0, 60, count), "D")
    table = {"crop": crop, "yield": yields, "seen": seen.where(rng.random(count) > 0.1), "number": np.arange(count)}
    return gpd.GeoDataFrame(table, geometry=shapes, crs=CRS)


ONE, OTHER = parcels(0), parcels(1, 35)


def close(one: Any, other: Any, most: float) -> float | None:
    if pd.isna(one) or pd.isna(other):
        return None
    apart = abs((one - other) / pd.Timedelta(days=1)) if isinstance(one, pd.Timestamp) else abs(one - other)
    return float(apart) if apart <= most else None


def lies(one: Any, other: Any, predicate: str) -> float | None:
    return 0.0 if one is not None and other is not None and getattr(one, predicate)(other) else None


# what a condition says of one pair of features: its measure, or None
TESTS: dict[str, tuple[Condition, Callable[[Any, Any], float | None]]] = {
    "equal": (equal("crop"), lambda a, b: 0.0 if a["crop"] is not None and a["crop"] == b["crop"] else None),
    "two names": (equal("number", "yield"), lambda a, b: 0.0 if a["number"] == b["yield"] else None),
    "numbers": (max_difference(1.5, "yield"), lambda a, b: close(a["yield"], b["yield"], 1.5)),
    "dates": (max_difference(3, "seen"), lambda a, b: close(a["seen"], b["seen"], 3)),
    "intersects": (relation("intersects"), lambda a, b: lies(a["geometry"], b["geometry"], "intersects")),
    "within": (relation("within"), lambda a, b: lies(a["geometry"], b["geometry"], "within")),
    "disjoint": (relation("disjoint"), lambda a, b: lies(a["geometry"], b["geometry"], "disjoint")),
    "near": (
        within_distance(60),
        lambda a, b: (
            None
            if a["geometry"] is None or b["geometry"] is None or a["geometry"].distance(b["geometry"]) > 60
            else a["geometry"].distance(b["geometry"])
        ),
    ),
}
TESTS["and"] = (
    TESTS["near"][0] & TESTS["equal"][0],
    lambda a, b: None if TESTS["equal"][1](a, b) is None else TESTS["near"][1](a, b),
)
TESTS["or"] = (
    TESTS["numbers"][0] | TESTS["near"][0],
    lambda a, b: next((m for m in (TESTS["numbers"][1](a, b), TESTS["near"][1](a, b)) if m is not None), None),
)


def every_pair(name: str) -> dict[int, list[tuple[int, float]]]:
    """Look at all pairs of features."""
    test = TESTS[name][1]
    found: dict[int, list[tuple[int, float]]] = {}
    for i, one in enumerate(ONE.to_dict("records")):
        for j, other in enumerate(OTHER.to_dict("records")):
            measure = test(one, other)
            if measure is not None:
                found.setdefault(i, []).append((j, measure))
    return found


@pytest.mark.parametrize("name", TESTS)
def test_joins_are_what_every_pair_says(name: str) -> None:
    condition, pairs = TESTS[name][0], every_pair(name)
    one, other = esd.features(ONE), esd.features(OTHER.to_crs("EPSG:4326")).to_crs(CRS)
    assert pairs
    assert one.join_simple(other, condition).compute()["number"].tolist() == list(pairs)
    rest = [i for i in range(len(ONE)) if i not in pairs]
    assert one.join_inverted(other, condition).compute()["number"].tolist() == rest
    inner = one.join_inner(other, condition).compute()
    expected = [(i, j) for i, partners in pairs.items() for j, _measure in partners]
    assert list(zip(inner["number"], inner["number_right"], strict=True)) == expected
    first = one.join_save_first(other, condition).compute()
    assert first["first_number"].tolist() == [partners[0][0] for partners in pairs.values()]
    best = one.join_save_best(other, condition).compute()
    nearest = [min(partners, key=lambda pair: (pair[1], pair[0])) for partners in pairs.values()]
    assert best["best_number"].tolist() == [j for j, _measure in nearest]
    assert np.allclose(best["measure"], [measure for _j, measure in nearest], atol=1e-6)
    everyone = one.join_save_all(other, condition).compute()
    assert [[match["number"] for match in matches] for matches in everyone["matches"]] == [
        [j for j, _measure in partners] for partners in pairs.values()
    ]


def test_joins_without_partners_are_empty() -> None:
    one, nobody = esd.features(ONE), esd.features(OTHER).filter("number > 1000")
    for condition in (equal("crop"), max_difference(1, "yield"), within_distance(5), relation("intersects"), "within"):
        assert len(one.join_simple(nobody, condition)) == len(one.join_save_all(nobody, condition)) == 0
        assert len(one.join_inner(nobody, condition)) == len(one.join_save_best(nobody, condition)) == 0
        assert len(one.join_inverted(nobody, condition)) == len(ONE)


def test_distances_in_degrees_are_on_the_ellipsoid() -> None:
    one, other = esd.features(ONE).to_crs(4326), esd.features(OTHER)
    flat = esd.features(ONE).join_save_best(other, within_distance(60)).compute()
    round_ = one.join_save_best(other, within_distance(60)).compute()
    assert flat["best_number"].tolist() == round_["best_number"].tolist()
    assert np.allclose(flat["measure"], round_["measure"], rtol=0.01, atol=0.5)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: esd.features(ONE).join_simple(esd.features(OTHER), equal("nope")), "no property 'nope'"),
        (lambda: esd.features(ONE).join_simple(esd.features(OTHER), equal("crop", "yield")), "different kinds"),
        (lambda: esd.features(ONE).join_simple(esd.features(OTHER), max_difference(1, "crop")), "neither numbers nor dates"),
        (lambda: esd.features(ONE).join_simple(esd.features(OTHER), "beside"), "beside"),
        (lambda: esd.features(ONE).join_simple(esd.features(OTHER), within_distance(-1)), "metres=-1"),
        (lambda: esd.features(ONE).join_simple(esd.features(OTHER), max_difference(-1, "yield")), "difference=-1"),
        (lambda: esd.features(ONE).filter_list_contains("nope", 1), "no property 'nope'"),
    ],
)
def test_what_cannot_be_joined_is_told_in_one_line(make: Callable[[], Any], reason: str) -> None:
    with pytest.raises(TableError) as caught:
        make().compute()
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_properties_are_aggregated() -> None:
    features, column = esd.features(ONE), ONE["yield"].dropna()
    expected = {
        "array": column.tolist(),
        "first": column.iloc[0],
        "count": len(column),
        "count_distinct": column.nunique(),
        "min": column.min(),
        "max": column.max(),
        "mean": column.mean(),
        "sum": column.sum(),
        "product": np.prod(column.to_numpy()),
        "sample_sd": np.std(column, ddof=1),
        "sample_var": np.var(column, ddof=1),
        "total_sd": np.std(column),
        "total_var": np.var(column),
        "histogram": {value: int((column == value).sum()) for value in sorted(set(column))},
    }
    for op, value in expected.items():
        assert features.aggregate("yield", op) == (value if isinstance(value, list | dict) else pytest.approx(value)), op
    told = features.aggregate("yield", "stats")
    assert told == pytest.approx({name: expected[name] for name in told})
    assert features.aggregate("crop", "count_distinct") == ONE["crop"].nunique()
    nobody = features.filter("number < 0")
    assert [nobody.aggregate("yield", op) for op in ("count", "mean", "sum", "product", "min", "first")] == [0, *[None] * 5]
    assert features.reduce_columns("p25", ["yield", "number"]) == {
        "yield": pytest.approx(np.percentile(column, 25)),
        "number": pytest.approx(np.percentile(ONE["number"], 25)),
    }
    assert nobody.reduce_columns("mean", ["yield"]) == {"yield": None}
    for bad in (("yield", "middle"), ("crop", "mean"), ("nope", "mean")):
        with pytest.raises(TableError):
            features.aggregate(*bad)
    with pytest.raises(TableError, match="crop"):
        features.reduce_columns("mean", ["crop"])
    with pytest.raises(ExpressionError, match="middle"):
        features.reduce_columns("middle", ["yield"])


def test_features_are_listed_and_folded() -> None:
    features = esd.features(ONE)
    assert [record["number"] for record in features.to_list(3, 5)] == [5, 6, 7]
    assert features.iterate(lambda record, total: total + record["number"], 100) == 100 + ONE["number"].sum()
    tagged = esd.features(ONE.assign(tags=[[i % 3, "x"] if i % 2 else None for i in range(len(ONE))]))
    kept = tagged.filter_list_contains("tags", 2).compute()["number"].tolist()
    assert kept == [i for i in range(len(ONE)) if i % 2 and i % 3 == 2]


def test_random_numbers_stay_with_their_features() -> None:
    many = gpd.GeoDataFrame({"n": np.arange(4000)}, geometry=[shapely.Point(0, 0)] * 4000, crs=CRS)
    numbers = esd.features(many).random_column(seed=1).compute()["random"]
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert numbers.nunique() == len(numbers)
    counts = np.histogram(numbers, bins=10, range=(0, 1))[0]
    assert abs(counts - 400).max() < 90
    filtered = esd.features(many).filter("n >= 1000").random_column(seed=1).compute()["random"]
    assert filtered.equals(numbers[1000:])
    assert not esd.features(many).random_column(seed=2).compute()["random"].equals(numbers)
