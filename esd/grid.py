"""Grids: helpers around odc-geo's GeoBox.

A region is a window of whole pixels inside a grid, as rows and columns; it is how tiles, halos and blocks are told.
odc-geo and pyproj are imported by the functions that need them: see `esd.geobox`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from .errors import GridError
from .geobox import crs_text, lazy_geobox

if TYPE_CHECKING:
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox
    from pyproj import Transformer

__all__ = [
    "GeoBox",
    "Region",
    "aligned",
    "bounds_lonlat",
    "bounds_of",
    "equal_crs",
    "geobox_from_bounds",
    "grid_name",
    "has_crs",
    "lonlat_to_pixels",
    "make_geobox",
    "meet",
    "pixel_size",
    "region_of",
    "same_crs",
    "sub_geobox",
    "tiles",
]

_ALIGNMENT = 1e-3
"""Largest offset between two grids, in pixels, at which they still count as one."""


@dataclass(frozen=True, order=True)
class Region:
    """Rows `y0:y1` and columns `x0:x1` of a grid; may be empty, never negative in size."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return max(self.y1 - self.y0, 0), max(self.x1 - self.x0, 0)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]

    @property
    def slices(self) -> tuple[slice, slice]:
        """The region as an index into arrays whose last dimensions are (y, x)."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def grow(self, pixels: int) -> Region:
        """Return the region with `pixels` more on each side."""
        return Region(self.y0 - pixels, self.y1 + pixels, self.x0 - pixels, self.x1 + pixels)

    def intersect(self, other: Region) -> Region:
        """Return the part that both hold; of size 0 where there is none."""
        y0, x0 = max(self.y0, other.y0), max(self.x0, other.x0)
        return Region(y0, max(y0, min(self.y1, other.y1)), x0, max(x0, min(self.x1, other.x1)))

    def union(self, other: Region) -> Region:
        """Return the smallest region that holds both."""
        return Region(min(self.y0, other.y0), max(self.y1, other.y1), min(self.x0, other.x0), max(self.x1, other.x1))

    def within(self, other: Region) -> tuple[slice, slice]:
        """Return the region as an index into an array that covers `other`."""
        return slice(self.y0 - other.y0, self.y1 - other.y0), slice(self.x0 - other.x0, self.x1 - other.x0)


def __getattr__(name: str) -> Any:
    if name == "GeoBox":
        from odc.geo.geobox import GeoBox

        return GeoBox
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def make_geobox(shape: tuple[int, int], affine: Affine, crs: str | CRS | None) -> GeoBox:
    """Return the grid of rows and columns, affine transform from pixels to `crs`, and coordinate system."""
    from odc.geo.geobox import GeoBox

    return GeoBox(shape, affine, crs)


def _transformer(source: Any, target: Any) -> Transformer:
    from pyproj import Transformer

    return Transformer.from_crs(source, target, always_xy=True)


def region_of(geobox: GeoBox) -> Region:
    """Return the region of the whole grid."""
    return Region(0, geobox.shape.y, 0, geobox.shape.x)


def tiles(region: Region, size: int) -> Iterator[Region]:
    """Cut a region into tiles of at most `size` x `size` pixels, aligned to multiples of `size`, row by row."""
    for y in range(region.y0 - region.y0 % size, region.y1, size):
        for x in range(region.x0 - region.x0 % size, region.x1, size):
            yield Region(y, y + size, x, x + size).intersect(region)


def sub_geobox(geobox: GeoBox, region: Region) -> GeoBox:
    """Return the grid of a region: same CRS and pixels, its own extent."""
    affine, text = geobox.affine @ Affine.translation(region.x0, region.y0), crs_text(geobox)
    if text is not None:
        return lazy_geobox(region.shape, affine, text)
    return make_geobox(region.shape, affine, geobox.crs)


def has_crs(geobox: GeoBox) -> bool:
    """Tell whether a grid has a coordinate system."""
    return crs_text(geobox) is not None or geobox.crs is not None


def equal_crs(one: GeoBox, other: GeoBox) -> bool:
    """Tell whether two grids have equal coordinate systems, or both none."""
    text = crs_text(one)
    return (text is not None and text == crs_text(other)) or one.crs == other.crs


def same_crs(one: GeoBox, other: GeoBox) -> bool:
    """Tell whether two grids have the same coordinate system, whatever name their files give it."""
    if equal_crs(one, other):
        return True
    if one.crs is None or other.crs is None:
        return False
    return bool(one.crs.proj.equals(other.crs.proj, ignore_axis_order=True))


def aligned(one: GeoBox, other: GeoBox) -> bool:
    """Tell whether two grids have the same CRS and pixels that coincide, so that one is a window of the other."""
    if not same_crs(one, other):
        return False
    to_pixels = ~one.affine @ other.affine
    return (
        abs(to_pixels.a - 1) * other.shape.x < _ALIGNMENT
        and abs(to_pixels.e - 1) * other.shape.y < _ALIGNMENT
        and max(abs(to_pixels.b), abs(to_pixels.d)) < 1e-9
        and all(abs(shift - round(shift)) < _ALIGNMENT for shift in (to_pixels.c, to_pixels.f))
    )


def pixel_size(geobox: GeoBox) -> tuple[float, float]:
    """Return the width and height of a pixel in units of the CRS, both positive."""
    return abs(geobox.affine.a), abs(geobox.affine.e)


def geobox_from_bounds(left: float, bottom: float, right: float, top: float, crs: str | CRS, resolution: float) -> GeoBox:
    """Return the north-up grid that covers the bounds, its origin at `left`, `top`; bounds in units of `crs`.

    Raises GridError for bounds of no area or a resolution that is not positive.
    """
    if not (right > left and top > bottom):
        raise GridError(f"bounds {left},{bottom},{right},{top} have no area; give left,bottom,right,top")
    if not resolution > 0:
        raise GridError(f"resolution {resolution} must be above 0")
    shape = (max(1, round((top - bottom) / resolution)), max(1, round((right - left) / resolution)))
    return make_geobox(shape, Affine(resolution, 0, left, 0, -resolution, top), crs)


def _crs_of(geobox: GeoBox) -> CRS:
    if geobox.crs is None:
        raise GridError(f"grid {tuple(geobox.shape)} has no coordinate system; write one into the file (gdal_edit -a_srs)")
    return geobox.crs


def lonlat_to_pixels(
    geobox: GeoBox, lon: npt.ArrayLike, lat: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rows and columns of the pixels that hold the points (WGS 84 degrees); may lie outside the grid.

    Raises GridError if the grid has no CRS.
    """
    transformer = _transformer("EPSG:4326", _crs_of(geobox).proj)
    x, y = transformer.transform(np.asarray(lon, dtype=float), np.asarray(lat, dtype=float))
    with np.errstate(invalid="ignore"):  # points that the projection cannot show come back infinite
        columns, rows = ~geobox.affine @ (np.asarray(x), np.asarray(y))
    far = np.iinfo(np.int32).max
    return (
        np.floor(np.nan_to_num(rows, nan=far, posinf=far, neginf=-far)).astype(np.int64),
        np.floor(np.nan_to_num(columns, nan=far, posinf=far, neginf=-far)).astype(np.int64),
    )


def bounds_lonlat(geobox: GeoBox) -> tuple[float, float, float, float]:
    """Return west, south, east, north of the grid's outline in WGS 84 degrees. Raises GridError without a CRS."""
    transformer = _transformer(_crs_of(geobox).proj, "EPSG:4326")
    box = geobox.boundingbox
    west, south, east, north = transformer.transform_bounds(box.left, box.bottom, box.right, box.top, densify_pts=21)
    return west, south, east, north


def bounds_of(geobox: GeoBox, other: GeoBox) -> tuple[float, float, float, float]:
    """Return left, bottom, right, top of a grid's outline in the CRS of another. Raises GridError without a CRS."""
    transformer = _transformer(_crs_of(geobox).proj, _crs_of(other).proj)
    left, bottom, right, top = transformer.transform_bounds(*geobox.boundingbox.bbox, densify_pts=21)
    return left, bottom, right, top


def meet(one: GeoBox, other: GeoBox) -> bool:
    """Tell whether the bounds of two grids overlap, each in its own CRS; grids without a CRS never do."""
    if one.crs is None or other.crs is None:
        return False
    transformer = _transformer(other.crs.proj, one.crs.proj)
    box, (left, bottom, right, top) = one.boundingbox, transformer.transform_bounds(*other.boundingbox.bbox, densify_pts=21)
    return bool(left < box.right and right > box.left and bottom < box.top and top > box.bottom)


def grid_name(geobox: GeoBox) -> str:
    """Return the name of the cube's group for a CRS: "epsg32618", or a short hash of its definition."""
    crs = _crs_of(geobox)
    if crs.epsg is not None:
        return f"epsg{crs.epsg}"
    return "crs" + hashlib.sha256(crs.proj.to_wkt().encode()).hexdigest()[:8]
