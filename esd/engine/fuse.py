"""Fusion: runs of per-pixel operators that are computed in one pass over their inputs.

A run ends in a node that something outside looks at, and takes in every per-pixel input that only the run itself uses, as
long as times and bands stay as many. So each run has one result, and nothing is computed twice. A reducer of time may be the
end of a run: the values of all times are then never written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from esd.block import Array
from esd.expr import Expr, postorder
from esd.operator import get_operator

from .emit import EMITTERS
from .ir import Builder, UnsupportedError, Value, memory_type
from .jit import Kernel, compile_ir, loop_function
from .lower import infer
from .reductions import Stack, emit_reduction, has_code
from .rewrite import consumers_of

__all__ = ["Run", "build_kernel", "build_reduction", "build_steps", "runs_of"]

VECTOR_BYTES = 64
BOOL = np.dtype(bool)
SHORTEST = 2
"""Operators that a run must have: one alone is computed as fast by NumPy."""
TRANSCENDENTAL = frozenset({"exp", "ln", "sin", "cos"})
INTERLEAVED = 4
"""Vectors that a run of long polynomials computes at a time: one alone waits for its own results most of the time."""
MOST_TIMES = 256
"""Times that a reducer holds in registers and their spill; deeper stacks are interpreted."""
MOST_REPEATED = 1500
"""Operators times times beyond which a run is not repeated inside of a reducer."""


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

    @property
    def reducer(self) -> str | None:
        """The reducer of time that the run ends in, if it does."""
        return str(self.sink.args["reducer"]) if self.sink.op == "reduce" else None

    @property
    def tables(self) -> list[Array]:
        """The tables that the run looks codes up in, [band, code] each, in the order of its nodes."""
        return [node.args["table"].values for node in self.nodes if node.op == "lookup"]

    @property
    def times(self) -> int:
        """How many times the run computes per-pixel values of."""
        return len(infer(self.sink.src[0] if self.sink.op == "reduce" else self.sink).time)


def _fusable(node: Expr) -> bool:
    if infer(node).grid is None:
        return False
    if node.op == "lookup":
        return node.args["table"].valid is None
    return node.op == "rename" or get_operator(node.op).emit is not None


def _shape(node: Expr) -> tuple[int, int]:
    given = infer(node)
    return len(given.time), len(given.bands)


def _reducible(node: Expr) -> bool:
    return node.op == "reduce" and has_code(node.args["reducer"]) and len(infer(node.src[0]).time) <= MOST_TIMES


def _reduced_members(node: Expr, users: Mapping[str, list[Expr]]) -> dict[str, Expr]:
    """Return the nodes of the run that ends in a reducer: with the run before it, where computing that in place pays."""
    source = node.src[0]
    if _fusable(source) and len(users[source.key]) == 1:
        members = _members(source, users)
        if len(members) * len(infer(source).time) <= MOST_REPEATED and not any(m.op in COSTLY for m in members.values()):
            return {node.key: node} | members
    return {node.key: node}


COSTLY = TRANSCENDENTAL | {"power", "mod"}
"""Operators whose code is too long to be repeated for every time."""


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
    reduced = nodes[-1].op == "reduce"
    lines = [f"{number[node.key]} {infer(node).dtype.str} {len(infer(node).time) if reduced else ''}" for node in inputs]
    for node in nodes:
        sources = [number.get(source.key) or f"c{source.args['value']!r}" for source in node.src]
        arguments = "" if node.op in ("rename", "lookup") else node.arg
        lines.append(f"{number[node.key]} {infer(node).dtype.str} {node.op} {sources} {arguments}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _run(sink: Expr, users: Mapping[str, list[Expr]], order: Mapping[str, int]) -> Run:
    members = _reduced_members(sink, users) if sink.op == "reduce" else _members(sink, users)
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
            reducible = _reducible(node)
            if node.key in inside or not (reducible or _fusable(node)):
                continue
            run = _run(node, users, order)
            if reducible or sum(SHORTEST if m.op == "lookup" else m.op != "rename" for m in run.nodes) >= SHORTEST:
                known[node.key] = run
                inside.update(member.key for member in run.nodes[:-1])
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


def _lanes(run: Run) -> int:
    """Return the elements of a vector: those of the widest dtype, beside what a reducer sums in."""
    nodes = [*run.inputs, *(node for node in run.nodes if node.op != "reduce")]
    chains = INTERLEAVED if any(node.op in TRANSCENDENTAL for node in nodes) else 1
    return chains * VECTOR_BYTES // max(4, *(infer(node).dtype.itemsize for node in nodes))


def _emit_nodes(b: Builder, run: Run, values: dict[str, Value], first_table: int) -> None:
    """Add the code of a run's per-pixel nodes; `values` holds those of its inputs, and takes the results."""
    table = first_table
    for node in run.nodes:
        if node.op == "lookup":
            values[node.key] = b.gather(f"%inb{table}", values[node.src[0].key], infer(node).dtype)
            table += 1
        elif node.op == "rename":
            values[node.key] = values[node.src[0].key]
        elif node.op != "reduce":
            operands = [values.get(s.key) or s.args["value"] for s in node.src]
            values[node.key] = _emit_node(b, node, operands)


def _table_types(run: Run) -> list[np.dtype[Any]]:
    return [infer(node).dtype for node in run.nodes if node.op == "lookup"]


def build_kernel(run: Run) -> Kernel:
    """Compile a run: planes of its inputs, then its tables. Raises UnsupportedError for dtypes that have no vector code."""
    types = [infer(node).dtype for node in run.inputs]
    b = Builder(_lanes(run))
    values = {node.key: _load(b, i, infer(node).dtype) for i, node in enumerate(run.inputs)}
    _emit_nodes(b, run, values, len(types))
    types += _table_types(run)
    _store(b, values[run.sink.key], 0)
    return compile_ir(loop_function(b, types, [infer(run.sink).dtype], b.block), b.lanes)


def build_reduction(run: Run, masked: bool) -> Kernel:
    """Compile a run that ends in a reducer of time.

    Its inputs are the planes of each input, as many as it has times, then its tables, then, if `masked`, a plane of validity
    for each time; its outputs the result and, if `masked`, where it is valid. Raises UnsupportedError for dtypes without
    vector code.
    """
    b, types = Builder(_lanes(run)), list[np.dtype[Any]]()
    stacks: dict[str, list[Value]] = {}
    for node in run.inputs:
        given = infer(node)
        stacks[node.key] = [_load(b, len(types) + i, given.dtype) for i in range(len(given.time))]
        types += [given.dtype] * len(given.time)
    results, first_table = [], len(types)
    types += _table_types(run)
    for time in range(run.times):
        values = {key: planes[time if len(planes) > 1 else 0] for key, planes in stacks.items()}
        _emit_nodes(b, run, values, first_table)
        results.append(values[run.sink.src[0].key])
    masks = [_load(b, len(types) + i, BOOL) for i in range(run.times)] if masked else None
    types += [BOOL] * (run.times if masked else 0)
    reduced = emit_reduction(b, str(run.reducer), Stack(results, masks))
    if reduced.value.dtype != infer(run.sink).dtype:
        raise UnsupportedError(f"{run.reducer} gives {reduced.value.dtype}, not {infer(run.sink).dtype}")
    _store(b, reduced.value, 0)
    if masked:
        _store(b, reduced.valid or b.compare("eq", b.constant(0, BOOL), b.constant(0, BOOL)), 1)
    outputs = [infer(run.sink).dtype, *([BOOL] if masked else [])]
    return compile_ir(loop_function(b, types, outputs, b.block), b.lanes)


def build_steps(steps: int, codes: np.dtype[Any]) -> Kernel:
    """Compile the sum over the steps of terms looked up: planes of codes, then a table of float64 for each step."""
    terms = np.dtype(np.float64)
    b = Builder(VECTOR_BYTES // terms.itemsize)
    found = [b.gather(f"%inb{steps + step}", _load(b, step, codes), terms) for step in range(steps)]
    total = found[0]
    for term in found[1:]:
        total = b.binary("fadd", total, term)
    _store(b, total, 0)
    return compile_ir(loop_function(b, [codes] * steps + [terms] * steps, [terms], b.block), b.lanes)


def _load(b: Builder, index: int, dtype: np.dtype[Any]) -> Value:
    stored = b.vector(memory_type(dtype))
    if dtype.kind != "b":
        return b.emit(f"load {stored}, ptr %in{index}, align {dtype.itemsize}", dtype)
    return b.truth(b.emit(f"load {stored}, ptr %in{index}, align 1", dtype))


def _store(b: Builder, value: Value, output: int) -> None:
    if value.dtype.kind == "b":
        value = b.emit(f"zext {b.vector('i1')} {value.name} to {b.vector('i8')}", np.dtype(np.uint8))
    kind = b.vector(memory_type(value.dtype))
    b.lines.append(f"  store {kind} {value.name}, ptr %out{output}, align {value.dtype.itemsize}")
