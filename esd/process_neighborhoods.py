"""openEO's apply_neighborhood: a process on pieces of a cube, each with an overlap that is thrown away afterwards.

A process that looks no further around than the overlap gives the same whether it is run on pieces or on all of the cube, so
it is run on all of it: lazy, fused and tiled like any expression. Only one that looks further, such as a mean over the whole
piece, is run piece by piece.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .engine.lower import lower
from .engine.memory import halo_of
from .engine.scene import Planes, Scene, Whole, read_scene
from .errors import ProcessGraphError
from .expr import Expr, postorder
from .grid import Region, pixel_size, region_of, sub_geobox
from .image import Image, call, from_array
from .operator import ENGINE, Tile, get_operator, operator
from .process_declare import Cube, process
from .process_space import grid_of
from .process_values import DataCube, Series, as_cube
from .space import CubeType, Space

if TYPE_CHECKING:
    from .process_graph import Callback, Context

__all__ = ["Neighborhood"]

Extent = tuple[int, int]
"""How long pieces are along an axis, and how far they overlap on either side."""
LOCAL = (Tile.PIXEL, Tile.ARRAY, Tile.TIME)
ELSEWHERE = frozenset({"load", "reproject", "reduce_all"})
"""Operators of the engine that take from other pixels than their own."""
_DURATION = re.compile(r"P(\d+)([DW])")


def _told(value: Any) -> Any:
    """Return what stands for a parameter of a callback in its hash."""
    if isinstance(value, DataCube | Series):
        value = value.image
    return value.expr.key if isinstance(value, Image) else repr(value)


@dataclass(frozen=True, eq=False)
class Neighborhood:
    """A process and the dimensions that it is told of a piece: those of the cube, but for its own labels along x and y."""

    graph: Context
    process: Callback
    context: Any
    cube: DataCube

    @cached_property
    def token(self) -> str:
        """Hash of the process, of the parameters that it sees, and of the dimensions."""
        seen = {name: self.process.scope[name] for name in self.foreign}
        named = [(d.name, d.kind, d.axis) for d in self.cube.dimensions]
        told = json.dumps([self.process.nodes, seen, self.context, named], default=_told, sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def __repr__(self) -> str:
        return f"Neighborhood({', '.join(str(node.get('process_id')) for node in self.process.nodes.values())})"

    def run(self, piece: Image) -> Image:
        """Return what the process makes of a piece. Raises ProcessGraphError where that has other dimensions or labels."""
        own = {d.axis: d.labels for d in as_cube(piece).dimensions if d.axis in ("x", "y")}
        dimensions = tuple(replace(d, labels=own.get(d.axis, d.labels)) for d in self.cube.dimensions)
        value = self.graph.call(self.process, data=DataCube(piece, dimensions), context=self.context)
        made = value.image if isinstance(value, DataCube | Series) else value
        named = not isinstance(value, DataCube) or [d.name for d in value.dimensions] == [d.name for d in dimensions]
        wanted = (piece.type.time, piece.type.bands, piece.type.grid)
        if not isinstance(made, Image) or not named or (made.type.time, made.type.bands, made.type.grid) != wanted:
            raise ProcessGraphError(
                "the process must return a cube of the same dimensions and labels", "DataCubePropertiesImmutable"
            )
        return made

    @property
    def foreign(self) -> list[str]:
        """Parameters from outside that the process takes from, which it cannot be written without."""
        text = json.dumps(self.process.nodes, default=str)
        outside = sorted(set(self.process.scope) - {"data", "context"})
        return [name for name in outside if json.dumps({"from_parameter": name}) in text]


def _sample(given: CubeType, neighborhood: Neighborhood) -> Image:
    """Return the process's result for a few pixels."""
    assert given.grid is not None
    few = sub_geobox(given.grid, Region(0, min(4, given.grid.shape.y), 0, min(4, given.grid.shape.x)))
    zeros = np.zeros((len(given.time), len(given.bands), *few.shape), dtype=given.dtype)
    return neighborhood.run(from_array(zeros, few, given.bands, given.time))


def _pieces_rule(image: CubeType, *, neighborhood: Neighborhood, size: Extent, overlap: Extent) -> CubeType:
    del size, overlap
    made = _sample(image, neighborhood).type
    return image.with_(dtype=made.dtype, space=Space.VALUE, encoder=None)


def _pieces_work(types: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    return 2 * pixels * len(types[0].time) * len(types[0].bands) * (types[0].dtype.itemsize + 9)


@operator(ENGINE, Tile.GLOBAL, _pieces_rule, work=_pieces_work)
def apply_pieces(image: Scene, neighborhood: Neighborhood, size: Extent, overlap: Extent) -> Whole:
    """Run a process on pieces of `size` rows and columns, which overlap by as many as `overlap` on each side.

    Pieces are counted from the upper left corner; the last ones are cut. What overlaps beyond the image is not valid.
    """
    values, valid = read_scene(image)
    given = image.type
    dtype = _pieces_rule(given, neighborhood=neighborhood, size=size, overlap=overlap).dtype
    result, known = np.zeros(image.shape, dtype=dtype), np.zeros(image.shape, dtype=bool)
    for inner in _cores(image, size):
        outer = Region(inner.y0 - overlap[0], inner.y1 + overlap[0], inner.x0 - overlap[1], inner.x1 + overlap[1])
        there = outer.intersect(region_of(image.grid))
        piece = np.zeros((*image.shape[:2], *outer.shape), dtype=values.dtype)
        seen = np.zeros(piece.shape, dtype=bool)
        piece[(..., *there.within(outer))], seen[(..., *there.within(outer))] = (
            array[(..., *there.slices)] for array in (values, valid)
        )
        made = neighborhood.run(from_array(piece, sub_geobox(image.grid, outer), given.bands, given.time, seen)).compute()
        result[(..., *inner.slices)] = made.values[(..., *inner.within(outer))]
        known[(..., *inner.slices)] = made.valid[(..., *inner.within(outer))]
    return Planes(result, known)


def _cores(image: Scene, size: Extent) -> Iterator[Region]:
    rows, columns = image.grid.shape
    for y in range(0, rows, size[0]):
        for x in range(0, columns, size[1]):
            yield Region(y, min(y + size[0], rows), x, min(x + size[1], columns))


def _reach(made: Image, given: Image) -> int | None:
    """Return how many pixels around its own each pixel of a result takes from; None where there may be no end to it."""
    before = {node.key for node in postorder(lower(given.expr))}
    reach = 0
    for node in postorder(lower(made.expr)):
        declared = get_operator(node.op)
        if node.key in before or declared.tile in LOCAL:
            continue
        if declared.tile is Tile.GLOBAL or node.op in ELSEWHERE or _is_plane(node):
            return None
        reach += halo_of(node)
    return reach


def _is_plane(node: Expr) -> bool:
    """Tell whether a node is numbers that lie somewhere, such as places or a mask, and so differ from piece to piece."""
    return not node.src and node.op != "constant"


def _in_space(neighborhood: Neighborhood, image: Image, size: Sequence[int], overlap: Sequence[int]) -> Image:
    """Return the process's result for pieces in space: of the whole image where pieces make no difference."""
    grid = grid_of(neighborhood.cube)
    rows, columns = grid.shape
    made = neighborhood.run(image)
    reach = _reach(made, image)
    if reach == 0 or (not any(overlap) and size[0] >= rows and size[1] >= columns):
        return made
    if reach is not None and reach <= min(overlap):
        beyond = sub_geobox(grid, Region(-overlap[0], rows + overlap[0], -overlap[1], columns + overlap[1]))
        return neighborhood.run(image.reproject_to(beyond)).reproject_to(grid)
    return call("apply_pieces", image, neighborhood, tuple(size), tuple(overlap))


def _entries(given: Any, what: str, cube: DataCube) -> dict[str, Any]:
    """Return lengths by the axis of their dimension. Raises ProcessGraphError for another form."""
    if not isinstance(given, list) or not all(isinstance(one, Mapping) and "dimension" in one for one in given):
        raise ProcessGraphError(f"{what} must be a list of objects with dimension and value, not {str(given)[:60]!r}")
    return {cube.dimension(one["dimension"]).axis: one for one in given if one.get("value") is not None}


def _pixels(entry: Mapping[str, Any], cube: DataCube, what: str) -> int:
    """Return a length in pixels. Raises ProcessGraphError for one that is no whole number of them."""
    dimension, value = cube.dimension(entry["dimension"]), entry["value"]
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else -1.0
    if dimension.kind == "spatial" and entry.get("unit") != "px":
        width, height = pixel_size(grid_of(cube))
        number /= width if dimension.axis == "x" else height
    whole = round(number)
    if whole < (1 if what == "size" else 0) or abs(number - whole) > 1e-6:
        raise ProcessGraphError(f"{what} of {dimension.name!r}: {value!r} is no whole number of its labels or pixels")
    return whole


def _windows(cube: DataCube, axis: str, size: Mapping[str, Any], overlap: Mapping[str, Any]) -> list[tuple[range, range]]:
    """Return the labels of the pieces along a dimension, by position: those with the overlap, and those of the piece."""
    found = next((d for d in cube.dimensions if d.axis == axis), None)
    count = len(found.labels) if found is not None else 1
    entry, more = size.get(axis), overlap.get(axis)
    if entry is None:
        return [(range(count), range(count))]
    if isinstance(entry["value"], str):
        return _by_duration([str(label) for label in found.labels] if found else [], entry, more)
    step, extra = _pixels(entry, cube, "size"), 0 if more is None else _pixels(more, cube, "overlap")
    return [
        (range(max(0, at - extra), min(count, at + step + extra)), range(at, min(count, at + step)))
        for at in range(0, count, step)
    ]


def _by_duration(
    labels: Sequence[str], size: Mapping[str, Any], overlap: Mapping[str, Any] | None
) -> list[tuple[range, range]]:
    step, extra = _days(size["value"], "size"), _days(overlap["value"], "overlap") if overlap else 0
    try:
        days = np.array([dt.date.fromisoformat(label[:10]).toordinal() for label in labels])
    except ValueError:
        raise ProcessGraphError(f"size {size['value']!r} is a duration, and {labels[0]!r} is no date") from None
    if step < 1 or (np.diff(days) < 0).any():
        raise ProcessGraphError(f"size {size['value']!r} is no time, or the labels of {size['dimension']!r} do not rise")
    found = []
    for start in range(int(days[0]), int(days[-1]) + 1, step):
        ends = (start - extra, start + step + extra, start, start + step)
        outer_first, outer_end, first, end = (int(place) for place in np.searchsorted(days, ends))
        if end > first:
            found.append((range(outer_first, outer_end), range(first, end)))
    return found


def _days(value: Any, what: str) -> int:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ProcessGraphError(f"{what} {value!r} is no duration in days or weeks; write P5D or P2W, or a number of labels")
    return int(match[1]) * (7 if match[2] == "W" else 1)


def _axis(cube: DataCube, axis: str, places: range) -> DataCube:
    """Return some labels of a cube along its times or bands."""
    image = cube.full
    if axis == "time" and places != range(len(image.type.time)):
        image = call("rearrange", image, tuple(places))
    elif axis == "bands" and places != range(len(image.type.bands)):
        image = call("select", image, *(image.type.bands[place] for place in places))
    dimensions = (replace(d, labels=tuple(d.labels[i] for i in places)) if d.axis == axis else d for d in cube.dimensions)
    return DataCube(image, tuple(dimensions))


@process("apply_neighborhood")
def _apply_neighborhood(
    graph: Context, data: Cube, process: Any, size: Any, overlap: Any = None, context: Any = None
) -> DataCube:
    """Run a process on pieces of a cube: so many labels or pixels of each dimension, and as many around as `overlap` says.

    Lengths are numbers of pixels (unit px) or metres, along t and bands of labels, along t also P5D or P2W, counted from the
    first date. Overlap beyond the border of the image is missing; beyond the first and the last label there is none. The
    process gets and returns a cube, also of one pixel.
    """
    lengths = _entries(size, "size", data)
    around = _entries(overlap or [], "overlap", data)
    rows, columns = grid_of(data).shape
    sides = tuple(
        _pixels(lengths[axis], data, "size") if axis in lengths else full for axis, full in (("y", rows), ("x", columns))
    )
    margins = tuple(_pixels(around[axis], data, "overlap") if axis in around else 0 for axis in ("y", "x"))
    joined = []
    for outer_time, time in _windows(data, "time", lengths, around):
        parts = []
        for outer_bands, bands in _windows(data, "bands", lengths, around):
            cube = _axis(_axis(data, "time", outer_time), "bands", outer_bands)
            made = _in_space(
                Neighborhood(graph, process, context, cube), cube.full, (sides[0], sides[1]), (margins[0], margins[1])
            )
            inside = replace(cube, image=made)
            inside = _axis(inside, "time", range(time.start - outer_time.start, time.stop - outer_time.start))
            parts.append(_axis(inside, "bands", range(bands.start - outer_bands.start, bands.stop - outer_bands.start)).full)
        joined.append(call("add_bands", *parts) if len(parts) > 1 else parts[0])
    return replace(data, image=call("stack", *joined) if len(joined) > 1 else joined[0])
