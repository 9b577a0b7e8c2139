"""The plan as a person wants to read it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from esd.expr import Expr, Tokenized, postorder

from .fuse import runs_of
from .lower import infer, lower
from .plan import Plan, halo_of, make_plan
from .rewrite import Traced, optimize

__all__ = ["explain"]

CONVERSIONS = ("decode", "embedding")
_LONGEST = 60


def _spell(value: object) -> str:
    if isinstance(value, Tokenized) and not isinstance(value, bool | int | float | str):
        return f"<{type(value).__name__} {value.token[:8]}>"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def _call(node: Expr) -> str:
    """Return a node as a person would write it: numbers among its inputs in their place, "_" for the other inputs."""
    if node.op == "load":
        args = node.args
        return f"load {args['array']} {args['window']} of {Path(args['cube']).name}/{args['grid']}"
    shown = [_spell(source.args["value"]) if source.op == "constant" else "_" for source in node.src]
    shown = shown if any(text != "_" for text in shown) else []
    shown += [f"{name}={_spell(value)}" for name, value in node.arg if value not in ((), None)]
    return f"{node.op}({', '.join(shown)})" if shown else node.op


def _type(node: Expr, grid: object) -> str:
    given = infer(node)
    bands = ", ".join(given.bands[:6]) + (", ..." if len(given.bands) > 6 else "")
    where = "" if given.grid == grid or given.grid is None else f" on {given.grid.shape.y} x {given.grid.shape.x} pixels"
    return f"{given.space.value} {given.dtype}, {len(given.time)} x [{bands}]{where}"


def _tree(root: Expr, notes: dict[str, str]) -> list[str]:
    """Return a line for each node, the result first; without recursion, so that depth has no limit."""
    lines: list[str] = []
    seen: set[str] = set()
    waiting: list[tuple[Expr, int]] = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        pad = "  " * depth
        if node.key in seen and node.src:
            lines.append(f"{pad}{_call(node)}  (shared, computed once)")
            continue
        seen.add(node.key)
        lines.append(f"{pad}{_call(node)}  : {_type(node, infer(root).grid)}{notes.get(node.key, '')}")
        waiting.extend((source, depth + 1) for source in reversed(node.src) if source.op != "constant")
    return lines


def _size(root: Expr) -> int:
    return sum(1 for _node in postorder(root))


def _passes(written: Expr, lowered: Expr, trace: list[Traced]) -> list[str]:
    """Return a line for each pass, with the nodes before and after it."""
    rows = [("write out", _size(written), _size(lowered), "composites become what they are made of, conversions are put in")]
    rows += [(row.step.name, row.before, row.after, row.step.why) for row in trace]
    width = max(len(name) for name, *_rest in rows)
    return [f"  {name:<{width}}  {before:>4} -> {after:<4} {why}" for name, before, after, why in rows]


def _fusion(root: Expr) -> tuple[str, dict[str, str]]:
    """Return how many operators run fused, and a note for each of their nodes."""
    runs = list(runs_of(root).values())
    notes = {node.key: f"  [run {i}]" for i, run in enumerate(runs, start=1) for node in run.nodes}
    if not runs:
        return "none", notes
    fused = sum(len(run.nodes) for run in runs)
    return f"{fused} nodes in {len(runs)} run{'s' if len(runs) > 1 else ''}, each one pass over its inputs", notes


def _conversions(written: Expr, lowered: Expr, root: Expr) -> str:
    count = [Counter(node.op for node in postorder(expr)) for expr in (written, lowered, root)]
    inserted = sum(count[1][op] - count[0][op] for op in CONVERSIONS)
    names = ", ".join(op for op in CONVERSIONS for _ in range(count[2][op]))
    return f"{inserted} put in ({names or 'none'})"


def _deepest(lowered: Expr) -> str:
    """Return how many times of a pixel any operator looks at, and the bytes that it holds of one at most."""
    types = [infer(node) for node in postorder(lowered) if node.op != "constant"]
    deepest, most = max(len(given.time) for given in types), max(given.bytes_per_pixel for given in types)
    return f"stack        {deepest:,} times at most; {most:,} bytes a pixel at most, with its validity"


def _costs(plan: Plan, lowered: Expr) -> list[str]:
    halo = sum(halo_of(node) for node in postorder(plan.root))
    per_pixel = len(plan.type.time) * len(plan.type.bands) * plan.type.dtype.itemsize
    groups = [
        len(infer(node.src[0]).time) for node in postorder(plan.root) if node.op == "accumulate" and len(node.src) == 1
    ]
    streamed = [f"streamed     reducers of deep stacks, in groups of {max(groups)} times"] if groups else []
    return [
        _deepest(lowered),
        *streamed,
        f"tiles        {len(plan.tiles)} of {plan.tile} pixels, halo {halo}, {plan.threads} at a time",
        f"read         {plan.read_bytes / 1e6:.1f} MB before compression",
        f"result       {per_pixel * plan.region.size / 1e6:.1f} MB, {plan.region.size:,} pixels",
        f"peak memory  {plan.peak_bytes / 1e6:.0f} MB beside the result, most for {plan.largest!r}",
    ]


def explain(expr: Expr, max_memory: int | None = None) -> str:
    """Return what will run and what it costs: conversions, passes, runs, tiles, bytes and peak memory, and the tree."""
    lowered, trace = lower(expr), list[Traced]()
    optimize(lowered, trace)
    plan = make_plan(expr, max_memory=max_memory, threads=os.cpu_count() or 1)
    fused, notes = _fusion(plan.root)
    lines = [
        f"result       {plan.type.describe()}",
        f"nodes        {_size(expr)} as written, {_size(lowered)} written out, {_size(plan.root)} after the passes",
        f"conversions  {_conversions(expr, lowered, plan.root)}",
        f"fused        {fused}",
        *_costs(plan, lowered),
        "",
        "passes       nodes before -> after",
        *_passes(expr, lowered, trace),
        "",
        "plan         time x [bands] of each node, its inputs beneath it",
        *_tree(plan.root, notes),
    ]
    return "\n".join(lines)
