"""The codec file: a trained network as one safetensors file that `esd.codec` reads without torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save

from esd.codec import FORMAT, Codec
from esd.dekad import BANDS, DEKADS, STEPS
from esd.errors import EncoderError

from .model import ESDNet
from .normalization import Normalization

__all__ = ["LARGEST_FILE", "codec_bytes", "write_whole"]

LARGEST_FILE = 3_000_000
"""Bytes that a codec file may have: every cube carries one."""


def codec_bytes(name: str, model: ESDNet, normal: Normalization, card: Mapping[str, Any] | None = None) -> bytes:
    """Return the codec file of a network; `card` is free text and figures that travel with it.

    The same weights give the same bytes. Raises EncoderError if the file is larger than 3 MB or `esd.codec` does not
    read it.
    """
    spec = {
        "id": name,
        "format": FORMAT,
        "levels": [int(level) for level in model.levels],
        "bands": list(BANDS),
        "steps": STEPS,
        "dekads": DEKADS,
        "mean": [float(value) for value in normal.mean],
        "std": [float(value) for value in normal.std],
        **model.specification(),
        "card": dict(card or {}),
    }
    data = save(model.tensors(), metadata={"esd": json.dumps(spec, sort_keys=True)})
    if len(data) > LARGEST_FILE:
        raise EncoderError(f"codec {name!r} has {len(data)} bytes; make the layers narrower, at most {LARGEST_FILE} fit")
    Codec(data, name)
    return data


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under another name, then put it in its place, so that nobody meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)
