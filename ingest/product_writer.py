"""Writes Landsat Collection 2 Level-2 products as the archive delivers them.

A product is a folder `LT05_L2SP_190027_20030412_20200904_02_T1/` with one uint16 GeoTIFF for each of SR_B1..SR_B7 that
ESD reads, QA_PIXEL, QA_RADSAT, and MTL.txt. Digital numbers are (reflectance + 0.2) / 2.75e-5, 0 is fill; see
"Landsat 8-9 Collection 2 Level 2 Science Product Guide" (LSDS-1619).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox

from esd.errors import GridError
from esd.grid import bounds_lonlat

from .sensors import Platform
from .weather import Sun

__all__ = ["ACQUISITION_ROW", "LandsatImage", "product_id", "write_landsat", "write_raster"]

MULTIPLIER, OFFSET = 2.75e-5, -0.2
LOWEST_DN, HIGHEST_DN = 1, 65535
ACQUISITION_ROW = 27
REPROCESSED = dt.date(2020, 9, 4)
"""Day of Collection 2's processing; later acquisitions are processed soon after."""
TILE = 256

Entry = tuple[str, str | int | float]


@dataclass(frozen=True)
class LandsatImage:
    """One acquisition, ready to be written. Arrays are [y, x] unless told otherwise."""

    platform: Platform
    date: dt.date
    path: int
    sun: Sun
    reflectance: npt.NDArray[np.float32]
    """[6, y, x] in the order of `esd.dekad.BANDS`."""
    fill: npt.NDArray[np.bool_]
    """True where nothing was recorded."""
    quality: npt.NDArray[np.uint16]
    saturation: npt.NDArray[np.uint16]
    cloud_cover: float
    """Percent of the recorded pixels in which the mask sees cloud."""
    slc_off: bool


def write_raster(path: Path, bands: npt.NDArray[np.generic], geobox: GeoBox, **options: Any) -> None:
    """Write bands [band, y, x] as a tiled, deflated GeoTIFF on a grid; `options` go to rasterio's profile.

    `descriptions`, `tags` and `colormap` (of band 1) are taken out of the options and written as such.
    """
    descriptions, tags, colormap = (options.pop(key, None) for key in ("descriptions", "tags", "colormap"))
    profile = {
        "driver": "GTiff", "count": bands.shape[0], "height": bands.shape[1], "width": bands.shape[2],
        "dtype": bands.dtype, "crs": geobox.crs.to_wkt() if geobox.crs else None, "transform": geobox.affine,
        "tiled": True, "blockxsize": TILE, "blockysize": TILE, "compress": "deflate", "zlevel": 1,
    }  # fmt: skip
    with rasterio.open(path, "w", **(profile | options)) as dataset:
        if descriptions is not None:
            dataset.descriptions = descriptions
        if tags is not None:
            dataset.update_tags(**tags)
        if colormap is not None:
            dataset.write_colormap(1, colormap)
        dataset.write(bands)


def product_id(platform: Platform, path: int, date: dt.date) -> str:
    """Return the product's name, such as LT05_L2SP_190027_20030412_20200904_02_T1."""
    processed = max(REPROCESSED, date + dt.timedelta(days=18))
    return f"{platform.code}_L2SP_{path:03d}{ACQUISITION_ROW:03d}_{date:%Y%m%d}_{processed:%Y%m%d}_02_T1"


def digital_numbers(reflectance: npt.NDArray[np.float32], fill: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint16]:
    """Return reflectance [..., y, x] as Collection 2 numbers 1..65535, 0 where `fill` [y, x]."""
    scaled = np.rint((reflectance.astype(np.float64) - OFFSET) / MULTIPLIER)
    numbers = np.clip(scaled, LOWEST_DN, HIGHEST_DN).astype(np.uint16)
    numbers[..., fill] = 0
    return numbers


def write_landsat(folder: Path, image: LandsatImage, geobox: GeoBox) -> Path:
    """Write an image as a product folder inside of `folder` and return its path.

    Raises GridError if the grid is not in a northern UTM zone, where Landsat products are.
    """
    product = product_id(image.platform, image.path, image.date)
    target = folder / product
    target.mkdir(parents=True)
    numbers = digital_numbers(image.reflectance, image.fill)
    layers = {f"SR_B{band}": numbers[i] for i, band in enumerate(image.platform.bands)}
    layers |= {"QA_PIXEL": image.quality, "QA_RADSAT": image.saturation}
    for name, values in layers.items():
        nodata = 1 if name == "QA_PIXEL" else None if name == "QA_RADSAT" else 0
        write_raster(target / f"{product}_{name}.TIF", values[None], geobox, nodata=nodata, tags={"AREA_OR_POINT": "Point"})
    lines = _odl("LANDSAT_METADATA_FILE", _metadata(image, product, geobox))
    (target / f"{product}_MTL.txt").write_text("\n".join([*lines, "END", ""]), encoding="ascii")
    return target


def utm_zone(geobox: GeoBox) -> int:
    """Return the UTM zone of a grid. Raises GridError for another projection."""
    epsg = geobox.crs.epsg if geobox.crs is not None else None
    if epsg is None or not 32601 <= epsg <= 32660:
        raise GridError(f"crs {geobox.crs} is not a northern UTM zone; give one of EPSG:32601 to EPSG:32660")
    return epsg - 32600


def _odl(name: str, groups: dict[str, list[Entry]]) -> Iterator[str]:
    """Lines of an Object Description Language file: one outer group, the others inside."""
    yield f"GROUP = {name}"
    for group, entries in groups.items():
        yield f"  GROUP = {group}"
        for key, value in entries:
            yield f"    {key} = {value}"
        yield f"  END_GROUP = {group}"
    yield f"END_GROUP = {name}"


def _quoted(text: str) -> str:
    return f'"{text}"'


def _metadata(image: LandsatImage, product: str, geobox: GeoBox) -> dict[str, list[Entry]]:
    return {
        "PRODUCT_CONTENTS": _contents(image.platform, product),
        "IMAGE_ATTRIBUTES": _image_attributes(image),
        "PROJECTION_ATTRIBUTES": _projection(geobox),
        "LEVEL2_PROCESSING_RECORD": [
            ("LANDSAT_PRODUCT_ID", _quoted(product)),
            ("PROCESSING_LEVEL", _quoted("L2SP")),
            ("OUTPUT_FORMAT", _quoted("GEOTIFF")),
            ("PROCESSING_SOFTWARE_VERSION", _quoted("ESD_SIMULATOR_1")),
        ],
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": _scaling(image.platform),
    }


def _contents(platform: Platform, product: str) -> list[Entry]:
    entries: list[Entry] = [
        ("ORIGIN", _quoted("Simulated by esd; not an acquisition")),
        ("LANDSAT_PRODUCT_ID", _quoted(product)),
        ("PROCESSING_LEVEL", _quoted("L2SP")),
        ("COLLECTION_NUMBER", "02"),
        ("COLLECTION_CATEGORY", _quoted("T1")),
        ("OUTPUT_FORMAT", _quoted("GEOTIFF")),
    ]
    entries += [(f"FILE_NAME_BAND_{band}", _quoted(f"{product}_SR_B{band}.TIF")) for band in platform.bands]
    entries += [
        ("FILE_NAME_QUALITY_L1_PIXEL", _quoted(f"{product}_QA_PIXEL.TIF")),
        ("FILE_NAME_QUALITY_L1_RADIOMETRIC_SATURATION", _quoted(f"{product}_QA_RADSAT.TIF")),
        ("FILE_NAME_METADATA_ODL", _quoted(f"{product}_MTL.txt")),
    ]
    entries += [(f"DATA_TYPE_BAND_{band}", _quoted("UINT16")) for band in platform.bands]
    return [*entries, ("DATA_TYPE_QUALITY_L1_PIXEL", _quoted("UINT16"))]


def _image_attributes(image: LandsatImage) -> list[Entry]:
    entries: list[Entry] = [
        ("SPACECRAFT_ID", _quoted(image.platform.spacecraft)),
        ("SENSOR_ID", _quoted(image.platform.sensor)),
        ("WRS_TYPE", 2),
        ("WRS_PATH", f"{image.path:03d}"),
        ("WRS_ROW", f"{ACQUISITION_ROW:03d}"),
        ("DATE_ACQUIRED", image.date.isoformat()),
        ("SCENE_CENTER_TIME", _quoted("09:45:00.0000000Z")),
        ("CLOUD_COVER", f"{image.cloud_cover:.2f}"),
        ("CLOUD_COVER_LAND", f"{image.cloud_cover:.2f}"),
        ("SUN_AZIMUTH", f"{image.sun.azimuth:.8f}"),
        ("SUN_ELEVATION", f"{image.sun.elevation:.8f}"),
    ]
    if image.platform.sensor == "ETM":
        entries.append(("SENSOR_MODE_SLC", _quoted("OFF" if image.slc_off else "ON")))
    return entries


def _projection(geobox: GeoBox) -> list[Entry]:
    """Grid and corners; corners are the centres of the corner pixels, as in genuine products."""
    rows, columns = geobox.shape
    zone, affine = utm_zone(geobox), geobox.affine
    west, south, east, north = bounds_lonlat(geobox)
    size = f"{abs(affine.a):.2f}"
    entries: list[Entry] = [
        ("MAP_PROJECTION", _quoted("UTM")),
        ("DATUM", _quoted("WGS84")),
        ("ELLIPSOID", _quoted("WGS84")),
        ("UTM_ZONE", zone),
        ("GRID_CELL_SIZE_REFLECTIVE", size),
        ("REFLECTIVE_LINES", rows),
        ("REFLECTIVE_SAMPLES", columns),
        ("ORIENTATION", _quoted("NORTH_UP")),
    ]
    corners = {"UL": (0, 0), "UR": (columns - 1, 0), "LL": (0, rows - 1), "LR": (columns - 1, rows - 1)}
    for corner, (column, row) in corners.items():
        entries.append((f"CORNER_{corner}_LAT_PRODUCT", f"{north if corner[0] == 'U' else south:.5f}"))
        entries.append((f"CORNER_{corner}_LON_PRODUCT", f"{west if corner[1] == 'L' else east:.5f}"))
        x, y = affine @ (column + 0.5, row + 0.5)
        entries.append((f"CORNER_{corner}_PROJECTION_X_PRODUCT", f"{x:.3f}"))
        entries.append((f"CORNER_{corner}_PROJECTION_Y_PRODUCT", f"{y:.3f}"))
    return entries


def _scaling(platform: Platform) -> list[Entry]:
    keys: dict[str, str | int | float] = {
        "REFLECTANCE_MAXIMUM": f"{HIGHEST_DN * MULTIPLIER + OFFSET:.6f}",
        "REFLECTANCE_MINIMUM": f"{LOWEST_DN * MULTIPLIER + OFFSET:.6f}",
        "QUANTIZE_CAL_MAX": HIGHEST_DN,
        "QUANTIZE_CAL_MIN": LOWEST_DN,
        "REFLECTANCE_MULT": f"{MULTIPLIER:.2e}",
        "REFLECTANCE_ADD": OFFSET,
    }
    return [(f"{key}_BAND_{band}", value) for key, value in keys.items() for band in platform.bands]
