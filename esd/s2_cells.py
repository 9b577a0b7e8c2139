"""Cells of the S2 geometry, a hierarchy of quadrilaterals on the sphere: the outline of a cell by its token.

>>> from esd.s2_cells import s2_cell
>>> esd.features([s2_cell("4794")], "EPSG:4326")                 # doctest: +SKIP

Source: the S2 Geometry developers' guide, s2geometry.io, "S2 Cells": a cube around the sphere, a quadratic transform of its
faces, and a Hilbert curve on each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import TableError

__all__ = ["s2_cell"]

PLACES = ((0, 1, 3, 2), (0, 2, 3, 1), (3, 2, 0, 1), (3, 1, 0, 2))
"""By orientation of the curve: the quarter (two bits, that of i first) that it passes first, second, third and last."""
TURNS = (1, 0, 0, 3)
"""What the orientation changes by in the quarters, in the curve's order."""
LEVELS = 30
FACES = 6


def _decoded(token: str) -> tuple[int, int, int, int]:
    """Return face, level, and column and row of a cell on its face."""
    try:
        number = int(token.ljust(16, "0"), 16) if 0 < len(token) <= 16 else 0
    except ValueError:
        number = 0
    zeros = (number & -number).bit_length() - 1
    if number == 0 or zeros % 2 or number >> 61 >= FACES:
        raise TableError(f"{token!r} is no token of an S2 cell; write one such as 4794, or 47a1cbd595522b39")
    level = LEVELS - zeros // 2
    face = number >> 61
    i = j = 0
    orientation = face & 1
    for step in range(level):
        place = (number >> (59 - 2 * step)) & 3
        quarter = PLACES[orientation][place]
        i, j = i << 1 | quarter >> 1, j << 1 | quarter & 1
        orientation ^= TURNS[place]
    return face, level, i, j


def _on_cube(part: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return places along the side of a face, 0..1, as -1..1 on the cube: the quadratic transform."""
    return np.where(part >= 0.5, (4 * part**2 - 1) / 3, (1 - 4 * (1 - part) ** 2) / 3)


def _lonlat(face: int, u: Any, v: Any) -> tuple[Any, Any]:
    """Return longitude and latitude in degrees of places on a face of the cube."""
    one = np.ones_like(u)
    x, y, z = ((one, u, v), (-u, one, v), (-u, -v, one), (-one, -v, -u), (v, -one, -u), (v, u, -one))[face]
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def _at_pole(longitude: Any, latitude: Any) -> tuple[Any, Any]:
    """Return an outline, a corner of which at a pole has the longitudes of the sides before and after it."""
    (corners,) = np.nonzero(np.abs(latitude[:-1]) > 90 - 1e-9)
    if not len(corners):
        return longitude, latitude
    start = int(corners[0])
    longitude, latitude = np.roll(longitude[:-1], -start), np.roll(latitude[:-1], -start)
    return np.r_[longitude[1], longitude[1:], longitude[-1], longitude[1]], np.r_[latitude, latitude[0], latitude[0]]


def s2_cell(token: str) -> Any:
    """Return the outline of an S2 cell, a shapely polygon in degrees (WGS 84): longitude first, -180 to 180.

    `token` is the cell's number in hexadecimal without zeros at its end. Sides are great circles, of at least four edges
    each and of more for large cells. A cell across the antimeridian is a MultiPolygon of its two sides; one around a pole
    goes up to it. Raises TableError for what is no token.
    """
    import shapely

    face, level, i, j = _decoded(token)
    along = np.linspace(0, 1, max(4, 256 >> level) + 1)[:-1]
    (left, right), (low, high) = (_on_cube(np.array([side, side + 1]) / 2**level) for side in (i, j))
    wide, tall = left + along * (right - left), low + along * (high - low)
    whole = np.ones_like(along)
    u = np.concatenate([wide, right * whole, wide[::-1] + (right - left) * along[1], left * whole])
    v = np.concatenate([low * whole, tall, high * whole, tall[::-1] + (high - low) * along[1]])
    longitude, latitude = _at_pole(*_lonlat(face, np.append(u, u[0]), np.append(v, v[0])))
    longitude, latitude = np.round(np.degrees(np.unwrap(np.radians(longitude))), 12), np.round(latitude, 12)
    points = list(zip(longitude, latitude, strict=True))
    if abs(longitude[-1] - longitude[0]) > 180:  # around a pole
        pole = 90.0 if face == 2 else -90.0
        points += [(longitude[-1], pole), (longitude[0], pole)]
    return _within_the_globe(shapely.Polygon(points))


def _within_the_globe(polygon: Any) -> Any:
    """Return a polygon whose longitudes may lie beyond 180 degrees with them between -180 and 180."""
    import shapely

    left, _bottom, right, _top = polygon.bounds
    if left >= -180 and right <= 180:
        return polygon
    window = shapely.box(-180, -90, 180, 90)
    turned = [shapely.transform(polygon, lambda xy, turn=turn: xy + np.array([turn, 0.0])) for turn in (-360, 0, 360)]
    parts = [part for one in turned for part in shapely.get_parts(shapely.intersection(one, window)) if part.area > 0]
    return shapely.normalize(shapely.union_all(parts))
