"""Who makes the blocks of an ingest: this process, others of this machine, or a Dask cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from esd.errors import JobError

if TYPE_CHECKING:
    from esd.engine.executors import Executor

__all__ = ["Dask", "Workers", "block_makers"]

CONNECT = "30s"

Workers = Annotated[int, typer.Option("--workers", help="Processes that make blocks; each needs the memory of one.")]
Dask = Annotated[
    str | None,
    typer.Option(
        "--dask",
        metavar="ADDRESS|local:N",
        help="Make blocks on a Dask cluster: its scheduler's address, or N processes of its own here.",
    ),
]


@contextmanager
def block_makers(workers: int, dask: str | None) -> Iterator[Executor | None]:
    """Give who makes the blocks; None is this process. Raises JobError for a cluster that does not answer."""
    from esd.ingest.workers import ProcessExecutor

    if dask is None:
        yield None if workers == 1 else ProcessExecutor(workers)
        return
    if workers != 1:
        raise JobError(f"--workers {workers} and --dask {dask} are two ways for the same; give one of them")
    with _cluster(dask) as executor:
        yield executor


@contextmanager
def _cluster(name: str) -> Iterator[Executor]:
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise JobError("--dask needs the extra 'dask': pip install 'esd-toolkit[dask]'") from error
    from esd.engine.dask_executor import DaskExecutor

    local = re.fullmatch(r"local:([1-9]\d*)", name)
    if local:
        options = {"dashboard_address": None, "host": "127.0.0.1", "threads_per_worker": 1, "processes": True}
        with LocalCluster(n_workers=int(local[1]), **options) as cluster, Client(cluster) as client:
            yield DaskExecutor(client)
        return
    try:
        client = Client(name, timeout=CONNECT)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise JobError(f"no Dask scheduler answers at {name!r} ({reason}); give tcp://host:8786, or local:4") from error
    with client:
        yield DaskExecutor(client)
