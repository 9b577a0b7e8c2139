"""Results kept by the hash of all that they depend on, in memory and, if a folder is given, on disk; both bounded.

An entry on disk is the SHA-256 of its content and then the two arrays in NumPy's own format: an entry that does not have its
hash is dropped and computed again. Nothing in it can run.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.errors import ExpressionError

__all__ = ["ResultCache", "shared_cache"]

Arrays = tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]
_DIGEST = hashlib.sha256().digest_size
SHARED_BYTES = 256 * 1024**2


class ResultCache:
    """Values and validity by key; the entries used longest ago go first when `max_bytes` are exceeded.

    `folder` keeps entries between processes, bounded by `max_disk_bytes`. Safe to use from many threads.
    """

    def __init__(self, max_bytes: int, folder: str | Path | None = None, max_disk_bytes: int = 2 * 1024**3) -> None:
        if max_bytes < 0 or max_disk_bytes < 0:
            raise ExpressionError(f"a cache of {min(max_bytes, max_disk_bytes)} bytes cannot be; give 0 or more")
        self.max_bytes = max_bytes
        self.max_disk_bytes = max_disk_bytes
        self.folder = None if folder is None else Path(folder)
        self.hits = 0
        self.misses = 0
        self._entries: OrderedDict[str, Arrays] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Bytes that the entries in memory take."""
        return self._bytes

    def get(self, key: str) -> Arrays | None:
        """Return copies of an entry's arrays, None if there is none."""
        with self._lock:
            known = self._entries.get(key)
            if known is not None:
                self._entries.move_to_end(key)
        if known is None:
            known = self._read(key)
            if known is not None:
                self._remember(key, known)
        with self._lock:
            self.hits += known is not None
            self.misses += known is None
        return None if known is None else (known[0].copy(), known[1].copy())

    def put(self, key: str, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        """Keep copies of a result; one that is larger than the whole bound is not kept."""
        entry = values.copy(), valid.copy()
        self._remember(key, entry)
        self._write(key, entry)

    def clear(self) -> None:
        """Forget all entries, in memory and on disk."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0
        for file in self._files():
            file.unlink(missing_ok=True)

    def _remember(self, key: str, entry: Arrays) -> None:
        size = _size(entry)
        with self._lock:
            old = self._entries.pop(key, None)
            self._bytes -= _size(old) if old is not None else 0
            if size > self.max_bytes:
                return
            self._entries[key] = entry
            self._bytes += size
            while self._bytes > self.max_bytes:
                _key, dropped = self._entries.popitem(last=False)
                self._bytes -= _size(dropped)

    def _files(self) -> list[Path]:
        return [] if self.folder is None else sorted(self.folder.glob("*.result"))

    def _read(self, key: str) -> Arrays | None:
        if self.folder is None:
            return None
        file = self.folder / f"{key}.result"
        try:
            stored = file.read_bytes()
        except FileNotFoundError:
            return None
        content = stored[_DIGEST:]
        if hashlib.sha256(content).digest() != stored[:_DIGEST]:
            file.unlink(missing_ok=True)
            return None
        with suppress(FileNotFoundError):  # another process that shares the folder may have made room meanwhile
            os.utime(file)
        stream = io.BytesIO(content)
        return np.load(stream, allow_pickle=False), np.load(stream, allow_pickle=False)

    def _write(self, key: str, entry: Arrays) -> None:
        if self.folder is None or _size(entry) > self.max_disk_bytes:
            return
        stream = io.BytesIO()
        for array in entry:
            np.save(stream, array, allow_pickle=False)
        content = stream.getvalue()
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".", delete=False) as file:
            file.write(hashlib.sha256(content).digest() + content)
        Path(file.name).replace(self.folder / f"{key}.result")
        self._shrink()

    def _shrink(self) -> None:
        """Remove the entries on disk that were used longest ago until the rest keeps to the bound."""
        aged: list[tuple[int, int, Path]] = []
        for file in self._files():
            try:
                status = file.stat()
            except FileNotFoundError:  # removed by another process that shares the folder
                continue
            aged.append((status.st_mtime_ns, status.st_size, file))
        total = sum(size for _age, size, _file in aged)
        for _age, size, file in sorted(aged):
            if total <= self.max_disk_bytes:
                return
            file.unlink(missing_ok=True)
            total -= size


def _size(entry: Arrays) -> int:
    return int(entry[0].nbytes + entry[1].nbytes)


_SHARED = ResultCache(SHARED_BYTES)


def shared_cache() -> ResultCache:
    """Return the cache of this process for map tiles: 256 MB in memory, nothing on disk."""
    return _SHARED
