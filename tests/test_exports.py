"""What is handed out: pixels as fields, vector files, STAC items; read back by other libraries they say the same."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pystac
import pytest
import shapely
from pystac.extensions.projection import ProjectionExtension
from sample_images import grid, noise, odd_noise

import esd
from esd.cube import Cube
from esd.errors import GridError, SpaceError, TableError, WindowError
from esd.grid import geobox_from_bounds


def test_pixels_have_a_field_and_a_mask_for_each_band() -> None:
    image = odd_noise(7, 9)
    pixels, raster = image.compute_pixels(), image.compute()
    assert pixels.dtype.names == ("a", "b")
    assert pixels.shape == (2, 7, 9)
    for place, band in enumerate("ab"):
        assert np.array_equal(~pixels.mask[band], raster.valid[:, place])
        known = raster.valid[:, place]
        assert np.array_equal(pixels.data[band][known], raster.values[:, place][known], equal_nan=True)
        assert not pixels.data[band][~known].any()


def test_a_requested_grid_is_filled_also_beyond_the_image() -> None:
    image = noise(7, 9, share=0)
    left, top = 500_000 - 60, 5_000_000 + 7 * 30 + 30
    transform = {"scaleX": 30, "shearX": 0, "translateX": left, "shearY": 0, "scaleY": -30, "translateY": top}
    asked = {"dimensions": {"width": 6, "height": 5}, "affineTransform": transform, "crsCode": "EPSG:32633"}
    pixels, values = image.compute_pixels(asked), image.compute().values[0, 0]
    assert pixels.shape == (5, 6)
    missing = pixels.mask["band_0"]
    assert missing[0].all()
    assert missing[:, :2].all()
    assert not missing[1:, 2:].any()
    assert np.array_equal(pixels.data["band_0"][1:, 2:], values[:4, :4])
    with pytest.raises(GridError, match="dimensions"):
        image.compute_pixels({"crsCode": "EPSG:32633"})


def fields() -> esd.FeatureCollection:
    shapes = [shapely.box(500_000, 5_000_000, 500_300, 5_000_200), None, shapely.Point(500_100, 5_000_050)]
    frame = gpd.GeoDataFrame({"name": ["a", "b", "ü"], "tons": [1.5, np.nan, 3.0]}, geometry=shapes, crs="EPSG:32633")
    return esd.features(frame)


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".fgb", ".parquet"])
def test_features_come_back_as_they_were(suffix: str, tmp_path: Path) -> None:
    given = fields().compute() if suffix != ".fgb" else fields().limit(1).compute()
    path = esd.features(given).export_vector(tmp_path / "deep" / f"fields{suffix}")
    assert [child.name for child in path.parent.iterdir()] == [path.name]
    found = esd.features(path).compute()
    assert list(found["name"]) == list(given["name"])
    assert np.array_equal(found["tons"], given["tons"], equal_nan=True)
    assert found.crs == ("EPSG:4326" if suffix == ".geojson" else "EPSG:32633")
    back = found.to_crs("EPSG:32633").geometry
    assert list(back.isna()) == list(given.geometry.isna())
    known = ~given.geometry.isna().to_numpy()
    # seven decimals of a degree are a centimetre
    within = 0.02 if suffix == ".geojson" else 0.0
    distances = shapely.hausdorff_distance(back.to_numpy()[known], given.geometry.to_numpy()[known])
    assert (distances <= within).all()


def test_a_vector_file_is_never_overwritten_and_never_half(tmp_path: Path) -> None:
    path = fields().export_vector(tmp_path / "fields.geojson")
    before = path.read_bytes()
    with pytest.raises(TableError, match="there already"):
        fields().limit(1).export_vector(path)
    assert path.read_bytes() == before
    with pytest.raises(TableError, match="ends in none"):
        fields().export_vector(tmp_path / "fields.shp")
    impossible = fields().map(lambda frame: frame.assign(odd=[1j, 2j, 3j]))
    with pytest.raises(TableError, match="cannot be written") as caught:
        impossible.export_vector(tmp_path / "odd.gpkg")
    assert "\n" not in str(caught.value)
    assert [child.name for child in tmp_path.iterdir()] == [path.name]


def test_a_geotiff_is_told_as_a_stac_item(tmp_path: Path) -> None:
    image = esd.from_array(
        np.arange(2 * 8 * 9, dtype=np.float32).reshape(1, 2, 8, 9), grid(8, 9), ("red", "swir1"), ("2004-07-15",)
    )
    path = image.to_geotiff(tmp_path / "july.tif")
    document = esd.to_stac(path, image, path=tmp_path / "july.json")
    assert json.loads((tmp_path / "july.json").read_text()) == document
    item = pystac.Item.from_file(str(tmp_path / "july.json"))
    told, geobox = ProjectionExtension.ext(item), image.type.grid
    assert item.datetime == dt.datetime(2004, 7, 15, tzinfo=dt.UTC)
    assert (told.shape, told.transform[:6]) == ([8, 9], list(geobox.affine)[:6])
    assert item.properties["proj:code"] == "EPSG:32633"
    assert np.allclose(item.bbox, image.bounds())
    asset = item.assets["data"]
    assert Path(asset.get_absolute_href()) == path
    bands = asset.extra_fields["bands"]
    assert [(band["name"], band["eo:common_name"]) for band in bands] == [("red", "red"), ("swir1", "swir16")]
    assert {(band["data_type"], band["nodata"], band["raster:spatial_resolution"]) for band in bands} == {
        ("float32", "nan", 30.0)
    }
    assert {
        prefix
        for prefix in ("eo", "raster", "projection", "processing")
        if any(f"/{prefix}/" in address for address in item.stac_extensions)
    } == {"eo", "raster", "projection", "processing"}


def test_an_item_without_a_date_or_a_place_is_refused(tmp_path: Path) -> None:
    image = noise(5, 6)
    path = image.to_geotiff(tmp_path / "a.tif")
    with pytest.raises(WindowError, match="no dates"):
        esd.to_stac(path, image)
    with pytest.raises(WindowError, match="before"):
        esd.to_stac(path, start="2005-01-01", end="2004-01-01")
    item = esd.to_stac(path, start="2004-01-01", end=dt.date(2004, 12, 31))
    assert item["properties"]["datetime"] is None
    assert item["properties"]["end_datetime"].startswith("2004-12-31")
    lost = geobox_from_bounds(0, 0, 60, 60, "EPSG:32633", 30)
    nowhere = esd.from_array(np.zeros((2, 2)), type(lost)((2, 2), lost.affine, None)).to_geotiff(tmp_path / "b.tif")
    with pytest.raises(GridError, match="coordinate system"):
        esd.to_stac(nowhere, start="2004-01-01")
    (tmp_path / "c.tif").write_text("nothing")
    with pytest.raises(SpaceError, match="neither"):
        esd.to_stac(tmp_path / "c.tif", start="2004-01-01")


def test_a_cube_is_told_with_all_its_years_and_its_expression_can_be_run_again(cube: Cube, tmp_path: Path) -> None:
    item = esd.to_stac(cube.path)
    assert pystac.Item.from_dict(item).id == cube.path.name.removesuffix(".zarr")
    assert item["properties"]["start_datetime"][:10] == str(min(cube.windows))
    assert item["properties"]["end_datetime"][:10] == str(dt.date(max(cube.windows).year, 12, 31))
    image = cube.image(2004).ndvi().max()
    told = esd.to_stac(image.to_geotiff(tmp_path / "ndvi.tif"), image)
    expression = told["properties"]["processing:expression"]
    assert expression["format"] == "openeo"
    again = esd.from_process_graph(expression["expression"])
    assert np.array_equal(again.compute().values, image.compute().values)
