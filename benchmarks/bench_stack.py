"""NDVI, then the median of 23 dates, of 2 bands of 4096 x 4096 pixels in a Zarr store: this engine against xarray with dask.

Each side runs in processes of its own, in turns, on the same chunks: processor seconds, wall seconds, peak memory, and for
this engine the share of the processor seconds that reading and decompressing alone takes, and those of Blosc itself in one
thread, below which no reader gets. `--side` makes it smaller, `--codec` chooses what the chunks are compressed by. One JSON
line.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import print_json

DATES, CHUNK = 23, 256
BANDS = ("red", "nir")


def grid_of(side: int) -> Any:
    from esd.grid import geobox_from_bounds

    return geobox_from_bounds(0, 0, side * 30, side * 30, "EPSG:32633", 30)


def write_store(path: Path, side: int, codec: str) -> None:
    """Write smooth fields with noise as uint16 reflectance x 10,000, a tenth of the dates of each pixel in cloud (0)."""
    import zarr
    from zarr.codecs import BloscCodec

    rng = np.random.default_rng(0)
    array = zarr.create_group(path).create_array(
        "reflectance",
        shape=(DATES, 2, side, side),
        chunks=(DATES, 2, CHUNK, CHUNK),
        dtype="uint16",
        fill_value=0,
        compressors=BloscCodec(cname=codec, clevel=3, shuffle="bitshuffle"),
        dimension_names=("time", "band", "y", "x"),
    )
    season = np.sin(np.linspace(0, np.pi, DATES)).reshape(-1, 1, 1, 1)
    for row in range(0, side, CHUNK):
        for column in range(0, side, CHUNK):
            base = rng.uniform(500, 2500, (1, 2, CHUNK // 16, CHUNK // 16)).repeat(16, axis=2).repeat(16, axis=3)
            values = base * (1 + season * np.array([-0.3, 0.8]).reshape(1, 2, 1, 1)) + rng.normal(
                0, 30, (DATES, 2, CHUNK, CHUNK)
            )
            values *= rng.random((DATES, 1, CHUNK, CHUNK)) > 0.1
            array[:, :, row : row + CHUNK, column : column + CHUNK] = np.clip(values, 0, 10_000).astype(np.uint16)


def with_esd(path: str, side: int) -> np.ndarray:
    import os

    from esd.stored import from_zarr

    os.environ["ESD_TIER"] = "compiled"
    days = [f"2004-{1 + i // 2:02d}-{1 + 15 * (i % 2):02d}" for i in range(DATES)]
    image = from_zarr(path, "reflectance", grid_of(side), BANDS, days, nodata=0).as_float32()
    result: np.ndarray = image.normalized_difference("nir", "red").median().compute(tile=CHUNK).values[0, 0]
    return result


def with_dask(path: str, _side: int) -> np.ndarray:
    import dask
    import xarray as xr

    data = xr.open_zarr(path, consolidated=False, mask_and_scale=False)["reflectance"]
    with dask.config.set(scheduler="threads", num_workers=2):
        values = data.where(data != 0).astype(np.float32)
        red, nir = values.isel(band=0), values.isel(band=1)
        result: np.ndarray = ((nir - red) / (nir + red)).median("time").compute().values
    return result


def only_read(path: str, side: int) -> np.ndarray:
    from esd.grid import region_of, tiles
    from esd.stored import from_zarr

    days = [f"2004-01-{1 + i:02d}" for i in range(DATES)]
    source = from_zarr(path, "reflectance", grid_of(side), BANDS, days).expr.args["source"]
    for region in tiles(region_of(source.grid), CHUNK):
        source.read(region)
    return np.zeros(1)


def only_decompress(path: str, _side: int) -> np.ndarray:
    from numcodecs import blosc

    blosc.use_threads = False
    chunk = np.empty((DATES, 2, CHUNK, CHUNK), dtype=np.uint16)
    for file in (Path(path) / "reflectance" / "c").rglob("*"):
        if file.is_file():
            blosc.decompress(file.read_bytes(), chunk)
    return chunk[0, 0]


RUNS: dict[str, Callable[[str, int], np.ndarray]] = {
    "esd": with_esd,
    "xarray_dask": with_dask,
    "read_only": only_read,
    "blosc_only": only_decompress,
}


def measure(name: str, path: str, side: int) -> dict[str, float]:
    """Run one side in this process, after a small store of one chunk.

    So neither imports nor compiling are in `cpu_s`, `wall_s` on either side; `process_cpu_s` is all that the process took.
    """
    RUNS[name](f"{path}.small", CHUNK)
    before, start = _cpu(), time.perf_counter()
    result = RUNS[name](path, side)
    found = {"cpu_s": _cpu() - before, "wall_s": time.perf_counter() - start, "process_cpu_s": _cpu()}
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**found, "mean": float(np.nanmean(result.astype(np.float64)))}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--codec", choices=("lz4", "zstd"), default="lz4")
    parser.add_argument("--run", choices=RUNS)
    parser.add_argument("--path")
    given = parser.parse_args()
    if given.run:
        print(json.dumps(measure(given.run, given.path, given.side)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stack.zarr"
        write_store(path, given.side, given.codec)
        write_store(Path(f"{path}.small"), CHUNK, given.codec)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in RUNS}
        for _ in range(given.repeats):
            for name in RUNS:
                command = [sys.executable, __file__, "--run", name, "--path", str(path), "--side", str(given.side)]
                result = subprocess.run(command, capture_output=True, text=True, check=True)
                found[name].append(json.loads(result.stdout))
    middle = {name: {key: round(median(run[key] for run in runs), 4) for key in runs[0]} for name, runs in found.items()}
    if abs(middle["esd"]["mean"] - middle["xarray_dask"]["mean"]) > 1e-4:
        raise SystemExit(f"the results differ: {middle}")
    cpu = {name: [run["cpu_s"] for run in runs] for name, runs in found.items()}
    times = median(dask / esd for dask, esd in zip(cpu["xarray_dask"], cpu["esd"], strict=True))
    share = median(read / esd for read, esd in zip(cpu["read_only"], cpu["esd"], strict=True))
    floor = median(blosc / esd for blosc, esd in zip(cpu["blosc_only"], cpu["esd"], strict=True))
    whole = middle["xarray_dask"]["process_cpu_s"] / middle["esd"]["process_cpu_s"]
    facts = {
        "side": given.side,
        "codec": given.codec,
        "times_fewer_cpu_s": round(times, 2),
        "times_fewer_process_cpu_s": round(whole, 2),
        "share_of_reading": round(share, 2),
        "share_of_blosc": round(floor, 2),
    }
    print_json("stack", {**facts, **middle})


if __name__ == "__main__":
    main()
