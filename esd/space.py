"""What a number means, and the static type of an expression."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["CubeType", "Space"]


class Space(enum.Enum):
    """What the numbers of an image mean. CODES < EMBEDDING < REFLECTANCE can be converted upwards only."""

    CODES = "codes"
    """Indices of FSQ codes, uint8 or uint16: labels, on which arithmetic has no meaning."""
    EMBEDDING = "embedding"
    """FSQ values times the encoder's scale, float32, bands e0, e1, ... for each of its steps of a window, such as 12."""
    REFLECTANCE = "reflectance"
    """Surface reflectance, float32 0..1, six bands for each of 36 dekads."""
    VALUE = "value"
    """Anything computed."""
    NUMBER = "number"
    """Only as what an operator asks for: any space but CODES."""
    ANY = "any"
    """Only as what an operator asks for: any space."""


@dataclass(frozen=True)
class CubeType:
    """The static type of an expression: all checks run on it, without reading a pixel.

    Arrays of this type are [time, band, y, x]. `time` holds ISO dates; `grid` is None for constants, which fit every grid;
    `encoder` is the hash of the encoder for CODES and EMBEDDING, None otherwise.
    """

    grid: GeoBox | None
    time: tuple[str, ...]
    bands: tuple[str, ...]
    dtype: np.dtype[Any]
    space: Space
    encoder: str | None = None

    def with_(self, **changes: Any) -> CubeType:
        """Return the type with some fields changed."""
        return replace(self, **changes)

    @property
    def bytes_per_pixel(self) -> int:
        """Bytes that one pixel takes, its validity included."""
        return len(self.time) * len(self.bands) * (self.dtype.itemsize + 1)

    def describe(self) -> str:
        """Return the type in one short line."""
        shape = "any grid" if self.grid is None else f"{self.grid.shape.y} x {self.grid.shape.x}"
        bands = ", ".join(self.bands[:8]) + (", ..." if len(self.bands) > 8 else "")
        return f"{self.space.value} {self.dtype} [{len(self.time)} times, bands {bands}, {shape}]"
