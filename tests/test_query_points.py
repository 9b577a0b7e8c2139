"""Points: read from the forms that people have, and sampled with few reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely

from esd.analytics.classify import train_classifier
from esd.cube import Cube
from esd.dekad import BANDS
from esd.errors import SpaceError, TableError, WindowError
from esd.grid import region_of
from esd.query.points import embedding_columns, features_of, read_points, sample_cube
from esd.query.similarity import pixel_lonlat
from esd.series import read_table, reflectance_table, write_table


@pytest.fixture(scope="module")
def wide(make_cube: Callable[..., Cube], codec: object) -> Cube:
    """A cube of six chunks."""
    return make_cube(codec, rows=300, columns=520, years=(2004,))


def points_in(cube: Cube, n: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Points at pixel centres of a cube, and their rows and columns."""
    box = cube.grids[cube.grid()]
    rng = np.random.default_rng(seed)
    row, column = rng.integers(0, box.shape.y, n), rng.integers(0, box.shape.x, n)
    _x, _y, lon, lat = pixel_lonlat(box, row, column)
    frame = pd.DataFrame({"sample_id": [f"p{i}" for i in range(n)], "longitude": lon, "latitude": lat, "label": row % 3})
    return frame, row, column


def codes_of(cube: Cube, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    name = cube.grid()
    return cube.read("codes", name, cube.windows[0], region_of(cube.grids[name]))[:, row, column]


def test_codes_at_points(wide: Cube) -> None:
    points, row, column = points_in(wide, 200)
    table = sample_cube(wide, points)
    assert list(table["sample_id"]) == list(points["sample_id"])
    assert list(table["label"]) == list(points["label"])
    expected = codes_of(wide, row, column)
    for step in range(12):
        assert np.array_equal(table[f"code_{step}"], expected[step])
        assert table[f"code_{step}"].dtype == np.uint16
        assert table[f"count_{step}"].dtype == np.uint8
    valid = (expected != 65535).all(axis=0)
    assert np.array_equal(table["status"] == "valid", valid)
    assert set(table["status"]) == {"valid", "nodata"}


def test_each_chunk_is_read_once_a_window(wide: Cube, monkeypatch: pytest.MonkeyPatch) -> None:
    points, row, column = points_in(wide, 500)
    reads = []
    original = Cube.read
    monkeypatch.setattr(Cube, "read", lambda self, *args: reads.append(args) or original(self, *args))
    sample_cube(wide, points, "embedding")
    assert len(reads) == len({(r // 256, c // 256) for r, c in zip(row, column, strict=True)}) == 6
    reads.clear()
    corner = points[(row < 256) & (column < 256)]
    sample_cube(wide, corner, "embedding")
    assert len(reads) == 1


def test_embeddings_at_points_are_the_features_that_the_image_has(cube: Cube) -> None:
    points, row, column = points_in(cube, 100)
    table = sample_cube(cube, points, "embedding", windows=[2005])
    assert list(embedding_columns(6))[:7] == [f"step_00_e{i}" for i in range(6)] + ["step_01_e0"]
    values = cube.image(2005).embedding().compute()
    expected = values.values[:, :, row, column].reshape(72, -1).T
    valid = values.valid[0, 0, row, column]
    assert np.array_equal(table.loc[valid, list(embedding_columns(6))].to_numpy(), expected[valid])
    assert table.loc[~valid, list(embedding_columns(6))].isna().all(axis=None)
    features, kept = features_of(table)
    assert np.array_equal(features, expected[valid])
    assert list(kept["sample_id"]) == list(points["sample_id"][valid])


def test_reflectance_at_points_is_tidy_and_dated(cube: Cube) -> None:
    points, row, column = points_in(cube, 20)
    table = sample_cube(cube, points, "reflectance", windows=[2004])
    assert len(table) == 20 * 36
    values = cube.image(2004).decode().compute()
    for i in (0, 7, 19):
        rows = table[table["sample_id"] == f"p{i}"]
        assert list(rows["date"].dt.strftime("%Y-%m-%d")) == list(values.type.time)
        expected = values.values[:, :, row[i], column[i]]
        if values.valid[0, 0, row[i], column[i]]:
            assert np.array_equal(rows[list(BANDS)].to_numpy(), expected)
        else:
            assert rows[list(BANDS)].isna().all(axis=None)
    features, kept = features_of(table)
    assert features.shape == (len(kept), 216)
    classifier = train_classifier(features, np.arange(len(kept)) % 2, "prototype", space="reflectance")
    classes, _confidence = classifier.predict(features)
    at = cube.image(2004).classify(classifier).compute().values[0, 0, row, column]
    assert np.array_equal(at[np.isin(points["sample_id"], kept["sample_id"])], classes)


def test_points_outside_and_all_windows(cube: Cube) -> None:
    points, _row, _column = points_in(cube, 3)
    points.loc[1, ["longitude", "latitude"]] = [0.0, 0.0]
    table = sample_cube(cube, points)
    assert list(table["window"].dt.year) == [2004] * 3 + [2005] * 3
    assert list(table["status"] == "outside") == [False, True, False] * 2
    assert (table.loc[1, [f"code_{i}" for i in range(12)]] == 65535).all()
    elsewhere = sample_cube(cube, points.iloc[[1]])
    assert list(elsewhere["status"]) == ["outside", "outside"]
    with pytest.raises(TableError, match="none of the points is valid"):
        features_of(sample_cube(cube, points.iloc[[1]], "embedding"))


def test_a_table_of_codes_decodes_to_what_the_cube_says(cube: Cube, tmp_path: Path) -> None:
    points, _row, _column = points_in(cube, 30)
    codes = read_table(write_table(sample_cube(cube, points, windows=[2004]), tmp_path / "codes.parquet"))
    decoded = reflectance_table(codes, cube.codec)
    direct = sample_cube(cube, points, "reflectance", windows=[2004])
    assert np.array_equal(decoded[list(BANDS)], direct[list(BANDS)], equal_nan=True)
    assert list(decoded["date"]) == list(direct["date"])


def test_unusable_requests(cube: Cube) -> None:
    points, _row, _column = points_in(cube, 2)
    with pytest.raises(SpaceError, match="space 'ndvi' is not one of codes, embedding, reflectance"):
        sample_cube(cube, points, "ndvi")
    with pytest.raises(WindowError, match="1999"):
        sample_cube(cube, points, windows=[1999])
    with pytest.raises(TableError, match="column window, which the sample writes itself"):
        sample_cube(cube, points.assign(window=1))
    with pytest.raises(TableError, match="no features"):
        features_of(sample_cube(cube, points))


WHERE = [(12.5, 41.9), (13.25, -7.5)]


def write_geojson(path: Path, crs: str | None = None) -> None:
    features = [
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": place}, "properties": {"label": f"c{i}"}}
        for i, place in enumerate(WHERE)
    ]
    document: dict[str, object] = {"type": "FeatureCollection", "features": features}
    if crs:
        document["crs"] = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps(document))


def write_tables(folder: Path) -> list[Path]:
    """The same two points in every form."""
    frame = pd.DataFrame({"label": ["c0", "c1"]})
    lon, lat = np.array(WHERE).T
    geometry = shapely.points(WHERE)
    forms = {
        "a.csv": frame.assign(longitude=lon, latitude=lat),
        "b.csv": frame.assign(lon=lon, lat=lat),
        "c.csv": frame.assign(geometry=shapely.to_wkt(geometry)),
        "d.parquet": frame.assign(lon=lon, lat=lat),
        "e.parquet": frame.assign(geometry=shapely.to_wkb(geometry)),
    }
    for name, table in forms.items():
        if name.endswith("csv"):
            table.to_csv(folder / name, index=False)
        else:
            write_table(table, folder / name)
    write_geojson(folder / "f.geojson")
    return sorted(folder.iterdir())


def test_every_form_gives_the_same_points(tmp_path: Path) -> None:
    for path in write_tables(tmp_path):
        points = read_points(path)
        assert np.allclose(points[["longitude", "latitude"]], WHERE), path.name
        assert list(points["label"]) == ["c0", "c1"]
        assert list(points["sample_id"]) == [0, 1]


def test_points_in_another_crs_are_turned(tmp_path: Path) -> None:
    path = tmp_path / "utm.geojson"
    features = [{"type": "Feature", "geometry": {"type": "Point", "coordinates": [500_000, 0]}, "properties": None}]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, "crs": crs}))
    assert np.allclose(read_points(path)[["longitude", "latitude"]], [[15.0, 0.0]], atol=1e-6)


BROKEN = {
    "a.csv": ("x,y\n1,2\n", "has columns x, y; it needs longitude and latitude"),
    "b.csv": ("lon,lat\n456789,10\n", "longitude '456789' in row 0 is not a number of degrees within 180"),
    "c.csv": ("lon,lat\n1,abc\n", "latitude 'abc' in row 0"),
    "d.csv": ("lon,lat\n", "has no points"),
    "e.csv": ("geometry\nPOINT 1 2\n", "is not WKT"),
    "f.geojson": ("{", "is not GeoJSON"),
    "g.geojson": ('{"type": "FeatureCollection"}', "is not GeoJSON"),
    "h.geojson": (
        '{"type":"Feature","properties":{},"geometry":{"type":"LineString","coordinates":[[0,0],[1,1]]}}',
        r"1 geometries that are no points \(LineString first\)",
    ),
    "i.parquet": ("text", "is not a Parquet table"),
    "j.shp": ("", "unknown form"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_hold_no_points_say_why(tmp_path: Path, name: str) -> None:
    text, message = BROKEN[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(TableError, match=message) as raised:
        read_points(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="not there"):
        read_points(tmp_path / "none.csv")
