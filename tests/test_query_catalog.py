"""The catalog: the same answers as asking every item, one row an id, and no way into its SQL."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from esd.cube import Cube
from esd.errors import GridError, TableError
from esd.grid import GeoBox, bounds_lonlat
from esd.query.catalog import Catalog, Item, frame_of
from esd.query.filters import parse_filters
from esd.query.footprint import footprint_of, morton_code


@dataclass(frozen=True)
class Scene:
    """As much of a scene as the catalog asks for."""

    id: str
    product: str
    platform: str
    sensor: str
    period: tuple[dt.date, dt.date]
    geobox: GeoBox
    path: Path
    cloud_cover: float | None = None
    sun_elevation: float | None = None


def scene(name: str, zone: int, x: float, y: float, day: dt.date, cloud: float | None = None, platform: str = "L5") -> Scene:
    grid = GeoBox((600, 600), Affine(300, 0, x, 0, -300, y), f"EPSG:{32600 + zone}")
    return Scene(name, "C2L2", platform, "TM", (day, day), grid, Path("scenes") / name, cloud, 40.0)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    rng = np.random.default_rng(0)
    made = []
    for i in range(300):
        day = dt.date(2000, 1, 1) + dt.timedelta(days=int(rng.integers(0, 2000)))
        x, y = rng.uniform(200_000, 600_000), rng.uniform(1_000_000, 6_000_000)
        cloud = None if i % 10 == 0 else float(rng.uniform(0, 100))
        made.append(scene(f"s{i:03d}", int(rng.integers(30, 35)), x, y, day, cloud, f"L{5 + 2 * (i % 2)}"))
    return made


@pytest.fixture(scope="module")
def catalog(scenes: list[Scene]) -> Catalog:
    made = Catalog()
    made.add_scenes(scenes)
    return made


def ids(items: list[Item]) -> list[str]:
    return [item.id for item in items]


def in_order(chosen: list[Scene]) -> list[str]:
    return [s.id for s in sorted(chosen, key=lambda s: (s.period[0], s.period[1], s.id))]


SIDES = st.floats(0.01, 15)


@settings(max_examples=40)
@given(west=st.floats(-30, 30), south=st.floats(5, 50), width=SIDES, height=SIDES, day=st.integers(0, 2000))
def test_search_is_as_asking_every_scene(
    catalog: Catalog, scenes: list[Scene], west: float, south: float, width: float, height: float, day: int
) -> None:
    start = dt.date(2000, 1, 1) + dt.timedelta(days=day)
    end = start + dt.timedelta(days=400)
    area = shapely.box(west, south, west + width, south + height)
    found = catalog.search(area.bounds, start=start, end=end.isoformat())
    expected = [s for s in scenes if start <= s.period[0] < end and area.intersects(footprint_of(s.geobox))]
    assert ids(found) == in_order(expected)


def test_a_polygon_is_tested_exactly(catalog: Catalog, scenes: list[Scene]) -> None:
    triangle = shapely.Polygon([(0, 10), (25, 10), (25, 50)])
    expected = [s for s in scenes if triangle.intersects(footprint_of(s.geobox))]
    in_its_box = [s for s in scenes if shapely.box(*triangle.bounds).intersects(footprint_of(s.geobox))]
    assert 0 < len(expected) < len(in_its_box)
    assert ids(catalog.search(geometry=triangle)) == in_order(expected)
    assert ids(catalog.search(geometry=shapely.geometry.mapping(triangle))) == in_order(expected)
    both = catalog.search((0, 10, 5, 50), geometry=triangle)
    assert 0 < len(both) < len(expected)


def test_filters_on_properties(catalog: Catalog, scenes: list[Scene]) -> None:
    clear = [s for s in scenes if s.cloud_cover is not None and 5 <= s.cloud_cover < 20 and s.platform == "L7"]
    found = catalog.search(where={"cloud_cover": {">=": 5, "<": 20}, "platform": "L7"})
    assert ids(found) == in_order(clear)
    assert ids(catalog.search(where=parse_filters(["cloud_cover>=5", "cloud_cover < 20", "platform=L7"]))) == in_order(clear)
    assert len(catalog.search(where={"platform": ["L5", "L7"]})) == len(scenes)
    assert catalog.search(where={"platform": []}) == []
    assert ids(catalog.search(where=parse_filters(["path contains s017"]))) == ["s017"]
    assert len(catalog.search(limit=7)) == 7
    table = frame_of(found)
    assert list(table["id"]) == in_order(clear)
    assert table["cloud_cover"].between(5, 20).all()


def test_values_never_become_sql(catalog: Catalog, scenes: list[Scene]) -> None:
    assert catalog.search(where={"platform": "L5' OR '1'='1"}) == []
    assert catalog.search(where={"platform": "L5'; DROP TABLE items; --"}) == []
    assert len(catalog) == len(scenes)
    for where, message in (
        ({"platform; DROP TABLE items": "x"}, "no property"),
        ({"cloud_cover": {"< 5 OR 1 <": 20}}, "no operator"),
        ({"cloud_cover": "20"}, "is a number"),
        ({"cloud_cover": {"<": True}}, "is a number"),
        ({"platform": 5}, "is a text"),
    ):
        with pytest.raises(TableError, match=message):
            catalog.search(where=where)
    for text in ("cloud_cover", "cloud_cover<low", "=5"):
        with pytest.raises(TableError, match="filter"):
            parse_filters([text])


def test_adding_again_replaces(tmp_path: Path, scenes: list[Scene], cube: Cube) -> None:
    path = tmp_path / "catalog.duckdb"
    with Catalog(path) as catalog:
        assert catalog.add_scenes(scenes[:50]) == 50
        assert catalog.add_cube(cube) == 1
    with Catalog(path) as catalog:
        before = catalog.search()
        assert len(catalog) == 51
        catalog.add_scenes(scenes[:50])
        catalog.add_cube(cube)
        assert catalog.search() == before
        catalog.add_scenes([replace(scenes[3], cloud_cover=77.0)])
        assert len(catalog) == 51
        assert [i.cloud_cover for i in catalog.search(where={"id": scenes[3].id})] == [77.0]
        assert catalog.add_scenes([]) == 0


def test_a_cube_is_found_by_place_time_and_kind(cube: Cube) -> None:
    with Catalog() as catalog:
        catalog.add_cube(cube)
        west, south, east, north = bounds_lonlat(cube.grids[cube.grid()])
        (item,) = catalog.search((west, south, east, north), start="2005-12-31", end="2006-06-01", kind="cube")
        assert item.path == str(cube.path.resolve())
        assert (item.encoder, item.start, item.end) == (cube.codec.sha256, dt.date(2004, 1, 1), dt.date(2005, 12, 31))
        assert np.allclose(item.footprint.bounds, (west, south, east, north), atol=1e-6)
        assert catalog.search(start="2006-01-01") == []
        assert catalog.search(end="2004-01-01") == []
        assert catalog.search(kind="scene") == []
        assert catalog.search((east + 1, south, east + 2, north)) == []


def test_rows_lie_in_morton_order(tmp_path: Path, scenes: list[Scene]) -> None:
    path = tmp_path / "catalog.duckdb"
    with Catalog(path) as catalog:
        for part in (scenes[200:], scenes[:100], scenes[100:200]):
            catalog.add_scenes(part)
    stored = duckdb.connect(str(path)).execute("SELECT morton >> 12, start FROM items").fetchall()
    assert stored == sorted(stored)
    assert len(stored) == len(scenes)


def test_morton_codes_interleave() -> None:
    assert morton_code(-180, -90) == 0
    assert morton_code(180, 90) == 2**32 - 1
    assert morton_code(0, -90) == 2**30
    assert morton_code(-180, 0) == 2**31


def test_footprints_over_the_antimeridian_have_two_parts() -> None:
    crossing = scene("pacific", 1, 100_000, 2_000_000, dt.date(2004, 7, 1))
    footprint = footprint_of(crossing.geobox)
    assert len(footprint.geoms) == 2
    assert footprint.area < 10
    with Catalog() as catalog:
        catalog.add_scenes([crossing])
        for bbox in ((179.5, 17, 180, 18), (-180, 17, -179.5, 18), (179, 17, -179, 18)):
            assert ids(catalog.search(bbox)) == ["pacific"]
        assert catalog.search((-10, 17, 10, 18)) == []


def test_corners_off_the_earth_are_left_out() -> None:
    sinusoidal = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
    tile = GeoBox((24, 24), Affine(46331.27, 0, 16679257.2, 0, -46331.27, 5559752.6), sinusoidal)
    footprint = footprint_of(tile)
    assert footprint.is_valid
    with pytest.raises(GridError, match="no coordinate system"):
        footprint_of(GeoBox((2, 2), Affine.identity(), None))


def test_what_is_no_catalog_and_no_request(tmp_path: Path, catalog: Catalog) -> None:
    (tmp_path / "text").write_text("no database")
    with pytest.raises(TableError, match="cannot be opened as a catalog"):
        Catalog(tmp_path / "text")
    duckdb.connect(str(tmp_path / "other.duckdb")).execute("CREATE TABLE t AS SELECT 1")
    with pytest.raises(TableError, match="no catalog"):
        Catalog(tmp_path / "other.duckdb")
    with pytest.raises(TableError, match="kind 'map'"):
        catalog.search(kind="map")
    with pytest.raises(TableError, match="not a date"):
        catalog.search(start="July")
    with pytest.raises(TableError, match="GeoJSON geometry"):
        catalog.search(geometry={"type": "Point"})
    with pytest.raises(GridError, match="bbox"):
        catalog.search((0, 50, 1, 40))
