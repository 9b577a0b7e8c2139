"""Fusion: runs of per-pixel operators that are computed in one pass over their inputs.

A run ends in a node that something outside looks at, and takes in every per-pixel input that only the run itself uses, as
long as times and bands stay as many. So each run has one result, and nothing is computed twice. A reducer of time may be the
end of a run: the values of all times are then never written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from esd.block import Array
from esd.expr import Expr, postorder
from esd.operator import get_operator

from .emit import EMITTERS
from .ir import Builder, UnsupportedError, Value
from .jit import Kernel, compile_ir, loop_function
from .lower import infer
from .reductions import Stack, emit_reduction, has_code
from .rewrite import consumers_of
from .validity import MASKING, Cell, all_of

__all__ = ["Run", "build_kernel", "build_masked", "build_reduction", "runs_of"]

VECTOR_BYTES = 64
BOOL = np.dtype(bool)
CODE = np.dtype(np.uint16)
SHORTEST = 2
"""Operators that a run must have: one alone is computed as fast by NumPy, but for look-ups and long polynomials."""
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
    def masked(self) -> bool:
        """Whether the run has operators whose validity follows from values: it then gives its own validity."""
        return any(_makes_validity(node) for node in self.nodes)

    @property
    def times(self) -> int:
        """How many times the run computes per-pixel values of."""
        return len(infer(self.sink.src[0] if self.sink.op == "reduce" else self.sink).time)


def _makes_validity(node: Expr) -> bool:
    return get_operator(node.op).emit in MASKING


def _fusable(node: Expr) -> bool:
    if infer(node).grid is None or any(_computed_number(source) for source in node.src):
        return False
    if node.op == "lookup":
        return node.args["table"].valid is None
    return node.op == "rename" or get_operator(node.op).emit is not None


def _computed_number(node: Expr) -> bool:
    """Whether a node has no grid and is more than a number written down: the interpreter computes it, and what takes it."""
    return node.op != "constant" and infer(node).grid is None


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
        simple = not any(m.op in COSTLY or _makes_validity(m) for m in members.values())
        if simple and len(members) * len(infer(source).time) <= MOST_REPEATED:
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


def _weight(node: Expr) -> int:
    """Return for how many operators a node counts in the length of a run."""
    return SHORTEST if node.op == "lookup" or node.op in TRANSCENDENTAL else int(node.op != "rename")


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
            if reducible or sum(map(_weight, run.nodes)) >= SHORTEST:
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
    values = {node.key: b.load(i, infer(node).dtype) for i, node in enumerate(run.inputs)}
    _emit_nodes(b, run, values, len(types))
    types += _table_types(run)
    b.store(values[run.sink.key], 0)
    return compile_ir(loop_function(b, types, [infer(run.sink).dtype], b.block), b.lanes)


def build_masked(run: Run) -> Kernel:
    """Compile a run that gives its own validity.

    Inputs: planes of its inputs, its tables, then a plane of validity for each input. Outputs: the result, and where it is
    valid. Raises UnsupportedError for dtypes that have no vector code.
    """
    b = Builder(_lanes(run))
    types = [infer(node).dtype for node in run.inputs]
    tables = _table_types(run)
    values = {node.key: b.load(i, dtype) for i, (node, dtype) in enumerate(zip(run.inputs, types, strict=True))}
    first_mask = len(types) + len(tables)
    cells = {node.key: Cell(values[node.key], b.load(first_mask + i, BOOL)) for i, node in enumerate(run.inputs)}
    table = len(types)
    for node in run.nodes:
        operands = [cells.get(s.key) or Cell(s.args["value"], b.constant(True, BOOL)) for s in node.src]
        cells[node.key] = _emit_cell(b, node, operands, f"%inb{table}")
        table += node.op == "lookup"
    result = cells[run.sink.key]
    dtype = infer(run.sink).dtype
    b.store(result.as_dtype(b, dtype), 0)
    b.store(result.valid, 1)
    return compile_ir(loop_function(b, [*types, *tables, *[BOOL] * len(types)], [dtype, BOOL], b.block), b.lanes)


def _emit_cell(b: Builder, node: Expr, cells: Sequence[Cell], table: str) -> Cell:
    """Add the code of a node of a run that gives its own validity."""
    if node.op == "rename":
        return cells[0]
    if node.op == "lookup":
        return Cell(b.gather(table, cells[0].as_dtype(b, CODE), infer(node).dtype), cells[0].valid)
    masking = MASKING.get(str(get_operator(node.op).emit))
    if masking is not None:
        return masking(b, cells, node.args, infer(node).dtype)
    return Cell(_emit_node(b, node, [cell.value for cell in cells]), all_of(b, cells))


def build_reduction(run: Run, planes: int, marks: Sequence[Any]) -> Kernel:
    """Compile a run that ends in a reducer of time.

    Its inputs are the planes of each input, as many as it has times, then its tables, then `planes` of validity: one for
    each time, one for all, or none. `marks` has, for each input, the number that stands for "not valid" in it, or None. Its
    outputs are the result and, unless all is valid, where it is. Raises UnsupportedError for dtypes without vector code.
    """
    b, types = Builder(_lanes(run)), list[np.dtype[Any]]()
    stacks: dict[str, list[Value]] = {}
    for node in run.inputs:
        given = infer(node)
        stacks[node.key] = [b.load(len(types) + i, given.dtype) for i in range(len(given.time))]
        types += [given.dtype] * len(given.time)
    results, first_table = [], len(types)
    types += _table_types(run)
    for time in range(run.times):
        values = {key: stack[time if len(stack) > 1 else 0] for key, stack in stacks.items()}
        _emit_nodes(b, run, values, first_table)
        results.append(values[run.sink.src[0].key])
    loaded = [b.load(len(types) + i, BOOL) for i in range(planes)]
    types += [BOOL] * planes
    masks = _masks(b, [stacks[node.key] for node in run.inputs], marks, loaded, run.times)
    reduced = emit_reduction(b, str(run.reducer), Stack(results, masks))
    if reduced.value.dtype != infer(run.sink).dtype:
        raise UnsupportedError(f"{run.reducer} gives {reduced.value.dtype}, not {infer(run.sink).dtype}")
    b.store(reduced.value, 0)
    if masks is not None:
        b.store(reduced.valid or b.constant(True, BOOL), 1)
    outputs = [infer(run.sink).dtype, *([BOOL] if masks is not None else [])]
    return compile_ir(loop_function(b, types, outputs, b.block), b.lanes)


def _masks(
    b: Builder, stacks: Sequence[Sequence[Value]], marks: Sequence[Any], loaded: Sequence[Value], times: int
) -> list[Value] | None:
    """Return where each time is valid: where every plane says so, and no input holds what stands for not valid."""
    told = [(stack, mark) for stack, mark in zip(stacks, marks, strict=True) if mark is not None]
    if not told and not loaded:
        return None
    masks = []
    for time in range(times):
        tests = [loaded[min(time, len(loaded) - 1)]] if loaded else []
        for stack, mark in told:
            value = stack[time if len(stack) > 1 else 0]
            differs = "une" if value.is_float else "ne"
            tests.append(b.compare(differs, value, b.constant(mark.item(), value.dtype)))
        masks.append(reduce(partial(b.binary, "and"), tests))
    return masks
