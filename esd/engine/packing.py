"""Expressions on their way to another process: a flat list of nodes, so that depth has no limit."""

from __future__ import annotations

from typing import Any

from esd.expr import Expr, postorder

__all__ = ["Packed", "pack", "unpack"]

Packed = tuple[tuple[str, tuple[int, ...], dict[str, Any]], ...]
"""Operator, positions of the inputs among the nodes before, and arguments of each node; the last is the result."""


def pack(root: Expr) -> Packed:
    """Return an expression as a flat list of its nodes, inputs before the nodes that use them."""
    nodes = list(postorder(root))
    position = {node.key: i for i, node in enumerate(nodes)}
    return tuple((node.op, tuple(position[source.key] for source in node.src), node.args) for node in nodes)


def unpack(packed: Packed) -> Expr:
    """Return the expression of a list of nodes."""
    nodes: list[Expr] = []
    for op, sources, args in packed:
        nodes.append(Expr(op, tuple(nodes[i] for i in sources), args))
    return nodes[-1]
