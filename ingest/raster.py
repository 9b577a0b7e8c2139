"""Rasters: windows of GeoTIFFs, the grid that a file tells, and pixels moved from one grid to another."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, MemoryFile
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window

from esd.errors import GridError, SceneError
from esd.grid import Region, aligned, pixel_size, region_of, same_crs
from esd.remote import is_address, open_raster

from .archive import Package
from .scene import Layer, Observation
from .tiff import require_sound

__all__ = [
    "Header",
    "header_of",
    "is_same_grid",
    "native_region",
    "place",
    "read_window",
    "remote_header",
    "require_one_grid",
]

Number = TypeVar("Number", bound=np.number)

MARGIN = 2
"""Source pixels read beyond the target's outline, so that interpolation at its edge has neighbours."""
SAME_PLACE = 0.5
"""Pixels; grids whose pixels coincide are either nearer than this or at least one pixel apart."""


class Header:
    """What a GeoTIFF tells of itself: shape, grid (None without a CRS), band descriptions, nodata."""

    def __init__(self, dataset: DatasetReader) -> None:
        self.shape: tuple[int, int] = dataset.shape
        self.descriptions: tuple[str, ...] = tuple(name or "" for name in dataset.descriptions)
        self.dtype: str = dataset.dtypes[0]
        self.nodata: float | None = dataset.nodata
        self.geobox: GeoBox | None = None
        if dataset.crs:
            self.geobox = GeoBox(dataset.shape, dataset.transform, _short_name(dataset.crs.to_wkt()))


@lru_cache(maxsize=64)
def _short_name(wkt: str) -> str:
    """Return the EPSG code of a CRS that is exactly one, else its WKT; looking it up is slow, and scenes share theirs."""
    code = rasterio.crs.CRS.from_wkt(wkt).to_epsg(confidence_threshold=100)
    return f"EPSG:{code}" if code else wkt


def header_of(package: Package, name: str) -> Header:
    """Return the header of a GeoTIFF in a delivery. Raises SceneError if it is not one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            if package.folder is not None:
                with rasterio.open(package.folder / name) as dataset:
                    return Header(dataset)
            with MemoryFile(package.read(name)) as memory, memory.open() as dataset:
                return Header(dataset)
    except RasterioError as error:
        raise SceneError(f"{package.path.name}: {name} is not a readable raster; download it again") from error


def remote_header(address: str) -> Header:
    """Return the header of a GeoTIFF by its address, or path. Raises SceneError if it cannot be read."""
    try:
        with open_raster(address) as dataset:
            return Header(dataset)
    except RasterioError as error:
        raise SceneError(f"{address} cannot be read ({error}); check the link, or try again later") from error


def _remote_window(layer: Layer, window: Window, full: tuple[int, int]) -> npt.NDArray[np.generic]:
    try:
        with open_raster(layer.file) as dataset:
            if dataset.shape != full:
                raise SceneError(f"{layer.file} has {dataset.shape} pixels, its scene {full}; search for it again")
            _require_type(dataset, layer)
            raw: npt.NDArray[np.generic] = dataset.read(layer.index, window=window)
            return raw
    except RasterioError as error:
        raise SceneError(f"{layer.file} cannot be read ({error}); check the link, or try again later") from error


def read_window(folder: Path, layer: Layer, region: Region, full: tuple[int, int]) -> npt.NDArray[np.generic]:
    """Return the raw numbers [y, x] of a region of a GeoTIFF band whose whole shape is `full`; over HTTP for an address.

    Raises SceneError if the file is absent, damaged or of another shape.
    """
    window = Window(region.x0, region.y0, region.x1 - region.x0, region.y1 - region.y0)
    if is_address(layer.file):
        return _remote_window(layer, window, full)
    path = folder / layer.file
    require_sound(path)
    rows, columns = full
    try:
        # A grid of plain pixel numbers is laid over the file, because rasterio warns (and warnings are not safe
        # between threads) about files without any.
        with rasterio.open(f"vrt://{path}?a_ullr=0,{rows},{columns},0") as dataset:
            if dataset.shape != full:
                raise SceneError(f"{layer.file} has {dataset.shape} pixels, its scene {full}; download it again")
            _require_type(dataset, layer)
            raw: npt.NDArray[np.generic] = dataset.read(layer.index, window=window)
            return raw
    except RasterioError as error:
        raise SceneError(f"{layer.file} is missing or damaged; download its scene again") from error


def require_one_grid(package: Package, layers: Iterable[Layer], geobox: GeoBox) -> None:
    """Raise SceneError if a raster of a folder tells another grid than its scene's; one without a grid tells none."""
    if package.folder is None:
        return
    for file in sorted({layer.file for layer in layers}):
        told = header_of(package, file).geobox
        if told is not None and not is_same_grid(told, geobox):
            raise SceneError(f"{file} has another grid than the other bands of its scene; download it again")


def is_same_grid(one: GeoBox, other: GeoBox) -> bool:
    """Tell whether two grids have the same pixels, not only pixels that coincide."""
    shift = ~one.affine @ other.affine
    same_place = max(abs(shift.c), abs(shift.f)) < SAME_PLACE
    return one.shape == other.shape and same_place and aligned(one, other) and aligned(other, one)


def _require_type(dataset: DatasetReader, layer: Layer) -> None:
    """Raise SceneError if a file holds numbers of another type than its product's, or lacks the band."""
    if not isinstance(layer.index, int) or layer.index > dataset.count:
        raise SceneError(f"{layer.file} has {dataset.count} bands and not number {layer.index}; download it again")
    found = dataset.dtypes[layer.index - 1]
    bits = dataset.tags(layer.index, ns="IMAGE_STRUCTURE").get("NBITS")
    if bits is not None or (layer.dtypes and found not in layer.dtypes):
        what = f"{bits} bits" if bits is not None else found
        raise SceneError(f"{layer.file} has numbers of {what}, not {' or '.join(layer.dtypes)}; download it again")


def native_region(native: GeoBox, target: GeoBox) -> Region:
    """Return the region of `native` whose pixels the grid `target` needs; of size 0 where they do not meet."""
    whole = region_of(native)
    if aligned(native, target):
        corner = ~native.affine * target.affine
        y, x = round(corner.f), round(corner.c)
        return Region(y, y + target.shape.y, x, x + target.shape.x).intersect(whole)
    box = target.boundingbox
    bounds: tuple[float, ...] = box.bbox
    if not same_crs(native, target):
        bounds = transform_bounds(_crs(target), _crs(native), *bounds, densify_pts=21)
    if not np.isfinite(bounds).all():
        return Region(0, 0, 0, 0)
    inverse = ~native.affine
    corners = [inverse * (x, y) for x in bounds[::2] for y in bounds[1::2]]
    columns, rows = zip(*corners, strict=True)
    y0, y1 = int(np.floor(min(rows))), int(np.ceil(max(rows)))
    x0, x1 = int(np.floor(min(columns))), int(np.ceil(max(columns)))
    met = Region(y0, y1, x0, x1).intersect(whole)
    return met.grow(MARGIN).intersect(whole) if met.size else met


def _crs(geobox: GeoBox) -> rasterio.crs.CRS:
    if geobox.crs is None:
        raise GridError(f"grid {tuple(geobox.shape)} has no coordinate system; write one into the file (gdal_edit -a_srs)")
    return rasterio.crs.CRS.from_wkt(geobox.crs.to_wkt())


def place(observation: Observation, native: GeoBox, target: GeoBox) -> Observation:
    """Move an observation that covers the grid `native` onto the grid `target`.

    Grids whose pixels coincide are copied. Otherwise clear reflectance is averaged (target pixels at least twice as
    wide) or interpolated bilinearly, never mixing in masked pixels; masks and days follow the nearest pixel.
    """
    if aligned(native, target):
        return _paste(observation, native, target)
    wide = pixel_size(target)[0] >= 2 * pixel_size(native)[0] and same_crs(native, target)
    method = Resampling.average if wide else Resampling.bilinear
    masked = np.where(observation.clear, observation.reflectance, np.float32(np.nan))
    moved = _warp(masked, native, target, method, np.float32(np.nan))
    clear = _warp(observation.clear.astype(np.uint8), native, target, Resampling.nearest, np.uint8(0)).astype(bool)
    clear &= np.isfinite(moved)
    day = None
    if observation.day is not None:
        day = _warp(observation.day[None], native, target, Resampling.nearest, np.int16(-1))[0]
    cloud = None
    if observation.cloud is not None:
        mask = observation.cloud[None].astype(np.uint8)
        cloud = _warp(mask, native, target, Resampling.nearest, np.uint8(0))[0].astype(bool)
    return Observation(np.where(clear, moved, np.float32(0)), clear, day, cloud)


def _paste(observation: Observation, native: GeoBox, target: GeoBox) -> Observation:
    offset = ~target.affine * native.affine
    y, x = round(offset.f), round(offset.c)
    there = Region(y, y + native.shape.y, x, x + native.shape.x)
    both = there.intersect(region_of(target))
    if both == there == region_of(target):
        return observation
    into, out = both.slices, both.within(there)
    shape = (observation.reflectance.shape[0], *target.shape)
    reflectance, clear = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=bool)
    reflectance[:, *into] = observation.reflectance[:, *out]
    clear[:, *into] = observation.clear[:, *out]
    day = None
    if observation.day is not None:
        day = np.full(target.shape, -1, dtype=np.int16)
        day[into] = observation.day[out]
    cloud = None
    if observation.cloud is not None:
        cloud = np.zeros(target.shape, dtype=bool)
        cloud[into] = observation.cloud[out]
    return Observation(reflectance, clear, day, cloud)


def _warp(
    source: npt.NDArray[Number], native: GeoBox, target: GeoBox, method: Resampling, empty: Number
) -> npt.NDArray[Number]:
    result = np.full((source.shape[0], *target.shape), empty, dtype=source.dtype)
    reproject(
        source,
        result,
        src_transform=native.affine,
        src_crs=_crs(native),
        dst_transform=target.affine,
        dst_crs=_crs(target),
        src_nodata=empty if np.isnan(empty) else None,
        dst_nodata=empty,
        resampling=method,
        num_threads=1,
    )
    return result
