"""What a scene tells twice has to agree: a number that was damaged in one place must not become a wrong pixel.

File names, metadata and rasters repeat the date, the platform, the grid and the scale of a product. Each function here
raises SceneError naming the file and both values.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping

from odc.geo.geobox import GeoBox
from pyproj import Transformer

from esd.errors import GridError, SceneError

__all__ = ["date_of_julian", "require_corner", "require_lonlat", "require_same", "require_sane_grid"]

LARGEST_SIDE = 40_000
"""Pixels; no scene or tile of the products that are read has more."""
CORNER_PIXELS = 0.6
"""Pixels of the raster that a corner may differ by."""
LONLAT_DEGREES = 0.05


def require_same(file: str, what: str, found: object, other: str, known: object) -> None:
    """Raise SceneError unless the value found in a file is the one known from `other`."""
    if found != known:
        raise SceneError(f"{file} has {what} {found}, {other} {known}; download the scene again")


def require_sane_grid(geobox: GeoBox, file: str) -> None:
    """Raise SceneError for a grid that no product has: far too many pixels, of no or endless size, or turned."""
    affine, (rows, columns) = geobox.affine, geobox.shape
    finite = all(math.isfinite(number) for number in affine[:6])
    upright = finite and affine.b == affine.d == 0 and affine.a > 0 > affine.e
    if not upright or not (0 < rows <= LARGEST_SIDE and 0 < columns <= LARGEST_SIDE):
        raise SceneError(f"{file} has a grid of {rows} x {columns} pixels that makes no sense; download the scene again")


def require_corner(geobox: GeoBox, corners: Mapping[str, tuple[float, float]], half: float, file: str) -> None:
    """Raise SceneError unless the corners "UL" and "LR" are those of the grid.

    `corners` are in units of the CRS, `half` pixels inside of the grid's edges; a corner that is not told is not compared.
    """
    box, slack = geobox.boundingbox, CORNER_PIXELS * max(abs(geobox.affine.a), abs(geobox.affine.e))
    edges = {"UL": (box.left + half, box.top - half), "LR": (box.right - half, box.bottom + half)}
    for name, told in corners.items():
        if not all(abs(one - other) <= slack for one, other in zip(edges[name], told, strict=True)):
            raise SceneError(f"{file} tells {name} corner {told}, its bands {edges[name]}; download the scene again")


def require_lonlat(geobox: GeoBox, bounds: tuple[float, float, float, float], file: str) -> None:
    """Raise SceneError unless the middle of the grid lies in bounds west, south, east, north (degrees) that a file tells."""
    west, south, east, north = bounds
    if geobox.crs is None:
        raise GridError(f"{file} has no coordinate system; write one into its bands (gdal_edit -a_srs)")
    left, bottom, right, top = geobox.boundingbox.bbox
    transformer = Transformer.from_crs(geobox.crs.proj, "EPSG:4326", always_xy=True)
    x, y = transformer.transform((left + right) / 2, (bottom + top) / 2)
    around = ((x - west + LONLAT_DEGREES) % 360) <= ((east - west) % 360) + 2 * LONLAT_DEGREES
    if not (around and south - LONLAT_DEGREES <= y <= north + LONLAT_DEGREES):
        raise SceneError(f"{file} tells of {bounds} degrees, its bands lie at {x:.3f},{y:.3f}; download the scene again")


def date_of_julian(text: str) -> dt.date:
    """Return the date that "YYYYDDD" says. Raises ValueError if it is none."""
    return dt.datetime.strptime(text, "%Y%j").date()
