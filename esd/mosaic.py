"""Several grids as one: the groups of a cube, UTM zones or tiles of them, answered on one grid by a declared rule.

A pixel is answered by the zone in which its centre lies: the one whose central meridian is nearest, of two as near the
western. Where that zone has no data, the first of the others that has, from west to east. In a zone the group answers whose
centre is nearest, of those that have data (`esd.zones`). Zones are put on the grid of the result by nearest neighbour, each
pixel by its own coordinates, so that codes stay codes and tilings do not matter.
"""

from __future__ import annotations

import datetime as dt
import math
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .block import Block
from .errors import ExpressionError
from .grid import Region, bounds_of, region_of, sub_geobox
from .image import Image, call
from .operator import Tile, operator
from .places import grid_arguments
from .space import CubeType, Space
from .structure import common_grid
from .zones import central_meridian, require_zones, zone_image

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


def whole_grid(cube: Cube) -> GeoBox:
    """Return the grid that shows all of a cube: that of its only zone; of several the pixels of the one that holds the
    largest group, as far as all reach.
    """
    largest = max(cube.grids, key=lambda name: (math.prod(cube.grids[name].shape), [-ord(letter) for letter in name]))
    base = next(zone for zone in cube.zones if largest in zone.groups).geobox
    reach = region_of(base)
    for zone in cube.zones:
        if zone.geobox is base:
            continue
        left, bottom, right, top = bounds_of(zone.geobox, base)
        (x0, y0), (x1, y1) = ((~base.affine) @ corner for corner in ((left, top), (right, bottom)))
        rows = math.floor(min(y0, y1) + ROUNDING), math.ceil(max(y0, y1) - ROUNDING)
        columns = math.floor(min(x0, x1) + ROUNDING), math.ceil(max(x0, x1) - ROUNDING)
        reach = reach.union(Region(rows[0], rows[1], columns[0], columns[1]))
    return base if reach == region_of(base) else sub_geobox(base, reach)


def mosaic(cube: Cube, array: str, window: dt.date, geobox: GeoBox | None = None) -> Image:
    """Return one window of all groups of a cube as a lazy image on one grid, `whole_grid` if none is given."""
    target = whole_grid(cube) if geobox is None else geobox
    zones = cube.zones
    placed = [_on(zone_image(cube, zone, array, window), target) for zone in zones]
    if len(zones) == 1:
        return placed[0]
    longitude = call("pixel_lonlat_on_grid", *grid_arguments("mosaic", target))["longitude"]
    by_meridian: dict[float, Image] = {}
    for zone, image in zip(zones, placed, strict=True):
        by_meridian.setdefault(central_meridian(zone.geobox), image)  # north of south, where both are of one zone
    edges = [-math.inf, *((west + east) / 2 for west, east in pairwise(by_meridian)), math.inf]
    own = [_between(longitude, *span, image) for span, image in zip(pairwise(edges), by_meridian.values(), strict=True)]
    return reduce(lambda top, bottom: call("lay_over", top, bottom), [*own, *placed])


def _on(image: Image, target: GeoBox) -> Image:
    return image if image.type.grid == target else image.reproject_to(target, "nearest")


def _between(longitude: Image, west: float, east: float, image: Image) -> Image:
    """Keep the pixels east of one longitude, as far as another."""
    if math.isfinite(west):
        image = image.update_mask(longitude > west)
    return image.update_mask(longitude <= east) if math.isfinite(east) else image
