"""Published embedding tiles in the forms that their makers give them, with contents that a test chooses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import zarr
from affine import Affine
from odc.geo.geobox import GeoBox

from esd.conventions import grid_attributes

__all__ = ["UTM33", "esd_numbers", "unit_vectors", "write_alphaearth", "write_esd", "write_raster", "write_tessera_npy"]

UTM33 = "EPSG:32633"
NORTH_WEST = (399_945.0, 5_400_015.0)
"""A corner of an MGRS tile, moved by half a Landsat pixel as ESD's are."""


def grid_of(rows: int, columns: int, pixel: float = 30, crs: str = UTM33) -> GeoBox:
    west, north = NORTH_WEST
    return GeoBox((rows, columns), Affine(pixel, 0, west, 0, -pixel, north), crs)


def write_raster(path: Path, values: npt.NDArray[np.generic], grid: GeoBox, bottom_up: bool = False) -> Path:
    """Write bands [band, y, x] as a tiled GeoTIFF; `bottom_up` puts the southern row first, as AlphaEarth does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = grid.affine
    if bottom_up:
        affine = affine @ Affine.translation(0, grid.shape.y) @ Affine.scale(1, -1)
        values = values[:, ::-1]
    profile = {"driver": "GTiff", "height": grid.shape.y, "width": grid.shape.x, "count": len(values), "dtype": values.dtype}
    tiled = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    with rasterio.open(path, "w", **profile, crs=str(grid.crs), transform=affine, **tiled) as file:
        file.write(values)
    return path


def esd_numbers(rows: int, columns: int, seed: int = 0) -> npt.NDArray[np.uint16]:
    """Return 13 bands: random codes with some no data and single zeros, and counts."""
    rng = np.random.default_rng(seed)
    bands = rng.integers(0, 64_000, (13, rows, columns), dtype=np.uint16)
    bands[:12, rng.random((rows, columns)) < 0.1] = 0
    bands[3, rng.random((rows, columns)) < 0.2] = 0
    bands[12] = rng.integers(0, 60, (rows, columns))
    return bands


def write_esd(folder: Path, bands: npt.NDArray[np.uint16], year: int = 2004, mgrs: str = "33UWP") -> Path:
    """Write an ESD tile under its published name."""
    return write_raster(folder / str(year) / f"SDC30_EBD_V001_{mgrs}_{year}.tif", bands, grid_of(*bands.shape[1:]))


def unit_vectors(dims: int, rows: int, columns: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """Return random vectors of length 1 [dims, y, x]."""
    vectors = np.random.default_rng(seed).normal(size=(dims, rows, columns))
    return vectors / np.linalg.norm(vectors, axis=0)


def write_alphaearth(path: Path, vectors: npt.NDArray[np.float64], nodata: npt.NDArray[np.bool_], pixel: float = 10) -> Path:
    """Write vectors [64, y, x] as AlphaEarth's bytes: clamp(sign(x) |x|**0.5 * 127.5, -127, 127), rounded; -128 no data."""
    raw = np.clip(np.rint(np.sign(vectors) * np.abs(vectors) ** 0.5 * 127.5), -127, 127).astype(np.int8)
    raw[:, nodata] = -128
    return write_raster(path, raw, grid_of(*raw.shape[1:], pixel), bottom_up=True)


def tessera_numbers(vectors: npt.NDArray[np.float64], nodata: npt.NDArray[np.bool_]) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 [128, y, x] and scales float32 [y, x] of vectors; NaN scale is no data."""
    scales = (np.abs(vectors).max(axis=0) / 127).astype(np.float32)
    raw = np.rint(vectors / scales).astype(np.int8)
    return raw, np.where(nodata, np.float32(np.nan), scales)


def write_tessera_npy(path: Path, vectors: npt.NDArray[np.float64], nodata: npt.NDArray[np.bool_]) -> Path:
    """Write a TESSERA tile as .npy files, with the GeoTIFF of the same name that tells where it lies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw, scales = tessera_numbers(vectors, nodata)
    np.save(path, np.moveaxis(raw, 0, -1))
    np.save(path.with_name(f"{path.stem}_scales.npy"), scales)
    write_raster(path.with_suffix(".tif"), np.ones((1, *scales.shape), np.uint8), grid_of(*scales.shape, 10))
    return path


def write_tessera_zarr(path: Path, years: dict[int, npt.NDArray[np.float64]], nodata: npt.NDArray[np.bool_]) -> Path:
    """Write a TESSERA store with one zone, utm33, of the vectors [128, y, x] of each year."""
    numbers = [tessera_numbers(vectors, nodata) for vectors in years.values()]
    group = zarr.create_group(path).create_group("utm33", attributes=grid_attributes(grid_of(*nodata.shape, 10)))
    raw, scales = (np.stack(arrays) for arrays in zip(*numbers, strict=True))
    group.create_array("embeddings", data=raw, chunks=(1, 128, 32, 32))
    group.create_array("scales", data=scales, chunks=(1, 32, 32), fill_value=np.nan)
    group.create_array("time", data=np.array(list(years), dtype=np.int32))
    return path
