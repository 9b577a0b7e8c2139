"""Reduction of a whole image to one number a time and band: block by block, merged in the order of the blocks.

The order of a sum is part of its definition, so that no tiling, tier or number of threads changes a bit. Blocks are those of
256 x 256 pixels of the grid, row by row. Inside of a block the pixels, row by row and filled up with zeros, are taken in
groups of 16 x 64: the sixteen rows of a group are added in the dtype of floats, the groups in float64 (int64 for integers),
and the 64 columns in halves: 0 + 32, 1 + 33, ... then 0 + 16, ... . Blocks are added in float64. A partial sum of sixteen
numbers is what float32 rounds at most, so that the error is that of a sum in float64, not that of a running float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from esd.block import Array, Block, Mask
from esd.expr import Expr
from esd.grid import Region, region_of, tiles
from esd.reducer import State, get_reducer

from .jit import Kernel
from .lower import infer
from .pool import Pool, address_of
from .total_code import build_total
from .total_order import GROUP, TOTAL_BLOCK, block_sum, padded

__all__ = ["Total"]

Get = Callable[[str, Callable[[], Kernel]], Kernel | None]
Make = Callable[[Expr, Region], Callable[[], Block]]


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float64 if dtype.kind == "f" else np.int64)


class Total:
    """A `reduce_all` node, ready to be evaluated.

    `make` gives what evaluates the input on a region, `ready` the code of a structure or None.
    """

    def __init__(self, node: Expr, make: Make, ready: Get, pool: Pool) -> None:
        self._source = node.src[0]
        self._reducer = get_reducer(node.args["reducer"])
        self._ready = ready
        given = infer(self._source)
        self._planes = (len(given.time), len(given.bands))
        parts = list(tiles(region_of(given.grid), TOTAL_BLOCK)) if given.grid is not None else []
        self._parts = [partial(_evaluate_late, make, self._source, part) for part in parts]
        self._shelf = pool.shelf((*self._planes, 1, 1), infer(node).dtype)
        self._valid = np.ones((1, 1, 1, 1), dtype=bool)
        self._static: tuple[Callable[[int], None], Array] | None = None
        self._whole = make(self._source, parts[0]) if len(parts) == 1 else None

    def __call__(self) -> Block:
        """Evaluate."""
        if self._static is not None:
            values, address = self._shelf.take()
            self._static[0](address)
            return Block(values, self._valid)
        if self._whole is not None:
            block = self._whole()
            if self._bind(block):
                return self()
            return self.finish(self.state_of(block))
        states = (self.state_of(part()) for part in self._parts)
        state = next(states)
        for other in states:
            assert self._reducer.combine is not None
            state = self._reducer.combine(state, other)
        return self.finish(state)

    def _bind(self, block: Block) -> bool:
        """Bind the code to an image in memory that is valid all over: a call is then one of the code."""
        values, name = block.values, self._reducer.name
        whole = values.size == values.shape[2] * values.shape[3] and bool(values.flags.c_contiguous)
        if self._source.op != "array" or name not in CODED or not whole or values.size % GROUP or not block.valid.all():
            return False
        kernel = self._ready(f"{name} {values.dtype.str} {self._shelf.dtype.str}", _builder(name, values, self._shelf.dtype))
        if kernel is None:
            return False
        self._static = kernel.bind([address_of(values)], values.size), values
        return True

    def state_of(self, block: Block) -> State:
        """Return the state of a block: the reducer's, each array [time, band]."""
        name, valid = self._reducer.name, block.full_valid
        count = valid.sum(axis=(2, 3), dtype=np.int64)
        if name in ("sum", "mean"):
            return self._sum(block.values, valid), count, block.values.reshape(-1)[:0]
        if name == "count":
            return (count,)
        if name in ("min", "max"):
            flat = (a.reshape(*self._planes, -1).transpose(2, 0, 1) for a in (block.values, valid))
            return self._reducer.chunk(*flat)
        numbers = block.values.astype(np.float64)
        mean = self._sum(numbers, valid) / np.maximum(count, 1)
        squares = self._sum((numbers - mean[..., None, None]) ** 2, valid)
        return count, mean, squares, block.values.reshape(-1)[:0]

    def _sum(self, values: Array, valid: Mask) -> Array:
        """Return the sums [time, band] of the planes of a block."""
        total = np.zeros(self._planes, dtype=_wide(values.dtype))
        kernel = self._ready(f"sum masked {values.dtype.str}", _builder("sum", values, total.dtype, masked=True))
        for time in range(self._planes[0]):
            for band in range(self._planes[1]):
                numbers, mask = padded(values[time, band]), padded(valid[time, band])
                if kernel is None:
                    total[time, band] = block_sum(numbers, mask)
                else:
                    target = address_of(total) + (time * self._planes[1] + band) * total.itemsize
                    kernel([address_of(numbers), address_of(mask)], [target], numbers.size)
        return total

    def finish(self, state: State) -> Block:
        """Return the result of the merged states of all blocks."""
        values, valid = self._reducer.finalize(state)
        shape = (*self._planes, 1, 1)
        return Block(values.reshape(shape), valid.reshape(shape))


CODED = frozenset({"sum", "mean", "min", "max"})
"""Reducers that have code for a block that is valid all over."""


def _evaluate_late(make: Make, source: Expr, part: Region) -> Block:
    return make(source, part)()


def _builder(name: str, values: Array, target: np.dtype[Any], masked: bool = False) -> Callable[[], Kernel]:
    return partial(build_total, name, values.dtype, target, values.size, masked)
