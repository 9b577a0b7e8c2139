"""Writes what is true of a simulated landscape: cover by year, events, relief, labelled points, clean reflectance."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio.features
import shapely
import zarr
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy.ndimage import maximum_filter, minimum_filter
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from esd.dekad import BANDS, DEKADS, DEKADS_PER_STEP, STEPS, dekad_dates, window_start

from .land_events import Event, event_pixels
from .phenology import COVER_TYPES, LANDSCAPE_TYPES
from .product_writer import write_raster
from .surface import Surface
from .weather import generator

__all__ = ["digest", "landcover_day", "write_cover", "write_dem", "write_events", "write_reflectance", "write_samples"]

REFLECTANCE_SCALE = 1e-4
CHUNK = 256
SAMPLES_PER_CLASS = 40
CELLS_ACROSS = 8
"""Samples are spread over a grid of this many cells a side."""


def digest(path: Path) -> str:
    """Return the sha256 of a file, or of a folder's files with their names, in the order of the names."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    total = hashlib.sha256()
    for file in files:
        total.update(file.relative_to(path.parent).as_posix().encode() + b"\0")
        total.update(file.read_bytes())
    return total.hexdigest()


def landcover_day(year: int) -> dt.date:
    """Return the day whose cover is called the cover of a year: 1 July."""
    return dt.date(year, 7, 1)


def _to_lonlat(geobox: GeoBox) -> Callable[..., tuple[float, float]]:
    assert geobox.crs is not None
    to_degrees: Callable[..., tuple[float, float]] = Transformer.from_crs(
        geobox.crs.proj, "EPSG:4326", always_xy=True
    ).transform
    return to_degrees


def _outline(mask: npt.NDArray[np.bool_], geobox: GeoBox) -> BaseGeometry:
    """Outline of a mask [y, x] in longitude and latitude, degrees rounded to 7 decimals."""
    pieces = rasterio.features.shapes(mask.astype(np.uint8), mask=mask, transform=geobox.affine)
    to_degrees = _to_lonlat(geobox)

    def rounded(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.round(np.column_stack(to_degrees(points[:, 0], points[:, 1])), 7)

    outline: BaseGeometry = shapely.transform(shapely.unary_union([shape(piece) for piece, _ in pieces]), rounded)
    return outline


def _write_features(path: Path, features: list[dict[str, object]]) -> None:
    text = json.dumps({"type": "FeatureCollection", "features": features}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def write_cover(folder: Path, surface: Surface, year: int, geobox: GeoBox) -> Path:
    """Write landcover_<year>.tif: uint8 codes of 1 July, 0 is no data, names in the tags, a colour table."""
    path = folder / f"landcover_{year}.tif"
    colours = {cover.code: (*cover.colour, 255) for cover in COVER_TYPES}
    tags = {f"class_{cover.code}": cover.name for cover in LANDSCAPE_TYPES}
    write_raster(path, surface.cover_on(landcover_day(year))[None], geobox, nodata=0, tags=tags, colormap=colours)
    return path


def write_dem(folder: Path, surface: Surface, geobox: GeoBox) -> Path:
    """Write dem.tif: elevation in metres, float32."""
    path = folder / "dem.tif"
    write_raster(path, surface.land.elevation[None], geobox, tags={"units": "metres"})
    return path


def write_events(folder: Path, events: tuple[Event, ...], geobox: GeoBox) -> Path:
    """Write events.geojson: kind, date, end (null for a change that stays), pixels and outline of each event."""
    features: list[dict[str, object]] = [
        {
            "type": "Feature",
            "properties": {
                "id": number,
                "type": event.kind,
                "date": event.date.isoformat(),
                "end": event.end.isoformat() if event.end else None,
                "pixels": int(event.mask.sum()),
            },
            "geometry": mapping(_outline(event.mask, geobox)),
        }
        for number, event in enumerate(events, 1)
    ]
    _write_features(folder / "events.geojson", features)
    return folder / "events.geojson"


def _spread(
    rng: np.random.Generator, candidates: npt.NDArray[np.bool_], wanted: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Choose pixels, in turn from every cell of a coarse grid that has any; return rows, columns and cells."""
    rows, columns = np.nonzero(candidates)
    order = rng.permutation(rows.size)
    rows, columns = rows[order], columns[order]
    cell = (rows * CELLS_ACROSS // candidates.shape[0]) * CELLS_ACROSS + columns * CELLS_ACROSS // candidates.shape[1]
    by_cell = np.argsort(cell, kind="stable")
    turn = np.empty(cell.size, np.int64)
    turn[by_cell] = np.arange(cell.size) - np.searchsorted(cell[by_cell], cell[by_cell])
    chosen = np.argsort(turn, kind="stable")[:wanted]
    return rows[chosen], columns[chosen], cell[chosen]


def write_samples(folder: Path, surface: Surface, years: tuple[int, int], seed: int, geobox: GeoBox) -> Path:
    """Write samples.geojson: up to 40 points of each class and year, inside of one cover, untouched by events.

    Properties: sample_id, label, class, year, block (cell of an 8 x 8 grid, for spatial validation), row, column.
    """
    features: list[dict[str, object]] = []
    to_degrees = _to_lonlat(geobox)
    for year in range(years[0], years[1] + 1):
        cover = surface.cover_on(landcover_day(year))
        pure = minimum_filter(cover, 3) == maximum_filter(cover, 3)
        touched = event_pixels(surface.events, year)
        steady = pure if touched is None else pure & ~touched
        for kind in LANDSCAPE_TYPES:
            rng = generator(seed, "samples", year, kind.code)
            places = zip(*_spread(rng, steady & (cover == kind.code), SAMPLES_PER_CLASS), strict=True)
            for row, column, cell in places:
                lon, lat = to_degrees(*(geobox.affine @ (int(column) + 0.5, int(row) + 0.5)))
                properties = {"sample_id": len(features) + 1, "label": kind.name, "class": kind.code, "year": year,
                              "block": int(cell), "row": int(row), "column": int(column)}  # fmt: skip
                point = {"type": "Point", "coordinates": [round(lon, 7), round(lat, 7)]}
                features.append({"type": "Feature", "properties": properties, "geometry": point})
    _write_features(folder / "samples.geojson", features)
    return folder / "samples.geojson"


def write_reflectance(folder: Path, surface: Surface, year: int, geobox: GeoBox, advance: Callable[[str], None]) -> Path:
    """Write reflectance_<year>.zarr, the clean reflectance of each dekad's middle day.

    One Zarr v3 array (dekad, band, y, x) uint16, reflectance x 10000; calls `advance` after each month.
    """
    path = folder / f"reflectance_{year}.zarr"
    days = dekad_dates(window_start(year))
    rows, columns = geobox.shape
    array = zarr.create_array(
        str(path), shape=(DEKADS, len(BANDS), rows, columns), dtype="uint16", zarr_format=3,
        chunks=(DEKADS_PER_STEP, len(BANDS), min(CHUNK, rows), min(CHUNK, columns)),
        dimension_names=("dekad", "band", "y", "x"),
        attributes={
            "scale_factor": REFLECTANCE_SCALE, "bands": list(BANDS), "dates": [str(day) for day in days],
            "crs": str(geobox.crs), "transform": list(geobox.affine)[:6],
        },
    )  # fmt: skip
    for step in range(STEPS):
        dekads = slice(step * DEKADS_PER_STEP, (step + 1) * DEKADS_PER_STEP)
        clean = np.stack([surface.reflectance(day) for day in days[dekads].astype(object)])
        array[dekads] = np.rint(clean / REFLECTANCE_SCALE).astype(np.uint16)
        advance(f"truth {year}-{step + 1:02d}")
    return path
