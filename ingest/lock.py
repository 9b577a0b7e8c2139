"""One writer at a time: a lock beside what is written, held by the kernel for as long as the process lives.

The lock is `flock` on a small file, which the kernel gives back however the process ends, so that nothing stale is ever
left to guess about, as a process number in a file would (numbers are used again, and say nothing of other machines).
The file tells who holds it, for the message to others. On a file system without `flock` the ingest is refused.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from esd.errors import CubeError

__all__ = ["WriteLock", "lock_path"]


def lock_path(target: Path) -> Path:
    """Return where the lock of a store (or any other result) lies: beside it, hidden."""
    return target.with_name(f".{target.name}.lock")


class WriteLock:
    """The right to write `target`, as a context; raises CubeError at once if another process has it."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = lock_path(target)
        self._descriptor = -1

    def __enter__(self) -> Self:
        while not self._acquire():
            continue
        holder = f"process {os.getpid()} on {socket.gethostname()} since {dt.datetime.now():%Y-%m-%d %H:%M:%S}"
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, holder.encode(), 0)
        return self

    def _acquire(self) -> bool:
        """Lock the file; False if it was another holder's and went while we waited, so that it has to be made anew."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise CubeError(f"{self.target} is being written by {holder}; wait until it ends, or stop it") from None
            raise CubeError(f"{self.target} cannot be locked ({error}); write it to a disk of this machine") from error
        try:
            current = self.path.stat().st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            current = False
        if not current:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # Removed while it is still held: who opened it meanwhile sees that the file is no longer the one of this name.
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
