"""The plan as a picture: SVG, layer by layer, inputs at the top and the result at the bottom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from esd.expr import Expr, Tokenized, postorder
from esd.operator import Tile, get_operator
from esd.space import Space

from .fuse import runs_of
from .lower import infer, lower
from .rewrite import optimize

__all__ = ["draw"]

WIDTH, HEIGHT, BEND = 190, 52, 10
GAP_X, GAP_Y, MARGIN = 24, 44, 24
SWEEPS = 6
_FILLS = {
    Space.CODES: "#efe6fb",
    Space.EMBEDDING: "#e2ecfd",
    Space.REFLECTANCE: "#e3f5e6",
    Space.VALUE: "#fdf3dc",
}
_CONVERSIONS = ("decode", "embedding")
_NOTES = {
    Tile.FOCAL: "looks around",
    Tile.TIME: "over time",
    Tile.ARRAY: "over bands and times",
}


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float


@dataclass(frozen=True)
class _Layout:
    """Boxes by key, and for each line from an input to a user the bends between them, which have boxes too."""

    boxes: dict[str, _Box]
    bends: dict[tuple[str, str], list[str]]


def _depths(nodes: Sequence[Expr]) -> dict[str, int]:
    """Return the layer of each node, from the top: right above the first that uses it."""
    above: dict[str, int] = {}
    for node in reversed(nodes):
        mine = above.setdefault(node.key, 0)
        for source in node.src:
            above[source.key] = max(above.get(source.key, 0), mine + 1)
    most = max(above[node.key] for node in nodes)
    return {node.key: most - above[node.key] for node in nodes}


def _layout(nodes: Sequence[Expr]) -> _Layout:
    """Place nodes layer by layer; a line over several layers gets a bend in each, so that it runs between the boxes."""
    depth = _depths(nodes)
    layers: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for node in nodes:
        layers[depth[node.key]].append(node.key)
    near: dict[str, tuple[list[str], list[str]]] = {node.key: ([], []) for node in nodes}
    bends: dict[tuple[str, str], list[str]] = {}
    for node in nodes:
        for source in dict.fromkeys(node.src):
            if source.key not in depth:
                continue
            between = [f"{source.key}/{node.key}/{row}" for row in range(depth[source.key] + 1, depth[node.key])]
            bends[source.key, node.key] = between
            for key in between:
                layers[depth[source.key] + 1 + between.index(key)].append(key)
                near[key] = ([], [])
            path = [source.key, *between, node.key]
            for upper, lower_one in pairwise(path):
                near[upper][1].append(lower_one)
                near[lower_one][0].append(upper)
    _order(layers, near)
    return _Layout(_boxes(layers, {node.key for node in nodes}), bends)


def _order(layers: list[list[str]], near: Mapping[str, tuple[list[str], list[str]]]) -> None:
    """Move each node towards the middle of its neighbours above and below by turns, so that few lines cross."""
    place = {key: (i + 0.5) / len(layer) for layer in layers for i, key in enumerate(layer)}
    for sweep in range(SWEEPS):
        side = sweep % 2
        for layer in layers if side == 0 else reversed(layers):
            centre = {key: sum(place[k] for k in near[key][side]) / max(len(near[key][side]), 1) for key in layer}
            layer.sort(key=_by(centre, place, {key for key in layer if near[key][side]}))
            place |= {key: (i + 0.5) / len(layer) for i, key in enumerate(layer)}


def _by(centre: Mapping[str, float], place: Mapping[str, float], moved: AbstractSet[str]) -> Callable[[str], float]:
    """Return what to sort by: where the neighbours are, or the place as it is for what has none."""
    wanted = {key: centre[key] if key in moved else place[key] for key in centre}
    return wanted.__getitem__


def _boxes(layers: Sequence[Sequence[str]], nodes: set[str]) -> dict[str, _Box]:
    widths = [[WIDTH if key in nodes else BEND for key in layer] for layer in layers]
    totals = [sum(row) + GAP_X * (len(row) - 1) for row in widths]
    boxes: dict[str, _Box] = {}
    for row, (layer, sizes) in enumerate(zip(layers, widths, strict=True)):
        x = MARGIN + (max(totals) - totals[row]) / 2
        for key, width in zip(layer, sizes, strict=True):
            boxes[key] = _Box(x, MARGIN + row * (HEIGHT + GAP_Y), width)
            x += width + GAP_X
    return boxes


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _spell(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(_spell(item) for item in value)
    return type(value).__name__ if isinstance(value, Tokenized) else str(value)


def _caption(node: Expr) -> str:
    """Return the arguments of a node, constants among its inputs too, in one line."""
    if node.op == "load":
        args = node.args
        return f"{args['array']} {args['window']} {args['grid']}"
    constants = [_spell(source.args["value"]) for source in node.src if source.op == "constant"]
    named = [f"{name} {_spell(value)}" for name, value in node.arg if value not in ((), None)]
    if len(node.arg) == 1 and named:
        named = [_spell(node.arg[0][1])]
    return ", ".join([*constants, *named])


def _node(node: Expr, box: _Box, group: int | None) -> list[str]:
    given = infer(node)
    title, caption = _shorten(node.op, 22), _shorten(_caption(node), 30)
    shape = f"{_count(len(given.time), 'time')}, {_count(len(given.bands), 'band')}, {given.dtype}"
    note = _NOTES.get(get_operator(node.op).tile, "")
    note = f"fused {group}" if group is not None else note
    stroke, width = ("#b3402e", 2.2) if node.op in _CONVERSIONS else ("#55606e", 1.1)
    full = f"{node.op}({_caption(node)}): {given.describe()}"
    return [
        (
            f'<g><title>{escape(full)}</title><rect x="{box.x:.0f}" y="{box.y:.0f}" width="{WIDTH}" '
            f'height="{HEIGHT}" rx="7" '
            f'fill="{_FILLS[given.space]}" stroke="{stroke}" stroke-width="{width}"/>'
        ),
        f'<text x="{box.x + 10:.0f}" y="{box.y + 17:.0f}" font-weight="600">{escape(title)}</text>',
        (
            f'<text x="{box.x + WIDTH - 10:.0f}" y="{box.y + 17:.0f}" text-anchor="end" font-size="9.5" fill="#7a5a00">'
            f"{escape(note)}</text>"
        ),
        f'<text x="{box.x + 10:.0f}" y="{box.y + 31:.0f}" font-size="10" fill="#333">{escape(caption)}</text>',
        f'<text x="{box.x + 10:.0f}" y="{box.y + 45:.0f}" font-size="10" fill="#68727f">{escape(shape)}</text></g>',
    ]


def _edge(layout: _Layout, source: Expr, node: Expr, position: int, inputs: int) -> str:
    """Draw a line from the bottom of an input, through its bends, to its place along the top of the node that uses it."""
    start, end = layout.boxes[source.key], layout.boxes[node.key]
    x, y = start.x + start.width / 2, start.y + HEIGHT
    path = f"M{x:.1f},{y:.1f}"
    for key in layout.bends[source.key, node.key]:
        bend = layout.boxes[key]
        across = bend.x + bend.width / 2
        path += _curve(x, y, across, bend.y) + f" L{across:.1f},{bend.y + HEIGHT:.1f}"
        x, y = across, bend.y + HEIGHT
    path += _curve(x, y, end.x + end.width * (position + 1) / (inputs + 1), end.y - 5)
    return f'<path d="{path}" fill="none" stroke="#8a94a3" stroke-width="1.2" marker-end="url(#tip)"/>'


def _curve(x0: float, y0: float, x1: float, y1: float) -> str:
    half = (y1 - y0) / 2
    return f" C{x0:.1f},{y0 + half:.1f} {x1:.1f},{y1 - half:.1f} {x1:.1f},{y1:.1f}"


def _legend(y: float) -> list[str]:
    lines, x = [], float(MARGIN)
    for space, color in _FILLS.items():
        lines.append(f'<rect x="{x:.0f}" y="{y:.0f}" width="12" height="12" rx="3" fill="{color}" stroke="#55606e"/>')
        lines.append(f'<text x="{x + 17:.0f}" y="{y + 10:.0f}" font-size="10">{space.value}</text>')
        x += 92
    lines.append(
        f'<rect x="{x:.0f}" y="{y:.0f}" width="12" height="12" rx="3" fill="none" stroke="#b3402e" stroke-width="2"/>'
    )
    lines.append(f'<text x="{x + 17:.0f}" y="{y + 10:.0f}" font-size="10">conversion</text>')
    return lines


def draw(expr: Expr) -> str:
    """Return the plan of an expression as SVG: each node with its arguments, times x bands and dtype, coloured by space."""
    root = optimize(lower(expr))
    nodes = [node for node in postorder(root) if node.op != "constant" or node is root]
    known = {node.key for node in nodes}
    layout = _layout(nodes)
    boxes = [layout.boxes[key] for key in layout.boxes]
    groups = {node.key: i for i, run in enumerate(runs_of(root).values(), start=1) for node in run.nodes}
    drawn: list[str] = []
    for node in nodes:
        inputs = [source for source in node.src if source.key in known]
        drawn += [_edge(layout, source, node, i, len(inputs)) for i, source in enumerate(inputs)]
    for node in nodes:
        drawn += _node(node, layout.boxes[node.key], groups.get(node.key))
    width = max(max(box.x + box.width for box in boxes) + MARGIN, 560)
    height = max(box.y for box in boxes) + HEIGHT + MARGIN
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height + 34:.0f}" width="{width:.0f}" '
                f'height="{height + 34:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="12.5">'
            ),
            (
                '<defs><marker id="tip" viewBox="0 0 8 8" refX="3" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
                '<path d="M0,0 L8,4 L0,8 z" fill="#8a94a3"/></marker></defs>'
            ),
            f'<rect width="{width:.0f}" height="{height + 34:.0f}" fill="#ffffff"/>',
            *drawn,
            *_legend(height),
            "</svg>",
            "",
        ]
    )
