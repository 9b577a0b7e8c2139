"""Tiny scenes in genuine product forms, written for tests: Landsat Collection 2, ESPA orders, MODIS composites."""

from __future__ import annotations

import datetime as dt
import tarfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning

from esd.dekad import BANDS
from esd.grid import bounds_lonlat, geobox_from_bounds
from esd.ingest.modis_hdf import SINUSOIDAL

GRID = geobox_from_bounds(500_000, 5_000_000, 500_000 + 30 * 24, 5_000_000 + 30 * 20, "EPSG:32633", 30)
"""20 rows and 24 columns of 30 m."""
MODIS_PIXEL = 1111950.5196666666 / 2400
MODIS_GRID = geobox_from_bounds(0, 10_792 * MODIS_PIXEL, 6 * MODIS_PIXEL, 10_797 * MODIS_PIXEL, SINUSOIDAL, MODIS_PIXEL)
CLEAR_QA = 0b0000000001000000
TM_NUMBERS = (1, 2, 3, 4, 5, 7)
OLI_NUMBERS = (2, 3, 4, 5, 6, 7)

Array = npt.NDArray[np.generic]


def write_raster(
    path: Path,
    bands: Sequence[Array],
    geobox: GeoBox | None,
    names: Sequence[str] = (),
    nodata: float | None = None,
) -> Path:
    """Write arrays [y, x] as one deflated GeoTIFF; without a geobox it carries no grid."""
    rows, columns = bands[0].shape
    profile = {"driver": "GTiff", "height": rows, "width": columns, "count": len(bands), "dtype": bands[0].dtype}
    if geobox is not None:
        profile |= {"crs": str(geobox.crs), "transform": geobox.affine}
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(path, "w", compress="deflate", nodata=nodata, **profile)
    with dataset:
        for number, band in enumerate(bands, 1):
            dataset.write(band, number)
            if names:
                dataset.set_band_description(number, names[number - 1])
    return path


def flat(geobox: GeoBox = GRID, spectrum: Sequence[float] = (0.04, 0.06, 0.05, 0.3, 0.18, 0.09)) -> npt.NDArray[np.float64]:
    """Return reflectance [6, y, x] that is the same everywhere."""
    return np.broadcast_to(np.array(spectrum).reshape(6, 1, 1), (6, *geobox.shape)).copy()


def write_landsat_c2(
    parent: Path,
    date: dt.date,
    reflectance: npt.NDArray[np.float64] | None = None,
    *,
    geobox: GeoBox = GRID,
    platform: str = "LANDSAT_5",
    quality: Array | None = None,
    saturation: Array | None = None,
    with_quality: bool = True,
    georeferenced: bool = True,
    bands: Sequence[str] = BANDS,
    raw: Mapping[str, Array] | None = None,
    zone: int = 33,
    path_row: str = "190027",
) -> Path:
    """Write a Collection 2 Level-2 folder and return it. `raw` replaces the numbers of some bands."""
    oli = platform in ("LANDSAT_8", "LANDSAT_9")
    stem = f"L{'C' if oli else 'T'}0{platform[-1]}_L2SP_{path_row}_{date:%Y%m%d}_20200904_02_T1"
    folder = parent / stem
    numbers = dict(zip(BANDS, OLI_NUMBERS if oli else TM_NUMBERS, strict=True))
    values = flat(geobox) if reflectance is None else reflectance
    grid = geobox if georeferenced else None
    for band in bands:
        counts = np.rint((values[BANDS.index(band)] + 0.2) / 2.75e-5).astype(np.uint16)
        counts = (raw or {}).get(band, counts)
        write_raster(folder / f"{stem}_SR_B{numbers[band]}.TIF", [counts], grid, nodata=0 if georeferenced else None)
    if with_quality:
        clear = np.full(tuple(geobox.shape), CLEAR_QA, dtype=np.uint16)
        write_raster(folder / f"{stem}_QA_PIXEL.TIF", [clear if quality is None else quality], grid)
        none = np.zeros(tuple(geobox.shape), dtype=np.uint16)
        write_raster(folder / f"{stem}_QA_RADSAT.TIF", [none if saturation is None else saturation], grid)
    (folder / f"{stem}_MTL.txt").write_text(mtl_text(stem, date, platform, geobox, list(numbers.values()), zone))
    return folder


def mtl_text(stem: str, date: dt.date, platform: str, geobox: GeoBox, numbers: Sequence[int], zone: int) -> str:
    """Return an MTL with the groups and keys that matter, its corners the centres of the corner pixels."""
    box, cell = geobox.boundingbox, geobox.affine.a
    groups: dict[str, dict[str, object]] = {
        "PRODUCT_CONTENTS": {"LANDSAT_PRODUCT_ID": f'"{stem}"', "PROCESSING_LEVEL": '"L2SP"'},
        "IMAGE_ATTRIBUTES": {
            "SPACECRAFT_ID": f'"{platform}"',
            "SENSOR_ID": '"TM"',
            "DATE_ACQUIRED": date.isoformat(),
            "CLOUD_COVER": 12.5,
            "SUN_ELEVATION": 41.25,
        },
        "PROJECTION_ATTRIBUTES": {
            "MAP_PROJECTION": '"UTM"',
            "UTM_ZONE": zone,
            "GRID_CELL_SIZE_REFLECTIVE": f"{cell:.2f}",
            "REFLECTIVE_LINES": geobox.shape.y,
            "REFLECTIVE_SAMPLES": geobox.shape.x,
            "CORNER_UL_PROJECTION_X_PRODUCT": box.left + cell / 2,
            "CORNER_UL_PROJECTION_Y_PRODUCT": box.top - cell / 2,
        },
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": {
            key: value
            for number in numbers
            for key, value in (
                (f"REFLECTANCE_MULT_BAND_{number}", 2.75e-05),
                (f"REFLECTANCE_ADD_BAND_{number}", -0.2),
                (f"QUANTIZE_CAL_MIN_BAND_{number}", 1),
                (f"QUANTIZE_CAL_MAX_BAND_{number}", 65535),
            )
        },
        "LEVEL1_RADIOMETRIC_RESCALING": {f"REFLECTANCE_MULT_BAND_{number}": 2.0e-05 for number in numbers},
    }
    lines = ["GROUP = LANDSAT_METADATA_FILE"]
    for group, keys in groups.items():
        lines += [f"  GROUP = {group}", *(f"    {key} = {value}" for key, value in keys.items()), f"  END_GROUP = {group}"]
    return "\n".join([*lines, "END_GROUP = LANDSAT_METADATA_FILE", "END", ""])


def write_espa(
    parent: Path,
    date: dt.date,
    reflectance: npt.NDArray[np.float64] | None = None,
    *,
    mask: Array | None = None,
    raw: Mapping[str, Array] | None = None,
    packed: bool = True,
) -> Path:
    """Write an ESPA order of Landsat 5 on GRID, a .tar.gz or a folder, whose XML also lists a band not delivered."""
    stem = f"LT50460272{date:%Y%j}XXX03"
    folder = parent / f"{stem}-folder"
    values = flat() if reflectance is None else reflectance
    entries = []
    for number, band, plane in zip(TM_NUMBERS, BANDS, values, strict=True):
        counts = (raw or {}).get(band, np.rint(plane * 10000).astype(np.int16))
        write_raster(folder / f"{stem}_sr_band{number}.tif", [counts], GRID, nodata=-9999)
        entries.append(_espa_band(f"sr_band{number}"))
    clear = np.zeros(tuple(GRID.shape), dtype=np.uint8)
    write_raster(folder / f"{stem}_cfmask.tif", [clear if mask is None else mask], GRID, nodata=255)
    box, (west, south, east, north) = GRID.boundingbox, bounds_lonlat(GRID)
    (folder / f"{stem}.xml").write_text(
        f'<espa_metadata version="2.0" xmlns="http://espa.cr.usgs.gov/v2"><global_metadata>'
        f"<satellite>LANDSAT_5</satellite><instrument>TM</instrument><acquisition_date>{date}</acquisition_date>"
        f'<solar_angles zenith="50.5" azimuth="150"/>'
        f'<projection_information projection="UTM" datum="WGS84" units="meters">'
        f'<corner_point location="UL" x="{box.left + 15}" y="{box.top - 15}"/>'
        f'<corner_point location="LR" x="{box.right - 15}" y="{box.bottom + 15}"/>'
        f"<grid_origin>CENTER</grid_origin></projection_information><bounding_coordinates><west>{west}</west>"
        f"<east>{east}</east><north>{north}</north><south>{south}</south></bounding_coordinates></global_metadata>"
        f"<bands>{''.join(entries)}{_espa_band('sr_atmos_opacity')}</bands></espa_metadata>"
    )
    return pack(folder, parent / f"{stem}-SC20160826120223.tar.gz") if packed else folder


def _espa_band(name: str) -> str:
    return (
        f'<band product="sr_refl" name="{name}" fill_value="-9999" saturate_value="20000" scale_factor="0.0001" '
        f'add_offset="0.0"><valid_range min="-2000.0" max="16000.0"/></band>'
    )


def pack(folder: Path, tarball: Path) -> Path:
    """Pack the files of a folder flat into a tarball (compressed by its name) and return it."""
    with tarfile.open(tarball, "w:gz" if tarball.name.endswith("gz") else "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)
    return tarball


def write_mod09a1(parent: Path, first: dt.date, state: Array, day_of_year: Array | None = None) -> Path:
    """Write a MOD09A1 composite on MODIS_GRID as one int32 GeoTIFF with named bands: band b has reflectance b / 100."""
    shape = tuple(MODIS_GRID.shape)
    planes = [np.full(shape, number * 100, dtype=np.int32) for number in range(1, 8)]
    names = [f"sur_refl_b0{number}" for number in range(1, 8)]
    planes.append(state.astype(np.int32))
    names.append("sur_refl_state_500m")
    if day_of_year is not None:
        planes.append(day_of_year.astype(np.int32))
        names.append("sur_refl_day_of_year")
    path = parent / f"MOD09A1.A{first:%Y%j}.h18v04.061.tif"
    return write_raster(path, planes, MODIS_GRID, names, nodata=-28672)
