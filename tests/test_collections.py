"""Image collections, rasters as images, and series of regions: ordered, joined and filtered without computing anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from sample_images import grid, mask
from series_checks import DATE_SERIES, from_series, series

import esd
from esd.collection import ImageCollection
from esd.errors import BandError, CubeError, ExpressionError, GridError, WindowError
from esd.image import Image
from esd.rasters import load_image
from esd.timeseries import get_timeseries

ARRAY = series(DATE_SERIES)
PARTS = [from_series(ARRAY[i : i + 3], DATE_SERIES[i : i + 3]) for i in range(0, 9, 3)]
WHOLE = from_series(ARRAY[:9], DATE_SERIES[:9])


def same(one: Image, other: Image) -> bool:
    ours, theirs = one.compute(), other.compute()
    equal = np.array_equal(ours.values[ours.valid], theirs.values[theirs.valid])
    return equal and np.array_equal(ours.valid, theirs.valid) and one.type.time == other.type.time


def test_images_are_ordered_in_time_and_listed() -> None:
    shuffled = ImageCollection.from_images([PARTS[2], PARTS[0], PARTS[1]])
    assert shuffled.images == tuple(shuffled.sort().images)
    assert [image.expr for image in shuffled] == [image.expr for image in PARTS]
    assert shuffled.size == len(shuffled) == 3
    assert [image.expr for image in shuffled.to_list(5, 1)] == [image.expr for image in PARTS[1:]]
    assert [image.expr for image in shuffled.sort(ascending=False).limit(1)] == [PARTS[2].expr]
    one, other = ImageCollection((PARTS[2],)), ImageCollection((PARTS[0], PARTS[1]))
    assert [image.expr for image in one.merge(other)] == [image.expr for image in PARTS]
    assert [image.expr for image in ImageCollection.flatten([one, other])] == [image.expr for image in PARTS]
    twice = one.merge(other).merge(one)
    assert twice.size == 4
    assert twice.distinct().size == 3
    assert same(shuffled.stack(), WHOLE)


def test_operators_of_series_are_asked_of_all_times() -> None:
    collection = ImageCollection(tuple(PARTS))
    assert collection.aggregate_period("month", "max").expr is collection.stack().aggregate_period("month", "max").expr
    assert same(collection.mosaic(), WHOLE.mosaic())
    total = collection.iterate(lambda image, so_far: so_far + image.count(), PARTS[0].count() * 0)
    assert same(total, WHOLE.count())
    with pytest.raises(AttributeError, match=r"\.map"):
        collection.ndvi()


def test_bands_of_equal_times_are_combined() -> None:
    collection = ImageCollection(tuple(PARTS))
    other = collection.map(lambda image: (image["b"] * 2).rename("b").add_bands(image["a"].rename("c"))).limit(2)
    combined = collection.combine(other)
    assert combined.size == 2
    assert combined.images[0].type.bands == ("a", "b", "c")
    assert same(combined.images[1]["b"], PARTS[1]["b"])
    assert same(combined.images[1]["c"].rename("a"), PARTS[1]["a"])
    replaced = collection.combine(other, overwrite=True).images[1]
    assert replaced.type.bands == ("a", "b", "c")
    assert same(replaced["b"], PARTS[1]["b"] * 2)
    with pytest.raises(WindowError, match="leaves no image"):
        collection.limit(1).combine(ImageCollection((PARTS[1],)))
    with pytest.raises(ExpressionError, match="two images"):
        collection.combine(other.merge(other))


def test_times_choose_images() -> None:
    collection = ImageCollection(tuple(PARTS))
    month = int(DATE_SERIES[4][5:7])
    chosen = collection.filter_calendar(month, month)
    assert [time for image in chosen for time in image.type.time] == [d for d in DATE_SERIES[:9] if int(d[5:7]) == month]
    assert collection.filter_day_of_year(1, 366).size == 3
    assert [image.expr for image in collection.filter_date_contains(DATE_SERIES[3])] == [PARTS[1].expr]
    with pytest.raises(WindowError, match="leaves no image"):
        collection.filter_date_contains("1990-01-01")
    with pytest.raises(WindowError, match="is no date"):
        collection.filter_date_contains("May")
    with pytest.raises(ExpressionError, match="one at least"):
        ImageCollection.from_images([])
    with pytest.raises(ExpressionError, match="count=0"):
        collection.limit(0)


def write(path: Path, values: np.ndarray, **options: object) -> Path:
    """Write bands [band, y, x] as a GeoTIFF on the grid of the tests."""
    geobox = grid(*values.shape[1:])
    described = options.pop("descriptions", None)
    scales, offsets = options.pop("scales", None), options.pop("offsets", None)
    profile = {"driver": "GTiff", "count": len(values), "dtype": values.dtype, "crs": str(geobox.crs), **options}
    profile.setdefault("transform", geobox.affine)
    with rasterio.open(path, "w", height=values.shape[1], width=values.shape[2], **profile) as dataset:
        dataset.write(values)
        if described:
            dataset.descriptions = described
        if scales:
            dataset.scales, dataset.offsets = scales, offsets
    return path


def test_a_raster_is_a_lazy_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 3000, (2, 70, 45)).astype(np.int16)
    values[:, ~mask(70, 45)] = -999
    path = write(
        tmp_path / "a.tif", values, nodata=-999, descriptions=("red", "nir"), tiled=True, blockxsize=16, blockysize=16
    )
    image = load_image(path, time="2004-07-01")
    assert image.type.bands == ("red", "nir")
    assert image.type.time == ("2004-07-01",)
    assert image.type.dtype == np.int16
    for tile in (10_000, 32):
        raster = image.compute(tile=tile)
        assert np.array_equal(raster.valid[0], values != -999)
        assert np.array_equal(raster.values[0][raster.valid[0]], values[values != -999])
    assert same(load_image(path, ["nir"], "2004-07-01"), image["nir"])
    assert same(image.ndvi(), image.normalized_difference("nir", "red"))


def test_scales_are_applied_and_rows_turned_north_up(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(1, 3000, (2, 30, 20)).astype(np.uint16)
    affine = grid(30, 20).affine
    south_up = affine * type(affine).translation(0, 30) * type(affine).scale(1, -1)
    path = write(tmp_path / "b.tif", values[:, ::-1], transform=south_up, scales=(0.5, 2.0), offsets=(1.0, -3.0))
    raster = load_image(path).compute()
    assert raster.type.bands == ("b1", "b2")
    assert raster.type.grid == grid(30, 20)
    assert np.allclose(raster.values[0], values * np.array([0.5, 2.0])[:, None, None] + np.array([1, -3])[:, None, None])
    assert np.array_equal(load_image(path, raw=True).compute().values[0], values)
    uniform = write(tmp_path / "c.tif", values, scales=(0.5, 0.5), offsets=(1.0, 1.0))
    assert np.allclose(load_image(uniform, ["b2"]).compute().values[0, 0], values[1] * 0.5 + 1)


def test_what_is_no_raster_is_refused(tmp_path: Path) -> None:
    values = np.ones((1, 4, 5), dtype=np.float32)
    path = write(tmp_path / "a.tif", values)
    with pytest.raises(BandError, match="no band 'nir'"):
        load_image(path, ["nir"])
    with pytest.raises(CubeError, match="is not there"):
        load_image(tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(CubeError, match="not a readable raster"):
        load_image(tmp_path / "text.tif")
    with pytest.raises(GridError, match="no coordinate system"):
        load_image(write(tmp_path / "d.tif", values, crs=None))
    lazy = load_image(path)
    path.unlink()
    with pytest.raises(CubeError, match="cannot be read"):
        lazy.compute()


def test_a_table_tells_of_each_region_and_time() -> None:
    geobox = WHOLE.type.grid
    left, bottom, right, top = geobox.extent.boundingbox
    middle = (left + right) / 2
    areas = esd.features([(left, bottom, middle, top), (middle, bottom, right, top)], str(geobox.crs))
    table = get_timeseries(ImageCollection(tuple(PARTS)), areas, ["mean", "count"])
    assert list(table.columns) == ["region", "time", "a_mean", "a_count", "b_mean", "b_count"]
    assert table["region"].tolist() == [0] * 9 + [1] * 9
    assert table["time"].tolist() == DATE_SERIES[:9] * 2
    half = geobox.shape.x / 2
    weights = np.clip(half - np.arange(geobox.shape.x), 0, 1)
    for band in range(2):
        part = ARRAY[:9, band]
        expected = np.ma.average(part.reshape(9, -1), weights=np.tile(weights, geobox.shape.y), axis=1)
        found = table[table["region"] == 0]["ab"[band] + "_mean"].to_numpy(dtype=float)
        assert np.allclose(found, expected, rtol=1e-5)
    one = get_timeseries(WHOLE.filter_date(DATE_SERIES[0], DATE_SERIES[1]), (left, bottom, right, top), crs=str(geobox.crs))
    assert one.shape == (1, 4)
    assert isinstance(one, pd.DataFrame)
    with pytest.raises(ExpressionError, match="two times"):
        get_timeseries(esd.call("stack", WHOLE, WHOLE), areas)
