"""How well the codes are used: codes met, their entropy, and bytes after lossless compression."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numcodecs import Blosc

from esd.codec import Codec

__all__ = ["code_usage", "entropy"]

Codes = npt.NDArray[np.unsignedinteger[Any]]

BLOSC = Blosc(cname="zstd", clevel=5, shuffle=Blosc.BITSHUFFLE)
"""As cubes compress their codes."""


def entropy(counts: npt.NDArray[np.integer[Any]]) -> float:
    """Return the empirical entropy of counts, in bits: -sum p log2 p."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


def code_usage(codec: Codec, codes: Codes) -> dict[str, Any]:
    """Return the use of codes [steps, n] without "no data".

    `bits` is the empirical entropy of a step's code, the mean over the steps: too low where pixel-years are fewer than
    some ten times the codebook. `bits_by_level` adds up the entropies of the single levels instead: it needs few
    pixel-years and is an upper bound of what a coder without context reaches. `bytes_stored` are of a pixel-year,
    compressed as in a cube.
    """
    steps, count = codes.shape
    levels = codec.fsq.indices_to_levels(codes).reshape(steps, count, -1)
    joint = [entropy(np.unique(row, return_counts=True)[1]) for row in codes]
    by_level = [sum(entropy(np.bincount(column)) for column in row.T) for row in levels]
    stored = len(BLOSC.encode(np.ascontiguousarray(codes)))
    return {
        "pixel_years": count,
        "codes": codec.fsq.size,
        "codes_met": int(np.unique(codes).size),
        "bits_nominal": float(np.log2(codec.fsq.size)),
        "bits": float(np.mean(joint)),
        "bits_by_level": float(np.mean(by_level)),
        "bytes_by_level": float(np.sum(by_level) / 8),
        "bytes_nominal": codec.bytes_per_pixel_year,
        "bytes_stored": stored / count,
        "share_of_levels": [float(value) for value in _level_share(levels, codec.fsq.levels)],
    }


def _level_share(levels: npt.NDArray[Any], sizes: tuple[int, ...]) -> list[float]:
    """Return for each dimension its entropy as a share of what even use would give."""
    flat = levels.reshape(-1, len(sizes))
    return [entropy(np.bincount(column)) / np.log2(size) for column, size in zip(flat.T, sizes, strict=True)]
