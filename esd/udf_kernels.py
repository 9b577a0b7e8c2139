"""How the functions of users run: on chunks of pixels of one fixed size, whatever the tile.

A chunk always has `PIXELS` pixels, the last one filled up with what does not count, so that sums and vector instructions
walk every pixel's numbers in one way and results do not depend on where tiles were cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .block import Block
from .errors import ExpressionError
from .space import CubeType, Space

__all__ = [
    "KINDS",
    "aggregate_kernel",
    "aggregate_rule",
    "focal_kernel",
    "focal_rule",
    "pixel_function",
    "time_kernel",
    "time_rule",
    "udf_work",
    "window_halo",
]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Result = tuple[Array, Mask]

KINDS = ("pixel", "focal", "time", "aggregate")
PIXELS = 4096
TIMES = 16
"""Times that an aggregate is given at once."""
STRIP_BYTES = 16 * 1024**2


class Version(Protocol):
    """What this module needs of `esd.udf.Code`."""

    @property
    def name(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def window(self) -> Any: ...
    @property
    def function(self) -> Callable[..., Any]: ...


def _guarded(version: Version, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a user's function; whatever goes wrong in it is told in one line."""
    try:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)
    except Exception as error:  # a user's function may raise anything
        message = str(error).replace("\n", " ")
        raise ExpressionError(f"{version.name} failed: {type(error).__name__}: {message}") from error


def _check_version(version: Any) -> Any:
    if not hasattr(version, "token"):
        raise ExpressionError(f"version={version!r} is no version of a function; leave it out, or call the function itself")
    return version


def _filled(array: Array, start: int) -> Array:
    """Return PIXELS numbers from a place on, zeros where there are no more."""
    part = array[start : start + PIXELS]
    return part if len(part) == PIXELS else np.pad(part, (0, PIXELS - len(part)))


def pixel_function(*arrays: Any, version: Any, **parameters: Any) -> Array:
    """Apply a function of pixels to arrays that broadcast to one shape; it sees them flat, and numbers as numbers."""
    _check_version(version)
    shape = np.broadcast_shapes(*(np.shape(array) for array in arrays))
    flat = [np.broadcast_to(array, shape).ravel() if np.ndim(array) else array for array in arrays]
    if not any(np.ndim(array) for array in flat):
        return np.asarray(_guarded(version, version.function, *flat, **parameters))
    parts = []
    for start in range(0, math.prod(shape), PIXELS):
        given = [_filled(array, start) if np.ndim(array) else array for array in flat]
        result = np.asarray(_guarded(version, version.function, *given, **parameters))
        if result.shape != (PIXELS,):
            raise ExpressionError(f"{version.name} returned shape {result.shape}, not that of its inputs, ({PIXELS},)")
        parts.append(result)
    return np.concatenate(parts)[: math.prod(shape)].reshape(shape)


def _wants_validity(function: Callable[..., Any]) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and "valid" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _applied(version: Version, values: Array, valid: Mask, parameters: Mapping[str, Any]) -> Result:
    """Call a function on one chunk [..., pixel] and return values and validity, [pixel] or [time, pixel]."""
    if _wants_validity(version.function):
        given = _guarded(version, version.function, values, valid=valid, **parameters)
        counted = np.logical_or.reduce(valid, axis=tuple(range(valid.ndim - 1)))
    else:
        given = _guarded(version, version.function, values, **parameters)
        counted = np.logical_and.reduce(valid, axis=tuple(range(valid.ndim - 1)))
    return _result(version, given, counted)


def _result(version: Version, given: Any, counted: Mask) -> Result:
    values, mask = given if isinstance(given, tuple) and len(given) == 2 else (given, counted)
    values, mask = np.asarray(values), np.asarray(mask, dtype=bool)
    if values.dtype.kind not in "buif" or values.ndim not in (1, 2) or values.shape[-1] != PIXELS:
        raise ExpressionError(
            f"{version.name} returned {values.dtype} of shape {values.shape}; numbers with the pixels last are needed"
        )
    mask = np.broadcast_to(mask, values.shape)
    return np.where(mask, values, values.dtype.type(0)), mask


def _chunks(values: Array, valid: Mask) -> Iterator[tuple[int, Array, Mask]]:
    """Cut [..., pixel] into chunks of PIXELS pixels, and say how many of them are real."""
    count = values.shape[-1]
    for start in range(0, count, PIXELS):
        real = min(PIXELS, count - start)
        part, mask = values[..., start : start + real], valid[..., start : start + real]
        padding = [(0, 0)] * (values.ndim - 1) + [(0, PIXELS - real)]
        yield real, np.ascontiguousarray(np.pad(part, padding)), np.ascontiguousarray(np.pad(mask, padding))


def _over_chunks(values: Array, valid: Mask, function: Callable[[Array, Mask], Result]) -> Result:
    """Apply a function of chunks and join what it returns along the pixels."""
    parts = [(real, *function(part, mask)) for real, part, mask in _chunks(values, valid)]
    joined = np.concatenate([result[..., :real] for real, result, _mask in parts], axis=-1)
    return joined, np.concatenate([mask[..., :real] for real, _result, mask in parts], axis=-1)


@lru_cache(maxsize=256)
def _probe(version: Any, shape: tuple[int, ...], dtype: str, parameters: tuple[tuple[str, Any], ...]) -> tuple[int, str]:
    """Return the number of axes and the dtype that a function gives for zeros."""
    values, valid = np.zeros((*shape, PIXELS), dtype=dtype), np.ones((*shape, PIXELS), dtype=bool)
    result = (_aggregated if hasattr(version.function, "chunk") else _applied)(version, values, valid, dict(parameters))[0]
    return result.ndim, result.dtype.str


def _window_shape(window: Any) -> tuple[int, int, int]:
    rows, columns, bands = (last - first + 1 for first, last in window)
    return bands, rows, columns


def window_halo(args: Mapping[str, Any]) -> int:
    """Halo of a focal function: how far its window reaches up, down, left or right."""
    rows, columns, _bands = args["version"].window or ((0, 0), (0, 0), (0, 0))
    return max(abs(end) for end in (*rows, *columns))


def focal_rule(image: CubeType, *, version: Any, **parameters: Any) -> CubeType:
    """Type of a focal function's result: as many times and bands, the dtype that it gives."""
    shape = _window_shape(_check_version(version).window)
    axes, dtype = _probe(version, shape, image.dtype.str, tuple(sorted(parameters.items())))
    if axes != 1:
        raise ExpressionError(f"{version.name} must return one value for each pixel: an array [pixel]")
    return image.with_(dtype=np.dtype(dtype), space=Space.VALUE, encoder=None)


def focal_kernel(image: Block, *, version: Any, **parameters: Any) -> Block:
    """Run a focal function on the windows of a block that is wider by its halo."""
    halo, (rows, columns, bands) = window_halo({"version": version}), version.window
    times, band_count, height, width = (
        *image.values.shape[:2],
        *(length - 2 * halo for length in image.values.shape[2:]),
    )
    before, after = max(0, -bands[0]), max(0, bands[1])
    widened = ((0, 0), (before, after), (0, 0), (0, 0))
    source, mask = np.pad(image.values, widened), np.pad(image.full_valid, widened)
    results: list[Result] = []
    for time in range(times):
        for band in range(band_count):
            chosen = slice(before + band + bands[0], before + band + bands[1] + 1)
            planes = source[time, chosen], mask[time, chosen]
            results.append(_focal_plane(version, planes, halo, rows, columns, (height, width), parameters))
    shape = (times, band_count, height, width)
    values = np.stack([result for result, _valid in results]).reshape(shape)
    return Block(values, np.stack([valid for _result, valid in results]).reshape(shape))


def _focal_plane(
    version: Version,
    planes: tuple[Array, Mask],
    halo: int,
    rows: Sequence[int],
    columns: Sequence[int],
    shape: tuple[int, int],
    parameters: Mapping[str, Any],
) -> Result:
    """Run a focal function on a few rows of one plane at a time; planes are [band of the window, y, x]."""
    height, width = shape
    offsets = [(y, x) for y in range(rows[0], rows[1] + 1) for x in range(columns[0], columns[1] + 1)]
    per_row = width * len(offsets) * len(planes[0]) * (planes[0].itemsize + 1)
    at_once = max(1, STRIP_BYTES // max(per_row, 1))
    parts = []
    for start in range(0, height, at_once):
        count = min(at_once, height - start)
        windows = [
            np.stack(
                [p[:, halo + y + start : halo + y + start + count, halo + x : halo + x + width] for y, x in offsets], axis=1
            ).reshape(len(p), rows[1] - rows[0] + 1, columns[1] - columns[0] + 1, count * width)
            for p in planes
        ]
        parts.append(_over_chunks(windows[0], windows[1], lambda v, m: _applied(version, v, m, parameters)))
    return np.concatenate([values for values, _mask in parts]), np.concatenate([mask for _values, mask in parts])


def time_rule(image: CubeType, *, version: Any, **parameters: Any) -> CubeType:
    """Type of a time function's result: one time, or as many as there were."""
    _check_version(version)
    axes, dtype = _probe(version, (len(image.time),), image.dtype.str, tuple(sorted(parameters.items())))
    time = image.time[:1] if axes == 1 else image.time
    return image.with_(time=time, dtype=np.dtype(dtype), space=Space.VALUE, encoder=None)


def _series(image: Block, function: Callable[[Array, Mask], Result]) -> Block:
    """Apply a function of series [time, pixel] to each band."""
    times, bands, height, width = image.values.shape
    valid = image.full_valid
    results = []
    for band in range(bands):
        series = image.values[:, band].reshape(times, -1), valid[:, band].reshape(times, -1)
        values, mask = _over_chunks(*series, function)
        results.append((values.reshape(-1, height, width), mask.reshape(-1, height, width)))
    return Block(np.stack([r for r, _mask in results], axis=1), np.stack([mask for _result, mask in results], axis=1))


def time_kernel(image: Block, *, version: Any, **parameters: Any) -> Block:
    """Run a time function on a block."""
    block = _series(image, lambda values, valid: _applied(version, values, valid, parameters))
    if len(block.values) not in (1, len(image.values)):
        raise ExpressionError(f"{version.name} returned {len(block.values)} times for {len(image.values)}; give one or all")
    return block


def _aggregated(version: Version, values: Array, valid: Mask, parameters: Mapping[str, Any]) -> Result:
    """Chunk, combine and finalize one chunk of pixels, TIMES times at once."""
    functions: Any = version.function
    state = None
    for start in range(0, len(values), TIMES):
        part = _guarded(version, functions.chunk, values[start : start + TIMES], valid[start : start + TIMES])
        state = part if state is None else _guarded(version, functions.combine, state, part)
    given = _guarded(version, functions.finalize, state, **parameters)
    result = _result(version, given, np.logical_or.reduce(valid, axis=0))
    if result[0].ndim != 1:
        raise ExpressionError(f"{version.name}: finalize must return one value for each pixel: an array [pixel]")
    return result


def aggregate_rule(image: CubeType, *, version: Any, **parameters: Any) -> CubeType:
    """Type of an aggregate's result: one time, the dtype that it gives."""
    _check_version(version)
    _axes, dtype = _probe(version, (len(image.time),), image.dtype.str, tuple(sorted(parameters.items())))
    return image.with_(time=image.time[:1], dtype=np.dtype(dtype), space=Space.VALUE, encoder=None)


def aggregate_kernel(image: Block, *, version: Any, **parameters: Any) -> Block:
    """Run an aggregate on a block."""
    return _series(image, lambda values, valid: _aggregated(version, values, valid, parameters))


def udf_work(types: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    """Bytes that a user's function works in, as far as can be known: two strips, its inputs copied, and as much again."""
    return 2 * STRIP_BYTES + 2 * sum(given.bytes_per_pixel for given in types) * pixels
