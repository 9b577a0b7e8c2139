"""Finite scalar quantization in NumPy: level tuples, values and the one integer that stores them.

value = (level - L // 2) / (L // 2) and index = sum(level_i * basis_i) with basis = (1, L0, L0 * L1, ...).
Source: Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple" (ICLR 2024).
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import EncoderError

__all__ = ["FILL", "FSQ"]

FILL = 65535
"""The code that stands for "no data" in uint16 arrays of codes; above every legal index. In uint8 it is 255: `FSQ.fill`."""

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.unsignedinteger]


class FSQ:
    """A codebook given by its number of levels in each dimension.

    Values run from -1 to +1 for odd level counts and from -1 to 1 - 2 / L for even ones. Codes are of `dtype`: uint8 where
    it holds them and `fill`, else uint16, if none is given.
    Raises EncoderError if a level count is below 2 or there are more codes than a uint16 beside FILL can hold.
    """

    def __init__(self, levels: tuple[int, ...] | list[int], dtype: npt.DTypeLike | None = None) -> None:
        self.levels = tuple(int(level) for level in levels)
        if not self.levels or min(self.levels) < 2:
            raise EncoderError(f"FSQ levels {self.levels} are not valid; each must be at least 2")
        self.size = math.prod(self.levels)
        if self.size > FILL:
            raise EncoderError(f"FSQ levels {self.levels} make {self.size} codes; at most {FILL} fit into uint16")
        self.basis = tuple(math.prod(self.levels[:i]) for i in range(len(self.levels)))
        smallest = np.uint8 if self.size <= np.iinfo(np.uint8).max else np.uint16
        self.dtype: np.dtype[Any] = np.dtype(smallest if dtype is None else dtype)

    def __repr__(self) -> str:
        return f"FSQ(levels={self.levels})"

    @property
    def dims(self) -> int:
        """Number of dimensions of a code's value."""
        return len(self.levels)

    @property
    def fill(self) -> int:
        """The code that stands for "no data": the largest number of `dtype`."""
        return int(np.iinfo(self.dtype).max)

    @cached_property
    def half_width(self) -> Floats:
        """L // 2 of each dimension, shape (dims,)."""
        return np.array([level // 2 for level in self.levels], dtype=np.float32)

    @cached_property
    def codebook(self) -> Floats:
        """The value of every code, shape (size, dims), float32."""
        return self.levels_to_values(self.indices_to_levels(np.arange(self.size)))

    @cached_property
    def codebook_with_fill(self) -> Floats:
        """The codebook padded with zeros to `fill` + 1 rows, so that any number of `dtype` can be looked up."""
        table = np.zeros((self.fill + 1, self.dims), dtype=np.float32)
        table[: self.size] = self.codebook
        return table

    def indices_to_levels(self, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the level tuple of each index: shape (...) to (..., dims), each level in 0 .. L - 1."""
        index = np.asarray(indices, dtype=np.int64)[..., None]
        return (index // np.array(self.basis)) % np.array(self.levels)

    def levels_to_indices(self, levels: npt.ArrayLike) -> Codes:
        """Return the index of each level tuple: shape (..., dims) to (...), of `dtype`."""
        return (np.asarray(levels, dtype=np.int64) @ np.array(self.basis)).astype(self.dtype)

    def levels_to_values(self, levels: npt.ArrayLike) -> Floats:
        """Return the value of each level tuple, shape (..., dims), float32."""
        half = self.half_width
        return (np.asarray(levels).astype(np.float32) - half) / half

    def indices_to_values(self, indices: npt.NDArray[np.integer]) -> Floats:
        """Return the value of each index: shape (...) to (..., dims). `fill` gives zeros: mask it by the index."""
        return self.codebook_with_fill[indices]

    def quantize(self, raw: Floats) -> Codes:
        """Return the index of the code nearest to unbounded encoder output: shape (..., dims) to (...), of `dtype`.

        The bound is that of vector-quantize-pytorch's FSQ (eps 1e-3): tanh scaled to the levels, shifted by half
        a level where their number is even; rounding is half to even.
        """
        levels = np.array(self.levels, dtype=np.float32)
        half_length = (levels - 1) * np.float32(1 + 1e-3) / 2
        offset = np.where(np.array(self.levels) % 2 == 0, 0.5, 0.0).astype(np.float32)
        shift = np.arctanh(offset / half_length)
        bounded = np.tanh(raw + shift) * half_length - offset
        return self.levels_to_indices(np.rint(bounded) + self.half_width)
