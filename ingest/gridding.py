"""The grid of a cube: the scenes' own pixels, as far as they reach or as far as an area of interest goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj.exceptions import CRSError
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from esd.errors import GridError
from esd.grid import Region, aligned, pixel_size, same_crs, sub_geobox

from .aoi import Area
from .scene import Scene

__all__ = ["NothingMetError", "bounds_on_pixels", "choose_grid", "tile_grid"]

METRES_OF_A_DEGREE = 111_320
ROUNDING = 1e-6
"""Pixels; a bound this near to a pixel's edge is on it."""
Bounds = tuple[float, float, float, float]


class NothingMetError(GridError):
    """An area in which no scene lies."""


def choose_grid(
    scenes: Sequence[Scene],
    *,
    aoi: str | Path | None = None,
    crs: str | None = None,
    resolution: float | None = None,
    reproject: bool = False,
) -> tuple[GeoBox, Area | None]:
    """Return the grid of a cube, and the area of interest in its CRS.

    Without `crs` and `resolution` (units of the CRS) the pixels are the finest that scenes have, of those the ones
    that most have; with them, pixels whose edges are multiples of the resolution. Scenes on other pixels are resampled
    only if `reproject` is set. The grid covers the scenes on its own pixels (all of them, if none is), or the part of
    that in the area.
    Raises GridError if scenes do not fit, or the area meets none of them.
    """
    pixels = _pixels(scenes, crs, resolution)
    fitting = _fitting(scenes, pixels, reproject)
    reach = _union([_region_in(pixels, scene.geobox) for scene in fitting or scenes])
    if aoi is None:
        return sub_geobox(pixels, reach), None
    area = Area.parse(aoi, _crs_of(pixels).to_wkt())
    met = _region_of_bounds(pixels, area.outline.bounds).intersect(reach)
    if met.size == 0:
        raise NothingMetError(f"area {str(aoi)!r} does not meet any scene; give an area where they lie")
    return sub_geobox(pixels, met), area


def bounds_on_pixels(scenes: Sequence[Scene], *, aoi: str | Path | None, reproject: bool) -> Bounds:
    """Return left, bottom, right, top of the grid that `choose_grid` chooses; in units of its CRS."""
    return choose_grid(scenes, aoi=aoi, reproject=reproject)[0].boundingbox.bbox


def tile_grid(
    scenes: Sequence[Scene], bounds: Bounds, name: str, *, aoi: str | Path | None = None, reproject: bool = False
) -> tuple[GeoBox, Area | None]:
    """Return the pixels of the scenes that cover bounds, whole, and the area in their CRS outside of which they stay empty.

    Raises GridError as `choose_grid`.
    """
    pixels = _pixels(scenes, None, None)
    _fitting(scenes, pixels, reproject)
    geobox = sub_geobox(pixels, _region_of_bounds(pixels, bounds))
    if aoi is None:
        return geobox, None
    area = replace(Area.parse(aoi, _crs_of(pixels).to_wkt()), exact=True)
    if not area.meets(geobox):
        raise NothingMetError(f"area {str(aoi)!r} does not meet tile {name}; leave the tile out, or give another area")
    return geobox, area


def _fitting(scenes: Sequence[Scene], pixels: GeoBox, reproject: bool) -> list[Scene]:
    """Return the scenes on the pixels. Raises GridError if others are there that may not be resampled."""
    fitting = [scene for scene in scenes if aligned(pixels, scene.geobox)]
    if len(fitting) < len(scenes) and not reproject:
        raise GridError(_misfit(scenes, pixels))
    return fitting


def _crs_of(geobox: GeoBox) -> CRS:
    if geobox.crs is None:
        raise GridError(f"grid {tuple(geobox.shape)} has no coordinate system; write one into the file (gdal_edit -a_srs)")
    return geobox.crs


def _pixels(scenes: Sequence[Scene], crs: str | None, resolution: float | None) -> GeoBox:
    """Return a grid of one pixel that fixes CRS, pixel size and where pixels lie."""
    own = _finest([scene.geobox for scene in scenes])
    if crs is None and resolution is None:
        return sub_geobox(own, Region(0, 1, 0, 1))
    try:
        target = CRS(crs) if crs is not None else _crs_of(own)
    except CRSError as error:
        raise GridError(f"CRS {crs!r} is not known; give an EPSG code such as EPSG:32633") from error
    if resolution is None:
        if not same_crs(own, GeoBox((1, 1), own.affine, target)):
            raise GridError(f"CRS {crs!r} is not that of the scenes, so a pixel size is needed; give --resolution")
        return sub_geobox(own, Region(0, 1, 0, 1))
    if not resolution > 0:
        raise GridError(f"resolution {resolution} must be above 0")
    return GeoBox((1, 1), Affine(resolution, 0, 0, 0, -resolution, 0), target)


def _finest(geoboxes: Sequence[GeoBox]) -> GeoBox:
    """Return the first grid of the finest pixels; of several as fine, those that most grids share, or the earliest."""
    kinds: list[GeoBox] = []
    counts: Counter[int] = Counter()
    for geobox in geoboxes:
        kind = next((number for number, known in enumerate(kinds) if aligned(known, geobox)), len(kinds))
        if kind == len(kinds):
            kinds.append(geobox)
        counts[kind] += 1
    return kinds[max(counts, key=lambda kind: (-_metres(kinds[kind]), counts[kind], -kind))]


def _metres(geobox: GeoBox) -> float:
    """Return the width of a pixel, to the metre; a degree counts as it does on the equator."""
    return round(pixel_size(geobox)[0] * (METRES_OF_A_DEGREE if _crs_of(geobox).geographic else 1))


def _misfit(scenes: Sequence[Scene], pixels: GeoBox) -> str:
    others = [scene for scene in scenes if not aligned(pixels, scene.geobox)]
    first = others[0]
    another = not same_crs(pixels, first.geobox)
    what, zones = ("another CRS", ", or --zones to keep each zone's own") if another else ("other pixels", "")
    return (
        f"scene {first.id} has {what} ({_describe(first.geobox)}) than the grid ({_describe(pixels)}), as have "
        f"{len(others)} of {len(scenes)} scenes in all; leave them out, or give --reproject to resample them{zones}"
    )


def _describe(geobox: GeoBox) -> str:
    crs = _crs_of(geobox)
    name = f"EPSG:{crs.epsg}" if crs.epsg else crs.proj.name
    return f"{name}, {pixel_size(geobox)[0]:g}"


def _region_in(pixels: GeoBox, other: GeoBox) -> Region:
    bounds: Bounds = other.boundingbox.bbox
    if not same_crs(pixels, other):
        source, target = (rasterio.crs.CRS.from_wkt(_crs_of(box).to_wkt()) for box in (other, pixels))
        try:
            bounds = transform_bounds(source, target, *bounds, densify_pts=21)
        except RasterioError as error:
            raise GridError(f"a scene cannot be drawn in {_describe(pixels)} ({error}); give another --crs") from error
    return _region_of_bounds(pixels, bounds)


def _region_of_bounds(pixels: GeoBox, bounds: Bounds) -> Region:
    """Return the region of the pixels that cover bounds; it may lie anywhere, not only inside the one pixel."""
    if not np.isfinite(bounds).all():
        raise GridError(f"bounds {bounds} cannot be drawn in {_describe(pixels)}; give another --crs")
    inverse = ~pixels.affine
    columns, rows = zip(*(inverse * (x, y) for x in bounds[::2] for y in bounds[1::2]), strict=True)
    return Region(
        int(np.floor(min(rows) + ROUNDING)),
        int(np.ceil(max(rows) - ROUNDING)),
        int(np.floor(min(columns) + ROUNDING)),
        int(np.ceil(max(columns) - ROUNDING)),
    )


def _union(regions: Sequence[Region]) -> Region:
    return Region(
        min(region.y0 for region in regions),
        max(region.y1 for region in regions),
        min(region.x0 for region in regions),
        max(region.x1 for region in regions),
    )
