"""Where results go: Zarr stores and Cloud Optimized GeoTIFFs, written shard by shard and put in place whole."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esd.errors import CubeError
from esd.space import CubeType, Space

from .batch import Job, Progress, job_for, locked, part_folder, run_job
from .execute import region_for
from .executors import executor_of
from .stop import CancelToken, stop_after
from .store import consolidate, open_store

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from esd.image import Image

__all__ = ["write_geotiff", "write_zarr"]

_BLOCK = 256
_NODATA: dict[str, float] = {"f": float("nan"), "u": 0, "i": 0, "b": 255}
_GDAL = {"GDAL_CACHEMAX": 64, "GDAL_NUM_THREADS": 1}
"""Megabytes that GDAL may hold, and threads: neither may depend on the machine."""


def zarr_fill(dtype: np.dtype[Any]) -> float:
    """Return what stands for "not valid" in a Zarr store: NaN, or the end of an integer's range; 255 for booleans."""
    if dtype.kind == "f":
        return float("nan")
    if dtype.kind == "b":
        return 255
    return int(np.iinfo(dtype).max if dtype.kind == "u" else np.iinfo(dtype).min)


def write_zarr(
    image: Image,
    path: Path,
    geobox: GeoBox | None = None,
    *,
    tile: int | None = None,
    max_memory: int | None = None,
    resampling: str | None = None,
    nodata: float | None = None,
    executor: Any = None,
    deadline: float | None = None,
    cancel: CancelToken | None = None,
    attributes: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write an image as a Zarr v3 store; see `Image.to_zarr`. Raises CubeError if `path` exists."""
    path = path.absolute()
    if path.exists():
        raise CubeError(f"{path} exists already; choose another name, or remove it first")
    image, region = region_for(image, geobox, resampling)
    dtype, folder = image.type.dtype, part_folder(path)
    fill = zarr_fill(dtype) if nodata is None else nodata
    job = job_for(image.expr, region, folder, fill, executor_of(executor), tile, max_memory)
    with locked(folder):
        run_job(job, folder, progress, stop_after(deadline, cancel))
        store = Path(job.store.path)
        if attributes:
            _add_attributes(store, attributes)
        consolidate(store)
        store.rename(path)
        shutil.rmtree(folder)
    return path


def _add_attributes(store: Path, attributes: dict[str, Any]) -> None:
    import zarr

    zarr.open_group(store, mode="r+", use_consolidated=False).attrs.update(attributes)


def _profile(job: Job) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "dtype": job.store.dtype,
        "count": len(job.store.names) * job.store.times,
        "height": job.geobox.shape.y,
        "width": job.geobox.shape.x,
        "crs": job.geobox.crs.proj.to_wkt() if job.geobox.crs is not None else None,
        "transform": job.geobox.affine,
        "nodata": job.store.fill,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "deflate",
        "zlevel": 1,
        "BIGTIFF": "IF_SAFER",
    }


def _descriptions(given: CubeType) -> list[str]:
    bands, times = given.bands, given.time
    return [f"{band} {time}".strip() if len(times) > 1 else band for time in times for band in bands]


def _numbered(given: CubeType) -> tuple[str, ...]:
    """Return names of variables for a store that only a GeoTIFF is made of, whatever the bands are called."""
    return tuple(f"b{i}" for i in range(len(given.bands)))


def write_geotiff(
    image: Image,
    path: Path,
    geobox: GeoBox | None = None,
    *,
    tile: int | None = None,
    max_memory: int | None = None,
    resampling: str | None = None,
    nodata: float | None = None,
    overviews: str | None = None,
    colors: dict[int, tuple[int, int, int, int]] | None = None,
    tags: dict[str, str] | None = None,
    executor: Any = None,
    deadline: float | None = None,
    cancel: CancelToken | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write an image as a Cloud Optimized GeoTIFF; see `Image.to_geotiff`.

    Times and bands become bands, time slowest. What is not valid becomes `nodata` (NaN for floats, 255 for booleans, else 0
    unless given). `overviews` is the resampling of the smaller copies, by default `average` for floats, which leaves out
    what is not valid, and `nearest` for what must not be averaged: codes, classes, positions, truth. A colour table makes
    one uint8 band a paletted map.
    """
    path = path.absolute()
    image, region = region_for(image, geobox, resampling)
    fill = _NODATA.get(image.type.dtype.kind, 0) if nodata is None else nodata
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = part_folder(path)
    job = job_for(image.expr, region, folder, fill, executor_of(executor), tile, max_memory, names=_numbered)
    with locked(folder):
        run_job(job, folder, progress, stop_after(deadline, cancel))
        final = _assemble(job, folder, overviews or overview_policy(image.type), colors, tags or {})
        final.replace(path)
        shutil.rmtree(folder)
    return path


def overview_policy(given: CubeType) -> str:
    """Return how a result is made smaller unless the user says otherwise."""
    return "average" if given.dtype.kind == "f" and given.space is not Space.CODES else "nearest"


def _assemble(
    job: Job, folder: Path, overviews: str, colors: dict[int, tuple[int, int, int, int]] | None, tags: dict[str, str]
) -> Path:
    """Put the shards of a job together as one Cloud Optimized GeoTIFF."""
    import rasterio
    from rasterio.shutil import copy
    from rasterio.windows import Window

    plain, final = folder / "plain.tif", folder / "cog.tif"
    opened = open_store(job.store)
    with rasterio.Env(**_GDAL):
        with rasterio.open(plain, "w", **_profile(job)) as target:
            for region in job.store.shards:
                rows, columns = region.within(job.store.region)
                window = Window(columns.start, rows.start, region.shape[1], region.shape[0])
                target.write(opened.read(region).reshape(-1, *region.shape), window=window)
            _describe(target, _descriptions(job.plan.type), colors, tags)
        copy(plain, final, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=_BLOCK, OVERVIEW_RESAMPLING=overviews)
    return final


def _describe(
    target: Any, names: Sequence[str], colors: dict[int, tuple[int, int, int, int]] | None, tags: dict[str, str]
) -> None:
    for index, name in enumerate(names, start=1):
        target.set_band_description(index, name)
    if colors:
        target.write_colormap(1, colors)
    target.update_tags(**tags)
