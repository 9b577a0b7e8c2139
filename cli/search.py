"""`esd search`: which scenes and cubes there are, where and when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esd.errors import TableError

from .arguments import numbers
from .console import AsJson, count, emit, listing, note, verb

if TYPE_CHECKING:
    from rich.console import Console

    from esd.query.catalog import Catalog, Item

__all__ = ["add_to_catalog", "open_catalog", "search"]

SHOWN_ITEMS = 40


@verb(
    "Look",
    "esd search catalog.duckdb --add scenes/landsat region.esd.zarr",
    "esd search catalog.duckdb --stac catalog.json --bbox 14.5,48.0,14.7,48.2 --start 2004-01-01 --end 2005-01-01",
    'esd search catalog.duckdb --bbox 14.5,48.0,14.7,48.2 --start 2004-06-01 --end 2004-09-01 --where "cloud_cover < 20"',
)
def search(
    catalog: Annotated[Path, typer.Argument(metavar="[CATALOG]", help="Catalog file.")] = Path("catalog.duckdb"),
    bbox: Annotated[str | None, typer.Option(metavar="W,S,E,N", help="Box in degrees that a footprint must meet.")] = None,
    geometry: Annotated[Path | None, typer.Option(metavar="GEOJSON", help="Area that a footprint must meet.")] = None,
    start: Annotated[str | None, typer.Option(metavar="DATE", help="First day.")] = None,
    end: Annotated[str | None, typer.Option(metavar="DATE", help="Day after the last.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(metavar="FILTER", help='Such as "cloud_cover < 20"; repeatable.')
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only scene or cube.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many.", min=1)] = None,
    add: Annotated[bool, typer.Option("--add", help="First add the scenes and cubes at the PATHS given after it.")] = False,
    stac: Annotated[
        str | None, typer.Option("--stac", metavar="URL", help="First add what this STAC catalog or API (file or URL) has.")
    ] = None,
    collection: Annotated[list[str] | None, typer.Option(help="With --stac: only this collection; repeatable.")] = None,
    paths: Annotated[list[Path] | None, typer.Argument(metavar="[PATHS]", help="Scenes and cubes, with --add.")] = None,
    as_json: AsJson = False,
) -> None:
    """Search a catalog of scenes and cubes by place, time and properties; --add puts scenes and cubes into it.

    --stac first asks a STAC catalog or API the same, and keeps what it finds: rows in the catalog, and items as files beside
    it, which esd ingest reads.
    """
    from esd.query.filters import parse_filters

    if paths and not add:
        raise TableError(f"{paths[0]} is not looked at; give --add before the paths of what the catalog is to hold")
    if add and not paths:
        raise TableError(f"--add has nothing to add; name catalog and paths: esd search catalog.duckdb --add {catalog}")
    if not add and stac is None and not catalog.is_file():
        raise TableError(f"catalog {catalog} is not there; make one with: esd search {catalog} --add SCENES CUBES")
    box = numbers(bbox, "west,south,east,north") if bbox is not None else None
    filters = parse_filters(where or [])
    area = _geometry(geometry) if geometry is not None else None
    with open_catalog(catalog) as opened:
        added = add_to_catalog(opened, paths or ()) if add else 0
        if stac is not None:
            added += _add_stac(opened, stac, catalog, (box, start, end, filters, collection or (), limit))
        found = opened.search(box, area, start, end, filters, kind, limit)  # type: ignore[arg-type]  # four numbers, checked
        total = len(opened)
    items = [_document(item) for item in found]
    document = {"catalog": catalog, "items_in_catalog": total, "added": added, "found": len(items), "items": items}
    emit(document, as_json, lambda console: _show(document, console))


def open_catalog(path: Path) -> Catalog:
    """Open a catalog, made where there is none. Raises TableError if the file is something else."""
    from esd.query.catalog import Catalog

    return Catalog(path)


def add_to_catalog(catalog: Catalog, paths: Sequence[Path]) -> int:
    """Add cubes, and all scenes found under the other paths; return how many. Names what cannot be used."""
    from esd.cube import Cube
    from esd.ingest.readers import find_scenes

    for path in paths:
        if not path.exists():
            raise TableError(f"{path} is not there; give the paths of scenes, of folders that hold them, or of cubes")
    cubes = [path for path in paths if (path / "zarr.json").is_file()]
    scenes, failures = find_scenes([path for path in paths if path not in cubes])
    for failure in failures:
        note(f"left out {failure.source}: {failure.cause}")
    return catalog.add_scenes(scenes) + sum(catalog.add_cube(Cube.open(path)) for path in cubes)


def _add_stac(opened: Catalog, url: str, catalog: Path, conditions: tuple[Any, ...]) -> int:
    """Add what a STAC catalog has under the conditions of the search, and say where the items lie."""
    from esd.query.stac import add_stac, items_folder

    folder = items_folder(catalog)
    added = add_stac(opened, url, folder, *conditions)
    note(f"{count(added, 'item')} of {url} in {folder}; read them with: esd ingest {folder} --out CUBE")
    return added


def _geometry(path: Path) -> Any:
    import shapely
    from shapely.geometry import shape

    if not path.is_file():
        raise TableError(f"area {path} is not there; give a GeoJSON file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        features = content.get("features", [content])
        return shapely.union_all([shape(feature.get("geometry") or feature) for feature in features])
    except (ValueError, KeyError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        raise TableError(f"area {path.name} is not GeoJSON ({error}); save it as GeoJSON in WGS 84") from error


def _document(item: Item) -> dict[str, Any]:
    facts = {name: value for name, value in vars(item).items() if name != "footprint"}
    return {**facts, "bounds": list(item.footprint.bounds)}


def _show(document: dict[str, Any], console: Console) -> None:
    rows = [
        (
            item["id"] if item["kind"] == "scene" else item["path"],
            item["platform"] or item["product"],
            item["start"],
            item["end"] if item["end"] != item["start"] else "",
            f"{item['cloud_cover']:.0f} %" if item["cloud_cover"] is not None else "",
        )
        for item in document["items"][:SHOWN_ITEMS]
    ]
    if document["added"]:
        console.print(f"added {count(document['added'], 'item')}")
    console.print(listing(["scene or cube", "platform or encoder", "from", "to", ">cloud"], rows))
    more = document["found"] - SHOWN_ITEMS
    tail = f", {SHOWN_ITEMS} of them shown (--json tells all)" if more > 0 else ""
    console.print(f"{document['found']} of {document['items_in_catalog']} items{tail}", style="dim")
