"""Spectral indices: each is a formula in the text form of expressions, and so fuses and decodes by itself.

The formulas and names are those of the Awesome Spectral Indices catalogue (Montero et al., 2023) with its default constants;
reflectance 0..1 is asked for. A zero denominator gives IEEE's infinity or NaN.
"""

from __future__ import annotations

from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Band
from esd.text import parse

__all__ = ["INDICES"]

INDICES: dict[str, tuple[str, str, str]] = {
    "ndvi": ("(nir - red) / (nir + red)", "Normalized difference vegetation index", "Rouse et al. 1974"),
    "gndvi": ("(nir - green) / (nir + green)", "Green NDVI", "Gitelson et al. 1996"),
    "evi": ("2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)", "Enhanced vegetation index", "Huete et al. 2002"),
    "evi2": ("2.5 * (nir - red) / (nir + 2.4 * red + 1)", "Two-band EVI", "Jiang et al. 2008"),
    "savi": ("1.5 * (nir - red) / (nir + red + 0.5)", "Soil-adjusted vegetation index", "Huete 1988"),
    "osavi": ("(nir - red) / (nir + red + 0.16)", "Optimized SAVI", "Rondeaux et al. 1996"),
    "msavi": ("0.5 * (2 * nir + 1 - sqrt((2 * nir + 1) ** 2 - 8 * (nir - red)))", "Modified SAVI", "Qi et al. 1994"),
    "arvi": (
        "(nir - (red - (red - blue))) / (nir + (red - (red - blue)))",
        "Atmospherically resistant vegetation index, gamma 1",
        "Kaufman and Tanre 1992",
    ),
    "nirv": ("(nir - red) / (nir + red) * nir", "Near-infrared reflectance of vegetation", "Badgley et al. 2017"),
    "kndvi": (
        "1 - 2 / (exp(2 * ((nir - red) / (nir + red)) ** 2) + 1)",
        "Kernel NDVI with sigma = (nir + red) / 2: tanh(NDVI^2)",
        "Camps-Valls et al. 2021",
    ),
    "cig": ("nir / green - 1", "Chlorophyll index, green", "Gitelson et al. 2003"),
    "ndwi": ("(green - nir) / (green + nir)", "Normalized difference water index", "McFeeters 1996"),
    "mndwi": ("(green - swir1) / (green + swir1)", "Modified NDWI", "Xu 2006"),
    "awei": (
        "4 * (green - swir1) - 0.25 * nir - 2.75 * swir2",
        "Automated water extraction index, where there is no shadow",
        "Feyisa et al. 2014",
    ),
    "ndmi": ("(nir - swir1) / (nir + swir1)", "Normalized difference moisture index", "Gao 1996"),
    "nbr": ("(nir - swir2) / (nir + swir2)", "Normalized burn ratio", "Key and Benson 2006"),
    "nbr2": (
        "(swir1 - swir2) / (swir1 + swir2)",
        "Normalized burn ratio 2, of the two SWIR bands",
        "Key and Benson 2006",
    ),
    "bai": ("1 / ((0.1 - red) ** 2 + (0.06 - nir) ** 2)", "Burned area index", "Chuvieco et al. 2002"),
    "ndbi": ("(swir1 - nir) / (swir1 + nir)", "Normalized difference built-up index", "Zha et al. 2003"),
    "bsi": (
        "((swir1 + red) - (nir + blue)) / ((swir1 + red) + (nir + blue))",
        "Bare soil index",
        "Rikimaru et al. 2002",
    ),
    "ndsi": ("(green - swir1) / (green + swir1)", "Normalized difference snow index", "Riggs et al. 1994"),
}


def _declare(name: str, formula: str, title: str, source: str) -> None:
    def index(image: Image) -> Image:
        return parse(formula, image).rename(name)

    index.__name__ = name
    index.__doc__ = f"{title}: {formula}.\n\nReflectance 0..1, each time by itself. Source: {source}."
    composite("spectral", example=f"image.{name}().median()")(index)


@composite("spectral", openeo="normalized_difference", example="image.normalized_difference('nir', 'red').median()")
def normalized_difference(image: Image, first: Band, second: Band, negative: str = "compute") -> Image:
    """Difference of two bands divided by their sum, (first - second) / (first + second).

    Nothing is masked for its sign, unless `negative` is "mask": then pixels where either band is below 0 are not valid, as
    in Earth Engine. Raises ExpressionError for another.
    """
    if negative not in ("compute", "mask"):
        raise ExpressionError(f"normalized_difference: negative={negative!r} is not one of compute, mask")
    one, other = image[first], image[second]
    if negative == "mask":
        above = ~((one < 0) | (other < 0))
        one, other = call("update_mask", one, above), call("update_mask", other, above)
    return ((one - other) / (one + other)).rename("normalized_difference")


for _name, (_formula, _title, _source) in INDICES.items():
    _declare(_name, _formula, _title, _source)
