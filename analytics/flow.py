"""Water on terrain: pits filled, the direction of flow, and what flows together; and the usual products of a terrain.

Elevations are in metres, the grid in metres; what is not valid is an outlet, as is the edge of the grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.engine.scene import Scene, Whole
from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType

from .neighbours import metric_size, over_planes, plane_work, value_type
from .scenes import each_plane, scene_work, scikit_image

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

DIRECTIONS = {1: (0, 1), 2: (1, 1), 4: (1, 0), 8: (1, -1), 16: (0, -1), 32: (-1, -1), 64: (-1, 0), 128: (-1, 1)}
"""Rows down and columns right of where each code of flow leads: 1 is east, the others follow clockwise."""


def _size(image: Image, name: str) -> tuple[float, float]:
    grid = image.type.grid
    if grid is None:
        raise ExpressionError(f"{name}: a constant has no terrain; use an elevation model")
    return metric_size(name, grid)


def _fill(values: Array, valid: Mask) -> tuple[Array, Mask]:
    """Reconstruct by erosion from the edge and from beside what is not valid, where water leaves (Vincent, 1993)."""
    morphology = scikit_image("fill_minima", "morphology")
    known = valid & ~np.isnan(values) if values.dtype.kind == "f" else valid
    if not known.any():
        return values, known
    dem = np.where(known, values, -np.inf).astype(np.float64)
    seed = np.full(dem.shape, dem.max())
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1], ~known):
        seed[edge] = dem[edge]
    return np.where(known, morphology.reconstruction(seed, dem, method="erosion"), 0), known


def _kept_rule(image: CubeType) -> CubeType:
    if image.dtype.kind not in "fui" or (image.dtype.kind in "ui" and image.dtype.itemsize == 8):
        raise ExpressionError(f"fill_minima: {image.dtype} is no elevation; cast it to float64 first")
    return value_type(image)


@operator("terrain", Tile.GLOBAL, _kept_rule, work=scene_work(1, 18), example="dem.fill_minima()")
def fill_minima(image: Scene) -> Whole:
    """Fill the pits of an elevation model: each is raised to the lowest point on its rim; dtype and unit are kept.

    Water flows to all eight neighbours, and leaves at the edge of the grid and beside what is not valid. Valid where the
    image is, and is not NaN. Needs scikit-image (ExpressionError without it).
    """
    return each_plane(image, image.type.dtype, _fill)


def _direction_plane(values: Array, valid: Mask, height: float, width: float) -> tuple[Array, Mask]:
    known = valid & ~np.isnan(values.astype(np.float64))
    dem = np.where(known, values, np.inf).astype(np.float64)
    rows, columns = (length - 2 for length in dem.shape)
    centre = dem[1:-1, 1:-1]
    steepest, code = np.zeros(centre.shape), np.zeros(centre.shape, dtype=np.uint8)
    with np.errstate(invalid="ignore"):  # where two neighbours are not valid
        for number, (down, right) in DIRECTIONS.items():
            there = dem[1 + down : 1 + down + rows, 1 + right : 1 + right + columns]
            drop = (centre - there) / math.hypot(down * height, right * width)
            steeper = drop > steepest
            steepest, code = np.where(steeper, drop, steepest), np.where(steeper, np.uint8(number), code)
    return code, known[1:-1, 1:-1]


def _code_rule(image: CubeType, **_size: float) -> CubeType:
    return value_type(image, np.dtype(np.uint8))


def _one(_args: Mapping[str, Any]) -> int:
    return 1


@operator("terrain", Tile.FOCAL, _code_rule, halo=_one, work=plane_work)
def flow_direction_on_grid(image: Block, height: float, width: float) -> Block:
    """Direction of flow for pixels of a given height and width in metres; `flow_direction` takes these from the grid."""
    plane = partial(_direction_plane, height=height, width=width)
    return over_planes(image, 1, np.dtype(np.uint8), plane)


@composite("terrain", example="dem.fill_minima().flow_direction()")
def flow_direction(image: Image) -> Image:
    """Direction of the steepest descent among eight (D8): uint8, 1 east, 2 southeast, 4 south ... 128 northeast; 0 for none.

    0 stands in pits and on flats: `fill_minima` first, to be left with flats only. Of equal descents the first in the order
    of the codes is taken; neighbours that are not valid take no water. Valid where the pixel is. Raises GridError for a
    grid in degrees. Source: O'Callaghan and Mark (1984), codes as in ArcGIS.
    """
    return call("flow_direction_on_grid", image, *_size(image, "flow_direction"))


def _downstream(codes: Array, valid: Mask) -> Array:
    """Return the flat index of the pixel that each flows into, and one beyond the last for none."""
    rows, columns = codes.shape
    target = np.full(codes.shape, codes.size, dtype=np.int64)
    for number, (down, right) in DIRECTIONS.items():
        y, x = np.nonzero(valid & (codes == number))
        inside = (y + down >= 0) & (y + down < rows) & (x + right >= 0) & (x + right < columns)
        y, x = y[inside], x[inside]
        target[y, x] = np.where(valid[y + down, x + right], (y + down) * columns + x + right, codes.size)
    return target.ravel()


def _accumulate(codes: Array, valid: Mask) -> tuple[Array, Mask]:
    """Pass counts downstream from the pixels that all above have passed theirs to; rings are never reached."""
    target = _downstream(codes, valid)
    waiting = np.bincount(target, minlength=codes.size + 1)
    count = np.append(valid.ravel().astype(np.int32), np.int32(0))
    ready = np.flatnonzero((waiting[:-1] == 0) & valid.ravel())
    reached = np.zeros(codes.size + 1, dtype=bool)
    while len(ready):
        reached[ready] = True
        below = target[ready]
        np.add.at(count, below, count[ready])
        np.subtract.at(waiting, below, 1)
        below = np.unique(below[below < codes.size])
        ready = below[waiting[below] == 0]
    return count[:-1].reshape(codes.shape), valid & reached[:-1].reshape(codes.shape)


def _count_rule(image: CubeType) -> CubeType:
    if image.dtype.kind not in "ui":
        raise ExpressionError(f"accumulate_flow: {image.dtype} holds no directions of flow; make them by flow_direction")
    return value_type(image, np.dtype(np.int32))


@operator("terrain", Tile.GLOBAL, _count_rule, work=scene_work(1, 5), example="dem.flow_direction().accumulate_flow()")
def accumulate_flow(image: Scene) -> Whole:
    """Number of pixels that flow through each pixel, itself included, from directions of flow (`flow_direction`); int32.

    Not valid where the direction is not, or leads around in a ring.
    """
    return each_plane(image, np.int32, _accumulate)


@composite("terrain", example="dem.fill_minima().flow_accumulation()")
def flow_accumulation(image: Image) -> Image:
    """Number of pixels of an elevation model that drain through each pixel, itself included; int32.

    Water follows `flow_direction` and ends in pits, on flats, at the edge and where nothing is valid. Raises GridError for
    a grid in degrees.
    """
    return call("accumulate_flow", call("flow_direction", image))


@composite("terrain", example="dem.terrain_products()")
def terrain_products(image: Image) -> Image:
    """Slope (degrees), aspect (degrees from north) and hillshade (1 to 255) of an elevation model as bands; float32.

    Each with its defaults and its own validity; of an image of several bands, names are slope_<band> and so on.
    """
    single = len(image.type.bands) == 1
    bands = []
    for name in ("slope", "aspect", "hillshade"):
        names = (name,) if single else tuple(f"{name}_{band}" for band in image.type.bands)
        bands.append(call("to_float32", call(name, image)).rename(*names))
    return call("add_bands", *bands)
