"""Arrays in a Zarr store of somebody else as images: read tile by tile, nothing before it is asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from .block import Block
from .errors import CubeError, GridError
from .expr import Expr
from .grid import Region
from .image import Image
from .operator import Tile, operator
from .space import CubeType, Space
from .structure import evaluated_by_engine

__all__ = ["StoredSource", "from_zarr"]


def _open(path: str, name: str) -> Any:
    import zarr

    try:
        return zarr.open_group(path, mode="r", use_consolidated=False)[name]
    except (FileNotFoundError, KeyError) as error:
        raise CubeError(f"there is no array {name!r} in the Zarr store {path}; name one of its arrays") from error


@dataclass(frozen=True)
class _PlainChunks:
    """An array of Blosc chunks in files of their own, each with all times and bands of a square.

    Such chunks are decompressed straight into place: zarr-python takes as long to hand them over as Blosc to decompress.
    """

    folder: Path
    shape: tuple[int, ...]
    side: tuple[int, int]
    dtype: np.dtype[Any]
    fill: float

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Read a region, [time, band, y, x]."""
        rows, columns = self.side
        result = np.empty((*self.shape[:2], *region.shape), dtype=self.dtype)
        for row in range(region.y0 // rows, -(-region.y1 // rows)):
            for column in range(region.x0 // columns, -(-region.x1 // columns)):
                chunk = Region(row * rows, (row + 1) * rows, column * columns, (column + 1) * columns)
                file = self.folder / "c" / "0" / "0" / str(row) / str(column)
                if chunk == region:
                    self._decompress(file, result)
                    continue
                whole = np.empty((*self.shape[:2], *self.side), dtype=self.dtype)
                self._decompress(file, whole)
                shared = chunk.intersect(region)
                result[(..., *shared.within(region))] = whole[(..., *shared.within(chunk))]
        return result

    def _decompress(self, file: Path, target: npt.NDArray[Any]) -> None:
        from numcodecs import blosc

        try:
            data = file.read_bytes()
        except FileNotFoundError:
            target[...] = self.fill
            return
        blosc.decompress(data, target)


@lru_cache(maxsize=64)
def _plain_chunks(folder: Path, _stamp: int) -> _PlainChunks | None:
    """Return the chunks of an array if they are plain, None if zarr has to read them."""
    spec = json.loads((folder / "zarr.json").read_text())
    shape, chunk = spec["shape"], spec["chunk_grid"]["configuration"].get("chunk_shape")
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    codecs, keys = spec["codecs"], {"name": "default", "configuration": {"separator": "/"}}
    blosc = len(codecs) == 2 and codecs[0] == little and codecs[1]["name"] == "blosc"
    known = spec["data_type"] in ("int16", "uint16", "int32", "uint32")
    if not (blosc and known and spec["chunk_key_encoding"] == keys and chunk[:2] == shape[:2]):
        return None
    dtype = np.dtype(spec["data_type"]).newbyteorder("<")
    return _PlainChunks(folder, tuple(shape), (chunk[2], chunk[3]), dtype, spec["fill_value"])


@dataclass(frozen=True)
class StoredSource:
    """An array [time, band, y, x] of a Zarr store on a grid. `stamp` is when its metadata changed last, in nanoseconds."""

    path: str
    name: str
    stamp: int
    dtype: str
    nodata: float | None
    grid: GeoBox
    time: tuple[str, ...]
    bands: tuple[str, ...]

    @property
    def token(self) -> str:
        """Hash of what is read and how."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    def read(self, region: Region) -> Block:
        """Read a region; what equals `nodata` (NaN for floats without one) is not valid."""
        chunks = _plain_chunks(Path(self.path) / self.name, self.stamp)
        if chunks is not None:
            values = chunks.read(region)
        else:
            values = np.asarray(_open(self.path, self.name)[(slice(None), slice(None), *region.slices)])
        if self.nodata is not None:
            return Block(values, values != values.dtype.type(self.nodata))
        if values.dtype.kind == "f":
            valid = ~np.isnan(values)
            return Block(np.where(valid, values, values.dtype.type(0)), valid)
        return Block(values, np.ones((1, 1, *values.shape[2:]), dtype=bool))


def _stored_rule(*, source: StoredSource) -> CubeType:
    return CubeType(source.grid, source.time, source.bands, np.dtype(source.dtype), Space.VALUE)


@operator("structure", Tile.STRUCTURE, _stored_rule, Space.ANY)
def stored(*, source: StoredSource) -> Block:
    """Read an array [time, band, y, x] of a Zarr store; `esd.stored.from_zarr` makes such an image."""
    return evaluated_by_engine(source=source)


def from_zarr(
    path: str | Path,
    name: str,
    geobox: GeoBox,
    bands: Sequence[str],
    time: Sequence[str] = ("",),
    nodata: float | None = None,
) -> Image:
    """Return an array of a Zarr store, [time, band, y, x], as a lazy image of its dtype.

    `nodata` is the number that stands for "not valid". Raises CubeError if there is no such array, GridError if its shape is
    not that of the grid, the bands and the times.
    """
    folder = Path(path).resolve()
    array = _open(str(folder), name)
    wanted = (len(time), len(bands), *geobox.shape)
    if tuple(array.shape) != wanted:
        raise GridError(f"array {name!r} has shape {tuple(array.shape)}, times, bands and grid make {wanted}")
    stamp = (folder / name / "zarr.json").stat().st_mtime_ns
    source = StoredSource(str(folder), name, stamp, array.dtype.str, nodata, geobox, tuple(time), tuple(bands))
    return Image(Expr("stored", (), {"source": source}))
