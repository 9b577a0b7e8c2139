"""Choosing by value and by validity: remap, classes of ranges, coalescing, masks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.engine.lower import elementwise_rule
from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator, primitive
from esd.space import CubeType, Space

__all__: list[str] = []

Array = npt.NDArray[Any]
OWN_VALIDITY = "its validity follows from values, and a compiled run has one validity for all of it"


def _computed(image: CubeType, dtype: npt.DTypeLike) -> CubeType:
    return image.with_(dtype=np.dtype(dtype), space=Space.VALUE, encoder=None)


def _boolean(image: CubeType, **_args: Any) -> CubeType:
    return _computed(image, bool)


@operator("mask", Tile.PIXEL, _boolean, Space.ANY, openeo="is_nodata", interpreted=OWN_VALIDITY)
def is_nodata(image: Block) -> Block:
    """Whether the image is not valid; itself valid everywhere. NaN is a value, and no missing one."""
    missing = ~image.full_valid
    return Block(missing, np.ones((1, 1, *missing.shape[2:]), dtype=bool))


@composite("comparison", openeo="is_nan")
def is_nan(a: Image) -> Image:
    """Whether the image is NaN, which no integer ever is."""
    return call("neq", a, a)


@composite("comparison", openeo="is_infinite")
def is_infinite(a: Image) -> Image:
    """Whether the image is plus or minus infinity, which no integer ever is."""
    return call("eq", call("absolute", call("to_float64", a)), float("inf"))


def _is_in(a: Array, *, values: Sequence[float]) -> Array:
    return np.isin(a, np.asarray(values))


@primitive("comparison", _is_in, interpreted="looks numbers up in a list of any length")
def is_in(a: Image, values: tuple[float, ...]) -> None:
    """Whether the number is one of a list; NaN never is."""


def _remap_rule(image: CubeType, *, old: Any, new: Any, default: Any) -> CubeType:
    if not old or len(old) != len(new) or len(set(old)) != len(old):
        raise ExpressionError(f"remap: old={old} and new={new} must be as many, and no old value twice")
    given = [*new, *(() if default is None else (default,))]
    return _computed(image, np.int64 if all(isinstance(value, int) for value in given) else np.float64)


@operator("remap", Tile.PIXEL, _remap_rule, interpreted=OWN_VALIDITY, example="classes.remap((1, 2, 5), (1, 1, 2))")
def remap(image: Block, old: tuple[float, ...], new: tuple[float, ...], default: float | None = None) -> Block:
    """Replace each old number by the new one in its place; other numbers by `default`, or they are not valid without one.

    The result is int64 if all new numbers are whole, else float64.
    """
    order = np.argsort(old)
    known, results = np.asarray(old)[order], np.asarray(new)[order]
    place = np.clip(np.searchsorted(known, image.values), 0, len(known) - 1)
    found = known[place] == image.values
    dtype = np.int64 if all(isinstance(value, int) for value in (*new, default or 0)) else np.float64
    values = np.where(found, results[place], 0 if default is None else default).astype(dtype)
    return Block(values, image.valid & found if default is None else image.valid)


CLOSED = ("left", "right")


def _reclassify(a: Array, *, bins: Sequence[float], labels: Sequence[float], closed: str) -> Array:
    rising = all(one < other for one, other in itertools.pairwise(bins))
    if not bins or not rising or len(labels) != len(bins) + 1:
        raise ExpressionError(f"reclassify: bins={bins} must rise, with one label more than there are of them, got {labels}")
    if closed not in CLOSED:
        raise ExpressionError(f"reclassify: closed={closed!r} is not one of {', '.join(CLOSED)}")
    return np.asarray(labels)[np.digitize(a, np.asarray(bins), right=closed == "right")]


@primitive("remap", _reclassify, interpreted="looks numbers up in a table of any length")
def reclassify(a: Image, bins: tuple[float, ...], labels: tuple[float, ...], closed: str = "left") -> None:
    """Classes of ranges: labels[0] below bins[0], labels[1] up to bins[1], and so on; the last one also for NaN.

    `closed` tells which class a number on an edge belongs to: with `left` the one above it, with `right` the one below it.
    """


@operator("remap", Tile.PIXEL, elementwise_rule("first_valid", lambda a, b: np.where(True, a, b)), interpreted=OWN_VALIDITY)
def first_valid(a: Block, b: Block) -> Block:
    """The first image where it is valid, else the second; valid where one of them is."""
    return Block(np.where(a.valid, a.values, b.values), a.valid | b.valid)


@composite("remap")
def first_non_zero(a: Image, b: Image) -> Image:
    """The first image where it is valid and not zero, else the second. Source: Earth Engine's firstNonZero."""
    return call("first_valid", call("self_mask", a), b)


@composite("mask")
def set_nodata(image: Image, value: float) -> Image:
    """Make what equals a value not valid."""
    return call("update_mask", image, call("neq", image, value))


@composite("mask", openeo="mask")
def mask_where(image: Image, test: Image) -> Image:
    """Make not valid what a test is true for (not 0), as openEO's mask does; where the test is not valid it says nothing."""
    return call("update_mask", image, call("logical_not", call("unmask", call("neq", test, 0), 0.0)))
