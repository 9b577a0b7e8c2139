"""Colours and scales of radiance: RGB and HSV, sharpening by a panchromatic band, decibels."""

from __future__ import annotations

from esd.errors import BandError, ExpressionError
from esd.image import Image, call, composite

__all__: list[str] = []

SHARPENING = ("brovey", "mean", "ihs")


def _three(name: str, image: Image) -> tuple[Image, Image, Image]:
    bands = image.type.bands
    if len(bands) != 3:
        raise BandError(f"{name}: {len(bands)} bands, {', '.join(bands)}, are not three; .select() them in order")
    return image[bands[0]], image[bands[1]], image[bands[2]]


@composite("color", example="image.decode().select('red', 'green', 'blue').median().rgb_to_hsv()")
def rgb_to_hsv(image: Image) -> Image:
    """Hue, saturation and value of three bands red, green, blue of 0 to 1: bands hue, saturation, value of 0 to 1.

    Hue is 0 for red, 1/3 for green, 2/3 for blue, and 0 for grey, as is saturation for black. Valid where all three are.
    Source: Smith (1978), as scikit-image has it.
    """
    red, green, blue = _three("rgb_to_hsv", image)
    top = call("maximum", call("maximum", red, green), blue)
    spread = top - call("minimum", call("minimum", red, green), blue)
    some = call("where", spread > 0, spread, 1.0)
    turn = call("where", call("eq", top, green), (blue - red) / some + 2.0, (red - green) / some + 4.0)
    turn = call("where", call("eq", top, red), (green - blue) / some, turn)
    hue = call("where", spread > 0, call("mod", turn / 6.0, 1.0), 0.0)
    saturation = call("where", top > 0, spread / call("where", top > 0, top, 1.0), 0.0)
    parts = (hue.rename("hue"), saturation.rename("saturation"), top.rename("value"))
    return call("add_bands", *parts)


@composite("color", example="image.decode().select('red', 'green', 'blue').median().rgb_to_hsv().hsv_to_rgb()")
def hsv_to_rgb(image: Image) -> Image:
    """Red, green and blue of three bands hue, saturation, value, all 0 to 1: bands red, green, blue.

    Hue goes round: 1 is 0 again. Valid where all three are. Source: Smith (1978).
    """
    hue, saturation, value = _three("hsv_to_rgb", image)
    parts = []
    for band, turn in (("red", 5.0), ("green", 3.0), ("blue", 1.0)):
        place = call("mod", hue * 6.0 + turn, 6.0)
        share = call("minimum", place, 4.0 - place).clamp(0.0, 1.0)
        parts.append((value - value * saturation * share).rename(band))
    return call("add_bands", *parts)


def _mean_of_bands(image: Image) -> Image:
    bands = image.type.bands
    total = image[bands[0]]
    for band in bands[1:]:
        total = total + image[band]
    return total / float(len(bands))


@composite("spectral", example="image.decode().median().pansharpen(image.decode().select('green').median())")
def pansharpen(image: Image, pan: Image, method: str = "brovey") -> Image:
    """Sharpen bands by a panchromatic band of the same grid (put them there by `reproject_like(pan, "bilinear")` first).

    With m, the mean of the bands: brovey gives band x pan / m, ihs gives band + (pan - m), the fast intensity-hue-saturation
    of Tu et al. (2001), mean gives (band + pan) / 2. Valid where the band and `pan` are, and for the first two all bands;
    brovey is IEEE's infinity or NaN where m is 0. Raises ExpressionError for another method or a `pan` of several bands,
    GridError for different grids.
    """
    if method not in SHARPENING:
        raise ExpressionError(f"pansharpen: method={method!r} is not one of {', '.join(SHARPENING)}")
    if len(pan.type.bands) != 1:
        raise ExpressionError(f"pansharpen: pan has {len(pan.type.bands)} bands; .select() one")
    if method == "mean":
        return (image + pan) / 2.0
    mean = _mean_of_bands(image)
    return image * (pan / mean) if method == "brovey" else image + (pan - mean)


@composite("spectral", example="image.decode().select('red').median().linear_to_db()")
def linear_to_db(image: Image) -> Image:
    """Decibels of a power: 10 log10(x); minus infinity at 0 and NaN below, as IEEE has it."""
    return call("log10", image) * 10.0


@composite("spectral", example="(image.decode().select('red').median() * -20).db_to_linear()")
def db_to_linear(image: Image) -> Image:
    """Power of decibels: 10 to the power of x / 10."""
    return call("power", 10.0, image / 10.0)
