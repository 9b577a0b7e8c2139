"""The memory that a tile takes, known before it is computed: results live from when they are made to their last use.

Counted are the planes of every node with their validity, as the interpreter makes them (compiled runs make fewer), what
kernels work in, and what lies before a reprojection, of which a tile may need more pixels than it has itself.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from esd.cube import codec_by_hash
from esd.expr import Expr, postorder
from esd.grid import Region, region_of, sub_geobox
from esd.operator import Tile, get_operator
from esd.regrid import AT_ONCE

from .lower import infer
from .resample import WHOLE_PIXELS, footprint_region
from .total_order import TOTAL_BLOCK

__all__ = ["ELSEWHERE", "Peak", "halo_of", "peak_of", "whole_bytes"]

ELSEWHERE = frozenset({"reproject", "reduce_all", "reduce_resolution"})
"""Operators whose inputs are on another grid: they find the region that they need themselves."""
POSITION_BYTES = 160
"""Bytes a pixel of a reprojection: coordinates, indices and weights as float64 and int64."""
REDUCED_COPIES = 6
"""Copies of its input that a reducer of blocks holds: laid out by block, masked, and in double precision or ranked."""
MARGIN = 1.25
"""A tile elsewhere in the grid may cover more of the source than the one in its middle."""


@dataclass(frozen=True)
class Peak:
    """Bytes that are held at a time at most, and the operator that takes most of them."""

    bytes: int
    largest: str
    most: int


def halo_of(node: Expr) -> int:
    """Return how many pixels around a pixel an operator looks at."""
    declared = get_operator(node.op)
    return declared.halo(node.args) if declared.tile is Tile.FOCAL else 0


def _result_bytes(node: Expr, pixels: int) -> int:
    given = infer(node)
    return 0 if given.grid is None else given.bytes_per_pixel * pixels


def _work_bytes(node: Expr, pixels: int) -> int:
    """Bytes that a node's kernel works in, beside its inputs and its result."""
    declared, sources = get_operator(node.op), [infer(source) for source in node.src]
    if node.op in ("decode", "uncertainty"):
        return codec_by_hash(str(sources[0].encoder)).scratch_bytes
    if node.op == "stored":
        return int(node.args["source"].scratch_bytes)
    if declared.work is not None:
        return declared.work(sources, node.args, pixels)
    if declared.tile in (Tile.TIME, Tile.ARRAY):
        return 2 * sum(given.bytes_per_pixel for given in sources) * pixels
    return 0


def _source_pixels(node: Expr, tile: Region) -> int:
    """Return the pixels that a reprojection evaluates at a time, for a tile in the middle of its grid."""
    source, target = infer(node.src[0]).grid, infer(node).grid
    if source is None or target is None:
        return 1
    if node.op == "reduce_resolution":
        return min(tile.size * node.args["factor"] ** 2, AT_ONCE, region_of(source).size)
    rows, columns = (min(side, whole) for side, whole in zip(tile.shape, target.shape, strict=True))
    y, x = (target.shape.y - rows) // 2, (target.shape.x - columns) // 2
    covered = footprint_region(source, sub_geobox(target, Region(y, y + rows, x, x + columns))).size
    return max(1, min(int(covered * MARGIN), WHOLE_PIXELS, region_of(source).size))


def _elsewhere(node: Expr, tile: Region) -> Peak:
    """Return the peak of what lies before a node that finds itself what it needs."""
    declared, source = get_operator(node.op), node.src[0]
    if declared.tile is Tile.GLOBAL or infer(source).grid is None:
        return Peak(0, node.op, 0)
    if node.op == "reduce_all":
        return peak_of(source, Region(0, TOTAL_BLOCK, 0, TOTAL_BLOCK))
    pixels = _source_pixels(node, tile)
    inner = peak_of(source, Region(0, 1, 0, pixels))
    if node.op == "reduce_resolution":
        copies = REDUCED_COPIES * infer(source).bytes_per_pixel * pixels
        return Peak(inner.bytes + copies, node.op if copies > inner.bytes else inner.largest, max(copies, inner.most))
    return Peak(inner.bytes + POSITION_BYTES * tile.size, inner.largest, inner.most)


def _stops(node: Expr) -> bool:
    return node.op in ELSEWHERE or get_operator(node.op).tile is Tile.GLOBAL


def _here(root: Expr) -> list[Expr]:
    """Return the nodes that are evaluated on the root's own region, inputs first."""
    reached, nodes = {root.key}, list(postorder(root))
    for node in reversed(nodes):
        if node.key in reached and not _stops(node):
            reached.update(source.key for source in node.src)
    return [node for node in nodes if node.key in reached]


def peak_of(root: Expr, tile: Region) -> Peak:
    """Return the peak bytes of one tile of a lowered expression, results freed after their last use."""
    nodes = _here(root)
    pixels = tile.grow(sum(halo_of(node) for node in nodes)).size
    waiting = Counter(key for node in nodes if not _stops(node) for key in dict.fromkeys(s.key for s in node.src))
    live = peak = most = 0
    largest = root.op
    for node in nodes:
        own, work, culprit = _result_bytes(node, pixels), _work_bytes(node, pixels), node.op
        if get_operator(node.op).tile is Tile.GLOBAL:
            work = 0
        elif node.op in ELSEWHERE:
            inner = _elsewhere(node, tile)
            work, culprit = inner.bytes, inner.largest
        live += own
        peak = max(peak, live + work)
        if own + work > most:
            largest, most = culprit, own + work
        for source in () if _stops(node) else {s.key: s for s in node.src}.values():
            waiting[source.key] -= 1
            if waiting[source.key] == 0:
                live -= _result_bytes(source, pixels)
    return Peak(peak, largest, most)


def whole_bytes(root: Expr, tile: Region) -> tuple[int, str]:
    """Return the bytes that operators on whole grids hold during the run, whatever its tiles, and which takes most.

    Their inputs are evaluated once, by as many threads as the machine has.
    """
    held, making = {"": 0}, 0
    for node in postorder(root):
        grid = infer(node).grid
        if get_operator(node.op).tile is Tile.GLOBAL and grid is not None:
            held[node.op] = held.get(node.op, 0) + _work_bytes(node, region_of(grid).size)
            making = max(making, peak_of(node.src[0], tile).bytes * (os.cpu_count() or 1))
    return sum(held.values()) + making, max(held, key=lambda name: held[name])
