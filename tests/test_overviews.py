"""Overviews: chosen codes, never an average; what is answered from them says so."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from random_codecs import random_codec

from esd.cube import Cube
from esd.errors import CubeError, GridError
from esd.grid import Region, geobox_from_bounds, region_of
from esd.overviews import nearest_to_mean, overview_geobox

FILL = 65535


@pytest.fixture
def own(make_cube: Callable[..., Cube]) -> Cube:
    """A cube of odd size for one test to change."""
    return make_cube(random_codec(seed=0), rows=333, columns=401, years=(2004, 2005))


def codes_of(cube: Cube, factor: int, year: int = 2004) -> np.ndarray:
    grid = cube.grid() if factor == 1 else f"{cube.grid()}/overviews/{factor}"
    return cube.read("codes", grid, cube.window(year), region_of(cube.geobox(grid)))


def test_nearest_is_the_pixel_at_the_centre(own: Cube) -> None:
    assert own.build_overviews("nearest", smallest=60) == (2, 4, 8)
    native = codes_of(own, 1)
    for factor in (2, 4, 8):
        rows = np.minimum(np.arange(-(-333 // factor)) * factor + factor // 2, 332)
        columns = np.minimum(np.arange(-(-401 // factor)) * factor + factor // 2, 400)
        assert np.array_equal(codes_of(own, factor), native[:, rows][:, :, columns])


def test_nearest_to_mean_equals_a_search_written_out(own: Cube) -> None:
    own.build_overviews("nearest_to_mean", smallest=100)
    below, got = codes_of(own, 2), codes_of(own, 4)
    for y, x in np.random.default_rng(0).integers(0, 83, (60, 2)):
        square = below[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].reshape(12, -1)
        square = square[:, (square != FILL).all(axis=0)]
        if square.shape[1] == 0:
            assert (got[:, y, x] == FILL).all()
            continue
        points = own.codec.embed(square).astype(float).transpose(1, 0, 2).reshape(square.shape[1], -1)
        distance = ((points - points.mean(axis=0)) ** 2).sum(axis=1)
        assert np.isclose(distance[(square == got[:, y, x, None]).all(axis=0)].min(), distance.min())


def test_a_pixel_of_no_data_does_not_pull_the_mean() -> None:
    codec = random_codec(seed=0)
    codes = np.full((12, 2, 2), FILL, dtype=np.uint16)
    assert (nearest_to_mean(codes, codec) == FILL).all()
    codes[:, 1, 0] = 17
    assert (nearest_to_mean(codes, codec) == 17).all()
    codes[:] = 4000
    codes[:, 0, 0] = 3
    assert (nearest_to_mean(codes, codec) == 4000).all()


@pytest.mark.parametrize("policy", ["nearest", "nearest_to_mean"])
def test_every_code_of_an_overview_is_a_code_of_its_square(own: Cube, policy: str) -> None:
    own.build_overviews(policy, smallest=100)
    native, got = codes_of(own, 1), codes_of(own, 4)
    for y, x in np.random.default_rng(1).integers(0, 83, (60, 2)):
        square = native[:, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].reshape(12, -1)
        assert (square == got[:, y, x, None]).all(axis=0).any()


def test_the_policy_is_told_and_plain_xarray_reads_it(own: Cube) -> None:
    own.build_overviews("nearest_to_mean", smallest=100)
    with xr.open_zarr(own.path, group=f"{own.grid()}/overviews/4", consolidated=False, chunks=None) as dataset:
        assert dataset.attrs["esd:overview"] == {"factor": 4, "policy": "nearest_to_mean"}
        assert dataset.codes.shape == (2, 12, 84, 101)
        assert dataset.attrs["spatial:transform"][0] == 120
    sizes = own.bytes_on_disk()
    assert 0 < sizes["overviews"] < sizes["codes"]
    with pytest.raises(CubeError, match="nearest_to_mean"):
        own.build_overviews("average")
    with pytest.raises(GridError, match="not in"):
        own.geobox("epsg32633/overviews/64")


def test_coarser_pixels_are_answered_from_overviews_and_say_so(own: Cube) -> None:
    image, grid = own.image(2004).embedding().max(), own.grids[own.grid()]
    coarse = overview_geobox(grid, 4)
    assert not image.compute(coarse).approximate
    own.build_overviews("nearest", smallest=100)
    rough, exact = image.compute(coarse), image.compute(coarse, exact=True)
    assert (rough.approximate, exact.approximate) == (True, False)
    assert np.array_equal(rough.values[..., :-1, :-1], exact.values[..., :-1, :-1])
    assert not image.compute().approximate
    finer = geobox_from_bounds(500_000, 5_000_000, 503_000, 5_003_000, "EPSG:32633", 45)
    assert not image.compute(finer).approximate
    assert image.tile(9, 277, 183).approximate
    assert not image.tile(14, 8876, 5882).approximate
    assert not (own.plane("count", 2004).max() + image["e0"]).compute(coarse).approximate


def test_what_was_written_since_is_not_answered_from_before(own: Cube) -> None:
    own.build_overviews("nearest", smallest=100)
    name, window = own.grid(), own.window(2004)
    changed, other = own.blocks(name)[0], own.blocks(name)[-1]
    new = np.full((12, *changed.shape), 5, dtype=np.uint16)
    own.write_block(name, window, changed, new, new.astype(np.uint8), new[0].astype(np.uint8))
    assert own.overviews(name, window, changed) == ()
    assert own.overviews(name, window, other) == own.overviews(name, dt.date(2005, 1, 1), changed) == (2, 4, 8)
    coarse = overview_geobox(own.grids[name], 4)
    fresh = own.image(2004).embedding().max().compute(coarse)
    assert not fresh.approximate
    own.build_overviews("nearest", smallest=100)
    rebuilt = own.image(2004).embedding().max().compute(coarse)
    assert rebuilt.approximate
    assert np.array_equal(rebuilt.values[..., :-1, :-1], fresh.values[..., :-1, :-1])
    native = codes_of(own, 1)
    assert np.array_equal(codes_of(own, 2)[:, :128, :128], native[:, 1:256:2, 1:256:2])
    assert own.overviews(name, window, Region(0, 10, 0, 10)) == own.overviews(name)


def test_a_small_grid_needs_none(cube: Cube) -> None:
    assert cube.build_overviews() == ()
    assert cube.overviews(cube.grid()) == ()
