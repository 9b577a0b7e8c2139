"""From the top of the atmosphere to the ground: dark objects for haze, elevation models for the light on slopes."""

from __future__ import annotations

import math

from esd.errors import ExpressionError
from esd.image import Image, call, composite

from .sensors import each_band, landsat_toa, number_of, sun_zenith_of

__all__: list[str] = []

SLOPES = ("cosine", "c", "minnaert", "scs", "scs+c")
DARK = ("dos1", "dos2")
SHORT = ("coastal", "blue", "green", "red", "rededge", "nir", "pan")
LONG = ("cirrus", "swir1", "swir2")
"""Bands below and above a wavelength of 1 um: above, the air hardly weakens the light."""
SUN = "SUN_ELEVATION=45.0, SUN_AZIMUTH=140.0"


def _haze(image: Image, passed: float, dark: float, reflectance: float) -> Image:
    path = call("over_scene", image, f"p{dark:.10g}") - reflectance * passed
    return call("as_float32", (image - path) / passed)


@composite("sensor", openeo="atmospheric_correction", example="image.select('red').median().atmospheric_correct()")
def atmospheric_correct(
    image: Image, method: str = "dos1", sun_zenith: float | None = None, dark: float = 0.1, dark_reflectance: float = 0.01
) -> Image:
    """Reflectance of the ground from that at the top of the atmosphere, by the darkest objects of the scene; float32.

    The reflectance below which `dark` per cent of a band's pixels lie should be `dark_reflectance`, that of deep shade; what
    it is more is haze, and taken off. dos1 does no more. dos2 also divides by the share of light that comes through on its
    way down, the cosine of `sun_zenith` (degrees; else 90 minus the property SUN_ELEVATION) for bands below 1 um, so the
    darkest pixels are `dark_reflectance` by both. Each time and band by itself; mask clouds and their shadows before. Needs
    whole scenes. Raises ExpressionError for another method, or a band of unknown wavelength with dos2. Sources: Chavez
    (1988), Remote Sensing of Environment 24, 459-479, and (1996), Photogrammetric Engineering 62, 1025-1036, as GRASS has
    them (i.landsat.toar).
    """
    if method not in DARK:
        raise ExpressionError(f"atmospheric_correct: method={method!r} is not one of {', '.join(DARK)}")
    if not 0 <= dark <= 100:
        raise ExpressionError(f"atmospheric_correct: dark={dark:g} must be 0 to 100 per cent")
    if method == "dos1":
        return _haze(image, 1.0, dark, dark_reflectance)
    unknown = [band for band in image.type.bands if band not in (*SHORT, *LONG)]
    if unknown:
        raise ExpressionError(
            f"atmospheric_correct: the wavelength of {unknown[0]!r} is not known, which dos2 needs; "
            f".rename() bands {', '.join(SHORT + LONG)}"
        )
    passed = math.cos(math.radians(sun_zenith_of("atmospheric_correct", image, sun_zenith)))
    return each_band(image, lambda one, band: _haze(one, passed if band in SHORT else 1.0, dark, dark_reflectance))


@composite(
    "sensor",
    example="(image['red'] * 40000 + 5000).set(SPACECRAFT_ID='LANDSAT_8', SUN_ELEVATION=57.1, "
    "REFLECTANCE_MULT_BAND_4=0.00002, REFLECTANCE_ADD_BAND_4=-0.1).ard_surface_reflectance(nir < 0.2)",
)
def ard_surface_reflectance(
    image: Image, clear: Image, atmospheric_correction_method: str = "dos2", dark: float = 0.1
) -> Image:
    """Reflectance of the ground, float32, of Landsat's stored numbers where the view is clear.

    `landsat_toa`, then what `clear` says is not clear (false, 0 or not valid) made not valid, then `atmospheric_correct` by
    dark objects of the rest. The sun's angle and the calibration are properties, as for `landsat_toa`; `clear` comes of a
    quality band, as by `mask_qa`. Light on slopes is another step, `topographic_correct`. No claim to CEOS's ARD
    specification is made, which asks for a physical model of the atmosphere. Raises what its steps raise.
    """
    reflectance = call("update_mask", landsat_toa(image), call("unmask", call("neq", clear, 0), 0.0))
    return atmospheric_correct(reflectance, atmospheric_correction_method, None, dark)


def _line(image: Image, along: Image) -> tuple[Image, Image]:
    """Return level and slope of the line that a whole scene's numbers follow along others; no slope where it is none."""
    mean, middle = call("over_scene", image, "mean"), call("over_scene", along, "mean")
    apart = along - middle
    spread = call("over_scene", apart * apart, "mean")
    some = spread > 0
    slope = call("where", some, call("over_scene", apart * (image - mean), "mean") / call("where", some, spread, 1.0), 0.0)
    slope = call("maximum", slope, 0.0)
    return mean - slope * middle, slope


@composite("sensor", example=f"image.select('nir').median().set({SUN}).topographic_correct(dem)")
def topographic_correct(
    image: Image, dem: Image, method: str = "scs+c", sun_zenith: float | None = None, sun_azimuth: float | None = None
) -> Image:
    """Reflectance as it would be on level ground: float32, from the light that falls on each pixel of an elevation model.

    `dem` is one band of metres on the same grid. With z, the sun's angle from the zenith, s, the slope, and
    cos i = cos z cos s + sin z sin s cos(azimuth - aspect), the image is multiplied by, for `method`
    cosine: cos z / cos i; scs: cos z cos s / cos i (for trees, which stand upright);
    c: (cos z + C) / (cos i + C) and scs+c: (cos z cos s + C) / (cos i + C), C being level over slope of the line that the
    whole scene's reflectance follows along cos i; minnaert: cos s (cos z / (cos i cos s))^k, k being the slope of
    ln(reflectance cos s) along ln(cos i cos s). Lines are fitted for each time and band, and a slope below 0 is taken as 0:
    no correction. Angles are degrees; by default of the properties SUN_ELEVATION and SUN_AZIMUTH. Not valid where the sun
    does not shine (cos i <= 0), along the edge of the grid and, for minnaert, where reflectance is not above 0. Needs whole
    scenes, but for cosine and scs. Raises ExpressionError for another method, GridError for a grid in degrees. Sources:
    Teillet et al. (1982), Canadian Journal of Remote Sensing 8, 84-106; Gu and Gillespie (1998), Remote Sensing of
    Environment 64, 166-175; Soenen et al. (2005), IEEE TGRS 43, 2148-2159; Colby (1991), PE&RS 57, 531-537.
    """
    if method not in SLOPES:
        raise ExpressionError(f"topographic_correct: method={method!r} is not one of {', '.join(SLOPES)}")
    if len(dem.type.bands) != 1 or len(dem.type.time) != 1:
        raise ExpressionError(f"topographic_correct: the heights are {dem.type.describe()}; give one time and band")
    zenith = sun_zenith_of("topographic_correct", image, sun_zenith)
    azimuth = number_of("topographic_correct", image, "SUN_AZIMUTH") if sun_azimuth is None else sun_azimuth
    lit, upright = _light(call("to_float64", dem), math.radians(zenith), math.radians(azimuth))
    level = math.cos(math.radians(zenith))
    seen = call("update_mask", call("to_float64", image), lit > 0)
    if method == "minnaert":
        return call("as_float32", _minnaert(seen, lit, upright, level))
    towards = upright * level if method.startswith("scs") else seen * 0.0 + level
    if method in ("cosine", "scs"):
        return call("as_float32", seen * (towards / lit))
    height, slope = _line(seen, seen * 0.0 + lit)
    below = slope * lit + height
    made = call("update_mask", seen * ((slope * towards + height) / below), below > 0)
    return call("as_float32", made)


def _light(dem: Image, zenith: float, azimuth: float) -> tuple[Image, Image]:
    """Return the cosine of the angle between the sun and each pixel's normal, and that of the slope."""
    slope = call("to_float64", dem.slope()) * (math.pi / 180)
    aspect = call("unmask", call("to_float64", dem.aspect()), 0.0) * (math.pi / 180)
    facing = call("cos", azimuth - aspect)
    upright = call("cos", slope)
    return upright * math.cos(zenith) + call("sin", slope) * facing * math.sin(zenith), upright


def _minnaert(image: Image, lit: Image, upright: Image, level: float) -> Image:
    bright = call("update_mask", image, image > 0)
    shade = lit * upright
    _height, slope = _line(call("ln", bright * upright), call("ln", bright * 0.0 + shade))
    return bright * upright * call("power", level / shade, slope)
