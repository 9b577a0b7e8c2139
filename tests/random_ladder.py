"""Codecs of format 2 with random weights, one for each rung of the ladder, in the shapes that trained ones have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.codec import Codec
from esd.dekad import BANDS, DEKADS
from esd.encoder.export import codec_file

RUNGS: dict[int, tuple[int, tuple[int, ...]]] = {
    6: (6, (8, 6, 5)),
    12: (12, (8, 6, 5)),
    24: (12, (8, 8, 8, 5, 5, 5)),
    36: (18, (8, 8, 8, 5, 5, 5)),
}
"""Steps and FSQ levels by bytes a pixel-year."""

MEAN, STD = (0.05, 0.08, 0.08, 0.25, 0.2, 0.12), (0.04, 0.04, 0.05, 0.1, 0.1, 0.08)


class _Network:
    """Layers with random weights, collected under the names that the codec file gives them."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: dict[str, npt.NDArray[np.float32]] = {}

    def weights(self, name: str, *shape: int, scale: float = 1.4) -> None:
        deviation = scale / np.sqrt(np.prod(shape[1:]))
        self.tensors[f"{name}.weight"] = (self.rng.normal(size=shape) * deviation).astype(np.float32)
        self.tensors[f"{name}.bias"] = (self.rng.normal(size=shape[0]) * 0.05).astype(np.float32)

    def layer(self, operation: str, name: str, *shape: int) -> dict[str, str]:
        self.weights(name, *shape)
        return {"op": operation, "name": name}

    def residual(self, name: str, width: int, hidden: int) -> dict[str, str]:
        self.weights(f"{name}.0", hidden, width, 1)
        self.weights(f"{name}.1", width, hidden, 1, scale=0.7)
        return {"op": "residual", "name": name}

    def encoder(self, steps: int, dims: int, width: int) -> list[dict[str, str]]:
        features = DEKADS // steps * 2 * len(BANDS)
        self.weights("encoder.mix.0", 2 * steps, steps)
        self.weights("encoder.mix.1", steps, 2 * steps)
        return [
            self.layer("fold", "encoder.fold", width, features),
            {"op": "mix", "name": "encoder.mix"},
            self.residual("encoder.residual", width, 2 * width),
            self.layer("linear", "encoder.out", dims, width),
        ]

    def dense(self, name: str, dims: int, width: int, deep: bool) -> list[dict[str, str]]:
        middle = [self.residual(f"{name}.residual", width, width)] if deep else []
        return [
            self.layer("flatten", f"{name}.in", width, dims),
            *middle,
            {"op": "relu"},
            self.layer("expand", f"{name}.out", DEKADS * len(BANDS), width),
        ]


def ladder_codec(
    rung: int = 24,
    seed: int = 0,
    fast: int | None = 12,
    full: int = 24,
    uncertainty: bool = True,
    half: bool = True,
    name: str | None = None,
    levels: Sequence[int] | None = None,
) -> Codec:
    """Return a codec of so many bytes a pixel-year; `fast` and `full` are the widths of its decoders (fast None: none)."""
    steps, standard = RUNGS[rung]
    levels = levels or standard
    network = _Network(seed)
    dims = steps * len(levels)
    layers: dict[str, Any] = {"full": network.dense("full", dims, full, deep=True)}
    if fast is not None:
        layers["fast"] = network.dense("fast", dims, fast, deep=False)
    sure = (network.dense("sure", dims, 8, deep=False), 1.7) if uncertainty else None
    encoder = network.encoder(steps, len(levels), 16)
    return Codec(
        codec_file(
            name or f"ladder{rung}",
            levels=levels,
            steps=steps,
            mean=MEAN,
            std=STD,
            encoder=encoder,
            decoders=layers,
            uncertainty=sure,
            tensors=network.tensors,
            half=half,
            scale=[1.75 / (dim + 1) for dim in range(len(levels))],
        )
    )
