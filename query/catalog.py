"""The catalog: which scenes and cubes there are, where and when, in one DuckDB file.

Rows lie on disk in the order of a Morton curve, then time, so that a box and a time read few of them; what DuckDB leaves is
tested exactly, footprint against area, with shapely. Values reach SQL as parameters only.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import duckdb
import pandas as pd
import pyarrow as pa
import shapely
from shapely.geometry.base import BaseGeometry

from esd.cube import Cube
from esd.dekad import window_end
from esd.errors import TableError
from esd.grid import GeoBox

from .filters import Where, conditions
from .footprint import box_lonlat, footprint_of, morton_code

__all__ = ["Catalog", "Item", "SceneLike", "day_of", "frame_of"]

VERSION = 1
KINDS = ("scene", "cube")
CELL_BITS = 12
"""Low bits of the Morton code that the order on disk ignores: within a cell of about 0.35 degrees rows lie by time."""


class SceneLike(Protocol):
    """What the catalog wants to know of a scene; `esd.ingest.scene.Scene` has it."""

    @property
    def id(self) -> str:
        """Name of the scene, unique."""
        ...

    @property
    def product(self) -> str:
        """Name of the product."""
        ...

    @property
    def platform(self) -> str:
        """Name of the satellite."""
        ...

    @property
    def sensor(self) -> str:
        """Name of the sensor."""
        ...

    @property
    def period(self) -> tuple[dt.date, dt.date]:
        """First and last day of its observations."""
        ...

    @property
    def geobox(self) -> GeoBox:
        """Its grid."""
        ...

    @property
    def path(self) -> Path:
        """Where it lies."""
        ...

    @property
    def cloud_cover(self) -> float | None:
        """Percent, None where unknown."""
        ...

    @property
    def sun_elevation(self) -> float | None:
        """Degrees, None where unknown."""
        ...


@dataclass(frozen=True)
class Item:
    """One row of the catalog. `start` and `end` are the first and last day; `footprint` is in WGS 84 degrees.

    `cloud_cover` is in percent, `sun_elevation` in degrees. `encoder` is the SHA-256 of a cube's, None for scenes; a cube
    has one item for each of its grids.
    """

    id: str
    kind: str
    product: str
    platform: str | None
    sensor: str | None
    encoder: str | None
    start: dt.date
    end: dt.date
    cloud_cover: float | None
    sun_elevation: float | None
    path: str
    footprint: BaseGeometry


_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("kind", pa.string()),
        ("product", pa.string()),
        ("platform", pa.string()),
        ("sensor", pa.string()),
        ("encoder", pa.string()),
        ("start", pa.date32()),
        ("end", pa.date32()),
        ("cloud_cover", pa.float64()),
        ("sun_elevation", pa.float64()),
        ("path", pa.string()),
        ("footprint", pa.binary()),
        ("xmin", pa.float64()),
        ("ymin", pa.float64()),
        ("xmax", pa.float64()),
        ("ymax", pa.float64()),
        ("morton", pa.uint64()),
    ]
)
_COLUMNS = ", ".join(f'"{field.name}"' for field in fields(Item))


def _row(item: Item) -> dict[str, Any]:
    xmin, ymin, xmax, ymax = item.footprint.bounds
    middle = item.footprint.representative_point()
    facts = {field.name: getattr(item, field.name) for field in fields(Item)}
    box = {"xmin": xmin, "ymin": ymin, "xmax": xmax, "ymax": ymax}
    return {**facts, "footprint": shapely.to_wkb(item.footprint), **box, "morton": morton_code(middle.x, middle.y)}


def _item(row: Sequence[Any]) -> Item:
    facts = dict(zip((field.name for field in fields(Item)), row, strict=True))
    return Item(**{**facts, "footprint": shapely.from_wkb(facts["footprint"])})


def _of_scene(scene: SceneLike) -> Item:
    start, end = scene.period
    return Item(
        id=scene.id,
        kind="scene",
        product=scene.product,
        platform=scene.platform,
        sensor=scene.sensor,
        encoder=None,
        start=start,
        end=end,
        cloud_cover=scene.cloud_cover,
        sun_elevation=scene.sun_elevation,
        path=str(Path(scene.path).resolve()),
        footprint=footprint_of(scene.geobox),
    )


def _of_cube(cube: Cube, grid: str) -> Item:
    path = str(cube.path.resolve())
    return Item(
        id=f"{path}#{grid}",
        kind="cube",
        product=cube.codec.id,
        platform=None,
        sensor=None,
        encoder=cube.codec.sha256,
        start=cube.windows[0],
        end=window_end(cube.windows[-1]) - dt.timedelta(days=1),
        cloud_cover=None,
        sun_elevation=None,
        path=path,
        footprint=footprint_of(cube.grids[grid]),
    )


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All of it, or nothing."""
    connection.begin()
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


class Catalog:
    """A catalog in a DuckDB file, made where there is none; None keeps it in memory. Close it, or use it in a `with`.

    Raises TableError if the file is something else, of another version, or in use by another process.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = duckdb.connect(":memory:" if self.path is None else str(self.path))
        except duckdb.Error as error:
            reason = " ".join(str(error).split())[:120]
            raise TableError(f"{self.path} cannot be opened as a catalog ({reason}); name another file") from error
        self._prepare()

    def _prepare(self) -> None:
        tables = {name for (name,) in self._rows("SELECT table_name FROM duckdb_tables()")}
        if not tables:
            with _transaction(self._connection):
                self._connection.execute("CREATE TABLE esd_catalog AS SELECT ?::INTEGER AS version", [VERSION])
                self._connection.register("incoming", _SCHEMA.empty_table())
                self._connection.execute("CREATE TABLE items AS SELECT * FROM incoming")
                self._connection.unregister("incoming")
            return
        if not {"esd_catalog", "items"} <= tables:
            self.close()
            raise TableError(f"{self.path} is a DuckDB file but no catalog; name another file")
        found = [version for (version,) in self._rows("SELECT version FROM esd_catalog")]
        if found != [VERSION]:
            self.close()
            raise TableError(f"{self.path} has catalog version {found}; this version of esd reads {VERSION}")

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query to its end: DuckDB refuses other work on a connection with rows left to fetch."""
        return self._connection.execute(query, list(values)).fetchall()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return int(self._rows("SELECT count(*) FROM items")[0][0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def add_scenes(self, scenes: Iterable[SceneLike]) -> int:
        """Add scenes; one whose id is there already takes its place. Returns how many. All or none."""
        return self._add([_of_scene(scene) for scene in scenes])

    def add_cube(self, cube: Cube) -> int:
        """Add a cube, one item for each of its grids; the same path takes its own place. Returns how many."""
        return self._add([_of_cube(cube, grid) for grid in cube.grids])

    def add_items(self, items: Iterable[Item]) -> int:
        """Add items; one whose id is there already takes its place. Returns how many. All or none."""
        return self._add(list(items))

    def _add(self, items: Sequence[Item]) -> int:
        rows = list({item.id: _row(item) for item in items}.values())
        if not rows:
            return 0
        connection = self._connection
        connection.register("incoming", pa.Table.from_pylist(rows, schema=_SCHEMA))
        with _transaction(connection):
            connection.execute("DELETE FROM items WHERE id IN (SELECT id FROM incoming)")
            connection.execute("INSERT INTO items SELECT * FROM incoming")
            ordered = f'SELECT * FROM items ORDER BY morton >> {CELL_BITS}, start, "end", id'
            connection.execute(f"CREATE OR REPLACE TABLE items AS {ordered}")
        connection.unregister("incoming")
        return len(rows)

    def search(
        self,
        bbox: tuple[float, float, float, float] | None = None,
        geometry: BaseGeometry | Mapping[str, Any] | None = None,
        start: str | dt.date | None = None,
        end: str | dt.date | None = None,
        where: Where | None = None,
        kind: str | None = None,
        limit: int | None = None,
    ) -> list[Item]:
        """Return the items that meet all conditions, by first day, then id.

        `bbox` is west, south, east, north and `geometry` a shapely geometry or GeoJSON mapping, both in WGS 84 degrees; a
        footprint must meet them, touching counts. An item's days must meet start <= day < end (ISO dates). `where` filters
        properties: {"platform": "LANDSAT_5", "cloud_cover": {"<": 20}} (see `esd.query.filters`). `kind` is scene or cube.
        """
        if kind is not None and kind not in KINDS:
            raise TableError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
        area = _area(bbox, geometry)
        clauses, values = conditions(where or {})
        for clause, value in (('"end" >= ?', start), ('"start" < ?', end), ("kind = ?", kind)):
            if value is not None:
                clauses.append(clause)
                values.append(value if clause.startswith("kind") else day_of(value))
        if area is not None:
            boxes = [part.bounds for part in getattr(area, "geoms", [area])]
            meets = "(xmin <= ? AND xmax >= ? AND ymin <= ? AND ymax >= ?)"
            clauses.append("(" + " OR ".join([meets] * len(boxes)) + ")")
            values += [edge for west, south, east, north in boxes for edge in (east, west, north, south)]
        filters = " AND ".join(clauses) or "true"
        found = self._rows(f'SELECT {_COLUMNS} FROM items WHERE {filters} ORDER BY start, "end", id', values)
        items = [_item(row) for row in found]
        if area is not None:
            shapely.prepare(area)
            items = [item for item in items if shapely.intersects(area, item.footprint)]
        return items[:limit]


def frame_of(items: Sequence[Item]) -> pd.DataFrame:
    """Return items as a table; `footprint` holds shapely geometries."""
    names = [field.name for field in fields(Item)]
    return pd.DataFrame({name: [getattr(item, name) for item in items] for name in names}, columns=names)


def day_of(value: str | dt.date) -> dt.date:
    """Return the day that an ISO text or a date names. Raises TableError for another text."""
    try:
        return value if isinstance(value, dt.date) else dt.date.fromisoformat(value)
    except ValueError as error:
        raise TableError(f"{value!r} is not a date; write it as 2004-07-01") from error


def _area(
    bbox: tuple[float, float, float, float] | None, geometry: BaseGeometry | Mapping[str, Any] | None
) -> BaseGeometry | None:
    """Return the area asked for, None for everywhere. Raises TableError for a geometry that is none."""
    if geometry is not None and not isinstance(geometry, BaseGeometry):
        try:
            geometry = shapely.geometry.shape(geometry)
        except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.GEOSException) as error:
            raise TableError("the area is not a GeoJSON geometry; give {'type': 'Polygon', 'coordinates': ...}") from error
    if bbox is None:
        return geometry
    box = box_lonlat(*bbox)
    return box if geometry is None else shapely.intersection(box, geometry)
