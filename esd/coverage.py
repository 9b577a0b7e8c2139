"""How much of each pixel a polygon covers, exactly, by exactextract (the extra `vector`).

Only coverage is asked of exactextract; what is made of it, for any number of bands and times, is `esd.zonal`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import shapely
from exactextract.feature import Feature, FeatureSource
from exactextract.operation import Operation
from exactextract.processor import FeatureSequentialProcessor
from exactextract.raster import NumPyRasterSource
from exactextract.writer import Writer

from .errors import ExpressionError, GridError
from .grid import Region, sub_geobox

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["COVERAGES", "Cells", "cells_of", "check_coverage"]

Indices = npt.NDArray[np.int64]
Geometries = npt.NDArray[Any]

COVERAGES = ("fraction", "center", "all_touched")
BATCH_CELLS = 2_000_000
"""Pixels of the boxes of the regions that are looked at together: 40 MB of pairs of region and pixel at most."""


@dataclass(frozen=True)
class Cells:
    """Pixels of regions inside one block, those of a region in a row.

    `regions` [k] are positions of regions, `starts` [k] where the pixels of each begin, `pixels` [n] places in the block
    row by row, `coverage` [n] the share of each pixel, above 0 and at most 1, float64.
    """

    regions: Indices
    starts: Indices
    pixels: Indices
    coverage: npt.NDArray[np.float64]

    @property
    def owners(self) -> Indices:
        """The region of each pixel [n]."""
        return np.repeat(self.regions, np.diff(np.append(self.starts, len(self.pixels))))


class _Shape(Feature):
    """A geometry as WKB, or what exactextract found for it."""

    def __init__(self, wkb: bytes = b"") -> None:
        super().__init__()
        self.wkb = wkb
        self.found: dict[str, Any] = {}

    def geometry(self) -> bytes:
        return self.wkb

    def set_geometry(self, _wkb: bytes) -> None:
        """Forget it: only what was found is of use."""

    def set_geometry_format(self) -> str:
        return "wkb"

    def get(self, name: str) -> Any:
        return self.found[name]

    def set(self, name: str, value: Any) -> None:
        self.found[name] = value

    def fields(self) -> list[str]:
        return list(self.found)


class _Shapes(FeatureSource):
    """Geometries one after the other."""

    def __init__(self, geometries: Geometries) -> None:
        super().__init__()
        self.wkb = shapely.to_wkb(geometries)

    def count(self) -> int:
        return len(self.wkb)

    def __iter__(self) -> Iterator[_Shape]:
        return map(_Shape, self.wkb)

    def srs_wkt(self) -> None:
        return None


class _Collector(Writer):
    """Keeps pixels and coverage of each geometry, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels: list[Indices] = []
        self.coverage: list[npt.NDArray[Any]] = []

    def add_operation(self, operation: Operation) -> None:
        """Take any: what is asked for is known."""

    def write(self, feature: Any) -> None:
        found = _Shape()
        feature.copy_to(found)
        self.pixels.append(found.found["pixels"])
        self.coverage.append(found.found["coverage"])


def check_coverage(coverage: str) -> None:
    """Raise ExpressionError for a rule of coverage that there is none of."""
    if coverage not in COVERAGES:
        raise ExpressionError(f"coverage={coverage!r} is not one of {', '.join(COVERAGES)}")


def _batches(boxes: npt.NDArray[np.float64], geobox: GeoBox) -> list[slice]:
    """Cut regions, in order, into runs whose boxes hold at most BATCH_CELLS pixels of the block."""
    outline = geobox.boundingbox
    wide = np.minimum(boxes[:, 2], outline.right) - np.maximum(boxes[:, 0], outline.left)
    high = np.minimum(boxes[:, 3], outline.top) - np.maximum(boxes[:, 1], outline.bottom)
    cells = (wide / abs(geobox.affine.a) + 2) * (high / abs(geobox.affine.e) + 2)
    run = np.floor(np.cumsum(cells) / BATCH_CELLS).astype(np.int64)
    edges = [0, *(np.flatnonzero(np.diff(run)) + 1), len(boxes)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _found(geometries: Geometries, raster: NumPyRasterSource) -> tuple[list[Indices], list[npt.NDArray[Any]]]:
    shapes, collector = _Shapes(geometries), _Collector()  # held by name: the processor keeps no reference of its own
    operations = [Operation("cell_id", "pixels", raster), Operation("coverage", "coverage", raster)]
    processor = FeatureSequentialProcessor(shapes, collector, operations)
    processor.process()
    return collector.pixels, collector.coverage


def _raster(geobox: GeoBox) -> NumPyRasterSource:
    affine = geobox.affine
    if affine.b or affine.d or affine.a <= 0 or affine.e >= 0:
        raise GridError(f"regions need a north-up grid, this one has the transform {tuple(affine)[:6]}; .reproject_to one")
    box = geobox.boundingbox
    return NumPyRasterSource(np.zeros(geobox.shape, dtype=np.uint8), box.left, box.bottom, box.right, box.top)


def _centers(cells: Cells, geometries: Geometries, geobox: GeoBox) -> npt.NDArray[np.bool_]:
    """Tell whose centre lies in the region; a centre on the boundary does not."""
    rows, columns = np.divmod(cells.pixels, geobox.shape.x)
    affine = geobox.affine
    part = cells.coverage < 1
    inside = ~part
    x, y = affine.c + (columns[part] + 0.5) * affine.a, affine.f + (rows[part] + 0.5) * affine.e
    shapely.prepare(geometries[cells.regions])
    inside[part] = shapely.contains_xy(geometries[cells.owners[part]], x, y)
    return inside


def _kept(cells: Cells, keep: npt.NDArray[np.bool_]) -> Cells:
    counts = np.add.reduceat(keep, cells.starts, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    some = counts > 0
    return Cells(cells.regions[some], starts[some], cells.pixels[keep], np.ones(int(keep.sum())))


def _joined(members: Indices, pixels: Sequence[Indices], coverage: Sequence[npt.NDArray[Any]]) -> Cells | None:
    lengths = np.array([len(part) for part in pixels])
    if not lengths.sum():
        return None
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])[lengths > 0]
    joined = np.concatenate(pixels).astype(np.int64)
    return Cells(members[lengths > 0], starts, joined, np.concatenate(coverage).astype(np.float64))


def cells_of(geometries: Geometries, members: Indices, grid: GeoBox, block: Region, coverage: str) -> Iterator[Cells]:
    """Yield the pixels that regions cover in a block of the grid, a few regions at a time.

    `geometries` are polygons in the grid's coordinates, `members` the positions of those to look at. Coverage `fraction` is
    the exact share of each pixel's area; `center` and `all_touched` count whole pixels whose centre lies inside, or that
    are touched at all. Raises GridError for a grid that is not north-up.
    """
    part = sub_geobox(grid, block)
    raster = _raster(part)
    for batch in _batches(shapely.bounds(geometries[members]), part) if len(members) else ():
        cells = _joined(members[batch], *_found(geometries[members[batch]], raster))
        if cells is None:
            continue
        if coverage != "fraction":
            whole = _centers(cells, geometries, part) if coverage == "center" else np.ones(len(cells.pixels), dtype=bool)
            cells = _kept(cells, whole)
        if len(cells.pixels):
            yield cells
