"""Random bits that depend on a place and a seed only: the same for every tiling, and on every machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["hash_bits", "place_hashes"]


def hash_bits(parts: tuple[npt.NDArray[np.int64], ...], seed: int) -> npt.NDArray[np.uint64]:
    """Return 64 random bits for each tuple of whole numbers. Source: SplitMix64 (Steele, Lea and Flood, 2014)."""
    state = np.full(np.broadcast_shapes(*(part.shape for part in parts)), seed, dtype=np.uint64)
    for part in parts:
        state = state ^ part.view(np.uint64)
        state += np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
        state ^= state >> np.uint64(31)
    return state


def place_hashes(x: npt.NDArray[Any], y: npt.NDArray[Any], seed: int) -> npt.NDArray[np.uint64]:
    """Return 64 random bits for each place, told by its coordinates to a thousandth of their unit."""
    return hash_bits(tuple(np.round(part * 1000).astype(np.int64) for part in (x, y)), seed)
