"""Regions, tiles and grids."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from esd.errors import GridError
from esd.grid import (
    Region,
    aligned,
    bounds_lonlat,
    geobox_from_bounds,
    grid_name,
    lonlat_to_pixels,
    region_of,
    same_crs,
    sub_geobox,
    tiles,
)

GRID = geobox_from_bounds(500_000, 5_000_000, 506_900, 5_006_000, "EPSG:32633", 30)
ALBERS = "+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +datum=WGS84 +units=m"


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 400))
def test_tiles_cover_a_region_once(rows: int, columns: int, size: int) -> None:
    seen = np.zeros((rows, columns), dtype=int)
    for tile in tiles(Region(0, rows, 0, columns), size):
        assert max(tile.shape) <= size
        seen[tile.slices] += 1
    assert (seen == 1).all()


def test_a_part_of_a_grid_is_aligned_with_it_and_a_shifted_one_is_not() -> None:
    part = sub_geobox(GRID, Region(10, 50, 20, 90))
    assert aligned(GRID, part)
    assert part.boundingbox.left == 500_600
    assert not aligned(GRID, GeoBox(part.shape, part.affine @ Affine.translation(0.5, 0), part.crs))
    assert not aligned(GRID, GeoBox(part.shape, part.affine, "EPSG:32634"))


def test_names_of_a_crs_do_not_matter_but_its_meaning_does() -> None:
    plain = GeoBox((4, 4), Affine(30, 0, 0, 0, -30, 0), ALBERS)
    wkt = plain.crs.proj.to_wkt().replace('"unknown"', '"Albers"')
    assert same_crs(plain, GeoBox((4, 4), plain.affine, wkt))
    assert not same_crs(plain, GeoBox((4, 4), plain.affine, ALBERS.replace("-96", "-95")))


def test_points_find_their_pixel() -> None:
    west, south, east, north = bounds_lonlat(GRID)
    rows, columns = lonlat_to_pixels(GRID, [15.0 + 1e-6, (west + east) / 2, 100.0], [(south + north) / 2, south, 0.0])
    assert columns[0] == 0
    assert 95 <= rows[0] <= 105
    assert rows[1] >= 199
    assert not 0 <= columns[2] < 230


def test_names_of_groups() -> None:
    assert grid_name(GRID) == "epsg32633"
    assert grid_name(GeoBox((4, 4), Affine(30, 0, 0, 0, -30, 0), ALBERS)).startswith("crs")


def test_grids_without_meaning_are_refused() -> None:
    with pytest.raises(GridError, match="no area"):
        geobox_from_bounds(0, 0, 0, 10, "EPSG:32633", 30)
    with pytest.raises(GridError, match="resolution"):
        geobox_from_bounds(0, 0, 10, 10, "EPSG:32633", 0)
    with pytest.raises(GridError, match="no coordinate system"):
        grid_name(GeoBox((4, 4), Affine.identity(), None))


def test_regions() -> None:
    region = Region(5, 10, 5, 20)
    assert region.grow(2) == Region(3, 12, 3, 22)
    assert region.intersect(Region(8, 30, 0, 7)) == Region(8, 10, 5, 7)
    assert region.intersect(Region(30, 40, 0, 7)).size == 0
    assert region_of(GRID).shape == (200, 230)
