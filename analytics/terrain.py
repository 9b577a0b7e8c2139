"""Terrain: slope, aspect, shading, curvature and roughness of an elevation model, from 3 x 3 pixels.

Elevations are in metres (`z_factor` times), one pixel of the grid is as wide and high as its coordinate system says: degrees
are refused. A result is valid where all nine pixels are, so not along the edge of the grid, as in GDAL's gdaldem. Sources:
Horn (1981), Zevenbergen and Thorne (1987), Riley et al. (1999), Wilson et al. (2007).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType

from .neighbours import metric_size, over_planes, plane_work, value_type

__all__: list[str] = []

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

METHODS = ("horn", "zevenbergen")
CURVATURES = ("total", "profile", "plan")


class _Window:
    """The nine pixels around each, by row (down) and column (right): `window[-1, 0]` lies above."""

    def __init__(self, plane: Floats) -> None:
        self.plane = plane
        self.rows, self.columns = plane.shape[0] - 2, plane.shape[1] - 2

    def __getitem__(self, place: tuple[int, int]) -> Floats:
        down, right = place
        return self.plane[1 + down : 1 + down + self.rows, 1 + right : 1 + right + self.columns]

    @property
    def around(self) -> list[Floats]:
        """The eight neighbours, row by row."""
        return [self[y, x] for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]


def _slopes(window: _Window, height: float, width: float, method: str) -> tuple[Floats, Floats]:
    """Return the rise to the east and to the north, as ratios."""
    if method == "horn":
        east = sum(weight * (window[y, 1] - window[y, -1]) for y, weight in ((-1, 1.0), (0, 2.0), (1, 1.0)))
        north = sum(weight * (window[-1, x] - window[1, x]) for x, weight in ((-1, 1.0), (0, 2.0), (1, 1.0)))
        return np.asarray(east) / (8 * width), np.asarray(north) / (8 * height)
    return (window[0, 1] - window[0, -1]) / (2 * width), (window[-1, 0] - window[1, 0]) / (2 * height)


Measure = Callable[..., tuple[Array, Array | None]]
"""From a window and the arguments to values, and where there are any; None means everywhere."""


def _slope(window: _Window, args: Mapping[str, Any]) -> tuple[Array, Array | None]:
    east, north = _slopes(window, args["height"], args["width"], args["method"])
    ratio = np.sqrt(east**2 + north**2) * args["z_factor"]
    return (ratio * 100, None) if args["units"] == "percent" else (np.degrees(np.arctan(ratio)), None)


def _aspect(window: _Window, args: Mapping[str, Any]) -> tuple[Array, Array | None]:
    east, north = _slopes(window, args["height"], args["width"], args["method"])
    facing = np.degrees(np.arctan2(-east, -north)) % 360
    return np.where(facing == 360, 0, facing), (east != 0) | (north != 0)


def _hillshade(window: _Window, args: Mapping[str, Any]) -> tuple[Array, Array | None]:
    """Cosine of the angle between the surface's normal and the light, as 1 to 255."""
    east, north = (part * args["z_factor"] for part in _slopes(window, args["height"], args["width"], args["method"]))
    azimuth, altitude = math.radians(args["azimuth"]), math.radians(args["altitude"])
    towards = east * math.sin(azimuth) + north * math.cos(azimuth)
    cosine = (math.sin(altitude) - math.cos(altitude) * towards) / np.sqrt(1 + east**2 + north**2)
    return np.floor(1 + 254 * np.maximum(cosine, 0) + 0.5), None


def _curvature(window: _Window, args: Mapping[str, Any]) -> tuple[Array, Array | None]:
    height, width, middle = args["height"], args["width"], window[0, 0]
    d = ((window[0, -1] + window[0, 1]) / 2 - middle) / width**2
    e = ((window[-1, 0] + window[1, 0]) / 2 - middle) / height**2
    if args["kind"] == "total":
        return -2 * (d + e) * args["z_factor"], None
    f = (-window[-1, -1] + window[-1, 1] + window[1, -1] - window[1, 1]) / (4 * height * width)
    g, h = _slopes(window, height, width, "zevenbergen")
    steep = g**2 + h**2
    along = d * g**2 + e * h**2 + f * g * h if args["kind"] == "profile" else -(d * h**2 + e * g**2 - f * g * h)
    return -2 * along / np.where(steep > 0, steep, 1) * args["z_factor"], None


def _tpi(window: _Window, _args: Mapping[str, Any]) -> tuple[Array, Array | None]:
    return window[0, 0] - np.asarray(sum(window.around)) / 8, None


def _tri(window: _Window, args: Mapping[str, Any]) -> tuple[Array, Array | None]:
    apart = [neighbour - window[0, 0] for neighbour in window.around]
    if args["method"] == "riley":
        return np.sqrt(sum(difference**2 for difference in apart)), None
    return np.asarray(sum(np.abs(difference) for difference in apart)) / 8, None


def _roughness(window: _Window, _args: Mapping[str, Any]) -> tuple[Array, Array | None]:
    nine = [window[0, 0], *window.around]
    return np.maximum.reduce(nine) - np.minimum.reduce(nine), None


def _plane(values: Array, valid: Mask, measure: Measure, args: Mapping[str, Any]) -> tuple[Array, Mask]:
    window = _Window(np.where(valid, values, 0).astype(np.float64))
    whole = np.logical_and.reduce([part.astype(bool) for part in _valid_window(valid)])
    with np.errstate(invalid="ignore"):  # between infinite elevations
        found, known = measure(window, args)
    return found, whole if known is None else whole & known


def _valid_window(valid: Mask) -> list[Array]:
    window = _Window(valid.astype(np.float64))
    return [window[0, 0], *window.around]


def _apply(image: Block, measure: Measure, dtype: npt.DTypeLike = np.float32, **args: Any) -> Block:
    return over_planes(image, 1, np.dtype(dtype), partial(_plane, measure=measure, args=args))


def _float_rule(image: CubeType, **_args: Any) -> CubeType:
    return value_type(image, np.dtype(np.float32))


def _one(_args: Mapping[str, Any]) -> int:
    return 1


def _check(name: str, argument: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ExpressionError(f"{name}: {argument}={value!r} is not one of {', '.join(allowed)}")


def _size(image: Image, name: str) -> tuple[float, float]:
    grid = image.type.grid
    if grid is None:
        raise ExpressionError(f"{name}: a constant has no terrain; use an elevation model")
    return metric_size(name, grid)


@operator("terrain", Tile.FOCAL, _float_rule, halo=_one, work=plane_work)
def slope_on_grid(image: Block, height: float, width: float, units: str, method: str, z_factor: float) -> Block:
    """Slope of pixels of a given height and width in metres; `slope` takes these from the grid."""
    return _apply(image, _slope, height=height, width=width, units=units, method=method, z_factor=z_factor)


@composite("terrain", example='dem.slope(units="percent")')
def slope(image: Image, units: str = "degrees", method: str = "horn", z_factor: float = 1.0) -> Image:
    """Steepest slope: float32, degrees 0 to 90, or percent (100 is 45 degrees).

    `method` is horn (eight neighbours, as gdaldem) or zevenbergen (four, as Earth Engine). Valid where all 3 x 3 pixels
    are. Raises GridError for a grid in degrees.
    """
    _check("slope", "units", units, ("degrees", "percent"))
    _check("slope", "method", method, METHODS)
    return call("slope_on_grid", image, *_size(image, "slope"), units, method, z_factor)


@operator("terrain", Tile.FOCAL, _float_rule, halo=_one, work=plane_work)
def aspect_on_grid(image: Block, height: float, width: float, method: str) -> Block:
    """Aspect of pixels of a given height and width in metres; `aspect` takes these from the grid."""
    return _apply(image, _aspect, height=height, width=width, method=method)


@composite("terrain")
def aspect(image: Image, method: str = "horn") -> Image:
    """Direction that the slope faces: float32 degrees from 0 to below 360, 0 north, 90 east; not valid where it is flat.

    `method` is horn or zevenbergen. Valid where all 3 x 3 pixels are. Raises GridError for a grid in degrees.
    """
    _check("aspect", "method", method, METHODS)
    return call("aspect_on_grid", image, *_size(image, "aspect"), method)


def _shade_rule(image: CubeType, *, azimuth: float, altitude: float, **_args: Any) -> CubeType:
    if not (0 <= azimuth <= 360 and 0 <= altitude <= 90):
        raise ExpressionError(f"hillshade: azimuth={azimuth} must be 0 to 360 degrees, altitude={altitude} 0 to 90")
    return value_type(image, np.dtype(np.uint8))


@operator("terrain", Tile.FOCAL, _shade_rule, halo=_one, work=plane_work)
def hillshade_on_grid(
    image: Block, height: float, width: float, azimuth: float, altitude: float, method: str, z_factor: float
) -> Block:
    """Shading of pixels of a given height and width in metres; `hillshade` takes these from the grid."""
    args = {"height": height, "width": width, "azimuth": azimuth, "altitude": altitude, "method": method}
    return _apply(image, _hillshade, np.uint8, z_factor=z_factor, **args)


@composite("terrain")
def hillshade(
    image: Image, azimuth: float = 315.0, altitude: float = 45.0, method: str = "horn", z_factor: float = 1.0
) -> Image:
    """Shading by a light from `azimuth` (degrees from north) at `altitude` above the horizon: uint8, 1 dark to 255 bright.

    No shadows are cast. `method` is horn or zevenbergen; `z_factor` exaggerates heights. Valid where all 3 x 3 pixels are.
    Raises GridError for a grid in degrees.
    """
    _check("hillshade", "method", method, METHODS)
    return call("hillshade_on_grid", image, *_size(image, "hillshade"), azimuth, altitude, method, z_factor)


@operator("terrain", Tile.FOCAL, _float_rule, halo=_one, work=plane_work)
def curvature_on_grid(image: Block, height: float, width: float, kind: str, z_factor: float) -> Block:
    """Curvature of pixels of a given height and width in metres; `curvature` takes these from the grid."""
    return _apply(image, _curvature, height=height, width=width, kind=kind, z_factor=z_factor)


@composite("terrain")
def curvature(image: Image, kind: str = "total", z_factor: float = 1.0) -> Image:
    """Curvature of the surface by Zevenbergen and Thorne, float32, per metre; 0 where it is flat.

    `kind` is total (positive on ridges and peaks), profile (along the slope, positive where it gets flatter upwards: convex)
    or plan (across it, positive where water spreads). Valid where all 3 x 3 pixels are. Raises GridError for degrees.
    """
    _check("curvature", "kind", kind, CURVATURES)
    return call("curvature_on_grid", image, *_size(image, "curvature"), kind, z_factor)


@operator("terrain", Tile.FOCAL, _float_rule, halo=_one, work=plane_work)
def tpi(image: Block) -> Block:
    """Topographic position: elevation minus the mean of the eight neighbours; float32, in the unit of the elevations."""
    return _apply(image, _tpi)


def _tri_rule(image: CubeType, *, method: str) -> CubeType:
    _check("tri", "method", method, ("riley", "wilson"))
    return _float_rule(image)


@operator("terrain", Tile.FOCAL, _tri_rule, halo=_one, work=plane_work)
def tri(image: Block, method: str = "riley") -> Block:
    """Terrain ruggedness from the differences to the eight neighbours; float32, in the unit of the elevations.

    `method` is riley, the root of the sum of their squares, or wilson, their mean size.
    """
    return _apply(image, _tri, method=method)


@operator("terrain", Tile.FOCAL, _float_rule, halo=_one, work=plane_work)
def roughness(image: Block) -> Block:
    """Roughness: largest minus smallest elevation of the 3 x 3 pixels; float32, in the unit of the elevations."""
    return _apply(image, _roughness)
