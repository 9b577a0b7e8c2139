"""Tables of regions equal what is counted pixel by pixel with the coverage of each; samples of classes and rectangles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from pyproj import Geod
from sample_images import classes, grid, mask, noise
from test_regions import COLUMNS, CRS, ROWS, holed, polygons

import esd
from esd.errors import BandError, EsdError, ExpressionError, GridError, MemoryLimitError, TableError
from esd.grid import Region, make_geobox, region_of
from esd.region_tables import area_by_class, covariance, crosstab, pixel_areas, reduce_groups, zonal_histogram
from esd.regions import reduce_region
from esd.sampling import get_region, sample_rectangle, stratified_sample

GRID = grid(ROWS, COLUMNS)


def region_mask() -> tuple[Any, np.ndarray]:
    """A polygon, and which centres lie in it."""
    centre = GRID.extent.geom.centroid
    area = centre.buffer(3000).difference(shapely.affinity.translate(centre, 500, 700).buffer(900))
    rows, columns = np.mgrid[:ROWS, :COLUMNS] + 0.5
    box = GRID.boundingbox
    return area, shapely.contains_xy(area, box.left + columns * 30, box.top - rows * 30)


@pytest.mark.parametrize("coverage", ["fraction", "center"])
def test_histograms_of_zones_equal_those_of_the_pixels(coverage: str) -> None:
    image, regions = classes(ROWS, COLUMNS), polygons(60)
    features = esd.features(regions)
    found = zonal_histogram(image, features, coverage=coverage)
    pixels = features.sample_regions(image, coverage=coverage).dropna(subset="band_0")
    expected = pixels.groupby(["name", "band_0"])["coverage"].sum()
    assert len(found) == len(expected) > 100
    assert list(found.columns) == ["region", "name", "value", "count"]
    keys = found["name"].tolist(), found["value"].tolist()
    assert list(zip(*keys, strict=True)) == [(int(a), int(b)) for a, b in expected.index]
    assert np.allclose(found["count"], expected.to_numpy(float), rtol=1e-12)
    totals = found.groupby("name")["count"].sum()
    whole = features.reduce_regions(image, "count", coverage=coverage).set_index("name")["band_0_count"]
    assert np.allclose(totals, whole.loc[totals.index].to_numpy(float))


def test_any_tiling_gives_the_same_table() -> None:
    image, regions = classes(ROWS, COLUMNS), esd.features(polygons(30))
    calls: list[Callable[[int | None], pd.DataFrame]] = [
        lambda tile: zonal_histogram(image, regions, tile=tile),
        lambda tile: area_by_class(image, regions, tile=tile, threads=2),
        lambda tile: crosstab(image, image.focal_mode(1), tile=tile),
        lambda tile: reduce_groups(holed()[0], image, ["mean", "median", "std"], tile=tile),
        lambda tile: covariance(holed()[0].focal_mean(1), tile=tile),
        lambda tile: stratified_sample(image, 20, "band_0", tile=tile).drop(columns="geometry"),
    ]
    for call in calls:
        whole = call(None)
        for tile in (64, 97):
            pd.testing.assert_frame_equal(call(tile), whole, check_exact=True)


def test_several_bands_and_times_have_columns() -> None:
    image, values, valid = holed()
    stacked = (image > 100).stack(image > 90)
    found = zonal_histogram(stacked, esd.features([GRID.extent.geom], CRS))
    assert list(found.columns) == ["region", "time", "band", "value", "count"]
    assert len(found) == 2 * 2 * 2
    counts = found.set_index(["band", "value"])["count"].iloc[:4].to_dict()
    for band, name in enumerate("ab"):
        for value in (False, True):
            assert counts[name, value] == ((values[band] > 100) == value)[valid[band]].sum()


def test_areas_are_those_on_the_ellipsoid() -> None:
    geod = Geod(ellps="WGS84")
    utm = pixel_areas(GRID, Region(10, 40, 20, 60))
    to_degrees = gpd.GeoSeries([shapely.box(*_pixel(12, 25))], crs=CRS).to_crs(4326)
    assert utm[2, 5] == pytest.approx(abs(geod.geometry_area_perimeter(to_degrees[0])[0]), rel=1e-6)
    degrees = make_geobox((180, 360), Affine(1, 0, -180, 0, -1, 90), "EPSG:4326")
    sphere = pixel_areas(degrees, region_of(degrees))
    assert sphere.sum() == pytest.approx(510_065_621_724_000, rel=1e-9)
    cell = shapely.segmentize(shapely.box(-160, 49, -159, 50), 1e-3)
    assert sphere[40, 20] == pytest.approx(abs(geod.geometry_area_perimeter(cell)[0]), rel=1e-6)


def _pixel(row: int, column: int) -> tuple[float, ...]:
    box = GRID.boundingbox
    left, top = box.left + 30 * column, box.top - 30 * row
    return left, top - 30, left + 30, top


def test_areas_of_classes_add_up_to_the_area_of_the_region() -> None:
    image = classes(ROWS, COLUMNS, share=0)
    inside = shapely.buffer(shapely.Point(GRID.extent.geom.centroid), 2000)
    found = area_by_class(image, esd.features([inside], CRS))
    geodesic = esd.features([shapely.segmentize(inside, 10)], CRS).area()[0]
    assert found["area"].sum() == pytest.approx(geodesic, rel=1e-6)
    counts = zonal_histogram(image, esd.features([inside], CRS))["count"]
    assert np.allclose(found["area"] / counts, geodesic / counts.sum(), rtol=1e-3)


def test_pairs_of_classes_are_counted() -> None:
    one, other = classes(ROWS, COLUMNS, seed=1), classes(ROWS, COLUMNS, number=3, seed=2)
    area, inside = region_mask()
    a, b = one.compute(), other.compute()
    both = (a.valid & b.valid)[0, 0]
    for geometry, chosen, options in ((None, both, {}), (area, both & inside, {"coverage": "center"})):
        found = crosstab(one, other, geometry, CRS, **options)
        expected = pd.crosstab(a.values[0, 0][chosen], b.values[0, 0][chosen])
        assert np.array_equal(found.to_numpy(), expected.to_numpy())
        assert found.index.tolist() == expected.index.tolist()
        assert found.columns.tolist() == expected.columns.tolist()


def test_statistics_by_class_equal_pandas() -> None:
    image, values, valid = holed()
    zones = classes(ROWS, COLUMNS, number=6).cast("int16") * 100
    zone = zones.compute()
    area, inside = region_mask()
    for geometry, chosen in ((None, zone.valid[0, 0]), (area, zone.valid[0, 0] & inside)):
        found = reduce_groups(image, zones, ["count", "mean", "std", "p20"], geometry, CRS, coverage="center")
        for band, name in enumerate("ab"):
            seen = chosen & valid[band]
            groups = pd.Series(values[band][seen]).groupby(zone.values[0, 0][seen])
            expected = {
                "count": groups.count(),
                "mean": groups.mean(),
                "std": groups.std(ddof=0),
                "p20": groups.quantile(0.2),
            }
            for reducer, numbers in expected.items():
                column = found[f"{name}_{reducer}"]
                assert column.index.tolist() == numbers.index.tolist() == [0, 100, 200, 300, 400, 500]
                assert np.allclose(column.to_numpy(float), numbers, rtol=1e-12)


def test_covariance_of_a_region_equals_numpy() -> None:
    image, values, valid = holed()
    area, inside = region_mask()
    pixels = values[:, inside & valid.all(axis=0)]
    found = covariance(image, area, CRS, coverage="center")
    assert found.columns.tolist() == found.index.tolist() == ["a", "b"]
    assert np.allclose(found, np.cov(pixels, ddof=0), rtol=1e-10)
    assert np.allclose(covariance(image, area, CRS, centered=True, coverage="center"), pixels @ pixels.T / pixels.shape[1])


def test_weights_come_from_an_image() -> None:
    image, values, valid = holed()
    weights = esd.from_array(
        np.where(noise(ROWS, COLUMNS).compute().values[0, 0] > 0.2, values[1], -1.0), GRID, valid=valid[1]
    )
    own = weights.compute()
    counts = valid[0] & own.valid[0, 0] & (own.values[0, 0] > 0)
    found = reduce_region(image["a"], GRID.extent.geom, ["mean", "count", "sum", "max"], CRS, weights=weights)
    share = own.values[0, 0][counts]
    assert found["a_count"] == pytest.approx(share.sum())
    assert found["a_mean"] == pytest.approx(np.average(values[0][counts], weights=share))
    assert found["a_max"] == values[0][counts].max()
    series = esd.from_array(np.stack([values[:1]] * 2), GRID, ("a",), ("2001", "2002"), np.stack([valid[:1]] * 2))
    same = reduce_region(series, GRID.extent.geom, "sum", CRS, weights=weights)
    twice = reduce_region(series, GRID.extent.geom, "sum", CRS, weights=weights.stack(weights * 2))
    total = found["a_sum"]
    assert total is not None
    assert same == {"a_2001_sum": total, "a_2002_sum": total}
    assert twice == {"a_2001_sum": pytest.approx(total), "a_2002_sum": pytest.approx(2 * total)}
    with pytest.raises(ExpressionError, match="weights have 2 bands"):
        reduce_region(image, GRID.extent.geom, "mean", CRS, weights=image)


def test_a_sample_has_as_many_pixels_of_each_class() -> None:
    values = np.random.default_rng(8).choice(4, (ROWS, COLUMNS), p=[0.3, 0.3, 0.3995, 0.0005]).astype(np.uint8)
    rare = esd.from_array(values, GRID, ("class",), valid=mask(ROWS, COLUMNS, 0.5, 9))
    found = stratified_sample(rare.add_bands(noise(ROWS, COLUMNS)), 50, "class", seed=3)
    number = found["class"].value_counts()
    assert [number[i] for i in range(3)] == [50, 50, 50]
    assert 0 < number[3] < 50
    again = stratified_sample(rare.add_bands(noise(ROWS, COLUMNS)), 20, "class", seed=3)
    first = pd.concat([found[found["class"] == i].head(20) for i in range(4)], ignore_index=True)
    assert again.equals(gpd.GeoDataFrame(first))
    at = esd.features(found).sample_regions(rare.rename("class2"))
    assert (at["class2"] == at["class"]).all()


def test_a_rectangle_is_part_of_the_image() -> None:
    image, values, valid = holed()
    corner = (*_pixel(250, 100)[:2], *_pixel(240, 120)[2:])
    found = sample_rectangle(image, corner, CRS)
    assert np.array_equal(found.values[0], np.where(valid, values, 0)[:, 240:251, 100:121])
    assert np.array_equal(found.valid[0], valid[:, 240:251, 100:121])
    assert found.geobox.boundingbox.bbox == pytest.approx(corner)
    assert sample_rectangle(image, GRID.extent.geom, CRS).values.shape == (1, 2, ROWS, COLUMNS)


def test_all_pixels_of_a_region_at_all_times() -> None:
    image, values, valid = holed()
    area, inside = region_mask()
    dated = [esd.from_array(values + i, GRID, ("a", "b"), (f"2004-0{i + 1}-01",), valid[None]) for i in range(3)]
    found = get_region(esd.ImageCollection(tuple(dated)), area, CRS)
    assert list(found.columns) == ["longitude", "latitude", "time", "a", "b"]
    assert len(found) == 3 * inside.sum()
    assert found["time"].tolist()[:3] == ["2004-01-01", "2004-02-01", "2004-03-01"]
    for i, name in enumerate("ab"):
        column = found[name].to_numpy(dtype=float, na_value=np.nan).reshape(-1, 3)
        assert np.array_equal(np.isnan(column[:, 0]), ~valid[i][inside])
        assert np.allclose(column, np.where(valid[i], values[i], np.nan)[inside][:, None] + np.arange(3), equal_nan=True)
    points = gpd.GeoSeries(gpd.points_from_xy(found["longitude"], found["latitude"]), crs=4326).to_crs(CRS)
    assert points[0].distance(shapely.box(*_pixel(*np.argwhere(inside)[0])).centroid) < 1e-3
    assert image.type.time == ("",)


def test_what_has_no_table_is_refused() -> None:
    image, far = holed()[0], shapely.box(0, 0, 10, 10)
    everywhere = esd.features([GRID.extent.geom], CRS)
    calls: list[tuple[Callable[[], object], type[EsdError], str]] = [
        (lambda: zonal_histogram(image, everywhere, max_rows=1000), MemoryLimitError, "more than 1000 different"),
        (lambda: zonal_histogram(image, esd.features([far], CRS)), TableError, "no region covers"),
        (lambda: zonal_histogram(image, esd.features([shapely.Point(0, 0)], CRS)), TableError, "no polygons"),
        (lambda: crosstab(image, image), ExpressionError, "one time and band"),
        (lambda: reduce_groups(image, image), ExpressionError, "one time and band"),
        (lambda: reduce_groups(image, classes(ROWS, COLUMNS), "first"), ExpressionError, "needs an order"),
        (lambda: covariance(image, far, CRS), TableError, "no pixel"),
        (lambda: stratified_sample(image, 5, "c"), BandError, "no band 'c'"),
        (lambda: stratified_sample(image, 5, "a"), ExpressionError, "whole numbers"),
        (lambda: sample_rectangle(image, far, CRS), GridError, "outside of the image"),
        (lambda: sample_rectangle(image, GRID.extent.geom, CRS, max_pixels=10), MemoryLimitError, "more than the 10"),
        (lambda: get_region(image, far, CRS), TableError, "covers no pixel"),
        (lambda: get_region(image, far, CRS, "fraction"), ExpressionError, "center"),
    ]
    for call, error, reason in calls:
        with pytest.raises(error, match=reason) as caught:
            call()
        assert "\n" not in str(caught.value)
