"""Memory that is used again: an array is free once nobody but the pool holds it, nor a view of it.

A fresh quarter of a megabyte costs more page faults than a fused run costs arithmetic, so that pooling decides the speed of
small tiles. A pool belongs to one thread.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Pool", "Shelf", "address_of", "thread_pool"]

Array = npt.NDArray[Any]
MOST_BYTES = 64 * 1024**2
"""What a pool keeps at most; arrays beyond it are made afresh."""


def address_of(array: Array) -> int:
    """Return the address of an array's first element."""
    return int(array.__array_interface__["data"][0])


class Shelf:
    """Arrays of one shape and dtype, with their addresses."""

    __slots__ = ("_kept", "_pool", "dtype", "shape")

    def __init__(self, pool: Pool, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._kept: list[tuple[Array, int]] = []
        self._pool = pool
        self.shape = shape
        self.dtype = dtype

    def take(self) -> tuple[Array, int]:
        """Return an array that nobody uses, its content undefined, and its address."""
        for entry in self._kept:
            if sys.getrefcount(entry[0]) == _UNUSED:
                return entry
        array = np.empty(self.shape, dtype=self.dtype)
        entry = (array, address_of(array))
        if self._pool.reserve(array.nbytes):
            self._kept.append(entry)
        return entry


class Pool:
    """Shelves of arrays by shape and dtype, bounded in bytes."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._shelves: dict[tuple[tuple[int, ...], str], Shelf] = {}
        self.kept_bytes = 0

    def shelf(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Shelf:
        """Return the shelf of a shape and dtype."""
        key = (shape, dtype.str)
        if key not in self._shelves:
            self._shelves[key] = Shelf(self, shape, dtype)
        return self._shelves[key]

    def reserve(self, size: int) -> bool:
        """Tell whether the pool may keep so many bytes more, and count them."""
        if self.kept_bytes + size > self._most:
            return False
        self.kept_bytes += size
        return True


def _references_of_unused() -> int:
    """Return what `sys.getrefcount` tells of an array that only a shelf holds, in this version of Python."""
    entry = (np.empty(1), 0)
    return sys.getrefcount(entry[0])


_UNUSED = _references_of_unused()
_LOCAL = threading.local()


def thread_pool() -> Pool:
    """Return the pool of the calling thread; it ends with the thread."""
    if not hasattr(_LOCAL, "pool"):
        _LOCAL.pool = Pool()
    pool: Pool = _LOCAL.pool
    return pool
