"""Similarity search: exact, against faiss and the expression graph, with its ties in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pytest
from code_cubes import cube_of, random_codes
from random_codecs import random_codec

from esd.analytics.embedding import Reference
from esd.codec import Codec
from esd.cube import Cube
from esd.errors import EncoderError, ExpressionError, GridError, WindowError
from esd.grid import Region, lonlat_to_pixels, region_of
from esd.query.similarity import COLUMNS, Query, pixel_lonlat, query_at, similar, similarity_image


def unit_vectors(cube: Cube, year: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors [n, 72] float32 of the valid pixels of a window, and their row and column [n, 2]."""
    name = cube.grid()
    codes = cube.read("codes", name, cube.window(year), region_of(cube.grids[name]))
    where = np.argwhere((codes != 65535).all(axis=0))
    values = cube.codec.embed(codes[:, where[:, 0], where[:, 1]])
    vectors = np.moveaxis(values, 1, 0).reshape(len(where), -1).astype(np.float32)
    faiss.normalize_L2(vectors)
    return vectors, where


def place(cube: Cube, row: int, column: int) -> tuple[float, float]:
    _x, _y, lon, lat = pixel_lonlat(cube.grids[cube.grid()], np.array([row]), np.array([column]))
    return float(lon[0]), float(lat[0])


def valid_pixel(cube: Cube, year: int, which: int) -> tuple[int, int]:
    row, column = unit_vectors(cube, year)[1][which]
    return int(row), int(column)


def test_search_equals_faiss(cube: Cube) -> None:
    vectors, where = unit_vectors(cube, 2004)
    index = faiss.IndexFlatIP(72)
    index.add(vectors)
    for which in (0, 777, 20_000):
        query = query_at(cube, [place(cube, *where[which])], 2004)
        found = similar(cube, query, 50, windows=[2004])
        scores, ids = index.search(np.array([query.vector], dtype=np.float32), 50)
        assert np.allclose(found["score"], scores[0], atol=2e-6)
        assert set(map(tuple, found[["row", "column"]].to_numpy())) == set(map(tuple, where[ids[0]]))
        assert tuple(found.loc[0, ["row", "column"]]) == tuple(where[which])
        assert found["score"].iloc[0] == 1.0


def test_search_and_expression_give_the_same_numbers(cube: Cube) -> None:
    query = query_at(cube, [place(cube, *valid_pixel(cube, 2005, 5))], 2005)
    raster = similarity_image(cube, 2005, query).compute()
    everything = similar(cube, query, k=200 * 230, windows=["2005-01-01"])
    assert len(everything) == raster.valid.sum()
    row, column = everything["row"].to_numpy(), everything["column"].to_numpy()
    assert np.allclose(raster.values[0, 0, row, column], everything["score"], atol=1e-6)
    assert everything["score"].is_monotonic_decreasing


def test_result_is_a_table_of_places(cube: Cube) -> None:
    query = query_at(cube, [place(cube, *valid_pixel(cube, 2004, 99))], "2004")
    found = similar(cube, query, k=20)
    assert tuple(found.columns) == COLUMNS
    assert set(found["window"]) <= {pd.Timestamp("2004-01-01"), pd.Timestamp("2005-01-01")}
    rows, columns = lonlat_to_pixels(cube.grids[cube.grid()], found["longitude"], found["latitude"])
    assert np.array_equal(rows, found["row"])
    assert np.array_equal(columns, found["column"])
    assert np.array_equal((found["x"] - 500_000) // 30, found["column"])


@pytest.fixture(scope="module")
def striped(tmp_path_factory: pytest.TempPathFactory, codec: Codec) -> Cube:
    """Two kinds of pixels only, by column, in four blocks: nearly everything is a tie."""
    two = random_codes(codec, 1, 2)[:, 0]
    codes = np.broadcast_to(two[:, np.arange(300) % 2][:, None], (12, 280, 300)).copy()
    return cube_of(tmp_path_factory.mktemp("stripes") / "s.esd.zarr", codec, {2004: codes, 2005: codes})


def test_ties_come_by_window_row_and_column(striped: Cube) -> None:
    query = query_at(striped, [place(striped, 200, 100)], 2004)
    found = similar(striped, query, k=1000)
    even = [(2004, row, column) for row in range(280) for column in range(0, 300, 2)][:1000]
    assert list(zip(found["window"].dt.year, found["row"], found["column"], strict=True)) == even
    assert set(found["score"]) == {1.0}


def test_the_best_of_regions_are_the_best_of_all(cube: Cube, striped: Cube) -> None:
    for searched in (cube, striped):
        whole = region_of(searched.grids[searched.grid()])
        query = query_at(searched, [place(searched, *valid_pixel(searched, 2004, 10))], 2004)
        halves = [Region(0, 97, 0, whole.x1), Region(97, whole.y1, 0, whole.x1)]
        parts = pd.concat([similar(searched, query, 30, [2004], region=half) for half in halves])
        merged = parts.sort_values(["score", "row", "column"], ascending=[False, True, True]).head(30)
        assert merged.reset_index(drop=True).equals(similar(searched, query, 30, [2004]))


def test_a_mask_restricts_the_search(cube: Cube) -> None:
    query = query_at(cube, [place(cube, *valid_pixel(cube, 2004, 10))], 2004)
    mask = cube.image(2005).ndvi().median() > 0
    raster = mask.compute()
    allowed = raster.valid[0, 0] & (raster.values[0, 0] != 0)
    found = similar(cube, query, 200 * 230, [2004], mask=mask)
    assert allowed[found["row"], found["column"]].all()
    unmasked = similar(cube, query, 200 * 230, [2004])
    inside = unmasked[allowed[unmasked["row"], unmasked["column"]]].reset_index(drop=True)
    assert found.equals(inside)


def test_several_points_and_negatives_combine(cube: Cube) -> None:
    vectors, where = unit_vectors(cube, 2004)
    points = [place(cube, *where[i]) for i in (3, 50, 700)]
    query = query_at(cube, points, 2004, negatives=[place(cube, *where[9])])
    expected = vectors[[3, 50, 700]].astype(np.float64).mean(0) - vectors[9]
    assert np.allclose(query.vector, expected / np.linalg.norm(expected), atol=1e-6)
    assert np.isclose(np.linalg.norm(query.vector), 1)
    assert query.token == query_at(cube, points, 2004, negatives=[place(cube, *where[9])]).token
    assert query.token != query_at(cube, points, 2004).token
    assert isinstance(query, Reference)


def test_points_that_cannot_be_looked_for(cube: Cube) -> None:
    name = cube.grid()
    codes = cube.read("codes", name, cube.window(2004), region_of(cube.grids[name]))
    empty = np.argwhere((codes == 65535).any(axis=0))[0]
    with pytest.raises(WindowError, match="no data in window 2004-01-01"):
        query_at(cube, [place(cube, *empty)], 2004)
    with pytest.raises(GridError, match="point 0,0 lies outside"):
        query_at(cube, [(0, 0)], 2004)
    with pytest.raises(ExpressionError, match="at least one point"):
        query_at(cube, [], 2004)
    here = place(cube, *valid_pixel(cube, 2004, 0))
    with pytest.raises(ExpressionError, match="cancel each other out"):
        query_at(cube, [here], 2004, negatives=[here])
    with pytest.raises(ExpressionError, match="zero vector"):
        Query.from_codes(np.full((12, 1), 32036, dtype=np.uint16), cube)
    with pytest.raises(ExpressionError, match="k=0"):
        similar(cube, query_at(cube, [here], 2004), 0)


def test_a_query_of_another_encoder_is_refused(cube: Cube, make_cube: Callable[..., Cube]) -> None:
    other = make_cube(random_codec(seed=5, name="other"))
    query = query_at(cube, [place(cube, *valid_pixel(cube, 2004, 0))], 2004)
    with pytest.raises(EncoderError, match="query was encoded by encoder"):
        similar(other, query)
    with pytest.raises(EncoderError, match="query was encoded by encoder"):
        similarity_image(other, 2004, query)
    with pytest.raises(EncoderError, match="reference was encoded by encoder"):
        other.image(2004).cosine_similarity(query)


def test_a_window_of_no_data_has_no_neighbours(tmp_path: Path, codec: Codec) -> None:
    codes = random_codes(codec, 8, 9)
    cube = cube_of(tmp_path / "e.esd.zarr", codec, {2004: codes, 2005: np.full_like(codes, 65535)})
    query = query_at(cube, [place(cube, 1, 1)], 2004)
    found = similar(cube, query, 10, [2005])
    assert len(found) == 0
    assert tuple(found.columns) == COLUMNS
