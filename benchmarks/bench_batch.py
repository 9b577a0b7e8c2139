"""A large expression to a Zarr store within the memory allowed: seconds, and the resident memory that was measured.

`errors` and `stored` have the extent asked for and few written blocks; every pixel is computed all the same. `decoded` runs
the decoder on random codes of the whole extent, which is for smaller ones.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from esd.codec import Codec
from esd.cube import Cube
from esd.grid import GeoBox, Region, geobox_from_bounds, sub_geobox
from esd.image import Image
from esd.stored import from_zarr

BLOCK = 512
WRITTEN = 12
Check = Callable[[Path], bool]


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


def scaled_errors(folder: Path, side: int) -> tuple[Image, Check]:
    """Return (error x 3 + 1) of a sparse cube, and what tells whether a store of it is right."""
    cube = sparse_cube(folder / "sparse.esd.zarr", side, random_codec())
    image = (cube.plane("error", 2004) * 3 + 1).rename("scaled")
    return image, lambda store: right(cube, store)


def stored_index(folder: Path, side: int) -> tuple[Image, Check]:
    """Return the largest index of three dates of somebody else's Zarr array, of which a dozen chunks are written."""
    import zarr
    from zarr.codecs import BloscCodec

    array: Any = zarr.create_group(folder / "stored").create_array(
        "v", shape=(3, 2, side, side), chunks=(3, 2, 256, 256), dtype="uint16", fill_value=1, compressors=BloscCodec()
    )
    values = np.random.default_rng(0).integers(0, 10_000, (3, 2, 256, 256)).astype(np.uint16)
    for start in range(0, side - 255, max(side // WRITTEN // 256, 1) * 256):
        array[:, :, start : start + 256, start : start + 256] = values
    grid = geobox_from_bounds(0, 0, 30 * side, 30 * side, "EPSG:32631", 30)
    image = from_zarr(folder / "stored", "v", grid, ("red", "nir"), ("2004-01-01", "2004-02-01", "2004-03-01"), nodata=0)
    index = image.as_float32().normalized_difference("nir", "red").max().rename("index")

    def check(store: Path) -> bool:
        red, nir = values[:, 0].astype(np.float32), values[:, 1].astype(np.float32)
        with np.errstate(all="ignore"):
            expected = np.where((values > 0).all(axis=1), (nir - red) / (nir + red), -np.inf).max(axis=0)
        found: Any = zarr.open_group(store, mode="r")["index"]
        known = np.isfinite(expected)
        return bool(np.array_equal(np.asarray(found[0, :256, :256])[known], expected[known]))

    return index, check


def decoded(folder: Path, side: int) -> tuple[Image, Check]:
    """Return the median index of a year of a cube of random codes, decoded."""
    import zarr

    sys.path.insert(0, str(Path(__file__).parent))
    from cubes import local_cube

    image = local_cube(folder / "codes.esd.zarr", side).image(2004).normalized_difference("nir", "red").median()
    corner = Region(0, 64, 0, 64)

    def check(store: Path) -> bool:
        found: Any = zarr.open_group(store, mode="r")[image.type.bands[0]]
        part = image.compute(sub_geobox(image.type.grid, corner)).masked[0, 0]  # type: ignore[arg-type]  # a cube's
        return bool(np.array_equal(np.ma.masked_invalid(found[0, :64, :64]).filled(-9), part.filled(-9)))

    return image, check


EXPRESSIONS: dict[str, Callable[[Path, int], tuple[Image, Check]]] = {
    "errors": scaled_errors,
    "stored": stored_index,
    "decoded": decoded,
}


def run(side: int, max_memory: int, threads: int | None = None, expression: str = "errors") -> dict[str, Any]:
    """Write one of the expressions to a Zarr store; return seconds and the peak of resident memory in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        image, check = EXPRESSIONS[expression](Path(folder), side)
        begun = time.perf_counter()
        store = image.to_zarr(Path(folder) / "result.zarr", max_memory=max_memory, executor=threads)
        seconds = time.perf_counter() - begun
        checked = check(store)
    return {
        "benchmark": "batch",
        "expression": expression,
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
    parser.add_argument("--expression", choices=EXPRESSIONS, default="errors")
    chosen = parser.parse_args()
    print(json.dumps(run(chosen.side, chosen.max_memory, expression=chosen.expression)))
