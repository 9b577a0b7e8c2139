"""A large expression to a Zarr store within the memory allowed: seconds, and the resident memory that was measured.

The cube has the extent asked for and few written blocks; every pixel of it is computed all the same.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from esd.codec import Codec
from esd.cube import Cube
from esd.grid import GeoBox, Region, geobox_from_bounds

BLOCK = 512
WRITTEN = 12


def sparse_cube(path: Path, side: int, codec: Codec) -> Cube:
    """Make a cube of `side` x `side` pixels with a dozen blocks of random error counts along its diagonal."""
    grid: GeoBox = geobox_from_bounds(0, 0, 30 * side, 30 * side, "EPSG:32631", 30)
    cube = Cube.create(path, grid, [dt.date(2004, 1, 1)], codec, block=BLOCK)
    rng = np.random.default_rng(0)
    blocks = cube.blocks(cube.grid())
    across = -(-side // BLOCK)
    for i in range(0, across, max(across // WRITTEN, 1)):
        block = blocks[i * across + i]
        codes = np.zeros((12, *block.shape), dtype=np.uint16)
        error = rng.integers(0, 255, block.shape).astype(np.uint8)
        cube.write_block(cube.grid(), cube.windows[0], block, codes, codes.astype(np.uint8), error)
    return cube


def right(cube: Cube, store: Path) -> bool:
    """Compare a written block of the result with NumPy, and count all that is valid."""
    import zarr

    array: Any = zarr.open_group(store, mode="r")["scaled"]
    block = cube.blocks(cube.grid())[0]
    error = cube.read("error", cube.grid(), cube.windows[0], block)
    expected = (error.astype(np.float32) * np.float32(0.0005) * 3 + 1)[None]
    corner = Region(cube.geobox(cube.grid()).shape.y - 64, cube.geobox(cube.grid()).shape.y, 0, 64)
    empty = bool(np.isnan(array[(0, *corner.slices)]).all())
    return empty and bool(np.array_equal(array[(slice(None), *block.slices)], expected))


def random_codec() -> Codec:
    """Return the codec of the tests: real arithmetic, no training."""
    import sys

    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from random_codecs import random_codec as make

    codec: Codec = make(seed=0)
    return codec


def peak_rss() -> int:
    """Return the most bytes that this process had in memory; getrusage would tell its parent's, from before exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell VmHWM; this benchmark needs Linux")


def run(side: int, max_memory: int, threads: int | None = None) -> dict[str, Any]:
    """Write (error x 3 + 1) of a sparse cube to a Zarr store; return seconds and the peak of resident memory in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        cube = sparse_cube(Path(folder) / "sparse.esd.zarr", side, random_codec())
        image = (cube.plane("error", 2004) * 3 + 1).rename("scaled")
        begun = time.perf_counter()
        store = image.to_zarr(Path(folder) / "result.zarr", max_memory=max_memory, executor=threads)
        seconds = time.perf_counter() - begun
        checked = right(cube, store)
    return {
        "benchmark": "batch",
        "side": side,
        "max_memory": max_memory,
        "seconds": round(seconds, 1),
        "megapixels_per_second": round(side**2 / seconds / 1e6, 1),
        "peak_rss": peak_rss(),
        "right": checked,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=40_000, help="rows and columns of the cube")
    parser.add_argument("--max-memory", type=int, default=1_000_000_000, help="bytes")
    chosen = parser.parse_args()
    print(json.dumps(run(chosen.side, chosen.max_memory)))
