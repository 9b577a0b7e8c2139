"""Scenes: one acquisition (or composite) of one sensor, what a reader must do, and how raw numbers become reflectance.

A scene names its files and says how each is scaled; only the meaning of its quality bits is left to its reader.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from esd.dekad import BANDS
from esd.errors import SceneError
from esd.grid import Region

from .archive import Package

__all__ = ["LOWEST_REFLECTANCE", "Layer", "Observation", "Reader", "Scene"]

LOWEST_REFLECTANCE = -0.05
"""Below this the atmospheric correction has failed, whatever range the product allows: dropped. Water in the near
infrared is genuinely estimated a little below 0 and is kept."""

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Layer:
    """One raster of a scene: a band of BANDS, or a quality layer by its product's name.

    `index` is the band number in a GeoTIFF, from 1, or the data set's name in an HDF file. Reflectance is
    raw * scale + offset; `fill` and `saturated` are raw values that mean nothing, `valid` the raw range that does.
    A file whose numbers are of none of `dtypes` is damaged; without any, all are read.
    """

    name: str
    file: str
    index: int | str = 1
    scale: float = 1.0
    offset: float = 0.0
    fill: float | None = None
    saturated: float | None = None
    valid: tuple[float, float] | None = None
    dtypes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scene:
    """What is known of a scene without reading its pixels.

    `period` is the first and last day that its observations can be of; `acquired` the day that stands for them.
    `cloud_cover` is in percent, `sun_elevation` in degrees, None where the product does not tell. `notes` are lines
    that a person ought to read. `metadata` names the files that it was told by, beside those of its layers.
    """

    id: str
    product: str
    platform: str
    sensor: str
    acquired: dt.date
    period: tuple[dt.date, dt.date]
    geobox: GeoBox
    path: Path
    layers: tuple[Layer, ...]
    quality: tuple[Layer, ...] = ()
    cloud_cover: float | None = None
    sun_elevation: float | None = None
    notes: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands of BANDS that the scene has, in their order."""
        present = {layer.name for layer in self.layers}
        return tuple(band for band in BANDS if band in present)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the scene's own grid."""
        return self.geobox.shape.y, self.geobox.shape.x

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all files that reading it needs."""
        return tuple(dict.fromkeys(layer.file for layer in (*self.layers, *self.quality)))

    def quality_layer(self, name: str) -> Layer | None:
        """Return the quality layer of that name, None if the scene has none."""
        return next((layer for layer in self.quality if layer.name == name), None)


@dataclass(frozen=True)
class Observation:
    """A scene on a grid: reflectance float32 [6, y, x] and `clear` bool [6, y, x]; not clear means no observation.

    Reflectance is 0 where it is not clear. `day` int16 [y, x] counts days from the scene's first day to the pixel's
    own; None where the whole scene is of the one day `acquired`. `cloud` bool [y, x] is what the product's mask calls
    cloud or shadow; None without a mask.
    """

    reflectance: Floats
    clear: Bools
    day: npt.NDArray[np.int16] | None = None
    cloud: Bools | None = None


class Reader(Protocol):
    """Knows one product form."""

    @property
    def product(self) -> str:
        """The product's name, which its scenes carry."""
        ...

    def claims(self, package: Package) -> tuple[str, ...]:
        """Return the names of the files that each stand for one scene of this product; none if it has none."""
        ...

    def scan(self, package: Package, name: str) -> Scene:
        """Return the scene that the file `name` stands for, from metadata alone. Raises SceneError."""
        ...

    def read(self, scene: Scene, folder: Path, region: Region) -> Observation:
        """Read a region of the scene's own grid, its files lying in `folder`. Raises SceneError."""
        ...


def to_reflectance(layer: Layer, raw: npt.NDArray[np.generic]) -> tuple[Floats, Bools]:
    """Return the reflectance (float32, shape of `raw`) and which pixels hold one; 0 where they do not."""
    number = raw.astype(np.float32)
    reflectance = number * np.float32(layer.scale) + np.float32(layer.offset)
    good = np.isfinite(number) & (reflectance >= LOWEST_REFLECTANCE)
    for meaningless in (layer.fill, layer.saturated):
        if meaningless is not None:
            good &= number != np.float32(meaningless)
    if layer.valid is not None:
        good &= (number >= layer.valid[0]) & (number <= layer.valid[1])
    return np.where(good, reflectance, np.float32(0)), good


def stack_bands(layers: Sequence[Layer], raws: Sequence[npt.NDArray[np.generic]]) -> tuple[Floats, Bools]:
    """Return reflectance and clear [6, y, x] of the layers' raw arrays [y, x]; a band without a layer is not clear."""
    shape = (len(BANDS), *raws[0].shape)
    reflectance, clear = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=bool)
    for layer, raw in zip(layers, raws, strict=True):
        at = BANDS.index(layer.name)
        reflectance[at], clear[at] = to_reflectance(layer, raw)
    return reflectance, clear


def bands_missing(name: str, layers: Sequence[Layer], bands: Sequence[str] = BANDS) -> tuple[str, ...]:
    """Return the note that tells which of the `bands` of a product a scene has no layer for; none if it has all."""
    missing = [band for band in bands if band not in {layer.name for layer in layers}]
    return (f"{name} has no {', '.join(missing)}",) if missing else ()


def has_bits(flags: npt.NDArray[np.generic], *bits: int) -> Bools:
    """Tell which flags have any of the bits set; `flags` holds whole numbers, bit 0 is the lowest."""
    wanted = np.int64(sum(1 << bit for bit in bits))
    found: Bools = np.bitwise_and(flags.astype(np.int64), wanted) != 0
    return found


def require(found: object, thing: str) -> None:
    """Raise SceneError saying that `thing` is missing, unless something was found."""
    if not found:
        raise SceneError(f"{thing}; download it again")
