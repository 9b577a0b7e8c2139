"""The ledger of an ingest: what was asked, which blocks are written, which scenes failed. It makes a restart safe.

A DuckDB file beside the store. A block counts as done only if its row is here and the checksum in it is that of the
bytes in the store; each row is committed after its block is written.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb

from esd.errors import CubeError
from esd.grid import Region

from .readers import Failure
from .scene import Scene

__all__ = ["Ledger", "ledger_path"]

_TABLES = """
create table if not exists settings (name text primary key, value json);
create table if not exists scenes (
    id text primary key, product text, platform text, sensor text, acquired date, path text, bytes_in bigint,
    cloud_cover double, sun_elevation double, notes text
);
create table if not exists blocks (
    grid text, "window" date, y0 integer, x0 integer, checksum text, seconds double, primary key (grid, "window", y0, x0)
);
create table if not exists failures (source text, cause text, primary key (source, cause));
"""

Settings = Mapping[str, object]


def ledger_path(store: Path) -> Path:
    """Return where the ledger of a store lies: beside it."""
    return store.with_name(store.name + ".ledger.duckdb")


class Ledger:
    """The ledger of one store, opened; only one process can hold it. Raises CubeError if another one does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._connection = duckdb.connect(str(path))
        except duckdb.IOException as error:
            raise CubeError(f"{path.name} is in use or damaged; wait for the other 'esd ingest', or remove it") from error
        self._connection.execute(_TABLES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def begin(self, settings: Settings, scenes: Iterable[tuple[Scene, int]], failures: Iterable[Failure]) -> None:
        """Write down what is asked: settings, scenes with their bytes, and failures so far. All or nothing."""
        rows = [
            (
                *(scene.id, scene.product, scene.platform, scene.sensor, scene.acquired, str(scene.path), size),
                *(scene.cloud_cover, scene.sun_elevation, "\n".join(scene.notes)),
            )
            for scene, size in scenes
        ]
        self._connection.begin()
        for name, value in settings.items():
            self._connection.execute("insert into settings values (?, ?)", [name, json.dumps(value)])
        if rows:
            self._connection.executemany(f"insert into scenes values ({', '.join('?' * len(rows[0]))})", rows)
        self._insert_failures(failures)
        self._connection.commit()

    def check(self, settings: Settings) -> None:
        """Raise CubeError unless the settings are those that the ledger was begun with."""
        known = {name: json.loads(value) for name, value in self._rows("select name, value from settings")}
        for name, value in json.loads(json.dumps(settings)).items():
            if known.get(name) != value:
                raise CubeError(
                    f"{self.path.name}: the {name} given now and when the cube was begun are not the same "
                    f"({_difference(known.get(name), value)}); give the same to --resume, or another --out"
                )

    @property
    def begun(self) -> bool:
        """Whether `begin` has ever been committed."""
        return bool(self._rows("select 1 from settings limit 1"))

    def checksums(self, grid: str) -> dict[tuple[dt.date, int, int], str]:
        """Return the checksum of each block written, by window, first row and first column."""
        rows = self._rows('select "window", y0, x0, checksum from blocks where grid = ?', grid)
        return {(window, y0, x0): checksum for window, y0, x0, checksum in rows}

    def finish_block(
        self, grid: str, window: dt.date, region: Region, checksum: str, seconds: float, failures: Iterable[Failure]
    ) -> None:
        """Write down that a block is in the store, and what failed in making it. All or nothing."""
        row = [grid, window, region.y0, region.x0, checksum, seconds]
        self._connection.begin()
        self._connection.execute("insert or replace into blocks values (?, ?, ?, ?, ?, ?)", row)
        self._insert_failures(failures)
        self._connection.commit()

    def failures(self) -> tuple[Failure, ...]:
        """Return every failure so far, sorted."""
        return tuple(Failure(*row) for row in self._rows("select source, cause from failures order by source, cause"))

    def _insert_failures(self, failures: Iterable[Failure]) -> None:
        for failure in failures:
            self._connection.execute("insert or ignore into failures values (?, ?)", [failure.source, failure.cause])

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(query, list(values)).fetchall()


def _difference(before: object, now: object) -> str:
    if isinstance(before, list) and isinstance(now, list):
        lost = [item for item in before if item not in now]
        new = [item for item in now if item not in before]
        parts = [f"{len(items)} {word}: {items[0]}" for items, word in ((lost, "gone"), (new, "new")) if items]
        return "; ".join(parts)
    return f"before {before}, now {now}"
