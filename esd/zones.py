"""The groups of a cube by coordinate system: each zone is one lattice of pixels, its groups windows of it that may overlap.

In a zone a pixel is answered by the group that has data there and whose centre is nearest; of two as near by the first by
name. Distances are counted in whole half pixels, so that no rounding decides.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .block import Block
from .cube import Cube, open_cube
from .errors import GridError
from .expr import Expr
from .grid import Region, aligned, grid_name, region_of, sub_geobox, tiles
from .image import Image, load
from .overviews import overview_geobox
from .skeleton import CHUNK, ERROR_SCALE, UNKNOWN_ERROR
from .space import CubeType
from .store_paths import Place

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["Zone", "ZoneSource", "central_meridian", "chunks_of", "require_zones", "zone_image", "zones_of"]

Whole = npt.NDArray[np.int64]
NOBODY = np.iinfo(np.int64).max
"""Rank of a pixel that no group has data for."""


@dataclass(frozen=True)
class Zone:
    """The groups of a cube in one coordinate system: the grid that covers all of them, and where on it each lies."""

    name: str
    groups: tuple[str, ...]
    places: tuple[Region, ...]
    geobox: GeoBox

    def ranks(self, number: int, rows: Whole, columns: Whole) -> Whole:
        """Return how late a group is asked for pixels of the zone: by twice the distance squared, then by name."""
        place = self.places[number]
        down, across = 2 * rows + 1 - place.y0 - place.y1, 2 * columns + 1 - place.x0 - place.x1
        return np.asarray((down**2 + across**2) * len(self.groups) + number)

    def coarser(self, cube: Cube, factor: int) -> Zone:
        """Return the zone as overviews of its groups show it, each put to the nearest pixel; itself for a factor of 1."""
        if factor == 1:
            return self
        places = []
        for group, place in zip(self.groups, self.places, strict=True):
            rows, columns = overview_geobox(cube.grids[group], factor).shape
            y0, x0 = (-math.floor(0.5 - start / factor) for start in (place.y0, place.x0))
            places.append(Region(y0, y0 + rows, x0, x0 + columns))
        names = tuple(f"{group}/overviews/{factor}" for group in self.groups)
        return Zone(self.name, names, tuple(places), overview_geobox(self.geobox, factor))


def central_meridian(geobox: GeoBox) -> float:
    """Return the longitude in the middle of a grid's UTM zone. Raises GridError for another CRS."""
    zone = geobox.crs.proj.utm_zone if geobox.crs is not None else None
    if zone is None:
        name = geobox.crs.proj.name if geobox.crs is not None else "none"
        raise GridError(f"a cube of several grids needs UTM zones, and one has the CRS {name}; give --crs and --reproject")
    return int(zone.rstrip("NS")) * 6 - 183


def require_zones(geoboxes: Sequence[GeoBox], named: bool = False) -> None:
    """Raise GridError unless grids can be one cube: UTM zones, pixels of one size, not on both sides of 180 degrees.

    Several grids of one zone have to be `named`, as tiles are, and their pixels have to coincide.
    """
    meridians = [central_meridian(geobox) for geobox in geoboxes]
    if not named and len({geobox.crs for geobox in geoboxes}) < len(geoboxes):
        raise GridError("two grids of one cube have the same CRS; give one grid for each UTM zone, or name them as tiles")
    if len({tuple(np.abs(geobox.affine[i]) for i in (0, 1, 3, 4)) for geobox in geoboxes}) > 1:
        raise GridError("grids of one cube have pixels of different size; give --crs and --reproject, or separate cubes")
    if max(meridians) - min(meridians) > 180:
        raise GridError("zones on both sides of 180 degrees are no cube; make one of each side")
    first: dict[str, GeoBox] = {}
    for geobox in geoboxes:
        if not aligned(first.setdefault(grid_name(geobox), geobox), geobox):
            raise GridError(f"tiles of {grid_name(geobox)} have pixels that do not coincide; make a cube of each")


def zones_of(grids: Mapping[str, GeoBox]) -> tuple[Zone, ...]:
    """Return the grids of a cube by zone, from west to east, northern before southern."""
    members: dict[str, list[str]] = {}
    for name in sorted(grids):
        members.setdefault(grid_name(grids[name]), []).append(name)
    if len(members) == 1:
        return tuple(_zone(name, groups, grids) for name, groups in members.items())
    order = sorted(members, key=lambda name: (central_meridian(grids[members[name][0]]), name))
    return tuple(_zone(name, members[name], grids) for name in order)


def _zone(name: str, groups: Sequence[str], grids: Mapping[str, GeoBox]) -> Zone:
    base = grids[groups[0]]
    if len(groups) == 1:
        return Zone(name, tuple(groups), (region_of(base),), base)
    found = [_place(base, grids[group]) for group in groups]
    whole = found[0]
    for place in found[1:]:
        whole = whole.union(place)
    moved = [Region(p.y0 - whole.y0, p.y1 - whole.y0, p.x0 - whole.x0, p.x1 - whole.x0) for p in found]
    return Zone(name, tuple(groups), tuple(moved), sub_geobox(base, whole))


def _place(base: GeoBox, other: GeoBox) -> Region:
    """Return the region of a grid in the pixels of another; it may lie anywhere."""
    corner: Any = ~base.affine @ (other.affine.c, other.affine.f)
    x0, y0 = (math.floor(number + 0.5) for number in corner)
    return Region(y0, y0 + other.shape.y, x0, x0 + other.shape.x)


def zone_image(cube: Cube, zone: Zone, array: str, window: dt.date) -> Image:
    """Return one array and window of a zone as a lazy image on its own pixels; see `ZoneSource`."""
    if array == "codes" and len(zone.groups) == 1:
        return load(cube, array, window, zone.groups[0])
    given = load(cube, array, window, zone.groups[0]).type
    path = str(cube.path.resolve())
    return Image(Expr("stored", (), {"source": ZoneSource(path, zone.name, array, window.isoformat(), given.time)}))


@dataclass(frozen=True)
class ZoneSource:
    """What an image of all groups of a zone is read from: `codes`, `count` or `error` of one window.

    A pixel is answered by the group that answers for its codes; it is valid where one does. `factor` is that of overviews.
    """

    path: str
    zone: str
    array: str
    window: str
    time: tuple[str, ...]
    first: int = 0
    factor: int = 1

    @property
    def token(self) -> str:
        """Hash of what is read and how."""
        return hashlib.sha256(f"{type(self).__name__} {self!r}".encode()).hexdigest()

    @property
    def properties(self) -> dict[str, Any]:
        """What the image tells of itself."""
        return {"window": self.window, "grid": self.zone}

    @property
    def type(self) -> CubeType:
        """The type of the whole image."""
        cube, zone, window = self._opened()
        given = load(cube, self.array, window, zone.groups[0]).type
        return given.with_(grid=zone.geobox, time=self.time)

    @property
    def scratch_bytes(self) -> int:
        """Bytes that reading works in beside the result: a chunk of codes and of the array, and its ranks."""
        cube = open_cube(self.path)
        return CHUNK**2 * (3 * cube.codec.steps * (cube.codec.code_dtype.itemsize + 1) + 40)

    def _opened(self) -> tuple[Cube, Zone, dt.date]:
        cube = open_cube(self.path)
        zone = next((zone for zone in cube.zones if zone.name == self.zone), None)
        if zone is None:
            raise GridError(f"{cube.path.name} has no grids in {self.zone} any more; open it again")
        return cube, zone.coarser(cube, self.factor), dt.date.fromisoformat(self.window)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups that the image shows."""
        return self._opened()[1].groups

    def at_times(self, start: int, end: int) -> ZoneSource:
        """Return the times at positions `start` to `end` of this one."""
        return replace(self, time=self.time[start:end], first=self.first + start)

    def files(self, region: Region) -> Iterable[Place]:
        """Return the files that a region is read from, those that are absent and would be read among them."""
        cube, zone, window = self._opened()
        found = {cube.path / "zarr.json"}
        for number, part in _parts(zone, region):
            for block in tiles(region_of(cube.geobox(zone.groups[number])), cube.block):
                if block.intersect(part).size:
                    names = {"codes", self.array}
                    found |= {cube.shard_file(zone.groups[number], name, window, block) for name in names}
        return found

    def read(self, region: Region) -> Block:
        """Read a region. Raises CubeError for damaged bytes."""
        cube, zone, window = self._opened()
        rank = np.full(region.shape, NOBODY)
        values: npt.NDArray[Any] | None = None
        for number, part in _parts(zone, region):
            for chunk in chunks_of(part):
                place = zone.places[number]
                rows = np.arange(chunk.y0, chunk.y1)[:, None] + place.y0
                columns = np.arange(chunk.x0, chunk.x1)[None, :] + place.x0
                mine = zone.ranks(number, rows, columns)
                inside = (rows[0, 0] - region.y0, columns[0, 0] - region.x0)
                target = tuple(slice(s, s + n) for s, n in zip(inside, chunk.shape, strict=True))
                if not (mine < rank[target]).any():
                    continue
                codes = cube.read("codes", zone.groups[number], window, chunk)
                nearer = (codes != cube.codec.fill).all(axis=0) & (mine < rank[target])
                rank[target][nearer] = mine[nearer]
                read = codes if self.array == "codes" else cube.read(self.array, zone.groups[number], window, chunk)
                if values is None:
                    values = np.full((*read.shape[:-2], *region.shape), self._empty(cube), dtype=read.dtype)
                values[..., target[0], target[1]][..., nearer] = read[..., nearer]
        return self._block(cube, values, rank != NOBODY, region)

    def _empty(self, cube: Cube) -> int:
        return {"codes": cube.codec.fill, "count": 0, "error": UNKNOWN_ERROR}[self.array]

    def _block(self, cube: Cube, values: npt.NDArray[Any] | None, known: npt.NDArray[np.bool_], region: Region) -> Block:
        if values is None:
            dtype = cube.codec.code_dtype if self.array == "codes" else np.dtype(np.uint8)
            steps = () if self.array == "error" else (cube.codec.steps,)
            values = np.full((*steps, *region.shape), self._empty(cube), dtype=dtype)
        if self.array == "error":
            error = values[None, None]
            return Block(error.astype(np.float32) * np.float32(ERROR_SCALE), error != UNKNOWN_ERROR)
        return Block(values[self.first : self.first + len(self.time), None], known[None, None])


def _parts(zone: Zone, region: Region) -> Iterator[tuple[int, Region]]:
    """Yield the groups that meet a region of the zone, nearest centre first, with the part in their own pixels."""
    middle = np.array([region.y0 + region.y1 - 1]) // 2, np.array([region.x0 + region.x1 - 1]) // 2
    for number in sorted(range(len(zone.groups)), key=lambda number: int(zone.ranks(number, *middle)[0])):
        place = zone.places[number]
        part = place.intersect(region)
        if part.size:
            yield number, Region(part.y0 - place.y0, part.y1 - place.y0, part.x0 - place.x0, part.x1 - place.x0)


def chunks_of(region: Region) -> Iterator[Region]:
    """Cut a region of a group along the chunks that it is stored in."""
    return tiles(region, CHUNK)
