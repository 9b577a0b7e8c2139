"""How the evaluation talks to a codec: the one place that knows which decoders and intervals a codec may carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.codec import Codec
from esd.errors import EncoderError
from esd.refining import require_effort

from .weights import find

__all__ = ["FOLD", "Runtime", "runtimes"]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]
Codes = npt.NDArray[Any]


@dataclass(frozen=True)
class Runtime:
    """A codec as the evaluation uses it; `refine` is the effort of encoding (`Codec.encode`)."""

    codec: Codec
    refine: int = 0

    @property
    def id(self) -> str:
        """Name of the codec, and how it is refined, if it is."""
        return f"{self.codec.id}, refined {self.refine}" if self.refine else self.codec.id

    @property
    def size(self) -> float:
        """Bytes that the codes of a pixel-year take."""
        return self.codec.bytes_per_pixel_year

    @property
    def decoders(self) -> tuple[str, ...]:
        """The codec's decoders: "full", and "fast" where it carries one."""
        return self.codec.decoders

    def encode(self, values: Floats, weights: Weights) -> Codes:
        """Encode values and weights [36, 6, n] to codes [steps, n]."""
        return self.codec.encode(values, weights, self.refine)

    def embed(self, codes: Codes) -> Floats:
        """Return the numbers of codes [steps, n] as vectors [n, steps x dims], time slowest."""
        return np.moveaxis(self.codec.embed(codes), 1, 0).reshape(codes.shape[1], -1)

    def decode(self, codes: Codes, decoder: str = "full") -> Floats:
        """Decode codes [steps, n] to reflectance [36, 6, n]."""
        return self.codec.decode(codes, decoder=decoder)

    def interval(self, codes: Codes) -> Floats | None:
        """Return the half-width of the 90 % interval of reflectance, [36, 6, n]; None where the codec does not tell."""
        return self.codec.interval(codes) if self.codec.has_uncertainty else None


FOLD = "{n}"
"""What stands for the number of the fold in the name of codecs that were trained without that fold."""


def runtimes(name: str, folds: int = 5, refine: int = 0) -> tuple[Runtime, ...]:
    """Return the codec of a name or path; for a path such as "fold{n}.safetensors" one for each fold.

    Raises EncoderError if one is not there, if they are not of one kind (levels and bytes), or if there is no such effort.
    """
    require_effort(refine)
    if FOLD not in name:
        return (Runtime(Codec.load(find(name)), refine),)
    found = tuple(Runtime(Codec.load(find(name.replace(FOLD, str(fold)))), refine) for fold in range(folds))
    kinds = {(runtime.codec.fsq.levels, runtime.size) for runtime in found}
    if len(kinds) > 1:
        raise EncoderError(f"the codecs {name} are of {len(kinds)} kinds; folds need the same levels and steps")
    return found
