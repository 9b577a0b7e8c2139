"""The order in which the numbers of a block are added; see `totals`. This is the definition, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from esd.block import Array, Mask

__all__ = ["COLUMNS", "GROUP", "ROWS", "TOTAL_BLOCK", "block_sum", "padded"]

TOTAL_BLOCK = 256
"""Side in pixels of the blocks of a grid that are reduced one after the other."""
ROWS = 16
COLUMNS = 64
GROUP = ROWS * COLUMNS


def padded(plane: Array) -> Array:
    """Return a plane as one row of a length that is a multiple of a group, zeros at its end."""
    short = -plane.size % GROUP
    if not short:
        return np.ascontiguousarray(plane).reshape(-1)
    longer = np.zeros(plane.size + short, dtype=plane.dtype)
    longer[: plane.size] = plane.reshape(-1)
    return longer


def block_sum(numbers: Array, valid: Mask) -> Any:
    """Return the sum of the valid numbers; lengths are multiples of a group."""
    floats = numbers.dtype.kind == "f"
    wide = np.float64 if floats else np.int64
    kept = np.where(valid, numbers, numbers.dtype.type(0)).reshape(-1, ROWS, COLUMNS)
    partial = kept[:, 0].astype(numbers.dtype if floats else wide)
    for row in range(1, ROWS):
        partial += kept[:, row]
    total: Array = np.zeros(COLUMNS, dtype=wide)
    for group in partial:
        total += group
    while total.size > 1:
        half = total.size // 2
        total = total[:half] + total[half:]
    return total[0]
