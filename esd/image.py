"""Image: what users hold. A thin face over the expression graph; nothing runs before `compute`."""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from .block import Block
from .engine.lower import infer, lower
from .errors import BandError, ExpressionError, GridError, WindowError
from .expr import Expr
from .methods import bands_within_reach, method_of
from .operator import Operator, Tile, bind, get_operator, operators, register
from .operator_methods import OperatorMethods
from .places import grid_arguments
from .properties import Described
from .regrid import resampling_of, without_default
from .space import CubeType, Space
from .structure import ArraySource

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from .cube import Cube
    from .engine.cost import Cost
    from .engine.execute import Raster

__all__ = ["Image", "call", "composite", "constant", "from_array", "load"]


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


class Image(Described, OperatorMethods):
    """A lazy image: an expression with a grid, times and bands.

    Every operator of the registry is a method (`esd operators` lists them), every band an attribute where no operator has
    its name (`image.nir` is `image["nir"]`), and Python's arithmetic and comparisons build expressions. `compute`,
    `to_xarray` and `to_geotiff` are the only points at which anything is read.
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

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return method_of(self, get_operator(name), call)
        except ExpressionError as error:
            if name in self._ipython_key_completions_():
                return call("select", self, name)
            raise AttributeError(str(error)) from error

    def __dir__(self) -> list[str]:
        bands = (band for band in self._ipython_key_completions_() if band.isidentifier())
        return sorted({*object.__dir__(self), *(name for name, op in operators().items() if op.inputs), *bands})

    def _ipython_key_completions_(self) -> list[str]:
        """Return the bands that `select` finds, those that codes are decoded to among them."""
        return bands_within_reach(self.type)

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

    def reproject_to(self, geobox: GeoBox, resampling: str | None = None) -> Image:
        """Return the image on another grid, `nearest`, `bilinear` or `bicubic`; by itself as `resample` says, or nearest."""
        if geobox.crs is None:
            raise ExpressionError("reproject_to: the target grid has no coordinate system")
        source = without_default(self.expr)
        given = grid_arguments("reproject_to", geobox)
        return call("reproject", Image(source), *given, resampling or resampling_of(source))

    def reproject_like(self, other: Image, resampling: str | None = None) -> Image:
        """Return the image on the grid of another."""
        if other.type.grid is None:
            raise ExpressionError("reproject_like: the other image is a constant and has no grid")
        return self.reproject_to(other.type.grid, resampling)

    def decoded_by(self, decoder: str) -> Image:
        """Return the image, its codes decoded by "full", which results are made with, or "fast", which maps are.

        An explicit `.decode(decoder=...)` stays as it is. Raises EncoderError where the encoder lacks the decoder.
        """
        from .engine.looking import decoded_by

        return decoded_by(self, decoder)

    def explain(self, max_memory: int | None = None) -> str:
        """Return the plan as a text: the tree, conversions put in, tiles, bytes to read and peak memory. Reads nothing."""
        from .engine.explain import explain

        return explain(self.expr, max_memory)

    def graph(self, path: str | Path | None = None) -> str:
        """Return the plan as a picture, SVG: inputs at the top, fused runs and conversions marked; written to `path` too."""
        from .engine.svg import draw

        drawn = draw(self.expr)
        if path is not None:
            Path(path).write_text(drawn)
        return drawn

    def to_process_graph(self, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the expression as openEO's JSON, which `esd.from_process_graph` reads; see `esd.process_graph_write`.

        What JSON cannot hold, such as arrays in memory and classifiers, is named in `parameters`, here and there.
        """
        from .process_graph_write import to_process_graph

        return to_process_graph(self, parameters)

    def cost(self, geobox: GeoBox | None = None, probe: bool = True, **options: Any) -> Cost:
        """Estimate what computing or writing the image takes: tiles, bytes, and seconds from one tile that is computed.

        With `probe=False` nothing is read and seconds are not told. Options are `resampling`, `tile`, `max_memory` and
        `executor` of `compute`.
        """
        from .engine.cost import estimate

        return estimate(self, geobox, probe, **options)

    def compute(self, geobox: GeoBox | None = None, **options: Any) -> Raster:
        """Compute the image, or the part of it on `geobox`, as arrays [time, band, y, x] with their validity.

        A `geobox` whose pixels do not coincide with the image's is reached by `resampling` ("nearest", "bilinear" or
        "bicubic"; if not given as `resample` says, else nearest); one of coarser pixels is answered from overviews where the
        cube has them, and marked `approximate`, unless `exact=True`.

        Options: `tile`, the side of the tiles in pixels (the result does not depend on it); `max_memory` in bytes bounds the
        work, tiles shrink to keep it; `executor`, a number of threads or a Dask client; `deadline` in seconds and `cancel`,
        an `esd.engine.stop.CancelToken`, end it early (DeadlineError, CancelledError); `progress`, a function, is called
        with tiles done and tiles in all; `cache`, an `esd.engine.cache.ResultCache`, keeps results until the data change.
        """
        from .engine.answer import compute

        return compute(self, geobox, **options)

    def tile(self, z: int, x: int, y: int, size: int = 256, **options: Any) -> Raster:
        """Compute a map tile of the web mercator pyramid (EPSG:3857), `size` pixels a side; empty where the image is not.

        Zoom `z`, column `x` from the west, row `y` from the north. Options are `resampling`, `deadline`, `cancel`, `exact`
        and `cache` of `compute`; without a cache given, the last 256 MB of tiles are kept. A tile is for looking at: codes
        are decoded by "fast" where their encoder has it, unless `decoder` ("full", "fast") says otherwise.
        """
        from .engine.web import tile

        return tile(self, z, x, y, size, **options)

    def thumbnail(
        self,
        dimensions: int | tuple[int, int] = 512,
        region: tuple[float, float, float, float] | None = None,
        path: str | Path | None = None,
        **options: Any,
    ) -> bytes:
        """Compute a picture of one time, the bytes of a PNG, transparent where not valid; written to `path` too.

        `dimensions` is the longer side, or width and height, 1 to 4096 pixels; `region` west, south, east and north in
        degrees. Three uint8 bands, as `visualize` gives, are colours; three others reflectance; one is painted by its name.
        Options are those of `compute`. Raises BandError for other bands, ExpressionError for several times.
        """
        from .pictures import thumbnail

        return thumbnail(self, dimensions, region, path, **options)

    def compute_pixels(self, grid: GeoBox | Mapping[str, Any] | None = None, **options: Any) -> np.ma.MaskedArray[Any, Any]:
        """Compute the image on a grid, as a masked array [y, x] ([time, y, x] of several times) with a field for each band.

        `grid` is a GeoBox, all of which is filled, or Earth Engine's dimensions, affineTransform and crsCode. Each band has
        a mask of its own, and 0 beneath. Options are those of `compute`.
        """
        from .pictures import compute_pixels

        return compute_pixels(self, grid, **options)

    def to_xarray(self, geobox: GeoBox | None = None, **options: Any) -> xr.DataArray:
        """Compute the image as an xarray DataArray (time, band, y, x); NaN where a float is not valid."""
        return self.compute(geobox, **options).to_xarray()

    def to_geotiff(self, path: str | Path, geobox: GeoBox | None = None, **options: Any) -> Path:
        """Compute tile by tile into a Cloud Optimized GeoTIFF, written whole or not at all. Returns its path.

        A call that was ended goes on where it was when it is made again. Options are `tile`, `max_memory`, `resampling`,
        `executor`, `deadline` and `cancel` of `compute`, `nodata`, `overviews`, `colors`, `tags`, and `progress`, a function
        called with shards done and shards in all.
        """
        from .engine.sinks import write_geotiff

        return write_geotiff(self, Path(path), geobox, **options)

    def to_zarr(self, path: str | Path, geobox: GeoBox | None = None, **options: Any) -> Path:
        """Compute tile by tile into a Zarr store that plain xarray opens, a variable for each band. Returns its path.

        What is not valid is NaN, or the end of an integer's range (`nodata`). Written whole or not at all, and gone on with,
        like `to_geotiff`, whose options it takes; `attributes` go into the store. Raises CubeError if `path` exists.
        """
        from .engine.sinks import write_zarr

        return write_zarr(self, Path(path), geobox, **options)
