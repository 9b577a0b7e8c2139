"""Passes that move what makes data smaller towards the leaves, and split deep stacks into trees of reducers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from esd.errors import WindowError
from esd.expr import Expr, postorder
from esd.operator import get_operator

from .lower import infer

__all__ = ["push_filters", "push_selections", "rebuild", "split_reductions"]

FAN_IN = 8
"""Images that a reducer of a deep stack takes at a time: no more of them are held at once."""
MERGING = {"min": "min", "max": "max", "first": "first", "last": "last", "count": "sum"}
"""Reducers whose parts can be reduced again without a bit of difference, and by what."""


def rebuild(root: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """Return the graph with `change` applied to every node, inputs first."""
    done: dict[str, Expr] = {}
    for node in postorder(root):
        done[node.key] = change(node.with_src(tuple(done[source.key] for source in node.src)))
    return done[root.key]


def _per_pixel(node: Expr) -> bool:
    return get_operator(node.op).function is not None


def _filter_stack(node: Expr, stack: Expr) -> Expr:
    """Filter the members of a stack, and leave out those of which nothing is kept."""
    kept = []
    for member in stack.src:
        filtered = Expr("filter_date", (member,), node.args)
        try:
            infer(filtered)
        except WindowError:
            continue
        kept.append(_sink_filter(filtered))
    return kept[0] if len(kept) == 1 else stack.with_src(tuple(kept))


def _sink_filter(node: Expr) -> Expr:
    """filter_date(f(a, b)) = f(filter_date(a), filter_date(b)) for a per-pixel f; what has one time stays as it is."""
    inner = node.src[0] if node.op == "filter_date" else node
    if node.op == "filter_date" and inner.op == "stack":
        return _filter_stack(node, inner)
    if inner is node or not (_per_pixel(inner) or inner.op in ("rename", "select", "embedding")):
        return node
    length = len(infer(inner).time)
    if any(len(infer(source).time) == length and infer(source).time != infer(inner).time for source in inner.src):
        return node
    sources = tuple(
        _sink_filter(Expr("filter_date", (source,), node.args)) if len(infer(source).time) == length > 1 else source
        for source in inner.src
    )
    return node if sources == inner.src else inner.with_src(sources)


def push_filters(root: Expr) -> Expr:
    """Filter dates before what is computed, where that gives the same."""
    return rebuild(root, _sink_filter)


def _select_inputs(node: Expr, inner: Expr) -> Expr:
    """select(f(a, b)) = f(select(a), select(b)) for a per-pixel f; what has one band stays as it is."""
    given = infer(inner)
    places = [given.bands.index(band) for band in node.args["bands"]]
    sources = []
    for source in inner.src:
        bands = infer(source).bands
        if len(bands) == len(given.bands) > 1:
            source = _sink_selection(Expr("select", (source,), {"bands": tuple(bands[place] for place in places)}))
        sources.append(source)
    return inner.with_src(tuple(sources))


def _select_member(node: Expr, joined: Expr) -> Expr:
    """select(add_bands(a, b)) = select(a) where only bands of a are looked at."""
    wanted = set(node.args["bands"])
    for member in joined.src:
        if wanted <= set(infer(member).bands):
            return _sink_selection(Expr("select", (member,), node.args))
    return node


def _sink_selection(node: Expr) -> Expr:
    if node.op != "select":
        return node
    inner = node.src[0]
    if infer(inner).bands == node.args["bands"]:
        return inner
    moved = node
    if _per_pixel(inner):
        moved = _select_inputs(node, inner)
    elif inner.op == "add_bands":
        moved = _select_member(node, inner)
    elif inner.op == "reduce":
        moved = inner.with_src((_sink_selection(Expr("select", inner.src, node.args)),))
    return moved if infer(moved) == infer(node) else node


def push_selections(root: Expr) -> Expr:
    """Select bands before what is computed, where that gives the same."""
    return rebuild(root, _sink_selection)


def _tree(members: Sequence[Expr], reducer: str, stack: Expr) -> Expr:
    """Reduce the members in groups, each group to one image before the next is looked at."""
    groups = [tuple(members[start : start + FAN_IN]) for start in range(0, len(members), FAN_IN)]
    joined = [stack.with_src(group) if len(group) > 1 else group[0] for group in groups]
    parts = [Expr("reduce", (part,), {"reducer": reducer}) for part in joined]
    if len(parts) == 1:
        return parts[0]
    return _tree(parts, MERGING.get(reducer, reducer), stack)


def _split(node: Expr) -> Expr:
    if node.op != "reduce" or node.args["reducer"] not in MERGING or node.src[0].op != "stack":
        return node
    stack = node.src[0]
    if len(stack.src) <= 1 or len(infer(stack).time) <= FAN_IN:
        return node
    tree = _tree(stack.src, node.args["reducer"], stack)
    return tree if infer(tree) == infer(node) else node


def split_reductions(root: Expr) -> Expr:
    """Turn reducers of deep stacks into trees, so that a stack of any depth takes the memory of a few images."""
    return rebuild(root, _split)
