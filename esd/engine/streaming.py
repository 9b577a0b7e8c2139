"""Reducers of deep stacks in groups of times, so that a stack of any depth takes the memory of one group.

`reduce(stack, "mean")` becomes a chain of `accumulate`, each of which takes the state so far and the next group of times,
and an `accumulated`, which turns the last state into the result. The bytes are those of the reducer on the whole stack: sums
go on in the order of time in float64 (int64 for integers), and the moments of variances are merged in groups of eight times,
which every group is a multiple of (`esd.reducer`). Medians and percentiles need all times at once: their tiles shrink.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from esd.block import Array, Block, Mask
from esd.expr import Expr
from esd.operator import ENGINE, Tile, get_operator, operator
from esd.reducer import State, get_reducer
from esd.space import CubeType, Space

from .lower import infer
from .pushing import rebuild

__all__ = ["GROUPS", "at_times", "stream_reductions"]

GROUPS = (64, 32, 16, 8)
"""Times of a group, the largest that memory allows."""
MOMENTS = frozenset({"variance", "std", "sample_std", "sample_variance"})
FIELDS = {"count": 1, **dict.fromkeys(("sum", "mean", "product", "all", "any", "min", "max", "first", "last"), 2)}
FIELDS |= dict.fromkeys((*MOMENTS, "argmin", "argmax"), 3)
"""Arrays in the state of each reducer that streams."""
IN_ORDER = {"sum": (np.add, 0), "mean": (np.add, 0), "product": (np.multiply, 1)}
"""Reducers that go on value by value: how, and from what."""
NARROWED = frozenset({"rename", "select", "embedding", "update_mask", "reproject"})
"""Operators that give for some times what they give for all, besides those per pixel."""


@dataclass(frozen=True)
class Reduction:
    """The `reduce` node that a chain stands for."""

    expr: Expr

    @property
    def token(self) -> str:
        """Hash of the expression."""
        return self.expr.key

    @property
    def name(self) -> str:
        """Name of the reducer."""
        return str(self.expr.args["reducer"])

    @property
    def source(self) -> CubeType:
        """Type of what is reduced."""
        return infer(self.expr.src[0])

    @property
    def state_dtype(self) -> np.dtype[Any]:
        """Dtype that holds every array of a state without loss."""
        whole = self.source.dtype.kind != "f" and self.name not in MOMENTS | {"product"}
        return np.dtype(np.int64 if whole else np.float64)

    def __repr__(self) -> str:
        return f"<{self.name} of {len(self.source.time)} times>"

    def state_of(self, planes: Array, seen: int) -> State:
        """Return the reducer's state that planes [field, band, y, x] hold after `seen` times."""
        like = np.empty(0, dtype=self.source.dtype)
        if self.name in ("sum", "mean"):
            return planes[0], planes[1], like
        if self.name in MOMENTS:
            return planes[0], planes[1], planes[2], like
        if self.name == "product":
            return planes[0], planes[1].astype(bool), like
        if self.name in ("all", "any"):
            return planes[0].astype(bool), planes[1].astype(bool)
        if self.name == "count":
            return (planes[0].astype(np.int64),)
        best = planes[0].astype(like.dtype)
        if FIELDS[self.name] == 2:
            return best, planes[1].astype(bool)
        return best, planes[1].astype(np.int32), planes[2].astype(bool), seen

    def advance(self, planes: Array | None, values: Array, valid: Mask, seen: int) -> Array:
        """Return the planes after the next times; `seen` are those before."""
        reducer, fields = get_reducer(self.name), FIELDS[self.name]
        if planes is None:
            return self._planes(reducer.chunk(values, valid)[:fields])
        if self.name in IN_ORDER:
            total, (add, nothing) = planes.copy(), IN_ORDER[self.name]
            for value, mask in zip(values, valid, strict=True):
                add(total[0], np.where(mask, value, value.dtype.type(nothing)), out=total[0])
                total[1] += mask
            return total
        assert reducer.combine is not None
        state = reducer.combine(self.state_of(planes, seen), reducer.chunk(values, valid))
        return self._planes(state[:fields])

    def _planes(self, state: State) -> Array:
        return np.stack([np.asarray(array).astype(self.state_dtype) for array in state])


def _work(given: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    """Bytes of the group as its values are widened and masked, and of a state beside those before and after."""
    return pixels * (2 * given[-1].bytes_per_pixel + given[0].bytes_per_pixel)


def _accumulate_rule(*_given: CubeType, reduction: Reduction, **_args: int) -> CubeType:
    source = reduction.source
    bands = tuple(f"{field} {band}" for field in range(FIELDS[reduction.name]) for band in source.bands)
    return CubeType(source.grid, source.time[:1], bands, reduction.state_dtype, Space.VALUE)


@operator(ENGINE, Tile.TIME, _accumulate_rule, Space.ANY, work=_work, interpreted="a group's state is on its way")
def accumulate(*images: Block, reduction: Reduction, seen: int) -> Block:
    """Take the next times into the state of a reducer; the engine puts this in for stacks too deep for the memory."""
    state, part = (None, images[0]) if len(images) == 1 else images
    rows, columns = part.values.shape[2:]
    planes = None if state is None else state.values.reshape(FIELDS[reduction.name], -1, rows, columns)
    after = reduction.advance(planes, part.values, part.full_valid, seen)
    return Block(after.reshape(1, -1, rows, columns), np.ones((1, 1, rows, columns), dtype=bool))


def _accumulated_rule(_state: CubeType, *, reduction: Reduction) -> CubeType:
    return infer(reduction.expr)


@operator(ENGINE, Tile.TIME, _accumulated_rule, Space.ANY, interpreted="one pass over a state is as fast in NumPy")
def accumulated(state: Block, reduction: Reduction) -> Block:
    """Turn the state of a reducer into its result; the engine puts this in for stacks too deep for the memory."""
    source = reduction.source
    planes = state.values.reshape(FIELDS[reduction.name], -1, *state.values.shape[2:])
    values, valid = get_reducer(reduction.name).finalize(reduction.state_of(planes, len(source.time)))
    return Block(values[None], np.asarray(valid)[None])


def _pick_rule(image: CubeType, *, start: int, end: int) -> CubeType:
    return image.with_(time=image.time[start:end])


@operator(ENGINE, Tile.STRUCTURE, _pick_rule, Space.ANY)
def pick_times(image: Block, start: int, end: int) -> Block:
    """Choose the times at positions `start` to `end`; the engine puts this in where a stack is looked at in groups."""
    return image.pick(times=range(start, end))


Piece = tuple[Expr, int, int]


def _members(node: Expr, start: int, end: int) -> list[Piece]:
    """Return the members of a stack that hold the times, and which of theirs."""
    pieces, offset = list[Piece](), 0
    for member in node.src:
        count = len(infer(member).time)
        first, last = max(start - offset, 0), min(end - offset, count)
        if first < last:
            pieces.append((member, first, last))
        offset += count
    return pieces


def _pieces(node: Expr, start: int, end: int) -> list[Piece] | None:
    """Return what some times of a node are made of; None where they cannot be had without the others."""
    given = infer(node)
    if node.op == "stack":
        same = len({infer(member).dtype for member in node.src}) == 1
        return _members(node, start, end) if same else None
    if not (get_operator(node.op).function is not None or node.op in NARROWED):
        return None
    lengths = [len(infer(source).time) for source in node.src]
    count = len(given.time)
    return [(s, start, end) if n == count else (s, 0, n) for s, n in zip(node.src, lengths, strict=True)]


def _narrowed(node: Expr, start: int, end: int, sources: Sequence[Expr] | None) -> Expr:
    """Return some times of a node, given those of its inputs, or of a leaf."""
    if sources is not None:
        return sources[0] if node.op == "stack" and len(sources) == 1 else node.with_src(tuple(sources))
    if node.op == "stored":
        return Expr("stored", (), {"source": node.args["source"].at_times(start, end)})
    if node.op == "decode":
        dekads = node.args["dekads"] or range(len(infer(node).time))
        return Expr("decode", node.src, {**node.args, "dekads": tuple(dekads[start:end])})
    return Expr("pick_times", (node,), {"start": start, "end": end})


def at_times(root: Expr, start: int, end: int) -> Expr:
    """Return the times at positions `start` to `end` of a lowered expression, as near to the leaves as they can be."""
    done: dict[tuple[str, int, int], Expr] = {}
    waiting: list[Piece] = [(root, start, end)]
    while waiting:
        node, first, last = waiting[-1]
        whole = (first, last) == (0, len(infer(node).time))
        pieces = None if whole else _pieces(node, first, last)
        left = [piece for piece in pieces or () if (piece[0].key, *piece[1:]) not in done]
        if left:
            waiting += left
            continue
        sources = None if pieces is None else [done[source.key, a, b] for source, a, b in pieces]
        done[node.key, first, last] = node if whole else _narrowed(node, first, last, sources)
        waiting.pop()
    return done[root.key, start, end]


def _streams(node: Expr, group: int) -> bool:
    if node.op != "reduce" or node.args["reducer"] not in FIELDS:
        return False
    given = infer(node.src[0])
    return len(given.time) > group and given.dtype != np.uint64


def _stream(node: Expr, group: int) -> Expr:
    if not _streams(node, group):
        return node
    source, reduction, state = node.src[0], Reduction(node), list[Expr]()
    count = len(infer(source).time)
    for start in range(0, count, group):
        part = at_times(source, start, min(start + group, count))
        state = [Expr("accumulate", (*state, part), {"reduction": reduction, "seen": start})]
    return Expr("accumulated", (state[0],), {"reduction": reduction})


def stream_reductions(root: Expr, group: int) -> Expr:
    """Return an optimized expression with its reducers of more than `group` times as chains; itself where there are none."""
    return rebuild(root, partial(_stream, group=group))
