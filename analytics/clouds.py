"""Clouds by plain rules: Earth Engine's simple score and the composite made with it, and Sentinel-2's parallax."""

from __future__ import annotations

from esd.errors import BandError, ExpressionError
from esd.image import Image, call, composite
from esd.operator import Band

__all__: list[str] = []

SCORED = ("blue", "green", "red", "nir", "swir1", "swir2")
THERMAL, NIR, NARROW, EDGE = map(Band, ("thermal", "B8", "B8A", "B7"))
WINDOW = 3
"""Radius of the 7 x 7 pixels of which the displacement index takes variances."""


def _needed(name: str, image: Image, bands: tuple[str, ...]) -> dict[str, Image]:
    missing = [band for band in bands if band not in image.type.bands]
    if missing:
        raise BandError(f"{name}: there is no band {missing[0]!r}; the image has {', '.join(image.type.bands)}")
    return {band: call("select", image, band) for band in bands}


def _rescaled(image: Image, none: float, certain: float) -> Image:
    return (image - none) / (certain - none)


SCENE = "image.add_bands((image['nir'] * 0 + 288).rename('thermal'))"


@composite("sensor", example=f"{SCENE}.simple_cloud_score()")
def simple_cloud_score(image: Image, thermal: Band = THERMAL) -> Image:
    """How much each pixel of a Landsat scene looks like cloud, 0 to 100: uint8, one band `cloud`, each time by itself.

    Of top-of-atmosphere reflectance 0..1 (bands blue, green, red, nir, swir1, swir2) and brightness temperature in kelvin
    (`thermal`), as `landsat_toa` gives them: the least of 1 and the shares that blue goes from 0.1 to 0.3,
    red + green + blue from 0.2 to 0.8, nir + swir1 + swir2 from 0.3 to 0.8, temperature from 300 down to 290, and
    (green - swir1) / (green + swir1) from 0.8 down to 0.6, times 100, rounded. Snow scores low by the last. Valid where all
    seven bands are. Raises BandError for a missing band. Source: Earth Engine's published example SimpleCloudScore.
    """
    band = _needed("simple_cloud_score", image, (*SCORED, thermal))
    shares = (
        _rescaled(band["blue"], 0.1, 0.3),
        _rescaled(band["red"] + band["green"] + band["blue"], 0.2, 0.8),
        _rescaled(band["nir"] + band["swir1"] + band["swir2"], 0.3, 0.8),
        _rescaled(band[thermal], 300.0, 290.0),
        _rescaled((band["green"] - band["swir1"]) / (band["green"] + band["swir1"]), 0.8, 0.6),
    )
    score = shares[0]
    for share in shares[1:]:
        score = call("minimum", score, share)
    return call("to_uint8", call("round", score.clamp(0.0, 1.0) * 100.0)).rename("cloud")


@composite("temporal", example=f"{SCENE}.simple_composite()")
def simple_composite(
    image: Image, percentile: float = 50.0, cloud_score_range: float = 10.0, thermal: Band = THERMAL
) -> Image:
    """One time of many Landsat scenes: a percentile of each band over the times of least cloud.

    The times of each pixel whose `simple_cloud_score` is at most the least of its times plus `cloud_score_range` count, and
    of these the `percentile` of each band is taken. The image is what `landsat_toa` gives, of a collection by `stack()`;
    all its times count (Earth Engine leaves out the cloudiest of more than 40). Not valid where no time has all the bands
    that are scored. Raises ExpressionError for a percentile outside of 0..100 or a negative range, BandError for a missing
    band. Source: Earth Engine's Landsat.simpleComposite.
    """
    if not 0 <= percentile <= 100 or cloud_score_range < 0:
        raise ExpressionError(
            f"simple_composite: percentile={percentile:g} must be 0 to 100, "
            f"cloud_score_range={cloud_score_range:g} from 0 on"
        )
    score = call("to_float32", simple_cloud_score(image, thermal))
    least = call("reduce", score, "min") + cloud_score_range
    clear = call("update_mask", image, call("unmask", call("lte", score, least), 0.0))
    return call("percentile", clear, percentile)


@composite(
    "sensor",
    example="image.select('nir', 'swir1', 'swir2').first().rename('B8', 'B8A', 'B7').cloud_displacement_index()",
)
def cloud_displacement_index(image: Image, nir: Band = NIR, narrow_nir: Band = NARROW, red_edge: Band = EDGE) -> Image:
    """How far bands of Sentinel-2 that look from different angles lie apart: -1 to 1, low where something stands high.

    With v(band), the variance in 7 x 7 pixels of the band's ratio to `narrow_nir`: (v(red edge) - v(nir)) / (v(red edge) +
    v(nir)). Clouds are below about -0.5, bright ground above. Bands are top-of-atmosphere reflectance on one grid of 20 m
    pixels. Valid where anything of the window is; IEEE's NaN where all of it is alike. Raises BandError for a missing band.
    Source: Frantz et al. (2018), Remote Sensing of Environment 215, 471-481.
    """
    band = _needed("cloud_displacement_index", image, (nir, narrow_nir, red_edge))
    near, far = (
        call("focal_variance", call("to_float64", band[name] / band[narrow_nir]), WINDOW) for name in (red_edge, nir)
    )
    return ((near - far) / (near + far)).rename("cdi")
