"""Plans: tiles, bytes to read and peak memory, all known before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from esd.cube import codec_by_hash
from esd.errors import ExpressionError, GridError, MemoryLimitError
from esd.expr import Expr, postorder
from esd.grid import Region, region_of, tiles
from esd.operator import Tile, get_operator
from esd.space import CubeType

from .lower import infer, lower
from .rewrite import consumers_of, optimize
from .total_order import TOTAL_BLOCK

__all__ = ["DEFAULT_MEMORY", "Plan", "halo_of", "make_plan", "needed_regions"]

DEFAULT_MEMORY = 2 * 1024**3
DEFAULT_TILE = 512
SMALLEST_TILE = 32
ELSEWHERE = frozenset({"reproject", "reduce_all"})
"""Operators whose inputs are on another grid: they find the region that they need themselves."""


@dataclass(frozen=True)
class Plan:
    """What will run: the expression, its tiles, and what they cost."""

    root: Expr
    type: CubeType
    region: Region
    tile: int
    threads: int
    peak_bytes: int
    read_bytes: int
    largest: str

    @property
    def tiles(self) -> list[Region]:
        """The tiles, row by row."""
        return list(tiles(self.region, self.tile))


def halo_of(node: Expr) -> int:
    """Return how many pixels around a pixel an operator looks at."""
    declared = get_operator(node.op)
    return declared.halo(node.args) if declared.tile is Tile.FOCAL else 0


def needed_regions(root: Expr, region: Region) -> dict[str, Region]:
    """Return the region of each node that a region of the result needs, halos added up, on the grid before a reprojection.

    What lies before a reprojection is not told: the engine finds it from coordinates.
    """
    needed = {root.key: region}
    for node in reversed(list(postorder(root))):
        if node.op in ELSEWHERE or node.key not in needed or get_operator(node.op).tile is Tile.GLOBAL:
            continue
        grown = needed[node.key].grow(halo_of(node))
        for source in node.src:
            grid = infer(source).grid
            if grid is None:
                continue
            inside = grown.intersect(region_of(grid))
            known = needed.get(source.key, inside)
            needed[source.key] = Region(
                min(known.y0, inside.y0), max(known.y1, inside.y1), min(known.x0, inside.x0), max(known.x1, inside.x1)
            )
    return needed


def _node_bytes(node: Expr, pixels: int) -> int:
    """Bytes that a node's result takes, with what its kernel works in."""
    given = infer(node)
    if given.grid is None:
        return 0
    own = given.bytes_per_pixel * pixels
    if node.op in ("decode", "uncertainty"):
        return own + codec_by_hash(str(infer(node.src[0]).encoder)).scratch_bytes
    if get_operator(node.op).work is not None and get_operator(node.op).tile is not Tile.GLOBAL:
        return own + _work_bytes(node, pixels)
    if get_operator(node.op).tile in (Tile.TIME, Tile.ARRAY):
        return own + 2 * sum(infer(source).bytes_per_pixel for source in node.src) * pixels
    return own


def _work_bytes(node: Expr, pixels: int) -> int:
    work = get_operator(node.op).work
    return 0 if work is None else work([infer(source) for source in node.src], node.args, pixels)


def _whole_bytes(root: Expr) -> tuple[int, str]:
    """Return the bytes that operators on whole grids hold during the run, whatever the tiles, and which takes most."""
    held = {"": 0}
    for node in postorder(root):
        grid = infer(node).grid
        if get_operator(node.op).tile is Tile.GLOBAL and grid is not None:
            held[node.op] = held.get(node.op, 0) + _work_bytes(node, region_of(grid).size)
    return sum(held.values()), max(held, key=lambda name: held[name])


def _peak(root: Expr, region: Region, users: Mapping[str, list[Expr]]) -> tuple[int, str]:
    """Return the peak bytes of one tile, results freed after their last use, and the operator that takes most."""
    halo = sum(halo_of(node) for node in postorder(root))
    blocks = any(node.op == "reduce_all" for node in postorder(root))
    pixels = max(region.grow(halo).size, Region(0, TOTAL_BLOCK, 0, TOTAL_BLOCK).grow(halo).size if blocks else 0)
    waiting = {key: len(nodes) for key, nodes in users.items()}
    live = peak = 0
    largest, largest_bytes = root.op, 0
    for node in postorder(root):
        needs = _node_bytes(node, pixels)
        live += needs
        peak = max(peak, live)
        if needs > largest_bytes:
            largest, largest_bytes = node.op, needs
        for source in dict.fromkeys(node.src):
            waiting[source.key] -= 1
            if waiting[source.key] == 0:
                live -= _node_bytes(source, pixels)
    return peak, largest


def _largest_tile(region: Region, side: int) -> Region:
    return Region(0, min(side, region.shape[0]), 0, min(side, region.shape[1]))


def make_plan(
    expr: Expr, region: Region | None = None, tile: int | None = None, max_memory: int | None = None, threads: int = 1
) -> Plan:
    """Plan an expression over a region of its grid.

    `tile` fixes the side of the tiles; without it they are 512 pixels and shrink until `threads` of them fit into
    `max_memory` bytes. Raises MemoryLimitError where even the smallest do not, GridError for a region outside the grid.
    """
    root = optimize(lower(expr))
    given = infer(root)
    if given.grid is None:
        raise ExpressionError(f"{expr!r} is made of constants only and has no grid; use an image of a cube in it")
    whole = region_of(given.grid)
    asked = whole if region is None else region
    if asked.size == 0 or asked.intersect(whole) != asked:
        raise GridError(f"region {asked} does not lie inside the grid of {whole.y1} x {whole.x1} pixels")
    allowed = DEFAULT_MEMORY if max_memory is None else max_memory
    users = consumers_of(root)
    side = tile or DEFAULT_TILE
    held, holder = _whole_bytes(root)
    peak, largest = _peak(root, _largest_tile(asked, side), users)
    while tile is None and side > SMALLEST_TILE and peak * threads + held > allowed:
        side //= 2
        peak, largest = _peak(root, _largest_tile(asked, side), users)
    total = peak * threads + held
    largest = holder if held > peak * threads else largest
    if total > allowed and (tile is None or held > allowed):
        raise MemoryLimitError(
            f"the plan needs {total / 1e6:.0f} MB even in tiles of {side} pixels, {allowed / 1e6:.0f} MB are "
            f"allowed; most goes to {largest!r}: raise --max-memory or narrow it (filter_date, select)"
        )
    reads = sum(infer(node).bytes_per_pixel for node in postorder(root) if node.op == "load")
    return Plan(root, given, asked, side, threads, total, reads * asked.size, largest)
