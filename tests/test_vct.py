"""VCT: equal to rules told run by run, and tells the disturbances that were put in."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from series_checks import Refusal, assert_image, assert_refused, from_series

from esd.errors import BandError, ExpressionError
from esd.image import Image

YEARS = list(range(1990, 2014))
TIMES = [f"{year}-01-01" for year in YEARS]
ROWS, COLUMNS = 12, 15
Told = tuple[float, float | None, float | None]


def scores(seed: int, missing: float = 0.15) -> np.ma.MaskedArray:
    """Scores and NDVI that wander between forest and what is none [time, ifz and ndvi, y, x]."""
    rng = np.random.default_rng(seed)
    shape = (len(YEARS), ROWS, COLUMNS)
    state = rng.random(shape[1:]) < 0.7
    values = np.zeros((len(YEARS), 2, ROWS, COLUMNS))
    for k in range(len(YEARS)):
        state = np.where(rng.random(shape[1:]) < 0.15, ~state, state)
        noise = rng.normal(size=(2, *shape[1:]))
        values[k, 0] = np.abs(np.where(state, 1.5, 5) + 1.2 * noise[0])
        values[k, 1] = np.where(state, 0.7, 0.4) + 0.1 * noise[1]
    mask = np.broadcast_to(rng.random((len(YEARS), 1, ROWS, COLUMNS)) < missing, values.shape).copy()
    mask[:, :, 0, 0] = mask[5:, 1, 0, 1] = True
    return np.ma.MaskedArray(values.astype(np.float32), mask=mask)


def told(score: np.ndarray, ndvi: np.ndarray, years: list[int], persistence: int) -> list[Told]:
    """The classes of one series, run by run: first runs that are forest, then departures that count, then names."""
    like = (score <= 3) & (ndvi >= 0.45)
    runs = [
        (kind, [place for place, _kind in run]) for kind, run in itertools.groupby(enumerate(like), key=lambda item: item[1])
    ]
    kinds = []
    for kind, places in runs:
        strong = ((score[places] > 4) | (ndvi[places] < 0.45)).any()
        sure = len(places) >= persistence and (kind or strong)
        kinds.append(("forest" if kind else "open") if sure else "")
    names: list[Told] = []
    now, past, last = "", False, (None, None)
    for (_kind, places), kind in zip(runs, kinds, strict=True):
        disturbed = kind == "open" and now == "forest"
        if disturbed:
            before = [place for place in range(places[0]) if like[place]]
            last = (float(years[places[0]]), float(score[places].max() - score[before[-1]]))
        now, past = kind or now, past or kind == "open"
        calm = (4.0 if past else 2.0) if now == "forest" or not past else 6.0
        names += [(5.0 if disturbed and place == places[0] else calm, *last) for place in places]
    return names if "forest" in kinds else [(1.0, None, None)] * len(like)


@pytest.mark.parametrize(("persistence", "fewest"), [(2, 6), (1, 1), (3, 20)])
def test_equal_to_the_rules_told_run_by_run(persistence: int, fewest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = scores(persistence)
    expected = np.ma.masked_all((len(YEARS), 3, ROWS, COLUMNS))
    for y, x in np.ndindex(ROWS, COLUMNS):
        keep = np.flatnonzero(~np.ma.getmaskarray(data)[:, :, y, x].any(axis=1))
        if len(keep) < fewest:
            continue
        score, ndvi = data.data[keep, :, y, x].astype(float).T
        for place, row in zip(keep, told(score, ndvi, [YEARS[k] for k in keep], persistence), strict=True):
            for band, value in enumerate(row):
                if value is not None:
                    expected[place, band, y, x] = value
    kinds = expected[:, 0].compressed()
    assert set(kinds) == {1.0, 2.0, 4.0, 5.0, 6.0}
    image = from_series(data, TIMES, ("ifz", "ndvi")).vct(persistence=persistence, fewest=fewest)
    assert image.type.bands == ("class", "year", "magnitude")
    assert_image(image, expected, monkeypatch, rtol=1e-6)


def series(*score: float, ndvi: float = 0.8) -> Image:
    values = np.zeros((len(score), 2, 1, 1), dtype=np.float32)
    values[:, 0, 0, 0], values[:, 1] = score, ndvi
    times = [f"{2000 + k}-07-01" for k in range(len(score))]
    return from_series(np.ma.MaskedArray(values, mask=False), times, ("ifz", "ndvi"))


KINDS: dict[str, tuple[Image, list[int]]] = {
    "forest": (series(1, 1, 2, 1, 1, 1, 1, 1), [2] * 8),
    "field": (series(9, 8, 2, 7, 9, 9, 2, 9), [1] * 8),
    "cut and grown again": (series(1, 1, 1, 8, 7, 5, 2, 1), [2, 2, 2, 5, 6, 6, 4, 4]),
    "cut for good": (series(1, 1, 1, 8, 7, 8, 8, 9), [2, 2, 2, 5, 6, 6, 6, 6]),
    "a cloud": (series(1, 1, 1, 8, 1, 1, 1, 1), [2] * 8),
    "only thinner": (series(1, 1, 1, 3.5, 3.8, 3.5, 1, 1), [2] * 8),
    "the last time": (series(1, 1, 1, 1, 1, 1, 1, 8), [2] * 8),
    "grown": (series(9, 8, 5, 2, 1, 1, 1, 1), [6, 6, 6, 4, 4, 4, 4, 4]),
    "cut twice": (series(1, 1, 8, 8, 1, 1, 8, 9), [2, 2, 5, 6, 4, 4, 5, 6]),
    "dark, not green": (series(1, 1, 1, 1, 1, 1, 1, 1, ndvi=0.2), [1] * 8),
}


@pytest.mark.parametrize("name", KINDS)
def test_classes_of_plain_series(name: str) -> None:
    image, expected = KINDS[name]
    assert image.vct().compute().values[:, 0, 0, 0].tolist() == expected


def test_water_is_told_by_its_mask() -> None:
    image = KINDS["field"][0]
    water = image.select("ifz").rename("water").gt(7)
    found = image.add_bands(water).vct().compute().values[:, 0, 0, 0]
    assert found.tolist() == [3] * 8
    found = KINDS["cut for good"][0].add_bands(image.select("ifz").rename("water").gt(7)).vct().compute()
    assert 3 not in found.values[:, 0]


def test_the_forest_score_is_that_of_its_formula() -> None:
    rng = np.random.default_rng(3)
    data = np.ma.MaskedArray(rng.random((2, 3, 5, 7)), mask=rng.random((2, 3, 5, 7)) < 0.1)
    means, deviations = (0.03, 0.12, 0.06), (0.01, 0.02, 0.03)
    raster = from_series(data, TIMES[:2], ("red", "swir1", "swir2")).forest_z_score(means, deviations).compute()
    shape = (1, 3, 1, 1)
    expected = np.sqrt((((data - np.reshape(means, shape)) / np.reshape(deviations, shape)) ** 2).mean(axis=1))
    whole = ~np.ma.getmaskarray(data).any(axis=1)
    assert raster.type.bands == ("ifz",)
    assert np.array_equal(raster.valid[:, 0], whole)
    assert np.allclose(raster.values[:, 0][whole], expected.data[whole], rtol=1e-12)


IMAGE = from_series(scores(0), TIMES, ("ifz", "ndvi"))
BAD: dict[str, Refusal] = {
    "other bands": (lambda: IMAGE.select("ndvi", "ifz").vct(), BandError, "ndvi, ifz are not"),
    "no score": (lambda: IMAGE.vct(for_thr_max=0.0), ExpressionError, "for_thr_max=0"),
    "tolerance below": (lambda: IMAGE.vct(max_ud=2.0), ExpressionError, "max_ud=2"),
    "no ndvi": (lambda: IMAGE.vct(min_ndvi=2.0), ExpressionError, "min_ndvi=2"),
    "no persistence": (lambda: IMAGE.vct(persistence=0), ExpressionError, "persistence=0"),
    "too many": (lambda: IMAGE.vct(fewest=99), ExpressionError, "fewest=99"),
    "backwards": (lambda: IMAGE.rearrange((2, 1, 0)).vct(fewest=1), ExpressionError, "must rise"),
    "one mean": (lambda: IMAGE.forest_z_score((0.1,), (0.1, 0.1)), ExpressionError, "1 means and 2 deviations"),
    "no deviation": (lambda: IMAGE.forest_z_score((0.1, 0.1), (0.1, 0.0)), ExpressionError, "deviations above 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_in_one_line(name: str) -> None:
    assert_refused(BAD[name])
