"""The embedding spaces that others have published: ESD's codes, AlphaEarth's and TESSERA's vectors.

Each is an encoder with an identity of its own and no networks, so that vectors of two of them never meet in one operator.
Sources: ESD's quantizer, arXiv 2601.11183 (levels, packing) and Mentzer et al. (FSQ, ICLR 2024); AlphaEarth Foundations'
data set documentation (Satellite Embedding V1); TESSERA's (one scale beside each pixel's vector).
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from .codec import Codec
from .dekad import BANDS, DEKADS, STEPS
from .errors import EncoderError

__all__ = ["ALPHAEARTH", "TESSERA", "EmbeddingSpace", "alphaearth_values", "embedding_space", "esd_quantizer"]

ALPHAEARTH, TESSERA = "alphaearth", "tessera"
DIMS = {ALPHAEARTH: 64, TESSERA: 128}
ESD_LEVELS = (8, 8, 8, 5, 5, 5)
ALPHAEARTH_NODATA = -128


@cache
def esd_quantizer(version: str = "v001") -> Codec:
    """Return the quantizer of the published ESD tiles: 64,000 codes, twelve steps, neither encoder nor decoder."""
    from safetensors.numpy import save

    spec = {
        "id": f"esd-{version}",
        "format": 2,
        "levels": list(ESD_LEVELS),
        "bands": list(BANDS),
        "steps": STEPS,
        "dekads": DEKADS,
        "encoder": [],
        "decoders": {},
        "without_networks": "the authors of ESD have published its codes but neither encoder nor decoder",
        "card": {"about": "Quantizer of the published ESD tiles", "source": "arXiv 2601.11183"},
    }
    return Codec(save({}, metadata={"esd": json.dumps(spec, sort_keys=True)}), f"esd-{version}")


class EmbeddingSpace(Codec):
    """An encoder whose vectors are known as numbers only, one a year: no codes, no networks; `dims` numbers a pixel."""

    def __init__(self, name: str, dims: int) -> None:
        self.spec: dict[str, Any] = {
            "id": name,
            "dims": dims,
            "steps": 1,
            "without_networks": f"{name} is known by its vectors only",
        }
        self.data = json.dumps(self.spec, sort_keys=True).encode()
        self.sha256 = hashlib.sha256(self.data).hexdigest()
        self.id, self.steps, self._dims = name, 1, dims
        self.bands, self.layers, self.decoders, self._scratch = (), {}, (), 0

    @property
    def dims(self) -> int:
        """How many numbers the embedding of one pixel and year has."""
        return self._dims

    @property
    def has_codes(self) -> bool:
        """Never: its embeddings are plain numbers."""
        return False

    def __getattr__(self, name: str) -> NoReturn:
        if name == "fsq":
            raise EncoderError(
                f"{self.id} has no codes, only vectors; use operators on embeddings (angle, distance, classify)"
            )
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


@cache
def embedding_space(product: str, version: str) -> EmbeddingSpace:
    """Return the space of a product and model version; those of another version are another space."""
    return EmbeddingSpace(f"{product}-{version}", DIMS[product])


def alphaearth_values(raw: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    """Return the numbers that AlphaEarth's bytes stand for: sign(q) (q / 127.5)**2, float32; 0 for no data, -128."""
    return _alphaearth_table()[raw.view(np.uint8)]


@cache
def _alphaearth_table() -> npt.NDArray[np.float32]:
    raw = np.arange(256, dtype=np.uint8).view(np.int8)
    number = raw.astype(np.float64)
    return np.where(raw == ALPHAEARTH_NODATA, 0, np.sign(number) * (number / 127.5) ** 2).astype(np.float32)
