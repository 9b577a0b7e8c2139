"""Chunks of Zarr arrays on a local disk, decompressed straight into the memory that the engine computes on.

zarr-python takes as long to hand a chunk over as Blosc takes to decompress it, and a fifth of a second to be imported.
Arrays whose chunks are Blosc, or not compressed, in files of their own or in shards with their index at the end, which is
what zarr writes by itself and what cubes are made of, are therefore read here, in the thread that computes.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from .errors import CubeError
from .store_paths import ObjectStoreError, Place, ReplacedError

__all__ = ["PlainChunks", "attributes_of", "plain_chunks", "read_plain"]

Array = npt.NDArray[Any]
Span = tuple[int, int]
Opened = io.RawIOBase | io.FileIO
LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
KEYS = {"name": "default", "configuration": {"separator": "/"}}
DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
OVERHEAD = 4096
"""Bytes that a compressed chunk may be longer than its numbers; Blosc's header takes 16."""
CHECKED_INDEX = [LITTLE, {"name": "crc32c"}]
CHECKSUM_BYTES = 4
ABSENT = 2**64 - 1
MOST_REPLACED = 5
"""How often objects may be written while they are read, before reading them again is given up."""
MOST_OPEN = 16
"""Files that one reading holds open: the shards that a row of chunks lies in."""


def _pooled(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    from .engine.pool import thread_pool

    return thread_pool().shelf(shape, dtype).take()[0]


@dataclass(frozen=True)
class PlainChunks:
    """An array of chunks, Blosc or `raw`, each in a file of its own, or several in a shard: `shard` chunks a side."""

    folder: Place
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: float
    raw: bool = False
    shard: tuple[int, ...] | None = None

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk, decompressed."""
        return math.prod(self.chunk) * self.dtype.itemsize

    def read(self, spans: Sequence[Span]) -> Array:
        """Read a box, from and to of each dimension, into memory of this thread's pool."""
        result = _pooled(tuple(high - low for low, high in spans), self.dtype)
        for left in range(MOST_REPLACED, -1, -1):
            try:
                with _Files(self.shard) as files:
                    self._fill(result, spans, files)
                break
            except ReplacedError:
                if not left:
                    raise
        return result

    def _fill(self, result: Array, spans: Sequence[Span], files: _Files) -> None:
        for index in self._touched(spans):
            origin = [place * size for place, size in zip(index, self.chunk, strict=True)]
            ends = [start + size for start, size in zip(origin, self.chunk, strict=True)]
            shared = [(max(low, start), min(high, end)) for (low, high), start, end in zip(spans, origin, ends, strict=True)]
            target = result[tuple(slice(a - low, b - low) for (a, b), (low, _high) in zip(shared, spans, strict=True))]
            if target.shape == self.chunk and target.flags.c_contiguous:
                self._load(index, target, files)
                continue
            whole = _pooled(self.chunk, self.dtype)
            self._load(index, whole, files)
            target[...] = whole[tuple(slice(a - start, b - start) for (a, b), start in zip(shared, origin, strict=True))]

    def files(self, spans: Sequence[Span]) -> set[Place]:
        """Return the files that a box lies in, whether they are there or not."""
        return {self._file(index) for index in self._touched(spans)}

    def _file(self, index: tuple[int, ...]) -> Place:
        """Return the file that a chunk lies in."""
        places = index if self.shard is None else tuple(p // size for p, size in zip(index, self.shard, strict=True))
        return self.folder.joinpath("c", *map(str, places))

    def _touched(self, spans: Sequence[Span]) -> Iterator[tuple[int, ...]]:
        return product(*(range(low // size, -(-high // size)) for (low, high), size in zip(spans, self.chunk, strict=True)))

    def _load(self, index: tuple[int, ...], target: Array, files: _Files) -> None:
        """Fill `target` with a chunk."""
        opened = files.open(self._file(index))
        if opened is None:
            target[...] = self.fill
            return
        start, count = 0, opened.size
        if self.shard is not None:
            assert opened.index is not None
            start, count = map(int, opened.index[tuple(p % size for p, size in zip(index, self.shard, strict=True))])
            if start == count == ABSENT:
                target[...] = self.fill
                return
            if start + count > opened.size:
                raise CubeError(f"shard {opened.path} is damaged: it ends before chunk {index}; write it again")
        self._decompress(opened.path, opened.file, start, count, target)

    def _decompress(self, file: Place, opened: Opened, start: int, count: int, target: Array) -> None:
        if count > target.nbytes + OVERHEAD or (self.raw and count != target.nbytes):
            raise CubeError(f"chunk {file} is damaged: {count} bytes for {target.nbytes}; write it again")
        buffer = target.reshape(-1).view(np.uint8) if self.raw else _pooled((target.nbytes + OVERHEAD,), np.dtype(np.uint8))
        opened.seek(start)
        if opened.readinto(buffer[:count].data) != count:
            raise CubeError(f"chunk {file} is damaged: it ends early; write it again")
        if self.raw:
            return
        told = [int.from_bytes(buffer[place : place + 4], "little") for place in (4, 12)]
        if told != [target.nbytes, count]:  # Blosc believes what its header says, and would read on
            raise CubeError(f"chunk {file} is damaged: {count} bytes, its header says {told[1]}; write it again")
        from numcodecs import blosc

        try:
            blosc.decompress(buffer[:count], target)
        except RuntimeError as error:
            raise CubeError(f"chunk {file} is damaged ({error}); write it again") from error


@dataclass(frozen=True)
class _File:
    """A file of chunks, open; for a shard with where each chunk begins and how many bytes it has, [..., 2] uint64."""

    path: Place
    file: Opened
    size: int
    index: Array | None


class _Files:
    """The files that one reading touches; a shard that is replaced while it is open is read as it was, index and chunks."""

    def __init__(self, shard: tuple[int, ...] | None) -> None:
        self._shard = shard
        self._opened: dict[Place, _File] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close(0)

    def _close(self, left: int) -> None:
        """Close the files that were opened first, until so many are left."""
        while len(self._opened) > left:
            self._opened.pop(next(iter(self._opened))).file.close()

    def open(self, path: Place) -> _File | None:
        """Return a file, opened now or before; None if it is not there."""
        known = self._opened.get(path)
        if known is not None:
            return known
        self._close(MOST_OPEN - 1 if self._shard else 0)
        try:
            file: Opened = path.open("rb", buffering=0)
        except FileNotFoundError:
            return None
        try:
            size = file.seek(0, os.SEEK_END)
            index = None if self._shard is None else _shard_index(path, file, size, self._shard)
        except BaseException:
            file.close()
            raise
        self._opened[path] = _File(path, file, size, index)
        return self._opened[path]


def _shard_index(path: Place, file: Opened, size: int, shard: tuple[int, ...]) -> Array:
    from google_crc32c import value

    length = math.prod(shard) * 16 + CHECKSUM_BYTES
    file.seek(max(0, size - length))
    stored = file.read(length) or b""
    told = int.from_bytes(stored[-CHECKSUM_BYTES:], "little")
    if len(stored) != length or value(stored[:-CHECKSUM_BYTES]) != told:
        raise CubeError(f"shard {path} is damaged: its index has a wrong checksum; write it again")
    return np.frombuffer(stored[:-CHECKSUM_BYTES], dtype="<u8").reshape(*shard, 2)


def attributes_of(group: Place) -> dict[str, Any]:
    """Return the attributes of a group or array. Raises CubeError if its metadata cannot be read."""
    try:
        return dict(json.loads((group / "zarr.json").read_bytes())["attributes"])
    except ObjectStoreError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise CubeError(f"metadata of {group} cannot be read ({error}); restore the store") from error


def read_plain(folder: Place, *place: int | slice) -> Array | None:
    """Read an array: at a position of its first dimension, and in slices of its last ones; all of it if none are given.

    Returns None if its chunks are not plain, so that zarr has to read it.
    """
    chunks = plain_chunks(folder, (folder / "zarr.json").stat().st_mtime_ns)
    if chunks is None:
        return None
    wanted = [slice(part, part + 1) if isinstance(part, int) else part for part in place]
    rest = (slice(None),) * (len(chunks.shape) - len(wanted))
    spans = [part.indices(size)[:2] for part, size in zip((*wanted[:1], *rest, *wanted[1:]), chunks.shape, strict=True)]
    result = chunks.read(spans)
    return result[0] if place and isinstance(place[0], int) else result


@lru_cache(maxsize=64)
def plain_chunks(folder: Place, _stamp: int) -> PlainChunks | None:
    """Return the chunks of an array if they are plain, None if zarr has to read them. `_stamp` is when it changed last."""
    spec = json.loads((folder / "zarr.json").read_text())
    codecs, outer = spec["codecs"], spec["chunk_grid"]["configuration"].get("chunk_shape")
    plain = spec["chunk_grid"]["name"] == "regular" and spec["chunk_key_encoding"] == KEYS and outer is not None
    chunk, shard = outer, None
    if plain and codecs[0]["name"] == "sharding_indexed" and len(codecs) == 1:
        inside = codecs[0]["configuration"]
        codecs, chunk = inside["codecs"], inside["chunk_shape"]
        shard = tuple(whole // part for whole, part in zip(outer, chunk, strict=True))
        plain = inside["index_codecs"] == CHECKED_INDEX and inside.get("index_location", "end") == "end"
    blosc = len(codecs) == 2 and codecs[1]["name"] == "blosc"
    known = codecs[0] in (LITTLE, {"name": "bytes"}) and (blosc or len(codecs) == 1)
    if not (known and plain and spec["data_type"] in DTYPES):
        return None
    fill = spec["fill_value"]
    if not isinstance(fill, int | float):
        fill = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}.get(fill)
    if fill is None:
        return None
    dtype = np.dtype(spec["data_type"]).newbyteorder("<")
    return PlainChunks(folder, tuple(spec["shape"]), tuple(chunk), dtype, fill, not blosc, shard)
