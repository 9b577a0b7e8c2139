"""Exact similarity search over codes: "where else does it look like this?"

The cosine between a query and a pixel is a sum over the steps of numbers that depend on one code each. They are tabulated
once (a table of all codes for each step), so that a pixel costs a look-up a step and no embedding is ever formed. Blocks
stream through a list of the k best, in bounded memory; the result is exact.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyproj import Transformer

from esd.answering import own_pixels, pixel_at
from esd.codec import Codec, other_encoder
from esd.cube import Cube
from esd.errors import EncoderError, ExpressionError, GridError, WindowError
from esd.grid import GeoBox, Region, sub_geobox
from esd.image import Image, call
from esd.per_step import on_grid, rounded

__all__ = ["COLUMNS", "Query", "pixel_lonlat", "query_at", "similar", "similarity_image"]

COLUMNS = ("window", "row", "column", "x", "y", "longitude", "latitude", "score")

Codes = npt.NDArray[np.unsignedinteger]
Doubles = npt.NDArray[np.float64]
Window = int | str | dt.date


def _units(codes: Codes, codec: Codec) -> Doubles:
    """Return the unit vectors of codes [steps, n]: float64 [n, steps * dims], step slowest."""
    vectors = np.moveaxis(codec.embed(codes), 1, 0).reshape(codes.shape[1], -1).astype(np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not length.all():
        raise ExpressionError("a query pixel is the zero vector, which has no direction; take another point")
    return np.asarray(vectors / length)


@dataclass(frozen=True)
class Query:
    """What is looked for: a unit vector of steps x dims numbers, step slowest, and the SHA-256 of its encoder."""

    vector: tuple[float, ...]
    encoder: str

    @classmethod
    def from_codes(cls, codes: Codes, cube: Cube, negatives: Codes | None = None) -> Query:
        """Combine pixels of codes [steps, n] to one query: the mean of their unit vectors, less that of the negatives'.

        Raises ExpressionError where there are no pixels, where one has no data, or where they cancel out.
        """
        codec = cube.codec
        parts = [codes] if negatives is None or negatives.size == 0 else [codes, negatives]
        for part in parts:
            if part.ndim != 2 or part.shape[0] != codec.steps or part.shape[1] == 0 or (part == codec.fill).any():
                raise ExpressionError(
                    f"query codes of shape {part.shape} need to be [{codec.steps}, n], n > 0, without no data"
                )
        means = [_units(part, codec).mean(axis=0) for part in parts]
        mean = means[0] - means[1] if len(means) == 2 else means[0]
        length = float(np.linalg.norm(mean))
        if length < 1e-9:
            raise ExpressionError("the query points cancel each other out; leave out some of them or of the negatives")
        return cls(tuple(float(number) for number in mean / length), codec.sha256)

    @cached_property
    def token(self) -> str:
        """Hash of the vector and its encoder."""
        return hashlib.sha256(repr((self.vector, self.encoder)).encode()).hexdigest()

    def tables(self, codec: Codec) -> Doubles:
        """Return what each code adds to the dot product: float64 [step, code]; 0 for no data.

        Rounded as `cosine_similarity` rounds, so that both add up the same terms without rounding.
        """
        vector = np.array(self.vector)
        by_step = rounded(vector / np.sqrt((vector * vector).sum())).reshape(-1, codec.fsq.dims)
        return np.asarray(by_step @ on_grid(codec.embedding_table).T)


def _codes_at(cube: Cube, grid: str | None, window: dt.date, points: Sequence[tuple[float, float]]) -> Codes:
    """Return the codes [steps, n] at points (longitude, latitude). Raises GridError outside, WindowError for no data."""
    found = []
    for lon, lat in points:
        name, pixel = pixel_at(cube, window, lon, lat, grid)
        if name is None:
            raise GridError(f"point {lon},{lat} lies outside of {cube.path.name}; give longitude,latitude inside of it")
        codes = cube.read("codes", name, window, pixel).reshape(-1)
        if (codes == cube.codec.fill).any():
            raise WindowError(f"point {lon},{lat} has no data in window {window}; take another point or window")
        found.append(codes)
    return np.stack(found, axis=1)


def query_at(
    cube: Cube,
    points: Sequence[tuple[float, float]],
    window: Window,
    grid: str | None = None,
    negatives: Sequence[tuple[float, float]] = (),
) -> Query:
    """Return the query of the pixels at points (longitude, latitude in WGS 84 degrees) in a window.

    Several points combine as the mean of their unit vectors; `negatives` are subtracted likewise. Raises GridError for a
    point outside of the cube, WindowError for one without data.
    """
    if not points:
        raise ExpressionError("a query needs at least one point; give longitude,latitude")
    start = cube.window(window)
    against = _codes_at(cube, grid, start, negatives) if negatives else None
    return Query.from_codes(_codes_at(cube, grid, start, points), cube, against)


def _same_encoder(cube: Cube, query: Query) -> None:
    if query.encoder != cube.codec.sha256:
        raise EncoderError(other_encoder("the query was encoded", query.encoder, cube.codec))


def similarity_image(cube: Cube, window: Window, query: Query, grid: str | None = None) -> Image:
    """Return the lazy image of the cosine, -1..1, of every pixel with the query: the same numbers as `similar`."""
    _same_encoder(cube, query)
    return call("cosine_similarity", cube.image(window, grid), query)


def _scores(
    codes: Codes, tables: Doubles, squares: Doubles, fill: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return the cosine [y, x] and where it is defined, by adding up the tables over the steps."""
    total, square = np.zeros(codes.shape[1:]), np.zeros(codes.shape[1:])
    for step, plane in enumerate(codes):
        index = plane.astype(np.intp)
        total += tables[step].take(index, mode="clip")
        square += squares.take(index, mode="clip")
    defined = (codes != fill).all(axis=0) & (square > 0)
    cosine = np.clip(total / np.sqrt(np.where(defined, square, 1)), -1, 1)
    return cosine.astype(np.float32), defined


@dataclass(frozen=True)
class _Best:
    """The best pixels so far, best first; of equal scores the earlier window, then grid, row and column come first."""

    score: npt.NDArray[np.float32]
    window: npt.NDArray[np.int64]
    grid: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]

    @classmethod
    def of_block(
        cls, score: npt.NDArray[np.float32], defined: npt.NDArray[np.bool_], window: int, grid: int, region: Region, k: int
    ) -> _Best:
        """Return the k best pixels of a block; of equal ones the first by row and column."""
        where = np.flatnonzero(defined)
        values = score.ravel()[where]
        if values.size > k:
            least = np.partition(values, values.size - k)[values.size - k]
            above, equal = np.flatnonzero(values > least), np.flatnonzero(values == least)
            kept = np.concatenate([above, equal[: k - above.size]])
            where, values = where[kept], values[kept]
        row, column = np.divmod(where, region.shape[1])
        window_, grid_ = (np.full(values.size, number) for number in (window, grid))
        return cls(values, window_, grid_, row + region.y0, column + region.x0)

    def merge(self, other: _Best, k: int) -> _Best:
        """Return the k best of both."""
        names = ("score", "window", "grid", "row", "column")
        score, window, grid, row, column = (np.concatenate([getattr(self, n), getattr(other, n)]) for n in names)
        order = np.lexsort((column, row, grid, window, -score))[:k]
        return _Best(score[order], window[order], grid[order], row[order], column[order])


def _block_mask(mask: Image | None, cube: Cube, grid: str, region: Region) -> npt.NDArray[np.bool_] | bool:
    """Evaluate a mask on one block: [y, x], True where it is valid and not zero."""
    if mask is None:
        return True
    raster = mask.compute(sub_geobox(cube.grids[grid], region))
    return np.asarray(((raster.values != 0) & raster.valid).all(axis=(0, 1)))


def _regions(cube: Cube, grid: str, region: Region | None) -> Iterator[Region]:
    for block in cube.blocks(grid):
        part = block if region is None else block.intersect(region)
        if part.size:
            yield part


def pixel_lonlat(
    box: GeoBox, row: npt.NDArray[np.int64], column: npt.NDArray[np.int64]
) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Return x and y in the grid's CRS and longitude and latitude (WGS 84) of pixel centres."""
    if box.crs is None:
        raise GridError("the grid has no coordinate system")
    a, b, c, d, e, f = tuple(box.affine)[:6]
    across, down = column + 0.5, row + 0.5
    x, y = a * across + b * down + c, d * across + e * down + f
    longitude, latitude = Transformer.from_crs(box.crs.proj, "EPSG:4326", always_xy=True).transform(x, y)
    return np.asarray(x), np.asarray(y), np.asarray(longitude), np.asarray(latitude)


def similar(
    cube: Cube,
    query: Query,
    k: int = 100,
    windows: Sequence[Window] | None = None,
    grid: str | None = None,
    region: Region | None = None,
    mask: Image | None = None,
) -> pd.DataFrame:
    """Return the k pixels most similar to the query, best first; those of the query itself are among them.

    Searches all windows of the cube unless `windows` names some, the whole grid unless `region` (pixels) bounds it, and only
    where `mask`, an image of the same place, is valid and not zero. Columns: window, row, column, x, y (in the grid's CRS),
    longitude, latitude (WGS 84) of the pixel's centre, score (cosine, -1..1). Equal scores are ordered by window, row,
    column. Of a cube of several grids all are searched unless `grid` names one: each place once, by the grid that answers
    for it (`esd.mosaic`); a column `grid` after `window` says which, and equal scores are ordered by it before row and
    column. Raises EncoderError for a query of another encoder, GridError for a `region` of no named grid.
    """
    if k < 1:
        raise ExpressionError(f"k={k} must be at least 1")
    _same_encoder(cube, query)
    several = grid is None and region is None and len(cube.grids) > 1
    names = list(cube.grids) if several else [cube.grid(grid)]
    chosen = [cube.window(window) for window in windows] if windows is not None else list(cube.windows)
    best = _search(cube, query, names, chosen, k, region, mask)
    starts = np.array(chosen, dtype="datetime64[ms]")[best.window]
    places = np.zeros((4, best.row.size))
    for number, name in enumerate(names):
        mine = best.grid == number
        places[:, mine] = pixel_lonlat(cube.grids[name], best.row[mine], best.column[mine])
    found = pd.DataFrame(dict(zip(COLUMNS, (starts, best.row, best.column, *places, best.score), strict=True)))
    if several:
        found.insert(1, "grid", np.array(names)[best.grid])
    return found


def _search(
    cube: Cube,
    query: Query,
    names: Sequence[str],
    windows: Sequence[dt.date],
    k: int,
    region: Region | None,
    mask: Image | None,
) -> _Best:
    """Return the k best pixels of some grids, block by block; of several grids each pixel that is its grid's to answer."""
    codec = cube.codec
    tables = query.tables(codec)
    squares = (on_grid(codec.embedding_table) ** 2).sum(axis=1)
    nothing = np.zeros(0, dtype=np.int64)
    best = _Best(np.zeros(0, dtype=np.float32), nothing, nothing, nothing, nothing)
    for number, name in enumerate(names):
        for part in _regions(cube, name, region):
            allowed = _block_mask(mask, cube, name, part)
            for index, window in enumerate(windows):
                codes = cube.read("codes", name, window, part)
                if (codes[0] == codec.fill).all():  # most of a tile at the coast, or of one that an area was cut from
                    continue
                score, defined = _scores(codes, tables, squares, codec.fill)
                defined &= allowed
                if len(names) > 1 and defined.any():
                    defined &= own_pixels(cube, name, window, part)
                best = best.merge(_Best.of_block(score, defined, index, number, part, k), k)
    return best
