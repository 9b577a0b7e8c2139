"""The tasks that executors run: pure functions of a packed expression and a region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from esd.block import Block
from esd.expr import Expr
from esd.grid import Region, tiles
from esd.reducer import State

from .compiled import ready_kernel
from .packing import Packed, pack, unpack
from .pool import thread_pool
from .program import Program, evaluate
from .store import Store, open_store
from .total_order import TOTAL_BLOCK
from .totals import Total

__all__ = ["ComputeTile", "TotalStates", "WriteTile"]


@dataclass(frozen=True)
class ComputeTile:
    """Computes a region of an expression that has been lowered and optimized."""

    root: Expr

    def __call__(self, region: Region) -> Block:
        """Return the block of a region."""
        return evaluate(self.root, region)

    def __reduce__(self) -> tuple[Any, ...]:
        return _compute_tile, (pack(self.root),)


def _compute_tile(packed: Packed) -> ComputeTile:
    return ComputeTile(unpack(packed))


@dataclass(frozen=True)
class WriteTile:
    """Computes a shard of a store in tiles of `side` pixels and writes it; returns the checksum of what was written."""

    root: Expr
    store: Store
    side: int

    def __call__(self, region: Region) -> str:
        """Compute and write one shard; the same shard twice gives the same files."""
        shard = self.store.empty(region)
        for part in tiles(region, self.side):
            self.store.fill_in(shard, region, part, evaluate(self.root, part))
        opened = open_store(self.store)
        opened.write(region, shard)
        return opened.checksum(region)

    def __reduce__(self) -> tuple[Any, ...]:
        return _write_tile, (pack(self.root), self.store, self.side)


def _write_tile(packed: Packed, store: Store, side: int) -> WriteTile:
    return WriteTile(unpack(packed), store, side)


@dataclass(frozen=True)
class TotalStates:
    """Computes the states of the blocks in a region for a `reduce_all`: numbers, not pixels, leave the worker."""

    root: Expr

    def __call__(self, region: Region) -> dict[Region, State]:
        """Return the state of each block; `region` is cut at multiples of the block's side."""
        total = Total(self.root, Program, ready_kernel, thread_pool())
        return {part: total.state_of(evaluate(self.root.src[0], part)) for part in tiles(region, TOTAL_BLOCK)}

    def __reduce__(self) -> tuple[Any, ...]:
        return _total_states, (pack(self.root),)


def _total_states(packed: Packed) -> TotalStates:
    return TotalStates(unpack(packed))
