"""Codec files with random weights, so that tests run real arithmetic without training."""

from __future__ import annotations

import json

import numpy as np
from safetensors.numpy import save

from esd.codec import Codec
from esd.dekad import BANDS, DEKADS, STEPS

LEVELS = (8, 8, 8, 5, 5, 5)


def random_codec(
    seed: int = 0,
    name: str = "random",
    levels: tuple[int, ...] = LEVELS,
    width: int = 12,
    scale: tuple[float, ...] | None = None,
) -> Codec:
    """Return a small codec with every kind of layer; the same seed gives the same bytes."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}

    def dense(key: str, *shape: int) -> None:
        spread = 1.5 / np.sqrt(np.prod(shape[1:]))
        tensors[f"{key}.weight"] = (rng.normal(size=shape) * spread).astype(np.float32)
        tensors[f"{key}.bias"] = (rng.normal(size=shape[0]) * 0.1).astype(np.float32)

    dense("in", width, 2 * len(BANDS), 3)
    dense("fold", width, 3 * width)
    dense("mix.0", 8, STEPS)
    dense("mix.1", STEPS, 8)
    for part in ("res.0", "res.1"):
        dense(part, width, width, 3)
    dense("bottleneck", len(levels), width)
    dense("lift", width, len(levels))
    dense("back.0", width, width, 3)
    dense("back.1", width, width, 3)
    dense("out", 3 * len(BANDS), width)
    spec = {
        "id": name,
        "format": 1,
        "levels": list(levels),
        "bands": list(BANDS),
        "steps": STEPS,
        "dekads": DEKADS,
        "mean": [0.05, 0.08, 0.08, 0.25, 0.2, 0.12],
        "std": [0.04, 0.04, 0.05, 0.1, 0.1, 0.08],
        "encoder": [
            {"op": "conv", "name": "in"},
            {"op": "relu"},
            {"op": "fold", "name": "fold"},
            {"op": "mix", "name": "mix"},
            {"op": "residual", "name": "res"},
            {"op": "linear", "name": "bottleneck"},
        ],
        "decoder": [
            {"op": "linear", "name": "lift"},
            {"op": "residual", "name": "back"},
            {"op": "unfold", "name": "out"},
        ],
        "card": {},
    } | ({} if scale is None else {"scale": scale})
    return Codec(save(tensors, {"esd": json.dumps(spec)}))
