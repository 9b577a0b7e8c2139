"""What lies in a direction: the nearest true pixel, cast shadows, and what an observer sees.

A ray runs from the centre of a pixel, by one row or column at a step, whichever it crosses faster; elevations are
interpolated between the two pixels on both sides of it. Directions are degrees from north, clockwise, in the grid of the
image. Elevations are in metres; the Earth is flat.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.engine.scene import Scene, Whole
from esd.errors import ExpressionError, GridError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType

from .neighbours import metric_size, over_planes, plane_work, value_type
from .scenes import each_plane, scene_work

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
LARGEST_REACH = 500


def _size(image: Image, name: str) -> tuple[float, float]:
    grid = image.type.grid
    if grid is None:
        raise ExpressionError(f"{name}: a constant has no neighbours; use an image of a cube")
    return metric_size(name, grid)


def _check_reach(name: str, azimuth: float, reach: int) -> None:
    if not 0 <= azimuth <= 360:
        raise ExpressionError(f"{name}: azimuth={azimuth:g} must be 0 to 360 degrees from north")
    if not 1 <= reach <= LARGEST_REACH:
        raise ExpressionError(f"{name}: reach={reach} pixels is out of range; give 1 to {LARGEST_REACH}")


def _reach(args: Mapping[str, Any]) -> int:
    return int(args["reach"])


def _ray(azimuth: float, height: float, width: float, reach: int) -> Iterator[tuple[float, float, float]]:
    """Yield rows down, columns right and metres away of each step of a ray."""
    down, right = -math.cos(math.radians(azimuth)) / height, math.sin(math.radians(azimuth)) / width
    largest = max(abs(down), abs(right))
    for step in range(1, reach + 1):
        y, x = (round(step * part / largest, 9) for part in (down, right))
        yield y, x, math.hypot(y * height, x * width)


def _cut(plane: Array, halo: int, down: int, right: int) -> Array:
    rows, columns = (length - 2 * halo for length in plane.shape)
    return plane[halo + down : halo + down + rows, halo + right : halo + right + columns]


def _direction_plane(
    values: Array, valid: Mask, azimuth: float, reach: int, height: float, width: float
) -> tuple[Array, Mask]:
    target = valid & (values != 0)
    found = _cut(target, reach, 0, 0).copy()
    distance = np.zeros(found.shape)
    for down, right, metres in _ray(azimuth, height, width, reach):
        here = _cut(target, reach, round(down), round(right)) & ~found
        distance = np.where(here, metres, distance)
        found |= here
    return distance, found & _cut(valid, reach, 0, 0)


def _direction_rule(image: CubeType, *, azimuth: float, reach: int, **_args: float) -> CubeType:
    _check_reach("directional_distance", azimuth, reach)
    if image.dtype.kind not in "bui":
        raise ExpressionError(f"directional_distance: {image.dtype} has no true pixels; compare it first, as in image > 0.5")
    return value_type(image, np.dtype(np.float32))


@operator("objects", Tile.FOCAL, _direction_rule, halo=_reach, work=plane_work)
def directional_distance_on_grid(image: Block, azimuth: float, reach: int, height: float, width: float) -> Block:
    """Distance in a direction for pixels of a given size in metres; `directional_distance` takes it from the grid."""
    plane = partial(_direction_plane, azimuth=azimuth, reach=reach, height=height, width=width)
    return over_planes(image, reach, np.dtype(np.float32), plane)


@composite("objects", example="(image.ndwi().max() > 0).directional_distance(90.0, 20)")
def directional_distance(image: Image, azimuth: float, reach: int = 100) -> Image:
    """Distance in metres along a ray towards `azimuth` to the first pixel that is valid and not 0; float32, 0 on one.

    Looks as far as `reach` pixels, 1 to 500. Not valid where there is none, or the pixel itself is not valid. Raises
    GridError for a grid in degrees.
    """
    return call("directional_distance_on_grid", image, azimuth, reach, *_size(image, "directional_distance"))


def _interpolated(plane: Array, halo: int, down: float, right: float) -> Array:
    """Return the values between the two pixels on both sides of a ray."""
    top, left = math.floor(down), math.floor(right)
    share = (down - top) + (right - left)
    if share == 0:
        return _cut(plane, halo, top, left)
    there = _cut(plane, halo, top + (down > top), left + (right > left))
    return (1 - share) * _cut(plane, halo, top, left) + share * there


def _shadow_plane(values: Array, valid: Mask, rise: float, ray: Sequence[tuple[float, float, float]]) -> tuple[Array, Mask]:
    halo = len(ray)
    known = valid & ~np.isnan(values.astype(np.float64))
    dem = np.where(known, values, -np.inf).astype(np.float64)
    own, lit = _cut(dem, halo, 0, 0), np.ones(_cut(known, halo, 0, 0).shape, dtype=bool)
    for down, right, metres in ray:
        lit &= ~(_interpolated(dem, halo, down, right) > own + metres * rise)
    return lit, _cut(known, halo, 0, 0)


def _shadow_rule(image: CubeType, *, azimuth: float, altitude: float, reach: int, **_args: float) -> CubeType:
    _check_reach("hill_shadow", azimuth, reach)
    if not 0 <= altitude < 90:
        raise ExpressionError(f"hill_shadow: altitude={altitude:g} must be 0 to below 90 degrees above the horizon")
    return value_type(image, np.dtype(bool))


@operator("terrain", Tile.FOCAL, _shadow_rule, halo=_reach, work=plane_work)
def hill_shadow_on_grid(
    image: Block, azimuth: float, altitude: float, reach: int, height: float, width: float, z_factor: float
) -> Block:
    """Cast shadows for pixels of a given size in metres; `hill_shadow` takes it from the grid."""
    ray = list(_ray(azimuth, height, width, reach))
    rise = math.tan(math.radians(altitude)) / z_factor
    with np.errstate(invalid="ignore"):  # between two pixels that are not valid
        return over_planes(image, reach, np.dtype(bool), partial(_shadow_plane, rise=rise, ray=ray))


@composite("terrain", example="dem.hill_shadow(315.0, 20.0, 30)")
def hill_shadow(
    image: Image, azimuth: float = 315.0, altitude: float = 45.0, reach: int = 100, z_factor: float = 1.0
) -> Image:
    """Whether a light from `azimuth`, `altitude` degrees above the horizon, reaches a pixel: true lit, false in shadow.

    Looks for what is in the way as far as `reach` pixels, 1 to 500; what is not valid is not. `z_factor` turns elevations
    into metres. Valid where the pixel is. Raises GridError for a grid in degrees.
    """
    if not 0 < z_factor < math.inf:
        raise ExpressionError(f"hill_shadow: z_factor={z_factor:g} must be above 0")
    return call("hill_shadow_on_grid", image, azimuth, altitude, reach, *_size(image, "hill_shadow"), z_factor)


def _steps_between(dem: Array, row: int, column: int) -> tuple[Array, Array, Array]:
    """Return how many rows, columns and steps each pixel lies away from the observer's."""
    down = np.arange(dem.shape[0])[:, None] - row + np.zeros(dem.shape, dtype=np.int64)
    right = np.arange(dem.shape[1])[None, :] - column + np.zeros(dem.shape, dtype=np.int64)
    return down, right, np.maximum(np.abs(down), np.abs(right))


def _sight(
    values: Array, valid: Mask, place: tuple[int, int], size: tuple[float, float], eye: float, target: float, most: float
) -> tuple[Array, Mask]:
    """Compare the slope to each pixel with the steepest on the way to it; every pixel has a ray of its own."""
    (row, column), (height, width) = place, size
    known = valid & np.isfinite(values.astype(np.float64))
    if not known[place]:
        return np.zeros(values.shape, dtype=bool), np.zeros(values.shape, dtype=bool)
    dem = np.where(known, values, -np.inf).astype(np.float64)
    down, right, steps = _steps_between(dem, row, column)
    distance = np.hypot(down * height, right * width)
    near = distance <= most
    level, seen = dem[place] + eye, near.copy()
    slope = (dem + target - level) / np.where(distance > 0, distance, 1)
    for step in range(1, int(steps[near].max(initial=0))):
        y, x = np.nonzero(near & (steps > step))
        share = step / steps[y, x]
        passed, beside = row + share * down[y, x], column + share * right[y, x]
        top, left = np.floor(passed).astype(np.int64), np.floor(beside).astype(np.int64)
        part = (passed - top) + (beside - left)
        bottom, far = top + (passed > top), left + (beside > left)
        with np.errstate(invalid="ignore"):  # next to pixels that are not valid, which hide nothing
            between = np.where(part > 0, (1 - part) * dem[top, left] + part * dem[bottom, far], dem[top, left])
            seen[y, x] &= ~((between - level) / (share * distance[y, x]) > slope[y, x])
    return seen, known & near


def _view_rule(image: CubeType, *, x: float, y: float, eye: float, target: float, reach: float) -> CubeType:
    if image.grid is not None:
        metric_size("viewshed", image.grid)
        column, row = ~image.grid.affine @ (x, y)
        rows, columns = image.grid.shape
        if not (0 <= row < rows and 0 <= column < columns):
            raise GridError(
                f"viewshed: the observer at {x:g}, {y:g} is not on the grid; give coordinates in {image.grid.crs}"
            )
    if not (eye >= 0 and target >= 0 and reach > 0):
        raise ExpressionError(
            f"viewshed: eye={eye:g} and target={target:g} must be 0 or more, reach={reach:g} above 0 metres"
        )
    return value_type(image, np.dtype(bool))


@operator("terrain", Tile.GLOBAL, _view_rule, work=scene_work(1, 24), example="dem.viewshed(500045.0, 5000105.0)")
def viewshed(image: Scene, x: float, y: float, eye: float = 1.75, target: float = 0.0, reach: float = 5000.0) -> Whole:
    """Whether an observer at `x`, `y` (coordinates of the grid) sees a pixel of an elevation model.

    The observer stands in the centre of the pixel that holds the point, `eye` metres above it; pixels are looked for
    `target` metres above ground, as far as `reach` metres. Every pixel has a ray of its own, so that time grows with the
    cube of the reach. Valid within reach where the pixel is, and is finite; nowhere if the observer's is not; pixels that
    are not valid hide nothing. Raises GridError for a grid in degrees, or a point that is not on it.
    """
    column, row = ~image.grid.affine @ (x, y)
    place, size = (math.floor(row), math.floor(column)), metric_size("viewshed", image.grid)
    return each_plane(image, bool, partial(_sight, place=place, size=size, eye=eye, target=target, most=reach))
