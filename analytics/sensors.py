"""Stored numbers of products as reflectance and temperature: scale and offset, and Landsat's own calibration.

Everything here is arithmetic per pixel, so it fuses. What a scene tells of itself, as its calibration and its sun, are
properties of the image; `esd.ingest.landsat_properties` reads Landsat's from an MTL file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from esd.errors import ExpressionError
from esd.image import Image, call, composite

__all__ = ["number_of", "sun_zenith_of"]

Number = float | None


@dataclass(frozen=True)
class Encoding:
    """How a product stores reflectance: stored x scale + offset, for numbers lowest..highest."""

    scale: float
    offset: float
    lowest: int
    highest: int


ENCODINGS = {
    "landsat_c2": Encoding(0.0000275, -0.2, 1, 65_535),
    "landsat_espa": Encoding(0.0001, 0.0, -2_000, 16_000),
    "modis": Encoding(0.0001, 0.0, -100, 16_000),
    "sentinel2": Encoding(0.0001, 0.0, 1, 65_535),
}
"""Landsat Collection 2 level 2 (USGS LSDS-1619), Collection 1 of LEDAPS and LaSRC, MOD09 and MOD13 (user's guides),
Sentinel-2 levels 1C and 2A (ESA, products specification)."""
BASELINE = (4, 0)
"""From this processing baseline on, 2022-01-25, Sentinel-2's reflectance is stored with 1000 added."""
OFFSET = -0.1

TM = {"blue": "1", "green": "2", "red": "3", "nir": "4", "swir1": "5", "thermal": "6", "swir2": "7"}
OLI_BANDS = ("coastal", "blue", "green", "red", "nir", "swir1", "swir2", "pan", "cirrus", "thermal")
OLI = {band: str(number) for number, band in enumerate(OLI_BANDS, start=1)}
NUMBERS: dict[str, Mapping[str, str]] = {
    "LANDSAT_4": TM,
    "LANDSAT_5": TM,
    "LANDSAT_7": {**TM, "thermal": "6_VCID_1", "pan": "8"},
    "LANDSAT_8": OLI,
    "LANDSAT_9": OLI,
}
THERMAL = {"LANDSAT_8": ("10", "11"), "LANDSAT_9": ("10", "11")}
IRRADIANCE: dict[str, Mapping[str, float]] = {
    "LANDSAT_4": {"1": 1983, "2": 1795, "3": 1539, "4": 1028, "5": 219.8, "7": 83.49},
    "LANDSAT_5": {"1": 1983, "2": 1796, "3": 1536, "4": 1031, "5": 220.0, "7": 83.44},
    "LANDSAT_7": {"1": 1997, "2": 1812, "3": 1533, "4": 1039, "5": 230.8, "7": 84.90, "8": 1362},
}
"""Mean solar irradiance outside of the atmosphere, W / (m2 um): Chander et al. (2009), tables 3 and 4."""
KELVIN = {"LANDSAT_4": (671.62, 1284.30), "LANDSAT_5": (607.76, 1260.56), "LANDSAT_7": (666.09, 1282.71)}
"""K1 in W / (m2 sr um) and K2 in kelvin of band 6: Chander et al. (2009), table 5."""


def number_of(name: str, image: Image, key: str) -> float:
    """Return a property that is a number. Raises ExpressionError, which names the operator, where it is none."""
    found = image.get(key)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise ExpressionError(
            f"{name}: the image has {key}={found!r}, not a number; .set(landsat_properties(mtl)), or .set({key}=...)"
        )
    return float(found)


def sun_zenith_of(name: str, image: Image, given: float | None) -> float:
    """Return the angle of the sun from the zenith in degrees: as given, else 90 minus SUN_ELEVATION.

    Raises ExpressionError unless the sun is above the horizon.
    """
    zenith = 90.0 - number_of(name, image, "SUN_ELEVATION") if given is None else given
    if not 0 <= zenith < 90:
        raise ExpressionError(f"{name}: the sun stands {zenith:g} degrees from the zenith; it must be 0 to below 90")
    return zenith


def each_band(image: Image, make: Callable[[Image, str], Image]) -> Image:
    """Return what is made of each band, under the names of the bands."""
    bands = image.type.bands
    parts = [make(call("select", image, band), band).rename(band) for band in bands]
    return call("add_bands", *parts) if len(parts) > 1 else parts[0]


def _baseline(image: Image, given: str) -> tuple[int, ...]:
    text = given or image.get("PROCESSING_BASELINE") or image.get("s2:processing_baseline") or ""
    parts = str(text).removeprefix("N").split(".") if "." in str(text) else [str(text)[-4:-2], str(text)[-2:]]
    if not all(part.isdecimal() for part in parts):
        raise ExpressionError(f"to_reflectance: baseline={text!r} is no processing baseline; give one such as '04.00'")
    return tuple(map(int, parts))


@composite("sensor", example="(image['red'] * 40000 + 8000).to_reflectance('landsat_c2')")
def to_reflectance(image: Image, sensor: str, baseline: str = "") -> Image:
    """Reflectance, about 0 to 1, float32, of a product's stored numbers; all bands of the image must be reflectance.

    `sensor` is landsat_c2 (Collection 2 level 2), landsat_espa (Collection 1), modis (MOD09, MOD13) or sentinel2, for which
    `baseline` is the processing baseline, as "04.00" or "N0400", or else the property PROCESSING_BASELINE: from 04.00 on
    0.1 is taken off. Not valid where the number is fill or outside of the product's range. Raises ExpressionError for
    another sensor, or where no baseline is told.
    """
    known = ENCODINGS.get(sensor)
    if known is None:
        raise ExpressionError(f"to_reflectance: sensor={sensor!r} is not one of {', '.join(ENCODINGS)}")
    offset = known.offset
    if sensor == "sentinel2" and _baseline(image, baseline) >= BASELINE:
        offset = OFFSET
    inside = call("between", image, known.lowest, known.highest)
    return call("update_mask", call("as_float32", image) * known.scale + offset, inside)


def _toa(image: Image, band: str, zenith: float) -> Image:
    """Return reflectance or brightness temperature of one band."""
    craft = str(image.get("SPACECRAFT_ID"))
    number = band.removeprefix("B") if band[1:2].isdecimal() else NUMBERS[craft].get(band, "")
    stored = call("as_float32", image)
    if number.startswith("6_VCID") or number in THERMAL.get(craft, ("6",)):
        return _temperature(image, stored, number, craft)
    if image.get(f"REFLECTANCE_MULT_BAND_{number}") is not None:
        scale, offset = (number_of("landsat_toa", image, f"REFLECTANCE_{kind}_BAND_{number}") for kind in ("MULT", "ADD"))
        # one multiplication and one sum, so that an ulp of the scale is not counted twice
        return stored * (scale / math.cos(math.radians(zenith))) + offset / math.cos(math.radians(zenith))
    irradiance = IRRADIANCE.get(craft, {}).get(number)
    if irradiance is None:
        raise ExpressionError(
            f"landsat_toa: band {band!r} is none of {craft}, or REFLECTANCE_MULT_BAND_{number or 'n'} is missing; "
            "name bands B1, B2, ..., and .set(landsat_properties(mtl))"
        )
    distance = number_of("landsat_toa", image, "EARTH_SUN_DISTANCE")
    share = math.pi * distance**2 / (irradiance * math.cos(math.radians(zenith)))
    return _radiance(image, stored, number) * share


def _radiance(image: Image, stored: Image, number: str) -> Image:
    scale, offset = (number_of("landsat_toa", image, f"RADIANCE_{kind}_BAND_{number}") for kind in ("MULT", "ADD"))
    return stored * scale + offset


def _temperature(image: Image, stored: Image, number: str, craft: str) -> Image:
    if image.get(f"K1_CONSTANT_BAND_{number}") is None and craft in KELVIN:
        first, second = KELVIN[craft]
    else:
        first, second = (number_of("landsat_toa", image, f"K{place}_CONSTANT_BAND_{number}") for place in (1, 2))
    return second / call("ln", first / _radiance(image, stored, number) + 1.0)


@composite(
    "sensor",
    example="(image['red'] * 40000 + 5000).rename('B4').set(SPACECRAFT_ID='LANDSAT_8', SUN_ELEVATION=57.1, "
    "REFLECTANCE_MULT_BAND_4=0.00002, REFLECTANCE_ADD_BAND_4=-0.1).landsat_toa()",
)
def landsat_toa(image: Image) -> Image:
    """Top-of-atmosphere reflectance (float32, about 0 to 1) of Landsat's stored numbers, and kelvin of thermal bands.

    Bands are named B1, B2, ..., B6_VCID_1, or blue, green, red, nir, swir1, swir2, thermal, pan, cirrus, coastal. Properties
    are those of the scene's MTL file (`esd.ingest.landsat_properties`): SPACECRAFT_ID, SUN_ELEVATION,
    REFLECTANCE_MULT_BAND_n and REFLECTANCE_ADD_BAND_n, or else, for Landsat 4 to 7, RADIANCE_MULT_BAND_n,
    RADIANCE_ADD_BAND_n and EARTH_SUN_DISTANCE; K1_CONSTANT_BAND_n and K2_CONSTANT_BAND_n. Reflectance is divided by the sine
    of the sun's elevation, temperature is K2 / ln(K1 / radiance + 1). Not valid where the number is 0, which is fill.
    Raises ExpressionError where a property is missing. Sources: Chander et al. (2009), Remote Sensing of Environment 113,
    893-903; Landsat 8 Data Users Handbook (LSDS-1574), section 5.
    """
    craft = image.get("SPACECRAFT_ID")
    if craft not in NUMBERS:
        raise ExpressionError(f"landsat_toa: SPACECRAFT_ID={craft!r} is not one of {', '.join(NUMBERS)}; .set() it")
    zenith = sun_zenith_of("landsat_toa", image, None)
    made = each_band(image, lambda one, band: _toa(one, band, zenith))
    return call("update_mask", made, call("neq", image, 0))
