"""Blocks in several processes of this machine: each reads, composites, encodes and writes; only the ledger is one's own.

A worker that is lost (killed for its memory, for instance) is replaced and its block made again. Workers end by
themselves when the process that started them does, so that nobody writes behind the back of the next ingest.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from esd.engine.executors import attempt
from esd.engine.stop import NEVER, Stop
from esd.errors import JobError
from esd.grid import Region

__all__ = ["ProcessExecutor"]

T = TypeVar("T")
LOOK = 0.2
"""Seconds between two looks at the deadline while nothing finishes."""


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _serve(line: Connection, task: Callable[[Region], Any], retries: int) -> None:
    """Answer each region that comes with (result, None) or (None, error), until None comes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with threadpool_limits(1):
        while True:
            region = line.recv()
            if region is None:
                return
            try:
                line.send((attempt(task, region, retries), None))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is raised again where the blocks are asked for
                line.send((None, error))


class ProcessExecutor:
    """An engine's Executor of `processes` processes; storage that failed is tried again `retries` times."""

    threads = 1

    def __init__(self, processes: int, retries: int = 2) -> None:
        if processes < 1:
            raise JobError(f"workers={processes} is out of range; give 1 or more")
        self.processes = processes
        self.retries = retries

    def run(self, task: Callable[[Region], T], regions: Sequence[Region], stop: Stop = NEVER) -> Iterator[tuple[Region, T]]:
        """Yield each region with the task's result, as they come. Raises JobError if workers keep dying over one."""
        waiting, lost = deque(regions), Counter[Region]()
        workers: dict[Connection, SpawnProcess] = {}
        busy: dict[Connection, Region] = {}
        try:
            while waiting or busy:
                stop.check()
                while waiting and len(busy) < self.processes:
                    line = next((idle for idle in workers if idle not in busy), None) or self._start(task, workers)
                    busy[line] = waiting.popleft()
                    line.send(busy[line])
                ended = wait(list(busy), timeout=LOOK)
                for line in [known for known in busy if known in ended]:
                    region = busy.pop(line)
                    try:
                        result, error = line.recv()
                    except (EOFError, ConnectionResetError):
                        workers.pop(line).join()
                        lost[region] += 1
                        waiting.appendleft(_again(region, lost[region], self.retries))
                        continue
                    if error is not None:
                        raise error
                    yield region, result
        finally:
            for line, worker in workers.items():
                _end(line, worker, busy=line in busy)

    def _start(self, task: Callable[[Region], Any], workers: dict[Connection, SpawnProcess]) -> Connection:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        worker = context.Process(target=_serve, args=(theirs, task, self.retries), daemon=True)
        worker.start()
        theirs.close()
        workers[ours] = worker
        return ours


def _end(line: Connection, worker: SpawnProcess, *, busy: bool) -> None:
    """End a worker: an idle one by itself, so that it tidies up; one that is busy at once."""
    if busy or not worker.is_alive():
        worker.kill()
    else:
        line.send(None)
    worker.join()


def _again(region: Region, times: int, retries: int) -> Region:
    if times > retries:
        raise JobError(
            f"workers died {times} times over rows {region.y0}-{region.y1}, columns {region.x0}-{region.x1}, "
            "most likely for memory; give fewer --workers or a smaller --max-memory"
        )
    return region
