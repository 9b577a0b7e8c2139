"""Rasters of anybody's as lazy images: GeoTIFF and whatever else GDAL reads, on disk or at an address."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from .block import Block
from .errors import BandError, CubeError, GridError
from .expr import Expr
from .grid import Region, make_geobox
from .image import Image, call
from .remote import is_address, open_raster
from .store_paths import Place
from .stored import Numbers

__all__ = ["RasterSource", "load_image"]


@dataclass(frozen=True)
class RasterSource(Numbers):
    """Bands of a raster on its grid, north up: `places` counts them from 1. Read anew for each region.

    `stamp` tells the state of the file; `flipped`: its rows lie from south to north.
    """

    path: str
    stamp: int
    places: tuple[int, ...]
    flipped: bool

    def files(self, region: Region) -> Iterable[Place]:  # noqa: ARG002 - a raster is one file
        """Return the file, whatever the region."""
        return [Path(self.path)]

    @property
    def scratch_bytes(self) -> int:
        """Bytes that reading works in beside the result; GDAL keeps blocks in a cache of its own."""
        return 1 << 22

    def at_times(self, start: int, end: int) -> RasterSource:
        """Return the times at positions `start` to `end` of this one."""
        return replace(self, time=self.time[start:end])

    def read(self, region: Region) -> Block:
        """Read a region; the raster's nodata, mask band or alpha tells what is valid, and NaN is not."""
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        top = self.grid.shape.y - region.y1 if self.flipped else region.y0
        window = Window(region.x0, top, region.shape[1], region.shape[0])
        try:
            with open_raster(self.path) as dataset:
                values = dataset.read(list(self.places), window=window)
                valid = dataset.read_masks(list(self.places), window=window) > 0
        except RasterioError as error:
            line = " ".join(str(error).split())[:80]
            raise CubeError(f"raster {self.path} cannot be read ({line}); make or download it again") from error
        if self.flipped:
            values, valid = values[:, ::-1], valid[:, ::-1]
        if values.dtype.kind == "f":
            valid = valid & ~np.isnan(values)
        return Block(np.where(valid, values, values.dtype.type(0))[None], np.ascontiguousarray(valid)[None])


def load_image(path: str | Path, bands: Sequence[str] | None = None, time: str = "", raw: bool = False) -> Image:
    """Return a raster (GeoTIFF or any that GDAL reads; a path, or an address of http, https or s3) as a lazy image.

    Bands are named by their descriptions, or "b1", "b2", ...; `bands` keeps some of them. `time` is the ISO date of the
    image. The raster's nodata, mask or alpha tells what is valid. Scale and offset that the file declares are applied, so
    that numbers are in its unit, unless `raw`. Raises CubeError for what is no raster, GridError for one without a
    coordinate system, BandError for a band that it lacks.
    """
    place = str(path) if is_address(str(path)) else str(Path(path).resolve())
    if not is_address(place) and not Path(place).is_file():
        raise CubeError(f"raster {str(path)!r} is not there; give the path of a GeoTIFF, or an address")
    names, source, scales = _described(place, time)
    chosen = tuple(bands) if bands is not None else names
    for band in chosen:
        if band not in names:
            raise BandError(f"raster {Path(place).name} has no band {band!r}; it has {', '.join(names)}")
    places = tuple(names.index(band) for band in chosen)
    kept = replace(source, bands=chosen, places=tuple(place + 1 for place in places))
    image = Image(Expr("stored", (), {"source": kept}))
    return image if raw else _scaled(image, [scales[place] for place in places])


def _described(path: str, time: str) -> tuple[tuple[str, ...], RasterSource, list[tuple[float, float]]]:
    """Return the names of all bands, a source of them, and the scale and offset of each."""
    from rasterio.errors import RasterioError

    try:
        with open_raster(path) as dataset:
            shape, affine, crs = dataset.shape, dataset.transform, dataset.crs
            names = tuple(told or f"b{place}" for place, told in enumerate(dataset.descriptions, 1))
            scales = list(zip(dataset.scales, dataset.offsets, strict=True))
            dtypes = set(dataset.dtypes)
    except RasterioError as error:
        raise CubeError(f"{path} is not a readable raster; give a GeoTIFF") from error
    if not crs:
        raise GridError(f"raster {Path(path).name} has no coordinate system; write its own into it (gdal_edit -a_srs)")
    if len(dtypes) > 1 or np.dtype(next(iter(dtypes))).kind == "c" or len(set(names)) < len(names):
        raise CubeError(f"raster {Path(path).name} has bands {names} of {', '.join(sorted(dtypes))}; one real dtype is read")
    flipped = affine.e > 0
    if flipped:
        affine = affine @ Affine.translation(0, shape[0]) @ Affine.scale(1, -1)
    epsg = crs.to_epsg(confidence_threshold=100)
    grid = make_geobox(shape, affine, f"EPSG:{epsg}" if epsg else crs.to_wkt())
    stamp = 0 if is_address(path) else Path(path).stat().st_mtime_ns
    everything = tuple(range(1, len(names) + 1))
    source = RasterSource(path, stamp, everything, flipped, grid=grid, time=(time,), bands=names, dtype=dtypes.pop())
    return names, source, scales


def _scaled(image: Image, scales: Sequence[tuple[Any, Any]]) -> Image:
    """Return the numbers in their unit: times scale plus offset, each band by its own."""
    if all(pair == (1, 0) for pair in scales):
        return image
    if len(set(scales)) == 1:
        return image * float(scales[0][0]) + float(scales[0][1])
    bands = [
        image.select(band) * float(scale) + float(offset)
        for band, (scale, offset) in zip(image.type.bands, scales, strict=True)
    ]
    return call("add_bands", *bands)
