"""Which group of a cube answers for a place: the rule of `esd.mosaic`, for points and for a group's own pixels."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .grid import Region, lonlat_to_pixels, meet, region_of, sub_geobox
from .skeleton import CHUNK
from .zones import NOBODY, central_meridian

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from .cube import Cube

__all__ = ["Answered", "answering", "chunks_with_points", "own_pixels", "pixel_at"]

Whole = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]
OTHER_ZONE = 2**56
"""Added to the rank of a group for each zone that is asked before its own; no distance is as large."""
OUTSIDE = -1


@dataclass(frozen=True)
class Answered:
    """For each point the group that answers, as a number in `names` (-1 for none), and the row and column in it."""

    names: tuple[str, ...]
    group: Whole
    rows: Whole
    columns: Whole

    def by_group(self) -> Iterator[tuple[str, Whole]]:
        """Yield each group that answers for any point, with the positions of those."""
        for number in np.unique(self.group[self.group != OUTSIDE]):
            yield self.names[number], np.flatnonzero(self.group == number)


@dataclass
class _Candidate:
    name: str
    rank: Whole
    rows: Whole
    columns: Whole


def chunks_with_points(rows: Whole, columns: Whole, inside: Mask) -> Iterator[tuple[Whole, Region]]:
    """Yield, for each chunk that holds points, their positions and the smallest region around them."""
    held = np.flatnonzero(inside)
    if held.size == 0:
        return
    chunk = np.stack([rows[held], columns[held]]) // CHUNK
    _, which = np.unique(chunk, axis=1, return_inverse=True)
    which = which.reshape(-1)
    order = np.argsort(which, kind="stable")
    for part in np.split(held[order], np.flatnonzero(np.diff(which[order])) + 1):
        y, x = rows[part], columns[part]
        yield part, Region(int(y.min()), int(y.max()) + 1, int(x.min()), int(x.max()) + 1)


def answering(cube: Cube, window: dt.date, longitude: npt.ArrayLike, latitude: npt.ArrayLike) -> Answered:
    """Return which group answers for each point (WGS 84 degrees) in a window, and its pixel there.

    It is the first by the rule of `esd.mosaic` that has data; where none has, the first that reaches there.
    """
    lon, lat = np.asarray(longitude, dtype=float).reshape(-1), np.asarray(latitude, dtype=float).reshape(-1)
    candidates = _candidates(cube, lon, lat)
    ranks = np.stack([one.rank for one in candidates]) if candidates else np.full((1, lon.size), NOBODY)
    first = np.where(ranks.min(axis=0) == NOBODY, OUTSIDE, ranks.argmin(axis=0))
    chosen = first.copy()
    open_ = np.flatnonzero(first != OUTSIDE)
    while open_.size:
        best = ranks[:, open_].argmin(axis=0)
        nobody = ranks[best, open_] == NOBODY
        chosen[open_[nobody]] = first[open_[nobody]]
        open_, best = open_[~nobody], best[~nobody]
        chosen[open_] = best
        known = np.zeros(open_.size, dtype=bool)
        for number in np.unique(best):
            one, mine = candidates[number], np.flatnonzero(best == number)
            known[mine] = _has_data(cube, one.name, window, one.rows[open_[mine]], one.columns[open_[mine]])
        ranks[best[~known], open_[~known]] = NOBODY
        open_ = open_[~known]
    rows, columns = np.full(lon.size, OUTSIDE), np.full(lon.size, OUTSIDE)
    for number, one in enumerate(candidates):
        mine = chosen == number
        rows[mine], columns[mine] = one.rows[mine], one.columns[mine]
    return Answered(tuple(one.name for one in candidates), chosen, rows, columns)


def pixel_at(
    cube: Cube, window: dt.date, longitude: float, latitude: float, grid: str | None = None
) -> tuple[str | None, Region]:
    """Return the group that answers for a point, or the one that is named, and the pixel in it; None where it is outside."""
    if grid is None and len(cube.grids) > 1:
        answered = answering(cube, window, [longitude], [latitude])
        name = answered.names[int(answered.group[0])] if answered.group[0] != OUTSIDE else None
        row, column = int(answered.rows[0]), int(answered.columns[0])
        return name, Region(row, row + 1, column, column + 1)
    name = cube.grid(grid)
    row, column = (int(number[0]) for number in lonlat_to_pixels(cube.grids[name], [longitude], [latitude]))
    pixel = Region(row, row + 1, column, column + 1)
    return name if pixel.intersect(region_of(cube.grids[name])) == pixel else None, pixel


def _candidates(cube: Cube, lon: Doubles, lat: Doubles) -> list[_Candidate]:
    """Return the groups that hold any of the points, with their ranks and pixels there."""
    found = []
    own = _own_zone(cube, lon)
    for position, zone in enumerate(cube.zones):
        rows, columns = lonlat_to_pixels(zone.geobox, lon, lat)
        later = np.where(own == position, 0, position + 1) * OTHER_ZONE
        for number, (name, place) in enumerate(zip(zone.groups, zone.places, strict=True)):
            inside = (rows >= place.y0) & (rows < place.y1) & (columns >= place.x0) & (columns < place.x1)
            if inside.any():
                rank = np.full(lon.size, NOBODY)
                rank[inside] = zone.ranks(number, rows[inside], columns[inside]) + later[inside]
                found.append(_Candidate(name, rank, rows - place.y0, columns - place.x0))
    return found


def _own_zone(cube: Cube, lon: Doubles) -> Whole:
    """Return the position of the zone in which each point lies."""
    if len(cube.zones) == 1:
        return np.zeros(lon.size, dtype=np.int64)
    first: dict[float, int] = {}
    for position, zone in enumerate(cube.zones):
        first.setdefault(central_meridian(zone.geobox), position)
    edges = [(west + east) / 2 for west, east in pairwise(first)]
    return np.array(list(first.values()))[np.searchsorted(edges, lon, side="left")]


def _has_data(cube: Cube, name: str, window: dt.date, rows: Whole, columns: Whole) -> Mask:
    found = np.zeros(rows.size, dtype=bool)
    for part, region in chunks_with_points(rows, columns, np.ones(rows.size, dtype=bool)):
        codes = cube.read("codes", name, window, region)[:, rows[part] - region.y0, columns[part] - region.x0]
        found[part] = (codes != cube.codec.fill).all(axis=0)
    return found


def own_pixels(cube: Cube, name: str, window: dt.date, region: Region) -> Mask:
    """Return which pixels [y, x] of a region of a group are its own to answer: no place of the cube is told twice.

    Pixels without data are the group's own where no other group has any. At the edge of two zones, where pixels of both may
    hold one place, the western tells it.
    """
    box = sub_geobox(cube.grids[name], region)
    if not any(other != name and meet(box, geobox) for other, geobox in cube.grids.items()):
        return np.ones(region.shape, dtype=bool)
    rows, columns = np.indices(region.shape).reshape(2, -1)
    lon, lat = _centres(box, rows, columns)
    answered = answering(cube, window, lon, lat)
    mine = answered.group == answered.names.index(name)
    for position, zone in enumerate(cube.zones):
        if name in zone.groups:
            break
        mine &= ~_told_by(cube, position, window, lon, lat, mine)
    return np.asarray(mine).reshape(region.shape)


def _told_by(cube: Cube, position: int, window: dt.date, lon: Doubles, lat: Doubles, asked: Mask) -> Mask:
    """Return which of the points asked for lie in pixels of a zone that are its own and have data."""
    zone, told = cube.zones[position], np.zeros(lon.size, dtype=bool)
    rows, columns = lonlat_to_pixels(zone.geobox, lon, lat)
    inside = asked & (rows >= 0) & (rows < zone.geobox.shape.y) & (columns >= 0) & (columns < zone.geobox.shape.x)
    near = np.flatnonzero(inside)
    centres = _centres(zone.geobox, rows[near], columns[near])
    own = _own_zone(cube, centres[0]) == position
    near, centres = near[own], (centres[0][own], centres[1][own])
    if near.size:
        found = answering(cube, window, *centres)
        for name, mine in found.by_group():
            if name in zone.groups:
                told[near[mine]] = _has_data(cube, name, window, found.rows[mine], found.columns[mine])
    return told


def _centres(box: GeoBox, rows: Whole, columns: Whole) -> tuple[Doubles, Doubles]:
    """Return longitude and latitude of the centres of pixels."""
    from pyproj import Transformer

    affine: Any = box.affine
    x, y = affine @ (columns + 0.5, rows + 0.5)
    crs = box.crs.proj if box.crs is not None else None
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    return np.asarray(lon), np.asarray(lat)
