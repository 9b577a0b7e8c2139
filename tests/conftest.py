"""Fixtures that all tests share."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from random_codecs import random_codec

from esd.codec import Codec
from esd.cube import Cube
from esd.grid import geobox_from_bounds

settings.register_profile("esd", deadline=None, derandomize=True)
settings.load_profile("esd")

os.environ.setdefault("ESD_CHECK", "1")  # the engine's spec is checked between all passes

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def _compiled_code_stays_here(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep compiled code out of the user's own cache."""
    os.environ["ESD_CACHE"] = str(tmp_path_factory.mktemp("esd-cache"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real satellite data; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("ESD_SHARED", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("real satellite data are absent; set ESD_SHARED to their folder to run this test")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server on this machine; modules that use it are marked `s3_world.needs_s3`."""
    from s3_world import s3_server

    with s3_server(tmp_path_factory.mktemp("moto") / "log") as address:
        yield address


@pytest.fixture(scope="session")
def codec() -> Codec:
    """A small codec with random weights: real arithmetic, no training."""
    return random_codec(seed=0)


@pytest.fixture(scope="session")
def make_cube(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Cube]:
    """Return a function that makes a cube of random codes with some pixels of no data."""

    def make(
        codec: Codec, rows: int = 200, columns: int = 230, years: tuple[int, ...] = (2004, 2005), seed: int = 0
    ) -> Cube:
        rng = np.random.default_rng(seed)
        grid = geobox_from_bounds(500_000, 5_000_000, 500_000 + 30 * columns, 5_000_000 + 30 * rows, "EPSG:32633", 30)
        path = tmp_path_factory.mktemp("cube") / "random.esd.zarr"
        cube = Cube.create(path, grid, [dt.date(year, 1, 1) for year in years], codec, block=256)
        name = cube.grid()
        for window in cube.windows:
            codes = rng.integers(0, codec.fsq.size, (codec.steps, rows, columns)).astype(codec.code_dtype)
            codes[:, rng.random((rows, columns)) < 0.1] = codec.fill
            count = rng.integers(0, 4, codes.shape).astype(np.uint8)
            error = rng.integers(0, 256, (rows, columns)).astype(np.uint8)
            for block in cube.blocks(name):
                inside = (..., *block.slices)
                cube.write_block(name, window, block, codes[inside], count[inside], error[inside])
        return cube

    return make


@pytest.fixture(scope="session")
def cube(codec: Codec, make_cube: Callable[..., Cube]) -> Cube:
    """A cube of random codes: 200 x 230 pixels, windows 2004 and 2005."""
    return make_cube(codec)
