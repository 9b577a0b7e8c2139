"""Importing published ESD tiles into a cube: their codes as they are, block by block, each MGRS tile a group."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from esd.cube import UNKNOWN_ERROR, Cube
from esd.dekad import MOST_COUNTED
from esd.errors import CubeError, EncoderError, GridError, WindowError
from esd.extend import add_grids, add_windows, set_provenance
from esd.grid import Region, grid_name
from esd.published import ESD, Tile
from esd.remote import is_address
from esd.shards import made_apart
from esd.store_paths import Place

from .fingerprint import UNREADABLE, hash_of_file
from .ledger_place import write_lock
from .provenance import block_document, clear_share, origin_of

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["COUNT_MEANS", "import_tiles"]

COUNT_MEANS = (
    "clear observations of the whole year, repeated in each of its steps: the published tiles do not tell them apart"
)
Report = Callable[[int, int], None]
_MGRS = re.compile(r"(?<![0-9A-Za-z])(\d{2}[C-X][A-Z][A-V])(?![0-9A-Za-z])")


Years = dict[dt.date, Tile]


def _require_codes(tiles: Sequence[Tile]) -> None:
    """Raise CubeError unless there are tiles, all of codes."""
    if not tiles:
        raise CubeError("nothing to import; name the published tiles")
    for tile in tiles:
        if tile.product != ESD:
            raise CubeError(f"{tile.name} ({tile.product}) holds vectors, not codes; open it in place with esd.open_tile")


def _by_group(tiles: Sequence[Tile], known: Mapping[str, GeoBox]) -> dict[str, Years]:
    """Return the tiles of each group of a cube by window: a group is an MGRS tile, by the name of its files.

    A file without such a name belongs to the group whose grid it has, else to one named by its coordinate system. Raises
    GridError where tiles of one name have different grids, WindowError for two of one year.
    """
    grids = dict(known)
    found: dict[str, Years] = {}
    for tile in sorted(tiles, key=lambda tile: _MGRS.search(tile.name) is None):
        named = _MGRS.search(tile.name)
        same = [name for name, geobox in grids.items() if geobox == tile.geobox]
        group = named[1] if named and named[1] not in same else same[0] if same else grid_name(tile.geobox)
        if grids.setdefault(group, tile.geobox) != tile.geobox:
            raise GridError(f"{tile.name} has another grid than {group}; name MGRS tiles as published (.._33UWP_2004.tif)")
        years = found.setdefault(group, {})
        if tile.window() in years:
            year = tile.window().year
            raise WindowError(f"{tile.name} is of {year}, as {years[tile.window()].name} is; give one tile a year")
        years[tile.window()] = tile
    return {group: dict(sorted(years.items())) for group, years in sorted(found.items())}


def import_tiles(tiles: Sequence[Tile], out: Place, block: int = 512, progress: Report | None = None) -> Cube:
    """Make a cube of published ESD tiles, or add them to one: a group for each MGRS tile, a window for each year.

    Codes are kept as they are, no data becomes 65535; the provenance of each block tells its tile. The count of the year is
    written in each step (`COUNT_MEANS`, 254 at most), the error is unknown. A new cube appears under its name only when it
    is whole; of an import into an older one that was killed, the same call writes what is missing. `progress` hears blocks
    done and in all. Raises CubeError if a tile holds no codes or `out` is no cube, EncoderError if it is one of another
    encoder, GridError for tiles of one name on different grids, WindowError for two of one year, for one that is there, or
    one before the cube's.
    """
    _require_codes(tiles)
    if out.exists():
        with write_lock(out):
            return _add(tiles, Cube.open(out), progress)
    groups = _by_group(tiles, {})
    windows = sorted({window for years in groups.values() for window in years})
    grids = {group: next(iter(years.values())).geobox for group, years in groups.items()}
    with made_apart(out) as temporary:
        hashes = _hashes(tiles)
        origin = _origin({}, tiles, hashes)
        cube = Cube.create(temporary, grids, windows, tiles[0].codec, block, origin)
        _write_blocks(cube, groups, hashes, progress)
    return Cube.open(out)


def _add(tiles: Sequence[Tile], cube: Cube, progress: Report | None) -> Cube:
    """Add tiles to a cube that is there: groups and windows that it lacks first, empty, then their blocks."""
    for tile in tiles:
        if tile.codec.sha256 != cube.codec.sha256:
            raise EncoderError(
                f"{cube.path.name} is of encoder {cube.codec.id}, {tile.name} of {tile.codec.id}; give another name"
            )
    groups = _by_group(tiles, cube.grids)
    for group, years in groups.items():
        for window, tile in years.items():
            if group in cube.grids and window in cube.windows and _is_there(cube, group, window):
                raise WindowError(f"{window.year} of {group} is in {cube.path.name} already; leave {tile.name} out")
    hashes = _hashes(tiles)
    new = {name: next(iter(years.values())).geobox for name, years in groups.items() if name not in cube.grids}
    windows = sorted({window for years in groups.values() for window in years})
    cube = add_grids(add_windows(cube, windows), new)
    _write_blocks(cube, groups, hashes, progress)
    set_provenance(cube, _origin(cube.attrs["esd:provenance"], tiles, hashes))
    return Cube.open(cube.path)


def _is_there(cube: Cube, group: str, window: dt.date) -> bool:
    return all(cube.provenance_file(group, window, block).is_file() for block in cube.blocks(group))


def _hashes(tiles: Sequence[Tile]) -> dict[str, str]:
    return {tile.name: hash_of_file(Path(tile.path)) for tile in tiles if not is_address(tile.path)}


def _origin(before: Mapping[str, Any], tiles: Sequence[Tile], hashes: Mapping[str, str]) -> dict[str, Any]:
    """Return what a cube tells of all tiles in it, and those that it told of before, in one order."""
    return {
        "sources": ["Published ESD tiles"],
        "scenes": sorted({*before.get("scenes", ()), *(tile.name for tile in tiles)}),
        "sha256": dict(sorted({**before.get("sha256", {}), **hashes}.items())),
        "notes": [f"count: {COUNT_MEANS}"],
    }


def _write_blocks(cube: Cube, groups: Mapping[str, Years], hashes: Mapping[str, str], progress: Report | None) -> None:
    origin = origin_of(cube, {"import": ESD, "block": cube.block, "count": COUNT_MEANS})
    tasks = [
        (group, tile, window, region)
        for group, years in groups.items()
        for window, tile in years.items()
        for region in cube.blocks(group)
    ]
    for done, (group, tile, window, region) in enumerate(tasks, start=1):
        codes, count = _block_of(tile, window, region)
        error = np.full(region.shape, UNKNOWN_ERROR, dtype=np.uint8)
        clear = clear_share((codes != cube.codec.fill).all(axis=0)[None])
        document = block_document(origin, window, region, [(tile.name, hashes.get(tile.name, UNREADABLE), clear)], [])
        cube.write_block(group, window, region, codes, count, error, provenance=document)
        if progress is not None:
            progress(done, len(tasks))


def _block_of(tile: Tile, window: dt.date, region: Region) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """Return the codes and counts [12, y, x] of a block; a pixel without codes counts nothing."""
    read = tile.embeddings[window].read(region)
    valid = read.valid[0, 0]
    year = np.minimum(tile.counts[window].read(region).values[0, 0], MOST_COUNTED).astype(np.uint8)
    count = np.where(valid, year, np.uint8(0))
    return read.values[:, 0], np.broadcast_to(count, (tile.codec.steps, *region.shape)).copy()
