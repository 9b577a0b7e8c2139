"""Computed images, and the tiles of a plan one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError, GridError
from esd.grid import Region, aligned, meet, region_of
from esd.regrid import without_default
from esd.space import CubeType

from .executors import LocalExecutor
from .plan import Plan
from .program import evaluate
from .scene import hold

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from esd.image import Image

__all__ = ["Raster", "evaluate", "grid_of", "region_for", "run_tiles"]


@dataclass(frozen=True)
class Raster:
    """A computed image: `values` and `valid` are [time, band, y, x]; what is not valid is 0.

    `approximate` tells that it was computed from overviews of the codes and not at their own resolution; `decoder` which
    decoder made reflectance of codes, "" if none did.
    """

    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    type: CubeType
    geobox: GeoBox
    approximate: bool = False
    decoder: str = ""

    @property
    def masked(self) -> np.ma.MaskedArray[Any, Any]:
        """The values as a NumPy masked array."""
        return np.ma.MaskedArray(self.values, mask=~self.valid)

    def to_xarray(self) -> xr.DataArray:
        """Return an xarray DataArray (time, band, y, x); floats are NaN where not valid, other dtypes keep a mask beside."""
        import xarray as xr

        values = np.where(self.valid, self.values, np.nan) if self.values.dtype.kind == "f" else self.values
        affine, (rows, columns) = self.geobox.affine, self.geobox.shape
        coordinates: dict[str, Any] = {
            "time": np.array([time or "NaT" for time in self.type.time], dtype="datetime64[ns]"),
            "band": list(self.type.bands),
            "y": affine.f + (np.arange(rows) + 0.5) * affine.e,
            "x": affine.c + (np.arange(columns) + 0.5) * affine.a,
            "valid": (("time", "band", "y", "x"), self.valid),
        }
        crs = self.geobox.crs
        attributes = {"crs": str(crs), "transform": tuple(affine)[:6], "space": self.type.space.value}
        attributes |= {"decoder": self.decoder} if self.decoder else {}
        return xr.DataArray(values, coords=coordinates, dims=("time", "band", "y", "x"), attrs=attributes)


def run_tiles(plan: Plan) -> Iterator[tuple[Region, Block]]:
    """Evaluate the tiles of a plan in order, as many at a time as it has threads; no more wait than are being computed."""
    with hold(plan.root, plan.tile):
        yield from LocalExecutor(plan.threads).run(partial(evaluate, plan.root), plan.tiles)


def region_for(image: Image, geobox: GeoBox | None, resampling: str | None) -> tuple[Image, Region]:
    """Return the image and the region of its grid that `geobox` asks for, the image reprojected where it has to be.

    Raises GridError where the two do not meet.
    """
    if geobox is not None:
        image = type(image)(without_default(image.expr))
    grid = image.type.grid
    if grid is None:
        raise ExpressionError(f"{image.expr!r} is made of constants only and has no grid; use an image of a cube in it")
    if geobox is None:
        return image, region_of(grid)
    if not aligned(grid, geobox):
        if not meet(grid, geobox):
            raise _apart(grid, geobox)
        return image.reproject_to(geobox, resampling), region_of(geobox)
    offset = ~grid.affine @ geobox.affine
    y, x = round(offset.f), round(offset.c)
    region = Region(y, y + geobox.shape.y, x, x + geobox.shape.x).intersect(region_of(grid))
    if region.size == 0:
        raise _apart(grid, geobox)
    return image, region


def _apart(grid: GeoBox, geobox: GeoBox) -> GridError:
    return GridError(f"the area asked for ({geobox.boundingbox}) does not meet the image's ({grid.boundingbox})")


def grid_of(plan: Plan) -> GeoBox:
    """Return the grid of a plan's result."""
    if plan.type.grid is None:
        raise ExpressionError("a plan has a grid")
    return plan.type.grid
