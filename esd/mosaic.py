"""Several grids as one: the groups of a cube, one a UTM zone, answered on one grid by a declared rule.

A pixel is answered by the group in whose zone its centre lies: the one whose central meridian is nearest, of two as near
the western. Where that group has no data, the first of the others that has, from west to east. Groups are put on the grid
of the result by nearest neighbour, each pixel by its own coordinates, so that codes stay codes and tilings do not matter.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .block import Block
from .errors import ExpressionError, GridError
from .grid import Region, bounds_of, region_of, sub_geobox
from .image import Image, call, load
from .operator import Tile, operator
from .places import grid_arguments
from .space import CubeType, Space
from .structure import common_grid

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from .cube import Cube

__all__ = ["central_meridian", "lay_over", "mosaic", "require_zones", "whole_grid"]

ROUNDING = 1e-6
"""Pixels; a bound this near to a pixel's edge is on it."""


def _same_type(top: CubeType, bottom: CubeType) -> CubeType:
    common_grid("lay_over", (top, bottom))
    for what in ("space", "encoder", "dtype", "bands", "time"):
        one, other = getattr(top, what), getattr(bottom, what)
        if one != other:
            raise ExpressionError(f"lay_over: the images differ in {what} ({one} and {other}); use first_valid for such")
    return top


@operator(
    "structure",
    Tile.PIXEL,
    _same_type,
    Space.ANY,
    interpreted="its validity follows from values, and a compiled run has one validity for all of it",
)
def lay_over(top: Block, bottom: Block) -> Block:
    """The first image where it is valid, else the second; codes stay codes. Both have the same type, on the same grid."""
    return Block(np.where(top.valid, top.values, bottom.values), top.valid | bottom.valid)


def central_meridian(geobox: GeoBox) -> float:
    """Return the longitude in the middle of a grid's UTM zone. Raises GridError for another CRS."""
    zone = geobox.crs.proj.utm_zone if geobox.crs is not None else None
    if zone is None:
        name = geobox.crs.proj.name if geobox.crs is not None else "none"
        raise GridError(f"a cube of several grids needs UTM zones, and one has the CRS {name}; give --crs and --reproject")
    return int(zone.rstrip("NS")) * 6 - 183


def require_zones(geoboxes: Sequence[GeoBox]) -> None:
    """Raise GridError unless grids can be one cube: UTM zones, pixels of one size, not on both sides of 180 degrees."""
    meridians = [central_meridian(geobox) for geobox in geoboxes]
    if len({geobox.crs for geobox in geoboxes}) < len(geoboxes):
        raise GridError("two grids of one cube have the same CRS; give one grid for each UTM zone")
    if len({tuple(np.abs(geobox.affine[i]) for i in (0, 1, 3, 4)) for geobox in geoboxes}) > 1:
        raise GridError("grids of one cube have pixels of different size; give --crs and --reproject, or separate cubes")
    if max(meridians) - min(meridians) > 180:
        raise GridError("zones on both sides of 180 degrees are no cube; make one of each side")


def whole_grid(cube: Cube) -> GeoBox:
    """Return the grid that shows all of a cube: the only one; of several the pixels of the largest, as far as all reach."""
    names = sorted(cube.grids, key=lambda name: (-math.prod(cube.grids[name].shape), name))
    base = cube.grids[names[0]]
    reach = region_of(base)
    for name in names[1:]:
        left, bottom, right, top = bounds_of(cube.grids[name], base)
        (x0, y0), (x1, y1) = ((~base.affine) @ corner for corner in ((left, top), (right, bottom)))
        rows = math.floor(min(y0, y1) + ROUNDING), math.ceil(max(y0, y1) - ROUNDING)
        columns = math.floor(min(x0, x1) + ROUNDING), math.ceil(max(x0, x1) - ROUNDING)
        reach = Region(min(reach.y0, rows[0]), max(reach.y1, rows[1]), min(reach.x0, columns[0]), max(reach.x1, columns[1]))
    return base if reach == region_of(base) else sub_geobox(base, reach)


def mosaic(cube: Cube, array: str, window: dt.date, geobox: GeoBox | None = None) -> Image:
    """Return one window of all groups of a cube as a lazy image on one grid, `whole_grid` if none is given."""
    target = whole_grid(cube) if geobox is None else geobox
    order = sorted(cube.grids, key=lambda name: (central_meridian(cube.grids[name]), name))
    placed = [load(cube, array, window, name).reproject_to(target, "nearest") for name in order]
    longitude = call("pixel_lonlat_on_grid", *grid_arguments("mosaic", target))["longitude"]
    by_meridian: dict[float, Image] = {}
    for name, image in zip(order, placed, strict=True):
        by_meridian.setdefault(central_meridian(cube.grids[name]), image)  # north of south, where both are of one zone
    edges = [-math.inf, *((west + east) / 2 for west, east in pairwise(by_meridian)), math.inf]
    own = [_between(longitude, *span, image) for span, image in zip(pairwise(edges), by_meridian.values(), strict=True)]
    return reduce(lambda top, bottom: call("lay_over", top, bottom), [*own, *placed])


def _between(longitude: Image, west: float, east: float, image: Image) -> Image:
    """Keep the pixels east of one longitude, as far as another."""
    if math.isfinite(west):
        image = image.update_mask(longitude > west)
    return image.update_mask(longitude <= east) if math.isfinite(east) else image
