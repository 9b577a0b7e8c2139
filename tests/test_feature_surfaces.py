"""Numbers at points spread over a grid, against exact solves and brute force; features drawn in colours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from sample_images import grid
from scipy.linalg import cholesky
from scipy.spatial.distance import cdist

import esd
from esd.errors import EsdError, GridError, TableError
from esd.feature_surfaces import MODELS, Variogram
from esd.grid import geobox_from_bounds

GRID = grid(24, 31)
UTM = "EPSG:32633"
RNG = np.random.default_rng(0)
PLACES = np.stack([500_000 + RNG.uniform(-100, 1000, 40), 5_000_000 + RNG.uniform(-50, 800, 40)], axis=1)
NUMBERS = RNG.normal(10, 3, 40)


def points(places: np.ndarray = PLACES, numbers: np.ndarray = NUMBERS, crs: str = UTM) -> esd.FeatureCollection:
    table = {"height": [*numbers, np.nan, 5.0], "name": "p"}
    shapes = [*shapely.points(places), shapely.Point(500_000, 5_000_000), None]
    return esd.features(gpd.GeoDataFrame(table, geometry=shapes, crs=crs))


def centres() -> np.ndarray:
    rows, columns = np.mgrid[:24, :31] + 0.5
    x, y = GRID.affine @ (columns.ravel(), rows.ravel())
    return np.stack([x, y], axis=1)


def planes(image: Any) -> list[np.ndarray]:
    return list(image.compute().values[0].reshape(len(image.type.bands), -1).astype(np.float64))


@pytest.mark.parametrize(("power", "most", "reach"), [(2.0, None, 300.0), (1.0, 5, 1e9), (3.5, 32, 120.0)])
def test_inverse_distance_is_the_weighted_mean(power: float, most: int | None, reach: float) -> None:
    image = points().inverse_distance("height", GRID, reach, power, most)
    away = cdist(centres(), PLACES)
    counted = away <= reach
    if most is not None:
        counted &= away <= np.sort(away, axis=1)[:, [most - 1]]
    weights = counted / away**power
    found, known = planes(image)[0], image.compute().valid[0, 0].ravel()
    assert np.array_equal(known, counted.any(axis=1))
    with np.errstate(invalid="ignore"):
        expected = (weights @ NUMBERS) / weights.sum(axis=1)
    assert np.allclose(found[known], expected[known], rtol=1e-6)
    assert image.type.bands == ("height",)


def test_inverse_distance_keeps_the_numbers_at_the_points() -> None:
    chosen = centres()[[3, 200, 200, 500]]
    image = points(chosen, np.array([1.0, 4.0, 6.0, 9.0])).inverse_distance("height", GRID, power=40.0)
    assert planes(image)[0][[3, 200, 500]] == pytest.approx([1, 5, 9])


def exact(pixels: np.ndarray, variogram: Variogram) -> tuple[np.ndarray, np.ndarray]:
    """Ordinary kriging by generalized least squares: the mean, then simple kriging of what is left, with its variance."""
    covariance = variogram.sill - variogram(cdist(PLACES, PLACES))
    between = variogram.sill - variogram(cdist(PLACES, pixels))
    inverse = np.linalg.inv(covariance)
    ones = np.ones(len(PLACES))
    mean = ones @ inverse @ NUMBERS / (ones @ inverse @ ones)
    estimate = mean + between.T @ inverse @ (NUMBERS - mean)
    lost = (between * (inverse @ between)).sum(axis=0)
    variance = variogram.sill - lost + (1 - ones @ inverse @ between) ** 2 / (ones @ inverse @ ones)
    return estimate, variance


@pytest.mark.parametrize("most", [None, 40])
@pytest.mark.parametrize("model", MODELS)
def test_kriging_equals_least_squares(model: str, most: int | None) -> None:
    image = points().kriging("height", GRID, model, range=400.0, sill=9.0, nugget=1.5, most=most)
    estimate, variance = exact(centres(), Variogram(model, 400.0, 9.0, 1.5))
    found = planes(image)
    assert image.type.bands == ("height", "variance")
    assert image.compute().valid.all()
    assert np.allclose(found[0], estimate, rtol=1e-5)
    assert np.allclose(found[1], variance, rtol=1e-5)


@pytest.mark.parametrize("most", [None, 6])
def test_kriging_is_exact_at_points_and_keeps_constants(most: int | None) -> None:
    chosen = centres()[[5, 60, 333, 411, 500, 700, 701]]
    numbers = np.array([1.0, -4, 8, 2, 3, 5, 9])
    for nugget in (0.0, 0.5):
        found = planes(points(chosen, numbers).kriging("height", GRID, range=300, sill=4, nugget=nugget, most=most))
        assert found[0][[5, 60, 333, 411, 500, 700, 701]] == pytest.approx(numbers)
        assert found[1][[5, 60, 333, 411, 500, 700, 701]] == pytest.approx([0] * 7, abs=1e-6)
        assert (found[1] >= 0).all()
        flat = planes(points(chosen, np.full(7, 3.25)).kriging("height", GRID, range=300, sill=4, nugget=nugget, most=most))
        assert np.allclose(flat[0], 3.25)


def test_kriging_is_unbiased_and_as_sure_as_it_says() -> None:
    """Fields drawn from the variogram: errors have a mean of 0 and the variance that is told."""
    variogram, rng = Variogram("exponential", 500.0, 4.0, 0.4), np.random.default_rng(1)
    pixels = centres()[::53]
    every = np.concatenate([PLACES, pixels])
    root = cholesky(4.0 - variogram(cdist(every, every)), lower=True)
    errors, told = [], None
    for _draw in range(200):
        field = root @ rng.normal(size=len(every)) + 7
        found = planes(points(PLACES, field[:40]).kriging("height", GRID, "exponential", range=500, sill=4, nugget=0.4))
        errors.append(found[0][::53] - field[40:])
        told = found[1][::53]
    share = np.var(errors, axis=0).mean() / np.mean(told)
    assert abs(np.mean(errors)) < 4 * np.sqrt(np.mean(told) / 200)
    assert 0.85 < share < 1.15


def test_a_grid_of_degrees_gives_what_a_projected_one_gives() -> None:
    around = geobox_from_bounds(15.0, 45.15, 15.01, 45.16, "EPSG:4326", 0.0005)
    image = points().kriging("height", around, range=400.0, sill=9.0, nugget=1.0)
    rows, columns = np.mgrid[:20, :20] + 0.5
    x, y = around.affine @ (columns.ravel(), rows.ravel())
    flat = gpd.GeoSeries(shapely.points(x, y), crs="EPSG:4326").to_crs(UTM)
    estimate, variance = exact(shapely.get_coordinates(flat.to_numpy()), Variogram("spherical", 400.0, 9.0, 1.0))
    found = planes(image)
    assert np.allclose(found[0], estimate, atol=0.02)  # UTM is 0.04 % short here
    assert np.allclose(found[1], variance, atol=0.02)


REFUSED: list[tuple[Callable[[], Any], type[EsdError], str]] = [
    (lambda: points().kriging("height", GRID, "linear", range=1, sill=1), TableError, "linear"),
    (lambda: points().kriging("height", GRID, range=0, sill=1), TableError, "range above 0"),
    (lambda: points().kriging("height", GRID, range=1, sill=1, nugget=2), TableError, "nugget"),
    (lambda: points().kriging("name", GRID, range=1, sill=1), TableError, "no property of numbers"),
    (lambda: points(PLACES[[0, 0]], NUMBERS[:2]).kriging("height", GRID, range=1, sill=1), TableError, "one place"),
    (lambda: points(PLACES * 1e-4, NUMBERS).kriging("height", GRID, "gaussian", range=1e9, sill=1), TableError, "nugget"),
    (lambda: points().inverse_distance("height", GRID, reach=0), TableError, "reach=0"),
    (lambda: points().inverse_distance("height", GRID, most=0), TableError, "most=0"),
    (lambda: points().buffer(10).inverse_distance("height", GRID), TableError, "no points"),
    (lambda: points().inverse_distance("height", esd.image.constant(1)), GridError, "constant"),
    (lambda: points().filter("height = 5").inverse_distance("height", GRID), TableError, "both a point and a number"),
    (lambda: points().draw(GRID, "rosé"), TableError, "no colour"),
    (lambda: points().draw(GRID, width=0), TableError, "width=0"),
    (lambda: points().draw(GRID, style="look"), TableError, "no property 'look'"),
    (lambda: points().draw(GRID, style="height"), TableError, "no dictionary"),
]


@pytest.mark.parametrize(("call", "error", "reason"), REFUSED, ids=[reason for *_call, reason in REFUSED])
def test_what_cannot_be_is_refused(call: Callable[[], Any], error: type[EsdError], reason: str) -> None:
    with pytest.raises(error, match=reason) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_features_are_drawn_as_wide_as_they_should_be() -> None:
    area = grid(60, 80, 10.0)
    left, top = 500_000, 5_000_600
    box = shapely.box(left + 100, top - 300, left + 300, top - 100)
    shapes = [
        box,
        shapely.LineString([(left, top - 400), (left + 800, top - 400)]),
        shapely.Point(left + 600, top - 200),
        None,
    ]
    table = {"look": [{"fill": "#0000ff"}, {"width": 4}, {"color": "lime", "point_radius": 10}, None]}
    given = esd.features(gpd.GeoDataFrame(table, geometry=shapes, crs=UTM))
    raster = given.draw(area, "red", width=2, style="look").compute()
    picture, valid = raster.values[0].transpose(1, 2, 0), raster.valid[0, 0]
    assert raster.type.bands == ("red", "green", "blue")
    assert raster.values.dtype == np.uint8
    assert (picture[11:29, 11:29] == (0, 0, 255)).all()
    assert (picture[9:11, 10:30] == (255, 0, 0)).all()
    assert (picture[38:42] == (255, 0, 0)).all()
    assert not valid[42:].any()
    green = (picture == (0, 255, 0)).all(axis=2)
    rows, columns = np.nonzero(green)
    assert np.array_equal(green, np.hypot(*(np.mgrid[:60, :80] + 0.5 - np.array([20, 60]).reshape(2, 1, 1))) <= 10)
    assert (rows.min(), columns.max()) == (10, 69)
    assert not (valid & (picture == 0).all(axis=2)).any()
    covered = given.draw(area, "red", width=60).compute().values[0][:, 30, 40]
    assert covered.tolist() == [255, 0, 0]
