"""Overviews of a cube: smaller copies of its codes, by a declared policy that never averages codes.

`nearest` takes the pixel at the centre of each square, row and column f * i + f // 2: what a reprojection by nearest
neighbour to that grid gives. `nearest_to_mean` goes level by level: of the valid pixels among two by two it takes the one
whose embedding of the whole year is nearest to their mean, the first one in rows and columns where two are as near.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from .chunks import attributes_of
from .conventions import grid_attributes
from .errors import CubeError
from .grid import Region, make_geobox, region_of, tiles
from .store_paths import Place, files_of, remove_tree

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from .codec import Codec
    from .cube import Cube

__all__ = ["POLICIES", "build", "factors", "mark_stale", "overview_geobox", "stale_blocks"]

POLICIES = ("nearest", "nearest_to_mean")
Codes = npt.NDArray[np.unsignedinteger]


def overview_geobox(geobox: GeoBox, factor: int) -> GeoBox:
    """Return the grid of an overview: `factor` times coarser, the last row and column may reach beyond the grid."""
    shape = (-(-geobox.shape.y // factor), -(-geobox.shape.x // factor))
    return make_geobox(shape, geobox.affine @ Affine.scale(factor), geobox.crs)


def _folder(cube: Cube, grid: str) -> Place:
    return cube.path / grid / "overviews"


def factors(cube: Cube, grid: str) -> tuple[int, ...]:
    """Return the factors of a grid's overviews that are complete, in order."""
    if not (_folder(cube, grid) / "zarr.json").is_file():
        return ()
    return tuple(attributes_of(_folder(cube, grid)).get("esd:factors", ()))


def _stale_folder(cube: Cube, grid: str) -> Place:
    """Notes lie inside of an array, where Zarr looks for nothing but chunks."""
    return _folder(cube, grid) / "2" / "codes" / "stale"


def mark_stale(cube: Cube, grid: str, window: dt.date, region: Region) -> None:
    """Note that a block is written: until they are built again, overviews do not show it."""
    if _folder(cube, grid).is_dir():
        folder = _stale_folder(cube, grid)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{window.isoformat()}.{region.y0}.{region.x0}").touch()


def stale_blocks(cube: Cube, grid: str) -> Iterator[tuple[dt.date, Region]]:
    """Yield the window and region of each block that was written after the overviews were built."""
    folder, whole = _stale_folder(cube, grid), region_of(cube.grids[grid])
    for note in sorted(parts[-1] for parts, _ in files_of(folder)):
        window, y, x = note.rsplit(".", 2)
        block = Region(int(y), int(y) + cube.block, int(x), int(x) + cube.block).intersect(whole)
        yield dt.date.fromisoformat(window), block


def _wanted_factors(geobox: GeoBox, smallest: int) -> tuple[int, ...]:
    found, factor = [], 1
    while -(-max(geobox.shape) // factor) > smallest:
        factor *= 2
        found.append(factor)
    return tuple(found)


def build(cube: Cube, grid: str, policy: str, smallest: int) -> tuple[int, ...]:
    """Build the overviews of a grid; see `Cube.build_overviews`."""
    if policy not in POLICIES:
        raise CubeError(f"overview policy {policy!r} is not one of {', '.join(POLICIES)}")
    if smallest < 1:
        raise CubeError(f"smallest={smallest} pixels is out of range; give 1 or more")
    geobox, wanted = cube.grids[grid], _wanted_factors(cube.grids[grid], smallest)
    if not wanted:
        return ()
    every = [(window, region_of(geobox)) for window in cube.windows]
    same = factors(cube, grid) == wanted and attributes_of(_folder(cube, grid))["esd:policy"] == policy
    changed = list(stale_blocks(cube, grid)) if same else every
    if not same:
        _make_groups(cube, grid, policy, wanted)
    attributes = cube.root[f"{grid}/overviews"].attrs
    attributes["esd:factors"] = []
    remove_tree(_stale_folder(cube, grid))
    for window, region in changed:
        for factor in wanted:
            _build_level(cube, grid, window, region, factor, policy)
    attributes["esd:factors"] = list(wanted)
    return wanted


def _make_groups(cube: Cube, grid: str, policy: str, wanted: tuple[int, ...]) -> None:
    from .skeleton import create_array

    remove_tree(_folder(cube, grid))
    group = cube.root.create_group(f"{grid}/overviews", attributes={"esd:policy": policy, "esd:factors": []})
    for factor in wanted:
        geobox = overview_geobox(cube.grids[grid], factor)
        attributes = {**grid_attributes(geobox), "esd:overview": {"factor": factor, "policy": policy}}
        level = group.create_group(str(factor), attributes=attributes)
        create_array(level, "codes", geobox, len(cube.windows), cube.block, cube.codec)


def _build_level(cube: Cube, grid: str, window: dt.date, changed: Region, factor: int, policy: str) -> None:
    """Write the blocks of one overview that show a changed region of the grid itself."""
    group = f"{grid}/overviews/{factor}"
    touched = Region(changed.y0 // factor, -(-changed.y1 // factor), changed.x0 // factor, -(-changed.x1 // factor))
    index, array = cube.windows.index(window), cube.array(group, "codes")
    for block in tiles(region_of(cube.geobox(group)), cube.block):
        if block.intersect(touched).size:
            chosen = _nearest(cube, grid, index, block, factor)
            if policy == "nearest_to_mean":
                below = grid if factor == 2 else f"{grid}/overviews/{factor // 2}"
                chosen = _nearest_to_mean(cube, below, index, block)
            array[(index, ..., *block.slices)] = chosen


def _nearest(cube: Cube, grid: str, window: int, block: Region, factor: int) -> Codes:
    """Return the codes at the centres of the squares; those of the last row and column lie on the grid's edge at most."""
    height, width = cube.grids[grid].shape
    rows = np.minimum(np.arange(block.y0, block.y1) * factor + factor // 2, height - 1)
    columns = np.minimum(np.arange(block.x0, block.x1) * factor + factor // 2, width - 1)
    array: Any = cube.array(grid, "codes")
    return np.asarray(array.oindex[window, :, rows, columns])


def _nearest_to_mean(cube: Cube, below: str, window: int, block: Region) -> Codes:
    under = Region(2 * block.y0, 2 * block.y1, 2 * block.x0, 2 * block.x1)
    held = under.intersect(region_of(cube.geobox(below)))
    codec = cube.codec
    codes = np.full((codec.steps, *under.shape), codec.fill, dtype=codec.code_dtype)
    codes[:, : held.shape[0], : held.shape[1]] = cube.array(below, "codes")[(window, ..., *held.slices)]
    return nearest_to_mean(codes, codec)


def nearest_to_mean(codes: Codes, codec: Codec) -> Codes:
    """Return, of each two by two pixels, the codes of the one whose embedding is nearest to the mean of the valid.

    `codes` are [steps, 2 y, 2 x]; the result is [steps, y, x], `codec.fill` where none of the four is valid.
    """
    corners = [codes[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    valid = np.stack([(corner != codec.fill).all(axis=0) for corner in corners])
    share = valid / np.maximum(valid.sum(axis=0), 1)
    distance = np.zeros(valid.shape, dtype=np.float64)
    for step in range(codes.shape[0]):
        values = [codec.embed(corner[step]).astype(np.float64) for corner in corners]
        mean = sum(value * part[..., None] for value, part in zip(values, share, strict=True))
        for total, value in zip(distance, values, strict=True):
            for dim in range(codec.fsq.dims):
                total += (value[..., dim] - mean[..., dim]) ** 2
    nothing = codec.code_dtype.type(codec.fill)
    best = np.argmin(np.where(valid, distance, np.inf), axis=0)
    candidates = [np.where(ok, corner, nothing) for ok, corner in zip(valid, corners, strict=True)]
    chosen = np.choose(best[None], candidates)
    return np.where(valid.any(axis=0), chosen, nothing).astype(codec.code_dtype)
