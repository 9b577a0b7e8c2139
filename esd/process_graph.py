"""Process graphs: openEO's JSON form of expressions, read without evaluating any code.

    esd.from_process_graph(graph, collections={"wa": cube})        an image, lazy; nothing is read
    image.to_process_graph()                                       see `esd.process_graph_write`

Processes of openEO are those of `esd.processes`; every operator of the registry is a process of the namespace `esd`, and
processes of the user are graphs themselves, given in `processes`. A graph is data: what is not one of these is refused.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import EsdError, ProcessGraphError
from .image import Image
from .process_values import DataCube, Series, Vocabulary, as_cube

__all__ = ["NAMESPACE", "Callback", "Context", "evaluate_process_graph", "from_process_graph"]

NAMESPACE = "esd"
MOST_NODES = 10_000
MOST_NESTED = 30
"""Callbacks and user-defined processes inside of each other."""

_MISFITS = (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError)
"""What Python and NumPy raise for values of a wrong type: a graph may hold any."""

Nodes = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Callback:
    """A process graph given as an argument, with the parameters that it sees from outside."""

    nodes: Nodes
    scope: Mapping[str, Any]


@dataclass(frozen=True)
class Context:
    """What processes are run with: data, processes of the user, texts met so far."""

    collections: Mapping[str, Any] | None = None
    processes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    words: Vocabulary = field(default_factory=Vocabulary)
    depth: int = 0
    dimensions: Mapping[str, str] = field(default_factory=dict)

    def cube(self, image: Image) -> DataCube:
        """Return an image as a data cube, its dimensions named as the graph names them."""
        cube = as_cube(image)
        return replace(cube, dimensions=tuple(replace(d, name=self.dimensions.get(d.name, d.name)) for d in cube.dimensions))

    def call(self, callback: Any, **parameters: Any) -> Any:
        """Run a callback. Raises ProcessGraphError for what is none."""
        if not isinstance(callback, Callback):
            raise ProcessGraphError(f"{str(callback)[:60]!r} is no process; give an object with a process_graph")
        return _run_nodes(self.deeper(), callback.nodes, {**callback.scope, **parameters})

    def deeper(self) -> Context:
        """Return the context one level further inside. Raises ProcessGraphError beyond the deepest."""
        if self.depth >= MOST_NESTED:
            raise ProcessGraphError(f"process graphs are nested more than {MOST_NESTED} deep; does one call itself?")
        return replace(self, depth=self.depth + 1)


def from_process_graph(
    graph: str | Mapping[str, Any],
    parameters: Mapping[str, Any] | None = None,
    collections: Mapping[str, Any] | None = None,
    processes: Mapping[str, Mapping[str, Any]] | None = None,
    dimensions: Mapping[str, str] | None = None,
) -> Any:
    """Return what a process graph makes: an image, lazy, or a plain value where it has no pixels.

    `graph` is JSON text or the object read from it: the nodes themselves, or an object with `process_graph` and, for
    defaults, `parameters`. `parameters` gives values for `from_parameter`, images and classifiers among them. `collections`
    are cubes, paths of cubes or images by the id that `load_collection` asks for; without it ids are paths. `processes` are
    user-defined processes by id. Dimensions are called t, bands, y and x; `dimensions` tells what a graph for another
    back-end calls them, as {"t": "time"}. Raises ProcessGraphError, one line, for a graph that cannot be read or does not
    fit.
    """
    value = evaluate_process_graph(graph, parameters, collections, processes, dimensions)
    if isinstance(value, DataCube):
        return value.full
    return value.image if isinstance(value, Series) else value


def evaluate_process_graph(
    graph: str | Mapping[str, Any],
    parameters: Mapping[str, Any] | None = None,
    collections: Mapping[str, Any] | None = None,
    processes: Mapping[str, Mapping[str, Any]] | None = None,
    dimensions: Mapping[str, str] | None = None,
) -> Any:
    """Return what a process graph makes as a `DataCube` that knows its dimensions, or a plain value."""
    whole = _read(graph)
    context = Context(collections, processes or {}, dimensions=_names(dimensions or {}))
    given = {name: context.cube(value) if isinstance(value, Image) else value for name, value in (parameters or {}).items()}
    nodes = whole.get("process_graph", whole)
    scope = _with_defaults(str(whole.get("id", "graph")), whole.get("parameters") if nodes is not whole else None, given)
    return _run_nodes(context, nodes, scope)


def _names(dimensions: Mapping[str, str]) -> Mapping[str, str]:
    """Return the names that a graph gives the dimensions. Raises ProcessGraphError unless they are known and differ."""
    named = {name: dimensions.get(name, name) for name in ("t", "bands", "y", "x")}
    if not dimensions.keys() <= named.keys() or len(set(named.values())) < len(named):
        raise ProcessGraphError(f"dimensions={dict(dimensions)} must give some of t, bands, y and x names that differ")
    return named


def _read(graph: str | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(graph, str):
        try:
            graph = json.loads(graph)
        except (ValueError, RecursionError) as error:
            raise ProcessGraphError(f"the process graph is no JSON: {error}") from error
    if not isinstance(graph, Mapping):
        raise ProcessGraphError(f"a process graph is an object of nodes, not {str(graph)[:60]!r}")
    return graph


def _with_defaults(name: str, declared: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given parameters and the defaults of the declared ones."""
    if declared is None:
        return dict(given)
    if not isinstance(declared, list) or not all(
        isinstance(p, Mapping) and isinstance(p.get("name"), str) for p in declared
    ):
        raise ProcessGraphError(f"process {name!r}: its parameters must be a list of objects with a name")
    scope = dict(given)
    for parameter in declared:
        if parameter["name"] not in scope:
            if "default" not in parameter and not parameter.get("optional"):
                raise ProcessGraphError(
                    f"process {name!r} needs a value for {parameter['name']!r}", "ProcessParameterMissing"
                )
            scope[parameter["name"]] = parameter.get("default")
    return scope


def _check_nodes(nodes: Any) -> str:
    """Return the id of the result node. Raises ProcessGraphError for a graph of another form."""
    if not isinstance(nodes, Mapping) or not nodes:
        raise ProcessGraphError(f"a process graph is an object of one or more nodes, not {str(nodes)[:60]!r}")
    if len(nodes) > MOST_NODES:
        raise ProcessGraphError(f"the process graph has {len(nodes)} nodes, at most {MOST_NODES} are read")
    for name, node in nodes.items():
        if not isinstance(node, Mapping) or not isinstance(node.get("process_id"), str):
            raise ProcessGraphError(f"node {name!r} has no process_id; write which process it is")
        if not isinstance(node.get("arguments", {}), Mapping):
            raise ProcessGraphError(f"node {name!r}: arguments must be an object of values by name")
    results = [name for name, node in nodes.items() if node.get("result") is True]
    if len(results) != 1:
        found = "no node is" if not results else f"nodes {', '.join(results)} are"
        raise ProcessGraphError(f"{found} marked as the result; mark exactly one with result=true")
    return results[0]


def _references(value: Any) -> Iterator[str]:
    """Yield the ids of the nodes that an argument takes from, but for those inside of callbacks."""
    if isinstance(value, Mapping):
        if isinstance(value.get("from_node"), str):
            yield value["from_node"]
        elif "process_graph" not in value:
            for item in value.values():
                yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _order(nodes: Nodes, result: str) -> list[str]:
    """Return the nodes that the result needs, each after those that it takes from; without recursion."""
    done: dict[str, bool] = {}
    order: list[str] = []
    waiting: list[tuple[str, bool]] = [(result, False)]
    while waiting:
        name, ready = waiting.pop()
        if ready:
            done[name] = True
            order.append(name)
        elif name in done:
            if not done[name]:
                raise ProcessGraphError(f"node {name!r} takes from itself by way of others; a graph must have no circle")
        else:
            done[name] = False
            waiting.append((name, True))
            for source in _references(nodes[name].get("arguments", {})):
                if source not in nodes:
                    raise ProcessGraphError(f"node {name!r} takes from node {source!r}, which is not there")
                if done.get(source) is not True:
                    waiting.append((source, False))
    return order


def _resolve(value: Any, results: Mapping[str, Any], scope: Mapping[str, Any]) -> Any:
    """Return an argument with references to nodes and parameters replaced by their values."""
    if isinstance(value, list):
        return [_resolve(item, results, scope) for item in value]
    if not isinstance(value, Mapping):
        return value
    if isinstance(value.get("from_node"), str):
        return results[value["from_node"]]
    if isinstance(value.get("from_parameter"), str):
        if value["from_parameter"] not in scope:
            known = ", ".join(scope) or "none"
            raise ProcessGraphError(f"there is no parameter {value['from_parameter']!r}; there are {known}")
        return scope[value["from_parameter"]]
    if "process_graph" in value:
        return Callback(value["process_graph"], scope)
    return {name: _resolve(item, results, scope) for name, item in value.items()}


def _run_nodes(context: Context, nodes: Any, scope: Mapping[str, Any]) -> Any:
    result = _check_nodes(nodes)
    results: dict[str, Any] = {}
    for name in _order(nodes, result):
        node = nodes[name]
        try:
            arguments = {key: _resolve(value, results, scope) for key, value in node.get("arguments", {}).items()}
            results[name] = _run_process(context, node["process_id"], node.get("namespace"), arguments)
        except EsdError as error:
            code = error.code if isinstance(error, ProcessGraphError) else "ProcessGraphInvalid"
            # one line, whatever value it names
            reason = " ".join(str(error).split())
            raise ProcessGraphError(f"node {name!r} ({node['process_id']}): {reason}", code) from error
        except RecursionError as error:
            raise ProcessGraphError(f"node {name!r} ({node['process_id']}): its arguments are nested too deep") from error
        except _MISFITS as error:
            reason = " ".join(str(error).split())[:120]
            raise ProcessGraphError(f"node {name!r} ({node['process_id']}): its arguments do not fit ({reason})") from error
    return results[result]


def _run_process(context: Context, name: str, namespace: Any, arguments: dict[str, Any]) -> Any:
    from .process_operators import run_operator
    from .processes import PROCESSES

    if namespace == NAMESPACE:
        return run_operator(context, name, arguments)
    if namespace in (None, "user") and name in context.processes:
        defined = context.processes[name]
        if not isinstance(defined, Mapping) or "process_graph" not in defined:
            raise ProcessGraphError(f"process {name!r} of the user has no process_graph")
        scope = _with_defaults(name, defined.get("parameters", []), arguments)
        return _run_nodes(context.deeper(), defined["process_graph"], scope)
    if namespace in (None, "backend") and name in PROCESSES:
        return PROCESSES[name].run(context, arguments)
    near = difflib.get_close_matches(name, [*PROCESSES, *context.processes], n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"operators of esd have the namespace {NAMESPACE!r}"
    where = "" if namespace is None else f" in namespace {namespace!r}"
    raise ProcessGraphError(f"there is no process {name!r}{where}; {hint}", "ProcessUnsupported")
