"""What features tell of their geometries and make of them: against shapely, pyproj and GeoJSON."""

from __future__ import annotations

import json
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from pyproj import Geod

import esd
from esd.errors import EsdError, TableError

UTM = "EPSG:32633"
HOLED = shapely.box(0, 0, 100, 60).difference(shapely.box(20, 20, 40, 40))
SHAPES = [
    shapely.Point(1, 2),
    shapely.LineString([(0, 0), (30, 40), (30, 100)]),
    HOLED,
    shapely.MultiPolygon([shapely.box(0, 0, 10, 10), shapely.box(50, 50, 60, 90)]),
    shapely.MultiPoint([(0, 0), (5, 5)]),
    shapely.GeometryCollection([shapely.Point(3, 4), shapely.box(0, 0, 10, 10)]),
    shapely.MultiLineString([[(0, 0), (0, 10)], [(5, 0), (5, 7), (9, 7)]]),
    shapely.Polygon(),
    None,
]


def collection(crs: str = UTM) -> esd.FeatureCollection:
    return esd.features(gpd.GeoDataFrame({"name": list("abcdefghi")}, geometry=SHAPES, crs=crs))


def test_types_and_coordinates_are_those_of_geojson() -> None:
    kinds, coordinates = collection().geometry_type(), collection().coordinates()
    for shape, kind, found in zip(SHAPES, kinds, coordinates, strict=True):
        if shape is None:
            assert kind is None
            assert found is None
            continue
        expected = json.loads(shapely.to_geojson(shape))
        assert kind == expected["type"]
        if kind == "GeometryCollection":
            assert found == [part["coordinates"] for part in expected["geometries"]]
        else:
            assert found == ([] if shape.is_empty else expected["coordinates"])


def test_geometries_are_replaced_by_one_by_many_and_by_a_property() -> None:
    given = collection().limit(3)
    assert given.set_geometry("POINT (1 1)").compute().geometry.tolist() == [shapely.Point(1, 1)] * 3
    own = [None, "POINT (2 2)", {"type": "Point", "coordinates": [3, 3]}]
    found = given.set_geometry(own).compute()
    assert found.geometry.tolist() == [None, shapely.Point(2, 2), shapely.Point(3, 3)]
    assert found["name"].tolist() == ["a", "b", "c"]
    told = given.map(lambda frame: frame.assign(place=["POINT (1 2)", None, "POINT (3 4)"]))
    assert told.set_geometry("place").geometry_type() == ["Point", None, "Point"]
    moved = given.set_geometry("POINT (15 0)", crs="EPSG:4326").compute().geometry.iloc[0]
    assert moved.distance(shapely.Point(500_000, 0)) < 1e-6
    with pytest.raises(TableError, match="2 geometries for 3 features"):
        given.set_geometry([None, None]).compute()


def test_cut_lines_give_the_line_back_in_parts_of_these_lengths() -> None:
    found = collection().cut_lines([110, 25, 0, 500, 25]).compute().geometry
    assert [part.length for part in found.iloc[1].geoms] == pytest.approx([25, 85])
    assert shapely.line_merge(found.iloc[1]).equals(SHAPES[1])
    assert [part.length for part in found.iloc[6].geoms] == pytest.approx([10, 11])
    cut = collection().cut_lines([5]).compute().geometry.iloc[6]
    assert [part.length for part in cut.geoms] == pytest.approx([5, 5, 5, 6])
    for place, shape in enumerate(SHAPES):
        if shape is None:
            assert found.iloc[place] is None
        elif place not in (1, 6):
            assert found.iloc[place].is_empty
    line = shapely.LineString([(10, 50), (10.4, 50.3), (11, 50.1)])
    parts = esd.features([line], "EPSG:4326").densify(0.01).cut_lines([20_000, 60_000]).compute().geometry.iloc[0].geoms
    geod = Geod(ellps="WGS84")
    lengths = [geod.geometry_length(part) for part in parts]
    assert lengths == pytest.approx([20_000, 40_000, geod.geometry_length(line.segmentize(0.01)) - 60_000], rel=1e-6)
    with pytest.raises(TableError, match="0 or more"):
        collection().cut_lines([-1])


def test_a_covering_grid_covers_and_has_no_cell_too_many() -> None:
    found = collection().covering_grid(15).compute()
    every = shapely.union_all([shape for shape in SHAPES if shape is not None])
    cells = found.geometry.union_all()
    assert cells.covers(every)
    assert found.geometry.intersects(every).all()
    assert not found.duplicated(["column", "row"]).any()
    assert np.allclose(found.bounds, np.stack([found.column, found.row, found.column + 1, found.row + 1], axis=1) * 15)
    assert found[["row", "column"]].apply(tuple, axis=1).is_monotonic_increasing
    other = esd.features([shapely.box(15, 50, 15.01, 50.01)], "EPSG:4326").covering_grid(500, UTM).compute()
    assert other.crs.to_epsg() == 32633
    assert (other.area == 250_000).all()
    assert len(collection().filter("name = 'i'").covering_grid(5).compute()) == 0
    for scale, reason in ((0, "above 0"), (1e-5, "cells, more than")):
        with pytest.raises(TableError, match=reason):
            collection().covering_grid(scale).compute()


def test_closest_points_lie_on_the_other_geometry() -> None:
    line = shapely.LineString([(-50, -20), (200, -20), (200, 300)])
    found = collection().closest_point(line, UTM).compute().geometry
    for shape, point in zip(SHAPES, found, strict=True):
        if shape is None or shape.is_empty:
            assert point is None
        else:
            assert point.distance(line) < 1e-9
            assert point.distance(shape) == pytest.approx(shape.distance(line))
    assert found.iloc[0].equals(shapely.Point(1, -20))


def test_random_points_are_uniform_and_follow_from_the_seed() -> None:
    given = collection().filter("name <> 'h' AND name <> 'i'")
    found = given.random_points(400, seed=1).compute()
    assert found.groupby("name").size().tolist() == [400] * 7
    assert found.equals(given.random_points(400, seed=1).compute())
    assert not found.equals(given.random_points(400, seed=2).compute())
    shapes = dict(zip("abcdefg", SHAPES, strict=False))
    assert all(shapes[name].distance(point) < 1e-9 for name, point in zip(found["name"], found.geometry, strict=True))
    assert collection().random_points(5).compute()["name"].nunique() == 7
    inside = found[found["name"] == "c"]
    left = (inside.geometry.x < 50).mean()
    share = HOLED.intersection(shapely.box(0, 0, 50, 60)).area / HOLED.area
    assert abs(left - share) < 4 * np.sqrt(share * (1 - share) / 400)
    second = (found[found["name"] == "d"].geometry.x > 30).mean()
    assert abs(second - 0.8) < 4 * np.sqrt(0.16 / 400)
    assert set(found[found["name"] == "f"].geometry.within(shapely.box(0, 0, 10, 10))) == {True}
    globe = esd.features([shapely.box(0, 0, 10, 90)], "EPSG:4326").random_points(2000).compute()
    assert abs((globe.geometry.y > 30).mean() - 0.5) < 0.05
    thin = shapely.Polygon([(0, 0), (1e7, 1e7), (1e7, 1e7 + 1e-5)])
    with pytest.raises(TableError, match="next to nothing"):
        esd.features([thin], UTM).random_points(3).compute()


def test_regular_points_are_all_points_of_the_lattice() -> None:
    found = collection().regular_points(7.0).compute()
    lattice = [shapely.Point((i + 0.5) * 7, (j + 0.5) * 7) for j in range(14, -1, -1) for i in range(15)]
    for name, shape in (("c", SHAPES[2]), ("d", None)):
        own = found[found["name"] == name].geometry.tolist()
        if shape is not None:
            assert own == [point for point in lattice if shape.contains(point)]
        else:
            assert len(own) == sum(SHAPES[3].contains(point) for point in lattice)
    line = found[found["name"] == "b"].geometry
    assert [SHAPES[1].project(point) for point in line] == pytest.approx(np.arange(0, 110, 7))
    assert found["name"].unique().tolist() == list("abcdefg")
    assert found[found["name"] == "a"].geometry.tolist() == [SHAPES[0]]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda c: c.regular_points(0), "above 0"),
        (lambda c: c.regular_points(1e-6).compute(), "more than"),
        (lambda c: c.random_points(-1), "0 or more"),
    ],
)
def test_bad_numbers_are_refused(call: Any, reason: str) -> None:
    with pytest.raises(EsdError, match=reason):
        call(collection())
