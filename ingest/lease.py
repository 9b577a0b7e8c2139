"""One writer at a time in an object store: a lease that has to be renewed, in an object beside the cube.

A store has no locks, but puts an object only if none is there, or only in the place of the one that was read: of two
writers that try, one is refused. The lease of a process that was killed ends by itself; how old it is is told by the
store's clock alone. A writer that has lost its lease writes no ledger any more, and what it may still put are the bytes
that the next writer puts too: blocks depend on nothing but scenes and settings, and the ledger refuses other ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from types import TracebackType
from typing import Any, Self

from esd.errors import CubeError
from esd.store_paths import ObjectPath, ObjectStoreError, Place, ReplacedError

from .lock import WriteLock

__all__ = ["LEASE_SECONDS", "Lease", "write_lock"]

LEASE_SECONDS = 60.0
RENEWALS = 4
"""How often a lease is renewed in the time that it holds."""
CLOCK_SECONDS = 1.0
"""What the times that a store tells are rounded to."""
LATE = 0.1
"""Share of a lease in which its holder no longer counts on it."""


def write_lock(target: Place) -> WriteLock | Lease:
    """Return the right to write a store, as a context: a lock on a disk, a lease in an object store."""
    return Lease(target) if isinstance(target, ObjectPath) else WriteLock(target)


class Lease:
    """The right to write `target`, as a context; raises CubeError at once if another process has it."""

    def __init__(self, target: ObjectPath, seconds: float | None = None) -> None:
        self.target = target
        self.path = target.with_name(f".{target.name}.lock")
        self._seconds = LEASE_SECONDS if seconds is None else seconds
        self._holder = f"process {os.getpid()} on {socket.gethostname()}"
        self._tag, self._until, self._lost = "", 0.0, False
        self._turn, self._end = threading.Lock(), threading.Event()

    def __enter__(self) -> Self:
        asked = time.monotonic()
        try:
            self._tag = self.path.put(self._document(self._seconds), None)
        except ReplacedError:
            self._tag = self._take_over()
        self._require_conditions()
        self._until = asked + self._seconds * (1 - LATE)
        threading.Thread(target=self._keep, name="lease", daemon=True).start()
        return self

    def _require_conditions(self) -> None:
        """Raise CubeError for a store that puts an object in the place of one that it is not told to replace."""
        try:
            self.path.put(self._document(0), '"of-nothing"')
        except ReplacedError:
            return
        raise CubeError(f"{self.target}: its store does not keep to If-Match, which one writer at a time needs; use another")

    def _document(self, seconds: float) -> bytes:
        """Return what the lease says: no two are the same, so that each has its own tag."""
        return json.dumps({"holder": self._holder, "seconds": seconds, "turn": uuid.uuid4().hex}).encode()

    def _take_over(self) -> str:
        """Take a lease that has ended, or was given back. Raises CubeError for one that holds."""
        try:
            data, tag = self.path.read_tagged()
            told = _parsed(data)
            left = told["seconds"] + CLOCK_SECONDS - self._age() if told["seconds"] else -1.0
            if left < 0:
                return self.path.put(self._document(self._seconds), tag)
        except (ReplacedError, FileNotFoundError):
            told, left = {"holder": "another process"}, self._seconds
        raise CubeError(
            f"{self.target} is being written by {told['holder']}; wait until it ends, or stop it "
            f"(a process that was killed holds it for {left:.0f} s more)"
        ) from None

    def _age(self) -> float:
        """Return the seconds since the lease was put, by the clock of the store."""
        probe = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}")
        probe.write_bytes(b"now")
        try:
            return (probe.stat().st_mtime_ns - self.path.stat().st_mtime_ns) / 1e9
        finally:
            probe.unlink(missing_ok=True)

    def _keep(self) -> None:
        while not self._end.wait(self._seconds / RENEWALS):
            with contextlib.suppress(ObjectStoreError):
                self._renew()

    def _renew(self) -> None:
        with self._turn:
            if self._lost or self._end.is_set():
                return
            asked = time.monotonic()
            try:
                self._tag = self.path.put(self._document(self._seconds), self._tag)
            except ReplacedError:
                self._lost = True
                return
            self._until = asked + self._seconds * (1 - LATE)

    def check(self) -> None:
        """Raise CubeError if the lease has gone to somebody else; one that was only not renewed in time is renewed."""
        if not self._lost and time.monotonic() > self._until:
            self._renew()
        if self._lost:
            raise CubeError(f"{self.target} has been taken over by another writer; wait until it ends, then --resume")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # The object stays and says that it is free: removing it could remove the lease of who took it over meanwhile.
        with self._turn:
            self._end.set()
            if not self._lost:
                with contextlib.suppress(ObjectStoreError):
                    self.path.put(self._document(0), self._tag)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        told = json.loads(data)
        return {"holder": str(told["holder"]), "seconds": float(told["seconds"])}
    except (ValueError, KeyError, TypeError):
        return {"holder": "a process that does not tell its name", "seconds": LEASE_SECONDS}
