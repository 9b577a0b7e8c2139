"""Passes over a lowered expression: each makes the same result from less. The table PASSES says why.

After each pass the type of the result must be what it was; `optimize` checks it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from esd.errors import ExpressionError
from esd.expr import Expr, postorder
from esd.operator import get_operator

from .lower import infer

__all__ = ["PASSES", "Pass", "consumers_of", "optimize"]


@dataclass(frozen=True)
class Pass:
    """A rewriting of the whole graph, and why it is worth it."""

    name: str
    why: str
    run: Callable[[Expr], Expr]


def rebuild(root: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """Return the graph with `change` applied to every node, inputs first."""
    done: dict[str, Expr] = {}
    for node in postorder(root):
        done[node.key] = change(node.with_src(tuple(done[source.key] for source in node.src)))
    return done[root.key]


def consumers_of(root: Expr) -> Mapping[str, list[Expr]]:
    """Return, for each node's key, the nodes that use it."""
    users: dict[str, list[Expr]] = defaultdict(list)
    for node in postorder(root):
        for source in dict.fromkeys(node.src):
            users[source.key].append(node)
    return users


def _sink_filter(node: Expr) -> Expr:
    """filter_date(f(a, b)) = f(filter_date(a), filter_date(b)) for a per-pixel f; what has one time stays as it is."""
    inner = node.src[0] if node.op == "filter_date" else node
    if inner is node or not (get_operator(inner.op).function or inner.op in ("rename", "select")):
        return node
    length = len(infer(inner).time)
    if any(len(infer(source).time) == length and infer(source).time != infer(inner).time for source in inner.src):
        return node
    sources = tuple(
        _sink_filter(Expr("filter_date", (source,), node.args)) if len(infer(source).time) == length > 1 else source
        for source in inner.src
    )
    return node if sources == inner.src else inner.with_src(sources)


def _push_filters(root: Expr) -> Expr:
    return rebuild(root, _sink_filter)


Demand = tuple[set[str], set[str]]


def _demand(node: Expr, root: Expr, users: Mapping[str, list[Expr]]) -> Demand:
    """Return the times and bands of a node that anything above it looks at."""
    given = infer(node)
    everything = set(given.time), set(given.bands)
    if node is root:
        return everything
    times: set[str] = set()
    bands: set[str] = set()
    for user in users[node.key]:
        if user.op not in ("select", "filter_date"):
            return everything
        above, names = _demand(user, root, users)
        times, bands = times | above, bands | names
    return times, bands


def _narrow_decodes(root: Expr) -> Expr:
    users = consumers_of(root)
    narrowed: dict[str, Expr] = {}
    for node in postorder(root):
        if node.op == "decode" and not node.args["dekads"]:
            given = infer(node)
            times, bands = _demand(node, root, users)
            dekads = tuple(i for i, time in enumerate(given.time) if time in times)
            names = tuple(band for band in given.bands if band in bands)
            chosen = {"dekads": dekads if len(times) < len(given.time) else (), "bands": names}
            narrowed[node.key] = Expr("decode", node.src, chosen)
    done: dict[str, Expr] = {}
    for node in postorder(root):
        sources = tuple(done[source.key] for source in node.src)
        done[node.key] = narrowed.get(node.key) or node.with_src(sources)
    return done[root.key]


PASSES: tuple[Pass, ...] = (
    Pass("push filters", "a date that nobody asks for need not be computed", _push_filters),
    Pass("narrow decodes", "a shared decode keeps only the dekads and bands that are looked at", _narrow_decodes),
)


def optimize(root: Expr) -> Expr:
    """Run all passes on a lowered expression. Raises ExpressionError if one of them changed the type: that is a bug."""
    wanted = infer(root)
    for step in PASSES:
        root = step.run(root)
        if infer(root) != wanted:
            raise ExpressionError(f"pass {step.name!r} changed the type of {root!r}; please report it with the expression")
    return root
