"""The pass that puts a reprojection before what it reprojects: fewer pixels are decoded and computed than are looked at.

A nearest neighbour is a choice of pixels, and choosing before an operator that looks at one pixel at a time gives the same
bytes as choosing after it. Operators that make valid what is not, such as `unmask`, would do so outside of the source's grid
too, and those that look around need the pixels left out: below them the reprojection stays where it is.
"""

from __future__ import annotations

from esd.expr import Expr, postorder
from esd.operator import get_operator

from .lower import infer
from .pushing import rebuild

__all__ = ["place_early"]

_CHOOSING = frozenset(
    {"decode", "uncertainty", "embedding", "select", "filter_date", "rename", "stack", "add_bands", "update_mask"}
)


def _passes(inner: Expr) -> bool:
    """Tell whether an operator looks at one pixel only, and gives nothing valid where none of its inputs is."""
    if inner.op == "reduce":
        return bool(inner.args["reducer"] != "count")
    return inner.op in _CHOOSING or get_operator(inner.op).function is not None


def _place(node: Expr) -> Expr:
    """Move one reprojection as far down as it goes; without recursion, and each shared node once."""
    if node.op != "reproject" or node.args["resampling"] != "nearest":
        return node
    placed: dict[str, Expr] = {}
    for inner in postorder(node.src[0]):
        if infer(inner).grid is None:
            placed[inner.key] = inner
        elif _passes(inner):
            placed[inner.key] = inner.with_src(tuple(placed[source.key] for source in inner.src))
        else:
            placed[inner.key] = node.with_src((inner,))
    return placed[node.src[0].key]


def place_early(root: Expr) -> Expr:
    """reproject(f(a, b)) = f(reproject(a), reproject(b)) for nearest neighbours and a per-pixel f."""
    return rebuild(root, _place)
