"""Footprints in longitude and latitude, and the Morton code that keeps neighbours together on disk."""

from __future__ import annotations

import numpy as np
import shapely
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from esd.errors import GridError
from esd.grid import GeoBox

__all__ = ["box_lonlat", "footprint_of", "morton_code"]

POINTS_PER_SIDE = 21
"""Points along each side of a footprint: sides that are straight in a projection are curves in degrees."""
MORTON_BITS = 16


def _split_at_antimeridian(ring: np.ndarray) -> BaseGeometry:
    """Return the polygon of a ring [n, 2] in degrees; one that crosses 180 degrees as two parts."""
    if np.abs(np.diff(ring[:, 0])).max() <= 180:
        return shapely.make_valid(shapely.Polygon(ring))
    unwrapped = np.column_stack([np.where(ring[:, 0] < 0, ring[:, 0] + 360, ring[:, 0]), ring[:, 1]])
    whole = shapely.make_valid(shapely.Polygon(unwrapped))
    east = shapely.intersection(whole, shapely.box(-180, -90, 180, 90))
    west = shapely.transform(shapely.intersection(whole, shapely.box(180, -90, 540, 90)), lambda xy: xy - [360, 0])
    return shapely.union(east, west)


def footprint_of(geobox: GeoBox) -> BaseGeometry:
    """Return the outline of a grid in WGS 84 degrees; one that crosses the antimeridian as two parts.

    Corners that lie off the Earth (sinusoidal tiles have such) are left out. Raises GridError for a grid without CRS or
    that lies off the Earth as a whole. A grid around a pole is not supported.
    """
    if geobox.crs is None:
        raise GridError(f"grid {tuple(geobox.shape)} has no coordinate system; write one into the file (gdal_edit -a_srs)")
    along = np.linspace(0, 1, POINTS_PER_SIDE)
    column = np.concatenate([along, np.ones_like(along), along[::-1], np.zeros_like(along)]) * geobox.shape.x
    row = np.concatenate([np.zeros_like(along), along, np.ones_like(along), along[::-1]]) * geobox.shape.y
    a, b, c, d, e, f = tuple(geobox.affine)[:6]
    transformer = Transformer.from_crs(geobox.crs.proj, "EPSG:4326", always_xy=True)
    ring = np.column_stack(transformer.transform(a * column + b * row + c, d * column + e * row + f))
    ring = ring[np.isfinite(ring).all(axis=1)]
    if len(ring) < 4:
        raise GridError(f"grid {tuple(geobox.shape)} in {geobox.crs} does not lie on the Earth; check its transform")
    return _split_at_antimeridian(ring)


def box_lonlat(west: float, south: float, east: float, north: float) -> BaseGeometry:
    """Return a box in WGS 84 degrees; west > east crosses the antimeridian. Raises GridError for what is no box."""
    within = all(-180 <= edge <= 180 for edge in (west, east)) and -90 <= south < north <= 90
    if not within or west == east:
        raise GridError(f"bbox {west},{south},{east},{north} is not west,south,east,north in degrees")
    if west < east:
        return shapely.box(west, south, east, north)
    return shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north))


def morton_code(longitude: float, latitude: float) -> int:
    """Return the place on a Z-shaped curve over the globe, 32 bits: near codes are near places."""
    cells = 1 << MORTON_BITS
    column = min(int((longitude + 180) / 360 * cells), cells - 1)
    row = min(int((latitude + 90) / 180 * cells), cells - 1)
    return sum(((column >> bit & 1) << (2 * bit)) | ((row >> bit & 1) << (2 * bit + 1)) for bit in range(MORTON_BITS))
