"""The plan as a person wants to read it."""

from __future__ import annotations

import os

from esd.expr import Expr, postorder
from esd.operator import Tile, get_operator

from .lower import infer, lower
from .plan import halo_of, make_plan
from .rewrite import PASSES

__all__ = ["explain"]

CONVERSIONS = ("decode", "embedding")


def _arguments(node: Expr) -> str:
    shown = [f"{name}={value!r}" for name, value in node.arg if value not in ((), None)]
    return f"({', '.join(shown)})" if shown else ""


def _tree(node: Expr, seen: set[str], depth: int = 0) -> list[str]:
    pad = "  " * depth
    if node.key in seen and node.src:
        return [f"{pad}{node.op}{_arguments(node)}  (shared, computed once)"]
    seen.add(node.key)
    lines = [f"{pad}{node.op}{_arguments(node)}  : {infer(node).describe()}"]
    for source in node.src:
        lines += _tree(source, seen, depth + 1)
    return lines


def explain(expr: Expr, max_memory: int | None = None) -> str:
    """Return what will run and what it costs: conversions, passes, tiles, bytes to read, peak memory, and the tree."""
    lowered = lower(expr)
    plan = make_plan(expr, max_memory=max_memory, threads=os.cpu_count() or 1)
    written, run = list(postorder(expr)), list(postorder(plan.root))
    inserted = sum(node.op in CONVERSIONS for node in postorder(lowered)) - sum(n.op in CONVERSIONS for n in written)
    halo = sum(halo_of(node) for node in run if get_operator(node.op).tile is Tile.FOCAL)
    tiles = plan.tiles
    lines = [
        f"result       {plan.type.describe()}",
        f"nodes        {len(written)} as written, {len(list(postorder(lowered)))} written out, {len(run)} after the passes",
        f"conversions  {inserted} put in ({', '.join(n.op for n in run if n.op in CONVERSIONS) or 'none'})",
        f"passes       {', '.join(f'{step.name} ({step.why})' for step in PASSES)}",
        f"tiles        {len(tiles)} of {plan.tile} pixels, halo {halo}, {plan.threads} at a time",
        f"read         {plan.read_bytes / 1e6:.1f} MB before compression",
        f"peak memory  {plan.peak_bytes / 1e6:.0f} MB beside the result, most for {plan.largest!r}",
        "",
        *_tree(plan.root, set()),
    ]
    return "\n".join(lines)
