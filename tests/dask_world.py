"""A Dask cluster of processes on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

QUIET = [
    # Dask's own threads and sockets end after the cluster was told to close
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
]


@contextmanager
def dask_client(folder: Path, settings: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Iterator[Any]:
    """Start two workers of one thread each, and connect; skips where Dask is not installed."""
    distributed = pytest.importorskip("distributed", reason="needs the extra 'dask': pip install 'esd-toolkit[dask]'")
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "30s", **settings}):
        cluster = distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
            local_directory=str(folder),
            env=dict(environment or {}),
        )
        try:
            with distributed.Client(cluster) as client:
                yield client
        finally:
            # A worker that was killed early is missing from the cluster's own list, where its farewell looks for it.
            with suppress(KeyError):
                cluster.close()
