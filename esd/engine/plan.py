"""Plans: tiles, bytes to read and peak memory, all known before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from esd.errors import ExpressionError, GridError, MemoryLimitError
from esd.expr import Expr, postorder
from esd.grid import Region, region_of, tiles
from esd.operator import Tile, get_operator
from esd.space import CubeType

from .lower import infer, lower
from .memory import ELSEWHERE, halo_of, peak_of, whole_bytes
from .rewrite import optimize
from .streaming import GROUPS, stream_reductions

__all__ = ["DEFAULT_MEMORY", "Plan", "halo_of", "make_plan", "needed_regions"]

DEFAULT_MEMORY = 2 * 1024**3
DEFAULT_TILE = 512
SMALLEST_TILE = 32
FAIR_TILE = 256
"""Side below which smaller tiles cost more than a stack computed in groups."""


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


def needed_regions(root: Expr, region: Region) -> dict[str, Region]:
    """Return the region of each node that a region of the result needs, halos added up, on the grid before a reprojection.

    What lies before a reprojection is not told: the engine finds it from coordinates.
    """
    needed = {root.key: region}
    for key, halo, sources in _edges(root):
        if key not in needed:
            continue
        grown = needed[key].grow(halo) if halo else needed[key]
        for source, whole in sources:
            inside = grown.intersect(whole)
            known = needed.get(source)
            needed[source] = inside if known is None or known == inside else known.union(inside)
    return needed


_Edges = list[tuple[str, int, list[tuple[str, Region]]]]
_EDGES: WeakKeyDictionary[Expr, _Edges] = WeakKeyDictionary()


def _edges(root: Expr) -> _Edges:
    """Return the nodes that hand regions on, users first: key, halo, and the keys and grids of their inputs."""
    known = _EDGES.get(root)
    if known is None:
        known = []
        for node in reversed(list(postorder(root))):
            if node.op not in ELSEWHERE and get_operator(node.op).tile is not Tile.GLOBAL:
                grids = [(source.key, infer(source).grid) for source in node.src]
                known.append((node.key, halo_of(node), [(key, region_of(grid)) for key, grid in grids if grid is not None]))
        _EDGES[root] = known
    return known


def _largest_tile(region: Region, side: int) -> Region:
    return Region(0, min(side, region.shape[0]), 0, min(side, region.shape[1]))


def make_plan(
    expr: Expr, region: Region | None = None, tile: int | None = None, max_memory: int | None = None, threads: int = 1
) -> Plan:
    """Plan an expression over a region of its grid.

    `tile` fixes the side of the tiles; without it they are 512 pixels and shrink until `threads` of them fit into
    `max_memory` bytes; before they get smaller than 256, reducers of deep stacks are computed in groups of times. Raises
    MemoryLimitError where even the smallest do not fit, GridError for a region outside the grid.
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
    fit = _fit(root, asked, tile, allowed, threads)
    for group in GROUPS:
        if fit.total <= allowed and (tile is not None or fit.side >= min(FAIR_TILE, *asked.shape)):
            break
        streamed = stream_reductions(root, group)
        other = fit if streamed is root else _fit(streamed, asked, tile, allowed, threads)
        if (other.total <= allowed, other.side, -other.total) > (fit.total <= allowed, fit.side, -fit.total):
            fit = other
    if fit.total > allowed and (tile is None or fit.held > allowed):
        raise MemoryLimitError(
            f"the plan needs {fit.total / 1e6:.0f} MB even in tiles of {fit.side} pixels, {allowed / 1e6:.0f} MB are "
            f"allowed; most goes to {fit.largest!r}: raise --max-memory or narrow it (filter_date, select)"
        )
    return Plan(fit.root, given, asked, fit.side, threads, fit.total, _read_per_pixel(fit.root) * asked.size, fit.largest)


def _read_per_pixel(root: Expr) -> int:
    """Return the stored bytes that a pixel of the result is made of, blocks of pixels made one counted in full."""
    scale = {root.key: 1}
    total = 0
    for node in reversed(list(postorder(root))):
        if node.op in ("load", "stored"):
            total += infer(node).bytes_per_pixel * scale[node.key]
        finer = node.args["factor"] ** 2 if node.op == "reduce_resolution" else 1
        for source in node.src:
            scale[source.key] = max(scale.get(source.key, 1), scale[node.key] * finer)
    return total


@dataclass(frozen=True)
class _Fit:
    """An expression in tiles of a side: bytes in all, those held during the whole run, and the operator that takes most."""

    root: Expr
    side: int
    total: int
    held: int
    largest: str


def _fit(root: Expr, region: Region, tile: int | None, allowed: int, threads: int) -> _Fit:
    """Return the largest tiles that fit, or the smallest; those of the side `tile` where it is given."""
    side = tile or DEFAULT_TILE
    while True:
        part = _largest_tile(region, side)
        peak, (held, holder) = peak_of(root, part), whole_bytes(root, part)
        total = peak.bytes * threads + held
        if tile is not None or side <= SMALLEST_TILE or total <= allowed:
            return _Fit(root, side, total, held, holder if held > peak.bytes * threads else peak.largest)
        side //= 2
