"""The compiled tier: runs of per-pixel operators as vector code, where it is ready; else the caller interprets them.

ESD_TIER chooses: `auto` (the default) interprets what is asked for once, compiles it in the background when it is asked for
again, and interprets until that is done; `interpreted` compiles no graphs, `compiled` waits for the code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from esd.block import Array, Block, Mask, NodataBlock, all_valid
from esd.errors import ExpressionError
from esd.expr import Expr

from .digit_code import DigitSums, build_digit_sums
from .fuse import Run, build_kernel, build_masked, build_reduction
from .ir import UnsupportedError
from .jit import Kernel, schedule
from .lower import infer
from .pool import Pool, address_of
from .steps import StepTable

__all__ = ["TIERS", "BoundMasked", "BoundReduction", "BoundRun", "BoundSteps", "ready_kernel", "tier"]

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
    waiting = tier() == "compiled"
    future = schedule(key, build, waiting)
    if future is None or not (waiting or future.done()):
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


class BoundMasked:
    """A run that gives its own validity, for blocks of one size."""

    def __init__(self, run: Run, size: tuple[int, int], pool: Pool) -> None:
        given = infer(run.sink)
        self._run = run
        self._shape = (len(given.time), len(given.bands), *size)
        self._values = pool.shelf(self._shape, given.dtype)
        self._valid = pool.shelf(self._shape, np.dtype(bool))
        self._tables = [_table_addresses(run, band) for band in range(len(given.bands))]

    def __call__(self, blocks: Sequence[Block]) -> Block | None:
        """Evaluate on blocks [time, band, y, x] of the inputs; None if there is no code for it to run."""
        times, bands, rows, columns = self._shape
        kernel = ready_kernel(f"{self._run.key} own validity", partial(build_masked, self._run))
        if kernel is None or rows * columns < kernel.lanes:
            return None
        values, _address = self._values.take()
        valid, _address = self._valid.take()
        arrays = [planes_of(array) for array in (*(k.values for k in blocks), *(k.valid for k in blocks))]
        planes = [plane_addresses(array, times, bands) for array in arrays]
        targets = [plane_addresses(array, times, bands) for array in (values, valid)]
        for time in range(times):
            for band in range(bands):
                given = [plane[time][band] for plane in planes]
                inputs = [*given[: len(blocks)], *self._tables[band], *given[len(blocks) :]]
                kernel(inputs, [plane[time][band] for plane in targets], rows * columns)
        return Block(values, valid)


class BoundSteps:
    """A `step_lookup` for blocks of one size: sums of terms looked up and what becomes of them."""

    def __init__(self, node: Expr, size: tuple[int, int], pool: Pool) -> None:
        self._table: StepTable = node.args["table"]
        self._steps = self._table.steps
        self._size = size[0] * size[1]
        self._values = pool.shelf((1, 1, *size), infer(node).dtype)
        self._defined = pool.shelf((1, 1, *size), np.dtype(bool))

    def __call__(self, blocks: Sequence[Block]) -> Block | None:
        """Evaluate on codes [time, 1, y, x]; None if there is no code for it to run."""
        codes = planes_of(np.asarray(blocks[0].values, dtype=np.uint16))
        planes = [step[0] for step in plane_addresses(codes, self._steps, 1)]
        whole = np.asarray(blocks[0].valid.all(axis=(0, 1)))
        rows, start = self._table.rows
        low = self._table.low_codes
        given = DigitSums(self._steps, low, rows.shape[1] - low, len(start), self._table.form.code)
        kernel = ready_kernel(given.key, partial(build_digit_sums, given))
        if kernel is None or self._size < kernel.lanes:
            return None
        values, address = self._values.take()
        defined, other = self._defined.take()
        kernel([*planes, address_of(rows), address_of(start)], [address, other], self._size)
        return Block(values, whole[None, None] & defined if given.has_mask else whole[None, None])


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
        marks = tuple(block.nodata if isinstance(block, NodataBlock) else None for block in blocks)
        planes = [block.valid for block, mark in zip(blocks, marks, strict=True) if mark is None]
        coded, valid = len(planes) < len(blocks), all_valid(planes) if planes else None
        mask = None if valid is None or (len(valid) == 1 and not coded) else planes_of(valid)
        masks = 0 if mask is None else len(mask)
        count = self._shape[2] * self._shape[3]
        kernel = self._kernel(masks, marks)
        if kernel is None or count < kernel.lanes:
            return None
        values, _address = self._values.take()
        outputs = [values]
        if coded or masks:
            valid, _address = self._valid.take()
            outputs.append(valid)
        assert valid is not None
        arrays = [planes_of(block.values) for block in blocks]
        given, masked = [self._by_band(array) for array in arrays], [] if mask is None else self._by_band(mask)
        targets = [self._by_band(output)[0] for output in outputs]
        for band in range(self._shape[1]):
            inputs = [plane[band] for planes in given for plane in planes] + self._tables[band]
            kernel([*inputs, *(plane[band] for plane in masked)], [target[band] for target in targets], count)
        return Block(values, valid)

    def _kernel(self, masks: int, marks: tuple[Any, ...]) -> Kernel | None:
        if self._run.reducer == "count" and not masks and not any(mark is not None for mark in marks):
            return None
        told = [None if mark is None else mark.item() for mark in marks]
        return ready_kernel(f"{self._run.key} {masks} {told}", partial(build_reduction, self._run, masks, marks))

    def _by_band(self, array: Array) -> list[list[int]]:
        return plane_addresses(array, len(array), self._shape[1])
