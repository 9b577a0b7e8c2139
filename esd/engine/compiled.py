"""The compiled tier: runs of per-pixel operators as vector code, where it is ready; else the caller interprets them.

ESD_TIER chooses: `auto` (the default) interprets until the code has been compiled in the background, `interpreted` never
compiles, `compiled` waits for the code.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

import numpy as np

from esd.block import Block, all_valid
from esd.errors import ExpressionError

from .fuse import Run, build_kernel
from .ir import UnsupportedError
from .jit import Kernel, schedule
from .lower import infer

__all__ = ["TIERS", "run_compiled", "tier"]

TIERS = ("auto", "interpreted", "compiled")


def tier() -> str:
    """Return the tier that the environment asks for. Raises ExpressionError for an unknown one."""
    chosen = os.environ.get("ESD_TIER", "auto")
    if chosen not in TIERS:
        raise ExpressionError(f"ESD_TIER={chosen!r} is not one of {', '.join(TIERS)}")
    return chosen


def _kernel(run: Run) -> Kernel | None:
    """Return the code of a run, None if it is not ready or there is none for its dtypes."""
    future = schedule(run.key, partial(build_kernel, run))
    if not future.done() and tier() == "auto":
        return None
    try:
        return future.result()
    except UnsupportedError:
        return None


def run_compiled(run: Run, blocks: Sequence[Block]) -> Block | None:
    """Evaluate a run on blocks of its inputs, in their order; None if there is no code for it to run.

    Blocks are [time, band, y, x]; one time or band of an input serves all of the result's.
    """
    given = infer(run.sink)
    rows, columns = blocks[0].values.shape[2:]
    kernel = _kernel(run)
    if kernel is None or rows * columns < kernel.lanes:
        return None
    shape = (len(given.time), len(given.bands), rows, columns)
    result = np.empty(shape, dtype=given.dtype)
    arrays = [np.ascontiguousarray(block.values) for block in blocks]
    valid = all_valid([block.valid for block in blocks])
    if all(array.shape == shape for array in arrays):
        kernel([array.ctypes.data for array in arrays], [result.ctypes.data], result.size)
        return Block(result, valid)
    for time in range(shape[0]):
        for band in range(shape[1]):
            planes = [array[time if len(array) > 1 else 0, band if array.shape[1] > 1 else 0] for array in arrays]
            kernel([plane.ctypes.data for plane in planes], [result[time, band].ctypes.data], rows * columns)
    return Block(result, valid)
