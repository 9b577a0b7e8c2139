"""A local cube of random codes for the benchmarks, by the trained codec where it is there."""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path

import numpy as np

from esd.codec import Codec
from esd.cube import Cube
from esd.grid import geobox_from_bounds

__all__ = ["local_cube", "looking_codec", "trained_codec"]

ROOT = Path(__file__).parent.parent


def trained_codec() -> Codec:
    """Return the codec named by ESD_CODEC, the one that is installed, or a small random one."""
    named = [Path(os.environ["ESD_CODEC"])] if "ESD_CODEC" in os.environ else []
    for path in [*named, *sorted((ROOT / "encoder" / "weights").glob("*.safetensors"))]:
        return Codec.load(path)
    sys.path.insert(0, str(ROOT / "tests"))
    from random_codecs import random_codec

    return random_codec(0)


def looking_codec() -> Codec:
    """Return the trained codec if it has a fast decoder, else one with random weights in the shapes planned for it."""
    codec = trained_codec()
    if "fast" in codec.decoders:
        return codec
    sys.path.insert(0, str(ROOT / "tests"))
    from random_ladder import ladder_codec

    return ladder_codec(24, fast=256, full=640)


def local_cube(path: Path, side: int, block: int = 512, codec: Codec | None = None) -> Cube:
    """Make a cube of one window, 2004, of random codes; a tenth of the pixels have no data."""
    codec = codec or trained_codec()
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
