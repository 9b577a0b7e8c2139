"""Feature collections: lazy, filtered by CQL2, changed and measured as shapely, pyproj and GeoPandas do it."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from pyproj import Geod

import esd
from esd.errors import EsdError, ExpressionError, GridError, TableError


def places() -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(
        {
            "name": ["Asti", "Bari", None, "d'Aosta"],
            "pop": [73.0, 316.0, 5.0, np.nan],
            "size": [3, 1, 2, 9],
            "seen": pd.to_datetime(["2004-01-01", "2005-06-01", None, "2006-01-01"]),
        },
        geometry=[shapely.Point(8.2, 44.9), shapely.Point(16.9, 41.1), shapely.Point(10, 43), None],
        crs="EPSG:4326",
    )


# condition -> positions of the features for which it is true
CONDITIONS = {
    "pop > 10": [0, 1],
    "NOT pop > 10": [2],
    "pop <= 73 AND size = 3": [0],
    "pop > 300 OR size = 2": [1, 2],
    "size = 9 AND NOT (pop > 300 AND name = 'Bari')": [3],
    "NOT (pop > 300 AND name = 'Bari')": [0, 2, 3],
    "name IS NULL": [2],
    "name is not null": [0, 1, 3],
    "name <> 'Asti'": [1, 3],
    "name LIKE '_a%'": [1],
    "name NOT LIKE '%a%'": [0],
    "name = 'd''Aosta'": [3],
    "name IN ('Asti', 'Bari')": [0, 1],
    "name NOT IN ('Asti')": [1, 3],
    "pop BETWEEN 5 AND 73": [0, 2],
    "pop NOT BETWEEN 5 AND 73": [1],
    "(pop + 2) * 2 = 150": [0],
    "(pop) > 300": [1],
    "pop / size > -(-300)": [1],
    '"pop" >= 3.16e2': [1],
    "seen > DATE('2004-12-31')": [1, 3],
    "seen < TIMESTAMP('2005-06-01T00:00:01Z')": [0, 1],
    "S_INTERSECTS(geometry, POLYGON((0 40, 12 40, 12 50, 0 50, 0 40)))": [0, 2],
    "NOT S_WITHIN(geometry, POLYGON((0 40, 12 40, 12 50, 0 50, 0 40)))": [1],
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions(condition: str) -> None:
    found = esd.features(places()).filter(condition).compute()
    assert found.index.tolist() == CONDITIONS[condition]


@pytest.mark.parametrize(
    "condition",
    [
        "pop >",
        "pop > 1 AND",
        "nope > 1",
        "pop > 'many'",
        "pop > 1 pop",
        "S_INTERSECTS(geometry, 3)",
        "pop LIKE 'a'",
        "(pop",
        "a;b",
    ],
)
def test_what_is_no_condition_is_refused_in_one_line(condition: str) -> None:
    with pytest.raises(ExpressionError, match="condition") as caught:
        esd.features(places()).filter(condition).compute()
    assert "\n" not in str(caught.value)


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "places.gpkg"
    lazy = esd.features(path).filter("pop > 10").select("name").limit(1)
    assert "filter('pop > 10').select(name).limit(1)" in repr(lazy)
    with pytest.raises(TableError, match="is not there"):
        lazy.compute()
    places().to_file(path)
    assert lazy.compute()["name"].tolist() == ["Asti"]
    for name in ("places.parquet", "places.geojson"):
        other = tmp_path / name
        (places().to_parquet if name.endswith("parquet") else places().to_file)(other)
        assert len(esd.features(other)) == 4


def test_bounds_predicates_and_distances() -> None:
    everything = esd.features(places())
    box = (0, 40, 12, 50)
    assert everything.filter_bounds(box).compute().index.tolist() == [0, 2]
    assert everything.filter_bounds(shapely.box(*box), "disjoint").compute().index.tolist() == [
        1
    ]  # what is missing is nowhere
    milan = "POINT (9.19 45.46)"
    away = everything.distance(milan)
    geod = Geod(ellps="WGS84")
    expected = [geod.inv(9.19, 45.46, x, y)[2] for x, y in ((8.2, 44.9), (16.9, 41.1), (10, 43))]
    assert np.allclose(away[:3], expected)
    assert np.isnan(away[3])
    assert everything.within_distance(milan, expected[0] + 1).compute().index.tolist() == [0]
    with pytest.raises(TableError, match="predicate 'near'"):
        everything.filter_bounds(box, "near")


def test_measures_are_on_the_ellipsoid_or_in_the_plane() -> None:
    square = shapely.Polygon(shapely.box(500_000, 5_000_000, 501_000, 5_001_000).exterior, [shapely.LinearRing(HOLE)])
    line = shapely.LineString([(500_000, 5_000_000), (500_000, 5_002_000)])
    collection = esd.features([square, line, None, shapely.MultiPolygon([square])], "EPSG:32633")
    assert np.allclose(collection.area(geodesic=False), [990_000, 0, np.nan, 990_000], equal_nan=True)
    assert np.allclose(collection.perimeter(geodesic=False), [4400, 2000, np.nan, 4400], equal_nan=True)
    assert np.allclose(collection.length(geodesic=False), [0, 2000, np.nan, 0], equal_nan=True)
    # UTM's scale on the central meridian is 0.9996
    assert np.allclose(collection.area(), [990_000 / 0.9996**2, 0, np.nan, 990_000 / 0.9996**2], rtol=1e-5, equal_nan=True)
    assert np.allclose(collection.length(), [0, 2000 / 0.9996, np.nan, 0], rtol=1e-5, equal_nan=True)
    with pytest.raises(GridError, match="geodesic=True"):
        collection.to_crs(4326).area(geodesic=False)


HOLE = [(500_100, 5_000_100), (500_200, 5_000_100), (500_200, 5_000_200), (500_100, 5_000_200)]


def test_buffers_are_in_metres_whatever_the_coordinates() -> None:
    points = esd.features(places()).limit(3)
    for collection in (points, points.to_crs("EPSG:3035")):
        round_areas = collection.buffer(1000, quad_segs=64).area()
        assert np.allclose(round_areas, np.pi * 1000**2, rtol=2e-3)
    assert esd.features(places()).buffer(10).compute().geometry.isna().tolist() == [False, False, False, True]


def test_geometries_are_changed_as_shapely_does() -> None:
    rng = np.random.default_rng(0)
    shapes = shapely.buffer(shapely.points(rng.random((20, 2)) * 10), rng.random(20))
    collection = esd.features(shapes, "EPSG:32633")
    other = shapely.box(3, 3, 7, 7)
    for name in ("intersection", "union", "difference", "symmetric_difference"):
        found = getattr(collection, name)(other, crs="EPSG:32633").compute().geometry.to_numpy()
        assert shapely.equals(found, getattr(shapely, name)(shapes, other)).all()
    assert shapely.equals(collection.simplify(0.1).compute().geometry, shapely.simplify(shapes, 0.1)).all()
    assert shapely.equals(collection.centroid().compute().geometry, shapely.centroid(shapes)).all()
    assert shapely.equals(collection.convex_hull().compute().geometry, shapely.convex_hull(shapes)).all()
    assert shapely.equals(collection.bounds().compute().geometry, shapely.envelope(shapes)).all()
    assert shapely.equals(collection.densify(0.05).compute().geometry, shapely.segmentize(shapes, 0.05)).all()
    assert collection.dissolve().compute().geometry[0].area == pytest.approx(shapely.union_all(shapes).area)


def test_a_bow_tie_is_made_valid_and_told_of() -> None:
    tie = esd.features([shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])], "EPSG:32633")
    assert tie.make_valid().area(geodesic=False)[0] == pytest.approx(0.5)
    with pytest.warns(UserWarning, match="1 geometries are not valid"):
        found = tie.intersection(shapely.box(0, 0, 1, 1), "EPSG:32633").compute()
    assert found.geometry[0].area == pytest.approx(0.5)


def test_joins_and_merges_reproject_what_they_are_given() -> None:
    areas = gpd.GeoDataFrame({"area": ["west", "east"]}, geometry=[shapely.box(0, 35, 12, 50), shapely.box(12, 35, 20, 50)])
    joined = esd.features(places()).join(esd.features(areas, "EPSG:4326").to_crs(3857)).compute()
    assert joined[["name", "area"]].fillna("-").to_numpy().tolist() == [["Asti", "west"], ["Bari", "east"], ["-", "west"]]
    left = esd.features(places()).join(esd.features(areas, "EPSG:4326"), how="left").compute()
    assert len(left) == 4
    merged = esd.features(places()).merge(esd.features(places()).to_crs(3857)).compute()
    assert len(merged) == 8
    assert merged.geometry[0].distance(merged.geometry[4]) < 1e-9
    assert esd.features(places()).sort("size").compute()["size"].tolist() == [1, 2, 3, 9]


def test_features_are_told_apart_renamed_and_mapped() -> None:
    twice = esd.features(places()).merge(esd.features(places()))
    assert twice.size == 8
    assert twice.distinct("size").compute()["size"].tolist() == [3, 1, 2, 9]
    remapped = esd.features(places()).remap_property("size", {3: "small", 9: "large"}, "other").compute()
    assert remapped["size"].tolist() == ["small", "other", "other", "large"]
    mapped = esd.features(places()).map(lambda frame: frame.assign(double=frame["size"] * 2)).filter("double > 5")
    assert mapped.compute()["double"].tolist() == [6, 18]
    with pytest.raises(TableError, match="returned int"):
        esd.features(places()).map(len).compute()


def test_what_is_no_vector_data_is_refused_in_one_line(tmp_path: Path) -> None:
    text = tmp_path / "notes.geojson"
    text.write_text("nothing")
    for call, reason in (
        (lambda: esd.features(text).compute(), "is not vector data"),
        (lambda: esd.features([shapely.Point(0, 0)]).compute(), "no coordinate system"),
        (lambda: esd.features(["POINT (0"], 4326).compute(), "is no geometry"),
        (lambda: esd.features(places()).select("height").compute(), "no property 'height'"),
        (lambda: esd.features(places()).to_crs("EPSG:nothing"), "not understood"),
    ):
        with pytest.raises(EsdError, match=reason) as caught:
            call()
        assert "\n" not in str(caught.value)
