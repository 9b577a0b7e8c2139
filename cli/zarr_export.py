"""Images as Zarr stores that plain xarray opens: one variable a band, dimensions time, y and x."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esd.errors import CubeError

from .rasters import Target, nodata_of

if TYPE_CHECKING:
    import zarr
    from odc.geo.geobox import GeoBox

    from esd.engine.plan import Plan
    from esd.image import Image

__all__ = ["write_zarr"]

CHUNK = 256
EPOCH = np.datetime64("1970-01-01", "D")


def write_zarr(image: Image, path: Path, target: Target, progress: Callable[[int, int], None], **attributes: Any) -> Path:
    """Compute an image tile by tile into a Zarr v3 store; it appears under its name when it is whole.

    Times are days; what is not valid is NaN, or the fill value of integers. Raises CubeError if `path` exists.
    """
    from esd.engine.execute import region_for
    from esd.engine.plan import make_plan

    if path.exists():
        raise CubeError(f"--out {path} exists already; choose another name, or remove it first")
    image, region = region_for(image, target.geobox, target.resampling)
    plan = make_plan(image.expr, region, None, target.max_memory, threads=2)
    partial = path.with_name(f".{path.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _fill(partial, plan, image, target, progress, attributes)
        _consolidate(partial)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return path


def _consolidate(path: Path) -> None:
    import zarr

    with warnings.catch_warnings():
        # Nothing changes after this, so that one read of the metadata is safe; only its place is not standard yet.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        zarr.consolidate_metadata(path)


def _fill(
    path: Path, plan: Plan, image: Image, target: Target, progress: Callable[[int, int], None], attributes: dict[str, Any]
) -> None:
    import zarr

    from esd.engine.execute import grid_of, run_tiles
    from esd.grid import sub_geobox

    whole = grid_of(plan)
    geobox, area = sub_geobox(whole, plan.region), target.area(whole.crs)
    fill = nodata_of(image)
    fill = fill if fill is not None else np.nan
    group = zarr.create_group(path, zarr_format=3, attributes={"Conventions": "CF-1.10", **attributes})
    arrays = _skeleton(group, plan, geobox, fill)
    for number, (part, block) in enumerate(run_tiles(plan), start=1):
        valid = block.full_valid
        if area is not None:
            valid = valid & area.inside(sub_geobox(whole, part))
        rows, columns = part.within(plan.region)
        for index, array in enumerate(arrays):
            array[:, rows, columns] = np.where(valid[:, index], block.values[:, index], fill).astype(array.dtype)
        progress(number, len(plan.tiles))


def _skeleton(group: zarr.Group, plan: Plan, geobox: GeoBox, fill: float) -> list[zarr.Array[Any]]:
    """Make coordinates and one empty array a band; return the arrays."""
    from esd.conventions import grid_attributes

    given, (rows, columns), affine = plan.type, geobox.shape, geobox.affine
    days = (np.array([time or "1970-01-01" for time in given.time], dtype="datetime64[D]") - EPOCH).astype(np.int64)
    coordinates: dict[str, tuple[Any, dict[str, Any]]] = {
        "time": (days, {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian", "standard_name": "time"}),
        "y": (affine.f + (np.arange(rows) + 0.5) * affine.e, {"standard_name": "projection_y_coordinate"}),
        "x": (affine.c + (np.arange(columns) + 0.5) * affine.a, {"standard_name": "projection_x_coordinate"}),
    }
    for name, (values, attributes) in coordinates.items():
        group.create_array(name, data=values, chunks=values.shape, dimension_names=(name,), attributes=attributes)
    crs = geobox.crs.proj.to_wkt() if geobox.crs is not None else ""
    transform = " ".join(repr(number) for number in (affine.c, affine.a, affine.b, affine.f, affine.d, affine.e))
    group.create_array("spatial_ref", data=np.array(0), attributes={"crs_wkt": crs, "GeoTransform": transform})
    dtype = np.dtype(np.uint8) if given.dtype.kind == "b" else given.dtype
    shape = (len(given.time), rows, columns)
    return [
        group.create_array(
            band,
            shape=shape,
            dtype=dtype,
            chunks=(len(given.time), min(CHUNK, rows), min(CHUNK, columns)),
            fill_value=dtype.type(255 if given.dtype.kind == "b" else fill),
            dimension_names=("time", "y", "x"),
            attributes={"grid_mapping": "spatial_ref", "space": given.space.value, **grid_attributes(geobox)},
        )
        for band in given.bands
    ]
