"""Reading published embedding tiles in place: a region of a file as codes or vectors, with what is valid.

Each source is a leaf of an expression (`esd.stored.Source`). A file is opened anew for each region, so that sources travel
to other threads and processes as names.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from .block import Block
from .cube import codec_by_hash
from .errors import CubeError
from .grid import Region
from .published_spaces import ALPHAEARTH_NODATA, alphaearth_values, embedding_space, esd_quantizer
from .remote import open_raster
from .space import CubeType, Space
from .stored import open_array
from .structure import embedding_bands

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from .codec import Codec

__all__ = [
    "AlphaEarthSource",
    "EsdCodesSource",
    "EsdCountSource",
    "TesseraArraySource",
    "TesseraZarrSource",
    "TileSource",
    "tessera_arrays",
]

STEPS_IN_TILE = 12
COUNT_BAND = 13
STRIP_NUMBERS = 1 << 20
"""Numbers that are turned into float32 at a time, whatever the region, so that little memory is needed beside the result."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TileSource(ABC):
    """A published tile on its grid. `stamp` tells the state of the file, `first` the position of the first time kept.

    `flipped`: rows lie from south to north in the file; `grid` is north up all the same.
    """

    path: str
    stamp: int
    version: str
    grid: GeoBox
    time: tuple[str, ...]
    flipped: bool = False
    first: int = 0

    @property
    def token(self) -> str:
        """Hash of what is read and how."""
        return hashlib.sha256(f"{type(self).__name__} {self!r}".encode()).hexdigest()

    @property
    @abstractmethod
    def type(self) -> CubeType:
        """The type of the whole image."""

    @abstractmethod
    def read(self, region: Region) -> Block:
        """Read a region. Raises CubeError if the file is damaged."""

    def files(self, region: Region) -> Iterable[Path]:  # noqa: ARG002 - a tile is one file, or a store of few
        """Return the files of the tile, whatever the region."""
        path = Path(self.path)
        beside = path.parent.glob(f"{path.stem}_*{path.suffix}")  # TESSERA's scales
        return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path, *beside]

    @property
    def scratch_bytes(self) -> int:
        """Bytes that reading works in beside the result: a strip of raw numbers, as they are and as they become."""
        return 8 * STRIP_NUMBERS

    def at_times(self, start: int, end: int) -> Self:
        """Return the times at positions `start` to `end` of this one."""
        return replace(self, time=self.time[start:end], first=self.first + start)

    def _raster(self, bands: Sequence[int], region: Region) -> Array:
        """Return bands [band, y, x] of a GeoTIFF, north up. Raises CubeError if it cannot be read."""
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        rows = self.grid.shape.y
        top = rows - region.y1 if self.flipped else region.y0
        try:
            with open_raster(self.path) as dataset:
                window = Window(region.x0, top, region.shape[1], region.shape[0])
                raw: Array = dataset.read(list(bands), window=window)
        except RasterioError as error:
            raise CubeError(f"tile {self.path} cannot be read ({error}); download it again") from error
        return raw[:, ::-1] if self.flipped else raw


class EsdCodesSource(TileSource):
    """The codes of an ESD tile: bands 1 to 12. Twelve times 0 is no data, as its authors have it, and becomes the fill."""

    @property
    def type(self) -> CubeType:
        """Codes in the tile's steps."""
        codec = codec_by_hash(esd_quantizer(self.version))
        return CubeType(self.grid, self.time, ("code",), codec.code_dtype, Space.CODES, codec.sha256)

    def read(self, region: Region) -> Block:
        """Read a region. Raises CubeError for a number that is no code."""
        codec = esd_quantizer(self.version)
        raw = self._raster(range(1, STEPS_IN_TILE + 1), region)
        if raw.size and raw.max() >= codec.fsq.size:
            raise CubeError(
                f"tile {self.path} holds {raw.max()}, which is none of its {codec.fsq.size} codes; download it again"
            )
        valid = (raw != 0).any(axis=0)
        codes = np.where(valid, raw, codec.code_dtype.type(codec.fill))
        return Block(codes[self.first : self.first + len(self.time), None], valid[None, None])


class EsdCountSource(TileSource):
    """Band 13 of an ESD tile: the clear Landsat observations of the whole year, as its authors count them."""

    @property
    def type(self) -> CubeType:
        """One plane of counts."""
        return CubeType(self.grid, self.time, ("count",), np.dtype(np.uint16), Space.VALUE)

    def read(self, region: Region) -> Block:
        """Read a region; every number is valid, 0 too."""
        return Block(self._raster([COUNT_BAND], region)[None], np.ones((1, 1, *region.shape), dtype=bool))


class _VectorSource(TileSource):
    """Vectors of one year: read in strips of rows and turned into float32."""

    product: str

    @property
    def space(self) -> Codec:
        """The space of the vectors."""
        return codec_by_hash(embedding_space(self.product, self.version))

    @property
    def type(self) -> CubeType:
        """An embedding of one time."""
        bands = embedding_bands(self.space.dims)
        return CubeType(self.grid, self.time, bands, np.dtype(np.float32), Space.EMBEDDING, self.space.sha256)

    def read(self, region: Region) -> Block:
        """Read a region; a pixel without a vector is not valid."""
        values = np.empty((1, self.space.dims, *region.shape), dtype=np.float32)
        valid = np.empty((1, 1, *region.shape), dtype=bool)
        for strip in self._strips(region):
            rows, columns = strip.within(region)
            values[0, :, rows, columns], valid[0, 0, rows, columns] = self._vectors(strip)
        return Block(values, valid)

    def _strips(self, region: Region) -> Iterator[Region]:
        height = max(1, STRIP_NUMBERS // max(1, self.space.dims * region.shape[1]))
        for row in range(region.y0, region.y1, height):
            yield Region(row, min(row + height, region.y1), region.x0, region.x1)

    @abstractmethod
    def _vectors(self, region: Region) -> tuple[Array, Array]:
        """Return vectors [dims, y, x] and where there is one [y, x]."""


def _scaled(raw: Array, scale: Array) -> tuple[Array, Array]:
    """Return bytes [dims, y, x] times scales [y, x]; a scale that is not finite means no vector."""
    valid = np.isfinite(scale)
    return raw.astype(np.float32) * np.where(valid, scale, 0).astype(np.float32), valid


def tessera_arrays(path: str) -> tuple[Array, Array]:
    """Open a TESSERA tile's vectors and scales, mapped and not read. Raises CubeError where one is missing or damaged."""
    try:
        return np.load(path, mmap_mode="r"), np.load(path.removesuffix(".npy") + "_scales.npy", mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise CubeError(f"tile {path} or its _scales.npy cannot be read ({error}); download both again") from error


class AlphaEarthSource(_VectorSource):
    """An AlphaEarth tile: a GeoTIFF of 64 bands int8. A pixel with -128 in any of them has no vector."""

    product = "alphaearth"

    def _vectors(self, region: Region) -> tuple[Array, Array]:
        raw = self._raster(range(1, self.space.dims + 1), region)
        return alphaearth_values(np.ascontiguousarray(raw)), (raw != ALPHAEARTH_NODATA).all(axis=0)


class TesseraArraySource(_VectorSource):
    """A TESSERA tile as two .npy files: int8 [y, x, 128], and scales float32 [y, x] in the file named <tile>_scales.npy."""

    product = "tessera"

    def _vectors(self, region: Region) -> tuple[Array, Array]:
        raw, scales = tessera_arrays(self.path)
        return _scaled(np.moveaxis(raw[region.slices], -1, 0), np.asarray(scales[region.slices]))


@dataclass(frozen=True)
class TesseraZarrSource(_VectorSource):
    """A year of a TESSERA store's group: `embeddings` int8 [time, band, y, x], `scales` float32 [time, y, x]."""

    year: int = 0
    """Position of the year in the store."""
    product = "tessera"

    @property
    def scratch_bytes(self) -> int:
        """Bytes that reading works in beside the result: chunks of both arrays, several at once, and a strip."""
        arrays = (open_array(self.path, name) for name in ("embeddings", "scales"))
        return 8 * STRIP_NUMBERS + 8 * sum(int(np.prod(array.chunks)) * array.dtype.itemsize for array in arrays)

    def _vectors(self, region: Region) -> tuple[Array, Array]:
        raw = np.asarray(open_array(self.path, "embeddings")[(self.year, slice(None), *region.slices)])
        return _scaled(raw, np.asarray(open_array(self.path, "scales")[(self.year, *region.slices)]))
