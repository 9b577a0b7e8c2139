"""Arrays in a Zarr store of somebody else as images: read tile by tile, nothing before it is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from .block import Block, NodataBlock
from .chunks import plain_chunks
from .errors import CubeError, GridError
from .expr import Expr
from .grid import Region
from .image import Image
from .operator import Tile, operator
from .space import CubeType, Space
from .store_paths import Place
from .structure import evaluated_by_engine

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["Numbers", "Source", "StoredSource", "from_zarr", "open_array"]


@runtime_checkable
class Source(Protocol):
    """What an image that lies in somebody else's files is read from: its type, and a way to read a region of it."""

    @property
    def token(self) -> str:
        """Hash of what is read and how."""
        ...

    @property
    def type(self) -> CubeType:
        """The type of the whole image."""
        ...

    @property
    def scratch_bytes(self) -> int:
        """Bytes that reading works in beside the result."""
        ...

    def files(self, region: Region) -> Iterable[Place]:
        """Return the files that a region is read from, those that are absent and would be read among them."""
        ...

    def at_times(self, start: int, end: int) -> Source:
        """Return the times at positions `start` to `end` of this one."""
        ...

    def read(self, region: Region) -> Block:
        """Read a region."""
        ...


def open_array(path: str, name: str) -> Any:
    """Return an array of a Zarr store. Raises CubeError if it is not there."""
    import zarr

    try:
        return zarr.open_group(path, mode="r", use_consolidated=False)[name]
    except (FileNotFoundError, KeyError) as error:
        raise CubeError(f"there is no array {name!r} in the Zarr store {path}; name one of its arrays") from error


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Plain numbers in files, on a grid: what the sources of such images have in common."""

    grid: GeoBox
    time: tuple[str, ...]
    bands: tuple[str, ...]
    dtype: str

    @property
    def token(self) -> str:
        """Hash of what is read and how."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    @property
    def type(self) -> CubeType:
        """The type of the whole image: plain numbers."""
        return CubeType(self.grid, self.time, self.bands, np.dtype(self.dtype), Space.VALUE)


@dataclass(frozen=True)
class StoredSource(Numbers):
    """An array [time, band, y, x] of a Zarr store on a grid, or some of its times: `first` is the position of the first.

    `stamp` is when its metadata changed last, in nanoseconds.
    """

    path: str
    name: str
    stamp: int
    nodata: float | None
    first: int = 0

    @property
    def scratch_bytes(self) -> int:
        """Bytes that reading works in beside the result: a chunk and its file; zarr holds several at once."""
        chunks = plain_chunks(Path(self.path) / self.name, self.stamp)
        if chunks is not None:
            return 2 * chunks.chunk_bytes
        array = open_array(self.path, self.name)
        return 8 * int(np.prod(array.chunks)) * array.dtype.itemsize

    def files(self, region: Region) -> Iterable[Place]:
        """Return the files of the chunks of a region; all files of the array where zarr alone knows its chunks."""
        folder = Path(self.path) / self.name
        chunks = plain_chunks(folder, self.stamp)
        if chunks is None:
            return [file for file in folder.rglob("*") if file.is_file()]
        return chunks.files(self._spans(region))

    def _spans(self, region: Region) -> tuple[tuple[int, int], ...]:
        """Return from where to where a region lies in each dimension of the array."""
        times = (self.first, self.first + len(self.time))
        return times, (0, len(self.bands)), (region.y0, region.y1), (region.x0, region.x1)

    def at_times(self, start: int, end: int) -> StoredSource:
        """Return the times at positions `start` to `end` of this one."""
        return replace(self, time=self.time[start:end], first=self.first + start)

    def read(self, region: Region) -> Block:
        """Read a region; what equals `nodata`, and what is NaN where that is no number, is not valid."""
        spans = self._spans(region)
        chunks = plain_chunks(Path(self.path) / self.name, self.stamp)
        if chunks is not None:
            values = chunks.read(spans)
        else:
            values = np.asarray(open_array(self.path, self.name)[tuple(slice(*span) for span in spans)])
        if self.nodata is not None and not np.isnan(self.nodata):
            return NodataBlock(values, values.dtype.type(self.nodata))
        if values.dtype.kind == "f":
            valid = ~np.isnan(values)
            return Block(np.where(valid, values, values.dtype.type(0)), valid)
        return Block(values, np.ones((1, 1, *values.shape[2:]), dtype=bool))


def _stored_rule(*, source: Source) -> CubeType:
    return source.type


@operator("structure", Tile.STRUCTURE, _stored_rule, Space.ANY)
def stored(*, source: Source) -> Block:
    """Read files of somebody else's; `esd.stored.from_zarr` makes such an image of a Zarr store, `esd.open_tile` others."""
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
    array = open_array(str(folder), name)
    wanted = (len(time), len(bands), *geobox.shape)
    if tuple(array.shape) != wanted:
        raise GridError(f"array {name!r} has shape {tuple(array.shape)}, times, bands and grid make {wanted}")
    stamp = (folder / name / "zarr.json").stat().st_mtime_ns
    plane = {"grid": geobox, "time": tuple(time), "bands": tuple(bands), "dtype": array.dtype.str}
    source = StoredSource(str(folder), name, stamp, nodata, **plane)
    return Image(Expr("stored", (), {"source": source}))
