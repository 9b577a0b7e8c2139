"""Chunks of other people's Zarr arrays, decompressed straight into the memory that the engine computes on.

zarr-python takes as long to hand a chunk over as Blosc takes to decompress it. Arrays [time, band, y, x] whose chunks are
Blosc in files of their own, which is what zarr writes by itself, are therefore read here, in the thread that computes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import CubeError

__all__ = ["PlainChunks", "plain_chunks"]

Array = npt.NDArray[Any]
Span = tuple[int, int]
LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
KEYS = {"name": "default", "configuration": {"separator": "/"}}
DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
OVERHEAD = 4096
"""Bytes that a compressed chunk may be longer than its numbers; Blosc's header takes 16."""


def _pooled(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    from .engine.pool import thread_pool

    return thread_pool().shelf(shape, dtype).take()[0]


@dataclass(frozen=True)
class PlainChunks:
    """An array [time, band, y, x] of Blosc chunks, each in a file of its own."""

    folder: Path
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: float

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk, decompressed."""
        return math.prod(self.chunk) * self.dtype.itemsize

    def read(self, spans: Sequence[Span]) -> Array:
        """Read a box, from and to of each dimension, into memory of this thread's pool."""
        result = _pooled(tuple(high - low for low, high in spans), self.dtype)
        for index in self._touched(spans):
            origin = [place * size for place, size in zip(index, self.chunk, strict=True)]
            ends = [start + size for start, size in zip(origin, self.chunk, strict=True)]
            shared = [(max(low, start), min(high, end)) for (low, high), start, end in zip(spans, origin, ends, strict=True)]
            target = result[tuple(slice(a - low, b - low) for (a, b), (low, _high) in zip(shared, spans, strict=True))]
            if target.shape == self.chunk and target.flags.c_contiguous:
                self._decompress(index, target)
                continue
            whole = _pooled(self.chunk, self.dtype)
            self._decompress(index, whole)
            target[...] = whole[tuple(slice(a - start, b - start) for (a, b), start in zip(shared, origin, strict=True))]
        return result

    def _touched(self, spans: Sequence[Span]) -> Iterator[tuple[int, ...]]:
        return product(*(range(low // size, -(-high // size)) for (low, high), size in zip(spans, self.chunk, strict=True)))

    def _decompress(self, index: tuple[int, ...], target: Array) -> None:
        from numcodecs import blosc

        file = self.folder.joinpath("c", *map(str, index))
        try:
            with file.open("rb", buffering=0) as opened:
                buffer = _pooled((target.nbytes + OVERHEAD,), np.dtype(np.uint8))
                count = opened.readinto(buffer.data)
        except FileNotFoundError:
            target[...] = self.fill
            return
        told = [int.from_bytes(buffer[start : start + 4], "little") for start in (4, 12)]
        if told != [target.nbytes, count]:  # Blosc believes what its header says, and would read on
            raise CubeError(f"chunk {file} is damaged: {count} bytes, its header says {told[1]}; write it again")
        try:
            blosc.decompress(buffer[:count], target)
        except RuntimeError as error:
            raise CubeError(f"chunk {file} is damaged ({error}); write it again") from error


@lru_cache(maxsize=64)
def plain_chunks(folder: Path, _stamp: int) -> PlainChunks | None:
    """Return the chunks of an array if they are plain, None if zarr has to read them. `_stamp` is when it changed last."""
    spec = json.loads((folder / "zarr.json").read_text())
    codecs = spec["codecs"]
    blosc = len(codecs) == 2 and codecs[0] in (LITTLE, {"name": "bytes"}) and codecs[1]["name"] == "blosc"
    shape, chunk = spec["shape"], spec["chunk_grid"]["configuration"].get("chunk_shape")
    plain = spec["chunk_grid"]["name"] == "regular" and spec["chunk_key_encoding"] == KEYS
    if not (blosc and plain and len(shape) == 4 and spec["data_type"] in DTYPES):
        return None
    fill = spec["fill_value"]
    if not isinstance(fill, int | float):
        fill = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}.get(fill)
    if fill is None:
        return None
    dtype = np.dtype(spec["data_type"]).newbyteorder("<")
    return PlainChunks(folder, tuple(shape), tuple(chunk), dtype, fill)
