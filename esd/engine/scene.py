"""Operators whose result may need the whole grid, such as connected components: their input is evaluated once, tile by tile.

The kernel of such an operator (`Tile.GLOBAL`) takes a `Scene`, walks its tiles in whatever order they come, keeps what it
must of them, and returns a `Whole`, from which any region of the result can be cut. A whole is kept while a run that needs
it goes on, and afterwards, up to `KEPT_BYTES` in all, for the next run on the same data.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import GridError
from esd.expr import Expr, postorder
from esd.grid import Region, region_of, tiles
from esd.operator import Tile, get_operator
from esd.space import CubeType

from .executors import LocalExecutor
from .lower import infer
from .stop import current_stop
from .version import data_version

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = [
    "Made",
    "Planes",
    "Scene",
    "Whole",
    "adopted",
    "cut_whole",
    "global_nodes",
    "hold",
    "make_whole",
    "read_scene",
    "version_and_tile",
]

Tiles = Iterator[tuple[Region, Block]]
Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

KEPT_BYTES = 256 * 1024**2
"""Bytes of wholes that are kept after the runs that needed them."""
DEFAULT_TILE = 512


class Whole(Protocol):
    """The result of an operator over a whole grid."""

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        ...

    def crop(self, region: Region) -> Block:
        """Return a region of the result."""
        ...


@dataclass(frozen=True)
class Scene:
    """An image over its whole grid; `tiles` evaluates it anew, each region once, in any order."""

    type: CubeType
    tiles: Callable[[], Tiles]

    @property
    def grid(self) -> GeoBox:
        """The grid of the image."""
        if self.type.grid is None:
            raise GridError("a constant has no grid, and so no neighbours; use an image of a cube")
        return self.type.grid

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Times, bands, rows and columns."""
        return len(self.type.time), len(self.type.bands), self.grid.shape.y, self.grid.shape.x


@dataclass(frozen=True)
class Planes(Whole):
    """A whole result in memory: values [time, band, y, x] and where they are valid."""

    values: Array
    valid: Mask

    @property
    def nbytes(self) -> int:
        """Bytes of values and validity."""
        return int(self.values.nbytes + self.valid.nbytes)

    def crop(self, region: Region) -> Block:
        """Return a region of the result."""
        return Block(self.values[(..., *region.slices)], self.valid[(..., *region.slices)])


def read_scene(scene: Scene, dtype: npt.DTypeLike | None = None) -> tuple[Array, Mask]:
    """Return the whole image [time, band, y, x], 0 where it is not valid, and where it is."""
    values = np.zeros(scene.shape, dtype=scene.type.dtype if dtype is None else dtype)
    valid = np.zeros(scene.shape, dtype=bool)
    for region, block in scene.tiles():
        inside = (..., *region.slices)
        valid[inside] = block.full_valid
        values[inside] = np.where(block.full_valid, block.values, 0)
    return values, valid


def global_nodes(root: Expr) -> list[Expr]:
    """Return the nodes of a graph that need their whole grid, inputs first."""
    return [node for node in postorder(root) if get_operator(node.op).tile is Tile.GLOBAL]


@dataclass(frozen=True)
class Made:
    """A whole on its way between processes: the node's key and the version of the data that it was made of."""

    key: str
    version: str
    whole: Whole


def _version(node: Expr) -> str:
    source = node.src[0]
    grid = infer(source).grid
    return "" if grid is None else data_version(source, region_of(grid))


class _Store:
    """Wholes by node and version of the data, each made once, however many threads ask."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.making: dict[tuple[str, str], threading.Lock] = {}
        self.wholes: OrderedDict[tuple[str, str], Whole] = OrderedDict()
        self.holds: Counter[str] = Counter()
        self.versions: dict[str, str] = {}
        self.tiles: dict[str, int] = {}

    def hold(self, node: Expr, tile: int) -> None:
        version = _version(node)
        with self.lock:
            self.holds[node.key] += 1
            self.versions[node.key], self.tiles[node.key] = version, tile

    def release(self, node: Expr) -> None:
        self._release(node.key)

    def _release(self, key: str) -> None:
        with self.lock:
            self.holds[key] -= 1
            if not self.holds[key]:
                del self.holds[key], self.versions[key], self.tiles[key]
            self._shrink()

    def told(self, node: Expr) -> tuple[str, int]:
        """Return the version of the data that a node is held for, and the side of the tiles."""
        with self.lock:
            known = self.versions.get(node.key), self.tiles.get(node.key, DEFAULT_TILE)
        return known[0] or _version(node), known[1]

    def adopt(self, made: Made) -> None:
        """Take a whole that another process made, and hold it."""
        with self.lock:
            self.holds[made.key] += 1
            self.versions[made.key], self.tiles[made.key] = made.version, DEFAULT_TILE
            self.wholes[made.key, made.version] = made.whole

    def drop(self, made: Made) -> None:
        """End the hold on a whole that was adopted."""
        self._release(made.key)

    def get(self, node: Expr, make: Callable[[int], Whole]) -> Whole:
        key = node.key, self.versions.get(node.key) or _version(node)
        with self.lock:
            known = self._known(key)
            if known is not None:
                return known
            turn = self.making.setdefault(key, threading.Lock())
        with turn:
            with self.lock:
                known = self._known(key)
            if known is not None:
                return known
            made = make(self.tiles.get(node.key, DEFAULT_TILE))
            with self.lock:
                self.wholes[key] = made
                self.making.pop(key, None)
                self._shrink(keep=key)
            return made

    def _known(self, key: tuple[str, str]) -> Whole | None:
        known = self.wholes.get(key)
        if known is not None:
            self.wholes.move_to_end(key)
            self.making.pop(key, None)
        return known

    def _shrink(self, keep: tuple[str, str] | None = None) -> None:
        """Drop what no run holds, the longest unused first, until what is left is small enough."""
        total = sum(whole.nbytes for whole in self.wholes.values())
        for key in [key for key in self.wholes if key != keep and self.versions.get(key[0]) != key[1]]:
            if total <= KEPT_BYTES:
                break
            total -= self.wholes.pop(key).nbytes


_STORE = _Store()


@contextmanager
def hold(root: Expr, tile: int) -> Iterator[None]:
    """Keep the wholes that a graph needs for as long as a run over it goes on; they are made in tiles of this side."""
    nodes = global_nodes(root)
    for node in nodes:
        _STORE.hold(node, tile)
    try:
        yield
    finally:
        for node in nodes:
            _STORE.release(node)


@contextmanager
def adopted(made: Sequence[Made]) -> Iterator[None]:
    """Use wholes that another process made, for as long as a task goes on."""
    for each in made:
        _STORE.adopt(each)
    try:
        yield
    finally:
        for each in made:
            _STORE.drop(each)


def version_and_tile(node: Expr) -> tuple[str, int]:
    """Return the version of the data that a node is held for, and the side of the tiles that its whole is made in."""
    return _STORE.told(node)


def make_whole(node: Expr, tile: int, evaluate: Callable[[Expr, Region], Block]) -> Whole:
    """Evaluate an operator over its whole grid."""
    declared, source = get_operator(node.op), node.src[0]
    if declared.kernel is None:
        raise GridError(f"operator {node.op!r} has no kernel")
    whole: Whole = declared.kernel(Scene(infer(source), lambda: _tiles(source, tile, evaluate)), **node.args)
    return whole


def _tiles(source: Expr, side: int, evaluate: Callable[[Expr, Region], Block]) -> Tiles:
    """Evaluate an image over its whole grid in tiles, on threads of this process."""
    grid = infer(source).grid
    if grid is None:
        raise GridError("a constant has no grid, and so no neighbours; use an image of a cube")
    yield from LocalExecutor().run(partial(evaluate, source), list(tiles(region_of(grid), side)), current_stop())


def cut_whole(node: Expr, region: Region, evaluate: Callable[[Expr, Region], Block]) -> Block:
    """Return a region of the result of a node that needs its whole grid; the first that asks makes the whole."""
    return _STORE.get(node, lambda tile: make_whole(node, tile, evaluate)).crop(region)
