"""Passes over a lowered expression: each makes the same result from less. The table PASSES says why.

After each pass the type of the result must be what it was, and the spec must hold; `optimize` checks it.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from esd.errors import ExpressionError
from esd.expr import Expr, postorder

from .folding import fold_tables
from .lower import infer
from .placing import place_early
from .pushing import push_filters, push_selections, rebuild, split_reductions
from .spec import check

__all__ = ["PASSES", "Pass", "Traced", "consumers_of", "optimize", "rebuild"]


@dataclass(frozen=True)
class Pass:
    """A rewriting of the whole graph, and why it is worth it."""

    name: str
    why: str
    run: Callable[[Expr], Expr]


def consumers_of(root: Expr) -> Mapping[str, list[Expr]]:
    """Return, for each node's key, the nodes that use it."""
    users: dict[str, list[Expr]] = defaultdict(list)
    for node in postorder(root):
        for source in dict.fromkeys(node.src):
            users[source.key].append(node)
    return users


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
        if node.op in ("decode", "uncertainty") and not (node.args["dekads"] or node.args.get("date")):
            given = infer(node)
            times, bands = _demand(node, root, users)
            dekads = tuple(i for i, time in enumerate(given.time) if time in times)
            names = tuple(band for band in given.bands if band in bands)
            chosen = {"dekads": dekads if len(times) < len(given.time) else (), "bands": names}
            narrowed[node.key] = Expr(node.op, node.src, {**node.args, **chosen})
    done: dict[str, Expr] = {}
    for node in postorder(root):
        sources = tuple(done[source.key] for source in node.src)
        done[node.key] = narrowed.get(node.key) or node.with_src(sources)
    return done[root.key]


PASSES: tuple[Pass, ...] = (
    Pass("place early", "the nearest pixels are chosen before they are computed, not after", place_early),
    Pass("push filters", "a date that nobody asks for need not be computed", push_filters),
    Pass("push selections", "a band that nobody asks for need not be computed", push_selections),
    Pass("split reductions", "few images of a deep stack are held at once, not all", split_reductions),
    Pass("narrow decodes", "a shared decode keeps only the dekads and bands that are looked at", _narrow_decodes),
    Pass("fold tables", "what depends on one code a step has 64,000 results: compute each once and look it up", fold_tables),
)


@dataclass(frozen=True)
class Traced:
    """A pass that was run: nodes of the graph before and after it."""

    step: Pass
    before: int
    after: int


def _size(root: Expr) -> int:
    return sum(1 for _node in postorder(root))


def optimize(root: Expr, trace: list[Traced] | None = None) -> Expr:
    """Run all passes on a lowered expression; `trace` takes a row for each.

    Raises ExpressionError if one of them changed the type, or, with ESD_CHECK=1, broke the spec: that is a bug.
    """
    wanted, checked = infer(root), os.environ.get("ESD_CHECK") == "1"
    if checked:
        check(root, "lower")
    for step in PASSES:
        before = root
        root = step.run(root)
        if infer(root) != wanted:
            raise ExpressionError(f"pass {step.name!r} changed the type of {root!r}; please report it with the expression")
        if checked:
            check(root, step.name)
        if trace is not None:
            trace.append(Traced(step, _size(before), _size(root)))
    return root
