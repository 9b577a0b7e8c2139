"""The grid that an image is computed in where none is asked for."""

from __future__ import annotations

import pytest
from pyproj import Transformer
from sample_images import noise

import esd
from esd.errors import GridError
from esd.grid import GeoBox, geobox_from_bounds
from esd.image import Image


def same(one: Image, other: Image, **options: object) -> bool:
    a, b = one.compute(**options), other.compute(**options)  # type: ignore[arg-type]  # options of compute
    return a.values.tobytes() == b.values.tobytes() and a.valid.tobytes() == b.valid.tobytes() and a.geobox == b.geobox


def covers(grid: GeoBox, image: Image) -> bool:
    """Whether a grid of degrees holds all corners of an image of UTM 33."""
    left, bottom, right, top = image.type.grid.boundingbox  # type: ignore[union-attr]  # an image in memory has a grid
    corners = [(x, y) for x in (left, right) for y in (bottom, top)]
    west, south, east, north = grid.boundingbox
    x, y = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True).transform(*zip(*corners, strict=True))
    near = 1e-9  # degrees
    return west <= min(x) + near and max(x) <= east + near and south <= min(y) + near and max(y) <= north + near


def test_it_is_the_grid_where_none_is_asked_for() -> None:
    image = noise(60, 50)
    placed = image.set_default_projection("EPSG:4326", 0.0005)
    grid = placed.type.grid
    assert grid is not None
    assert grid.crs.epsg == 4326
    assert abs(grid.affine.a) == 0.0005
    for number in (grid.affine.c, grid.affine.f):
        assert round(number / 0.0005) == pytest.approx(number / 0.0005)
    assert covers(grid, image)
    left, bottom, right, top = grid.boundingbox
    smaller = geobox_from_bounds(left + 0.0005, bottom + 0.0005, right - 0.0005, top - 0.0005, "EPSG:4326", 0.0005)
    assert not covers(smaller, image)
    assert same(placed, image.reproject_to(grid))
    assert same(placed, placed, tile=16)
    again = placed.compute(tile=16)
    assert again.values.tobytes() == placed.compute(tile=33).values.tobytes()
    assert placed.add(1.0).type.grid == grid


def test_a_grid_that_is_asked_for_is_reached_from_the_pixels_themselves() -> None:
    image = noise(60, 50)
    placed = image.set_default_projection("EPSG:4326", 0.005)
    assert same(placed, image, geobox=image.type.grid)
    other = geobox_from_bounds(500_100, 5_000_100, 500_900, 5_000_900, "EPSG:32633", 20)
    assert same(placed, image, geobox=other)
    assert same(placed.reproject_to(other), image.reproject_to(other))
    assert same(placed.reproject_like(image), image)
    smooth = image.resample("bilinear")
    assert same(smooth.set_default_projection("EPSG:3857", 35), smooth, geobox=other)
    default = image.set_default_projection("EPSG:3857", 35, "bilinear")
    assert same(default, image.reproject_to(default.type.grid, "bilinear"))
    assert placed.tile(14, 8874, 5872).values.tobytes() == image.tile(14, 8874, 5872).values.tobytes()
    twice = placed.set_default_projection("EPSG:32633", 30)
    assert same(twice, image, geobox=other)


def test_what_has_no_grid_or_no_scale_is_refused() -> None:
    for image, crs, scale, reason in (
        (esd.image.constant(1), "EPSG:4326", 1, "constant has no grid"),
        (noise(9, 9), "EPSG:4326", 0, "must be above 0"),
        (noise(9, 9), "EPSG:4326", float("nan"), "must be above 0"),
        (noise(9, 9), "nowhere", 1, "not understood"),
    ):
        with pytest.raises(GridError, match=reason):
            image.set_default_projection(crs, scale)
