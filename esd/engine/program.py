"""A program: all that evaluating an expression on a region needs, worked out once, so that a call does little but compute.

Results live in slots, freed after their last use; what lies in memory already (arrays, constants) is bound when the program
is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from esd.block import Block
from esd.expr import Expr, postorder
from esd.grid import Region
from esd.operator import Tile, get_operator

from .compiled import BoundMasked, BoundReduction, BoundRun, BoundSteps, ready_kernel, tier
from .fuse import Run, runs_of
from .lower import infer
from .nodes import LOCATED, crop, evaluate_node, pad
from .plan import halo_of, needed_regions
from .pool import Pool, thread_pool
from .scene import cut_whole
from .stop import checkpoint
from .totals import Total

__all__ = ["Program", "evaluate"]

Slots = list[Block | None]
Fit = Callable[[Block], Block]
Compiled = Callable[[Sequence[Block]], Block | None]
Interpret = Callable[[Sequence[Block]], Block]
NOWHERE = Region(0, 1, 0, 1)


@dataclass(frozen=True)
class _Input:
    """Where a step finds an input, and how it is cut or widened to what the step needs."""

    slot: int
    fit: Fit | None

    def of(self, slots: Slots) -> Block:
        block = slots[self.slot]
        assert block is not None
        return block if self.fit is None else self.fit(block)


@dataclass(frozen=True)
class _Step:
    """Computes one slot; `frees` are the slots that nothing needs after it."""

    slot: int
    run: Callable[[Slots], Block]
    frees: tuple[int, ...]


def _fit(source: Expr, have: Region, want: Region) -> Fit | None:
    """Return what makes a block of an input cover `want`; None if it does already."""
    grid = infer(source).grid
    if grid is None or have == want:
        return None
    held = want.intersect(have)
    return lambda block: pad(crop(block, have, held), held, want)


class Program:
    """An expression on a region, ready to be evaluated any number of times, by one thread at a time.

    Calling it returns the block of the region; its memory comes from `pool` and goes back when nobody holds the block.
    `only` forces a tier, whatever ESD_TIER says.
    """

    def __init__(self, root: Expr, region: Region, pool: Pool | None = None, only: str | None = None) -> None:
        self._regions = needed_regions(root, region)
        self._pool = thread_pool() if pool is None else pool
        runs = {} if (only or tier()) == "interpreted" else runs_of(root)
        inside = {node.key for run in runs.values() for node in run.nodes[:-1]}
        nodes = [node for node in postorder(root) if node.key not in inside and self._wanted(node)]
        self._slot = {node.key: number for number, node in enumerate(nodes)}
        self._first: Slots = [None] * len(nodes)
        last_use = _last_uses(nodes, runs)
        self._steps: list[_Step] = []
        for number, node in enumerate(nodes):
            if node.op in ("array", "constant"):
                self._first[number] = self._static(node)
                continue
            frees = self._freed(last_use.get(node.key, ()))
            self._steps.append(_Step(number, self._step(node, runs.get(node.key)), frees))
        self._root = self._slot[root.key]

    def _freed(self, keys: Sequence[str]) -> tuple[int, ...]:
        """Return the slots of inputs that may be freed: those in a slot, and not static."""
        slots = (self._slot[key] for key in keys if key in self._slot)
        return tuple(slot for slot in slots if self._first[slot] is None)

    def _wanted(self, node: Expr) -> bool:
        return node.key in self._regions or infer(node).grid is None

    def _region(self, node: Expr) -> Region:
        return self._regions.get(node.key, NOWHERE)

    def _static(self, node: Expr) -> Block:
        if node.op == "constant":
            return evaluate_node(node, ())
        return LOCATED["array"](node, self._region(node), evaluate)

    def _inputs(self, sources: Sequence[Expr], region: Region) -> list[_Input]:
        return [_Input(self._slot[s.key], _fit(s, self._region(s), region)) for s in sources]

    def _step(self, node: Expr, run: Run | None) -> Callable[[Slots], Block]:
        region = self._region(node)
        located = cut_whole if get_operator(node.op).tile is Tile.GLOBAL else LOCATED.get(node.op)
        if located is not None:
            return lambda _slots: located(node, region, evaluate)
        if node.op == "reduce_all":
            total = Total(node, partial(Program, pool=self._pool), ready_kernel, self._pool)
            return lambda _slots: total()
        if run is not None:
            return self._run_step(run, region)
        inputs = self._inputs(node.src, region.grow(halo_of(node)))
        if node.op == "step_lookup":
            steps = BoundSteps(node, region.shape, self._pool)
            return lambda slots: _or(steps, partial(evaluate_node, node), [given.of(slots) for given in inputs])
        return lambda slots: evaluate_node(node, [given.of(slots) for given in inputs])

    def _run_step(self, run: Run, region: Region) -> Callable[[Slots], Block]:
        inputs = self._inputs(run.inputs, region)
        static = [None if self._first[given.slot] is None else given.of(self._first) for given in inputs]
        interpret = partial(_interpret_run, run)
        if run.reducer is not None:
            reduction = BoundReduction(run, region.shape, self._pool)
            return lambda slots: _or(reduction, interpret, [given.of(slots) for given in inputs])
        if run.masked:
            masked = BoundMasked(run, region.shape, self._pool)
            return lambda slots: _or(masked, interpret, [given.of(slots) for given in inputs])
        bound = BoundRun(run, region.shape, static, self._pool)
        moving = [(i, given) for i, given in enumerate(inputs) if static[i] is None]
        if not moving:
            blocks = [block for block in static if block is not None]
            return lambda _slots: bound.on_static() or interpret(blocks)
        return lambda slots: _or(bound, interpret, [given.of(slots) for given in inputs])

    def __call__(self) -> Block:
        """Evaluate. Raises StoppedError where this thread's computation is to be stopped."""
        slots = self._first.copy()
        for step in self._steps:
            checkpoint()
            slots[step.slot] = step.run(slots)
            for number in step.frees:
                slots[number] = None
        block = slots[self._root]
        assert block is not None
        return block


def _or(compiled: Compiled, interpret: Interpret, blocks: Sequence[Block]) -> Block:
    return compiled(blocks) or interpret(blocks)


def _last_uses(nodes: Sequence[Expr], runs: Mapping[str, Run]) -> dict[str, list[str]]:
    """Return, for each node that is computed, the inputs that nothing needs after it."""
    last: dict[str, str] = {}
    for node in nodes:
        run = runs.get(node.key)
        for source in run.inputs if run is not None else node.src:
            last[source.key] = node.key
    ends: dict[str, list[str]] = {}
    for source_key, user in last.items():
        ends.setdefault(user, []).append(source_key)
    return ends


def _interpret_run(run: Run, inputs: Sequence[Block]) -> Block:
    """Evaluate a run node by node, while there is no code for it."""
    inner = {node.key: block for node, block in zip(run.inputs, inputs, strict=True)}
    last_use = {source.key: node.key for node in run.nodes for source in node.src}
    for node in run.nodes:
        blocks = [inner[source.key] if source.key in inner else evaluate_node(source, ()) for source in node.src]
        inner[node.key] = evaluate_node(node, blocks)
        for source in node.src:
            if last_use[source.key] == node.key:
                inner.pop(source.key, None)
    return inner[run.sink.key]


def evaluate(root: Expr, region: Region) -> Block:
    """Evaluate a lowered expression on a region of its grid; each node once, each result freed after its last use.

    Every NaN has the same bits: which of two NaN a processor hands on depends on how NumPy and compilers order operands,
    and so would the bytes of a result on where tiles are cut.
    """
    block = Program(root, region)()
    values = block.values
    if values.dtype.kind != "f" or not np.isnan(values.min(initial=0)):  # in one pass that writes nothing
        return block
    return Block(np.where(np.isnan(values), values.dtype.type(np.nan), values), block.valid)
