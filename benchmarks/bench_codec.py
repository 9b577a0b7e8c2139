"""The codec without torch, one thread: encode, decode in full, decode fast, one date of one tile; each beside its floor.

Weights are random, in the shapes that the trained codec of 24 bytes has: `full` 72 -> 640, a residual of 640, -> 216
numbers, `fast` 72 -> 256 -> 216. The floor is the time of the matrix products alone, one product a layer over the same
pixels, measured in turns with the codec. ESD_CODEC names a codec file to be measured instead. One JSON line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import interleaved, medians, print_json

from esd.codec import BATCH, Codec

SIDE = 256
DATE = 18
PIXELS = {"encode": 4096, "full": 8192, "fast": SIDE * SIDE}

Products = list[tuple[tuple[int, int], int]]
"""Matrix products of a part: shape of the weights, and how many columns of them a pixel has."""


def measured_codec() -> Codec:
    """Return the codec named by ESD_CODEC, or one with random weights in the planned shapes."""
    if "ESD_CODEC" in os.environ:
        return Codec.load(os.environ["ESD_CODEC"])
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from random_ladder import ladder_codec

    return ladder_codec(24, fast=256, full=640)


def products(codec: Codec, part: str) -> Products:
    """Return the matrix products of a part of a codec."""
    steps, channels, found = (36, 12, []) if part == "encoder" else (codec.steps, codec.fsq.dims, [])
    for layer in codec.layers[part]:
        name = layer.get("name", "")
        for key in (f"{name}.weight", f"{name}.0.weight", f"{name}.1.weight"):
            weight = codec.tensors.get(key)
            if weight is None or not name:
                continue
            rows, columns = weight.shape[0], weight.size // weight.shape[0]
            each = channels if layer["op"] == "mix" else steps
            if layer["op"] in ("fold", "flatten"):
                steps = each = steps * channels // columns
            found.append(((rows, columns), each))
            if layer["op"] in ("unfold", "expand"):
                steps, rows = 36, rows * steps // 36
            channels = channels if layer["op"] in ("mix", "residual") else rows
    return found


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


def main() -> None:
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
        result[decoder] = speed(lambda c=part, d=decoder: codec.decode(c, decoder=d), found, PIXELS[decoder])
    quick = codec.decoders[-1]
    before, ((rows, columns), each) = products(codec, quick)[:-1], products(codec, quick)[-1]
    needed = [*before, ((rows // 36 * each, columns), 1)]
    result[f"one date of {SIDE} x {SIDE}, {quick}"] = speed(
        lambda: codec.decode(codes, [DATE], decoder=quick), needed, SIDE * SIDE
    )
    red_nir = [*before, ((rows // 3 * each, columns), 1)]
    result[f"red and nir of a year of {SIDE} x {SIDE}, {quick}"] = speed(
        lambda: codec.decode(codes, bands=["red", "nir"], decoder=quick), red_nir, SIDE * SIDE
    )
    print_json("codec", result)


if __name__ == "__main__":
    main()
