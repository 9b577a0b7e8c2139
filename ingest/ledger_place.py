"""Where a ledger is kept: beside a cube on a disk, or as an object beside a cube in an object store.

DuckDB needs a file. Of a ledger in an object store a copy is worked on, and put back whole, only in the place of the one
that was read: soon after a change, and at the end. Blocks that a killed process had not yet told of are made again, alike.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from esd.store_paths import ObjectPath, Place

from .lease import Lease, write_lock
from .ledger import Ledger, ledger_path
from .lock import WriteLock

__all__ = ["SECONDS_BETWEEN", "ledger_copy", "locked_ledger", "opened_ledger", "write_lock"]

SECONDS_BETWEEN = 10.0
"""Seconds in which a change of a ledger is put into its object store."""


class _Copy:
    """The file of a ledger that belongs into an object store."""

    def __init__(self, place: ObjectPath, folder: Path, check: Callable[[], None]) -> None:
        self.place, self.file = place, folder / place.name
        self._check, self._put_at = check, -SECONDS_BETWEEN
        self._tag: str | None = None
        try:
            data, self._tag = place.read_tagged()
            self.file.write_bytes(data)
        except FileNotFoundError:
            pass

    def changed(self, settle: Callable[[], None]) -> None:
        """Put the file if the last time is long enough ago; `settle` makes it whole before."""
        self._check()
        if time.monotonic() - self._put_at >= SECONDS_BETWEEN:
            settle()
            self.put()

    def put(self) -> None:
        """Put the file as it is. Raises CubeError if the lease is lost, or the ledger is not the one that was read."""
        self._check()
        self._tag = self.place.put(self.file.read_bytes(), self._tag)
        self._put_at = time.monotonic()


@contextmanager
def opened_ledger(store: Place, lock: WriteLock | Lease) -> Iterator[Ledger]:
    """Open the ledger of a store for writing, made anew if there is none, while the right to write the store is held."""
    place = ledger_path(store)
    if not isinstance(place, ObjectPath) or not isinstance(lock, Lease):
        assert isinstance(place, Path)
        with Ledger(place) as ledger:
            yield ledger
        return
    with tempfile.TemporaryDirectory(prefix="esd-ledger-") as folder:
        copy = _Copy(place, Path(folder), lock.check)
        try:
            with Ledger(copy.file, copy.changed) as ledger:
                yield ledger
        finally:
            copy.put()


@contextmanager
def locked_ledger(store: Place) -> Iterator[Ledger]:
    """Take the right to write a store, and open its ledger."""
    with write_lock(store) as lock, opened_ledger(store, lock) as ledger:
        yield ledger


@contextmanager
def ledger_copy(store: Place) -> Iterator[Path | None]:
    """Give the file of a store's ledger for reading, None if there is none."""
    place = ledger_path(store)
    if isinstance(place, Path):
        yield place if place.is_file() else None
        return
    with tempfile.TemporaryDirectory(prefix="esd-ledger-") as folder:
        file = Path(folder) / place.name
        try:
            file.write_bytes(place.read_bytes())
        except FileNotFoundError:
            yield None
            return
        yield file
