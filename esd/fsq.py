"""Finite scalar quantization in NumPy: level tuples, values and the one integer that stores them.

value = (level - L // 2) / (L // 2) and index = sum(level_i * basis_i) with basis = (1, L0, L0 * L1, ...).
Source: Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple" (ICLR 2024).
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .errors import EncoderError

__all__ = ["FILL", "FSQ"]

FILL = 65535
"""The code that stands for "no data" in uint16 arrays of codes; above every legal index."""

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint16]


class FSQ:
    """A codebook given by its number of levels in each dimension.

    Values run from -1 to +1 for odd level counts and from -1 to 1 - 2 / L for even ones.
    Raises EncoderError if a level count is below 2 or there are more codes than a uint16 beside FILL can hold.
    """

    def __init__(self, levels: tuple[int, ...] | list[int]) -> None:
        self.levels = tuple(int(level) for level in levels)
        if not self.levels or min(self.levels) < 2:
            raise EncoderError(f"FSQ levels {self.levels} are not valid; each must be at least 2")
        self.size = math.prod(self.levels)
        if self.size > FILL:
            raise EncoderError(f"FSQ levels {self.levels} make {self.size} codes; at most {FILL} fit into uint16")
        self.basis = tuple(math.prod(self.levels[:i]) for i in range(len(self.levels)))

    def __repr__(self) -> str:
        return f"FSQ(levels={self.levels})"

    @property
    def dims(self) -> int:
        """Number of dimensions of a code's value."""
        return len(self.levels)

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
        """The codebook padded with zeros to 65,536 rows, so that any uint16, FILL too, can be looked up."""
        table = np.zeros((FILL + 1, self.dims), dtype=np.float32)
        table[: self.size] = self.codebook
        return table

    def indices_to_levels(self, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the level tuple of each index: shape (...) to (..., dims), each level in 0 .. L - 1."""
        index = np.asarray(indices, dtype=np.int64)[..., None]
        return (index // np.array(self.basis)) % np.array(self.levels)

    def levels_to_indices(self, levels: npt.ArrayLike) -> Codes:
        """Return the index of each level tuple: shape (..., dims) to (...), uint16."""
        return (np.asarray(levels, dtype=np.int64) @ np.array(self.basis)).astype(np.uint16)

    def levels_to_values(self, levels: npt.ArrayLike) -> Floats:
        """Return the value of each level tuple, shape (..., dims), float32."""
        half = self.half_width
        return (np.asarray(levels).astype(np.float32) - half) / half

    def indices_to_values(self, indices: npt.NDArray[np.integer]) -> Floats:
        """Return the value of each index: shape (...) to (..., dims). FILL gives zeros: mask it by the index."""
        return self.codebook_with_fill[indices]

    def quantize(self, raw: Floats) -> Codes:
        """Return the index of the code nearest to unbounded encoder output: shape (..., dims) to (...), uint16.

        The bound is that of vector-quantize-pytorch's FSQ (eps 1e-3): tanh scaled to the levels, shifted by half
        a level where their number is even; rounding is half to even.
        """
        levels = np.array(self.levels, dtype=np.float32)
        half_length = (levels - 1) * np.float32(1 + 1e-3) / 2
        offset = np.where(np.array(self.levels) % 2 == 0, 0.5, 0.0).astype(np.float32)
        shift = np.arctanh(offset / half_length)
        bounded = np.tanh(raw + shift) * half_length - offset
        return self.levels_to_indices(np.rint(bounded) + self.half_width)
