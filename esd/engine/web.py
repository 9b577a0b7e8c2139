"""Map tiles: the squares of the web mercator pyramid as grids, and an image on one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from affine import Affine

from esd.errors import GridError
from esd.grid import has_crs, make_geobox

from .answer import compute
from .cache import ResultCache, shared_cache
from .execute import Raster
from .looking import decoded_by, for_looking
from .resample import footprint_region
from .stop import CancelToken

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from esd.image import Image
from esd.regrid import resampling_of, without_default

__all__ = ["MAX_ZOOM", "tile", "tile_geobox"]

HALF_WORLD = 20037508.342789244
"""Half of the equator in metres of EPSG:3857: pi times 6378137."""
MAX_ZOOM = 30


def tile_geobox(z: int, x: int, y: int, size: int = 256) -> GeoBox:
    """Return the grid of a map tile in EPSG:3857: zoom `z`, column `x` from the west, row `y` from the north.

    Raises GridError for a tile that does not exist, or a size outside of 1 to 4096 pixels.
    """
    if not 0 <= z <= MAX_ZOOM:
        raise GridError(f"zoom {z} is out of range; give 0 to {MAX_ZOOM}")
    if not (0 <= x < 2**z and 0 <= y < 2**z):
        raise GridError(f"tile {z}/{x}/{y} does not exist; zoom {z} has columns and rows 0 to {2**z - 1}")
    if not 1 <= size <= 4096:
        raise GridError(f"tile size {size} is out of range; give 1 to 4096 pixels")
    side = 2 * HALF_WORLD / 2**z
    pixel = side / size
    affine = Affine(pixel, 0, x * side - HALF_WORLD, 0, -pixel, HALF_WORLD - y * side)
    return make_geobox((size, size), affine, "EPSG:3857")


def _nothing(image: Image, geobox: GeoBox) -> Raster:
    given = image.type
    shape = (len(given.time), len(given.bands), *geobox.shape)
    return Raster(np.zeros(shape, dtype=given.dtype), np.zeros(shape, dtype=bool), given.with_(grid=geobox), geobox)


def tile(
    image: Image,
    z: int,
    x: int,
    y: int,
    size: int = 256,
    *,
    resampling: str | None = None,
    deadline: float | None = None,
    cancel: CancelToken | None = None,
    cache: ResultCache | None = None,
    exact: bool = False,
    decoder: str | None = None,
) -> Raster:
    """Compute a map tile; see `Image.tile`."""
    image = type(image)(without_default(image.expr))
    resampling = resampling or resampling_of(image.expr)
    image = for_looking(image) if decoder is None else decoded_by(image, decoder)
    geobox, grid = tile_geobox(z, x, y, size), image.type.grid
    if grid is not None and has_crs(grid) and footprint_region(grid, geobox).size == 0:
        return _nothing(image, geobox)
    kept = shared_cache() if cache is None else cache
    return compute(image, geobox, resampling=resampling, deadline=deadline, cancel=cancel, cache=kept, exact=exact)
