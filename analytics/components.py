"""Operators whose result may need the whole grid: connected components, holes and distances.

Each tile is labelled by itself as it comes; labels that meet across a seam are then joined, and numbered by their first
pixel, row by row. So neither where tiles are cut nor the order in which they come shows in the result. What is kept of the
whole grid is a plane of labels (or, for distances, of nearest pixels) for each time and band: reduce an image first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.engine.scene import Scene, Whole
from esd.errors import ExpressionError
from esd.grid import Region
from esd.image import Image, composite
from esd.operator import Tile, operator
from esd.space import CubeType

from .neighbours import metric_size, value_type

__all__: list[str] = []

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

STRIP = 256
"""Rows that are renumbered at a time."""
TABLE_BYTES = 12
"""Bytes that a label takes while those of a plane are joined."""


def _check(name: str, image: CubeType, connectivity: int) -> None:
    if image.dtype.kind not in "bui":
        raise ExpressionError(f"{name}: {image.dtype} has no patches of equal values; compare it first, as in image > 0.5")
    if connectivity not in (4, 8):
        raise ExpressionError(f"{name}: connectivity={connectivity} is neither 4 nor 8")


def _label_tile(classes: Array, connectivity: int) -> tuple[Labels, int]:
    """Label patches of equal class in one tile: 1..n, 0 for class 0, and n."""
    from scipy import ndimage

    structure = np.ones((3, 3)) if connectivity == 8 else None
    labels, used = np.zeros(classes.shape, dtype=np.int32), 0
    for kind in np.unique(classes[classes != 0]):
        found, number = ndimage.label(classes == kind, structure)
        labels += np.where(found > 0, found + used, 0).astype(np.int32)
        used += number
    return labels, used


@dataclass
class _Labelling:
    """Labels of one plane, while the tiles of a grid come in; `finish` joins them across the seams.

    Beside the labels, the classes along the edges of tiles are kept: only equal ones are joined.
    """

    labels: Labels
    connectivity: int
    rows: dict[int, Array] = field(default_factory=dict)
    columns: dict[int, Array] = field(default_factory=dict)
    seams: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))
    used: int = 0

    def add(self, region: Region, classes: Array) -> None:
        found, number = _label_tile(classes, self.connectivity)
        self.labels[region.slices] = np.where(found > 0, found + np.int32(self.used), 0)
        self.used += number
        height, width = self.labels.shape
        for row in {region.y0, region.y1 - 1}:
            line = self.rows.setdefault(row, np.zeros(width, dtype=classes.dtype))
            line[region.slices[1]] = classes[row - region.y0]
        for column in {region.x0, region.x1 - 1}:
            line = self.columns.setdefault(column, np.zeros(height, dtype=classes.dtype))
            line[region.slices[0]] = classes[:, column - region.x0]
        self.seams[0].add(region.y0)
        self.seams[1].add(region.x0)

    def _pairs(self) -> Iterator[Labels]:
        """Yield pairs of labels [2, n] of one class that lie side by side across a seam."""
        lines = [(row, self.labels[row - 1], self.labels[row], self.rows) for row in sorted(self.seams[0] - {0})]
        lines += [(x, self.labels[:, x - 1], self.labels[:, x], self.columns) for x in sorted(self.seams[1] - {0})]
        for place, one, other, classes in lines:
            before, after = classes[place - 1], classes[place]
            sides = [(slice(None), slice(None))]
            if self.connectivity == 8:
                sides += [(slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))]
            for left, right in sides:
                meet = (before[left] != 0) & (before[left] == after[right])
                yield np.unique(np.stack([one[left][meet], other[right][meet]]), axis=1)

    def _roots(self) -> Labels:
        """Return for each label, from 0, the smallest label of its component; only labels at seams can differ."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        roots = np.arange(self.used + 1, dtype=np.int32)
        pairs = np.concatenate([np.zeros((2, 0), dtype=np.int32), *self._pairs()], axis=1)
        members, index = np.unique(pairs, return_inverse=True)
        one, other = index.reshape(pairs.shape)
        graph = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(len(members), len(members)))
        if len(members):
            number, component = connected_components(graph, directed=False)
            smallest = np.full(number, self.used, dtype=np.int32)
            np.minimum.at(smallest, component, members)
            roots[members] = smallest[component]
        return roots

    def finish(self) -> int:
        """Join the labels and number them in place by their first pixel, row by row; return how many there are."""
        roots, number = self._roots(), 0
        numbers, places = np.zeros(self.used + 1, dtype=np.int32), np.zeros(self.used + 1, dtype=np.int32)
        for start in range(0, len(self.labels), STRIP):
            strip = roots[self.labels[start : start + STRIP]]
            fresh = strip[(strip > 0) & (numbers[strip] == 0)]
            order = np.arange(len(fresh), dtype=np.int32)
            places[fresh[::-1]] = order[::-1]
            firsts = fresh[places[fresh] == order]
            numbers[firsts] = np.arange(number + 1, number + len(firsts) + 1, dtype=np.int32)
            number += len(firsts)
            self.labels[start : start + STRIP] = numbers[strip]
        return number

    def sizes(self, number: int) -> Labels:
        """Return the pixels of each component, from 0, of which label 0 has none."""
        sizes = np.zeros(number + 1, dtype=np.int32)
        for start in range(0, len(self.labels), STRIP):
            np.add.at(sizes, self.labels[start : start + STRIP].ravel(), np.int32(1))
        sizes[0] = 0
        return sizes


@dataclass(frozen=True)
class _Components(Whole):
    """Labels and validity of the whole grid, and what each label stands for, by time and band."""

    labels: npt.NDArray[np.int32]
    valid: Mask
    tables: dict[tuple[int, int], Array] | None = None

    @property
    def nbytes(self) -> int:
        return self.labels.nbytes + self.valid.nbytes

    def crop(self, region: Region) -> Block:
        labels, valid = self.labels[(..., *region.slices)], self.valid[(..., *region.slices)]
        if self.tables is None:
            return Block(labels, valid)
        tables = self.tables
        values = np.empty(labels.shape, dtype=tables[0, 0].dtype)
        for place, table in tables.items():
            values[place] = table[labels[place]]
        return Block(values, valid)


def _planes(scene: Scene) -> list[tuple[int, int]]:
    times, bands = scene.shape[:2]
    return [(time, band) for time in range(times) for band in range(bands)]


def _label_scene(
    scene: Scene, connectivity: int, classes: Callable[[Array, Mask], Array]
) -> tuple[_Components, dict[tuple[int, int], _Labelling]]:
    """Label the patches of equal classes other than 0 of all planes; labels are not joined yet."""
    labels, valid = np.zeros(scene.shape, dtype=np.int32), np.zeros(scene.shape, dtype=bool)
    labellings = {place: _Labelling(labels[place], connectivity) for place in _planes(scene)}
    for region, block in scene.tiles():
        valid[(..., *region.slices)] = block.valid
        for place, labelling in labellings.items():
            labelling.add(region, classes(block.values[place], block.full_valid[place]))
    return _Components(labels, valid), labellings


def _valid_values(values: Array, valid: Mask) -> Array:
    return np.where(valid, values, values.dtype.type(0))


def _background(values: Array, valid: Mask) -> Array:
    return ~(valid & (values != 0))


def _label_rule(image: CubeType, *, connectivity: int) -> CubeType:
    _check("connected_components", image, connectivity)
    return value_type(image, np.dtype(np.int32))


def _label_work(types: Sequence[CubeType], args: Mapping[str, Any], pixels: int) -> int:
    """Labels and validity of every plane, and tables of as many labels as there can be: a chessboard's, for booleans."""
    planes = sum(len(given.time) * len(given.bands) for given in types)
    closest = 1 if types[0].dtype.kind != "b" else 2 if args["connectivity"] == 4 else 4
    return 5 * planes * pixels + (4 * planes + TABLE_BYTES) * pixels // closest


@operator(
    "objects",
    Tile.GLOBAL,
    _label_rule,
    work=_label_work,
    example="(image.ndvi().median() > 0.5).connected_components()",
)
def connected_components(image: Scene, connectivity: int = 8) -> Whole:
    """Number the patches of equal values other than 0, from 1 by their first pixel row by row; int32, 0 where there is none.

    `connectivity` is 4 (sides) or 8 (sides and corners). What is not valid belongs to no patch.
    """
    components, labellings = _label_scene(image, connectivity, _valid_values)
    for labelling in labellings.values():
        labelling.finish()
    return components


@operator("objects", Tile.GLOBAL, _label_rule, work=_label_work)
def component_size(image: Scene, connectivity: int = 8) -> Whole:
    """Number of pixels of the patch of equal values that each pixel belongs to; int32, 0 where the value is 0."""
    components, labellings = _label_scene(image, connectivity, _valid_values)
    tables = {place: labelling.sizes(labelling.finish()) for place, labelling in labellings.items()}
    return _Components(components.labels, components.valid, tables)


@composite("objects", example="(image.ndvi().median() > 0.5).remove_small(11)")
def remove_small(image: Image, pixels: int, connectivity: int = 8) -> Image:
    """Put 0 (false) in the place of patches of fewer than `pixels` pixels: a minimum mapping unit."""
    large = image.component_size(connectivity) >= pixels
    return image & large if image.type.dtype.kind == "b" else image * large


def _holes_rule(image: CubeType, *, connectivity: int) -> CubeType:
    _check("fill_holes", image, connectivity)
    return value_type(image, np.dtype(bool))


@operator("objects", Tile.GLOBAL, _holes_rule, work=_label_work)
def fill_holes(image: Scene, connectivity: int = 4) -> Whole:
    """Whether a pixel is not 0, or lies in a hole: pixels of 0 that are not connected with the edge of the grid.

    A hole that holds a pixel that is not valid may go on there, and is not filled.
    """
    components, labellings = _label_scene(image, connectivity, _background)
    tables = {}
    for place, labelling in labellings.items():
        filled = np.ones(labelling.finish() + 1, dtype=bool)
        plane = components.labels[place]
        for edge in (plane[0], plane[-1], plane[:, 0], plane[:, -1], plane[~components.valid[place]]):
            filled[edge] = False
        filled[0] = True
        tables[place] = filled
    return _Components(components.labels, components.valid, tables)


@dataclass(frozen=True)
class _Nearest(Whole):
    """Row and column of the nearest true pixel of every pixel: [time, band, 2, y, x], and where the image is valid."""

    places: Labels
    valid: Mask
    size: tuple[float, float]

    @property
    def nbytes(self) -> int:
        return self.places.nbytes + self.valid.nbytes

    def crop(self, region: Region) -> Block:
        rows, columns = region.slices
        height, width = self.size
        own = np.arange(region.y0, region.y1)[:, None], np.arange(region.x0, region.x1)[None, :]
        down = (self.places[:, :, 0, rows, columns] - own[0]) * height
        right = (self.places[:, :, 1, rows, columns] - own[1]) * width
        return Block(np.sqrt(down**2 + right**2).astype(np.float32), self.valid[:, :, rows, columns])


def _distance_rule(image: CubeType) -> CubeType:
    if image.dtype.kind not in "bui":
        raise ExpressionError(f"distance_transform: {image.dtype} has no true pixels; compare it first, as in image > 0.5")
    if image.grid is not None:
        metric_size("distance_transform", image.grid)
    return value_type(image, np.dtype(np.float32))


def _distance_work(types: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    """Two places and validity of every plane; one plane more and SciPy's copies of it while it is made."""
    planes = sum(len(given.time) * len(given.bands) for given in types)
    return 10 * planes * pixels + 17 * pixels


@operator(
    "objects",
    Tile.GLOBAL,
    _distance_rule,
    work=_distance_work,
    example="(image.ndwi().max() > 0).distance_transform()",
)
def distance_transform(image: Scene) -> Whole:
    """Euclidean distance in metres from each pixel's centre to that of the nearest pixel that is valid and not 0; float32.

    Valid where the image is; nowhere if there is no such pixel. Raises GridError for a grid in degrees.
    """
    from scipy import ndimage

    times, bands, rows, columns = image.shape
    away, valid = np.ones(image.shape, dtype=bool), np.zeros(image.shape, dtype=bool)
    for region, block in image.tiles():
        valid[(..., *region.slices)] = block.valid
        away[(..., *region.slices)] = ~(block.full_valid & (block.values != 0))
    size = metric_size("distance_transform", image.grid)
    places = np.zeros((times, bands, 2, rows, columns), dtype=np.int32)
    for place in _planes(image):
        if away[place].all():
            valid[place] = False
            continue
        ndimage.distance_transform_edt(away[place], size, return_distances=False, return_indices=True, indices=places[place])
    return _Nearest(places, valid, size)
