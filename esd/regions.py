"""Images and vectors together: statistics of regions, samples under points and in polygons, rasters to polygons and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import ExpressionError, GridError, TableError
from .hashing import place_hashes
from .zonal import reduce_zones, walk

if TYPE_CHECKING:
    import geopandas as gpd
    from odc.geo.geobox import GeoBox

    from .image import Image
    from .space import CubeType
    from .vector import FeatureCollection

__all__ = ["clip", "rasterize", "reduce_region", "reduce_regions", "sample", "sample_regions", "vectorize"]

POINT = 0
POLYGONS = (3, 6)


def placed(features: FeatureCollection, grid: GeoBox | None) -> tuple[gpd.GeoDataFrame, npt.NDArray[Any]]:
    """Return the features and their geometries in the coordinates of a grid, missing and empty ones as None."""
    import shapely

    from .geometry import crs_of, projected, valid

    frame = features.compute()
    if grid is None or grid.crs is None:
        raise GridError("regions: the image has no grid or no coordinate system; use an image of a cube")
    geometries = projected(valid(frame.geometry.to_numpy()), crs_of(frame.crs), grid.crs.proj).copy()
    geometries[shapely.is_empty(geometries)] = None
    return frame, geometries


def grid_like(like: Image | GeoBox, name: str) -> GeoBox:
    """Return the grid of an image, or the grid itself. Raises GridError for a constant."""
    from .image import Image

    grid = like.type.grid if isinstance(like, Image) else like
    if grid is None:
        raise GridError(f"{name}: a constant has no grid; use an image of a cube")
    return grid


def check_kinds(geometries: npt.NDArray[Any], allowed: Sequence[int], what: str) -> None:
    """Raise TableError for geometries of other kinds (shapely's type ids) than allowed, which are called `what`."""
    import shapely

    kinds = shapely.get_type_id(geometries)
    other = ~np.isin(kinds, [-1, *allowed])
    if other.any():
        kind = geometries[np.argmax(other)].geom_type
        raise TableError(f"{int(other.sum())} geometries are no {what} ({kind} first); filter or .buffer() them")


def column_name(given: CubeType, time: int, band: int, reducer: str = "") -> str:
    """Return the name of the column of one time and band: <band>_<time>_<reducer>, the time for images of several."""
    parts = [given.bands[band], given.time[time] if len(given.time) > 1 else "", reducer]
    return "_".join(part for part in parts if part)


def reduce_regions(
    image: Image, features: FeatureCollection, reducers: str | Sequence[str] = "mean", **options: Any
) -> gpd.GeoDataFrame:
    """Reduce the pixels of each polygon to numbers, in one pass over the image for all of them.

    Returns the features with a column <band>_<reducer> for each (<band>_<time>_<reducer> for images of several times), of
    pandas' Float64: missing, never 0, where a region has no valid pixel. Reducers are count (the sum of the coverages, 0
    where there is none), pixels (how many are covered, even in part; 0 where none is), sum, mean, min, max, variance and std
    (divided by n), median, p0 to p100, mode (of most coverage, the smallest of equal ones), count_distinct (0 where there is
    none), skew, kurtosis, product, all, any, circular_mean, circular_variance and circular_std.

    `coverage` "fraction" (the default) weighs each pixel by the exact share of it that lies in the polygon (exactextract);
    "center" and "all_touched" count whole pixels; which it was is in the table's `attrs["coverage"]`. `weights`, an image of
    one band, multiplies these weights; where it is not above 0 or not valid nothing counts. NaN and what is not valid does
    not count. Options are `tile`, `max_memory` and `threads`; `deadline`, `cancel` and `progress` as of `Image.compute`,
    `progress` told of blocks; and `max_pairs`, the pixels that those from the median on may keep. Polygons are put into the
    image's coordinates vertex by vertex; invalid ones are made valid with a warning. Raises TableError for points and lines,
    GridError for a grid that is not north-up, ExpressionError for other reducers, MemoryLimitError for medians of more than
    `max_pairs` pixels.
    """
    given = image.type
    names = (reducers,) if isinstance(reducers, str) else tuple(dict.fromkeys(reducers))
    frame, geometries = placed(features, given.grid)
    check_kinds(geometries, POLYGONS, "polygons")
    found = reduce_zones(image, geometries, names, **options)
    columns: dict[str, Any] = {
        column_name(given, time, band, reducer): nullable(number.values, number.known)
        for (time, band, reducer), number in found.items()
    }
    table = frame.assign(**columns)
    table.attrs["coverage"] = options.get("coverage", "fraction")
    return table


def reduce_region(
    image: Image, geometry: Any, reducers: str | Sequence[str] = "mean", crs: Any = "EPSG:4326", **options: Any
) -> dict[str, float | None]:
    """Reduce the pixels of one polygon to numbers by name, None where it has no valid pixel; see `reduce_regions`.

    `geometry` is WKT, GeoJSON, shapely, or left, bottom, right, top, in `crs`.
    """
    from .vector import features

    frame = reduce_regions(image, features([geometry], crs), reducers, **options).drop(columns="geometry")
    return {str(name): None if column.isna()[0] else float(column[0]) for name, column in frame.items()}


def clip(image: Image, features: FeatureCollection, all_touched: bool = False) -> Image:
    """Keep the pixels whose centre lies in the features (or, `all_touched`, that they touch); all others are not valid."""
    return image.update_mask(rasterize(features, image, all_touched=all_touched))


def sample(image: Image, number: int, seed: int = 0, **options: Any) -> gpd.GeoDataFrame:
    """Return `number` of the pixels whose bands and times are all valid, each as likely as any other; fewer where there are.

    Pixels are drawn by a hash of the seed and their coordinates: the same for every tiling, and where two images on one grid
    are both valid, of both. Rows have a column <band> (<band>_<time>), in order of the hash; the geometry is the pixel's
    centre. Options are `tile`, `max_memory`, `threads`, `deadline`, `cancel` and `progress` of `reduce_regions`.
    """
    return drawn(image, number, seed, lambda planes: np.zeros(planes.shape[1]), "sample", **options)


def drawn(
    image: Image, number: int, seed: int, stratum: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], name: str, **options: Any
) -> gpd.GeoDataFrame:
    """Return `number` pixels of each stratum, by stratum, then hash; `stratum` makes it of the pixels' values [n, k]."""
    import geopandas
    import shapely

    given = image.type
    if given.grid is None or number < 1:
        raise ExpressionError(f"{name}: {number} pixels of {given.describe()}; give at least 1, and an image with a grid")
    best: tuple[npt.NDArray[Any], ...] | None = None
    outline = np.array([given.grid.extent.geom], dtype=object)
    for region, block, _cells in walk(image, outline, "all_touched", **options):
        planes = block.values.reshape(-1, *region.shape)
        rows, columns = np.nonzero(block.valid.all(axis=(0, 1)))
        x, y = centres(given.grid, rows + region.y0, columns + region.x0)
        values = planes[:, rows, columns]
        found = (stratum(values), place_hashes(x, y, seed), x, y, values)
        joined = found if best is None else tuple(np.concatenate(pair, axis=-1) for pair in zip(best, found, strict=True))
        order = np.lexsort((joined[2], joined[3], joined[1], joined[0]))
        first = np.searchsorted(joined[0][order], joined[0][order])
        best = tuple(part[..., order[np.arange(len(order)) - first < number]] for part in joined)
    if best is None or not len(best[0]):
        raise TableError(f"{name}: the image has no valid pixel; widen its dates or its area")
    names = [column_name(given, *divmod(plane, len(given.bands))) for plane in range(len(best[4]))]
    crs = None if given.grid.crs is None else given.grid.crs.proj
    return geopandas.GeoDataFrame(dict(zip(names, best[4], strict=True)), geometry=shapely.points(best[2], best[3]), crs=crs)


def centres(grid: GeoBox, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> tuple[Any, Any]:
    """Return the coordinates x and y of the centres of pixels."""
    affine: Any = grid.affine
    x, y = affine @ (columns + 0.5, rows + 0.5)
    return x, y


def sample_regions(image: Image, features: FeatureCollection, **options: Any) -> gpd.GeoDataFrame:
    """Return the values of the pixels under points, one row a point, or in polygons, one row for each pixel of each.

    Rows have the properties of their feature and a column <band> for each band (<band>_<time> for images of several times);
    what is not valid is missing. Rows of polygons have the pixel's `coverage` and its centre as geometry, in order of the
    features, then of the pixels row by row; a polygon without pixels has none. Points outside of the image have missing
    values. `coverage` and other options are those of `reduce_regions`. Raises TableError for lines, or a mixture.
    """
    import shapely

    frame, geometries = placed(features, image.type.grid)
    kinds = shapely.get_type_id(geometries)
    if (kinds == POINT).any():
        check_kinds(geometries, (POINT,), "points")
        if options.pop("coverage", "fraction") != "fraction":
            raise ExpressionError("sample_regions: a point lies in one pixel and has no coverage; leave coverage= out")
        return frame.assign(**_at_points(image, geometries, options))
    check_kinds(geometries, POLYGONS, "points or polygons")
    return _in_polygons(image, frame, geometries, options)


def _at_points(image: Image, points: npt.NDArray[Any], options: dict[str, Any]) -> dict[str, Any]:
    import shapely

    given = image.type
    if given.grid is None:
        raise GridError("sample_regions: a constant has no grid; use an image of a cube")
    to_pixels: Any = ~given.grid.affine
    x, y = to_pixels @ (shapely.get_x(points), shapely.get_y(points))
    height, width = given.grid.shape
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    rows, columns = (np.floor(np.where(inside, part, 0)).astype(np.int64) for part in (y, x))
    planes = len(given.time) * len(given.bands)
    values, known = np.zeros((planes, len(points)), dtype=given.dtype), np.zeros((planes, len(points)), dtype=bool)
    pixels = np.array([None] * len(points), dtype=object)
    pixels[inside] = _pixel_shapes(given.grid, rows[inside], columns[inside])
    for _region, block, cells in walk(image, pixels, "center", **options):
        for plane in range(planes):
            place = divmod(plane, len(given.bands))
            values[plane, cells.owners] = block.values[place].ravel()[cells.pixels]
            known[plane, cells.owners] = block.full_valid[place].ravel()[cells.pixels]
    return {
        column_name(given, *divmod(plane, len(given.bands))): nullable(values[plane], known[plane])
        for plane in range(planes)
    }


def _pixel_shapes(grid: GeoBox, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return small boxes around the centres of pixels: what `walk` finds one pixel for each of."""
    import shapely

    affine: Any = grid.affine
    x, y = centres(grid, rows, columns)
    wide, high = abs(affine.a) / 4, abs(affine.e) / 4
    return np.asarray(shapely.box(x - wide, y - high, x + wide, y + high), dtype=object)


def nullable(values: npt.NDArray[Any], known: npt.NDArray[np.bool_]) -> Any:
    """Return an array of pandas' nullable types, that keeps integers what they are."""
    import pandas as pd

    dtype: Any = {"b": "boolean", "f": "Float64"}.get(values.dtype.kind, "Int64")
    return pd.Series(values).astype(dtype).mask(~known).array


def _in_polygons(
    image: Image, frame: gpd.GeoDataFrame, geometries: npt.NDArray[Any], options: dict[str, Any]
) -> gpd.GeoDataFrame:
    import geopandas
    import shapely

    given = image.type
    planes = len(given.time) * len(given.bands)
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    for region, block, cells in walk(image, geometries, **options):
        rows, columns = np.divmod(cells.pixels, region.shape[1])
        values = block.values.reshape(planes, -1)[:, cells.pixels]
        known = block.full_valid.reshape(planes, -1)[:, cells.pixels]
        parts.append((cells.owners, rows + region.y0, columns + region.x0, cells.coverage, values, known))
    if not parts or given.grid is None:
        raise TableError("no polygon covers any pixel of the image; check the coordinate systems of the two")
    owners, rows, columns, coverage, values, known = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    order = np.lexsort((columns, rows, owners))
    x, y = centres(given.grid, rows[order], columns[order])
    table = frame.drop(columns=frame.geometry.name).iloc[owners[order]].reset_index(drop=True)
    table = table.assign(coverage=coverage[order])
    for plane in range(planes):
        name = column_name(given, *divmod(plane, len(given.bands)))
        table[name] = nullable(values[plane, order], known[plane, order])
    crs = None if given.grid.crs is None else given.grid.crs.proj
    return geopandas.GeoDataFrame(table, geometry=shapely.points(x, y), crs=crs)


def rasterize(
    features: FeatureCollection,
    like: Image | GeoBox,
    value: str | float = 1,
    all_touched: bool = False,
    band: str = "value",
) -> Image:
    """Burn features into an image on the grid of another: pixels whose centre lies inside (or, `all_touched`, any part).

    `value` is a number or the name of a property of numbers; later features cover earlier ones. Integers give int32, or
    int64 where they need it, other numbers float64; pixels that no feature covers are not valid. Raises TableError for a
    property that is missing or holds no numbers. Source: rasterio.features.rasterize.
    """
    from rasterio.features import rasterize as burn

    from .image import from_array

    grid = grid_like(like, "rasterize")
    frame, geometries = placed(features, grid)
    numbers = numbers_of(frame, value)
    kept = [i for i, geometry in enumerate(geometries) if geometry is not None and not np.isnan(numbers[i])]
    values, valid = np.zeros(grid.shape, dtype=numbers.dtype), np.zeros(grid.shape, dtype=np.uint8)
    if kept:
        place = {"out_shape": grid.shape, "transform": grid.affine, "all_touched": all_touched}
        values = burn([(geometries[i], numbers[i]) for i in kept], dtype=numbers.dtype, **place)
        valid = burn([(geometries[i], 1) for i in kept], dtype=np.uint8, **place)
    return from_array(values, grid, (band,), valid=valid.astype(bool))


def numbers_of(frame: gpd.GeoDataFrame, value: str | float) -> npt.NDArray[Any]:
    """Return a property of numbers, or one number for all features. Raises TableError for one of something else."""
    from pandas.api import types

    if not isinstance(value, str):
        numbers = np.full(len(frame), value)
    elif value not in frame.columns or not types.is_numeric_dtype(frame[value]):
        raise TableError(f"rasterize: {value!r} is no property of numbers; the features have {', '.join(map(str, frame))}")
    else:
        column = frame[value]
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan) if column.isna().any() else column.to_numpy()
    if numbers.dtype.kind not in "iub":
        return numbers.astype(np.float64)
    small = len(numbers) == 0 or (numbers.min() >= -(2**31) and numbers.max() < 2**31)
    return numbers.astype(np.int32 if small else np.int64)


def vectorize(image: Image, connectivity: int = 4, **options: Any) -> gpd.GeoDataFrame:
    """Return the patches of equal value of an image of one time and band as polygons, with a column of that band's name.

    Patches meet by sides, or by corners too (`connectivity` 8); what is not valid belongs to none. Polygons follow the
    sides of the pixels, in order of each patch's first pixel. The image is computed as a whole, so that no patch is cut
    where tiles are: this takes its memory. Options are those of `Image.compute`. Raises ExpressionError for an image of
    floats, or of several times or bands. Source: rasterio.features.shapes.
    """
    import geopandas
    import shapely
    from rasterio.features import shapes

    given = image.type
    if (len(given.time), len(given.bands)) != (1, 1):
        raise ExpressionError(
            f"vectorize: needs one time and band, got {len(given.time)} and {len(given.bands)}; .select() one"
        )
    if given.dtype.kind not in "bui" or given.dtype.itemsize > 4 or connectivity not in (4, 8):
        raise ExpressionError(
            f"vectorize: {given.dtype} and connectivity={connectivity}; give integers of at most 32 bits, or compare first "
            "(image > 0.5), and 4 or 8"
        )
    raster = image.compute(**options)
    values, valid = raster.values[0, 0], raster.valid[0, 0]
    wide = values.astype(np.int32 if values.dtype != np.uint32 else np.float64)
    found = list(shapes(wide, mask=valid, connectivity=connectivity, transform=raster.geobox.affine))
    polygons = shapely.from_geojson([_geojson(shape) for shape, _value in found])
    numbers = np.array([number for _shape, number in found]).astype(values.dtype)
    crs = None if raster.geobox.crs is None else raster.geobox.crs.proj
    frame = geopandas.GeoDataFrame({given.bands[0]: numbers}, geometry=polygons, crs=crs)
    return frame.iloc[_first_pixels(polygons, raster.geobox)].reset_index(drop=True)


def _geojson(shape: Any) -> str:
    import json

    return json.dumps(shape)


def _first_pixels(polygons: npt.NDArray[Any], grid: GeoBox) -> npt.NDArray[np.int64]:
    """Return the order of polygons by their topmost, then leftmost vertex."""
    import shapely

    points, owners = shapely.get_coordinates(polygons, return_index=True)
    columns, rows = ~grid.affine @ (points[:, 0], points[:, 1])
    order = np.lexsort((np.round(columns), np.round(rows), owners))
    first = order[np.unique(owners[order], return_index=True)[1]]
    return np.lexsort((np.round(columns[first]), np.round(rows[first])))
