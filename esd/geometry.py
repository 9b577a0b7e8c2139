"""Geometries: measures on the ellipsoid or in the plane, buffers in metres, and clean input.

All functions take arrays of shapely geometries in one coordinate system; None stays None (NaN in measures).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError

from .errors import GridError, TableError

__all__ = ["along_line", "area", "buffer", "crs_of", "distance", "from_text", "length", "perimeter", "projected", "valid"]

Geometries = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

WGS84 = CRS.from_epsg(4326)
ELLIPSOID = Geod(ellps="WGS84")


def crs_of(given: Any) -> CRS:
    """Return a coordinate system from whatever names one. Raises GridError for what does not."""
    try:
        return CRS.from_user_input(given)
    except CRSError as error:
        raise GridError(f"coordinate system {str(given)[:60]!r} is not understood; write one such as EPSG:32633") from error


def projected(geometries: Geometries, source: CRS, target: CRS) -> Geometries:
    """Return geometries in another coordinate system, vertex by vertex: densify long edges first."""
    if source.equals(target, ignore_axis_order=True):
        return geometries
    transformer = Transformer.from_crs(source, target, always_xy=True)

    def move(points: Floats) -> Floats:
        return np.stack(transformer.transform(points[:, 0], points[:, 1]), axis=1)

    return np.asarray(shapely.transform(geometries, move), dtype=object)


def valid(geometries: Geometries) -> Geometries:
    """Return the geometries with invalid ones (such as bow ties) made valid, which is told by a warning."""
    broken = ~shapely.is_valid(geometries) & ~shapely.is_missing(geometries)
    if not broken.any():
        return geometries
    reason = shapely.is_valid_reason(geometries[np.argmax(broken)])
    warnings.warn(f"{int(broken.sum())} geometries are not valid ({reason} first) and were made so", stacklevel=3)
    return np.where(broken, shapely.make_valid(geometries), geometries)


def from_text(given: Any) -> shapely.Geometry:
    """Return a geometry from shapely, WKT, GeoJSON (a text or mapping) or bounds (left, bottom, right, top)."""
    import json

    if isinstance(given, shapely.Geometry):
        return given
    try:
        if isinstance(given, dict):
            return shapely.from_geojson(json.dumps(given.get("geometry", given)))
        if isinstance(given, str):
            return shapely.from_geojson(given) if given.lstrip().startswith("{") else shapely.from_wkt(given)
        left, bottom, right, top = map(float, given)
    except (TypeError, ValueError, shapely.errors.GEOSException) as error:
        raise TableError(f"{str(given)[:60]!r} is no geometry; give WKT, GeoJSON, or left, bottom, right, top") from error
    return shapely.box(left, bottom, right, top)


def _geodesic(measure: Callable[[Any], float], geometries: Geometries, crs: CRS) -> Floats:
    around = projected(geometries, crs, WGS84)
    return np.array([np.nan if geometry is None else measure(geometry) for geometry in around], dtype=np.float64)


def _metres(crs: CRS) -> float:
    """Metres of a unit of a projected system. Raises GridError for degrees, in which nothing is measured."""
    if not crs.is_projected:
        raise GridError(
            f"{crs.to_string()[:60]} is not in metres; measure with geodesic=True, or .to_crs a projected one first"
        )
    return float(crs.axis_info[0].unit_conversion_factor)


def area(geometries: Geometries, crs: CRS, geodesic: bool = True) -> Floats:
    """Area in square metres: on the WGS 84 ellipsoid, or in the plane of a projected system; holes count negative."""
    if not geodesic:
        return np.asarray(shapely.area(geometries) * _metres(crs) ** 2)
    return _geodesic(lambda geometry: _polygons(geometry, lambda part: abs(_signed_area(part))), geometries, crs)


def _signed_area(polygon: Any) -> float:
    return float(ELLIPSOID.geometry_area_perimeter(shapely.orient_polygons(polygon))[0])


def _polygons(geometry: Any, measure: Callable[[Any], float]) -> float:
    parts = shapely.get_parts(shapely.get_parts(geometry))
    return sum(measure(part) for part in parts if part.geom_type == "Polygon")


def length(geometries: Geometries, crs: CRS, geodesic: bool = True) -> Floats:
    """Length of lines in metres, 0 of points and polygons; on the ellipsoid or in the plane."""
    lines = np.isin(shapely.get_type_id(geometries), [1, 2, 5])
    return np.where(lines | shapely.is_missing(geometries), perimeter(geometries, crs, geodesic), 0.0)


def perimeter(geometries: Geometries, crs: CRS, geodesic: bool = True) -> Floats:
    """Length in metres of all lines and rings, holes' among them; on the ellipsoid or in the plane."""
    if not geodesic:
        return np.asarray(shapely.length(geometries) * _metres(crs))
    return _geodesic(lambda geometry: _ring_length(geometry), geometries, crs)


def _ring_length(geometry: Any) -> float:
    lines = [
        part if part.geom_type != "Polygon" else part.boundary for part in shapely.get_parts(shapely.get_parts(geometry))
    ]
    return float(sum(ELLIPSOID.geometry_length(line) for line in lines))


def along_line(line: Any, crs: CRS) -> Floats:
    """Distance in metres of each vertex of a line from its start, along it: on the ellipsoid, or in a projected plane."""
    points = shapely.get_coordinates(line)
    if crs.is_projected:
        steps = np.hypot(*np.diff(points, axis=0).T) * _metres(crs)
    else:
        x, y = shapely.get_coordinates(projected(np.array([line], dtype=object), crs, WGS84)).T
        steps = np.asarray(ELLIPSOID.line_lengths(x, y))
    return np.concatenate([[0.0], np.cumsum(steps)])


def distance(geometries: Geometries, other: Any, crs: CRS, geodesic: bool = True) -> Floats:
    """Smallest distance in metres to another geometry in the same coordinate system.

    Geodesic: between the two points that are nearest in the plane of the coordinate system, on the ellipsoid.
    """
    if not geodesic:
        return np.asarray(shapely.distance(geometries, other) * _metres(crs))
    return _geodesic(lambda line: float(ELLIPSOID.geometry_length(line)), shapely.shortest_line(geometries, other), crs)


def buffer(geometries: Geometries, metres: float, crs: CRS, quad_segs: int = 8) -> Geometries:
    """Return what lies within some metres (or, if negative, deeper inside than that) of each geometry.

    In degrees each is buffered in an azimuthal equidistant projection around its centroid; in a projected system in its
    plane. `quad_segs` are the segments of a quarter circle.
    """
    if crs.is_projected:
        return np.asarray(shapely.buffer(geometries, metres / _metres(crs), quad_segs=quad_segs), dtype=object)
    found = np.empty(len(geometries), dtype=object)
    for i, (geometry, centre) in enumerate(zip(geometries, shapely.centroid(geometries), strict=True)):
        if geometry is not None and not centre.is_empty:
            local = CRS.from_proj4(f"+proj=aeqd +lat_0={centre.y} +lon_0={centre.x} +datum=WGS84 +units=m")
            around = projected(np.array([geometry], dtype=object), crs, local)
            found[i] = projected(shapely.buffer(around, metres, quad_segs=quad_segs), local, crs)[0]
    return found
