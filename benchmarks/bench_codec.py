"""The codec without torch, one thread: encode, decode in full, decode fast, one date of one tile; each beside its floor.

    python benchmarks/bench_codec.py [../shared/data/landsat8_pantanal_dev.parquet]

The shipped codec of 24 bytes, or the one that ESD_CODEC names: one of the package or a file. The floor is the time of the
matrix products alone, one product a layer over the same pixels, measured in turns with the codec. Of a table of pixels it
tells how many times as long encoding takes where codes are refined: that depends on how far off they are. One JSON line.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import interleaved, medians, print_json

from esd.codec import BATCH, Codec
from esd.encoder.weights import find
from esd.layers import Layers, apart_from, split_tail
from esd.refining import EFFORTS
from esd.series import dekads_from_table, read_table

SIDE = 256
DATE = 18
PIXELS = {"encode": 4096, "full": 8192, "fast": SIDE * SIDE, "refined": 1024}

Products = list[tuple[tuple[int, int], int]]
"""Matrix products of a part: shape of the weights, and how many columns of them a pixel has."""
DATES, ALL_BANDS = range(36), range(6)
JOINING = ("fold", "flatten", "above")


def measured_codec() -> Codec:
    """Return the codec named by ESD_CODEC, or the shipped one of 24 bytes."""
    return Codec.load(find(os.environ.get("ESD_CODEC", "esd24")))


def mixed_rows(codec: Codec, after: Mapping[str, Any], channels: int, wanted: int) -> int:
    """Return how many time steps a mixing layer computes for the `wanted` ones of the layer after it; 0 for all."""
    return wanted * codec.tensors[f"{after['name']}.weight"].shape[1] // channels if after["op"] in JOINING else 0


def through(codec: Codec, layers: Layers, steps: int, channels: int, apart: int, wanted: int | None) -> Products:
    """Return the products of layers; from place `apart` on only `wanted` time steps are computed (None: all)."""
    found: Products = []
    for place, layer in enumerate(layers):
        name = layer.get("name", "")
        for key in (f"{name}.weight", f"{name}.0.weight", f"{name}.1.weight"):
            weight = codec.tensors.get(key)
            if weight is None or not name:
                continue
            rows, columns = weight.shape[0], weight.size // weight.shape[0]
            if wanted is not None and place + 1 == apart and layer["op"] == "mix" and key.endswith("1.weight"):
                rows = mixed_rows(codec, layers[apart], channels, wanted) or rows
            if layer["op"] in JOINING:
                steps = steps * channels // columns
            if wanted is not None and place >= apart:
                steps = wanted
            found.append(((rows, columns), channels if layer["op"] == "mix" else steps))
            if layer["op"] in ("unfold", "expand"):
                steps, rows = 36, rows * steps // 36
            channels = channels if layer["op"] in ("mix", "residual") else rows
    return found


def products(codec: Codec, part: str, dekads: Sequence[int] = DATES, bands: Sequence[int] = ALL_BANDS) -> Products:
    """Return the matrix products of a part of a codec; those that some dekads and bands need, for a decoder."""
    if part == "encoder":
        return through(codec, codec.layers[part], 36, 12, 0, None)
    body, tail = split_tail(codec.layers[part], codec.tensors, codec.std, codec.mean)
    narrow = tail.narrowed(dekads, bands)
    wanted = None if narrow.times is None else len(narrow.times)
    last = [((weight.shape[0] * weight.shape[1], weight.shape[2]), 1) for weight, _ in narrow.products]
    return through(codec, body, codec.steps, codec.fsq.dims, apart_from(body, codec.tensors), wanted) + last


def floor(found: Products, pixels: int) -> Callable[[], object]:
    """Return a task that does the products of so many pixels, a batch at a time, and nothing else."""
    rng = np.random.default_rng(0)
    layers = []
    for (rows, columns), each in found:
        weight = rng.random((rows, columns), dtype=np.float32)
        given = rng.random((columns, each * BATCH), dtype=np.float32)
        layers.append((weight, given, np.empty((rows, each * BATCH), dtype=np.float32)))

    def run() -> None:
        for _ in range(pixels // BATCH):
            for weight, given, result in layers:
                np.matmul(weight, given, out=result)

    return run


def speed(task: Callable[[], object], found: Products, pixels: int) -> dict[str, float]:
    """Return millions of pixel-years a minute of processor time, and the share of the floor."""
    times = medians(interleaved({"ours": task, "floor": floor(found, pixels)}, seconds=4.0, least=3), unit=1.0)
    work = sum(rows * columns * each for (rows, columns), each in found)
    return {
        "million_pixel_years_a_minute": round(pixels / times["ours"] * 60 / 1e6, 3),
        "multiply_adds_a_pixel_year": work,
        "floor_share": round(times["floor"] / times["ours"], 3),
        "ms": round(times["ours"] * 1e3, 2),
    }


def refining(codec: Codec, table: Path) -> dict[str, float]:
    """Return how many times as long as by the encoder alone it takes to encode 1,024 pixel-years of a table, by effort."""
    series = dekads_from_table(read_table(table))
    chosen = np.sort(np.random.default_rng(0).permutation(len(series))[: PIXELS["refined"]])
    values, weights = series.values[..., chosen], series.weights[..., chosen]
    tasks = {f"refine {effort}": partial(codec.encode, values, weights, effort) for effort in range(len(EFFORTS))}
    times = medians(interleaved(tasks, seconds=10.0, least=3))
    return {name: round(time / times["refine 0"], 1) for name, time in times.items() if name != "refine 0"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, nargs="?")
    table = parser.parse_args().table
    codec, rng = measured_codec(), np.random.default_rng(0)
    codes = rng.integers(0, codec.fsq.size, (codec.steps, SIDE * SIDE)).astype(codec.code_dtype)
    values = rng.random((36, 6, PIXELS["encode"]), dtype=np.float32)
    weights = rng.integers(0, 2, values.shape, dtype=np.uint8)
    encode = products(codec, "encoder")
    result: dict[str, Any] = {
        "codec": codec.id,
        "encode": speed(lambda: codec.encode(values, weights), encode, PIXELS["encode"]),
    }
    for decoder in codec.decoders:
        part, found = codes[:, : PIXELS[decoder]], products(codec, decoder)
        result[decoder] = speed(partial(codec.decode, part, decoder=decoder), found, PIXELS[decoder])
    quick = codec.decoders[-1]
    for decoder in codec.decoders:
        task = partial(codec.decode, codes, [DATE], decoder=decoder)
        result[f"one date of {SIDE} x {SIDE}, {decoder}"] = speed(task, products(codec, decoder, [DATE]), SIDE * SIDE)
    result[f"red and nir of a year of {SIDE} x {SIDE}, {quick}"] = speed(
        lambda: codec.decode(codes, bands=["red", "nir"], decoder=quick), products(codec, quick, bands=[2, 3]), SIDE * SIDE
    )
    if table is not None:
        result["times as long as encoding alone"] = refining(codec, table)
    print_json("codec", result)


if __name__ == "__main__":
    main()
