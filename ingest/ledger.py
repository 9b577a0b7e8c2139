"""The ledger of a store: what was asked, of which bytes each block was made, which scenes failed. It makes a restart safe.

A DuckDB file beside the store. Each ingest into a store, and each `append`, is a run. A block counts as done only if
its row is here and the checksum in it is that of the bytes in the store; each row is committed after its block is
written.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import duckdb
import shapely

from esd.errors import CubeError
from esd.grid import Region
from esd.store_paths import Place

from .aoi import Area
from .fingerprint import bytes_of, hash_of, stamp_of
from .readers import Failure
from .scene import Scene

__all__ = ["ALL_FAILURES", "SCENES_BY_GRID", "BlockRow", "Corner", "Ledger", "Run", "ledger_path"]

_TABLES = """
create table if not exists runs (run integer primary key, settings json, outline blob, "exact" boolean);
create table if not exists scenes (
    run integer, id text, product text, platform text, sensor text, acquired date, path text, bytes_in bigint,
    cloud_cover double, sun_elevation double, notes text, size bigint, stamp text, sha256 text, primary key (run, id)
);
create table if not exists blocks (
    grid text, "window" date, y0 integer, x0 integer, checksum text, inputs json, seconds double,
    primary key (grid, "window", y0, x0)
);
create table if not exists failures (run integer, source text, cause text);
create table if not exists block_failures (grid text, "window" date, y0 integer, x0 integer, source text, cause text);
"""
ALL_FAILURES = "select source, cause from failures union select source, cause from block_failures order by all"

SCENES_BY_GRID = (
    "select distinct id, bytes_in, json_extract_string(settings, '$.grid[0]') as crs, "
    "json_extract_string(settings, '$.tile') as tile from scenes join runs using (run)"
)
"""Each scene of each grid once: what appends read again of the windows around counts no second time."""

Settings = Mapping[str, object]
Changed = Callable[[Callable[[], None]], None]
Corner = tuple[dt.date, int, int]
"""A block: its window, first row and first column."""


@overload
def ledger_path(store: Path) -> Path: ...


@overload
def ledger_path(store: Place) -> Place: ...


def ledger_path(store: Place) -> Place:
    """Return where the ledger of a store lies: beside it."""
    return store.with_name(store.name + ".ledger.duckdb")


@dataclass(frozen=True)
class Run:
    """One ingest or append: its number, from 0, its settings, and its area of interest."""

    number: int
    settings: dict[str, Any]
    area: Area | None


@dataclass(frozen=True)
class BlockRow:
    """A block that is written: the checksum of its files, the hash of each scene in it by id, and which scenes failed."""

    checksum: str
    inputs: dict[str, str]
    failed: tuple[str, ...]


class Ledger:
    """The ledger of one store, opened; one process can hold it. Raises CubeError if it is damaged or cannot be written.

    `changed` is called after each transaction, with what makes the file whole that DuckDB may still have parts of elsewhere.
    """

    def __init__(self, path: Path, changed: Changed | None = None) -> None:
        self.path = path
        self._changed = changed
        try:
            self._connection = duckdb.connect(str(path))
        except duckdb.Error as error:
            raise CubeError(f"{path.name} is in use or damaged; wait for the other 'esd ingest', or remove it") from error
        with self._writing():
            if self._rows("select 1 from information_schema.tables where table_name = 'settings'"):
                raise CubeError(f"{path.name} is of an older version of esd; give another --out")
            self._connection.execute(_TABLES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._writing():
            self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            reason = " ".join(str(error).split())[:120]
            raise CubeError(
                f"{self.path.name} cannot be written ({reason}); free space on its disk, then --resume"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing."""
        with self._writing():
            self._connection.begin()
            yield
            self._connection.commit()
        if self._changed is not None:
            self._changed(self._settle)

    def _settle(self) -> None:
        with self._writing():
            self._connection.execute("checkpoint")

    def runs(self) -> tuple[Run, ...]:
        """Return the runs so far, in order."""
        rows = self._rows('select run, settings, outline, "exact" from runs order by run')
        return tuple(
            Run(number, json.loads(settings), None if outline is None else Area(shapely.from_wkb(outline), exact))
            for number, settings, outline, exact in rows
        )

    def begin(self, settings: Settings, area: Area | None, scenes: Iterable[tuple[Scene, int]]) -> Run:
        """Write down what is asked, with the scenes and their bytes; return the new run."""
        number = len(self.runs())
        outline, exact = (None, None) if area is None else (area.outline.wkb, area.exact)
        with self._transaction():
            self._connection.execute("insert into runs values (?, ?, ?, ?)", [number, json.dumps(settings), outline, exact])
            for scene, size in scenes:
                self._insert_scene(number, scene, size)
        return self.runs()[number]

    def check(self, run: Run, settings: Settings) -> None:
        """Raise CubeError unless the settings are those of the run."""
        for name, value in json.loads(json.dumps(settings)).items():
            if run.settings.get(name) != value:
                raise CubeError(_disagree(self.path.name, name, _difference(run.settings.get(name), value)))

    def admit(self, run: Run, scenes: Sequence[tuple[Scene, int]], failures: Iterable[Failure]) -> None:
        """Take note of the scenes as they are now, and of those that the scan could not use.

        They have to be those that the run was begun with, but for the ones that failed: those may have been repaired.
        Raises CubeError for any other difference.
        """
        known = self.scenes(run)
        failed = {failure.source for failure in self.failures()}
        now = {scene.id: scene for scene, _ in scenes}
        new = [name for name, scene in now.items() if name not in known and scene.path.name not in failed]
        gone = [name for name in known if name not in now and name not in failed]
        changed = [
            name
            for name, scene in now.items()
            if name in known and name not in failed and known[name][1] and _has_changed(scene, *known[name][1:])
        ]
        for ids, what in ((gone, "gone"), (new, "new"), (changed, "changed")):
            if ids:
                raise CubeError(_disagree(self.path.name, "scenes", f"{len(ids)} {what}: {ids[0]}"))
        with self._transaction():
            self._connection.execute("delete from failures where run = ?", [run.number])
            for failure in failures:
                self._connection.execute("insert into failures values (?, ?, ?)", [run.number, *_pair(failure)])
            for scene, size in scenes:
                if scene.id not in known:
                    self._insert_scene(run.number, scene, size)

    def _insert_scene(self, run: int, scene: Scene, size: int) -> None:
        row = [run, *_scene_row(scene, size), None, None, None]
        self._connection.execute(f"insert into scenes values ({', '.join('?' * len(row))})", row)

    def scenes(self, run: Run) -> dict[str, tuple[str, str, str]]:
        """Return path, hash and stamp of the scenes of a run by id; hash and stamp empty if they are not yet taken."""
        rows = self._rows("select id, path, sha256, stamp from scenes where run = ? order by acquired, id", run.number)
        return {name: (path, sha256 or "", stamp or "") for name, path, sha256, stamp in rows}

    def hash_scenes(self, run: Run, scenes: Iterable[Scene], told: Callable[[Scene], None]) -> dict[str, str]:
        """Return the hash of each scene's bytes by id: the one known if its files were not written since, else taken now."""
        known, found = self.scenes(run), {}
        for scene in scenes:
            _, sha256, stamp = known[scene.id]
            now = _stamp(scene)
            if not sha256 or stamp != now:
                sha256 = self._hash_in_another_run(scene, now) or hash_of(scene)
                with self._transaction():
                    self._connection.execute(
                        "update scenes set size = ?, stamp = ?, sha256 = ? where run = ? and id = ?",
                        [_size(scene), now, sha256, run.number, scene.id],
                    )
            found[scene.id] = sha256
            told(scene)
        return found

    def _hash_in_another_run(self, scene: Scene, stamp: str) -> str | None:
        """Return the hash that was taken of the same files for another grid; None if there is none."""
        place = [scene.id, str(scene.path.absolute()), stamp]
        rows = self._rows("select sha256 from scenes where id = ? and path = ? and stamp = ? and sha256 is not null", *place)
        return rows[0][0] if rows and stamp else None

    def blocks(self, grid: str) -> dict[Corner, BlockRow]:
        """Return the blocks that are written, by window, first row and first column."""
        failed: dict[Corner, list[str]] = {}
        for window, y0, x0, source in self._rows(
            'select "window", y0, x0, source from block_failures where grid = ? order by all', grid
        ):
            failed.setdefault((window, y0, x0), []).append(source)
        rows = self._rows('select "window", y0, x0, checksum, inputs from blocks where grid = ?', grid)
        return {
            (window, y0, x0): BlockRow(checksum, json.loads(inputs), tuple(failed.get((window, y0, x0), ())))
            for window, y0, x0, checksum, inputs in rows
        }

    def finish_block(
        self, grid: str, window: dt.date, region: Region, row: BlockRow, seconds: float, failures: Iterable[Failure]
    ) -> None:
        """Write down that a block is in the store, of what it is made, and what failed in making it. All or nothing."""
        place = [grid, window, region.y0, region.x0]
        with self._transaction():
            self._connection.execute(
                "insert or replace into blocks values (?, ?, ?, ?, ?, ?, ?)",
                [*place, row.checksum, json.dumps(row.inputs), seconds],
            )
            self._connection.execute(
                'delete from block_failures where grid = ? and "window" = ? and y0 = ? and x0 = ?', place
            )
            for failure in failures:
                self._connection.execute("insert into block_failures values (?, ?, ?, ?, ?, ?)", [*place, *_pair(failure)])

    def failures(self) -> tuple[Failure, ...]:
        """Return every failure that still holds, sorted."""
        return tuple(Failure(*row) for row in self._rows(ALL_FAILURES))

    def failures_of(self, run: Run) -> tuple[Failure, ...]:
        """Return what the scan of a run could not use."""
        rows = self._rows("select source, cause from failures where run = ? order by all", run.number)
        return tuple(Failure(*row) for row in rows)

    def origin(self) -> dict[str, Any]:
        """Return what a cube's attributes tell of all its scenes: products, ids by date, bytes as read, notes."""
        rows = self._rows(
            "select id, any_value(product || ' ' || platform), any_value(bytes_in), any_value(notes) "
            "from scenes group by id, acquired order by acquired, id"
        )
        read = self._rows(f"select coalesce(sum(bytes_in), 0) from ({SCENES_BY_GRID})")[0][0]
        return {
            "sources": sorted({source for _, source, _, _ in rows}),
            "scenes": [name for name, _, _, _ in rows],
            "bytes_in": int(read),
            "notes": list(dict.fromkeys(note for *_, notes in rows for note in notes.split("\n") if note)),
        }

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(query, list(values)).fetchall()


def _scene_row(scene: Scene, size: int) -> tuple[object, ...]:
    return (
        *(scene.id, scene.product, scene.platform, scene.sensor, scene.acquired, str(scene.path.absolute()), size),
        *(scene.cloud_cover, scene.sun_elevation, "\n".join(scene.notes)),
    )


def _pair(failure: Failure) -> tuple[str, str]:
    return failure.source, failure.cause


def _has_changed(scene: Scene, sha256: str, stamp: str) -> bool:
    """Whether a scene has other bytes than it had; files only touched since have not."""
    return stamp != _stamp(scene) and sha256 != hash_of(scene)


def _stamp(scene: Scene) -> str:
    try:
        return stamp_of(scene)
    except OSError:
        return ""


def _size(scene: Scene) -> int | None:
    try:
        return bytes_of(scene)
    except OSError:
        return None


def _disagree(ledger: str, name: str, difference: str) -> str:
    return (
        f"{ledger}: the {name} given now and when the cube was begun are not the same ({difference}); "
        "give the same to --resume, or another --out"
    )


def _difference(before: object, now: object) -> str:
    if isinstance(before, list) and isinstance(now, list):
        lost = [item for item in before if item not in now]
        new = [item for item in now if item not in before]
        parts = [f"{len(items)} {word}: {items[0]}" for items, word in ((lost, "gone"), (new, "new")) if items]
        return "; ".join(parts)
    return f"before {before}, now {now}"
