"""Statistics of regions equal exactextract's; samples, rasters of polygons and polygons of rasters agree with each other."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from sample_images import classes, grid, mask, noise, plane

import esd
from esd.errors import ExpressionError, GridError, MemoryLimitError, TableError
from esd.regions import clip, rasterize, reduce_region, sample, vectorize

ROWS, COLUMNS = 300, 280
REDUCERS = ("count", "sum", "mean", "min", "max", "variance", "std", "median", "p20", "p0", "p100")
THEIRS = ["count", "sum", "mean", "min", "max", "variance", "stdev", "median"] + [f"quantile(q={q})" for q in (0.2, 0, 1)]
CRS = "EPSG:32633"


def polygons(number: int, seed: int = 0) -> gpd.GeoDataFrame:
    """Stars, holes and multipolygons, large and smaller than a pixel, inside, across and outside of the grid."""
    rng = np.random.default_rng(seed)
    box = grid(ROWS, COLUMNS).boundingbox
    shapes = []
    for i in range(number):
        x, y = rng.uniform(box.left - 300, box.right + 300), rng.uniform(box.bottom - 300, box.top + 300)
        radius = rng.choice([5, 40, 200, 1500])
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(4, 30)))
        away = radius * rng.uniform(0.3, 1, len(angles))
        star = shapely.make_valid(shapely.Polygon(np.stack([x + away * np.cos(angles), y + away * np.sin(angles)], axis=1)))
        hole = shapely.Point(x, y).buffer(radius / 4)
        shapes.append(shapely.union(star.difference(hole), shapely.Point(x + 4 * radius, y).buffer(radius / 2)))
        shapes[-1] = shapes[-1] if i % 3 else star
    return gpd.GeoDataFrame({"name": np.arange(number)}, geometry=shapes, crs=CRS)


def holed(seed: int = 3) -> tuple[esd.Image, np.ndarray, np.ndarray]:
    values = np.random.default_rng(seed).normal(100, 20, (2, ROWS, COLUMNS))
    valid = np.stack([mask(ROWS, COLUMNS, 0.3, seed), mask(ROWS, COLUMNS, 0.9, seed + 1)])
    image = esd.from_array(values, grid(ROWS, COLUMNS), ("a", "b"), valid=valid[None])
    return image, values, valid


def test_statistics_equal_exactextract() -> None:
    image, values, valid = holed()
    regions = polygons(150)
    found = esd.features(regions).reduce_regions(image, REDUCERS)
    box = grid(ROWS, COLUMNS).boundingbox
    outline = (box.left, box.bottom, box.right, box.top)
    for band, name in enumerate("ab"):
        source = NumPyRasterSource(np.where(valid[band], values[band], np.nan), *outline, srs_wkt=regions.crs.to_wkt())
        expected = exact_extract(source, regions, THEIRS, output="pandas")
        for ours, theirs in zip(REDUCERS, expected.columns, strict=True):
            number, other = found[f"{name}_{ours}"], expected[theirs].to_numpy(dtype=float)
            empty = expected["count"].to_numpy() == 0
            assert 0 < empty.sum() < len(regions)
            if ours == "count":
                assert (number[empty] == 0).all()
            else:
                assert number[empty].isna().all()
            assert np.allclose(number[~empty].to_numpy(dtype=float), other[~empty], rtol=1e-9, atol=1e-9)


def test_coverage_is_the_share_of_the_area_of_each_pixel() -> None:
    image = esd.from_array(np.arange(12.0).reshape(3, 4), grid(3, 4))
    region = polygons(1).geometry[0]
    box = grid(3, 4).boundingbox
    region = shapely.affinity.translate(region, box.left + 60 - region.centroid.x, box.bottom + 40 - region.centroid.y)
    found = esd.features([region], CRS).sample_regions(image)
    for value, coverage, centre in zip(found["band_0"], found["coverage"], found.geometry, strict=True):
        pixel = shapely.box(centre.x - 15, centre.y - 15, centre.x + 15, centre.y + 15)
        assert coverage == pytest.approx(pixel.intersection(region).area / 900, abs=1e-6)
        assert value == (box.top - 15 - centre.y) / 30 * 4 + (centre.x - box.left - 15) / 30
    assert len(found) == len(found["band_0"].unique())


@pytest.mark.parametrize("tile", [64, 97, 256, None])
def test_any_tiling_gives_the_same_bytes(tile: int | None) -> None:
    image, _values, _valid = holed()
    regions = esd.features(polygons(40))
    one = regions.reduce_regions(image.focal_mean(1), REDUCERS, threads=2)
    other = regions.reduce_regions(image.focal_mean(1), REDUCERS, tile=tile, threads=1)
    pd.testing.assert_frame_equal(one, other, check_exact=True)


@pytest.mark.parametrize("coverage", ["center", "all_touched"])
def test_whole_pixels_are_those_of_rasterio(coverage: str) -> None:
    from rasterio.features import rasterize as burn

    image, values, valid = holed()
    regions = polygons(25)
    found = esd.features(regions).reduce_regions(image, ["count", "sum"], coverage=coverage)
    for i, shape in enumerate(regions.geometry):
        touched = coverage == "all_touched"
        inside = burn([shape], (ROWS, COLUMNS), transform=grid(ROWS, COLUMNS).affine, all_touched=touched).astype(bool)
        tolerance = 0 if coverage == "center" else 0.02 * inside.sum() + 2  # GDAL's lines pass over corners that are cut
        assert abs(found["a_count"][i] - (inside & valid[0]).sum()) <= tolerance
        if coverage == "center" and (inside & valid[0]).any():
            assert found["a_sum"][i] == pytest.approx(values[0][inside & valid[0]].sum())


def test_a_region_that_spreads_little_on_a_high_level_keeps_its_variance() -> None:
    values = 1e8 + np.random.default_rng(0).normal(size=(ROWS, COLUMNS))
    box = grid(ROWS, COLUMNS).boundingbox
    whole = esd.features([shapely.box(box.left, box.bottom, box.right, box.top)], CRS)
    found = whole.reduce_regions(esd.from_array(values, grid(ROWS, COLUMNS)), ["variance"])
    assert found["band_0_variance"][0] == pytest.approx(values.var(), rel=1e-6)


def test_nan_does_not_count_and_missing_geometries_have_no_number() -> None:
    values = np.full((4, 4), 2.0)
    values[0, 0] = np.nan
    box = grid(4, 4).boundingbox
    shapes = [shapely.box(box.left, box.bottom, box.right, box.top), None, shapely.Polygon()]
    found = esd.features(shapes, CRS).reduce_regions(esd.from_array(values, grid(4, 4)), ["count", "mean"])
    assert found["band_0_count"].tolist() == [15, 0, 0]
    assert found["band_0_mean"][0] == 2
    assert found["band_0_mean"].isna().tolist() == [False, True, True]


def test_other_coordinates_and_times_are_named() -> None:
    values = np.arange(32.0).reshape(2, 1, 4, 4)
    image = esd.from_array(values, grid(4, 4), ("v",), ("2004-01-15", "2004-02-15"))
    box = grid(4, 4).boundingbox
    regions = gpd.GeoDataFrame(geometry=[shapely.box(box.left + 30, box.bottom + 30, box.right - 30, box.top - 30)], crs=CRS)
    found = esd.features(regions.to_crs(4326)).reduce_regions(image, "mean")
    assert found["v_2004-01-15_mean"][0] == pytest.approx(7.5, abs=1e-3)
    assert found["v_2004-02-15_mean"][0] == pytest.approx(23.5, abs=1e-3)


def test_points_take_the_pixel_that_holds_them() -> None:
    image = classes(ROWS, COLUMNS)
    values, valid = plane(image)
    rng = np.random.default_rng(5)
    rows, columns = rng.integers(0, ROWS, 200), rng.integers(0, COLUMNS, 200)
    x, y = grid(ROWS, COLUMNS).affine @ (columns + rng.random(200), rows + rng.random(200))
    points = gpd.GeoDataFrame({"k": range(201)}, geometry=[*shapely.points(x, y), shapely.Point(0, 0)], crs=CRS)
    found = esd.features(points).sample_regions(image)
    assert found["k"].tolist() == list(range(201))
    assert str(found["band_0"].dtype) == "Int64"
    known = valid[rows, columns]
    assert np.array_equal(found["band_0"].notna().to_numpy(), [*known, False])
    assert np.array_equal(found["band_0"][:200][known].to_numpy(dtype=int), values[rows, columns][known])


def test_polygons_of_a_raster_burn_to_the_same_raster() -> None:
    image = classes(60, 50)
    values, valid = plane(image)
    shapes = vectorize(image)
    assert np.allclose(shapes.area.sum(), valid.sum() * 900)
    again, burnt = plane(rasterize(esd.features(shapes), image, "band_0"))
    assert np.array_equal(burnt, valid)
    assert np.array_equal(again[valid], values[valid])
    assert len(vectorize(image, connectivity=8)) < len(shapes)


def test_one_region_gives_numbers_or_none() -> None:
    values = np.arange(16.0).reshape(4, 4)
    image = esd.from_array(values, grid(4, 4), ("v",), valid=values > 7)
    box = grid(4, 4).boundingbox
    lower = (box.left, box.bottom, box.right, box.bottom + 60)
    upper = (box.left, box.bottom + 60, box.right, box.top)
    assert reduce_region(image, lower, ["mean", "count"], CRS) == {"v_mean": 11.5, "v_count": 8.0}
    assert reduce_region(image, upper, ["mean", "sum", "median"], CRS) == {"v_mean": None, "v_sum": None, "v_median": None}


def test_what_is_clipped_is_valid_inside_only() -> None:
    from rasterio.features import rasterize as burn

    image, values, valid = holed()
    shapes = polygons(6)
    inside = burn(shapes.geometry, (ROWS, COLUMNS), transform=grid(ROWS, COLUMNS).affine).astype(bool)
    raster = clip(image, esd.features(shapes)).compute()
    assert np.array_equal(raster.valid[0], valid & inside)
    assert np.array_equal(raster.values[0][raster.valid[0]], values[raster.valid[0]])


def test_a_sample_does_not_depend_on_tiles_and_is_spread_evenly() -> None:
    image, values, valid = holed()
    found = sample(image.select("a"), 3000, seed=4)
    pd.testing.assert_frame_equal(found, sample(image.select("a"), 3000, seed=4, tile=61, threads=1), check_exact=True)
    box = grid(ROWS, COLUMNS).boundingbox
    rows, columns = ((box.top - found.geometry.y) // 30).astype(int), ((found.geometry.x - box.left) // 30).astype(int)
    assert valid[0][rows, columns].all()
    assert np.array_equal(found["a"], values[0][rows, columns])
    assert len(set(zip(rows, columns, strict=True))) == 3000
    share = np.histogram(rows, 6, (0, ROWS))[0] / np.array([part.sum() for part in np.split(valid[0], 6)])
    assert share.std() / share.mean() < 0.15
    assert not found.geometry.equals(sample(image.select("a"), 3000, seed=5).geometry)
    assert len(sample(image, 10**6)) == (valid[0] & valid[1]).sum()


def test_later_features_cover_earlier_ones() -> None:
    box = grid(6, 6).boundingbox
    shapes = [shapely.box(*box.bbox), shapely.box(box.left, box.bottom, box.left + 90, box.top), None]
    frame = gpd.GeoDataFrame({"n": [1.5, 2.5, 9.0]}, geometry=shapes, crs=CRS)
    values, valid = plane(rasterize(esd.features(frame), grid(6, 6), "n"))
    assert valid.all()
    assert (values[:, :3] == 2.5).all()
    assert (values[:, 3:] == 1.5).all()


def test_what_cannot_be_done_is_refused_in_one_line() -> None:
    image = noise(8, 8)
    box = grid(8, 8).boundingbox
    square = esd.features([shapely.box(*box.bbox)], CRS)
    refused = [
        (lambda: square.reduce_regions(image, "argmax"), ExpressionError, "no order|have none"),
        (lambda: square.reduce_regions(image, "sample_std"), ExpressionError, "n - 1"),
        (lambda: square.reduce_regions(image, "men"), ExpressionError, "no reducer"),
        (lambda: square.reduce_regions(image, coverage="half"), ExpressionError, "coverage='half'"),
        (lambda: square.reduce_regions(image, "median", max_pairs=3), MemoryLimitError, "max_pairs"),
        (lambda: esd.features([shapely.Point(1, 1)], CRS).reduce_regions(image), TableError, "no polygons"),
        (lambda: esd.features([shapely.box(0, 0, 1, 1)], CRS).sample_regions(image), TableError, "covers any pixel"),
        (lambda: square.reduce_regions(esd.from_array(np.ones((2, 2)), turned())), GridError, "north-up"),
        (lambda: vectorize(image), ExpressionError, "float32"),
        (lambda: rasterize(square, image, "height"), TableError, "'height'"),
    ]
    for call, error, reason in refused:
        with pytest.raises(error, match=reason) as caught:
            call()
        assert "\n" not in str(caught.value)


def turned() -> esd.grid.GeoBox:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    return GeoBox((2, 2), Affine(30, 5, 500_000, 5, -30, 5_000_240), CRS)
