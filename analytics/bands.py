"""Bands by position and by pattern, and times and matrices laid out as bands."""

from __future__ import annotations

import re
from collections.abc import Callable

from esd.block import Block
from esd.errors import BandError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType, Space

__all__: list[str] = []

LONGEST_PATTERN = 100


@composite("bands", example='image.regex_rename("^swir", "s")')
def regex_rename(image: Image, pattern: str, replacement: str) -> Image:
    r"""Rename bands by a regular expression: what matches is replaced, `\1` standing for the first group, as in Python.

    Raises BandError for a pattern that is not understood or longer than 100 characters, or if two bands get one name.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise BandError(f"regex_rename: the pattern has {len(pattern)} characters, at most {LONGEST_PATTERN} are read")
    try:
        names = tuple(re.sub(pattern, replacement, band) for band in image.type.bands)
    except (re.error, IndexError) as error:
        raise BandError(f"regex_rename: {pattern!r} with {replacement!r} is not understood: {error}") from error
    if len(set(names)) != len(names) or not all(names):
        raise BandError(f"regex_rename: the bands would be called {', '.join(map(repr, names))}; they must differ")
    return call("rename", image, *names)


@composite("bands", example="image.slice_bands(0, 3)")
def slice_bands(image: Image, start: int, end: int | None = None) -> Image:
    """The bands start, start + 1, ... before `end`, counted as Python counts in slices. Raises BandError for none."""
    chosen = image.type.bands[start:end]
    if not chosen:
        raise BandError(f"slice_bands: {start}:{end} holds none of the {len(image.type.bands)} bands")
    return call("select", image, *chosen)


def _flat_rule(image: CubeType, *, labels: tuple[str, ...]) -> CubeType:
    if len(labels) != len(image.time):
        raise BandError(f"array_flatten: {len(image.time)} times need as many labels, got {labels}")
    names = tuple(f"{label}_{band}" for label in labels for band in image.bands)
    if len(set(names)) != len(names):
        raise BandError(f"array_flatten: the labels {labels} give two bands the same name")
    return image.with_(time=image.time[:1], bands=names, space=Space.VALUE, encoder=None)


@operator(
    "bands",
    Tile.ARRAY,
    _flat_rule,
    interpreted="moves numbers and computes none",
    example='image.ndvi().array_slice(0, 2).array_flatten(("first", "second"))',
)
def array_flatten(image: Block, labels: tuple[str, ...]) -> Block:  # noqa: ARG001 - they name the bands
    """All times as bands of one time: <label>_<band>, the bands of the first time first; a label for each time.

    A matrix row by row. Raises BandError unless labels are as many as times.
    """
    shape = image.values.shape
    flat = 1, shape[0] * shape[1], *shape[2:]
    return Block(image.values.reshape(flat), image.full_valid.reshape(flat))


@composite("bands", example="image.ndvi().to_bands()")
def to_bands(image: Image) -> Image:
    """All times as bands of one time, called <date>_<band>, or <position>_<band> where dates are missing or repeat.

    A collection's images are `collection.stack().to_bands()`. Source: Earth Engine's ImageCollection.toBands.
    """
    times = image.type.time
    dated = all(times) and len(set(times)) == len(times)
    return call("array_flatten", image, tuple(times if dated else map(str, range(len(times)))))


def _folded(image: Image, bands: tuple[str, ...], join: Callable[[Image, Image], Image]) -> Image:
    names = bands or image.type.bands
    chosen = call("select", image, *names)
    result: Image | None = None
    for name in chosen.type.bands:
        true = call("neq", call("select", chosen, name), 0)
        result = true if result is None else join(result, true)
    if result is None:
        raise BandError("there is no band")
    return result


@composite("logic", openeo="all", example='image.all_of(("nir", "red"))')
def all_of(image: Image, bands: tuple[str, ...] = ()) -> Image:
    """Whether all bands, or those named, are true (not 0), by Kleene's logic: false if one is false, whatever the others.

    One band, of the first one's name. Not valid where none is false and one is not valid.
    """
    return _folded(image, bands, lambda a, b: a & b)


@composite("logic", openeo="any", example='image.any_of(("nir", "red"))')
def any_of(image: Image, bands: tuple[str, ...] = ()) -> Image:
    """Whether one of the bands, or of those named, is true (not 0), by Kleene's logic: true if one is, whatever the others.

    One band, of the first one's name. Not valid where none is true and one is not valid.
    """
    return _folded(image, bands, lambda a, b: a | b)
