"""Runs on a cluster as one of its workers sees them: which are over, and what is at work here for each.

Dask does not interrupt a task that it was told to cancel, and runs one again whose result died with a worker, needed or
not. Such a task would write behind the back of the next run.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

from esd.errors import CancelledError

from .stop import CancelToken, Stop

__all__ = ["end_run", "working"]

LOOK = 0.01
"""Seconds between two looks at what is still at work."""
_LOCK = threading.Lock()
_OVER: deque[str] = deque(maxlen=1000)
_AT_WORK: Counter[str] = Counter()
_TOKENS: dict[str, CancelToken] = {}


@contextmanager
def working(run: str) -> Iterator[Stop]:
    """Be at work for a run; gives what stops the work when the run is over. Raises CancelledError if it is already."""
    with _LOCK:
        if run in _OVER:
            raise CancelledError("the run that asked for this is over")
        _AT_WORK[run] += 1
        token = _TOKENS.setdefault(run, CancelToken())
    try:
        yield Stop(token=token)
    finally:
        with _LOCK:
            _AT_WORK[run] -= 1
            if not _AT_WORK[run]:
                del _AT_WORK[run], _TOKENS[run]


async def end_run(run: str) -> None:
    """Begin nothing of a run any more, stop what is at work for it, and return when nothing is."""
    with _LOCK:
        _OVER.append(run)
        if run in _TOKENS:
            _TOKENS[run].cancel()
    while run in _AT_WORK:
        await asyncio.sleep(LOOK)
