"""The values of process graphs: plain JSON, scalars (an `Image` of one time), arrays (`Series`) and data cubes.

An image is [time, band, y, x]. An openEO array lies along its times, whatever dimension it came from; a data cube names its
dimensions and tells on which axis of an image each lies. Plain numbers stay plain until they meet an image; what is made of
plain values only is computed by the engine on a small grid and becomes plain again (`lift` and `settle`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ProcessGraphError
from .grid import geobox_from_bounds
from .image import Image, call, constant, from_array

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = [
    "DataCube",
    "Dimension",
    "LabeledArray",
    "Series",
    "Vocabulary",
    "anchor_of",
    "as_cube",
    "element_like",
    "is_text",
    "join_elements",
    "lift_scalar",
    "lift_series",
    "one_element",
    "plain_anchor",
    "settle",
    "unknown_like",
]

PLAIN_SHAPE = (8, 16)
"""Pixels on which plain values are computed, every one the same: enough for the lanes of compiled code."""
PLAIN_CRS = "EPSG:32631"
LABEL = np.dtype(np.uint32)
"""Dtype of texts on these pixels: positions in a vocabulary."""


@dataclass(frozen=True)
class Dimension:
    """A dimension of a data cube: `kind` is spatial, temporal, bands or other; `axis` that of the image that holds it."""

    name: str
    kind: str
    labels: tuple[Any, ...]
    axis: str


@dataclass(frozen=True)
class DataCube:
    """An image whose dimensions have names; `image` is None where a dimension has no labels, and so nothing is left."""

    image: Image | None
    dimensions: tuple[Dimension, ...]

    def dimension(self, name: str) -> Dimension:
        """Return a dimension by name. Raises ProcessGraphError (DimensionNotAvailable)."""
        for dimension in self.dimensions:
            if dimension.name == name:
                return dimension
        known = ", ".join(d.name for d in self.dimensions) or "none"
        told = repr(name) if isinstance(name, str) else f"of the name {type(name).__name__}, which is no text"
        raise ProcessGraphError(f"there is no dimension {told}; the cube has {known}", "DimensionNotAvailable")

    def with_dimension(self, old: str, new: Dimension) -> DataCube:
        """Return the cube with one dimension described anew."""
        return replace(self, dimensions=tuple(new if d.name == old else d for d in self.dimensions))

    def axis_is_free(self, axis: str) -> bool:
        """Tell whether no dimension lies on an axis of the image."""
        return all(dimension.axis != axis for dimension in self.dimensions)

    @property
    def full(self) -> Image:
        """The image. Raises ProcessGraphError where nothing is left of it."""
        if self.image is None:
            empty = " and ".join(d.name for d in self.dimensions if not d.labels) or "everything"
            raise ProcessGraphError(f"the cube is empty: no label of {empty} is left; choose some")
        return self.image


def as_cube(image: Image) -> DataCube:
    """Return an image as a data cube of the dimensions t, bands, y and x."""
    given = image.type
    grid = given.grid
    rows, columns = ((), ()) if grid is None else _coordinates(grid)
    dimensions = (
        Dimension("t", "temporal", given.time, "time"),
        Dimension("bands", "bands", given.bands, "bands"),
        Dimension("y", "spatial", rows, "y"),
        Dimension("x", "spatial", columns, "x"),
    )
    return DataCube(image, dimensions)


def _coordinates(grid: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    affine, (rows, columns) = grid.affine, grid.shape
    return (
        tuple(float(affine.f + (row + 0.5) * affine.e) for row in range(rows)),
        tuple(float(affine.c + (column + 0.5) * affine.a) for column in range(columns)),
    )


@dataclass(frozen=True)
class Series:
    """An array: its elements are the times of an image.

    `count` is how many there are; where it is 0 the image has one element, which is not valid, so that a reducer finds
    nothing. `length` tells how many of them each pixel has, where they are not all the same.
    """

    image: Image
    count: int
    labels: tuple[Any, ...] | None = None
    length: Image | None = None

    @property
    def is_text(self) -> bool:
        """Whether the elements are texts."""
        return is_text(self.image)

    def element(self, index: int) -> Image:
        """Return one element as a scalar."""
        return self.image if self.count == 1 else call("rearrange", self.image, (index,))

    def pick(self, order: Sequence[int]) -> Series:
        """Return the elements at these positions; labels go with them."""
        labels = None if self.labels is None else tuple(self.labels[i] for i in order)
        if not order:
            return Series(unknown_like(self.element(0)), 0, labels)
        return Series(call("rearrange", self.image, tuple(order)), len(order), labels)


@dataclass(frozen=True)
class LabeledArray:
    """A plain array whose elements have labels."""

    labels: tuple[Any, ...]
    values: tuple[Any, ...]


class Vocabulary:
    """Texts as numbers, the same ones throughout a graph; nested arrays and objects count as texts that equal none other."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def code(self, value: Any) -> int:
        """Return the number of a text."""
        return self._codes.setdefault(json.dumps(value, sort_keys=True), len(self._codes) + 1)

    def value(self, code: int) -> Any:
        """Return the text of a number."""
        return json.loads(list(self._codes)[code - 1])


@cache
def _plain_grid() -> GeoBox:
    rows, columns = PLAIN_SHAPE
    return geobox_from_bounds(0, 0, columns, rows, PLAIN_CRS, 1.0)


def plain_anchor() -> Image:
    """Return the image on whose grid plain values are computed."""
    return from_array(np.zeros(PLAIN_SHAPE), _plain_grid())


def is_text(image: Image) -> bool:
    """Tell whether an image holds plain texts by their place in the vocabulary."""
    return image.type.dtype == LABEL and image.type.grid == _plain_grid()


def unknown_like(anchor: Image) -> Image:
    """Return an image that is valid nowhere."""
    return call("update_mask", anchor, constant(0))


def element_like(anchor: Image, value: float) -> Image:
    """Return an image of one number, valid everywhere, with the bands and grid of another."""
    return call("unmask", unknown_like(call("to_float64", anchor)), float(value))


def anchor_of(values: Any) -> Image | None:
    """Return the first image among values, lists of them included; None where all are plain."""
    return next(_images(values), None)


def _images(value: Any) -> Iterator[Image]:
    if isinstance(value, Image):
        yield value
    elif isinstance(value, Series):
        yield value.element(0)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _images(item)
    elif isinstance(value, LabeledArray):
        yield from _images(value.values)


def _plain_image(values: Sequence[Any], anchor: Image, words: Vocabulary) -> Image:
    """Return plain values as an image of as many times: booleans, texts, or numbers (float64). Raises for a mixture."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in known) and known:
        kind: Any = np.bool_
    elif all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        kind = np.float64
    elif not any(isinstance(value, int | float) for value in known):
        kind = LABEL
    else:
        raise ProcessGraphError(f"the array {str(list(values))[:60]} mixes numbers with others; give values of one type")
    numbers = [0 if v is None else words.code(v) if kind == LABEL else v for v in values]
    grid = anchor.type.grid
    shape = (len(values), 1, *(grid.shape if grid is not None else PLAIN_SHAPE))
    array = np.broadcast_to(np.asarray(numbers, dtype=kind).reshape(-1, 1, 1, 1), shape)
    valid = np.broadcast_to(np.asarray([v is not None for v in values]).reshape(-1, 1, 1, 1), shape)
    return from_array(array, grid, ("constant",), [""] * len(values), valid)  # type: ignore[arg-type]  # a grid was made


def lift_scalar(value: Any, anchor: Image, plain: bool, words: Vocabulary) -> Any:
    """Return a plain number, boolean or null as something that the engine computes with; anything else as it is."""
    if value is None:
        return _plain_image([None], anchor, words) if plain else unknown_like(one_element(anchor))
    if isinstance(value, bool | int | float):
        return _plain_image([value], anchor, words) if plain else constant(value)
    return value


def one_element(image: Image) -> Image:
    """Return the first time of an image."""
    return image if len(image.type.time) == 1 else call("rearrange", image, (0,))


def lift_series(value: Any, anchor: Image, plain: bool, words: Vocabulary) -> Series:
    """Return an array as a series. Raises ProcessGraphError for what is none."""
    if isinstance(value, Series):
        return value
    if isinstance(value, LabeledArray):
        return replace(lift_series(list(value.values), anchor, plain, words), labels=value.labels)
    if not isinstance(value, list | tuple):
        raise ProcessGraphError(f"{str(value)[:60]!r} is no array; give a list")
    if not value:
        return Series(_plain_image([None], anchor, words) if plain else unknown_like(one_element(anchor)), 0)
    if plain:
        return Series(_plain_image(value, anchor, words), len(value))
    return join_elements([_element(item, one_element(anchor)) for item in value])


def _element(value: Any, anchor: Image) -> Image:
    if isinstance(value, Image):
        return value
    if value is None:
        return unknown_like(anchor)
    if isinstance(value, bool | int | float):
        return element_like(anchor, value)
    raise ProcessGraphError(f"{str(value)[:60]!r} cannot be an element beside pixels; give numbers")


def join_elements(images: Sequence[Image]) -> Series:
    """Return scalars as the elements of an array."""
    bands = images[0].type.bands
    named = [image if image.type.bands == bands else call("rename", image, *bands) for image in images]
    return Series(call("stack", *named) if len(named) > 1 else named[0], len(named))


def settle(value: Any, words: Vocabulary) -> Any:
    """Compute what was made of plain values only, and return it as plain values again."""
    if isinstance(value, Image):
        return _settled(value, words)[0]
    if isinstance(value, Series):
        values = _settled(value.image, words)[: value.count]
        if value.length is not None:
            values = values[: int(_settled(value.length, words)[0])]
        return values if value.labels is None else LabeledArray(value.labels, tuple(values))
    return value


def _settled(image: Image, words: Vocabulary) -> list[Any]:
    raster = image.compute()
    numbers, valid = raster.values[:, 0, 0, 0], raster.valid[:, 0, 0, 0]
    if raster.values.dtype == LABEL:
        return [words.value(int(n)) if known else None for n, known in zip(numbers, valid, strict=True)]
    return [n.item() if known else None for n, known in zip(numbers, valid, strict=True)]
