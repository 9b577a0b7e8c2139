"""Flow, pits, shadows and sight on terrain: exact on surfaces of which one knows, and equal to slow direct definitions."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import numpy as np
import pytest
from sample_images import blobs, classes, grid, noise, plane
from scene_cases import hills, observer

import esd
from esd.errors import EsdError, GridError
from esd.grid import geobox_from_bounds
from esd.image import Image

ROWS, COLUMNS = 60, 53
CODES = {1: (0, 1), 2: (1, 1), 4: (1, 0), 8: (1, -1), 16: (0, -1), 32: (-1, -1), 64: (-1, 0), 128: (-1, 1)}


def filled_by_flood(dem: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The priority flood of Barnes et al. (2014), another algorithm for the same surface."""
    open_ground = np.pad(valid, 1)
    filled, done = dem.copy(), ~open_ground
    heap = []
    for y, x in np.argwhere(valid):
        if not open_ground[y : y + 3, x : x + 3].all():
            heapq.heappush(heap, (filled[y, x], int(y), int(x)))
            done[y + 1, x + 1] = True
    while heap:
        level, y, x = heapq.heappop(heap)
        for down, right in CODES.values():
            below, beside = y + down, x + right
            if not done[below + 1, beside + 1]:
                done[below + 1, beside + 1] = True
                filled[below, beside] = max(filled[below, beside], level)
                heapq.heappush(heap, (filled[below, beside], below, beside))
    return filled


def test_filled_pits_equal_a_priority_flood() -> None:
    image = hills(ROWS, COLUMNS) + noise(ROWS, COLUMNS, share=0) * 30
    given, valid = plane(image)
    found, found_valid = plane(image.fill_minima())
    assert found.dtype == given.dtype
    assert np.array_equal(found_valid, valid)
    assert np.array_equal(found[valid], filled_by_flood(given, valid)[valid])
    assert (found > given)[valid].sum() > 50
    again, _valid = plane(image.fill_minima().fill_minima())
    assert np.array_equal(again, found)


def test_water_flows_down_the_steepest_of_eight() -> None:
    image = hills(ROWS, COLUMNS)
    given, valid = plane(image)
    found, found_valid = plane(image.flow_direction())
    assert np.array_equal(found_valid, valid)
    for y, x in np.argwhere(valid):
        best, code = 0.0, 0
        for number, (down, right) in CODES.items():
            below, beside = y + down, x + right
            if 0 <= below < ROWS and 0 <= beside < COLUMNS and valid[below, beside]:
                drop = (float(given[y, x]) - float(given[below, beside])) / (30 * math.hypot(down, right))
                if drop > best:
                    best, code = drop, number
        assert found[y, x] == code


@pytest.mark.parametrize(("down", "right", "code"), [(d, r, c) for c, (d, r) in CODES.items()])
def test_a_plane_drains_where_it_leans(down: int, right: int, code: int) -> None:
    y, x = np.mgrid[:20, :21]
    found, _valid = plane(esd.from_array(1000.0 - down * y - right * x, grid(20, 21)).flow_direction())
    assert (found[1:-1, 1:-1] == code).all()


def test_all_water_arrives_once() -> None:
    image = hills(ROWS, COLUMNS)
    directions, valid = plane(image.flow_direction())
    found, found_valid = plane(image.flow_accumulation())
    assert np.array_equal(found_valid, valid)
    expected = np.zeros((ROWS, COLUMNS), dtype=int)
    for start in np.argwhere(valid):
        y, x = start
        expected[y, x] += 1
        while directions[y, x]:
            down, right = CODES[int(directions[y, x])]
            y, x = y + down, x + right
            expected[y, x] += 1
    assert np.array_equal(found[valid], expected[valid])
    assert found[valid & (directions == 0)].sum() == valid.sum()


def test_directions_that_go_round_have_no_count() -> None:
    codes = np.array([[1, 16, 16, 0, 1]], dtype=np.uint8)
    found, valid = plane(esd.from_array(codes, grid(1, 5)).accumulate_flow())
    assert valid[0].tolist() == [False, False, True, True, True]
    assert found[0, 2:].tolist() == [1, 1, 1]


def test_products_are_slope_aspect_and_hillshade() -> None:
    image = hills(20, 24)
    raster = image.terrain_products().compute()
    assert raster.type.bands == ("slope", "aspect", "hillshade")
    for band, name in enumerate(raster.type.bands):
        values, valid = plane(getattr(image, name)())
        assert np.array_equal(raster.valid[0, band], valid)
        assert np.array_equal(raster.values[0, band], values.astype(np.float32))


def wall(height: float) -> np.ndarray:
    values = np.zeros((41, 41))
    values[:, 20] = height
    return values


@pytest.mark.parametrize("altitude", [20.0, 45.0])
def test_a_wall_throws_a_shadow_as_long_as_its_height_over_the_tangent(altitude: float) -> None:
    image = esd.from_array(wall(160.0), grid(41, 41))
    lit, valid = plane(image.hill_shadow(270.0, altitude, 20))
    assert valid.all()
    distance = 30 * (np.arange(41) - 20)
    dark = (distance > 0) & (distance < 160 / math.tan(math.radians(altitude)) - 1e-6)
    assert np.array_equal(lit, np.broadcast_to(~dark, lit.shape))
    doubled, _valid = plane(esd.from_array(wall(80.0), grid(41, 41)).hill_shadow(270.0, altitude, 20, 2.0))
    assert np.array_equal(doubled, lit)


def test_shadows_equal_a_direct_walk() -> None:
    image = hills(ROWS, COLUMNS, share=0)
    given = plane(image)[0].astype(float)
    lit, _valid = plane(image.hill_shadow(30.0, 25.0, 25))
    assert 0.02 < (~lit).mean() < 0.9
    down, right = -math.cos(math.radians(30)), math.sin(math.radians(30))
    for y in range(0, ROWS, 3):
        for x in range(0, COLUMNS, 3):
            hidden = False
            for step in range(1, 26):
                row, column = y - step, x + step * right / -down
                left = math.floor(column)
                if row < 0 or left + 1 >= COLUMNS:
                    break
                between = given[row, left] + (column - left) * (given[row, left + 1] - given[row, left])
                hidden |= between > given[y, x] + 30 * math.hypot(step, column - x) * math.tan(math.radians(25))
            assert lit[y, x] == (not hidden)


def test_everything_is_seen_on_a_flat_and_nothing_behind_a_wall() -> None:
    x, y = observer(41, 41)
    flat, valid = plane(esd.from_array(np.zeros((41, 41)), grid(41, 41)).viewshed(x, y, 2.0))
    assert valid.all()
    assert flat.all()
    dem = np.zeros((41, 41))
    dem[:, 30] = 50.0
    seen, _valid = plane(esd.from_array(dem, grid(41, 41)).viewshed(x, y, 2.0))
    assert seen[:, :31].all()
    assert not seen[:, 31:].any()
    towers, _valid = plane(esd.from_array(dem, grid(41, 41)).viewshed(x, y, 2.0, 100.0))
    assert towers[20, 31]
    near, near_valid = plane(esd.from_array(dem, grid(41, 41)).viewshed(x, y, 2.0, 0.0, 300.0))
    distance = 30 * np.hypot(*(np.indices((41, 41)) - 20))
    assert np.array_equal(near_valid, distance <= 300)
    assert near[near_valid & (np.arange(41) <= 30)].all()


def test_sight_equals_a_direct_walk_and_is_mutual() -> None:
    image = hills(31, 31, share=0)
    dem = plane(image)[0].astype(float)
    x, y = observer(31, 31)
    seen, _valid = plane(image.viewshed(x, y, 20.0))
    for row, column in np.ndindex(31, 31):
        steps = max(abs(row - 15), abs(column - 15))
        slope = (dem[row, column] - dem[15, 15] - 20) / max(30 * math.hypot(row - 15, column - 15), 1)
        hidden = False
        for step in range(1, steps):
            y0, x0 = 15 + step * (row - 15) / steps, 15 + step * (column - 15) / steps
            top, left = math.floor(y0), math.floor(x0)
            part = (y0 - top) + (x0 - left)
            other = dem[top + (y0 > top), left + (x0 > left)]
            level = (1 - part) * dem[top, left] + part * other if part else dem[top, left]
            hidden |= (level - dem[15, 15] - 20) / (30 * math.hypot(row - 15, column - 15) * step / steps) > slope
        assert seen[row, column] == (not hidden)
    for row, column in ((3, 4), (20, 28), (9, 15), (27, 2)):
        away = 500_000 + 30 * column + 15, 5_000_000 + 30 * (31 - row) - 15
        back = plane(image.viewshed(*away, 0.0, 20.0))[0][15, 15]
        assert back == seen[row, column]


def test_nothing_is_seen_from_where_nothing_is_known() -> None:
    dem = np.zeros((9, 9))
    known = np.ones((9, 9), dtype=bool)
    known[4, 4] = False
    image = esd.from_array(dem, grid(9, 9), valid=known)
    assert not image.viewshed(*observer(9, 9)).compute().valid.any()


@pytest.mark.parametrize(("azimuth", "down", "right"), [(0, -1, 0), (90, 0, 1), (180, 1, 0), (270, 0, -1), (45, -1, 1)])
def test_distance_in_a_direction_equals_a_walk(azimuth: float, down: int, right: int) -> None:
    image = blobs(ROWS, COLUMNS, level=0.9)
    given, valid = plane(image)
    found, found_valid = plane(image.directional_distance(float(azimuth), 20))
    for y, x in np.ndindex(ROWS, COLUMNS):
        wanted = None
        for step in range(21):
            row, column = y + step * down, x + step * right
            if 0 <= row < ROWS and 0 <= column < COLUMNS and valid[row, column] and given[row, column]:
                wanted = step * 30 * math.hypot(down, right)
                break
        assert found_valid[y, x] == (wanted is not None and valid[y, x])
        if found_valid[y, x]:
            assert found[y, x] == pytest.approx(wanted)


REFUSED: list[tuple[Callable[[Image], Image], str]] = [
    (lambda i: i.hill_shadow(400.0), "azimuth=400"),
    (lambda i: i.hill_shadow(0.0, 90.0), "altitude=90"),
    (lambda i: i.hill_shadow(0.0, 45.0, 1000), "reach=1000"),
    (lambda i: i.hill_shadow(0.0, 45.0, 10, 0.0), "z_factor=0"),
    (lambda i: i.directional_distance(0.0), "compare it first"),
    (lambda i: i.viewshed(0.0, 0.0), "observer at 0, 0 is not on the grid"),
    (lambda i: i.viewshed(*observer(8, 8), -1.0), "eye=-1"),
    (lambda i: i.accumulate_flow(), "no directions of flow"),
    (lambda i: (i > 0).fill_minima(), "bool is no elevation"),
]


@pytest.mark.parametrize(("build", "reason"), REFUSED, ids=[reason for _build, reason in REFUSED])
def test_bad_arguments_are_named(build: Callable[[Image], Image], reason: str) -> None:
    with pytest.raises(EsdError, match=reason):
        build(noise(8, 8))


@pytest.mark.parametrize("name", ["flow_direction", "flow_accumulation", "hill_shadow", "terrain_products"])
def test_degrees_are_refused(name: str) -> None:
    degrees = geobox_from_bounds(10, 45, 10.8, 45.8, "EPSG:4326", 0.1)
    with pytest.raises(GridError, match=r"not in metres.*reproject_to"):
        getattr(esd.from_array(np.zeros((8, 8)), degrees), name)()


def test_classes_are_no_less_terrain() -> None:
    found, valid = plane(classes(20, 24).fill_minima())
    assert found.dtype == np.uint8
    assert valid.any()
