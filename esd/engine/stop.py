"""When to stop: a deadline, or a token by which somebody else cancels. Looked at between tiles and between nodes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from esd.errors import CancelledError, DeadlineError

__all__ = ["NEVER", "CancelToken", "Stop", "checkpoint", "current_stop", "stop_after", "stopping"]


class CancelToken:
    """Cancels the computations that it was given to, from any thread: `token.cancel()`."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Make the computations that hold this token end with CancelledError."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._event.is_set()


@dataclass(frozen=True)
class Stop:
    """What ends a computation early: `at` on the monotonic clock, of `seconds` allowed, and a token."""

    at: float | None = None
    seconds: float | None = None
    token: CancelToken | None = None

    def check(self) -> None:
        """Raise CancelledError or DeadlineError if it is time to stop."""
        if self.token is not None and self.token.cancelled:
            raise CancelledError("the computation was cancelled")
        if self.at is not None and time.monotonic() >= self.at:
            raise DeadlineError(
                f"the computation took longer than the {self.seconds:g} s allowed; raise deadline=, or ask for less"
            )


NEVER = Stop()
"""A computation that goes on until it is done."""


def stop_after(seconds: float | None, token: CancelToken | None = None) -> Stop:
    """Return what stops a computation after some seconds from now, or by a token."""
    return Stop(None if seconds is None else time.monotonic() + seconds, seconds, token)


_HERE = threading.local()


@contextmanager
def stopping(stop: Stop) -> Iterator[None]:
    """Make `checkpoint` look at `stop` in this thread."""
    before = getattr(_HERE, "stop", NEVER)
    _HERE.stop = stop
    try:
        yield
    finally:
        _HERE.stop = before


def current_stop() -> Stop:
    """Return what stops this thread's computation."""
    stop: Stop = getattr(_HERE, "stop", NEVER)
    return stop


def checkpoint() -> None:
    """Stop here if this thread's computation is to be stopped. Costs a look at a clock."""
    stop: Stop = getattr(_HERE, "stop", NEVER)
    if stop is not NEVER:
        stop.check()
