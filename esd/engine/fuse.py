"""Fusion: runs of per-pixel operators that are computed in one pass over their inputs.

A run ends in a node that something outside looks at, and takes in every per-pixel input that only the run itself uses, as
long as times and bands stay as many. So each run has one result, and nothing is computed twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from esd.expr import Expr, postorder
from esd.operator import get_operator

from .emit import EMITTERS
from .ir import Builder, UnsupportedError, Value, memory_type
from .jit import Kernel, compile_ir, loop_function
from .lower import infer
from .rewrite import consumers_of

__all__ = ["Run", "build_kernel", "runs_of"]

VECTOR_BYTES = 64
SHORTEST = 2
"""Operators that a run must have: one alone is computed as fast by NumPy."""


@dataclass(frozen=True)
class Run:
    """A run of per-pixel operators: `nodes` in order, the last one its result; `inputs` come from outside, no constants."""

    nodes: tuple[Expr, ...]
    inputs: tuple[Expr, ...]
    key: str

    @property
    def sink(self) -> Expr:
        """The node whose result the run gives."""
        return self.nodes[-1]


def _fusable(node: Expr) -> bool:
    return infer(node).grid is not None and (node.op == "rename" or get_operator(node.op).emit is not None)


def _shape(node: Expr) -> tuple[int, int]:
    given = infer(node)
    return len(given.time), len(given.bands)


def _members(sink: Expr, users: Mapping[str, list[Expr]]) -> dict[str, Expr]:
    """Return the nodes of the run that ends in `sink`: users before what they use."""
    members = {sink.key: sink}
    waiting = [sink]
    while waiting:
        node = waiting.pop()
        for source in node.src:
            if source.key in members or not _fusable(source) or _shape(source) != _shape(sink):
                continue
            if all(user.key in members for user in users[source.key]):
                members[source.key] = source
                waiting.append(source)
    return members


def _spell(nodes: Sequence[Expr], inputs: Sequence[Expr]) -> str:
    """Return a hash of what a run computes, whatever its inputs hold."""
    number = {node.key: f"n{i}" for i, node in enumerate(nodes)} | {node.key: f"i{i}" for i, node in enumerate(inputs)}
    lines = [f"{number[node.key]} {infer(node).dtype.str}" for node in inputs]
    for node in nodes:
        sources = [number.get(source.key) or f"c{source.args['value']!r}" for source in node.src]
        lines.append(
            f"{number[node.key]} {infer(node).dtype.str} {node.op} {sources} {node.arg if node.op != 'rename' else ''}"
        )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _run(sink: Expr, users: Mapping[str, list[Expr]], order: Mapping[str, int]) -> Run:
    members = _members(sink, users)
    nodes = tuple(sorted(members.values(), key=lambda node: order[node.key]))
    outside = [s for node in nodes for s in node.src if s.key not in members and infer(s).grid is not None]
    inputs = tuple({source.key: source for source in outside}.values())
    return Run(nodes, inputs, _spell(nodes, inputs))


_RUNS: WeakKeyDictionary[Expr, dict[str, Run]] = WeakKeyDictionary()


def runs_of(root: Expr) -> dict[str, Run]:
    """Return the runs of a graph by the key of their results; nodes of a run that are not its result appear in none."""
    known = _RUNS.get(root)
    if known is None:
        users = consumers_of(root)
        nodes = list(postorder(root))
        order = {node.key: i for i, node in enumerate(nodes)}
        known, inside = {}, set[str]()
        for node in reversed(nodes):
            if node.key in inside or not _fusable(node):
                continue
            run = _run(node, users, order)
            inside.update(member.key for member in run.nodes[:-1])
            if sum(member.op != "rename" for member in run.nodes) >= SHORTEST:
                known[node.key] = run
            else:
                inside.difference_update(member.key for member in run.nodes[:-1])
        _RUNS[root] = known
    return known


def _loop_dtypes(node: Expr, operands: Sequence[Value | float]) -> tuple[list[np.dtype[Any]], np.dtype[Any]]:
    """Return the dtypes in which NumPy computes a node, for each operand, and the dtype of the result."""
    function = get_operator(node.op).function
    result = infer(node).dtype
    if not isinstance(function, np.ufunc):
        return [result] * len(operands), result
    given: list[Any] = [_kind(operand) for operand in operands]
    resolved = function.resolve_dtypes((*given, *([None] * function.nout)))
    return [np.dtype(dtype) for dtype in resolved[: len(operands)]], np.dtype(resolved[len(operands)])


def _kind(operand: Value | float) -> Any:
    """Return what NumPy's promotion asks for: a dtype, or the type of a Python number, which takes what it meets."""
    if isinstance(operand, Value):
        return operand.dtype
    return np.dtype(bool) if isinstance(operand, bool) else type(operand)


def _emit_node(b: Builder, node: Expr, operands: Sequence[Value | float]) -> Value:
    declared = get_operator(node.op)
    loop, result = _loop_dtypes(node, operands)
    values = [
        b.cast(operand, dtype) if isinstance(operand, Value) else b.constant(operand, dtype)
        for operand, dtype in zip(operands, loop, strict=True)
    ]
    emitted = EMITTERS[str(declared.emit)](b, values, node.args)
    if emitted.dtype != result:
        raise UnsupportedError(f"{node.op} gives {emitted.dtype}, not {result}")
    return emitted


def build_kernel(run: Run) -> Kernel:
    """Compile a run. Raises UnsupportedError for dtypes that have no vector code."""
    types = [infer(node).dtype for node in run.inputs]
    target = infer(run.sink).dtype
    widest = max(dtype.itemsize for dtype in (*types, target, *(infer(node).dtype for node in run.nodes)))
    b = Builder(VECTOR_BYTES // max(widest, 4))
    values: dict[str, Value] = {}
    for i, (node, dtype) in enumerate(zip(run.inputs, types, strict=True)):
        values[node.key] = _load(b, i, dtype)
    for node in run.nodes:
        if node.op == "rename":
            values[node.key] = values[node.src[0].key]
            continue
        operands = [values.get(s.key) or s.args["value"] for s in node.src]
        values[node.key] = _emit_node(b, node, operands)
    _store(b, values[run.sink.key])
    return compile_ir(loop_function(b, types, [target], b.block), b.lanes)


def _load(b: Builder, index: int, dtype: np.dtype[Any]) -> Value:
    stored = b.vector(memory_type(dtype))
    if dtype.kind != "b":
        return b.emit(f"load {stored}, ptr %in{index}, align {dtype.itemsize}", dtype)
    bytes_ = b.emit(f"load {stored}, ptr %in{index}, align 1", np.dtype(np.uint8))
    return b.compare("ne", bytes_, b.constant(0, bytes_.dtype))


def _store(b: Builder, value: Value) -> None:
    if value.dtype.kind == "b":
        value = b.emit(f"zext {b.vector('i1')} {value.name} to {b.vector('i8')}", np.dtype(np.uint8))
    b.lines.append(f"  store {b.vector(memory_type(value.dtype))} {value.name}, ptr %out0, align {value.dtype.itemsize}")
