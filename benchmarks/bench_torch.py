"""The codec in torch beside the runtime without it, in turns: encode, decode in full, decode fast.

    python benchmarks/bench_torch.py [--device auto] [--threads 1]

The shipped codec of 24 bytes, or the one that ESD_CODEC names. NumPy takes one thread; torch the device, or as many threads
as are given. One JSON line: millions of pixel-years a minute of time passed, what share of NumPy's time torch takes, and
what share of the codes is another one.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import numpy as np
import torch
from bench_codec import measured_codec
from common import interleaved, medians, print_json

from esd.encoder.device import DEVICES, device_name
from esd.encoder.torch_codec import TorchCodec

PIXELS = 16384


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    codec, rng = measured_codec(), np.random.default_rng(0)
    other = TorchCodec(codec, given.device)
    values = rng.random((36, 6, PIXELS), dtype=np.float32)
    weights = rng.integers(0, 2, values.shape, dtype=np.uint8)
    codes = codec.encode(values, weights)
    tasks: dict[str, tuple[Any, Any]] = {
        "encode": (partial(codec.encode, values, weights), partial(other.encode, values, weights)),
        **{
            name: (partial(codec.decode, codes, decoder=name), partial(other.decode, codes, name)) for name in codec.decoders
        },
    }
    result: dict[str, Any] = {
        "codec": codec.id,
        "device": device_name(other.device),
        "codes that differ": float(np.mean(codes != other.encode(values, weights))),
    }
    for name, (numpy_task, torch_task) in tasks.items():
        pair = {"numpy": numpy_task, "torch": torch_task}
        times = medians(interleaved(pair, seconds=10.0, least=3, elsewhere=True), unit=1.0)
        result[name] = {
            "million_pixel_years_a_minute": {key: round(PIXELS / time * 60 / 1e6, 2) for key, time in times.items()},
            "share_of_numpys_time": round(times["torch"] / times["numpy"], 3),
        }
    print_json("torch", result)


if __name__ == "__main__":
    main()
