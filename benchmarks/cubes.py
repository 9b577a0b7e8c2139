"""A local cube of random codes for the benchmarks, by the default codec or the one that ESD_CODEC names."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import numpy as np

from esd.codec import Codec
from esd.cube import Cube
from esd.encoder.weights import DEFAULT, find
from esd.grid import geobox_from_bounds

__all__ = ["chosen_codec", "local_cube"]


def chosen_codec() -> Codec:
    """Return the codec that ESD_CODEC names, by name or path, or the default one."""
    return Codec.load(find(os.environ.get("ESD_CODEC", DEFAULT)))


def local_cube(path: Path, side: int, block: int = 512, codec: Codec | None = None) -> Cube:
    """Make a cube of one window, 2004, of random codes; a tenth of the pixels have no data."""
    codec = codec or chosen_codec()
    rng = np.random.default_rng(0)
    grid = geobox_from_bounds(500_000, 5_000_000, 500_000 + 30 * side, 5_000_000 + 30 * side, "EPSG:32633", 30)
    cube = Cube.create(path, grid, [dt.date(2004, 1, 1)], codec, block=block)
    name = cube.grid()
    for region in cube.blocks(name):
        codes = rng.integers(0, codec.fsq.size, (codec.steps, *region.shape)).astype(codec.code_dtype)
        codes[:, rng.random(region.shape) < 0.1] = codec.fill
        count = np.ones(codes.shape, dtype=np.uint8)
        cube.write_block(name, cube.windows[0], region, codes, count, np.zeros(region.shape, dtype=np.uint8))
    return cube
