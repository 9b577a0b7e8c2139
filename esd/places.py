"""Images that follow from a grid alone: coordinates, areas, random numbers, one number everywhere.

They are leaves that carry their grid as plain arguments, so an image that has the grid is not read for them. Each number
depends on the place of its pixel only, and so not on where tiles are cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from .block import Block
from .errors import ExpressionError, GridError
from .grid import Region, make_geobox
from .hashing import hash_bits
from .operator import Tile, operator
from .space import CubeType, Space
from .structure import evaluated_by_engine

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["PLACES", "Number", "grid_arguments", "place"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Numbers = tuple[Array, Mask | None]
"""Values [band, y, x] and where they are valid; None means everywhere."""
Shape = tuple[float, ...]
Number = Any
"""A number that keeps its dtype; an argument of type float is made a float."""

AREA_UNITS = {"m2": 1.0, "ha": 1e4, "km2": 1e6}
DISTRIBUTIONS = ("uniform", "normal")
WGS84 = "EPSG:4326"


def grid_arguments(name: str, geobox: GeoBox | None) -> tuple[str, tuple[float, ...], tuple[int, int]]:
    """Return a grid as plain arguments: CRS, affine transform (six numbers), rows and columns; CRS "" for none."""
    if geobox is None:
        raise GridError(f"{name}: a constant has no grid; use an image of a cube")
    crs = geobox.crs
    text = "" if crs is None else f"EPSG:{crs.epsg}" if crs.epsg else crs.proj.to_wkt()
    rows, columns = geobox.shape
    return text, tuple(float(number) for number in tuple(geobox.affine)[:6]), (rows, columns)


def _grid_of(args: Mapping[str, Any]) -> GeoBox:
    return make_geobox(args["shape"], Affine(*args["transform"]), args["crs"] or None)


def _leaf(args: Mapping[str, Any], bands: Sequence[str], dtype: npt.DTypeLike = np.float64) -> CubeType:
    return CubeType(_grid_of(args), ("",), tuple(bands), np.dtype(dtype), Space.VALUE)


def _needs_crs(name: str, crs: str) -> None:
    if not crs:
        raise GridError(f"{name}: the grid has no coordinate system; write one into the file (gdal_edit -a_srs)")


def _work(_types: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    """Bytes of coordinates, before and after a transformation, and of what follows from them."""
    return 12 * 8 * pixels


def _centres(args: Mapping[str, Any], region: Region) -> tuple[Array, Array]:
    """Return x and y of the pixel centres of a region."""
    rows, columns = np.meshgrid(np.arange(region.y0, region.y1) + 0.5, np.arange(region.x0, region.x1) + 0.5, indexing="ij")
    affine: Any = Affine(*args["transform"])
    x, y = affine @ (columns, rows)
    return np.asarray(x), np.asarray(y)


def _transformed(args: Mapping[str, Any], region: Region, target: str) -> Numbers:
    """Return the coordinates of the pixel centres in another system, valid where it can show them."""
    from pyproj import CRS, Transformer

    x, y = _centres(args, region)
    source, wanted = CRS.from_user_input(args["crs"]), CRS.from_user_input(target)
    if not source.equals(wanted, ignore_axis_order=True):
        x, y = Transformer.from_crs(source, wanted, always_xy=True).transform(x, y)
    values = np.stack([x, y])
    known = np.isfinite(values).all(axis=0)
    return np.where(known, values, 0), known


def _lonlat_rule(**args: Any) -> CubeType:
    _needs_crs("pixel_lonlat", args["crs"])
    return _leaf(args, ("longitude", "latitude"))


@operator("structure", Tile.STRUCTURE, _lonlat_rule, Space.ANY, work=_work)
def pixel_lonlat_on_grid(crs: str, transform: Shape, shape: Shape) -> Block:
    """Longitude and latitude of the pixel centres of a grid; `pixel_lonlat` takes the grid from an image."""
    return evaluated_by_engine(crs=crs, transform=transform, shape=shape)


def _coordinates_rule(**args: Any) -> CubeType:
    from .geometry import crs_of

    if args["target"]:
        _needs_crs("pixel_coordinates", args["crs"])
        crs_of(args["target"])
    return _leaf(args, ("x", "y"))


@operator("structure", Tile.STRUCTURE, _coordinates_rule, Space.ANY, work=_work)
def pixel_coordinates_on_grid(crs: str, transform: Shape, shape: Shape, target: str = "") -> Block:
    """Coordinates of the pixel centres of a grid in the system `target`, or its own; see `pixel_coordinates`."""
    return evaluated_by_engine(crs=crs, transform=transform, shape=shape, target=target)


def _coordinates(args: Mapping[str, Any], region: Region) -> Numbers:
    if args["target"]:
        return _transformed(args, region, args["target"])
    return np.stack(_centres(args, region)), None


def _area_rule(**args: Any) -> CubeType:
    _needs_crs("pixel_area", args["crs"])
    if args["unit"] not in AREA_UNITS:
        raise ExpressionError(f"pixel_area: unit={args['unit']!r} is not one of {', '.join(AREA_UNITS)}")
    given = _leaf(args, ("area",))
    turned = args["transform"][1] != 0 or args["transform"][3] != 0
    if given.grid is not None and given.grid.crs is not None and not given.grid.crs.projected and turned:
        raise GridError("pixel_area: the grid of degrees is turned; .reproject_to a north-up one first")
    return given


@operator("structure", Tile.STRUCTURE, _area_rule, Space.ANY, work=_work)
def pixel_area_on_grid(crs: str, transform: Shape, shape: Shape, unit: str = "m2") -> Block:
    """Area of the pixels of a grid on the ellipsoid; `pixel_area` takes the grid from an image."""
    return evaluated_by_engine(crs=crs, transform=transform, shape=shape, unit=unit)


def _zone(latitude: Array, axis: float, eccentricity: float) -> Array:
    """Return the area on an ellipsoid between the equator and a latitude (radians), a radian of longitude wide.

    Source: Snyder (1987), Map Projections: A Working Manual, equation 3-12.
    """
    sine = np.sin(latitude)
    if eccentricity == 0:
        return axis**2 * sine
    e = eccentricity
    round_ = sine / (1 - (e * sine) ** 2) + np.arctanh(e * sine) / e
    return np.asarray(axis**2 * (1 - e**2) / 2 * round_)


def _area_in_degrees(args: Mapping[str, Any], region: Region, ellipsoid: Any) -> Array:
    width, _turn, _left, _skew, height, top = args["transform"]
    edges = np.radians(np.clip(top + np.arange(region.y0, region.y1 + 1) * height, -90, 90))
    zone = _zone(edges, ellipsoid.semi_major_metre, _eccentricity(ellipsoid))
    rows = np.abs(np.diff(zone)) * math.radians(abs(width))
    return np.repeat(rows[:, None], region.shape[1], axis=1)


def _eccentricity(ellipsoid: Any) -> float:
    flattening = 1 / ellipsoid.inverse_flattening if ellipsoid.inverse_flattening else 0.0
    return math.sqrt(flattening * (2 - flattening))


def _of_sphere(crs: Any, latitude: Array) -> Array:
    """Return how much larger areas on the ellipsoid are than on the sphere, where a projection takes it for one.

    Web mercator does: it is the product of the two radii of curvature over that of the sphere.
    """
    method = crs.coordinate_operation.method_name if crs.coordinate_operation else ""
    if not ("Pseudo" in method or "Spherical" in method):
        return np.ones(())
    squared = _eccentricity(crs.ellipsoid) ** 2
    return np.asarray((1 - squared) / (1 - squared * np.sin(np.radians(latitude)) ** 2) ** 2)


def _area(args: Mapping[str, Any], region: Region) -> Numbers:
    """In degrees exact; in a projection the planar area over the areal scale at the pixel's centre (PROJ's factors)."""
    from pyproj import CRS, Proj

    crs = CRS.from_user_input(args["crs"])
    if not crs.is_projected:
        areas = _area_in_degrees(args, region, crs.ellipsoid)
    else:
        projection, (x, y) = Proj(crs), _centres(args, region)
        metres = float(crs.axis_info[0].unit_conversion_factor)
        with np.errstate(all="ignore"):
            lon, lat = projection(x, y, inverse=True)
            scale = np.asarray(projection.get_factors(lon, lat).areal_scale)
            areas = abs(Affine(*args["transform"]).determinant) * metres**2 / scale * _of_sphere(crs, lat)
    known = np.isfinite(areas) & (areas > 0)
    return np.where(known, areas / AREA_UNITS[args["unit"]], 0)[None], known


def _random_rule(**args: Any) -> CubeType:
    if args["distribution"] not in DISTRIBUTIONS:
        raise ExpressionError(f"random: distribution={args['distribution']!r} is not one of {', '.join(DISTRIBUTIONS)}")
    if not 0 <= args["seed"] < 2**63:
        raise ExpressionError(f"random: seed={args['seed']} must be 0 or above")
    return _leaf(args, ("random",))


@operator("structure", Tile.STRUCTURE, _random_rule, Space.ANY, work=_work)
def random_on_grid(crs: str, transform: Shape, shape: Shape, seed: int = 0, distribution: str = "uniform") -> Block:
    """Random numbers on a grid; `random` takes the grid from an image."""
    return evaluated_by_engine(crs=crs, transform=transform, shape=shape, seed=seed, distribution=distribution)


def _random(args: Mapping[str, Any], region: Region) -> Numbers:
    """Hash the place on the lattice of all grids of this pixel size that fit together, so that a part of one agrees."""
    affine = Affine(*args["transform"])
    corner: Any = ~Affine(affine.a, affine.b, 0, affine.d, affine.e, 0) @ (affine.c, affine.f)
    column, row = (round(float(number)) for number in corner)
    columns = np.arange(region.x0, region.x1, dtype=np.int64)[None, :] + column
    rows = np.arange(region.y0, region.y1, dtype=np.int64)[:, None] + row
    share = (hash_bits((columns, rows), args["seed"]) >> np.uint64(11)).astype(np.float64)
    if args["distribution"] == "uniform":
        return (share * 2.0**-53)[None], None
    from scipy.special import ndtri

    return np.asarray(ndtri((share + 0.5) * 2.0**-53))[None], None


def _constant_rule(**args: Any) -> CubeType:
    if not isinstance(args["value"], bool | int | float):
        raise ExpressionError(f"constant_like: value={args['value']!r} is no number")
    return _leaf(args, ("constant",), type(args["value"]))


@operator("structure", Tile.STRUCTURE, _constant_rule, Space.ANY)
def constant_on_grid(value: Number, crs: str, transform: Shape, shape: Shape) -> Block:
    """One number on a grid, valid everywhere; `constant_like` takes the grid from an image."""
    return evaluated_by_engine(value=value, crs=crs, transform=transform, shape=shape)


PLACES: dict[str, Callable[[Mapping[str, Any], Region], Numbers]] = {
    "pixel_lonlat_on_grid": lambda args, region: _transformed(args, region, WGS84),
    "pixel_coordinates_on_grid": _coordinates,
    "pixel_area_on_grid": _area,
    "random_on_grid": _random,
    "constant_on_grid": lambda args, region: (np.full((1, *region.shape), args["value"]), None),
}
"""How each of these leaves is computed for a region of its grid."""


def place(name: str, args: Mapping[str, Any], region: Region) -> Block:
    """Return the block of a leaf that follows from its grid."""
    values, known = PLACES[name](args, region)
    valid = np.ones((1, 1, *region.shape), dtype=bool) if known is None else known[None, None]
    return Block(values[None], valid)
