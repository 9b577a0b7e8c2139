"""Where results go: Cloud Optimized GeoTIFF, written tile by tile and put in place whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.geo.geobox import GeoBox

from esd.errors import ExpressionError
from esd.grid import sub_geobox

from .execute import grid_of, region_for, run_tiles
from .plan import Plan, make_plan

if TYPE_CHECKING:
    from esd.image import Image

__all__ = ["write_geotiff"]

_BLOCK = 256
_NODATA: dict[str, float] = {"f": float("nan"), "u": 0, "i": 0, "b": 255}


def _profile(plan: Plan, geobox: GeoBox, nodata: float | None) -> dict[str, Any]:
    dtype = np.dtype(np.uint8) if plan.type.dtype.kind == "b" else plan.type.dtype
    if dtype.kind not in "fui":
        raise ExpressionError(f"a GeoTIFF cannot hold {plan.type.dtype}; convert the image first")
    return {
        "driver": "GTiff",
        "dtype": dtype.name,
        "count": len(plan.type.time) * len(plan.type.bands),
        "height": geobox.shape.y,
        "width": geobox.shape.x,
        "crs": geobox.crs.proj.to_wkt() if geobox.crs is not None else None,
        "transform": geobox.affine,
        "nodata": _NODATA[plan.type.dtype.kind] if nodata is None else nodata,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "BIGTIFF": "IF_SAFER",
    }


def _band_names(plan: Plan) -> list[str]:
    bands, times = plan.type.bands, plan.type.time
    return [f"{band} {time}".strip() if len(times) > 1 else band for time in times for band in bands]


def write_geotiff(
    image: Image,
    path: Path,
    geobox: GeoBox | None = None,
    *,
    tile: int | None = None,
    max_memory: int | None = None,
    resampling: str = "nearest",
    nodata: float | None = None,
    overviews: str = "nearest",
    colors: dict[int, tuple[int, int, int, int]] | None = None,
    tags: dict[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write an image as a Cloud Optimized GeoTIFF; see `Image.to_geotiff`.

    Times and bands become bands, time slowest. What is not valid becomes `nodata` (NaN for floats, 255 for booleans, else 0
    unless given). `overviews` is the resampling of the smaller copies. A colour table makes one uint8 band a paletted map.
    """
    import rasterio
    from rasterio.shutil import copy
    from rasterio.windows import Window

    image, region = region_for(image, geobox, resampling)
    plan = make_plan(image.expr, region, tile, max_memory, threads=os.cpu_count() or 1)
    profile = _profile(plan, sub_geobox(grid_of(plan), region), nodata)
    path.parent.mkdir(parents=True, exist_ok=True)
    tiles = plan.tiles
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        plain, final = Path(folder) / "plain.tif", Path(folder) / "cog.tif"
        with rasterio.open(plain, "w", **profile) as target:
            for done, (part, block) in enumerate(run_tiles(plan), start=1):
                values = np.where(block.full_valid, block.values, np.asarray(profile["nodata"])).astype(profile["dtype"])
                rows, columns = part.within(region)
                window = Window(columns.start, rows.start, part.shape[1], part.shape[0])
                target.write(values.reshape(-1, *part.shape), window=window)
                if progress is not None:
                    progress(done, len(tiles))
            _describe(target, _band_names(plan), colors, tags or {})
        copy(plain, final, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=_BLOCK, OVERVIEW_RESAMPLING=overviews)
        final.replace(path)
    return path


def _describe(
    target: Any, names: Sequence[str], colors: dict[int, tuple[int, int, int, int]] | None, tags: dict[str, str]
) -> None:
    for index, name in enumerate(names, start=1):
        target.set_band_description(index, name)
    if colors:
        target.write_colormap(1, colors)
    target.update_tags(**tags)
