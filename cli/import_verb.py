"""`esd import`: published ESD tiles as a cube."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from esd.store_paths import place_of

from .console import AsJson, count, emit, facts, size, verb
from .progress import bar

__all__ = ["import_"]


@verb(
    "Make",
    "esd import SDC30_EBD_V001_33UWP_2004.tif vienna.esd.zarr",
    "esd import tiles/*_2004.tif tiles/*_2005.tif austria.esd.zarr",
)
def import_(
    tiles: Annotated[list[Path], typer.Argument(metavar="TILES", help="Published ESD tiles, of one place or several.")],
    store: Annotated[
        Path,
        typer.Argument(metavar="STORE", help="Cube to make or to add to: a folder, or s3://bucket/key.", parser=place_of),
    ],
    year: Annotated[int | None, typer.Option(help="Year of a single tile, where its name does not tell it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a cube of published ESD tiles, or add them to one: codes as they are, a grid for each MGRS tile.

    Tiles of one cube are read as one: where they overlap, the one answers whose centre is nearest.
    Everything but reflectance can be asked of it: embeddings, similarity, classes, change. A decoder has not been published.
    """
    from esd.ingest.published import import_tiles
    from esd.published import open_tile

    with bar("Importing") as progress:
        cube = import_tiles([open_tile(tile, year=year) for tile in tiles], store, progress=progress.done)
    document: dict[str, Any] = {
        "cube": store,
        "encoder": cube.codec.id,
        "windows": cube.windows,
        "tiles": [tile.name for tile in tiles],
        "disk_bytes": sum(cube.bytes_on_disk().values()),
        "notes": cube.attrs["esd:provenance"]["notes"],
    }
    rows = [
        ("cube", store),
        ("windows", ", ".join(str(window) for window in cube.windows)),
        ("tiles", count(len(tiles), "tile")),
        ("on disk", size(document["disk_bytes"])),
        *(("note", line) for line in document["notes"]),
    ]
    emit(document, as_json, lambda console: console.print(facts(rows)))


import_.__name__ = "import"  # the verb's name, which is a word of Python's own
