"""Cubes whose codes a test chooses."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import numpy.typing as npt

from esd.codec import Codec
from esd.cube import Cube
from esd.grid import geobox_from_bounds


def cube_of(path: Path, codec: Codec, codes: dict[int, npt.NDArray[np.unsignedinteger]], block: int = 256) -> Cube:
    """Write a cube in UTM 33N, 30 m, of the codes [steps, y, x] of each year."""
    rows, columns = next(iter(codes.values())).shape[1:]
    grid = geobox_from_bounds(500_000, 5_000_000, 500_000 + 30 * columns, 5_000_000 + 30 * rows, "EPSG:32633", 30)
    cube = Cube.create(path, grid, [dt.date(year, 1, 1) for year in codes], codec, block=block)
    name = cube.grid()
    for window, values in zip(cube.windows, codes.values(), strict=True):
        for region in cube.blocks(name):
            inside = (..., *region.slices)
            count = np.ones((codec.steps, *region.shape), dtype=np.uint8)
            cube.write_block(name, window, region, values[inside], count, np.zeros(region.shape, dtype=np.uint8))
    return cube


def random_codes(codec: Codec, rows: int, columns: int, seed: int = 0) -> npt.NDArray[np.unsignedinteger]:
    """Return random codes [steps, rows, columns], all of them legal."""
    return np.random.default_rng(seed).integers(0, codec.fsq.size, (codec.steps, rows, columns)).astype(codec.code_dtype)
