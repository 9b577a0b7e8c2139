"""Comparison, logic and masks.

Logic is Kleene's, three-valued: what is not valid is unknown, so that `False and unknown` is False and
`True or unknown` is True.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from esd.block import Block
from esd.engine.lower import elementwise_rule
from esd.image import composite
from esd.operator import Tile, operator, primitive
from esd.space import CubeType, Space

if TYPE_CHECKING:
    from esd.image import Image

__all__: list[str] = []


@primitive("comparison", np.equal, openeo="eq", emit="eq")
def eq(a: Image, b: Image) -> None:
    """Whether two images are equal."""


@primitive("comparison", np.not_equal, openeo="neq", emit="neq")
def neq(a: Image, b: Image) -> None:
    """Whether two images differ."""


@primitive("comparison", np.less, openeo="lt", emit="lt")
def lt(a: Image, b: Image) -> None:
    """Whether the first image is less than the second."""


@primitive("comparison", np.less_equal, openeo="lte", emit="lte")
def lte(a: Image, b: Image) -> None:
    """Whether the first image is at most the second."""


@primitive("comparison", np.greater, openeo="gt", emit="gt")
def gt(a: Image, b: Image) -> None:
    """Whether the first image is greater than the second."""


@primitive("comparison", np.greater_equal, openeo="gte", emit="gte")
def gte(a: Image, b: Image) -> None:
    """Whether the first image is at least the second."""


@composite("comparison", openeo="between")
def between(image: Image, lowest: float, highest: float) -> Image:
    """Whether lowest <= image <= highest."""
    return (image >= lowest) & (image <= highest)


def _truth(block: Block) -> np.ndarray:
    return block.values != 0


@operator("logic", Tile.PIXEL, elementwise_rule("logical_and", np.logical_and), openeo="and", emit="logical_and")
def logical_and(a: Block, b: Block) -> Block:
    """Whether both are true; false if one is false, whatever the other."""
    one, other = _truth(a), _truth(b)
    return Block(one & other, (a.valid & b.valid) | (a.valid & ~one) | (b.valid & ~other))


@operator("logic", Tile.PIXEL, elementwise_rule("logical_or", np.logical_or), openeo="or", emit="logical_or")
def logical_or(a: Block, b: Block) -> Block:
    """Whether one of them is true; true if one is true, whatever the other."""
    one, other = _truth(a) & a.valid, _truth(b) & b.valid
    return Block(one | other, (a.valid & b.valid) | one | other)


@primitive("logic", np.logical_xor, openeo="xor", emit="logical_xor")
def logical_xor(a: Image, b: Image) -> None:
    """Whether exactly one of them is true."""


@primitive("logic", np.logical_not, openeo="not", emit="logical_not")
def logical_not(a: Image) -> None:
    """Whether it is false."""


@operator(
    "logic",
    Tile.PIXEL,
    elementwise_rule("where", lambda test, a, b: np.where(test, a, b)),
    openeo="if",
    emit="where",
)
def where(test: Block, a: Block, b: Block) -> Block:
    """The second image where the test is true, the third where it is false; not valid where the test is not."""
    chosen = _truth(test)
    valid = test.valid & np.where(chosen, a.valid, b.valid)
    return Block(np.where(chosen, a.values, b.values), valid)


def _like_first(image: CubeType, *_others: CubeType, **_args: float) -> CubeType:
    return image


@operator("mask", Tile.PIXEL, _like_first, emit="unmask")
def unmask(image: Block, value: float = 0.0) -> Block:
    """Put a value where the image is not valid; all of the result is valid."""
    values = np.where(image.full_valid, image.values, image.values.dtype.type(value))
    return Block(values, np.ones((1, 1, *values.shape[2:]), dtype=bool))


@operator("mask", Tile.PIXEL, _like_first, emit="self_mask")
def self_mask(image: Block) -> Block:
    """Keep what is not zero."""
    return Block(image.values, image.valid & (image.values != 0))


def _boolean(image: CubeType) -> CubeType:
    return image.with_(dtype=np.dtype(bool), space=Space.VALUE, encoder=None)


@operator("mask", Tile.PIXEL, _boolean, Space.ANY, openeo="is_valid", emit="is_valid")
def is_valid(image: Block) -> Block:
    """Whether the image is valid and, for floats, not NaN; itself valid everywhere."""
    valid = image.full_valid
    if image.values.dtype.kind == "f":
        valid = valid & ~np.isnan(image.values)
    return Block(valid, np.ones((1, 1, *valid.shape[2:]), dtype=bool))
