"""Images moved, cut and laid over one another, and how they are put on another grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from esd.block import Block
from esd.errors import ExpressionError, GridError
from esd.grid import Region, geobox_from_bounds, region_of, sub_geobox
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.places import grid_arguments
from esd.regrid import check_method
from esd.space import CubeType
from esd.structure import common_grid

from .neighbours import metric_size, value_type

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__: list[str] = []

LARGEST_REACH = 200
UNITS = ("m", "pixels")
OUTLINE_POINTS = 84
PARTS = 2.0**20
Array = npt.NDArray[Any]


def _grid(name: str, image: Image) -> GeoBox:
    if image.type.grid is None:
        raise GridError(f"{name}: a constant has no grid; use an image of a cube")
    return image.type.grid


@composite("grid", example='image.ndvi().median().resample("bicubic")')
def resample(image: Image, method: str = "bilinear") -> Image:
    """The image, to be put on another grid by `nearest`, `bilinear` or `bicubic` where nothing else is said.

    It counts for what is done with the image itself: `compute(geobox)` and its siblings, `tile`, `reproject_to` and
    `reproject_like`; an operator's result is another image. Pixels on the own grid stay. Raises ExpressionError for another
    method.
    """
    check_method("resample", image.type, method)
    return image


@composite("grid", example="image.set_default_projection('EPSG:4326', 0.0003)")
def set_default_projection(image: Image, crs: str, scale: float, resampling: str = "nearest") -> Image:
    """The image, to be computed in another system with pixels of `scale` units of `crs` a side, where no grid is asked for.

    The grid covers the image, its lines on whole multiples of `scale`. Where a grid is asked for of the image itself
    (`compute(geobox)` and its siblings, `tile`, `reproject_to`, `reproject_like`), it is reached from the image's own pixels
    at once, as `resample` says; an operator takes the image on the new grid, where `resampling` (nearest, bilinear, bicubic)
    put it. Raises GridError for a constant, which has no extent, a system that is not understood or cannot show the image,
    or a scale that is not positive.
    """
    grid = _grid("set_default_projection", image)
    target = _covering(grid, crs, scale)
    return call("reproject", image, *grid_arguments("set_default_projection", target), resampling)


def _covering(grid: GeoBox, crs: str, scale: float) -> GeoBox:
    """Return the grid of pixels of a size, their lines on its multiples, that covers another grid."""
    import shapely

    from esd.geometry import crs_of, projected

    if grid.crs is None or not 0 < scale < np.inf:
        raise GridError(f"set_default_projection: scale={scale:g} must be above 0, and the image in a coordinate system")
    outline = grid.extent.geom
    outline = shapely.segmentize(outline, outline.length / OUTLINE_POINTS)
    found = projected(np.array([outline], dtype=object), grid.crs.proj, crs_of(crs))[0]
    sides = np.array(found.bounds) / scale
    if not np.isfinite(sides).all():
        raise GridError(f"set_default_projection: the image {grid.boundingbox} reaches beyond what {crs} can show")
    left, bottom = (float(side) * scale for side in np.floor(sides[:2] + 1e-6))
    right, top = (float(side) * scale for side in np.ceil(sides[2:] - 1e-6))
    return geobox_from_bounds(left, bottom, right, top, crs, scale)


@composite("grid", example="image.translate(15, -15)")
def translate(image: Image, dx: float, dy: float, units: str = "m") -> Image:
    """The image moved east by `dx` and north by `dy`, in metres, or in pixels with `units` "pixels".

    Its grid moves and its pixels stay what they are: nothing is resampled before it is put on another grid
    (`reproject_like`). Raises GridError for metres on a grid in degrees, ExpressionError for another unit.
    """
    grid = _grid("translate", image)
    if units not in UNITS:
        raise ExpressionError(f"translate: units={units!r} is not one of {', '.join(UNITS)}")
    crs, transform, _shape = grid_arguments("translate", grid)
    affine = Affine(*transform)
    if units == "pixels":
        moved = affine @ Affine.translation(dx, -dy)
    else:
        height, _width = metric_size("translate", grid)
        metres = height / abs(affine.e)
        moved = Affine.translation(dx / metres, dy / metres) @ affine
    return call("change_proj", image, crs, tuple(float(number) for number in tuple(moved)[:6]))


def _window(grid: GeoBox, box: Sequence[float], crs: str) -> Region:
    """Return the pixels whose centre lies within the bounds of a box on a grid."""
    import shapely

    from esd.geometry import crs_of, projected

    if grid.crs is None:
        raise GridError("clip_to_bounds: the grid has no coordinate system; write one into the file (gdal_edit -a_srs)")
    outline = shapely.box(*box)
    outline = shapely.segmentize(outline, outline.length / OUTLINE_POINTS)
    found = projected(np.array([outline], dtype=object), crs_of(crs), grid.crs.proj)[0]
    to_pixels: Any = ~grid.affine
    x, y = shapely.get_coordinates(found).T
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise GridError(f"clip_to_bounds: the box {tuple(box)} of {crs} reaches beyond what {grid.crs} can show")
    columns, rows = to_pixels @ (x, y)
    sides = [int(np.ceil(edge - 0.5 - 1e-6)) for edge in (rows.min(), rows.max(), columns.min(), columns.max())]
    return Region(sides[0], sides[1], sides[2], sides[3]).intersect(region_of(grid))


@composite("grid", example="image.clip_to_bounds(14.9999, 45.1535, 15.0015, 45.1545)")
def clip_to_bounds(image: Image, west: float, south: float, east: float, north: float, crs: str = "EPSG:4326") -> Image:
    """The part of the image whose pixel centres lie in a box of coordinates, WGS 84 degrees or those of `crs`.

    In another system than the grid's, in the smallest rectangle of pixels around the box. Pixels stay what they are. Raises
    GridError for a box that holds no pixel of the image, or has no area.
    """
    grid = _grid("clip_to_bounds", image)
    if not (west < east and south < north):
        raise GridError(
            f"clip_to_bounds: {west:g}, {south:g}, {east:g}, {north:g} has no area; give west, south, east, north"
        )
    region = _window(grid, (west, south, east, north), crs)
    if region.size == 0:
        raise GridError(f"clip_to_bounds: no pixel of {grid.boundingbox} lies in {west:g}, {south:g}, {east:g}, {north:g}")
    part = sub_geobox(grid, region)
    return call("reproject", image, *grid_arguments("clip_to_bounds", part), "nearest")


@composite("grid", example="image.blend(image + 0.1, 0.5)")
def blend(bottom: Image, top: Image, opacity: float = 1.0) -> Image:
    """The second image laid over the first: where it is valid, `opacity` times it and the rest of the first; else the first.

    Valid where one of them is. With an opacity of 1 (the default) dtypes stay. Raises ExpressionError unless it is 0 to 1.
    """
    if not 0 <= opacity <= 1:
        raise ExpressionError(f"blend: opacity={opacity:g} is out of range; give 0 to 1")
    covered = call("first_valid", top, bottom)
    if opacity == 1:
        return covered
    return call("first_valid", top * opacity + bottom * (1 - opacity), covered)


def _reach(args: Mapping[str, Any]) -> int:
    return int(np.ceil(args["max_offset"] / min(args["height"], args["width"]))) + 2


def _displace_rule(image: CubeType, field: CubeType, *, max_offset: float, resampling: str, **size: float) -> CubeType:
    check_method("displace", image, resampling)
    most = LARGEST_REACH * min(size.values())
    if not 0 < max_offset <= most:
        raise ExpressionError(
            f"displace: max_offset={max_offset:g} metres is out of range; give more than 0, up to {most:g}"
        )
    if len(field.bands) != 2 or len(field.time) != 1:
        raise ExpressionError(f"displace: the field needs one time and two bands, dx and dy; it is {field.describe()}")
    if resampling != "nearest" and image.dtype.kind != "f":
        raise ExpressionError(f"displace: {resampling} would average {image.dtype}; use nearest, or .cast() it")
    return value_type(image).with_(grid=common_grid("displace", (image, field)))


def _displace_work(types: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    """Bytes of places and weights, and of the pixels picked for them."""
    return pixels * (160 + 4 * types[0].bytes_per_pixel)


def _in_pixels(metres: Array, size: float) -> Array:
    """Return a displacement in pixels to a millionth of one: short enough that adding it to a place loses no bit."""
    return np.asarray(np.round(metres.astype(np.float64) / size * PARTS) / PARTS)


@operator(
    "grid",
    Tile.FOCAL,
    _displace_rule,
    halo=_reach,
    work=_displace_work,
    example="image.displace_on_grid(image.pixel_coordinates() * 0 + 12, 30, 30, 60)",
)
def displace_on_grid(
    image: Block, field: Block, height: float, width: float, max_offset: float, resampling: str = "bilinear"
) -> Block:
    """Displace pixels of a given height and width in metres; `displace` takes these from the grid."""
    from esd.engine.resample import resample as sampled

    margin = _reach({"height": height, "width": width, "max_offset": max_offset})
    rows, columns = (length - 2 * margin for length in image.values.shape[2:])
    inner = (slice(margin, margin + rows), slice(margin, margin + columns))
    east, north = (field.values[0, band][inner] for band in (0, 1))
    known = field.full_valid[0].all(axis=0)[inner] & (np.abs(east) <= max_offset) & (np.abs(north) <= max_offset)
    y, x = np.meshgrid(np.arange(rows) + margin + 0.5, np.arange(columns) + margin + 0.5, indexing="ij")
    places = (y - _in_pixels(np.where(known, north, 0), height), x + _in_pixels(np.where(known, east, 0), width))
    found = sampled(image, Region(0, rows + 2 * margin, 0, columns + 2 * margin), places, resampling)
    valid = found.full_valid & known
    return Block(np.where(valid, found.values, 0).astype(image.values.dtype, copy=False), valid)


@composite("grid", example="image.displace(image.pixel_coordinates() * 0 + 12, 60)")
def displace(image: Image, field: Image, max_offset: float, resampling: str = "bilinear") -> Image:
    """Take each pixel from another place: east by the first band of a field and north by the second, in metres.

    Valid where the field is, neither of its bands is longer than `max_offset` metres, and the place is valid; `resampling`
    is nearest, bilinear or bicubic. Raises GridError for a grid in degrees, ExpressionError for a field that has not two
    bands and one time, or a `max_offset` of more than 200 pixels.
    """
    height, width = metric_size("displace", _grid("displace", image))
    return call("displace_on_grid", image, field, height, width, max_offset, resampling)
