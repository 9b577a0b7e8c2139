"""The codec file: a trained network as one safetensors file that `esd.codec` reads without torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from esd.codec import FORMAT, Codec
from esd.dekad import BANDS, DEKADS
from esd.errors import EncoderError

if TYPE_CHECKING:
    from .model import ESDNet
    from .normalization import Normalization

__all__ = ["LARGEST_FILE", "codec_bytes", "codec_file", "write_whole"]

LARGEST_FILE = 3_000_000
"""Bytes that a codec file may have: every cube carries one."""

Layers = Sequence[Mapping[str, Any]]
Floats = npt.NDArray[np.float32]


def codec_file(
    name: str,
    *,
    levels: Sequence[int],
    steps: int,
    mean: Iterable[float],
    std: Iterable[float],
    encoder: Layers,
    decoders: Mapping[str, Layers],
    tensors: Mapping[str, Floats],
    uncertainty: tuple[Layers, float] | None = None,
    card: Mapping[str, Any] | None = None,
    half: bool = False,
    scale: Sequence[float] | None = None,
) -> bytes:
    """Return the bytes of a codec file, format 2.

    `decoders` are named "full" and, if there is another, "fast"; `uncertainty` is its layers and the factor from their exp,
    times the bands' deviations, to half the width of a 90 % interval. `scale` is what the numbers of a code weigh in its
    embedding, one for each level count; ones if it is not given. With `half` the weights are float16. The same
    arguments give the same bytes. Raises EncoderError if the file is larger than 3 MB or `esd.codec` does not read it.
    """
    spec = {
        "id": name,
        "format": FORMAT,
        "levels": [int(level) for level in levels],
        "bands": list(BANDS),
        "steps": steps,
        "dekads": DEKADS,
        "mean": [float(value) for value in mean],
        "std": [float(value) for value in std],
        "encoder": list(encoder),
        "decoders": {decoder: list(layers) for decoder, layers in decoders.items()},
        "card": dict(card or {}),
    }
    if scale is not None:
        spec["scale"] = [float(number) for number in scale]
    if uncertainty is not None:
        spec["uncertainty"] = {"layers": list(uncertainty[0]), "factor": float(uncertainty[1])}
    stored = np.float16 if half else np.float32
    weights = {key: np.ascontiguousarray(tensor, dtype=stored) for key, tensor in tensors.items()}
    if not all(np.isfinite(tensor).all() for tensor in weights.values()):
        raise EncoderError(f"codec {name!r} has weights that {np.dtype(stored)} does not hold; train it again")
    data = save(weights, metadata={"esd": json.dumps(spec, sort_keys=True)})
    if len(data) > LARGEST_FILE:
        raise EncoderError(f"codec {name!r} has {len(data)} bytes; make the layers narrower, at most {LARGEST_FILE} fit")
    Codec(data, name)
    return data


def codec_bytes(
    name: str,
    model: ESDNet,
    normal: Normalization,
    factor: float | None = None,
    card: Mapping[str, Any] | None = None,
    half: bool = True,
    scale: Sequence[float] | None = None,
) -> bytes:
    """Return the codec file of a network, float16 unless `half` is False; the other arguments as `codec_file` takes them.

    `factor` widens the intervals of a network that has an uncertainty; without one it is left out.
    """
    layers = model.specification()
    others = {part: listed for part, listed in layers.items() if part not in ("encoder", "uncertainty")}
    return codec_file(
        name,
        levels=model.levels,
        steps=model.steps,
        mean=normal.mean.tolist(),
        std=normal.std.tolist(),
        encoder=layers["encoder"],
        decoders=others,
        tensors={key: tensor.cpu().numpy() for key, tensor in model.tensors().items()},
        uncertainty=None if factor is None else (layers["uncertainty"], factor),
        card=card,
        half=half,
        scale=scale,
    )


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under another name, then put it in its place, so that nobody meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)
