"""The compiled tier: runs of per-pixel operators as vector code, where it is ready; else the caller interprets them.

ESD_TIER chooses: `auto` (the default) interprets until the code has been compiled in the background, `interpreted` never
compiles, `compiled` waits for the code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from esd.block import Array, Block, Mask, all_valid
from esd.errors import ExpressionError
from esd.expr import Expr

from .folding import StepTable
from .fuse import Run, build_kernel, build_reduction, build_steps
from .ir import UnsupportedError
from .jit import Kernel, schedule
from .lower import infer
from .pool import Pool, address_of

__all__ = ["TIERS", "BoundReduction", "BoundRun", "BoundSteps", "ready_kernel", "tier"]

TIERS = ("auto", "interpreted", "compiled")


def tier() -> str:
    """Return the tier that the environment asks for. Raises ExpressionError for an unknown one."""
    chosen = os.environ.get("ESD_TIER", "auto")
    if chosen not in TIERS:
        raise ExpressionError(f"ESD_TIER={chosen!r} is not one of {', '.join(TIERS)}")
    return chosen


def ready_kernel(key: str, build: Callable[[], Kernel]) -> Kernel | None:
    """Return the code of a structure, None if it is not ready, not asked for, or there is none for its dtypes."""
    if tier() == "interpreted":
        return None
    future = schedule(key, build)
    if not future.done() and tier() == "auto":
        return None
    try:
        return future.result()
    except UnsupportedError:
        return None


def planes_of(array: Array) -> Array:
    """Return the array with every plane [y, x] contiguous in memory; copied only if it is not."""
    rows, columns = array.strides[2:]
    if columns == array.itemsize and rows == columns * array.shape[3]:
        return array
    return np.ascontiguousarray(array)


def plane_addresses(array: Array, times: int, bands: int) -> list[list[int]]:
    """Return the address of each plane [time][band]; one time or band serves all."""
    first = address_of(array)
    by_time = array.strides[0] if array.shape[0] > 1 else 0
    by_band = array.strides[1] if array.shape[1] > 1 else 0
    return [[first + time * by_time + band * by_band for band in range(bands)] for time in range(times)]


def _table_addresses(run: Run, band: int) -> list[int]:
    """Return the address of each of a run's tables for a band."""
    return [address_of(table) + (band if len(table) > 1 else 0) * table.strides[0] for table in run.tables]


def _is_whole(array: Array, shape: tuple[int, ...]) -> bool:
    return array.shape == shape and bool(array.flags.c_contiguous)


class BoundRun:
    """A run for blocks of one size. Inputs that never change (`static`) are looked at once."""

    def __init__(self, run: Run, size: tuple[int, int], static: Sequence[Block | None], pool: Pool) -> None:
        given = infer(run.sink)
        self._run = run
        self._shape = (len(given.time), len(given.bands), *size)
        self._shelf = pool.shelf(self._shape, given.dtype)
        self._static = static
        self._kernel: Kernel | None = None
        self._tables = [_table_addresses(run, band) for band in range(len(given.bands))]
        self._one_call = len(given.bands) == 1 or not run.tables
        self._whole: tuple[Callable[[int], None], Mask, Sequence[Array]] | None = None

    def _ready(self) -> Kernel | None:
        if self._kernel is None:
            self._kernel = ready_kernel(self._run.key, partial(build_kernel, self._run))
        kernel = self._kernel
        return None if kernel is None or self._shape[2] * self._shape[3] < kernel.lanes else kernel

    def on_static(self) -> Block | None:
        """Evaluate where all inputs are static; None if there is no code for it to run."""
        if self._whole is not None:
            call, valid, _keep = self._whole
            values, address = self._shelf.take()
            call(address)
            return Block(values, valid)
        blocks = [block for block in self._static if block is not None]
        kernel = self._ready()
        if kernel is None or not self._is_one_call(blocks):
            return self(blocks)
        arrays = [block.values for block in blocks]
        call = kernel.bind([*map(address_of, arrays), *self._tables[0]], self._shelf_size())
        self._whole = call, all_valid([block.valid for block in blocks]), arrays
        return self.on_static()

    def _is_one_call(self, blocks: Sequence[Block]) -> bool:
        return self._one_call and all(_is_whole(block.values, self._shape) for block in blocks)

    def _shelf_size(self) -> int:
        return int(np.prod(self._shape))

    def __call__(self, blocks: Sequence[Block]) -> Block | None:
        """Evaluate on blocks [time, band, y, x] of the inputs; None if there is no code for it to run."""
        kernel = self._ready()
        if kernel is None:
            return None
        values, address = self._shelf.take()
        valid = all_valid([block.valid for block in blocks])
        if self._is_one_call(blocks):
            kernel([*(address_of(block.values) for block in blocks), *self._tables[0]], [address], values.size)
            return Block(values, valid)
        times, bands, rows, columns = self._shape
        arrays = [planes_of(block.values) for block in blocks]
        planes = [plane_addresses(array, times, bands) for array in arrays]
        targets = plane_addresses(values, times, bands)
        for time in range(times):
            for band in range(bands):
                inputs = [*(plane[time][band] for plane in planes), *self._tables[band]]
                kernel(inputs, [targets[time][band]], rows * columns)
        return Block(values, valid)


class BoundSteps:
    """A `step_lookup` for blocks of one size: sums of terms looked up, a step after the other, then NumPy finishes."""

    def __init__(self, node: Expr, size: tuple[int, int], pool: Pool) -> None:
        self._table: StepTable = node.args["table"]
        self._steps, self._codes = len(infer(node.src[0]).time), infer(node.src[0]).dtype
        self._size = size[0] * size[1]
        self._shelf = pool.shelf((self._table.values.shape[1], *size), self._table.values.dtype)

    def __call__(self, blocks: Sequence[Block]) -> Block | None:
        """Evaluate on codes [time, 1, y, x]; None if there is no code for it to run."""
        kernel = ready_kernel(f"steps {self._steps} {self._codes}", partial(build_steps, self._steps, self._codes))
        if kernel is None or self._size < kernel.lanes:
            return None
        total, address = self._shelf.take()
        codes, terms = planes_of(blocks[0].values), self._table.values
        planes = [step[0] for step in plane_addresses(codes, self._steps, 1)]
        for term in range(len(total)):
            first = address_of(terms) + term * terms.strides[1]
            tables = [first + step * terms.strides[0] for step in range(self._steps)]
            kernel([*planes, *tables], [address + term * total.strides[0]], self._size)
        whole = np.asarray(blocks[0].valid.all(axis=(0, 1)))
        return self._table.form.finish(total, whole, self._table.expr.args)


class BoundReduction:
    """A run that ends in a reducer of time, for blocks of one size."""

    def __init__(self, run: Run, size: tuple[int, int], pool: Pool) -> None:
        given = infer(run.sink)
        self._run = run
        self._shape = (1, len(given.bands), *size)
        self._tables = [_table_addresses(run, band) for band in range(len(given.bands))]
        self._values = pool.shelf(self._shape, given.dtype)
        self._valid = pool.shelf(self._shape, np.dtype(bool))

    def __call__(self, blocks: Sequence[Block]) -> Block | None:
        """Evaluate on blocks [time, band, y, x] of the inputs; None if there is no code for it to run."""
        valid = all_valid([block.valid for block in blocks])
        masked = valid.shape[0] > 1
        if self._run.reducer == "count" and not masked:
            return None
        build = partial(build_reduction, self._run, masked)
        kernel = ready_kernel(f"{self._run.key} {masked}", build)
        count = self._shape[2] * self._shape[3]
        if kernel is None or count < kernel.lanes:
            return None
        values, _address = self._values.take()
        arrays = [planes_of(block.values) for block in blocks]
        given = [plane_addresses(array, len(array), self._shape[1]) for array in arrays]
        targets = [plane_addresses(values, 1, self._shape[1])]
        masks: list[list[int]] = []
        if masked:
            mask = planes_of(valid)
            masks = plane_addresses(mask, len(mask), self._shape[1])
            valid, _address = self._valid.take()
            targets.append(plane_addresses(valid, 1, self._shape[1]))
        for band in range(self._shape[1]):
            inputs = [plane[band] for planes in given for plane in planes] + self._tables[band]
            inputs += [plane[band] for plane in masks]
            kernel(inputs, [planes[0][band] for planes in targets], count)
        return Block(values, valid)
