"""Executors: who runs a task on each region. Threads of this process here, a Dask cluster in `dask_executor`.

A task is a function of a region that depends on nothing else, so that who runs it, where and in which order changes no byte.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Protocol, TypeVar, runtime_checkable

from esd.errors import ExpressionError, MemoryLimitError
from esd.grid import Region

from .stop import NEVER, Stop, stopping

__all__ = ["Executor", "LocalExecutor", "attempt", "executor_of", "fewer_threads", "one_blas_thread"]

T = TypeVar("T")


@runtime_checkable
class Executor(Protocol):
    """Runs a task on regions, at most `threads` at a time in one process, and gives results in any order."""

    @property
    def threads(self) -> int:
        """Tasks that one process runs at a time: as many tiles share its memory."""
        ...

    def run(self, task: Callable[[Region], T], regions: Sequence[Region], stop: Stop = NEVER) -> Iterator[tuple[Region, T]]:
        """Yield each region with the task's result, as they come. A failing task ends the run with its error."""
        ...


def attempt(task: Callable[[Region], T], region: Region, retries: int, stop: Stop = NEVER) -> T:
    """Run a task on a region; again, at most `retries` times, if storage fails, as networks and full disks do."""
    with stopping(stop):
        for left in range(retries, -1, -1):
            stop.check()
            try:
                return task(region)
            except OSError:
                if left == 0:
                    raise
    raise AssertionError("the last attempt returns or raises")


@cache
def _pools() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


class _OneThread:
    """The limit on NumPy's threads is the process's: it holds from the first run that begins to the last that ends."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.runs = 0
        self.limit: Any = None


_ONE = _OneThread()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let NumPy's matrix products use one thread: how their sums round depends on how many there are."""
    with _ONE.lock:
        if _ONE.runs == 0:
            _ONE.limit = _pools().limit(limits=1)
        _ONE.runs += 1
    try:
        yield
    finally:
        with _ONE.lock:
            _ONE.runs -= 1
            if _ONE.runs == 0:
                _ONE.limit.restore_original_limits()


def _cores() -> int:
    return os.cpu_count() or 1


@dataclass(frozen=True)
class LocalExecutor:
    """Threads of this process. No more regions wait than are being computed; results come in the regions' order."""

    threads: int = field(default_factory=_cores)
    retries: int = 2

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ExpressionError(f"threads={self.threads} is out of range; give 1 or more")

    def run(self, task: Callable[[Region], T], regions: Sequence[Region], stop: Stop = NEVER) -> Iterator[tuple[Region, T]]:
        """Yield each region with the task's result, in order."""
        with one_blas_thread():
            if self.threads == 1 or len(regions) == 1:
                for region in regions:
                    yield region, attempt(task, region, self.retries, stop)
            else:
                yield from self._pooled(task, regions, stop)

    def _pooled(self, task: Callable[[Region], T], regions: Sequence[Region], stop: Stop) -> Iterator[tuple[Region, T]]:
        waiting: deque[tuple[Region, Future[T]]] = deque()
        with ThreadPoolExecutor(self.threads) as pool:
            try:
                for region in regions:
                    waiting.append((region, pool.submit(attempt, task, region, self.retries, stop)))
                    if len(waiting) > self.threads:
                        done, future = waiting.popleft()
                        yield done, future.result()
                while waiting:
                    done, future = waiting.popleft()
                    yield done, future.result()
            finally:
                for _region, future in waiting:
                    future.cancel()


FAIR_TILE = 256


class Tiled(Protocol):
    """What has tiles of a size."""

    @property
    def tile(self) -> int:
        """Side of the tiles in pixels."""
        ...


P = TypeVar("P", bound=Tiled)


def fewer_threads(executor: Executor, plan: Callable[[int], P]) -> tuple[Executor, P]:
    """Plan for as many threads as an executor has, or for fewer of this process's where memory holds only small tiles.

    Small tiles cost more than a thread gains: what a tile takes besides its pixels, such as a decoder's work, is spent for
    each. Raises MemoryLimitError where not even one tile at a time fits.
    """
    if not isinstance(executor, LocalExecutor):
        return executor, plan(executor.threads)
    best: tuple[Executor, P] | None = None
    while True:
        try:
            found = plan(executor.threads)
            if best is None or found.tile > best[1].tile:
                best = executor, found
        except MemoryLimitError:
            if executor.threads == 1 and best is None:
                raise
        if executor.threads == 1 or (best is not None and best[1].tile >= FAIR_TILE):
            break
        executor = replace(executor, threads=executor.threads // 2)
    if best is None:
        raise AssertionError("one thread was planned for")
    return best


def executor_of(chosen: Any) -> Executor:
    """Return the executor that a user names: none for threads, a number of threads, an executor, or a Dask client.

    Raises ExpressionError for anything else.
    """
    if chosen is None:
        return LocalExecutor()
    if isinstance(chosen, int) and not isinstance(chosen, bool):
        return LocalExecutor(chosen)
    if isinstance(chosen, Executor):
        return chosen
    if type(chosen).__module__.partition(".")[0] == "distributed" and hasattr(chosen, "submit"):
        from .dask_executor import DaskExecutor

        return DaskExecutor(chosen)
    raise ExpressionError(f"executor={chosen!r} is neither a number of threads, an executor, nor a Dask client")
