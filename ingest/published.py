"""Importing published ESD tiles into a cube: their codes as they are, block by block."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from esd.cube import UNKNOWN_ERROR, Cube
from esd.dekad import MOST_COUNTED
from esd.errors import CubeError, GridError, WindowError
from esd.grid import Region
from esd.published import ESD, Tile
from esd.remote import is_address
from esd.shards import made_apart
from esd.store_paths import Place

from .fingerprint import UNREADABLE, hash_of_file
from .provenance import block_document, clear_share, origin_of

__all__ = ["COUNT_MEANS", "import_tiles"]

COUNT_MEANS = (
    "clear observations of the whole year, repeated in each of its steps: the published tiles do not tell them apart"
)
Report = Callable[[int, int], None]


def _by_window(tiles: Sequence[Tile]) -> dict[dt.date, Tile]:
    """Return the tile of each year. Raises an error where the tiles do not make one cube."""
    if not tiles:
        raise CubeError("nothing to import; name the published tiles")
    for tile in tiles:
        if tile.product != ESD:
            raise CubeError(f"{tile.name} ({tile.product}) holds vectors, not codes; open it in place with esd.open_tile")
        if tile.geobox != tiles[0].geobox:
            one, other = tiles[0].name, tile.name
            raise GridError(f"{other} has another grid than {one}; import each MGRS tile into a cube of its own")
    found: dict[dt.date, Tile] = {}
    for tile in tiles:
        window = tile.window()
        if window in found:
            raise WindowError(f"{tile.name} is of {window.year}, as {found[window].name} is; give one tile a year")
        found[window] = tile
    return dict(sorted(found.items()))


def import_tiles(tiles: Sequence[Tile], out: Place, block: int = 512, progress: Report | None = None) -> Cube:
    """Make a cube of published ESD tiles, one for each year, all on one grid.

    Codes are kept as they are, no data becomes 65535; the provenance of each block tells its tile. The count of the year is
    written in each step (`COUNT_MEANS`, 254 at most), the error is unknown. The cube appears under its name only when it is
    whole; `progress` hears blocks done and in all. Raises CubeError if `out` exists or a tile holds no codes, GridError for
    tiles on different grids, WindowError for two of one year.
    """
    chosen = _by_window(tiles)
    if out.exists():
        raise CubeError(f"{out} exists already; choose another name, or remove it first")
    first = next(iter(chosen.values()))
    hashes = {tile.name: hash_of_file(Path(tile.path)) for tile in chosen.values() if not is_address(tile.path)}
    provenance = {
        "sources": ["Published ESD tiles"],
        "scenes": [tile.name for tile in chosen.values()],
        "sha256": hashes,
        "notes": [f"count: {COUNT_MEANS}"],
    }
    with made_apart(out) as temporary:
        cube = Cube.create(temporary, first.geobox, list(chosen), first.codec, block, provenance)
        _write_blocks(cube, chosen, hashes, progress)
    return Cube.open(out)


def _write_blocks(cube: Cube, tiles: dict[dt.date, Tile], hashes: Mapping[str, str], progress: Report | None) -> None:
    grid, origin = cube.grid(), origin_of(cube, {"import": ESD, "block": cube.block, "count": COUNT_MEANS})
    tasks = [(window, region) for window in tiles for region in cube.blocks(grid)]
    for done, (window, region) in enumerate(tasks, start=1):
        codes, count = _block_of(tiles[window], window, region)
        error = np.full(region.shape, UNKNOWN_ERROR, dtype=np.uint8)
        tile = tiles[window].name
        used = [(tile, hashes.get(tile, UNREADABLE), clear_share((codes != cube.codec.fill).all(axis=0)[None]))]
        document = block_document(origin, window, region, used, [])
        cube.write_block(grid, window, region, codes, count, error, provenance=document)
        if progress is not None:
            progress(done, len(tasks))


def _block_of(tile: Tile, window: dt.date, region: Region) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """Return the codes and counts [12, y, x] of a block; a pixel without codes counts nothing."""
    read = tile.embeddings[window].read(region)
    valid = read.valid[0, 0]
    year = np.minimum(tile.counts[window].read(region).values[0, 0], MOST_COUNTED).astype(np.uint8)
    count = np.where(valid, year, np.uint8(0))
    return read.values[:, 0], np.broadcast_to(count, (tile.codec.steps, *region.shape)).copy()
