"""HDF4-EOS files of MODIS, through pyhdf: GDAL's own HDF4 driver is missing from most Python wheels.

The grid is in the structural metadata: the outer corners of the corner pixels, sinusoidal on MODIS's sphere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox

from esd.errors import SceneError
from esd.grid import Region

from .scene import Layer

__all__ = ["SINUSOIDAL", "contents", "read_window"]

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"


def _open(path: Path) -> Any:
    try:
        from pyhdf.error import HDF4Error
        from pyhdf.SD import SD, SDC
    except ImportError as error:
        raise SceneError(f"{path.name} is HDF4, which needs pyhdf: pip install 'esd-toolkit[modis]'") from error
    try:
        return SD(str(path), SDC.READ)
    except HDF4Error as error:
        raise SceneError(f"{path.name} is not a readable HDF4 file ({error}); download it again") from error


def contents(path: Path) -> tuple[GeoBox, tuple[str, ...]]:
    """Return the grid and the data set names of an HDF4-EOS grid file. Raises SceneError if it is not one."""
    file = _open(path)
    try:
        text = str(file.attributes().get("StructMetadata.0", ""))
        names = tuple(sorted(file.datasets()))
    finally:
        file.end()
    return _geobox(_finest(text), path.name), names


def _finest(text: str) -> str:
    """Return the part of the structural metadata that tells of the grid with the most pixels; a file may have two."""
    parts = re.split(r"GROUP=GRID_\d+", text)
    sizes = [re.search(r"\bXDim=(\d+)", part) for part in parts]
    return max(zip(parts, sizes, strict=True), key=lambda one: int(one[1][1]) if one[1] else -1)[0]


def _geobox(text: str, name: str) -> GeoBox:
    columns, rows = _numbers(text, "XDim", name)[0], _numbers(text, "YDim", name)[0]
    west, north = _numbers(text, "UpperLeftPointMtrs", name)
    east, south = _numbers(text, "LowerRightMtrs", name)
    if "GCTP_SNSOID" not in text:
        raise SceneError(f"{name} is not on the sinusoidal grid; give the product's own tiles")
    affine = Affine((east - west) / columns, 0, west, 0, (south - north) / rows, north)
    return GeoBox((int(rows), int(columns)), affine, SINUSOIDAL)


def _numbers(text: str, key: str, name: str) -> tuple[float, ...]:
    found = re.search(rf"\b{key}=\(?([-+.\deE,]+)\)?", text)
    if found is None:
        raise SceneError(f"{name} has no {key} in its structural metadata; download it again")
    return tuple(float(number) for number in found[1].split(","))


def _get(data_set: Any, region: Region, layer: Layer) -> npt.NDArray[np.generic]:
    from pyhdf.error import HDF4Error

    try:
        return np.asarray(data_set.get(start=(region.y0, region.x0), count=region.shape))
    except HDF4Error as error:
        raise SceneError(f"{layer.file}: {layer.index} is damaged ({error}); download it again") from error


def _doubled(data_set: Any, region: Region, layer: Layer) -> npt.NDArray[np.generic]:
    """Read a region of a layer of half the resolution, each of its pixels standing for four."""
    coarse = Region(region.y0 // 2, -(-region.y1 // 2), region.x0 // 2, -(-region.x1 // 2))
    fine = Region(2 * coarse.y0, 2 * coarse.y1, 2 * coarse.x0, 2 * coarse.x1)
    return _get(data_set, coarse, layer).repeat(2, axis=0).repeat(2, axis=1)[region.within(fine)]


def read_window(folder: Path, layer: Layer, region: Region, full: tuple[int, int]) -> npt.NDArray[np.generic]:
    """Return the raw numbers [y, x] of a region of a data set whose whole shape is `full`.

    Raises SceneError if the file is absent, damaged or of another shape.
    """
    file = _open(folder / layer.file)
    try:
        data_set = file.select(str(layer.index))
        shape = tuple(data_set.info()[2])
        if tuple(2 * side for side in shape) == full:
            return _doubled(data_set, region, layer)
        if shape != full:
            raise SceneError(f"{layer.file}: {layer.index} has {shape} pixels, its grid {full}; download it again")
        raw = _get(data_set, region, layer)
        data_set.endaccess()
    finally:
        file.end()
    return raw
