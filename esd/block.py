"""A piece of an image in memory: values, and a plane that says which of them are valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Block", "NodataBlock", "all_valid"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def _index(positions: Sequence[int]) -> slice | list[int]:
    """Return what picks positions: a slice where they follow one another, which copies nothing."""
    first = positions[0]
    in_a_row = list(positions) == list(range(first, first + len(positions)))
    return slice(first, first + len(positions)) if in_a_row else list(positions)


def _picked(array: Array, times: Sequence[int] | None, bands: Sequence[int] | None, kept: int = 0) -> Array:
    """Pick times and bands of an array [time, band, y, x]; an axis of the length `kept` stays as it is."""
    if times is not None and array.shape[0] != kept:
        array = array[_index(times)]
    if bands is not None and array.shape[1] != kept:
        array = array[:, _index(bands)]
    return array


@dataclass(frozen=True)
class Block:
    """Values and their validity.

    `values` is [time, band, y, x]. `valid` is True where a value counts, and may have length 1 in time or band when it is
    the same for all of them. Values that are not valid have no meaning.
    """

    values: Array
    valid: Mask

    @property
    def full_valid(self) -> Mask:
        """The validity in the shape of the values."""
        return np.broadcast_to(self.valid, self.values.shape)

    def pick(self, times: Sequence[int] | None = None, bands: Sequence[int] | None = None) -> Block:
        """Return some times or bands by their position."""
        return Block(_picked(self.values, times, bands), _picked(self.valid, times, bands, kept=1))


class NodataBlock(Block):
    """A block in which a number, `nodata`, stands for "not valid": the plane is made when something asks for it.

    Compiled code compares the numbers as it reads them, and never asks.
    """

    nodata: Any

    def __init__(self, values: Array, nodata: Any) -> None:
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "nodata", nodata)

    @cached_property
    def valid(self) -> Mask:
        """True where a value counts."""
        return np.asarray(self.values != self.nodata)

    def pick(self, times: Sequence[int] | None = None, bands: Sequence[int] | None = None) -> Block:
        """Return some times or bands by their position."""
        return NodataBlock(_picked(self.values, times, bands), self.nodata)


def all_valid(masks: Sequence[Mask]) -> Mask:
    """Return where all of the masks are valid; masks of different length in time or band are broadcast."""
    unique = {id(mask): mask for mask in masks}
    return reduce(np.logical_and, unique.values())
