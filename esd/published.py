"""Published embedding tiles, opened in place: ESD's codes, AlphaEarth's and TESSERA's vectors, as images of their spaces.

A tile tells what it is by its content: a GeoTIFF of 13 bands uint16 is ESD's, one of 64 bands int8 AlphaEarth's; a .npy file
with its _scales.npy beside, or a Zarr group with `embeddings` and `scales`, is TESSERA's.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import numpy as np
from affine import Affine

from .collection import ImageCollection
from .conventions import geobox_from_attributes
from .cube import codec_by_hash
from .dekad import STEPS, step_dates, window_start
from .errors import CubeError, GridError, WindowError
from .expr import Expr
from .grid import make_geobox
from .image import Image
from .published_read import (
    AlphaEarthSource,
    EsdCodesSource,
    EsdCountSource,
    TesseraArraySource,
    TesseraZarrSource,
    TileSource,
    tessera_arrays,
)
from .published_spaces import ALPHAEARTH, DIMS, TESSERA
from .remote import is_address, open_raster
from .stored import open_array

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from .codec import Codec

__all__ = ["ESD", "Tile", "open_tile"]

ESD = "esd"
VERSIONS = {ESD: "v001", ALPHAEARTH: "v1", TESSERA: "v1"}
SECONDS = {"days": 86_400, "hours": 3_600, "seconds": 1}
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_FORMS = "ESD (GeoTIFF, 13 bands uint16), AlphaEarth (GeoTIFF, 64 bands int8) and TESSERA (.npy, or Zarr with embeddings)"


@dataclass(frozen=True)
class Tile:
    """A published tile, opened: `embeddings` holds what each year is read from, `counts` the same of ESD's count band.

    `image(year)` is the lazy image of a year: codes of ESD [12 steps], vectors of the others [1 time]. It runs in any
    expression that its space allows; asked for reflectance it raises EncoderError, for nobody has published a decoder.
    """

    path: str
    product: str
    embeddings: Mapping[dt.date, TileSource]
    counts: Mapping[dt.date, TileSource]

    @property
    def name(self) -> str:
        """The name of its file or folder."""
        return _name(self.path)

    @property
    def windows(self) -> tuple[dt.date, ...]:
        """First days of the years that it holds, in order."""
        return tuple(sorted(self.embeddings))

    @property
    def geobox(self) -> GeoBox:
        """The grid as the file has it, north up."""
        return self.embeddings[self.windows[0]].grid

    @property
    def codec(self) -> Codec:
        """The identity of the encoder; of ESD with the quantizer."""
        return codec_by_hash(str(self.image(self.windows[0]).type.encoder))

    def window(self, window: int | str | dt.date | None = None) -> dt.date:
        """Return the window of a year or date; the only one if none is given. Raises WindowError if the tile lacks it."""
        if window is None and len(self.windows) == 1:
            return self.windows[0]
        for known in self.windows:
            if window == known or str(window) in (str(known.year), known.isoformat()):
                return known
        years = ", ".join(str(known.year) for known in self.windows)
        raise WindowError(f"window {window} is not in {self.name}; it has {years}, name one of them")

    def image(self, window: int | str | dt.date | None = None) -> Image:
        """Return the lazy image of a year. Raises WindowError if the tile lacks it."""
        return Image(Expr("stored", (), {"source": self.embeddings[self.window(window)]}))

    def images(self) -> ImageCollection:
        """Return the lazy collection of all years, in order."""
        return ImageCollection(tuple(self.image(window) for window in self.windows))

    def count(self, window: int | str | dt.date | None = None) -> Image:
        """Return the lazy image of the clear observations of a year, uint16 [1, 1, y, x]. Raises CubeError but for ESD."""
        if not self.counts:
            raise CubeError(f"{self.name} ({self.product}) has no counts of observations; only ESD's tiles have")
        return Image(Expr("stored", (), {"source": self.counts[self.window(window)]}))


def open_tile(
    path: str | Path, *, year: int | None = None, geobox: GeoBox | None = None, version: str | None = None
) -> Tile:
    """Open a published tile in place, by its content: a path, or the address of a GeoTIFF. Only its header is read.

    `year` is needed where neither the file's name nor a folder above tells it, `geobox` for .npy files without a GeoTIFF of
    the same name beside them. `version` names the model's version where it is not the first ("v1"; of ESD "v001"): vectors
    of two versions do not meet in one operator. Raises CubeError for any other file, WindowError without a year, GridError
    without a grid.
    """
    if is_address(str(path)):
        return _open_raster(str(path), year, version)
    path = Path(path)
    if path.is_dir():
        return _open_zarr(path, year, version or VERSIONS[TESSERA])
    if not path.is_file():
        raise CubeError(f"tile {path} is not there; give a file or Zarr group of {_FORMS}")
    if path.suffix == ".npy":
        return _open_array(path, year, geobox, version or VERSIONS[TESSERA])
    return _open_raster(str(path.resolve()), year, version)


def _name(path: str) -> str:
    return PurePosixPath(urlparse(path).path if is_address(path) else path).name


def _window(path: str, year: int | None) -> dt.date:
    """Return the calendar year that a tile is of: given, or named by the file, or by the nearest folder."""
    if year is not None:
        return window_start(year)
    place = PurePosixPath(urlparse(path).path if is_address(path) else path)
    named = [name for name in (place.stem, *(parent.name for parent in place.parents)) if _YEAR.search(name)]
    years = {int(found) for found in _YEAR.findall(named[0])} if named else set()
    if len(years) != 1:
        raise WindowError(f"the year of tile {_name(path)} is not in its name or folder; give it (year=2020)")
    return window_start(years.pop())


def _times(window: dt.date, steps: int) -> tuple[str, ...]:
    """Return the dates of the steps; that of a year as a whole is its middle."""
    if steps == 1:
        return (window.replace(month=7).isoformat(),)
    return tuple(str(date) for date in step_dates(window, steps))


def _raster_grid(path: str) -> tuple[GeoBox, bool, int, str]:
    """Return the grid of a GeoTIFF, north up, whether its rows run from the south, its number of bands and dtype."""
    from rasterio.errors import RasterioError

    try:
        with open_raster(path) as dataset:
            shape, affine, crs = dataset.shape, dataset.transform, dataset.crs
            bands, dtype = dataset.count, dataset.dtypes[0]
    except RasterioError as error:
        raise CubeError(f"{path} is not a readable raster; give a tile of {_FORMS}") from error
    if not crs:
        raise GridError(f"tile {_name(path)} has no coordinate system; write its own into it (gdal_edit -a_srs)")
    flipped = affine.e > 0
    if flipped:
        affine = affine @ Affine.translation(0, shape[0]) @ Affine.scale(1, -1)
    epsg = crs.to_epsg(confidence_threshold=100)
    return make_geobox(shape, affine, f"EPSG:{epsg}" if epsg else crs.to_wkt()), flipped, bands, dtype


def _open_raster(path: str, year: int | None, version: str | None) -> Tile:
    grid, flipped, bands, dtype = _raster_grid(path)
    forms = {(13, "uint16"): ESD, (DIMS[ALPHAEARTH], "int8"): ALPHAEARTH}
    if (bands, dtype) not in forms:
        raise CubeError(f"{_name(path)} has {bands} bands {dtype}, which is no published tile; there are {_FORMS}")
    product, window = forms[bands, dtype], _window(path, year)
    # What lies at an address is taken to stay as it is: published tiles do.
    stamp = 0 if is_address(path) else Path(path).stat().st_mtime_ns
    common = (path, stamp, version or VERSIONS[product], grid)
    whole = _times(window, 1)
    if product == ALPHAEARTH:
        return Tile(path, product, {window: AlphaEarthSource(*common, whole, flipped)}, {})
    codes = EsdCodesSource(*common, _times(window, STEPS), flipped)
    return Tile(path, product, {window: codes}, {window: EsdCountSource(*common, whole, flipped)})


def _open_array(path: Path, year: int | None, geobox: GeoBox | None, version: str) -> Tile:
    raw, scales = tessera_arrays(str(path.resolve()))
    shape = raw.shape[:2]
    if raw.dtype != np.int8 or raw.shape[2:] != (DIMS[TESSERA],) or scales.shape != shape or scales.dtype.kind != "f":
        told = f"{raw.dtype} {raw.shape} and scales {scales.dtype} {scales.shape}"
        raise CubeError(f"{path.name} is no TESSERA tile: int8 [y, x, 128] and scales float32 [y, x] are, this is {told}")
    beside = [file for suffix in (".tif", ".tiff") if (file := path.with_suffix(suffix)).is_file()]
    if geobox is None and not beside:
        raise GridError(
            f"tile {path.name} does not tell where it lies; give geobox=, or put a GeoTIFF of its name beside it"
        )
    grid = geobox if geobox is not None else _raster_grid(str(beside[0]))[0]
    if tuple(grid.shape) != shape:
        raise GridError(f"tile {path.name} has {shape} pixels, its grid {tuple(grid.shape)}; give the tile's own grid")
    resolved = str(path.resolve())
    window = _window(resolved, year)
    source = TesseraArraySource(resolved, path.stat().st_mtime_ns, version, grid, _times(window, 1))
    return Tile(resolved, TESSERA, {window: source}, {})


def _open_zarr(path: Path, year: int | None, version: str) -> Tile:
    group = _group_of(path.resolve())
    raw, scales, years = (open_array(str(group), name) for name in ("embeddings", "scales", "time"))
    if (
        raw.dtype != np.int8
        or raw.ndim != 4
        or raw.shape[1] != DIMS[TESSERA]
        or scales.shape != (raw.shape[0], *raw.shape[2:])
    ):
        told = f"{raw.dtype} {raw.shape} and scales {scales.shape}"
        raise CubeError(
            f"{path.name} is no TESSERA store: int8 [time, 128, y, x] and scales [time, y, x] are, this is {told}"
        )
    attributes: dict[str, Any] = {"spatial:shape": raw.shape[2:], **_attributes(group), **raw.attrs}
    grid, stamp = geobox_from_attributes(attributes), (group / "embeddings" / "zarr.json").stat().st_mtime_ns
    sources = {}
    for position, found in enumerate(_years(years, path)):
        window = window_start(found)
        sources[window] = TesseraZarrSource(str(group), stamp, version, grid, _times(window, 1), year=position)
    tile = Tile(str(group), TESSERA, sources, {})
    return tile if year is None else Tile(tile.path, TESSERA, {tile.window(year): sources[tile.window(year)]}, {})


def _attributes(group: Path) -> dict[str, Any]:
    """Return the attributes of a Zarr group."""
    import zarr

    return dict(zarr.open_group(group, mode="r", use_consolidated=False).attrs)


def _group_of(path: Path) -> Path:
    """Return the group of a zone: the folder itself, or the only zone of a store."""
    if (path / "embeddings").is_dir():
        return path
    zones = sorted(child.name for child in path.glob("utm*") if (child / "embeddings").is_dir())
    if len(zones) != 1:
        told = (
            f"has zones {', '.join(zones)}; give one of them as {path.name}/{zones[0]}" if zones else "holds no embeddings"
        )
        raise CubeError(f"{path.name} {told}; a TESSERA store has groups such as utm31 with embeddings and scales")
    return path / zones[0]


def _years(stored: Any, path: Path) -> list[int]:
    """Return the years of a store's time axis: whole years, or days or seconds since a date as CF has them."""
    numbers = np.asarray(stored[:])
    unit = str(stored.attrs.get("units", ""))
    since = re.fullmatch(r"(days|hours|seconds) since (\d{4}-\d\d-\d\d).*", unit)
    if since:
        first, seconds = dt.datetime.fromisoformat(since[2]), SECONDS[since[1]]
        return [(first + dt.timedelta(seconds=int(number) * seconds)).year for number in numbers]
    if numbers.dtype.kind in "iuf" and ((numbers >= 1900) & (numbers <= 2200)).all():
        return [int(number) for number in numbers]
    raise WindowError(
        f"the time axis of {path.name} ({unit or numbers[:3]}) holds no years; write years, or days since a date"
    )
