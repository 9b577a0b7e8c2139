"""The same tasks on a Dask cluster: one Dask task a region, results written by the workers.

Needs the extra `dask`. Workers must see the cubes and the destination under the same paths as the caller.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from esd.errors import ExpressionError, JobError
from esd.grid import Region

from .dask_runs import end_run, working
from .executors import attempt, one_blas_thread
from .packing import Packed, pack, unpack
from .program import evaluate
from .scene import Made, adopted, global_nodes, make_whole, version_and_tile
from .stop import NEVER, Stop
from .tasks import ComputeTile, TotalStates, WriteTile

__all__ = ["DaskExecutor"]

T = TypeVar("T")
_LOOK = 0.2
"""Seconds between two looks at the deadline while nothing finishes."""
PATIENCE = 30.0
"""Seconds that a cluster without workers is given: those that died are started again."""


def _hold(task: T) -> T:
    """Keep a task on the cluster as the result of a Dask task: when its worker dies, the scheduler makes it again."""
    return task


def _on_worker(task: Callable[[Region], T], region: Region, run: str, retries: int, wholes: Sequence[Made]) -> T:
    with working(run) as stop, one_blas_thread(), adopted(wholes):
        return attempt(task, region, retries, stop)


def _make(packed: Packed, tile: int, version: str, before: Sequence[Made]) -> Made:
    """Evaluate an operator that needs its whole grid, once for all workers."""
    node = unpack(packed)
    with one_blas_thread(), adopted(before):
        return Made(node.key, version, make_whole(node, tile, evaluate))


class DaskExecutor:
    """Runs tasks on the workers of a `distributed.Client`.

    At most `ahead` regions for each thread of the cluster are on their way at a time, so that no queue grows with the job. A
    region whose worker died is run again elsewhere, by Dask; storage that failed is tried again `retries` times. What needs
    a whole grid is computed once, by one worker, and handed to those that cut their regions from it. When a run has ended,
    however it did, no worker is at work for it any more.
    """

    def __init__(self, client: Any, retries: int = 2, ahead: int = 2) -> None:
        if ahead < 1 or retries < 0:
            raise ExpressionError(f"ahead={ahead} must be at least 1 and retries={retries} at least 0")
        self.client = client
        self.retries = retries
        self.ahead = ahead

    def _threads_by_worker(self) -> list[int]:
        """Return the threads of each worker; where there is none, wait for one that is being started again."""
        try:
            self.client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError as error:
            raise JobError(
                "the Dask cluster has no workers; start some, for instance cluster.scale(2), and run it again"
            ) from error
        return [int(worker["nthreads"]) for worker in self.client.scheduler_info(n_workers=-1)["workers"].values()]

    @property
    def threads(self) -> int:
        """Tasks that the largest worker runs at a time."""
        return max(self._threads_by_worker())

    def run(self, task: Callable[[Region], T], regions: Sequence[Region], stop: Stop = NEVER) -> Iterator[tuple[Region, T]]:
        """Yield each region with the task's result, as they come. Raises JobError if workers keep dying over a region."""
        run = uuid.uuid4().hex
        held = self.client.submit(_hold, task, pure=False)
        wholes = self._wholes(task)
        most = self.ahead * sum(self._threads_by_worker())
        left = iter(regions)
        pending: dict[Any, Region] = {}
        try:
            while True:
                for region in left:
                    pending[self.client.submit(_on_worker, held, region, run, self.retries, wholes, pure=False)] = region
                    if len(pending) >= most:
                        break
                if not pending:
                    return
                for future in self._finished(pending, stop):
                    region, result = pending.pop(future), self._result(future)
                    future.release()  # Dask would run it again if the worker that holds the result died
                    yield region, result
        finally:
            self.client.cancel([*pending, *wholes, held])
            self.client.run(end_run, run, on_error="ignore")  # a worker that has died is not at work either

    def _wholes(self, task: Callable[[Region], T]) -> list[Any]:
        """Have the operators of a task that need their whole grid computed, each by one worker, inputs first."""
        made: list[Any] = []
        for node in global_nodes(task.root) if isinstance(task, ComputeTile | WriteTile | TotalStates) else ():
            version, tile = version_and_tile(node)
            made.append(self.client.submit(_make, pack(node), tile, version, list(made), pure=False))
        return made

    def _finished(self, pending: dict[Any, Region], stop: Stop) -> list[Any]:
        """Wait until some of the futures have ended; stop meanwhile if it is time to."""
        from distributed import wait

        looked = time.monotonic()
        while True:
            stop.check()
            try:
                ended: Any = wait(list(pending), timeout=_LOOK, return_when="FIRST_COMPLETED")  # type: ignore[no-untyped-call]  # Dask's own
                return list(ended.done)
            except TimeoutError:
                if time.monotonic() - looked > PATIENCE:
                    self._threads_by_worker()  # nothing would ever finish without workers
                    looked = time.monotonic()

    def _result(self, future: Any) -> Any:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            return future.result()
        except (KilledWorker, FutureCancelledError) as error:
            raise JobError(
                f"the Dask cluster lost the work ({type(error).__name__}): workers died over it, most likely for memory; "
                "lower max_memory= or give the workers more"
            ) from error
