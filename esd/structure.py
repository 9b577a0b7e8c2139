"""The operators that load, convert, choose and join: the engine knows these by name.

Their kernels act on blocks; `load`, `decode` and `reproject` need more than blocks and are evaluated by the engine.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

from .block import Block
from .codec import no_decoder, no_uncertainty
from .cube import codec_by_hash, open_cube
from .dekad import BANDS, dekad_dates, dekad_index, step_dates, window_of_steps
from .errors import BandError, EncoderError, ExpressionError, GridError, SpaceError, WindowError
from .grid import make_geobox
from .operator import Band, Tile, operator
from .reducer import MOMENTS_GROUP, get_reducer
from .space import CubeType, Space

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["RESAMPLING", "ArraySource", "common_grid", "embedding_bands", "evaluated_by_engine", "times_of"]

RESAMPLING = ("nearest", "bilinear", "bicubic")
DAYS = 366
TOTALS = ("sum", "mean", "count", "min", "max", "variance", "std", "sample_std")
"""Reducers of whole images: those whose pieces merge, and do not ask for an order of the pixels."""


def embedding_bands(dims: int) -> tuple[str, ...]:
    """Return the band names of an embedding: e0, e1, ..."""
    return tuple(f"e{i}" for i in range(dims))


def common_grid(name: str, types: Sequence[CubeType]) -> GeoBox | None:
    """Return the grid that all inputs share. Raises GridError where they differ."""
    grids = [given.grid for given in types if given.grid is not None]
    different = [grid for grid in grids if grid != grids[0]]
    if different:
        one, other = (f"{grid.shape.y} x {grid.shape.x} {grid.crs}" for grid in (grids[0], different[0]))
        raise GridError(f"{name}: the inputs are on different grids ({one} and {other}); use .reproject_like(other)")
    return grids[0] if grids else None


def evaluated_by_engine(*_blocks: Block, **_args: Any) -> Block:
    """Stand for a kernel that the engine supplies."""
    raise ExpressionError("this operator is evaluated by the engine, never by its own kernel")


def _load_rule(*, cube: str, array: str, window: str, grid: str) -> CubeType:
    opened = open_cube(cube)
    geobox = opened.geobox(grid)
    start = dt.date.fromisoformat(window)
    codec = opened.codec
    steps = tuple(str(date) for date in step_dates(start, codec.steps))
    if array == "codes":
        codec_by_hash(codec)
        return CubeType(geobox, steps, ("code",), codec.code_dtype, Space.CODES, codec.sha256)
    if array == "count":
        return CubeType(geobox, steps, ("count",), np.dtype(np.uint8), Space.VALUE)
    return CubeType(geobox, (window,), ("error",), np.dtype(np.float32), Space.VALUE)


@operator("structure", Tile.STRUCTURE, _load_rule, Space.ANY)
def load(*, cube: str, array: str, window: str, grid: str) -> Block:
    """Read one window of a cube: codes or count in its steps, or the error plane (RMSE in reflectance)."""
    return evaluated_by_engine(cube=cube, array=array, window=window, grid=grid)


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Arrays in memory as an image: `block` on `grid`, with times and bands."""

    block: Block
    grid: GeoBox
    time: tuple[str, ...]
    bands: tuple[str, ...]

    @cached_property
    def token(self) -> str:
        """Hash of the values, their validity and where they lie."""
        digest = hashlib.sha256(repr((self.grid, self.time, self.bands, self.block.values.dtype.str)).encode())
        for array in (self.block.values, self.block.valid):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def _array_rule(*, source: ArraySource) -> CubeType:
    return CubeType(source.grid, source.time, source.bands, source.block.values.dtype, Space.VALUE)


@operator("structure", Tile.STRUCTURE, _array_rule, Space.ANY)
def array(*, source: ArraySource) -> Block:
    """Arrays in memory; `esd.from_array` makes such an image."""
    return source.block


def _constant_rule(*, value: float) -> CubeType:
    return CubeType(None, ("",), ("constant",), np.dtype(type(value)), Space.VALUE)


@operator("structure", Tile.STRUCTURE, _constant_rule, Space.ANY)
def constant(*, value: float) -> Block:
    """A number that fits every grid; it takes the dtype of what it meets, as a Python number does in NumPy."""
    return Block(np.array(value).reshape(1, 1, 1, 1), np.ones((1, 1, 1, 1), dtype=bool))


def _codes_only(name: str, image: CubeType) -> str:
    if image.space is not Space.CODES or image.encoder is None:
        raise SpaceError(f"{name}: needs codes, got {image.describe()}; ask it of cube.image(window) itself")
    return image.encoder


def _dequantize_rule(image: CubeType) -> CubeType:
    codec = codec_by_hash(_codes_only("embedding", image))
    bands = embedding_bands(codec.fsq.dims)
    return image.with_(bands=bands, dtype=np.dtype(np.float32), space=Space.EMBEDDING)


@operator("structure", Tile.STRUCTURE, _dequantize_rule, Space.ANY)
def embedding(image: Block) -> Block:
    """Turn codes into FSQ values times the encoder's `scale`: bands e0, e1, ... (float32, about -2..2) for each step."""
    return evaluated_by_engine(image)


def _decode_rule(image: CubeType, *, dekads: tuple[int, ...], bands: tuple[str, ...], decoder: str) -> CubeType:
    encoder = _codes_only("decode", image)
    if (decoder or "full") not in codec_by_hash(encoder).decoders:
        raise EncoderError(no_decoder(codec_by_hash(encoder), decoder or "full"))
    return _dated("decode", image, encoder, dekads, bands).with_(space=Space.REFLECTANCE)


def _dated(name: str, image: CubeType, encoder: str, dekads: tuple[int, ...], bands: tuple[str, ...]) -> CubeType:
    """Return the type of numbers of each dekad and band, made of the codes of a whole window."""
    codec = codec_by_hash(encoder)
    if len(image.time) != codec.steps:
        raise WindowError(f"{name}: needs all {codec.steps} steps of a window, got {len(image.time)}; filter dates after it")
    window = window_of_steps(dt.date.fromisoformat(image.time[0]), codec.steps)
    time = tuple(str(date) for date in dekad_dates(window))
    if dekads:
        time = tuple(time[i] for i in dekads)
    return CubeType(image.grid, time, bands or codec.bands, np.dtype(np.float32), Space.VALUE)


@operator("structure", Tile.STRUCTURE, _decode_rule, Space.ANY)
def decode(image: Block, *, dekads: tuple[float, ...] = (), bands: tuple[Band, ...] = (), decoder: str = "") -> Block:
    """Decode codes to surface reflectance: six bands (float32, 0..1) for each of the window's 36 dekads.

    `dekads` (0 to 35) and `bands` keep some of them only; none means all. `decoder` is "full" or, where the encoder has
    one, "fast"; without it the result is made by "full", a map tile by "fast". Raises EncoderError for one it lacks.
    """
    return evaluated_by_engine(image, dekads=dekads, bands=bands, decoder=decoder)


def _uncertainty_rule(image: CubeType, *, date: str, dekads: tuple[int, ...], bands: tuple[str, ...]) -> CubeType:
    encoder = _codes_only("uncertainty", image)
    codec = codec_by_hash(encoder)
    if not codec.has_uncertainty:
        raise EncoderError(no_uncertainty(codec))
    given = _dated("uncertainty", image, encoder, dekads, bands)
    return given.with_(time=(given.time[_dekad_of(date, given)],)) if date else given


def _dekad_of(date: str, given: CubeType) -> int:
    """Return the dekad that holds an ISO date. Raises WindowError where none of the window does."""
    try:
        day = dt.date.fromisoformat(date)
    except ValueError as error:
        raise WindowError(f"uncertainty: {error}; write the date as 2004-07-15") from error
    window = dt.date.fromisoformat(given.time[0]).replace(day=1)
    found = int(dekad_index(np.datetime64(day), window))
    if found < 0:
        raise WindowError(f"uncertainty: {date} is not in the window from {window}; give a date within")
    return found


@operator("structure", Tile.STRUCTURE, _uncertainty_rule, Space.ANY, example="cube.image(2004).uncertainty('2004-07-15')")
def uncertainty(image: Block, date: str = "", *, dekads: tuple[float, ...] = (), bands: tuple[Band, ...] = ()) -> Block:
    """Half the width of the 90 % interval around decoded reflectance: six bands (float32, reflectance), from codes.

    For each of the window's 36 dekads, or for the one that holds `date`; `dekads` (0 to 35) and `bands` keep some of them
    only. Raises EncoderError where the encoder does not tell it, WindowError for a date outside of the window.
    """
    return evaluated_by_engine(image, date=date, dekads=dekads, bands=bands)


def _select_space(given: CubeType, args: Mapping[str, Any]) -> Space:
    """A band's name tells the space that it lives in."""
    wanted = args["bands"]
    if all(band in given.bands for band in wanted):
        return Space.ANY
    if all(band in BANDS for band in wanted):
        return Space.REFLECTANCE
    if all(band.startswith("e") and band[1:].isdigit() for band in wanted):
        return Space.EMBEDDING
    return Space.ANY


def _select_rule(image: CubeType, *, bands: tuple[str, ...]) -> CubeType:
    if not bands:
        raise BandError(f"select: no band is named; the input has {', '.join(image.bands)}")
    for band in bands:
        if band not in image.bands:
            also = f" (decoded: {', '.join(BANDS)})" if image.space is Space.CODES else ""
            raise BandError(f"there is no band {band!r}; the input has {', '.join(image.bands)}{also}")
    return image.with_(bands=bands)


@operator("structure", Tile.STRUCTURE, _select_rule, _select_space, openeo="filter_bands")
def select(image: Block, *bands: Band) -> Block:
    """Choose bands by name, in the order given. A reflectance band of codes is decoded."""
    return evaluated_by_engine(image, bands=bands)


def _rename_rule(image: CubeType, *, names: tuple[str, ...]) -> CubeType:
    if len(names) != len(image.bands) or len(set(names)) != len(names):
        raise BandError(f"rename: {len(image.bands)} different names are needed for {image.bands}, got {names}")
    return image.with_(bands=names)


@operator("structure", Tile.STRUCTURE, _rename_rule, Space.ANY, openeo="rename_labels")
def rename(image: Block, *names: str) -> Block:
    """Give the bands new names, one for each."""
    return evaluated_by_engine(image, names=names)


def times_of(image: CubeType, start: str, end: str) -> list[int]:
    """Return the positions of the times in start <= time < end. Raises WindowError if there are none.

    Codes and embeddings have few steps: of a range shorter than one, the step that holds it is returned, so that reflectance
    can be asked for by any date, whatever the number of steps.
    """
    try:
        first, after = np.datetime64(start, "D"), np.datetime64(end, "D")
    except ValueError as error:
        raise WindowError(f"filter_date: {error}; write dates as 2004-07-01") from error
    chosen = [i for i, time in enumerate(image.time) if time and first <= np.datetime64(time, "D") < after]
    if not chosen and image.space in (Space.CODES, Space.EMBEDDING) and image.encoder is not None and first < after:
        middle = first + (after - first - np.timedelta64(1, "D")) / 2
        apart = np.abs(np.array(image.time, dtype="datetime64[D]") - middle).astype(int)
        if apart.min() <= DAYS / codec_by_hash(image.encoder).steps / 2:
            chosen = [int(np.argmin(apart))]
    if not chosen:
        raise WindowError(f"filter_date: no time of {image.time[0]}..{image.time[-1]} lies in {start} <= time < {end}")
    return chosen


def _filter_date_rule(image: CubeType, *, start: str, end: str) -> CubeType:
    return image.with_(time=tuple(image.time[i] for i in times_of(image, start, end)))


@operator("structure", Tile.STRUCTURE, _filter_date_rule, Space.ANY, openeo="filter_temporal")
def filter_date(image: Block, start: str, end: str) -> Block:
    """Keep the times in start <= time < end, ISO dates; a step counts by the 15th of its month, a dekad by its middle."""
    return evaluated_by_engine(image, start=start, end=end)


def _joined(name: str, types: Sequence[CubeType]) -> CubeType:
    if not types:
        raise ExpressionError(f"{name}: give at least one image")
    spaces = {given.space for given in types}
    encoders = {given.encoder for given in types}
    if len(spaces) == 1 and len(encoders) > 1:
        raise EncoderError(mixed_encoders(name, types))
    space = spaces.pop() if len(spaces) == 1 else Space.VALUE
    dtype = np.result_type(*(given.dtype for given in types))
    return types[0].with_(grid=common_grid(name, types), dtype=dtype, space=space)


def mixed_encoders(name: str, types: Sequence[CubeType]) -> str:
    """Return the message for codes or embeddings of different encoders in one operator."""
    hashes = sorted({given.encoder for given in types if given.encoder})
    names = " and ".join(f"{codec_by_hash(sha).id} ({sha[:12]})" for sha in hashes)
    return f"{name}: the inputs come from different encoders, {names}; compare them as .decode(), or encode one again"


def _stack_rule(*images: CubeType) -> CubeType:
    joined = _joined("stack", images)
    if len({given.bands for given in images}) > 1:
        raise BandError(f"stack: the images have different bands, {images[0].bands} and others; .select() the same ones")
    return joined.with_(time=tuple(time for given in images for time in given.time))


@operator("structure", Tile.STRUCTURE, _stack_rule, Space.ANY, openeo="merge_cubes")
def stack(*images: Block) -> Block:
    """Join images one after the other in time; they need the same bands and grid."""
    valid = [np.broadcast_to(b.valid, (b.values.shape[0], *b.valid.shape[1:])) for b in images]
    bands = max(mask.shape[1] for mask in valid)
    valid = [np.broadcast_to(mask, (mask.shape[0], bands, *mask.shape[2:])) for mask in valid]
    return Block(np.concatenate([b.values for b in images]), np.concatenate(valid))


def _add_bands_rule(*images: CubeType) -> CubeType:
    joined = _joined("add_bands", images)
    bands = tuple(band for given in images for band in given.bands)
    if len(set(bands)) != len(bands):
        raise BandError(f"add_bands: band names {bands} repeat; .rename() some of them")
    if len({len(given.time) for given in images}) > 1:
        raise WindowError("add_bands: the images have different numbers of times; reduce or filter them to the same")
    return joined.with_(bands=bands)


@operator("structure", Tile.STRUCTURE, _add_bands_rule, Space.NUMBER)
def add_bands(*images: Block) -> Block:
    """Join the bands of images of the same times and grid."""
    valid = np.concatenate([block.full_valid for block in images], axis=1)
    return Block(np.concatenate([block.values for block in images], axis=1), valid)


def _reduce_rule(image: CubeType, *, reducer: str) -> CubeType:
    found = get_reducer(reducer)
    probe, _valid = found(np.zeros((1, 1), dtype=image.dtype), np.ones((1, 1), dtype=bool))
    space = image.space if found.keeps_space else Space.VALUE
    return image.with_(time=image.time[:1], dtype=probe.dtype, space=space, encoder=image.encoder)


def _reduce_work(given: Sequence[CubeType], args: Mapping[str, Any], pixels: int) -> int:
    """Bytes that a reducer works in: those that rank hold the stack three times as floats, the rest their masked copy."""
    source, wide = given[0], 8
    numbers, planes = len(source.time) * len(source.bands), len(source.bands)
    if get_reducer(args["reducer"]).combine is None:
        return pixels * (numbers * (3 * max(source.dtype.itemsize, 4) + 2) + 4 * wide * planes)
    group = min(len(source.time), MOMENTS_GROUP) * planes
    return pixels * (numbers * (source.dtype.itemsize + 1) + (4 * group + 8 * planes) * wide)


@operator("reducer", Tile.TIME, _reduce_rule, Space.NUMBER, work=_reduce_work, openeo="reduce_dimension")
def reduce(image: Block, reducer: str) -> Block:
    """Reduce all times to one by a named reducer, each pixel and band by itself; what is not valid does not count."""
    values, valid = get_reducer(reducer)(image.values, image.full_valid)
    return Block(values[None], valid[None])


def _reduce_all_rule(image: CubeType, *, reducer: str) -> CubeType:
    if reducer not in TOTALS:
        raise ExpressionError(f"reduce_all: reducer {reducer!r} is not one of {', '.join(TOTALS)}")
    if image.grid is None:
        raise GridError("reduce_all: a constant has no pixels; use an image of a cube")
    given = _reduce_rule(image, reducer=reducer)
    rows, columns = image.grid.shape
    grid = make_geobox((1, 1), image.grid.affine @ Affine.scale(columns, rows), image.grid.crs)
    return given.with_(grid=grid, time=image.time, space=Space.VALUE, encoder=None)


@operator("reducer", Tile.STRUCTURE, _reduce_all_rule, Space.NUMBER)
def reduce_all(image: Block, reducer: str) -> Block:
    """Reduce all pixels to one, each time and band by itself: sum, mean, count, min, max, variance, std or sample_std.

    The result is an image of one pixel that covers the grid. What is not valid does not count; where nothing is valid the
    result is not. Sums run in one fixed order, in blocks of 256 pixels (`esd.engine.totals`), so that the result is the same
    for every tiling. Raises ExpressionError for another reducer, GridError for a constant.
    """
    return evaluated_by_engine(image, reducer=reducer)


def reproject_target(crs: str, transform: tuple[float, ...], shape: tuple[int, int]) -> GeoBox:
    """Return the grid that the arguments of `reproject` describe."""
    return make_geobox(shape, Affine(*transform), crs)


def _reproject_rule(
    image: CubeType, *, crs: str, transform: tuple[float, ...], shape: tuple[int, int], resampling: str
) -> CubeType:
    if resampling not in RESAMPLING:
        raise ExpressionError(f"reproject: resampling {resampling!r} is not one of {', '.join(RESAMPLING)}")
    if resampling != "nearest" and (image.space is Space.CODES or image.dtype.kind != "f"):
        raise SpaceError(f"reproject: {resampling} would average {image.space.value} {image.dtype}; use nearest")
    return image.with_(grid=reproject_target(crs, transform, shape))


@operator("structure", Tile.STRUCTURE, _reproject_rule, Space.ANY, openeo="resample_spatial")
def reproject(
    image: Block, crs: str, transform: tuple[float, ...], shape: tuple[float, ...], resampling: str = "nearest"
) -> Block:
    """Put an image on another grid: CRS, affine transform (six numbers), rows and columns; nearest, bilinear or bicubic."""
    return evaluated_by_engine(image, crs=crs, transform=transform, shape=shape, resampling=resampling)


def _mask_rule(image: CubeType, mask: CubeType) -> CubeType:
    common_grid("update_mask", (image, mask))
    return image


@operator("mask", Tile.STRUCTURE, _mask_rule, Space.ANY, emit="update_mask")
def update_mask(image: Block, mask: Block) -> Block:
    """Keep pixels valid only where the mask is valid and not zero. One time or band of the mask serves all of them."""
    return Block(image.values, image.valid & mask.valid & (mask.values != 0))
