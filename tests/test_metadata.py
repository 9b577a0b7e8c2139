"""Properties travel with an expression; coordinates, areas and random numbers follow from the grid alone."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pytest
from pyproj import CRS, Geod, Transformer
from sample_images import grid, noise, odd_noise

import esd
from esd.collection import ImageCollection
from esd.cube import Cube
from esd.errors import EsdError, ExpressionError, GridError, WindowError
from esd.grid import GeoBox, geobox_from_bounds, sub_geobox
from esd.grid import Region as Window
from esd.image import Image, constant


def test_properties_are_set_and_told() -> None:
    image = noise(6, 7).set(cloud=3, sensor="TM").set("sensor", "ETM+").set({"path": (193, 26)})
    assert image.property_names() == ["cloud", "path", "sensor"]
    assert image.to_dictionary() == {"cloud": 3, "sensor": "ETM+", "path": (193, 26)}
    assert image.to_dictionary(["cloud"]) == {"cloud": 3}
    assert image.get("cloud") == 3
    assert image.get("clouds") is None
    assert image.get("clouds", -1) == -1
    assert image.set(cloud=None).property_names() == ["path", "sensor"]
    assert noise(6, 7).to_dictionary() == {}


def test_a_result_has_the_properties_of_its_first_image() -> None:
    one, other = noise(6, 7).set(cloud=3, sensor="TM"), noise(6, 7, seed=1).set(cloud=5, sensor="TM")
    assert (2 * one.sqrt() - other).focal_mean(1).get("cloud") == 3
    assert (other + one).get("cloud") == 5
    assert esd.call("stack", one, other).to_dictionary() == {"sensor": "TM"}
    assert ImageCollection((one, other)).median().to_dictionary() == {"sensor": "TM"}
    copied = other.copy_properties(one, exclude=["sensor"])
    assert copied.to_dictionary() == {"cloud": 3, "sensor": "TM"}
    assert noise(6, 7).copy_properties(one, include=["cloud"]).to_dictionary() == {"cloud": 3}
    assert noise(6, 7).copy_properties(noise(6, 7)).to_dictionary() == {}


def test_properties_change_no_number_and_come_back_from_json(cube: Cube) -> None:
    image = cube.image(2004).ndvi().median()
    described = image.set(cloud=3, names=("a", "b"))
    assert described.lowered is image.lowered
    back = esd.from_process_graph(described.to_process_graph())
    assert back.to_dictionary() == {**image.to_dictionary(), "cloud": 3, "names": ("a", "b")}
    assert cube.image(2004).get("window") == "2004-01-01"


def test_bad_properties_end_in_one_line() -> None:
    image = noise(6, 7).set(sensor="TM")
    for call, reason in (
        (lambda: image.set("cloud"), "no name and value"),
        (lambda: image.set(), "no property"),
        (lambda: image.set(a={"b": 1}), "cannot be part of an expression"),
        (lambda: image.to_dictionary(["x"]), "there is no property 'x'; the image has sensor"),
        (lambda: image.metadata_band("sensor"), "no number"),
        (lambda: image.date(), "no date"),
        (lambda: esd.call("set_properties", image, ("a",), ()), "as many"),
        (lambda: constant(1).bounds(), "no grid"),
        (lambda: image.link_collection(ImageCollection((image,)), [], "sensor"), "no band"),
        (lambda: image.random(-1), "seed=-1"),
        (lambda: image.random(1, "poisson"), "uniform, normal"),
        (lambda: image.pixel_area("acre"), "m2, ha, km2"),
        (lambda: image.pixel_coordinates("EPSG:nothing"), "not understood"),
        (lambda: image.constant_like("two"), "no number"),
    ):
        with pytest.raises(EsdError, match=reason) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_what_an_image_tells_of_itself(cube: Cube) -> None:
    image = cube.image(2004)
    decoded = image.decode()
    assert image.date() == dt.date.fromisoformat(image.type.time[0])
    assert decoded.band_names() == list(decoded.type.bands)
    assert set(decoded.band_types().values()) == {"float32"}
    assert image.projection() == image.type.grid.crs.proj  # type: ignore[union-attr]  # a cube's image has a grid
    west, south, east, north = image.bounds()
    assert image.geometry().bounds == pytest.approx((west, south, east, north), abs=1e-5)
    assert ImageCollection((image, image)).bounds() == (west, south, east, north)
    assert ImageCollection((image, image)).geometry().equals(image.geometry())
    text = image.set(cloud=3).describe()
    assert "cloud = 3" in text
    assert "decode" in decoded.describe()
    assert "any grid" in constant(1.0).describe()


def test_nominal_scale_is_metres_on_the_ground() -> None:
    assert noise(50, 50).nominal_scale() == pytest.approx(30 * 1.0004, rel=2e-5)  # the central meridian of a UTM zone
    degrees = geobox_from_bounds(10, 59.9, 10.2, 60.1, "EPSG:4326", 0.001)
    image = esd.from_array(np.zeros(degrees.shape), degrees)
    assert image.nominal_scale() == pytest.approx(math.sqrt(111.41 * 111.32 * math.cos(math.radians(60))), rel=2e-3)


def test_linked_bands_come_from_the_image_of_the_same_property() -> None:
    images = ImageCollection(tuple(noise(6, 7, seed=i).rename("other").set(number=i) for i in range(3)))
    linked = noise(6, 7, seed=9).set(number=2).link_collection(images, ["other"], "number")
    assert linked.type.bands == ("band_0", "other")
    assert np.array_equal(linked["other"].compute().values, images.images[2].compute().values)
    nothing = noise(6, 7).set(number=7).link_collection(images, ["other"], "number")
    assert not nothing["other"].compute().valid.any()
    with pytest.raises(ExpressionError, match="number"):
        noise(6, 7).link_collection(images, ["other"], "number")


def test_a_property_as_a_band() -> None:
    raster = noise(6, 7).set(cloud=3).metadata_band("cloud").compute()
    assert raster.type.bands == ("cloud",)
    assert raster.values.dtype == np.int64
    assert raster.valid.all()
    assert (raster.values == 3).all()


def test_formulas_take_other_images_and_numbers(cube: Cube) -> None:
    image, other = cube.image(2004).decode(), cube.image(2004)["blue"].median()
    found = image.expression("(nir - red) / (nir + red + L) * b", L=0.5, b=other)
    expected = (image["nir"] - image["red"]) / (image["nir"] + image["red"] + 0.5) * other
    assert found.lowered is expected.lowered
    with pytest.raises(EsdError, match="purple"):
        image.expression("purple + 1")


def scenes() -> ImageCollection:
    """Four images with a cloud share, one of them without a sensor."""
    clouds, sensors = (40, 5, 20, 5), ("TM", "ETM+", None, "TM")
    return ImageCollection(
        tuple(
            esd.from_array(np.full((4, 5), i), grid(4, 5), time=(f"2004-0{i + 1}-15",)).set(cloud=cloud, sensor=sensor)
            for i, (cloud, sensor) in enumerate(zip(clouds, sensors, strict=True))
        )
    )


def numbers_of(images: ImageCollection) -> list[int]:
    return [int(image.compute().values[0, 0, 0, 0]) for image in images]


CONDITIONS: dict[str, list[int]] = {
    "cloud < 20": [1, 3],
    "cloud <= 20 AND sensor = 'TM'": [3],
    "NOT sensor = 'TM'": [1],
    "sensor IS NULL": [2],
    "sensor LIKE '%TM%' OR cloud = 20": [0, 1, 2, 3],
    "date >= DATE('2004-02-15') AND date < DATE('2004-04-01')": [1, 2],
    "S_INTERSECTS(geometry, POLYGON((14 45, 16 45, 16 46, 14 46, 14 45)))": [0, 1, 2, 3],
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_images_are_filtered_by_their_properties(condition: str) -> None:
    assert numbers_of(scenes().filter(condition)) == CONDITIONS[condition]


def test_images_are_sorted_and_listed_by_their_properties() -> None:
    images = scenes()
    assert numbers_of(images.sort("cloud")) == [1, 3, 2, 0]
    assert numbers_of(images.sort("cloud", ascending=False)) == [0, 2, 1, 3]
    assert numbers_of(images.sort("sensor")) == [1, 0, 3, 2]
    assert images.aggregate_array("sensor") == ["TM", "ETM+", "TM"]
    assert list(images.table()["cloud"]) == [40, 5, 20, 5]
    for call, reason in (
        (lambda: images.filter("cloud < 1"), "leaves no image"),
        (lambda: images.filter("clouds < 1"), "clouds"),
        (lambda: images.filter("cloud <"), "wanted"),
        (lambda: images.sort("clouds"), "no property 'clouds'"),
        (lambda: images.map(lambda i: i.set(x=1 if i.get("sensor") else "a")).sort("x"), "a text in others"),
    ):
        with pytest.raises(EsdError, match=reason) as caught:
            call()
        assert "\n" not in str(caught.value)


GRIDS: dict[str, GeoBox] = {
    "utm": grid(41, 37),
    "degrees": geobox_from_bounds(10, 59.5, 10.37, 59.91, "EPSG:4326", 0.01),
    "mercator": geobox_from_bounds(1_000_000, 6_000_000, 1_037_000, 6_041_000, "EPSG:3857", 1000),
    "polar": geobox_from_bounds(-500_000, -500_000, 425_000, 525_000, "EPSG:3995", 25_000),
}


def on(name: str) -> Image:
    return esd.from_array(np.zeros(GRIDS[name].shape, dtype=np.float32), GRIDS[name])


def corners(geobox: GeoBox, row: int, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Outline of a pixel in degrees, many points along each side."""
    along = np.linspace(0, 1, 50)[:-1]
    flat = np.zeros_like(along)
    x = np.concatenate([along, flat + 1, 1 - along, flat]) + column
    y = np.concatenate([flat, along, flat + 1, 1 - along]) + row
    px, py = geobox.affine @ (x, y)
    return Transformer.from_crs(geobox.crs.proj, "EPSG:4326", always_xy=True).transform(px, py)


@pytest.mark.parametrize("name", GRIDS)
def test_pixel_areas_are_those_of_their_outline_on_the_ellipsoid(name: str) -> None:
    raster = on(name).pixel_area().compute()
    geod = Geod(ellps="WGS84")
    for row, column in ((0, 0), (20, 11), (40, 36)):
        area = abs(geod.polygon_area_perimeter(*corners(GRIDS[name], row, column))[0])
        assert raster.values[0, 0, row, column] == pytest.approx(area, rel=2e-5)
    hectares = on(name).pixel_area("ha").compute().values
    assert np.allclose(hectares * 1e4, raster.values, rtol=1e-12)


@pytest.mark.parametrize("name", GRIDS)
def test_coordinates_are_those_of_pyproj(name: str) -> None:
    geobox = GRIDS[name]
    rows, columns = np.indices(geobox.shape) + 0.5
    x, y = geobox.affine @ (columns, rows)
    own = on(name).pixel_coordinates().compute()
    assert np.array_equal(own.values[0], np.stack([x, y]))
    transformer = Transformer.from_crs(geobox.crs.proj, CRS(4326), always_xy=True)
    lonlat = on(name).pixel_lonlat().compute()
    assert np.allclose(lonlat.values[0], np.stack(transformer.transform(x, y)), atol=1e-10)
    assert lonlat.type.bands == ("longitude", "latitude")
    assert np.allclose(on(name).pixel_coordinates("EPSG:4326").compute().values, lonlat.values, atol=1e-12)


@pytest.mark.parametrize("name", ["pixel_area", "pixel_lonlat", "pixel_coordinates", "random"])
def test_tiles_and_tiers_and_parts_give_the_same_bytes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = getattr(on("utm"), name)() * 2 + on("utm").random(5, "normal")
    found = set()
    for tier in ("interpreted", "compiled"):
        monkeypatch.setenv("ESD_TIER", tier)
        found |= {image.compute(tile=tile).values.tobytes() for tile in (1000, 16, 7)}
    assert len(found) == 1
    part = sub_geobox(GRIDS["utm"], Window(5, 19, 9, 30))
    cut = getattr(esd.from_array(np.zeros(part.shape), part), name)().compute().values
    assert np.allclose(cut, getattr(on("utm"), name)().compute().values[:, :, 5:19, 9:30], rtol=1e-15)


def test_random_numbers_are_uniform_normal_and_of_the_seed() -> None:
    from scipy import stats

    image = noise(200, 220)
    uniform, normal = image.random(3).compute().values.ravel(), image.random(3, "normal").compute().values.ravel()
    assert 0 <= uniform.min() < 0.001
    assert 0.999 < uniform.max() < 1
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert stats.kstest(normal, "norm").pvalue > 1e-3
    plane = uniform.reshape(200, 220)
    for one, other in ((plane[1:], plane[:-1]), (plane[:, 1:], plane[:, :-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.02
    other = image.random(4).compute().values.ravel()
    assert abs(np.corrcoef(uniform, other)[0, 1]) < 0.02
    assert np.array_equal(image.random(3).compute().values.ravel(), uniform)


def test_a_grid_without_a_place_is_told() -> None:
    nowhere = GeoBox((5, 6), GRIDS["utm"].affine, None)
    image = esd.from_array(np.zeros((5, 6)), nowhere)
    assert image.random().compute().valid.all()
    assert image.pixel_coordinates().compute().valid.all()
    for name in ("pixel_area", "pixel_lonlat", "projection", "geometry", "bounds", "nominal_scale"):
        with pytest.raises(GridError):
            getattr(image, name)()
    with pytest.raises(WindowError):
        odd_noise(5, 6).rename("c", "d").pixel_area().date()
