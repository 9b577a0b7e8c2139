"""Processes that put a cube on a grid of other pixels: resampled, or windows of pixels reduced to one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from affine import Affine
from pyproj import Transformer

from .errors import ProcessGraphError
from .geometry import crs_of
from .grid import aligned, make_geobox, pixel_size
from .image import Image, call
from .process_declare import Cube, process
from .process_values import DataCube, as_cube

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from .process_graph import Context

__all__ = ["METHODS"]

METHODS = {"near": "nearest", "bilinear": "bilinear", "cubic": "bicubic"}
"""openEO's methods that look at pixels around a place, and ours."""
BLOCKS = {"average": "mean", "max": "max", "min": "min", "med": "median", "mode": "mode", "sum": "sum"}
"""Those that reduce all pixels of a larger one, where these are whole: the reducer that each is."""
WINDOWS = {
    **{
        name: name
        for name in ("mean", "max", "min", "median", "sum", "count", "mode", "product", "first", "last", "all", "any")
    },
    "sd": "sample_std",
    "variance": "sample_variance",
}
"""openEO's reducers of windows: the reducer of the engine."""
CORNERS = ("upper-left", "upper-right", "lower-left", "lower-right")
WHOLE = 1e-6
EDGE_POINTS = 21


def _grid(cube: DataCube) -> GeoBox:
    grid = cube.full.type.grid
    if grid is None or grid.crs is None or grid.affine.b or grid.affine.d:
        raise ProcessGraphError("the cube has no north-up grid in a coordinate system; use a cube of pixels on the Earth")
    return grid


def _with_image(cube: DataCube, image: Image) -> DataCube:
    """Return the cube with another image of the same dimensions, x and y labelled anew."""
    places = {d.axis: d.labels for d in as_cube(image).dimensions if d.kind == "spatial"}
    return DataCube(image, tuple(replace(d, labels=places.get(d.axis, d.labels)) for d in cube.dimensions))


def _check_corner(align: Any) -> None:
    if align not in CORNERS:
        raise ProcessGraphError(f"align={align!r} is not one of {', '.join(CORNERS)}")


def _resolution(given: Any) -> tuple[float, float]:
    """Return the width and height of pixels that are asked for, 0 for none."""
    sides = list(given) if isinstance(given, list | tuple) else [given, given]
    if len(sides) != 2 or not all(isinstance(side, int | float) and 0 <= side < math.inf for side in sides):
        raise ProcessGraphError(f"resolution={given!r} must be a number of 0 or more, or two of them")
    return float(sides[0]), float(sides[1])


def _moved(grid: GeoBox, transformer: Transformer) -> tuple[tuple[float, ...], tuple[float, float]]:
    """Return the bounds of a grid in another projection, and the side of a square as large as its pixel in the middle."""
    box = transformer.transform_bounds(*grid.boundingbox.bbox, densify_pts=EDGE_POINTS)
    if not all(map(math.isfinite, box)):
        raise ProcessGraphError("the cube reaches beyond what the projection can show; cut it with filter_bbox")
    row, column = grid.shape.y / 2, grid.shape.x / 2
    corners: list[Any] = [grid.affine @ place for place in ((column, row), (column + 1, row), (column, row + 1))]
    (x, y), (right_x, right_y), (down_x, down_y) = (transformer.transform(*corner) for corner in corners)
    side = math.sqrt(abs((right_x - x) * (down_y - y) - (right_y - y) * (down_x - x)))
    return box, (side, side)


def _target(grid: GeoBox, resolution: tuple[float, float], projection: Any, align: str) -> GeoBox:
    """Return the grid of a resolution that covers another one in a projection, on one of its corners."""
    own_crs: Any = grid.crs
    crs = own_crs.proj if projection is None else crs_of(projection)
    box: tuple[float, ...] = grid.boundingbox.bbox
    natural = pixel_size(grid)
    if own_crs.proj != crs:
        box, natural = _moved(grid, Transformer.from_crs(own_crs.proj, crs, always_xy=True))
    width, height = (side or own for side, own in zip(resolution, natural, strict=True))
    left, bottom, right, top = box
    columns, rows = (max(1, math.ceil(span - WHOLE)) for span in ((right - left) / width, (top - bottom) / height))
    left = right - columns * width if align.endswith("right") else left
    top = bottom + rows * height if align.startswith("lower") else top
    epsg = crs.to_epsg()
    text = f"EPSG:{epsg}" if epsg else crs.to_wkt()
    return make_geobox((rows, columns), Affine(width, 0, left, 0, -height, top), text)


@process("resample_spatial")
def _resample_spatial(
    _graph: Context,
    data: Cube,
    resolution: Any = 0,
    projection: Any = None,
    method: str = "near",
    align: str = "upper-left",
) -> DataCube:
    """Put a cube on pixels of another size or projection: `near`, `bilinear` or `cubic`.

    `average`, `max`, `min`, `med`, `mode` and `sum` need pixels that are whole numbers of the cube's own.
    """
    _check_corner(align)
    grid, sides = _grid(data), _resolution(resolution)
    if projection is None and not any(sides):
        raise ProcessGraphError("neither a resolution nor a projection is given; one is needed")
    target = _target(grid, sides, projection, align)
    if method in METHODS:
        return _with_image(data, data.full.reproject_to(target, METHODS[method]))
    if method not in BLOCKS:
        raise ProcessGraphError(f"method={method!r} is not one of {', '.join((*METHODS, *BLOCKS))}")
    factors = [side / own for side, own in zip(pixel_size(target), pixel_size(grid), strict=True)]
    factor = round(factors[0])
    fine = make_geobox(
        (target.shape.y * factor, target.shape.x * factor), target.affine @ Affine.scale(1 / factor), target.crs
    )
    if factor < 2 or any(abs(found - factor) > WHOLE for found in factors) or not aligned(grid, fine):
        raise ProcessGraphError(
            f"method {method!r} needs pixels that are made of whole ones, as of {2 * pixel_size(grid)[0]:g}, in the same "
            f"projection; use {' or '.join(METHODS)}, or aggregate_spatial"
        )
    return _with_image(data, call("reduce_resolution", data.full.reproject_to(fine), factor, BLOCKS[method], 0.0))


def _single(reducer: Any) -> tuple[str, float]:
    """Return the reducer that a callback of one process is, and the share of a window that it needs."""
    steps: Sequence[Any] = list(getattr(reducer, "nodes", {}).values())
    name = steps[0]["process_id"] if len(steps) == 1 else None
    if name not in WINDOWS:
        raise ProcessGraphError(
            f"aggregate_spatial_window takes one of the reducers {', '.join(WINDOWS)} alone, not {name or 'several'}"
        )
    return WINDOWS[name], float(steps[0].get("arguments", {}).get("ignore_nodata") is False)


def _fitted(grid: GeoBox, size: int, boundary: str, align: str) -> GeoBox:
    """Return a grid widened, or cut, to a whole number of windows on one of its corners."""
    rows, columns = (side // size * size if boundary == "trim" else math.ceil(side / size) * size for side in grid.shape)
    if not (rows and columns):
        raise ProcessGraphError(f"no window of {size} pixels fits into {grid.shape.x} x {grid.shape.y}; pad them")
    down = grid.shape.y - rows if align.startswith("lower") else 0
    right = grid.shape.x - columns if align.endswith("right") else 0
    return make_geobox((rows, columns), grid.affine @ Affine.translation(right, down), grid.crs)


@process("aggregate_spatial_window")
def _aggregate_spatial_window(
    graph: Context,
    data: Cube,
    reducer: Any,
    size: Any,
    boundary: str = "pad",
    align: str = "upper-left",
    context: Any = None,
) -> DataCube:
    """Reduce square windows of pixels, of the same `size` along x and y, to one pixel by a single reducer."""
    del graph, context
    _check_corner(align)
    if boundary not in ("pad", "trim"):
        raise ProcessGraphError(f"boundary={boundary!r} is not one of pad, trim")
    if not isinstance(size, list | tuple) or len(size) != 2 or size[0] != size[1] or not isinstance(size[0], int):
        raise ProcessGraphError(f"size={size!r} must be two equal whole numbers: windows are square")
    name, least = _single(reducer)
    if size[0] < 2:
        raise ProcessGraphError(f"size={size!r} is out of range; give windows of 2 pixels or more")
    grid = _grid(data)
    fitted = _fitted(grid, size[0], boundary, align)
    image = data.full if fitted == grid else data.full.reproject_to(fitted, "nearest")
    return _with_image(data, call("reduce_resolution", image, size[0], name, least))
