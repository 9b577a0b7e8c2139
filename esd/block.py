"""A piece of an image in memory: values, and a plane that says which of them are valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Block", "all_valid"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def _index(positions: Sequence[int]) -> slice | list[int]:
    """Return what picks positions: a slice where they follow one another, which copies nothing."""
    first = positions[0]
    in_a_row = list(positions) == list(range(first, first + len(positions)))
    return slice(first, first + len(positions)) if in_a_row else list(positions)


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
        values, valid = self.values, self.valid
        if times is not None:
            index = _index(times)
            values = values[index]
            valid = valid if valid.shape[0] == 1 else valid[index]
        if bands is not None:
            index = _index(bands)
            values = values[:, index]
            valid = valid if valid.shape[1] == 1 else valid[:, index]
        return Block(values, valid)


def all_valid(masks: Sequence[Mask]) -> Mask:
    """Return where all of the masks are valid; masks of different length in time or band are broadcast."""
    unique = {id(mask): mask for mask in masks}
    return reduce(np.logical_and, unique.values())
