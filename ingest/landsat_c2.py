"""Landsat Collection 2 Level-2 (surface reflectance) of Landsat 4 to 9, as a folder, .tar or .tar.gz.

The MTL (txt, or xml or json where there is no txt) tells scale, offset and calibrated range. Kept is what QA_PIXEL
calls neither fill, dilated cloud, cirrus, cloud, shadow nor snow, and QA_RADSAT neither saturated, dropped nor
terrain-occluded. Source: "Landsat 8-9 Collection 2 Level 2 Science Product Guide" (LSDS-1619), and LSDS-1618.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox

from esd.dekad import BANDS
from esd.errors import SceneError
from esd.grid import Region, same_crs

from .archive import Package
from .consistency import require_corner, require_lonlat, require_same, require_sane_grid
from .mtl import Metadata
from .raster import Header, header_of, read_window, require_one_grid
from .scene import Layer, Observation, Scene, bands_missing, has_bits, require, stack_bands

__all__ = ["LandsatC2Reader"]

TM_NUMBERS = (1, 2, 3, 4, 5, 7)
OLI_NUMBERS = (2, 3, 4, 5, 6, 7)
OLI_PLATFORMS = ("LANDSAT_8", "LANDSAT_9")
UNCLEAR_BITS = (0, 1, 2, 3, 4, 5)
"""QA_PIXEL: fill, dilated cloud, cirrus, cloud, cloud shadow, snow."""
CLEAR_BITS = (6, 7)
"""QA_PIXEL: clear, water; a value without either is none that the product has."""
DTYPES = ("uint16",)
ENCODING = {"REFLECTANCE_MULT": 2.75e-05, "REFLECTANCE_ADD": -0.2, "QUANTIZE_CAL_MIN": 1, "QUANTIZE_CAL_MAX": 65535}
"""Collection 2 scales all surface reflectance alike, so an MTL that tells otherwise is damaged."""
FILL_BIT = 0
CLOUD_BITS = (1, 2, 3, 4)
DROPPED_BIT = 9
OCCLUDED_BIT = 11
"""QA_RADSAT beside the saturation bits (band n is bit n - 1): dropped pixel (4-7), terrain occlusion (8-9)."""

NO_MASK = "has no QA_PIXEL: clouds are not masked, only fill and invalid values"
ANTARCTIC_POLAR_STEREOGRAPHIC = 3031
_NAME = re.compile(r"(L[COTEM]\d\d_L2S[PR]_\d{6}_\d{8}_\d{8}_\d\d_[A-Z0-9]{2})_MTL\.(txt|xml|json)", re.IGNORECASE)


class LandsatC2Reader:
    """Reads Collection 2 Level-2 scenes."""

    product = "landsat-c2"

    def claims(self, package: Package) -> tuple[str, ...]:
        """Return one MTL file for each product in the delivery: txt before xml before json."""
        best: dict[str, str] = {}
        for kind in ("json", "xml", "txt"):
            for name in package.names:
                found = _NAME.fullmatch(name)
                if found and found[2].lower() == kind:
                    best[found[1]] = name
        return tuple(best[product] for product in sorted(best))

    def scan(self, package: Package, name: str) -> Scene:
        """Return the scene that an MTL file describes. Raises SceneError if it or its bands are incomplete."""
        metadata = Metadata.parse(package, name)
        stem = name[: name.upper().index("_MTL.")]
        platform = metadata.text("IMAGE_ATTRIBUTES", "SPACECRAFT_ID")
        layers = _layers(metadata, package, stem, OLI_NUMBERS if platform in OLI_PLATFORMS else TM_NUMBERS)
        require(layers, f"{package.path.name} has {name} but no SR_B file of a reflective band")
        acquired = _acquired(metadata, stem, platform)
        header = header_of(package, layers[0].file)
        geobox = header.geobox or _geobox_of_mtl(metadata, header, stem)
        _require_grid(geobox, metadata)
        require_one_grid(package, layers, geobox)
        quality = tuple(
            Layer(kind, file, dtypes=DTYPES)
            for kind in ("QA_PIXEL", "QA_RADSAT")
            if (file := _file(package, f"{stem}_{kind}.TIF"))
        )
        masked = any(layer.name == "QA_PIXEL" for layer in quality)
        return Scene(
            id=metadata.text("PRODUCT_CONTENTS", "LANDSAT_PRODUCT_ID"),
            product=self.product,
            platform=platform,
            sensor=metadata.text("IMAGE_ATTRIBUTES", "SENSOR_ID"),
            acquired=acquired,
            period=(acquired, acquired),
            geobox=geobox,
            path=package.path,
            layers=layers,
            quality=quality,
            cloud_cover=metadata.optional("IMAGE_ATTRIBUTES", "CLOUD_COVER", -1, 100),
            sun_elevation=metadata.optional("IMAGE_ATTRIBUTES", "SUN_ELEVATION", -90, 90),
            notes=(*bands_missing(stem, layers), *(() if masked else (f"{stem} {NO_MASK}",))),
            metadata=(name,),
        )

    def read(self, scene: Scene, folder: Path, region: Region) -> Observation:
        """Read a region; clear is what QA_PIXEL and QA_RADSAT leave of the valid numbers."""
        full = scene.shape
        raws = [read_window(folder, layer, region, full) for layer in scene.layers]
        reflectance, clear = stack_bands(scene.layers, raws)
        flags = scene.quality_layer("QA_PIXEL")
        cloud = None
        if flags is not None:
            bits = read_window(folder, flags, region, full)
            clear &= ~has_bits(bits, *UNCLEAR_BITS) & has_bits(bits, *CLEAR_BITS)
            cloud = has_bits(bits, *CLOUD_BITS) & ~has_bits(bits, FILL_BIT)
        saturation = scene.quality_layer("QA_RADSAT")
        if saturation is not None:
            _drop_saturated(clear, scene, read_window(folder, saturation, region, full))
        return Observation(np.where(clear, reflectance, np.float32(0)), clear, cloud=cloud)


def _drop_saturated(clear: npt.NDArray[np.bool_], scene: Scene, flags: npt.NDArray[np.generic]) -> None:
    oli = scene.platform in OLI_PLATFORMS
    clear &= ~has_bits(flags, OCCLUDED_BIT if oli else DROPPED_BIT)
    for layer in scene.layers:
        clear[BANDS.index(layer.name)] &= ~has_bits(flags, _number(layer.file) - 1)


def _number(file: str) -> int:
    return int(file.upper().rpartition("_SR_B")[2][0])


def _file(package: Package, name: str) -> str | None:
    return next((found for found in package.names if found.upper() == name.upper()), None)


def _layers(metadata: Metadata, package: Package, stem: str, numbers: tuple[int, ...]) -> tuple[Layer, ...]:
    group = "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"
    layers = []
    for band, number in zip(BANDS, numbers, strict=True):
        file = _file(package, f"{stem}_SR_B{number}.TIF")
        if file is None:
            continue
        told = {key: metadata.number(group, f"{key}_BAND_{number}") for key in ENCODING}
        require_same(metadata.name, f"numbers of band {number}", told, "Collection 2", ENCODING)
        lowest, highest = told["QUANTIZE_CAL_MIN"], told["QUANTIZE_CAL_MAX"]
        layers.append(
            Layer(
                name=band,
                file=file,
                scale=told["REFLECTANCE_MULT"],
                offset=told["REFLECTANCE_ADD"],
                fill=0,
                saturated=highest,
                valid=(lowest, highest),
                dtypes=DTYPES,
            )
        )
    return tuple(layers)


def _acquired(metadata: Metadata, stem: str, platform: str) -> dt.date:
    """Return the day of a scene, which its MTL and its name both tell, as they do the platform and the id."""
    _, _, _, day, *_ = stem.split("_")
    acquired = dt.date.fromisoformat(metadata.text("IMAGE_ATTRIBUTES", "DATE_ACQUIRED"))
    require_same(metadata.name, "DATE_ACQUIRED", acquired, "its name", dt.datetime.strptime(day, "%Y%m%d").date())
    require_same(metadata.name, "SPACECRAFT_ID", platform, "its name", f"LANDSAT_{int(stem[2:4])}")
    product = metadata.text("PRODUCT_CONTENTS", "LANDSAT_PRODUCT_ID")
    require_same(metadata.name, "LANDSAT_PRODUCT_ID", product, "its name", stem)
    return acquired


def _require_grid(geobox: GeoBox, metadata: Metadata) -> None:
    """Raise SceneError unless the grid is the one that the MTL tells, as far as it does."""
    group = "PROJECTION_ATTRIBUTES"
    require_sane_grid(geobox, metadata.name)
    if metadata.text(group, "MAP_PROJECTION") == "UTM":
        zone = GeoBox((1, 1), geobox.affine, f"EPSG:{32600 + int(metadata.number(group, 'UTM_ZONE'))}")
        if not same_crs(zone, geobox):
            raise SceneError(f"{metadata.name} tells {zone.crs}, its bands {geobox.crs}; download the scene again")
    half = metadata.number(group, "GRID_CELL_SIZE_REFLECTIVE") / 2
    for corner in ("UL", "LR"):
        told = _present(metadata, [f"CORNER_{corner}_PROJECTION_{axis}_PRODUCT" for axis in "XY"])
        if told:
            require_corner(geobox, {corner: (told[0], told[1])}, half, metadata.name)
    places = [f"CORNER_{corner}_{axis}_PRODUCT" for axis in ("LON", "LAT") for corner in ("UL", "UR", "LL", "LR")]
    degrees = _present(metadata, places)
    if degrees:
        west, east = min(degrees[0], degrees[2]), max(degrees[1], degrees[3])
        require_lonlat(geobox, (west, min(degrees[4:]), east, max(degrees[4:])), metadata.name)


def _present(metadata: Metadata, keys: list[str]) -> list[float]:
    """Return the numbers of some keys of the grid; none at all unless all are there."""
    found = [metadata.optional("PROJECTION_ATTRIBUTES", key) for key in keys]
    numbers = [number for number in found if number is not None]
    return numbers if len(numbers) == len(keys) else []


def _geobox_of_mtl(metadata: Metadata, header: Header, stem: str) -> GeoBox:
    """Build the grid from the MTL: its corners are the centres of the corner pixels."""
    group = "PROJECTION_ATTRIBUTES"
    shape = (int(metadata.number(group, "REFLECTIVE_LINES")), int(metadata.number(group, "REFLECTIVE_SAMPLES")))
    if shape != header.shape:
        raise SceneError(f"{stem}: its bands have {header.shape} pixels, its MTL says {shape}; download it again")
    cell = metadata.number(group, "GRID_CELL_SIZE_REFLECTIVE")
    west = metadata.number(group, "CORNER_UL_PROJECTION_X_PRODUCT") - cell / 2
    north = metadata.number(group, "CORNER_UL_PROJECTION_Y_PRODUCT") + cell / 2
    return GeoBox(shape, Affine(cell, 0, west, 0, -cell, north), f"EPSG:{_epsg(metadata, stem)}")


def _epsg(metadata: Metadata, stem: str) -> int:
    """Return the EPSG code; Landsat counts every UTM northing from the equator, so zones are always northern."""
    projection = metadata.text("PROJECTION_ATTRIBUTES", "MAP_PROJECTION")
    if projection == "UTM":
        return 32600 + int(metadata.number("PROJECTION_ATTRIBUTES", "UTM_ZONE"))
    if projection == "PS":
        return ANTARCTIC_POLAR_STEREOGRAPHIC
    raise SceneError(f"{stem} has map projection {projection!r} and no CRS in its bands; write one in (gdal_edit -a_srs)")
