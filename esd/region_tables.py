"""Tables of regions: how often each value comes, areas of classes, pairs of two images, statistics by class, covariances.

All go once over the pixels of the regions, in blocks of one order, so that the tiles have no part in a result. Pixels weigh
by the share of them that lies in the region; what is not valid, and NaN, does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .block import Block
from .errors import ExpressionError, GridError, MemoryLimitError, TableError
from .grid import Region
from .regions import POLYGONS, check_kinds, column_name, nullable, placed
from .zonal import Piece, reduce_pieces, walk, weighted_pieces

if TYPE_CHECKING:
    import pandas as pd
    from odc.geo.geobox import GeoBox

    from .coverage import Cells
    from .image import Image
    from .vector import FeatureCollection

__all__ = ["area_by_class", "covariance", "crosstab", "pixel_areas", "reduce_groups", "zonal_histogram"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Keys = tuple[npt.NDArray[Any], ...]

DEFAULT_ROWS = 1_000_000
"""Rows that a table of values may have: floats have as many values as pixels."""


@dataclass
class _Counter:
    """Adds up weights by keys, in the order in which they come."""

    most: int
    name: str
    parts: list[tuple[Keys, Floats]] = field(default_factory=list)
    waiting: int = 0

    def add(self, keys: Keys, weights: Floats) -> None:
        """Take the weights of some keys; what is kept is one number for each different key."""
        self.parts.append((keys, weights))
        self.waiting += len(weights)
        if self.waiting > 4 * self.most:
            self.parts = [self.table()]
            self.waiting = len(self.parts[0][1])

    def table(self) -> tuple[Keys, Floats]:
        """Return the keys in order, the first one slowest, and the sum of the weights of each."""
        keys: Keys = tuple(np.concatenate(part) for part in zip(*(keys for keys, _weights in self.parts), strict=True))
        weights = np.concatenate([weights for _keys, weights in self.parts])
        order = np.lexsort(keys[::-1])
        keys = tuple(key[order] for key in keys)
        new = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
        starts = np.flatnonzero(np.concatenate([[True], new]))
        if len(starts) > self.most:
            raise MemoryLimitError(
                f"{self.name}: more than {self.most} different values; give fewer regions, or classes (round or .cast() "
                "them), or raise max_rows="
            )
        return tuple(key[starts] for key in keys), np.add.reduceat(weights[order], starts)


def _polygons(image: Image, features: FeatureCollection) -> tuple[Any, npt.NDArray[Any]]:
    frame, geometries = placed(features, image.type.grid)
    check_kinds(geometries, POLYGONS, "polygons")
    return frame, geometries


def _whole(image: Image, geometry: Any, crs: Any) -> npt.NDArray[Any]:
    """Return one region as a list: a geometry, or the whole grid of the image without one."""
    from .vector import features

    if geometry is not None:
        return _polygons(image, features([geometry], crs))[1]
    if image.type.grid is None:
        raise GridError("regions: the image is a constant and has no grid; use an image of a cube")
    return np.array([image.type.grid.extent.geom], dtype=object)


def _seen(block: Block, plane: tuple[int, int], cells: Cells) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return the values of the pixels of a piece in one time and band, and which of them count."""
    values = block.values[plane].ravel()[cells.pixels]
    known = block.full_valid[plane].ravel()[cells.pixels]
    return values, known & ~np.isnan(values) if values.dtype.kind == "f" else known


def _counted(
    image: Image,
    geometries: npt.NDArray[Any],
    name: str,
    max_rows: int,
    areas: bool = False,
    **options: Any,
) -> tuple[Keys, Floats]:
    """Return keys region, time, band and value, and the sum of the coverages of each, or of the areas covered."""
    given, counter = image.type, _Counter(max_rows, name)
    for region, block, cells in walk(image, geometries, **options):
        weights = cells.coverage
        if areas and given.grid is not None:
            weights = weights * pixel_areas(given.grid, region).ravel()[cells.pixels]
        for time, band in np.ndindex(len(given.time), len(given.bands)):
            values, known = _seen(block, (time, band), cells)
            owners = cells.owners[known]
            counter.add((owners, np.full(len(owners), time), np.full(len(owners), band), values[known]), weights[known])
    if not counter.parts:
        raise TableError(f"{name}: no region covers any pixel of the image; check the coordinate systems of the two")
    return counter.table()


def _value_table(image: Image, frame: Any, found: tuple[Keys, Floats], column: str) -> pd.DataFrame:
    (owners, times, bands, values), numbers = found
    given = image.type
    table = frame.drop(columns=frame.geometry.name).iloc[owners].reset_index(drop=True)
    table.insert(0, "region", frame.index.to_numpy()[owners])
    if len(given.time) > 1:
        table["time"] = np.array(given.time, dtype=object)[times]
    if len(given.bands) > 1:
        table["band"] = np.array(given.bands, dtype=object)[bands]
    return table.assign(**{"value": values, column: numbers})


def zonal_histogram(image: Image, features: FeatureCollection, max_rows: int = DEFAULT_ROWS, **options: Any) -> pd.DataFrame:
    """Return how often each value comes in each region: a row for each, with the sum of the coverages as `count`, float64.

    Columns are region (the feature's index), the feature's properties, time and band where the image has several, value and
    count; rows are in that order. A region without a valid pixel has no row. Options are those of
    `esd.regions.reduce_regions`. Raises MemoryLimitError for more than `max_rows` rows, TableError where no region covers
    any pixel, or for points and lines.
    """
    frame, geometries = _polygons(image, features)
    return _value_table(image, frame, _counted(image, geometries, "zonal_histogram", max_rows, **options), "count")


def area_by_class(image: Image, features: FeatureCollection, max_rows: int = DEFAULT_ROWS, **options: Any) -> pd.DataFrame:
    """Return the area of each class in each region in square metres on the ellipsoid, as the column `area`, float64.

    The area of a pixel is that of `pixel_areas`, times the share of it that lies in the region. Rows, other columns, options
    and errors are those of `zonal_histogram`.
    """
    frame, geometries = _polygons(image, features)
    found = _counted(image, geometries, "area_by_class", max_rows, areas=True, **options)
    return _value_table(image, frame, found, "area")


def pixel_areas(grid: GeoBox, region: Region) -> Floats:
    """Return the area of each pixel [y, x] of a part of a grid, in square metres on the ellipsoid.

    The pixels' corners are put into an equal-area projection (Lambert's cylinder of the grid's ellipsoid, its middle
    meridian in the middle of the part), their sides taken for straight there: exact for grids of longitude and latitude.
    """
    from pyproj import CRS, Transformer

    if grid.crs is None:
        raise GridError("pixel_areas: the grid has no coordinate system; its pixels have no area in metres")
    source = grid.crs.proj
    ellipsoid = source.ellipsoid
    if ellipsoid is None or source.geodetic_crs is None:
        raise GridError(f"pixel_areas: {source.name} has no ellipsoid; put the image on a grid that has, by .reproject_to")
    columns, rows = np.meshgrid(np.arange(region.x0, region.x1 + 1.0), np.arange(region.y0, region.y1 + 1.0))
    affine: Any = grid.affine
    longitude, latitude = Transformer.from_crs(source, source.geodetic_crs, always_xy=True).transform(
        *(affine @ (columns, rows))
    )
    middle = float(longitude[longitude.shape[0] // 2, longitude.shape[1] // 2])
    size = f"+a={ellipsoid.semi_major_metre!r} +b={ellipsoid.semi_minor_metre!r}"
    flat = CRS.from_proj4(f"+proj=cea +lat_ts=0 +lon_0={middle!r} {size} +units=m")
    geographic = CRS.from_proj4(f"+proj=longlat {size}")
    x, y = Transformer.from_crs(geographic, flat, always_xy=True).transform(longitude, latitude)
    around = [np.s_[:-1, :-1], np.s_[:-1, 1:], np.s_[1:, 1:], np.s_[1:, :-1]]
    twice = np.zeros(region.shape)
    for one, other in zip(around, around[1:] + around[:1], strict=True):
        twice += (x[one] - x[around[0]]) * (y[other] - y[around[0]]) - (x[other] - x[around[0]]) * (y[one] - y[around[0]])
    return np.abs(twice) / 2


def _one_plane(name: str, image: Image) -> None:
    given = image.type
    if (len(given.time), len(given.bands)) != (1, 1):
        raise ExpressionError(
            f"{name}: needs one time and band, got {len(given.time)} and {len(given.bands)}; .select() or reduce to one"
        )


def crosstab(
    a: Image, b: Image, geometry: Any = None, crs: Any = "EPSG:4326", max_rows: int = DEFAULT_ROWS, **options: Any
) -> pd.DataFrame:
    """Return how often each pair of values of two images comes: rows are the values of `a`, columns those of `b`, float64.

    Numbers are sums of coverages, 0 for pairs that do not come; pixels count where both are valid, in a polygon (`geometry`,
    as for `esd.regions.reduce_region`) or, without one, the whole grid. Options are those of `reduce_regions`. Raises
    ExpressionError for images of several times or bands, TableError where no pixel is covered.
    """
    import pandas as pd

    from .image import call

    for image in (a, b):
        _one_plane("crosstab", image)
    joined = call("add_bands", call("rename", a, "a"), call("rename", b, "b"))
    counter = _Counter(max_rows, "crosstab")
    for _region, block, cells in walk(joined, _whole(a, geometry, crs), **options):
        (one, first), (other, second) = (_seen(block, (0, band), cells) for band in (0, 1))
        known = first & second
        counter.add((one[known], other[known]), cells.coverage[known])
    if not counter.parts or not counter.waiting:
        raise TableError("crosstab: there is no pixel where both images are valid; check the region and its crs=")
    (rows, columns), counts = counter.table()
    (names_a, at_a), (names_b, at_b) = (np.unique(keys, return_inverse=True) for keys in (rows, columns))
    table = np.zeros((len(names_a), len(names_b)))
    table[at_a, at_b] = counts
    return pd.DataFrame(table, index=pd.Index(names_a, name="a"), columns=pd.Index(names_b, name="b"))


def _regrouped(pieces: Iterator[Piece], zones: npt.NDArray[Any]) -> Iterator[Piece]:
    """Turn pixels of one region into those of zones, whose values are the last band."""
    from .coverage import Cells

    for block, weights, cells in pieces:
        values, known = _seen(block, (0, block.values.shape[1] - 1), cells)
        place = np.searchsorted(zones, values[known])
        order = np.argsort(place, kind="stable")
        pixels, coverage = cells.pixels[known][order], cells.coverage[known][order]
        found, starts = np.unique(place[order], return_index=True)
        if len(found):
            yield block, weights, Cells(found.astype(np.int64), starts.astype(np.int64), pixels, coverage)


def reduce_groups(
    image: Image,
    zones: Image,
    reducers: str | Sequence[str] = "mean",
    geometry: Any = None,
    crs: Any = "EPSG:4326",
    max_rows: int = DEFAULT_ROWS,
    weights: Image | None = None,
    max_pairs: int | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Reduce the pixels of each zone to numbers; zones are the values of an image of one time and band, such as classes.

    Returns a table with a row for each zone, by its value, and a column <band>_<reducer> (<band>_<time>_<reducer> for images
    of several times), missing where a zone has no valid pixel. Only pixels in a polygon count, if a `geometry` is given.
    Reducers, `weights`, `max_pairs` and options are those of `esd.regions.reduce_regions`. Raises ExpressionError for zones
    of several times or bands, MemoryLimitError for more than `max_rows` zones.
    """
    import pandas as pd

    from .image import call

    _one_plane("reduce_groups", zones)
    given, geometries = image.type, _whole(image, geometry, crs)
    (_owner, _time, _band, values), _counts = _counted(zones, geometries, "reduce_groups", max_rows, **options)
    found = np.unique(values)
    names = (reducers,) if isinstance(reducers, str) else tuple(dict.fromkeys(reducers))
    times = len(given.time)
    spread = call("rearrange", zones, (0,) * times) if times > 1 else zones
    joined = call("add_bands", image, call("rename", spread, " zone"))
    pieces = _regrouped(weighted_pieces(joined, weights, geometries, **options), found.astype(joined.type.dtype))
    limits = {} if max_pairs is None else {"max_pairs": max_pairs}
    reduced = reduce_pieces(pieces, (times, len(given.bands) + 1), len(found), names, **limits)
    columns: Mapping[str, Any] = {
        column_name(given, time, band, reducer): nullable(number.values, number.known)
        for (time, band, reducer), number in reduced.items()
        if band < len(given.bands)
    }
    return pd.DataFrame(columns, index=pd.Index(found, name="zone"))


def covariance(
    image: Image, geometry: Any = None, crs: Any = "EPSG:4326", centered: bool = False, **options: Any
) -> pd.DataFrame:
    """Return the covariance matrix of the bands over the pixels of a region, weighted by coverage and divided by its sum.

    A pixel counts where all bands are valid and finite, each time by itself. Rows and columns are the bands. `centered` says
    that the bands have mean 0 already: nothing is subtracted. `geometry` is a polygon, or the whole grid without one.
    Options are those of `esd.regions.reduce_regions`. Raises TableError where no pixel counts. Sources: Chan, Golub and
    LeVeque (1979), Earth Engine's covariance and centeredCovariance.
    """
    import pandas as pd

    bands = len(image.type.bands)
    weight, mean, products = 0.0, np.zeros(bands), np.zeros((bands, bands))
    for _region, block, cells in walk(image, _whole(image, geometry, crs), **options):
        flat = (*block.values.shape[:2], -1)
        for values, valid in zip(block.values.reshape(flat), block.full_valid.reshape(flat), strict=True):
            numbers = values[:, cells.pixels].astype(np.float64)
            known = valid[:, cells.pixels].all(axis=0) & np.isfinite(numbers).all(axis=0)
            share, numbers = cells.coverage[known], numbers[:, known]
            own = float(share.sum())
            if own == 0:
                continue
            middle = np.zeros(bands) if centered else (numbers * share).sum(axis=1) / own
            apart = numbers - middle[:, None]
            shift = middle - mean
            products += (apart * share) @ apart.T + np.outer(shift, shift) * (weight * own / (weight + own))
            mean += shift * (own / (weight + own))
            weight += own
    if weight == 0:
        raise TableError("covariance: no pixel of the region is valid in all bands; check the region and its crs=")
    return pd.DataFrame(products / weight, index=list(image.type.bands), columns=list(image.type.bands))
