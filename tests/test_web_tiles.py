"""Map tiles: the web mercator pyramid, answered in time or not at all."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer

import esd
from esd.cube import Cube
from esd.engine.cache import ResultCache
from esd.engine.resample import resample, resample_from, source_positions, source_region
from esd.engine.rewrite import PASSES, optimize
from esd.engine.stop import CancelToken, stop_after
from esd.engine.web import HALF_WORLD, tile_geobox
from esd.errors import CancelledError, DeadlineError, EsdError, GridError, StoppedError
from esd.expr import postorder
from esd.grid import Region, geobox_from_bounds, region_of
from esd.image import Image

Z, X, Y = 11, 1109, 735
"""A tile that holds part of the cube of the tests."""


@given(st.integers(0, 22), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_four_tiles_make_the_one_above(z: int, across: float, down: float) -> None:
    x, y = int(across * 2**z), int(down * 2**z)
    above = tile_geobox(z, x, y).boundingbox
    below = [tile_geobox(z + 1, 2 * x + i, 2 * y + j).boundingbox for i in (0, 1) for j in (0, 1)]
    assert np.isclose(min(box.left for box in below), above.left, atol=1e-6)
    assert np.isclose(max(box.right for box in below), above.right, atol=1e-6)
    assert np.isclose(min(box.bottom for box in below), above.bottom, atol=1e-6)
    assert np.isclose(max(box.top for box in below), above.top, atol=1e-6)


def test_the_world_is_one_tile() -> None:
    assert tuple(tile_geobox(0, 0, 0).boundingbox) == (-HALF_WORLD, -HALF_WORLD, HALF_WORLD, HALF_WORLD)
    left, _bottom, _right, top = tile_geobox(1, 1, 0).boundingbox
    assert (left, top) == (0, HALF_WORLD)
    for wrong in ((-1, 0, 0), (31, 0, 0), (3, 8, 0), (3, 0, -1)):
        with pytest.raises(GridError, match=r"zoom|tile"):
            tile_geobox(*wrong)
    with pytest.raises(GridError, match="size 0"):
        tile_geobox(0, 0, 0, 0)


def test_each_pixel_is_the_one_of_the_cube_beneath_its_centre(cube: Cube) -> None:
    image = cube.image(2004)["e0"].max()
    raster, whole, grid = image.tile(Z, X, Y, cache=ResultCache(0)), image.compute(), cube.grids["epsg32633"]
    assert raster.geobox == tile_geobox(Z, X, Y)
    rows, columns = np.mgrid[0:256, 0:256] + 0.5
    x, y = raster.geobox.affine @ (columns, rows)
    x, y = Transformer.from_crs(3857, 32633, always_xy=True).transform(x, y)
    columns, rows = ~grid.affine @ (x, y)
    inside = (rows >= 0) & (rows < 200) & (columns >= 0) & (columns < 230)
    rows, columns = np.where(inside, rows, 0).astype(int), np.where(inside, columns, 0).astype(int)
    assert inside.any()
    assert np.array_equal(raster.valid[0, 0], inside & whole.valid[0, 0][rows, columns])
    assert np.array_equal(raster.values[0, 0], np.where(raster.valid[0, 0], whole.values[0, 0][rows, columns], 0))


def test_a_tile_beside_the_image_is_empty(cube: Cube) -> None:
    for z, x, y in ((Z, X + 9, Y), (5, 0, 31), (0, 0, 0)):
        raster = cube.image(2004)["e0"].max().tile(z, x, y, 64)
        assert raster.values.shape == (1, 1, 64, 64)
        assert raster.valid.sum() <= (z == 0)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_a_small_map_of_a_large_area_is_computed_part_by_part(method: str) -> None:
    source = geobox_from_bounds(500_000, 5_000_000, 500_000 + 30 * 1400, 5_000_000 + 30 * 1300, "EPSG:32633", 30)
    rng = np.random.default_rng(0)
    values = rng.random((1300, 1400)).astype(np.float32)
    image = esd.from_array(values, source, valid=rng.random((1300, 1400)) > 0.2)
    target = geobox_from_bounds(14.9, 45.1, 15.6, 45.6, "EPSG:4326", 0.003)
    positions = source_positions(source, target, region_of(target))
    largest = []

    def evaluate(region: Region) -> object:
        largest.append(region.size)
        held = image.lowered.args["source"].block
        return type(held)(held.values[(..., *region.slices)], held.valid[(..., *region.slices)])

    parts = resample_from(evaluate, source, positions, method)  # type: ignore[arg-type]  # a block
    assert len(largest) == 9
    assert max(largest) <= 514**2
    needed = source_region(source, positions)
    whole = resample(evaluate(needed), needed, positions, method)  # type: ignore[arg-type]  # a block
    assert np.array_equal(parts.full_valid, whole.full_valid)
    assert np.array_equal(np.where(parts.valid, parts.values, 0), np.where(whole.valid, whole.values, 0))


PLACED = {
    "index": lambda i: i.evi().median(),
    "mask": lambda i: i["nir"].mean().update_mask(i["e0"].max() > 0) * 2 + i["red"].max(),
    "collection": lambda i: esd.call("stack", i.ndvi(), i.nbr().rename("ndvi")).std(),
    "filled": lambda i: i["nir"].mean().unmask(0.5) - 1,
    "counted": lambda i: i["nir"].count(),
    "around": lambda i: i.ndvi().max().focal_mean(2) + 1,
}


@pytest.mark.parametrize("name", PLACED)
def test_choosing_pixels_first_changes_no_byte(cube: Cube, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = PLACED[name](cube.image(2004)).reproject_to(tile_geobox(Z, X, Y))
    root = optimize(image.lowered)
    assert (root.op == "reproject") == (name == "counted")
    early = image.compute()
    monkeypatch.setattr("esd.engine.rewrite.PASSES", PASSES[1:])
    late = image.compute()
    assert early.values.tobytes() == late.values.tobytes()
    assert early.valid.tobytes() == late.valid.tobytes()
    assert 0 < early.valid.mean() < 1


def test_a_deep_graph_of_shared_nodes_is_placed_once(cube: Cube) -> None:
    image = cube.image(2004)["e0"].max()
    for _ in range(1200):
        image = image + image * 0.5
    root = optimize(image.reproject_to(tile_geobox(Z, X, Y)).lowered)
    assert sum(node.op == "reproject" for node in postorder(root)) == 1


def slow_image() -> Image:
    """Forty operators on a grid of 1000 x 1000 pixels: many nodes, many tiles."""
    grid = geobox_from_bounds(1_600_000, 5_600_000, 1_630_000, 5_630_000, "EPSG:3857", 30)
    image = esd.from_array(np.random.default_rng(0).random((1000, 1000)), grid)
    for i in range(40):
        image = image.focal_mean(1 + i % 3)
    return image


def test_a_deadline_is_kept() -> None:
    image = slow_image()
    begun = time.monotonic()
    with pytest.raises(DeadlineError, match=r"longer than the 0\.2 s"):
        image.compute(deadline=0.2)
    assert time.monotonic() - begun < 30
    with pytest.raises(DeadlineError):
        image.tile(10, 553, 368, deadline=0.0)
    assert issubclass(DeadlineError, StoppedError)
    assert issubclass(StoppedError, EsdError)


def test_a_computation_is_cancelled_from_another_thread() -> None:
    token = CancelToken()
    threading.Timer(0.2, token.cancel).start()
    with pytest.raises(CancelledError):
        slow_image().compute(cancel=token)
    assert token.cancelled
    with pytest.raises(CancelledError):
        stop_after(None, token).check()
    stop_after(100, CancelToken()).check()
