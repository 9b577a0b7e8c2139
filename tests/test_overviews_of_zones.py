"""Overviews of cubes of several grids: each has its own, and a coarse look at all of them is answered from these."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
from random_codecs import random_codec
from test_zones import EDGE, LATITUDE, lonlat_of

from esd.cube import Cube
from esd.grid import Region, geobox_from_bounds, sub_geobox
from esd.overviews import overview_geobox

STRIPE = 0.004
"""Degrees; ten pixels or more."""


def code_at(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """The code of a place."""
    return (np.floor(longitude / STRIPE).astype(int) * 300 + np.floor(latitude / STRIPE).astype(int)) % 60_000


def cube_of(path: Path, grids: dict) -> Cube:
    """Codes that tell the place, the same in all grids: whichever group answers, it is known what it has to say."""
    cube = Cube.create(path, grids, [dt.date(2004, 1, 1)], random_codec(), 256)
    for name in cube.grids:
        for region in cube.blocks(name):
            codes = code_at(*lonlat_of(sub_geobox(cube.grids[name], region)))
            codes = np.broadcast_to(codes, (12, *region.shape)).astype(np.uint16)
            plain = np.ones(codes.shape, np.uint8)
            cube.write_block(name, cube.windows[0], region, codes.copy(), plain, plain[0])
    return Cube.open(path)


def look(cube: Cube, factor: int) -> None:
    """Look at a cube by its overviews: what is shown lies within a pixel of the look."""
    grid = overview_geobox(cube.whole_grid(), factor)
    image = cube.image(2004)
    assert not image.compute(grid).approximate
    assert cube.build_overviews("nearest", smallest=60) == (2, 4)
    told, exact = image.compute(grid), image.compute(grid, exact=True)
    assert told.approximate
    assert not exact.approximate
    assert image.compute(grid, tile=16).values.tobytes() == told.values.tobytes()
    assert (told.valid != exact.valid).mean() < 0.05  # along the edges
    longitude, latitude = lonlat_of(grid)
    metres = 30 * factor
    near = [
        code_at(longitude + right * metres / 74_400, latitude + up * metres / 111_200)
        for right in (-1, 0, 1)
        for up in (-1, 0, 1)
    ]
    assert (told.values[:, 0] == np.stack(near)[:, None]).any(axis=0)[:, told.valid[0, 0]].all()


def test_two_zones_are_shown_from_their_overviews(tmp_path: Path) -> None:
    from pyproj import Transformer

    grids = {}
    for epsg in (32633, 32634):
        x, y = Transformer.from_crs("EPSG:4326", epsg, always_xy=True).transform(EDGE, LATITUDE)
        left, top = round(x / 30) * 30 - 30 * 90, round(y / 30) * 30 + 30 * 90
        grids[f"epsg{epsg}"] = geobox_from_bounds(left, top - 30 * 180, left + 30 * 180, top, f"EPSG:{epsg}", 30)
    look(cube_of(tmp_path / "z.esd.zarr", grids), 4)


def test_tiles_whose_overviews_do_not_fit_are_put_to_the_nearest_pixel(tmp_path: Path) -> None:
    base = geobox_from_bounds(700_000, 5_300_000, 700_000 + 30 * 330, 5_300_000 + 30 * 180, "EPSG:32633", 30)
    grids = {"a": sub_geobox(base, Region(0, 180, 0, 180)), "b": sub_geobox(base, Region(3, 178, 157, 330))}
    cube = cube_of(tmp_path / "t.esd.zarr", grids)
    look(cube, 4)
    assert cube.overviews("a") == cube.overviews("b") == (2, 4)
