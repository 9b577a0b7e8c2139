"""Expressions as process graphs: the JSON that `esd.process_graph` reads back to the same expression.

Where openEO has a process of exactly the same meaning it is written as that: `apply` and `merge_cubes` of arithmetic,
`reduce_dimension`, `filter_bands`, `filter_temporal`. Everything else is a process of the namespace `esd`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .errors import ProcessGraphError
from .expr import Expr, Tokenized, postorder
from .image import Image
from .operator import Operator, get_operator
from .process_graph import NAMESPACE
from .process_operators import LEAVES, is_input
from .process_reducers import REDUCERS
from .process_scalars import OPERATORS
from .space import Space

__all__ = ["to_process_graph"]

_COMPARISONS = ("eq", "neq", "lt", "lte", "gt", "gte")
_SCALARS = {operator: (process, names) for process, (operator, names) in OPERATORS.items()}
_SCALARS |= {name: (name, ("x", "y")) for name in _COMPARISONS}
_REDUCERS = {reducer: process for process, reducer in REDUCERS.items()}

Node = dict[str, Any]


def to_process_graph(image: Image, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return an expression as openEO's JSON: an object with `process_graph` and the `parameters` that it names.

    `parameters` are images, classifiers and the like, by the name that the graph calls them by: what JSON cannot hold, such
    as arrays in memory, has to be one. `from_process_graph` takes the same mapping. Raises ProcessGraphError otherwise.
    """
    writer = _Writer(parameters or {})
    written = writer.write(image.expr)
    graph: dict[str, Any] = {"process_graph": written}
    if writer.used:
        graph["parameters"] = [_parameter(name, (parameters or {})[name]) for name in sorted(writer.used)]
    return graph


def _parameter(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Image):
        return {"name": name, "description": value.type.describe(), "schema": {"type": "object", "subtype": "datacube"}}
    return {"name": name, "description": f"A {type(value).__name__}.", "schema": {"type": "object"}}


class _Writer:
    """Writes nodes in order; `has_time` tells of each whether its cube still has the dimension t."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.images = {value.expr.key: name for name, value in parameters.items() if isinstance(value, Image)}
        self.objects = {
            v.token: name for name, v in parameters.items() if not isinstance(v, Image) and isinstance(v, Tokenized)
        }
        self.used: set[str] = set()
        self.nodes: dict[str, Node] = {}
        self.names: dict[str, Any] = {}
        self.has_time: dict[str, bool] = {}

    def write(self, root: Expr) -> dict[str, Node]:
        """Return the nodes of an expression."""
        if root.key in self.images:
            self.used.add(self.images[root.key])
            named = {"from_parameter": self.images[root.key]}
            return {"constant1": {"process_id": "constant", "arguments": {"x": named}, "result": True}}
        inside = self._inside_of_parameters(root)
        for expr in postorder(root):
            if expr.key in inside or (expr.op == "constant" and expr is not root):
                continue
            if expr.key in self.images:
                self.used.add(self.images[expr.key])
                self._known(expr, {"from_parameter": self.images[expr.key]}, True)
                continue
            self._add(expr)
        self.nodes[self.names[root.key]["from_node"]]["result"] = True
        return self.nodes

    def _inside_of_parameters(self, root: Expr) -> set[str]:
        """Return the nodes that only parameters need."""
        needed: set[str] = set()
        waiting = [root]
        while waiting:
            expr = waiting.pop()
            if expr.key not in needed:
                needed.add(expr.key)
                waiting += () if expr.key in self.images else expr.src
        return {expr.key for expr in postorder(root)} - needed

    def _known(self, expr: Expr, reference: Any, has_time: bool) -> None:
        self.names[expr.key], self.has_time[expr.key] = reference, has_time

    def _add(self, expr: Expr) -> None:
        for form in _FORMS:
            node = form(self, expr)
            if node is not None:
                name = f"{expr.op}{len(self.nodes) + 1}"
                self.nodes[name] = node
                times = [self.has_time[s.key] for s in expr.src if s.key in self.has_time]
                plain = node.get("namespace") == NAMESPACE
                reduced = node["process_id"] == "reduce_dimension"
                self._known(expr, {"from_node": name}, plain or (any(times) and not reduced))
                return

    def reference(self, expr: Expr) -> Any:
        """Return what a node writes for one of its inputs."""
        return expr.args["value"] if expr.op == "constant" else self.names[expr.key]

    def plain(self, owner: Expr, name: str, value: Any) -> Any:
        """Return an argument as JSON. Raises ProcessGraphError for what it cannot hold."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, tuple):
            return [self.plain(owner, name, item) for item in value]
        if value.token in self.objects:
            self.used.add(self.objects[value.token])
            return {"from_parameter": self.objects[value.token]}
        raise ProcessGraphError(
            f"{owner.op}: {name} is a {type(value).__name__}, which JSON cannot hold; name it: parameters={{'it': ...}}"
        )


def _callback(process: str, arguments: Node) -> Node:
    return {"process_graph": {process: {"process_id": process, "arguments": arguments, "result": True}}}


def _as_apply(writer: _Writer, expr: Expr) -> Node | None:
    """Arithmetic on one cube, its other operands plain numbers."""
    cubes = [source for source in expr.src if source.op != "constant"]
    if expr.op not in _SCALARS or expr.args or len(cubes) != 1 or _compares_booleans(expr):
        return None
    process, names = _SCALARS[expr.op]
    arguments = {
        name: source.args["value"] if source.op == "constant" else {"from_parameter": "x"}
        for name, source in zip(names, expr.src, strict=True)
    }
    data = writer.reference(cubes[0])
    return {"process_id": "apply", "arguments": {"data": data, "process": _callback(process, arguments)}}


def _compares_booleans(expr: Expr) -> bool:
    """Tell whether openEO would find operands of different types, where we find numbers."""
    if expr.op not in _COMPARISONS:
        return False
    kinds = [Image(source).type.dtype.kind for source in expr.src]
    return "b" in kinds


def _as_merge(writer: _Writer, expr: Expr) -> Node | None:
    """Arithmetic on two cubes of the same labels."""
    if expr.op not in _SCALARS or expr.args or len(expr.src) != 2 or _compares_booleans(expr):
        return None
    if any(source.op == "constant" for source in expr.src) or expr.src[0] is expr.src[1]:
        return None
    one, other = (Image(source).type for source in expr.src)
    if (one.grid, one.time, one.bands) != (other.grid, other.time, other.bands) or one.grid is None:
        return None
    process, names = _SCALARS[expr.op]
    arguments = {name: {"from_parameter": side} for name, side in zip(names, ("x", "y"), strict=True)}
    cubes = {f"cube{i + 1}": writer.reference(source) for i, source in enumerate(expr.src)}
    return {"process_id": "merge_cubes", "arguments": {**cubes, "overlap_resolver": _callback(process, arguments)}}


def _as_reduction(writer: _Writer, expr: Expr) -> Node | None:
    """A reducer of time that openEO has."""
    reducer = expr.args.get("reducer") if expr.op == "reduce" else expr.op if not expr.args else None
    is_reducer = expr.op == "reduce" or get_operator(expr.op).group == "reducer"
    if reducer not in _REDUCERS or not is_reducer or not writer.has_time.get(expr.src[0].key):
        return None
    callback = _callback(_REDUCERS[reducer], {"data": {"from_parameter": "data"}})
    arguments = {"data": writer.reference(expr.src[0]), "reducer": callback, "dimension": "t"}
    return {"process_id": "reduce_dimension", "arguments": arguments}


def _as_filter(writer: _Writer, expr: Expr) -> Node | None:
    """A choice of bands or dates."""
    if expr.op not in ("select", "filter_date") or expr.src[0].op == "constant":
        return None
    given, data = Image(expr.src[0]).type, writer.reference(expr.src[0])
    if expr.op == "select":
        different = len(set(expr.args["bands"])) == len(expr.args["bands"]) and expr.args["bands"] != given.bands
        if not different or not (given.space is Space.CODES or set(expr.args["bands"]) <= set(given.bands)):
            return None
        return {"process_id": "filter_bands", "arguments": {"data": data, "bands": list(expr.args["bands"])}}
    dates = (*given.time, expr.args["start"], expr.args["end"])
    if not writer.has_time[expr.src[0].key] or any(len(date) != len("2004-07-01") for date in dates):
        return None
    return {"process_id": "filter_temporal", "arguments": {"data": data, "extent": [expr.args["start"], expr.args["end"]]}}


def _as_neighborhood(writer: _Writer, expr: Expr) -> Node | None:
    """A process on pieces, which came from a graph and goes back to it."""
    if expr.op != "apply_pieces":
        return None
    pieces = expr.args["neighborhood"]
    if pieces.foreign:
        raise ProcessGraphError(
            f"the process of apply_neighborhood needs {pieces.foreign[0]!r} from outside; give it context"
        )
    lengths = [
        [{"dimension": name, "value": value, "unit": "px"} for name, value in zip(("y", "x"), expr.args[what], strict=True)]
        for what in ("size", "overlap")
    ]
    arguments: Node = {"data": writer.reference(expr.src[0]), "process": {"process_graph": pieces.process.nodes}}
    arguments |= {"size": lengths[0], "overlap": lengths[1], "context": pieces.context}
    return {"process_id": "apply_neighborhood", "arguments": arguments}


def _as_operator(writer: _Writer, expr: Expr) -> Node:
    """An operator by its own name."""
    declared = get_operator(expr.op)
    if expr.op in LEAVES:
        raise ProcessGraphError(
            f"an image in memory ({expr.op}) is not part of a graph; name it: parameters={{'it': image}}"
        )
    arguments: Node = _inputs(writer, declared, expr)
    arguments |= {name: writer.plain(expr, name, value) for name, value in expr.arg}
    return {"process_id": expr.op, "namespace": NAMESPACE, "arguments": arguments}


def _inputs(writer: _Writer, declared: Operator, expr: Expr) -> Node:
    names = [name for name in declared.signature.parameters if is_input(declared, name)]
    references = [writer.reference(source) for source in expr.src]
    return {names[0]: references} if declared.variadic else dict(zip(names, references, strict=True))


_FORMS: tuple[Callable[[_Writer, Expr], Node | None], ...] = (
    _as_apply,
    _as_merge,
    _as_reduction,
    _as_filter,
    _as_neighborhood,
    _as_operator,
)
"""How a node may be written, the first one that fits."""
