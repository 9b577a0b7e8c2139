"""Pictures of images: thumbnails, films of collections, and pixels as an array of named fields."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .colors import encode_png, limits, paint, ramp_of, write_whole
from .errors import ExpressionError, GridError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from .engine.execute import Raster
    from .image import Image

__all__ = ["animate", "compute_pixels", "picture_grid", "thumbnail"]

LARGEST = 4096
"""Pixels a side of a picture at most."""
MOST_FRAMES = 1000
FILMS = {".gif": "GIF", ".png": "PNG", ".apng": "PNG"}
Box = tuple[float, float, float, float]


def picture_grid(image: Image, dimensions: int | tuple[int, int], region: Box | None) -> GeoBox:
    """Return the grid of a picture of an image: its own CRS, cut to a box in WGS 84 degrees (west, south, east, north).

    `dimensions` is the longer side in pixels, or width and height. Raises GridError where the box does not meet the image,
    or for sides outside of 1 to 4096.
    """
    from affine import Affine

    from .grid import Region, bounds_of, make_geobox, region_of, sub_geobox

    grid = image._grid("thumbnail")
    if region is not None:
        west, south, east, north = region
        if not (west < east and south < north):
            raise GridError(f"region={region} must be west, south, east, north in degrees, rising")
        box = make_geobox((1, 1), Affine(east - west, 0, west, 0, south - north, north), "EPSG:4326")
        left, bottom, right, top = bounds_of(box, grid)
        corners = [~grid.affine @ corner for corner in ((left, top), (right, top), (left, bottom), (right, bottom))]
        columns, rows = zip(*corners, strict=True)
        ends = (min(rows), max(rows), min(columns), max(columns))
        y0, y1, x0, x1 = (round(end) for end in ends)
        cut = Region(y0, max(y1, y0 + 1), x0, max(x1, x0 + 1)).intersect(region_of(grid))
        if cut.size == 0:
            raise GridError(f"region={region} does not meet the image, which lies in {image.bounds()}")
        grid = sub_geobox(grid, cut)
    width, height = _sides(dimensions, grid)
    rows_, columns_ = grid.shape
    return make_geobox((height, width), grid.affine @ Affine.scale(columns_ / width, rows_ / height), grid.crs)


def _sides(dimensions: int | tuple[int, int], grid: GeoBox) -> tuple[int, int]:
    """Return width and height of a picture of a grid."""
    rows, columns = grid.shape
    if isinstance(dimensions, int):
        share = dimensions / max(rows, columns)
        sides = max(1, round(columns * share)), max(1, round(rows * share))
    else:
        sides = dimensions
    given = (dimensions,) if isinstance(dimensions, int) else dimensions
    if len(sides) != 2 or not all(isinstance(side, int) and 1 <= side <= LARGEST for side in (*given, *sides)):
        raise GridError(f"dimensions={dimensions} must be the longer side, or width and height, of 1 to {LARGEST} pixels")
    return sides


def _looked_at(image: Image, dimensions: int | tuple[int, int], region: Box | None, options: Mapping[str, Any]) -> Raster:
    from .engine.looking import for_looking

    grid = image._grid("thumbnail")
    asked = picture_grid(image, dimensions, region)
    return for_looking(image).compute(None if asked == grid else asked, **options)


def thumbnail(
    image: Image,
    dimensions: int | tuple[int, int] = 512,
    region: Box | None = None,
    path: str | Path | None = None,
    **options: Any,
) -> bytes:
    """Return a picture as the bytes of a PNG; see `Image.thumbnail`."""
    if len(image.type.time) != 1:
        raise ExpressionError(
            f"thumbnail: the image has {len(image.type.time)} times; add .median(), or animate a collection of them"
        )
    raster = _looked_at(image, dimensions, region, options)
    data = encode_png(paint(raster.values[0], raster.valid[0].all(axis=0), raster.type.bands))
    if path is not None:
        write_whole(Path(path), data)
    return data


def animate(
    images: Sequence[Image],
    path: str | Path,
    dimensions: int | tuple[int, int] = 256,
    fps: float = 2.0,
    region: Box | None = None,
    **options: Any,
) -> Path:
    """Write the times of images as a film; see `ImageCollection.animate`."""
    path = Path(path)
    kind, count = FILMS.get(path.suffix.lower()), sum(len(image.type.time) for image in images)
    if kind is None:
        raise ExpressionError(f"animate: {path.name} ends in none of {', '.join(FILMS)}")
    if not 0.02 <= fps <= 50 or count > MOST_FRAMES:
        raise ExpressionError(f"animate: fps={fps:g} must be 0.02 to 50, and {count} frames at most {MOST_FRAMES}")
    rasters = [_looked_at(image, dimensions, region, options) for image in images]
    shapes = {raster.values.shape[1:] for raster in rasters}
    if len(shapes) > 1:
        raise ExpressionError(f"animate: frames of {len(shapes)} shapes, such as {sorted(shapes)[:2]}; give images alike")
    ends = _common_ends(rasters)
    frames = [
        paint(values, valid.all(axis=0), raster.type.bands, ends=ends)
        for raster in rasters
        for values, valid in zip(raster.values, raster.valid, strict=True)
    ]
    return write_whole(path, _film(frames, kind, round(1000 / fps)))


def _common_ends(rasters: Sequence[Raster]) -> tuple[float, float] | None:
    """Return the ends of the colours of one band for all frames: the same colour means the same number in each."""
    if rasters[0].values.shape[1] != 1:
        return None
    values = np.concatenate([raster.values.astype(np.float64) for raster in rasters])
    seen = np.concatenate([raster.valid for raster in rasters]) & np.isfinite(values)
    return limits(values, seen, ramp_of(rasters[0].type.bands[0]))


def _film(frames: Sequence[npt.NDArray[np.uint8]], kind: str, milliseconds: int) -> bytes:
    from PIL import Image as Pillow

    data = io.BytesIO()
    first, *others = [Pillow.fromarray(frame) for frame in frames]
    more: dict[str, Any] = {"disposal": 2} if kind == "GIF" else {"disposal": 1, "blend": 0}
    first.save(data, kind, save_all=True, append_images=others, duration=milliseconds, loop=0, **more)
    return data.getvalue()


def compute_pixels(
    image: Image, grid: GeoBox | Mapping[str, Any] | None = None, **options: Any
) -> np.ma.MaskedArray[Any, Any]:
    """Compute an image on a grid as an array with a field for each band; see `Image.compute_pixels`."""
    geobox = _grid_of_request(grid) if isinstance(grid, Mapping) else grid
    if geobox is not None:
        image = _all_of(image, geobox, options.get("resampling"))
    raster = image.compute(geobox, **options)
    fields = np.dtype([(band, raster.values.dtype) for band in raster.type.bands])
    shape = (len(raster.type.time), *raster.values.shape[2:])
    values, missing = np.zeros(shape, fields), np.ones(shape, [(band, bool) for band in raster.type.bands])
    for place, band in enumerate(raster.type.bands):
        values[band] = np.where(raster.valid[:, place], raster.values[:, place], 0)
        missing[band] = ~raster.valid[:, place]
    pixels = np.ma.MaskedArray(values, mask=missing)
    return pixels[0] if len(pixels) == 1 else pixels


def _all_of(image: Image, geobox: GeoBox, resampling: str | None) -> Image:
    """Return the image with the pixels of a grid beyond its own, which are not valid, where the grid has such."""
    from .engine.execute import region_for

    _image, region = region_for(image, geobox, resampling)
    return image if region.shape == tuple(geobox.shape) else image.reproject_to(geobox, resampling)


def _grid_of_request(grid: Mapping[str, Any]) -> GeoBox:
    """Return Earth Engine's description of a grid as a GeoBox. Raises GridError where a part of it is missing."""
    from affine import Affine

    from .grid import make_geobox

    try:
        told, sides = grid["affineTransform"], grid["dimensions"]
        numbers = (told[f"{kind}{axis}"] for axis, kinds in (("X", _ROW), ("Y", _COLUMN)) for kind in kinds)
        affine = Affine(*(float(number) for number in numbers))
        return make_geobox((int(sides["height"]), int(sides["width"])), affine, str(grid["crsCode"]))
    except (KeyError, TypeError, ValueError) as error:
        raise GridError(
            f"compute_pixels: the grid lacks {error}; give a GeoBox, or dimensions, affineTransform and crsCode"
        ) from error


_ROW, _COLUMN = ("scale", "shear", "translate"), ("shear", "scale", "translate")
"""Words of Earth Engine's affineTransform, in the order of an affine transform's two rows."""
