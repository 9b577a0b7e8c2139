"""Every index of the Awesome Spectral Indices catalogue (Montero et al., 2023) that six bands suffice for, by its name.

`spectral_indices.json` holds the formulas as the catalogue writes them: B, G, R, N, S1 and S2 are blue, green, red, nir,
swir1 and swir2, the others are constants. Common ones are operators of their own, see `spectral`. Also the tasseled cap,
which is another set of linear combinations of the same bands.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.text import parse

__all__ = ["catalogue", "tasseled_cap_coefficients"]

BANDS = {"B": "blue", "G": "green", "R": "red", "N": "nir", "S1": "swir1", "S2": "swir2"}
_WORD = re.compile(r"(?<![\w.])[A-Za-z]\w*")


@cache
def catalogue() -> dict[str, Any]:
    """Return the catalogue: `indices` by name (formula, domain, title, source) and the default `constants`."""
    read: dict[str, Any] = json.loads((files("esd.analytics") / "spectral_indices.json").read_text(encoding="utf-8"))
    return read


def _constants(name: str, formula: str, given: Sequence[str]) -> dict[str, float]:
    """Return the numbers of a formula's constants: those given as "L=0.5", and else the catalogue's."""
    wanted = set(_WORD.findall(formula)) - BANDS.keys()
    numbers = {word: catalogue()["constants"].get(word) for word in wanted}
    for text in given:
        word, _sign, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if word not in wanted or not math.isfinite(value):
            known = ", ".join(sorted(wanted)) or "none"
            raise ExpressionError(f'spectral_index: {text!r} is no constant of {name} (it has {known}); write it as "L=0.5"')
        numbers[word] = value
    missing = sorted(word for word, number in numbers.items() if number is None)
    if missing:
        raise ExpressionError(f'spectral_index: {name} needs {", ".join(missing)}; give constants=("{missing[0]}=...",)')
    return numbers


@composite("spectral", example='image.spectral_index("AFRI1600").median()')
def spectral_index(image: Image, name: str, constants: tuple[str, ...] = ()) -> Image:
    """An index of the Awesome Spectral Indices catalogue by its name there, as "NDVI", "EVI" or "BITM".

    For reflectance 0..1 with the bands that its formula names; each time by itself. `constants` change the catalogue's, as
    ("L=0.25", "g=2.5"); L is 1 there for all indices, so that SAVI as Huete has it needs ("L=0.5",). A zero denominator
    gives IEEE's infinity or NaN. `esd.analytics.catalogue()` tells formulas and sources. Raises ExpressionError for an
    unknown name or constant, BandError where a band is missing.
    """
    found = catalogue()["indices"].get(name)
    if found is None:
        import difflib

        names = {known.lower(): known for known in catalogue()["indices"]}
        near = [names[word] for word in difflib.get_close_matches(name.lower(), names, n=3)]
        hint = f"did you mean {' or '.join(near)}?" if near else "see esd.analytics.catalogue()"
        raise ExpressionError(f"spectral_index: there is no index {name!r} of six bands; {hint}")
    numbers = _constants(name, found["formula"], constants)
    formula = _WORD.sub(lambda word: BANDS.get(word[0]) or f"({numbers[word[0]]!r})", found["formula"])
    return parse(formula, image).rename(name)


TASSELED_CAP = {
    "tm": (
        (0.2043, 0.4158, 0.5524, 0.5741, 0.3124, 0.2303),
        (-0.1603, -0.2819, -0.4934, 0.7940, -0.0002, -0.1446),
        (0.0315, 0.2021, 0.3102, 0.1594, -0.6806, -0.6109),
    ),
    "etm": (
        (0.3561, 0.3972, 0.3904, 0.6966, 0.2286, 0.1596),
        (-0.3344, -0.3544, -0.4556, 0.6966, -0.0242, -0.2630),
        (0.2626, 0.2141, 0.0926, 0.0656, -0.7629, -0.5388),
    ),
    "oli": (
        (0.3029, 0.2786, 0.4733, 0.5599, 0.5080, 0.1872),
        (-0.2941, -0.2430, -0.5424, 0.7276, 0.0713, -0.1608),
        (0.1511, 0.1973, 0.3283, 0.3407, -0.7117, -0.4559),
    ),
}
COMPONENTS = ("brightness", "greenness", "wetness")


def tasseled_cap_coefficients(sensor: str) -> tuple[tuple[float, ...], ...]:
    """Return the weights of blue, green, red, nir, swir1 and swir2 in brightness, greenness and wetness.

    `sensor` is tm (Crist, 1985, reflectance factors), etm (Huang et al., 2002) or oli (Baig et al., 2014), the latter two
    for reflectance at the satellite. Raises ExpressionError for another.
    """
    if sensor not in TASSELED_CAP:
        raise ExpressionError(f"tasseled_cap: sensor={sensor!r} is not one of {', '.join(TASSELED_CAP)}")
    return TASSELED_CAP[sensor]


@composite("spectral", example="image.tasseled_cap().median()")
def tasseled_cap(image: Image, sensor: str = "tm") -> Image:
    """Tasseled cap: bands brightness, greenness and wetness, linear combinations of the six reflectance bands.

    `sensor` is tm (for Landsat 4 and 5 and, being of reflectance factors, the default for surface reflectance; Crist,
    1985), etm (Landsat 7; Huang et al., 2002) or oli (Landsat 8 and 9; Baig et al., 2014); the latter two were derived from
    reflectance at the satellite. Each time by itself. Raises ExpressionError for another sensor.
    """
    bands = []
    for name, weights in zip(COMPONENTS, tasseled_cap_coefficients(sensor), strict=True):
        total = image["blue"] * weights[0]
        for band, weight in zip(("green", "red", "nir", "swir1", "swir2"), weights[1:], strict=True):
            total = total + image[band] * weight
        bands.append(total.rename(name))
    return call("add_bands", *bands)
