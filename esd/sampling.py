"""Pixels of images as tables and arrays: so many of each class, all of a region over time, a rectangle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import BandError, ExpressionError, GridError, MemoryLimitError, TableError
from .grid import Region, region_of, sub_geobox
from .regions import POLYGONS, centres, check_kinds, drawn, nullable, placed
from .zonal import walk

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    import shapely
    from odc.geo.geobox import GeoBox

    from .collection import ImageCollection
    from .engine.execute import Raster
    from .image import Image

__all__ = ["get_region", "sample_rectangle", "stratified_sample"]

MOST_PIXELS = 1 << 24


def stratified_sample(image: Image, number: int, class_band: str, seed: int = 0, **options: Any) -> gpd.GeoDataFrame:
    """Return `number` pixels of each class, whose bands and times are all valid; fewer of a class that has fewer.

    Classes are the values of the band `class_band` (of its first time), whole numbers. Pixels of a class are drawn as in
    `esd.regions.sample`, by a hash of the seed and their coordinates: the same for every tiling. Rows are in order of the
    class, then of the hash; columns, geometry and options are those of `sample`. Raises BandError for a band that is not
    there, ExpressionError for one of fractions.
    """
    given = image.type
    if class_band not in given.bands:
        raise BandError(f"stratified_sample: there is no band {class_band!r}; the image has {', '.join(given.bands)}")
    band = given.bands.index(class_band)

    def stratum(planes: npt.NDArray[Any]) -> npt.NDArray[Any]:
        found = planes[band]
        if (np.trunc(found) != found).any():
            raise ExpressionError(
                f"stratified_sample: band {class_band!r} holds fractions; classes are whole numbers, .round()"
            )
        return found

    return drawn(image, number, seed, stratum, "stratified_sample", **options)


def _pixel_bounds(geometry: shapely.Geometry, grid: GeoBox, name: str) -> Region:
    """Return the pixels of a grid that the box of a geometry in its coordinates touches."""
    left, bottom, right, top = geometry.bounds
    corners = [~grid.affine @ corner for corner in ((left, top), (right, top), (left, bottom), (right, bottom))]
    columns, rows = (np.array([corner[axis] for corner in corners]) for axis in (0, 1))
    height, width = grid.shape
    near = 1e-6
    x0, x1 = max(int(np.floor(columns.min() + near)), 0), min(int(np.ceil(columns.max() - near)), width)
    y0, y1 = max(int(np.floor(rows.min() + near)), 0), min(int(np.ceil(rows.max() - near)), height)
    if x0 >= x1 or y0 >= y1:
        raise GridError(f"{name}: the region {geometry.wkt[:60]} lies outside of the image; check its crs=")
    return Region(y0, y1, x0, x1)


def sample_rectangle(
    image: Image, geometry: Any, crs: Any = "EPSG:4326", max_pixels: int = MOST_PIXELS, **options: Any
) -> Raster:
    """Compute the pixels that the bounding box of a geometry touches, as arrays [time, band, y, x] with their validity.

    `geometry` is WKT, GeoJSON, shapely, or left, bottom, right, top, in `crs`. The grid is the image's. Options are those
    of `Image.compute`. Raises GridError for a region outside of the image, MemoryLimitError for more than `max_pixels`.
    """
    from .vector import features

    grid = image.type.grid
    _frame, (shape,) = placed(features([geometry], crs), grid)
    if grid is None or shape is None:
        raise GridError("sample_rectangle: the region is empty; give a geometry with an extent")
    part = _pixel_bounds(shape, grid, "sample_rectangle")
    pixels = part.shape[0] * part.shape[1]
    if pixels > max_pixels:
        raise MemoryLimitError(
            f"sample_rectangle: {pixels} pixels are more than the {max_pixels} allowed; give a smaller region, or raise "
            "max_pixels="
        )
    whole = part == region_of(grid)
    return image.compute(None if whole else sub_geobox(grid, part), **options)


def get_region(
    images: Image | ImageCollection, geometry: Any, crs: Any = "EPSG:4326", coverage: str = "center", **options: Any
) -> pd.DataFrame:
    """Return a table of all pixels of a region at all times: longitude, latitude, time and the bands, a row for each.

    `geometry` is a polygon as WKT, GeoJSON, shapely, or left, bottom, right, top, in `crs`; pixels count whose centre lies
    inside (`coverage` "all_touched": that it touches). Rows are in order of the pixels, row by row, then of time; what is
    not valid is missing. Options are those of `esd.regions.reduce_regions`. Raises TableError where no pixel is covered.
    """
    import pandas as pd
    from pyproj import Transformer

    from .image import Image
    from .vector import features

    image = images if isinstance(images, Image) else images.stack()
    given = image.type
    _frame, geometries = placed(features([geometry], crs), given.grid)
    check_kinds(geometries, POLYGONS, "polygons")
    if coverage == "fraction":
        raise ExpressionError("get_region: a pixel is in the table or not; give coverage='center' or 'all_touched'")
    parts = []
    for region, block, cells in walk(image, geometries, coverage, **options):
        rows, columns = np.divmod(cells.pixels, region.shape[1])
        flat = (*block.values.shape[:2], -1)
        planes = block.values.reshape(flat)[..., cells.pixels], block.full_valid.reshape(flat)[..., cells.pixels]
        parts.append((rows + region.y0, columns + region.x0, *planes))
    if not parts or given.grid is None or given.grid.crs is None:
        raise TableError("get_region: the region covers no pixel of the image; check crs=")
    rows, columns, values, valid = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    order = np.lexsort((columns, rows))
    to_degrees = Transformer.from_crs(given.grid.crs.proj, "EPSG:4326", always_xy=True)
    places = to_degrees.transform(*centres(given.grid, rows[order], columns[order]))
    times = len(given.time)
    table = {name: np.repeat(place, times) for name, place in zip(("longitude", "latitude"), places, strict=True)}
    table["time"] = np.tile(np.array(given.time, dtype=object), len(order))
    for band, name in enumerate(given.bands):
        table[name] = nullable(values[:, band, order].T.ravel(), valid[:, band, order].T.ravel())
    return pd.DataFrame(table)
