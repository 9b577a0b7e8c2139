"""ESPA orders: Landsat 4 to 8 surface reflectance (LEDAPS, LaSRC) with cfmask, as a folder or .tar.gz.

The XML metadata tell scale, fill, saturation and valid range of each band; it may list bands that were not delivered.
cfmask (or pixel_qa, which Collection 1 has in its place) tells clouds. cfmask is 0 clear, 1 water, 2 shadow, 3 snow,
4 cloud, 255 fill; clear land and water are kept.
Source: ESPA product guides, "Landsat 4-7 Surface Reflectance (LEDAPS) Product", USGS.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from esd.dekad import BANDS
from esd.errors import SceneError
from esd.grid import Region

from .archive import Package
from .consistency import date_of_julian, require_corner, require_lonlat, require_same, require_sane_grid
from .raster import header_of, read_window, require_one_grid
from .scene import Layer, Observation, Scene, bands_missing, has_bits, require, stack_bands

__all__ = ["EspaReader"]

TM_NUMBERS = dict(zip((1, 2, 3, 4, 5, 7), BANDS, strict=True))
OLI_NUMBERS = dict(zip((2, 3, 4, 5, 6, 7), BANDS, strict=True))
CLEAR_CLASSES = (0, 1)
ENCODING = (0.0001, 0.0, -9999.0, 20000.0, -2000.0, 16000.0)
"""Scale, offset, fill, saturation and valid range, which LEDAPS and LaSRC share: an XML that tells others is damaged."""
_STEM = re.compile(
    r"L[CETO](?:(?P<platform>\d)\d{6}|0(?P<new>\d)_L\w{3}_\d{6}_)(?P<day>\d{8}(?=_)|\d{7}(?=[A-Z]))", re.IGNORECASE
)
MASKS = {"cfmask": ("uint8",), "pixel_qa": ("uint16",)}
NO_MASK = "has no cfmask and no pixel_qa: clouds are not masked"
CLOUD_CLASSES = (2, 4)
CLOUD_BITS = (3, 5)


class EspaReader:
    """Reads ESPA orders."""

    product = "espa"

    def claims(self, package: Package) -> tuple[str, ...]:
        """Return the XML files beside which surface reflectance bands lie."""
        stems = {name.split("_sr_band")[0] for name in package.names if "_sr_band" in name}
        return tuple(f"{stem}.xml" for stem in sorted(stems) if f"{stem}.xml" in package.members)

    def scan(self, package: Package, name: str) -> Scene:
        """Return the scene that an XML file describes. Raises SceneError if it or its bands are incomplete."""
        root = _parse(package, name)
        stem = name.removesuffix(".xml")
        platform = _text(root, "satellite", name)
        numbers = OLI_NUMBERS if platform == "LANDSAT_8" else TM_NUMBERS
        listed = {band.get("name"): band for band in root.iterfind(".//{*}band")}
        present = {number: band for number, band in numbers.items() if f"{stem}_sr_band{number}.tif" in package.members}
        require(present, f"{package.path.name} has no surface reflectance band")
        layers = tuple(
            _layer(listed.get(f"sr_band{number}"), band, f"{stem}_sr_band{number}.tif") for number, band in present.items()
        )
        geobox = header_of(package, layers[0].file).geobox
        if geobox is None:
            raise SceneError(f"{layers[0].file} has no coordinate system; order the scene as GeoTIFF")
        masks = {name: f"{stem}_{name}.tif" for name in MASKS}
        found = [Layer(name, file, dtypes=MASKS[name]) for name, file in masks.items() if file in package.members][:1]
        acquired = dt.date.fromisoformat(_text(root, "acquisition_date", name))
        _require_name(stem, platform, acquired, name)
        _require_grid(geobox, root, name)
        require_one_grid(package, layers, geobox)
        return Scene(
            id=stem,
            product=self.product,
            platform=platform,
            sensor=_text(root, "instrument", name),
            acquired=acquired,
            period=(acquired, acquired),
            geobox=geobox,
            path=package.path,
            layers=layers,
            quality=tuple(found),
            sun_elevation=_sun_elevation(root),
            notes=(*bands_missing(stem, layers), *(() if found else (f"{stem} {NO_MASK}",))),
            metadata=(name,),
        )

    def read(self, scene: Scene, folder: Path, region: Region) -> Observation:
        """Read a region; clear is cfmask 0 or 1 with a valid, unsaturated number."""
        full = scene.shape
        raws = [read_window(folder, layer, region, full) for layer in scene.layers]
        reflectance, clear = stack_bands(scene.layers, raws)
        cloud = None
        for layer in scene.quality:
            flags = read_window(folder, layer, region, full)
            if layer.name == "cfmask":
                clear &= np.isin(flags, CLEAR_CLASSES)
                cloud = np.isin(flags, CLOUD_CLASSES)
            else:
                clear &= clear_by_pixel_qa(flags)
                cloud = has_bits(flags, *CLOUD_BITS)
        return Observation(np.where(clear, reflectance, np.float32(0)), clear, cloud=cloud)


def clear_by_pixel_qa(flags: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Return where Collection 1 pixel_qa [y, x] means clear land or water.

    Bits 1 and 2 are clear and water; dropped are fill (0), shadow (3), snow (4), cloud (5), terrain occlusion (10) and
    high confidence of cirrus (8 and 9), which only Landsat 8 has.
    """
    cirrus = has_bits(flags, 8) & has_bits(flags, 9)
    return has_bits(flags, 1, 2) & ~(has_bits(flags, 0, 3, 4, 5, 10) | cirrus)


def _parse(package: Package, name: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(package.read(name))
    except ElementTree.ParseError as error:
        raise SceneError(f"{package.path.name}: {name} is not XML ({error}); download it again") from error


def _text(root: ElementTree.Element, tag: str, name: str) -> str:
    found = root.findtext(f".//{{*}}{tag}")
    require(found, f"{name} does not tell {tag}")
    return str(found).strip()


def _sun_elevation(root: ElementTree.Element) -> float | None:
    angles = root.find(".//{*}solar_angles")
    return None if angles is None else round(90 - float(angles.get("zenith", "nan")), 6)


def _layer(listed: ElementTree.Element | None, band: str, file: str) -> Layer:
    if listed is None:
        raise SceneError(f"{file} is not listed in its XML, so its scale is unknown; download the scene again")
    span = listed.find("{*}valid_range")
    numbers = [listed.get(key) for key in ("scale_factor", "add_offset", "fill_value", "saturate_value")]
    numbers += [None, None] if span is None else [span.get("min"), span.get("max")]
    told = tuple(None if number is None else float(number) for number in numbers)
    require_same(f"the XML of {file}", "scale, offset, fill, saturation and range", told, "LEDAPS and LaSRC", ENCODING)
    scale, offset, fill, saturated, lowest, highest = ENCODING
    return Layer(band, file, 1, scale, offset, fill, saturated, (lowest, highest), ("int16",))


def _require_name(stem: str, platform: str, acquired: dt.date, name: str) -> None:
    """Raise SceneError unless a scene's name, where it has the form of Landsat's, tells the same day and platform."""
    found = _STEM.match(stem)
    if found is not None:
        day = found["day"]
        told = date_of_julian(day) if len(day) == 7 else dt.datetime.strptime(day, "%Y%m%d").date()
        require_same(name, "acquisition_date", acquired, "its name", told)
        require_same(name, "satellite", platform, "its name", f"LANDSAT_{found['platform'] or found['new']}")


def _require_grid(geobox: GeoBox, root: ElementTree.Element, name: str) -> None:
    """Raise SceneError unless the grid is the one that the XML tells, as far as it does."""
    require_sane_grid(geobox, name)
    inside = (root.findtext(".//{*}grid_origin") or "").strip().upper() == "CENTER"
    corners = {
        str(corner.get("location")): (float(corner.get("x", "nan")), float(corner.get("y", "nan")))
        for corner in root.iterfind(".//{*}corner_point")
        if corner.get("location") in ("UL", "LR")
    }
    require_corner(geobox, corners, geobox.affine.a / 2 if inside else 0.0, name)
    degrees = [root.findtext(f".//{{*}}{side}") for side in ("west", "south", "east", "north")]
    if None not in degrees:
        west, south, east, north = (float(str(degree)) for degree in degrees)
        require_lonlat(geobox, (west, south, east, north), name)
