"""Image and ImageCollection: what users hold. Thin faces over the expression graph; nothing runs before `compute`."""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from .block import Block
from .engine.lower import infer, lower
from .errors import BandError, ExpressionError, GridError, WindowError
from .expr import Expr
from .operator import Operator, Tile, bind, get_operator, operators, register
from .space import CubeType, Space
from .structure import ArraySource

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from .cube import Cube
    from .engine.execute import Raster

__all__ = ["Image", "ImageCollection", "call", "composite", "constant", "from_array", "load"]


def load(cube: Cube, array: str, window: dt.date, grid: str) -> Image:
    """Return the lazy image of one array and window of a cube."""
    leaf = {"cube": str(cube.path.resolve()), "array": array, "window": window.isoformat(), "grid": grid}
    return Image(Expr("load", (), leaf))


def constant(value: float) -> Image:
    """Return a number as an image that fits every grid."""
    return Image(Expr("constant", (), {"value": value}))


def from_array(
    values: npt.ArrayLike,
    geobox: GeoBox,
    bands: Sequence[str] | None = None,
    time: Sequence[str] = ("",),
    valid: npt.ArrayLike | None = None,
) -> Image:
    """Return arrays in memory as an image, to be mixed with those of a cube.

    `values` are [y, x], [band, y, x] or [time, band, y, x]; `valid` the same shape, or [y, x], all valid if not given.
    Raises GridError if the shape is not that of the grid, BandError or WindowError if names are missing.
    """
    array = np.asarray(values)
    array = array.reshape((1,) * (4 - array.ndim) + array.shape)
    mask = np.ones((1, 1, *array.shape[2:]), dtype=bool) if valid is None else np.asarray(valid, dtype=bool)
    mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    if array.shape[2:] != geobox.shape or mask.shape[2:] != geobox.shape:
        raise GridError(f"values of shape {array.shape[2:]} do not fit the grid of {tuple(geobox.shape)} pixels")
    names = tuple(bands or (f"band_{i}" for i in range(array.shape[1])))
    if len(names) != array.shape[1]:
        raise BandError(f"{array.shape[1]} bands need as many names, got {names}")
    if len(time) != array.shape[0]:
        raise WindowError(f"{array.shape[0]} times need as many dates, got {tuple(time)}")
    return Image(Expr("array", (), {"source": ArraySource(Block(array, mask), geobox, tuple(time), names)}))


def _as_image(value: Any, operator: str) -> Image:
    if isinstance(value, Image):
        return value
    if isinstance(value, bool | int | float):
        return constant(value)
    raise ExpressionError(f"{operator}: {value!r} is neither an image nor a number")


def call(name: str, *args: Any, **kwargs: Any) -> Image:
    """Apply an operator by name: images first, then its arguments. Raises ExpressionError if they do not fit it."""
    declared = get_operator(name)
    inputs, parameters = bind(declared, args, kwargs)
    return Image(Expr(name, tuple(_as_image(value, name).expr for value in inputs), parameters))


def composite(
    group: str, openeo: str | None = None, example: str | None = None
) -> Callable[[Callable[..., Image]], Callable[..., Image]]:
    """Declare an operator written as an expression of others."""

    def declare(function: Callable[..., Image]) -> Callable[..., Image]:
        def expand(sources: Sequence[Expr], args: Mapping[str, Any]) -> Expr:
            return function(*map(Image, sources), **args).expr

        signature = inspect.signature(function)
        doc = inspect.getdoc(function) or ""
        register(
            Operator(
                function.__name__,
                doc,
                group,
                Tile.PIXEL,
                signature,
                Space.ANY,
                expand=expand,
                openeo=openeo,
                example=example,
            )
        )
        return function

    return declare


class Image:
    """A lazy image: an expression with a grid, times and bands.

    Every operator of the registry is a method (`esd operators` lists them), and Python's arithmetic and comparisons build
    expressions. `compute`, `to_xarray` and `to_geotiff` are the only points at which anything is read.
    """

    __slots__ = ("expr",)

    expr: Expr

    def __init__(self, expr: Expr) -> None:
        self.expr = expr
        lower(expr)

    @property
    def lowered(self) -> Expr:
        """The expression as it will run: composites written out, conversions put in."""
        return lower(self.expr)

    @property
    def type(self) -> CubeType:
        """Grid, times, bands, dtype and space of the result."""
        return infer(self.lowered)

    def __repr__(self) -> str:
        return f"Image({self.expr!r}: {self.type.describe()})"

    def __getattr__(self, name: str) -> Callable[..., Image]:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            declared = get_operator(name)
        except ExpressionError as error:
            raise AttributeError(str(error)) from error
        bound = partial(call, name, self)
        bound.__doc__ = declared.doc
        return bound

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *(name for name, op in operators().items() if op.inputs)})

    def __bool__(self) -> NoReturn:
        raise ExpressionError(
            "an image is lazy and has no truth value; use .where(test, other) per pixel, or .compute() and test its values"
        )

    def __iter__(self) -> NoReturn:
        raise ExpressionError("an image cannot be iterated; use .type.bands for its bands or .select() for one of them")

    def __add__(self, other: Image | float) -> Image:
        return call("add", self, other)

    def __radd__(self, other: float) -> Image:
        return call("add", other, self)

    def __sub__(self, other: Image | float) -> Image:
        return call("subtract", self, other)

    def __rsub__(self, other: float) -> Image:
        return call("subtract", other, self)

    def __mul__(self, other: Image | float) -> Image:
        return call("multiply", self, other)

    def __rmul__(self, other: float) -> Image:
        return call("multiply", other, self)

    def __truediv__(self, other: Image | float) -> Image:
        return call("divide", self, other)

    def __rtruediv__(self, other: float) -> Image:
        return call("divide", other, self)

    def __pow__(self, other: Image | float) -> Image:
        return call("power", self, other)

    def __mod__(self, other: Image | float) -> Image:
        return call("mod", self, other)

    def __neg__(self) -> Image:
        return call("negate", self)

    def __abs__(self) -> Image:
        return call("absolute", self)

    def __lt__(self, other: Image | float) -> Image:
        return call("lt", self, other)

    def __le__(self, other: Image | float) -> Image:
        return call("lte", self, other)

    def __gt__(self, other: Image | float) -> Image:
        return call("gt", self, other)

    def __ge__(self, other: Image | float) -> Image:
        return call("gte", self, other)

    def __and__(self, other: Image) -> Image:
        return call("logical_and", self, other)

    def __or__(self, other: Image) -> Image:
        return call("logical_or", self, other)

    def __invert__(self) -> Image:
        return call("logical_not", self)

    def __getitem__(self, bands: str | tuple[str, ...]) -> Image:
        return call("select", self, *((bands,) if isinstance(bands, str) else bands))

    def reproject_to(self, geobox: GeoBox, resampling: str = "nearest") -> Image:
        """Return the image on another grid, `nearest` or `bilinear`."""
        if geobox.crs is None:
            raise ExpressionError("reproject_to: the target grid has no coordinate system")
        crs = f"EPSG:{geobox.crs.epsg}" if geobox.crs.epsg else geobox.crs.proj.to_wkt()
        affine = tuple(float(number) for number in tuple(geobox.affine)[:6])
        return call("reproject", self, crs, affine, tuple(geobox.shape), resampling)

    def reproject_like(self, other: Image, resampling: str = "nearest") -> Image:
        """Return the image on the grid of another."""
        if other.type.grid is None:
            raise ExpressionError("reproject_like: the other image is a constant and has no grid")
        return self.reproject_to(other.type.grid, resampling)

    def explain(self, max_memory: int | None = None) -> str:
        """Return the plan as a text: the tree, conversions put in, tiles, bytes to read and peak memory. Reads nothing."""
        from .engine.explain import explain

        return explain(self.expr, max_memory)

    def compute(
        self,
        geobox: GeoBox | None = None,
        *,
        tile: int | None = None,
        max_memory: int | None = None,
        resampling: str = "nearest",
    ) -> Raster:
        """Compute the image, or the part of it on `geobox`, as arrays [time, band, y, x] with their validity.

        A `geobox` whose pixels do not coincide with the image's is reached by `resampling`. `tile` is the side of the tiles
        in pixels (the result does not depend on it); `max_memory` in bytes bounds the work, tiles shrink to keep it.
        """
        from .engine.execute import compute

        return compute(self, geobox, tile=tile, max_memory=max_memory, resampling=resampling)

    def to_xarray(self, geobox: GeoBox | None = None) -> xr.DataArray:
        """Compute the image as an xarray DataArray (time, band, y, x); NaN where a float is not valid."""
        return self.compute(geobox).to_xarray()

    def to_geotiff(self, path: str | Path, geobox: GeoBox | None = None, **options: Any) -> Path:
        """Compute tile by tile into a Cloud Optimized GeoTIFF, written whole or not at all. Returns its path.

        Options are those of `compute`, and `progress`, a function called with tiles done and tiles in all.
        """
        from .engine.sinks import write_geotiff

        return write_geotiff(self, Path(path), geobox, **options)


@dataclass(frozen=True)
class ImageCollection:
    """Images in the order of time, usually one a window."""

    images: tuple[Image, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Image]:
        return iter(self.images)

    def _non_empty(self, images: Sequence[Image], reason: str) -> ImageCollection:
        if not images:
            times = [time for image in self.images for time in image.type.time]
            raise WindowError(f"{reason} leaves no image; the collection has {min(times)}..{max(times)}")
        return ImageCollection(tuple(images))

    def filter_date(self, start: str, end: str) -> ImageCollection:
        """Keep the times in start <= time < end, ISO dates, and the images that have any."""
        met = [image for image in self.images if any(start <= time < end for time in image.type.time)]
        kept = [call("filter_date", image, start, end) for image in met]
        return self._non_empty(kept, f"filter_date({start}, {end})")

    def filter_bounds(self, west: float, south: float, east: float, north: float) -> ImageCollection:
        """Keep the images whose grid meets a box in WGS 84 degrees."""
        from .grid import bounds_lonlat

        kept = []
        for image in self.images:
            if image.type.grid is None:
                continue
            left, bottom, right, top = bounds_lonlat(image.type.grid)
            if left < east and right > west and bottom < north and top > south:
                kept.append(image)
        return self._non_empty(kept, f"filter_bounds({west}, {south}, {east}, {north})")

    def select(self, *bands: str) -> ImageCollection:
        """Choose bands of every image."""
        return self.map(lambda image: call("select", image, *bands))

    def map(self, function: Callable[[Image], Image]) -> ImageCollection:
        """Apply a function of one image to all; it builds expressions, nothing runs."""
        return ImageCollection(tuple(function(image) for image in self.images))

    def stack(self) -> Image:
        """Return all images joined in time, as one image."""
        return call("stack", *self.images)

    def reduce(self, reducer: str) -> Image:
        """Reduce all times of all images to one by a named reducer."""
        return call("reduce", self.stack(), reducer)

    def __getattr__(self, name: str) -> Callable[..., Image]:
        from .reducer import REDUCERS

        if name in REDUCERS:
            return partial(self.reduce, name)
        raise AttributeError(
            f"ImageCollection has no {name!r}; .map(lambda image: image.{name}(...)) applies it to each image"
        )
