"""Colours of maps: what an index, a class or a change looks like, and PNG files of it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import BandError, ExpressionError

__all__ = [
    "CLASS_COLORS",
    "Ramp",
    "class_colors",
    "colorize",
    "encode_png",
    "hex_color",
    "limits",
    "paint",
    "paint_classes",
    "palette_of",
    "ramp_of",
    "true_color",
    "write_png",
    "write_whole",
]

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

CLASS_COLORS = (
    "#2f7f4f", "#f2c14e", "#4a90d9", "#c2504b", "#9bc86a", "#8a6fb0", "#d98f4e", "#5bb5ad", "#b89f7a", "#e48fb4",
    "#1c5638", "#7a8b99", "#a3b84c", "#6b4f3a", "#3b5b92", "#d9d36a",
)  # fmt: skip

SMALL_PICTURE = 512
"""Pixels a side up to which pictures are enlarged."""

KNOWN_CLASSES = {
    "water": "#2f6db5",
    "evergreen forest": "#1c5638",
    "deciduous forest": "#4f9a4c",
    "grassland": "#b5d06c",
    "pasture": "#b5d06c",
    "winter crop": "#f2cf5b",
    "summer crop": "#e08d3c",
    "double crop": "#cf6f93",
    "wetland": "#5fb3ab",
    "urban": "#b8433f",
    "bare soil": "#b3987a",
    "clearing": "#8f6f9b",
}
"""Colours that a reader expects; a class of another name takes the next of CLASS_COLORS that is free."""


@dataclass(frozen=True)
class Ramp:
    """A matplotlib colour map and the values of its two ends; None takes them from the image."""

    name: str
    low: float | None = None
    high: float | None = None
    label: str = ""


VEGETATION = Ramp("RdYlGn", -0.1, 0.95)
RAMPS: dict[str, Ramp] = {
    **dict.fromkeys(("ndvi", "gndvi", "evi", "evi2", "savi", "osavi", "msavi", "arvi", "normalized_difference"), VEGETATION),
    **dict.fromkeys(("ndwi", "mndwi", "ndmi"), Ramp("BrBG", -0.7, 0.7)),
    **dict.fromkeys(("nbr", "nbr2"), Ramp("RdYlGn", -0.4, 0.9)),
    "nbr_fall": Ramp("YlOrRd", 0.0, 0.5, "fall of NBR"),
    "angle": Ramp("magma", 0.0, None, "angle (radians)"),
    "cosine_similarity": Ramp("viridis", None, 1.0, "cosine"),
    "confidence": Ramp("viridis", 0.0, 1.0),
    "error": Ramp("inferno", 0.0, None, "RMSE (reflectance)"),
}


def ramp_of(band: str) -> Ramp:
    """Return the colours of a band by its name; viridis from its 2nd to its 98th percentile for an unknown one."""
    return RAMPS.get(band.split(" ")[0], Ramp("viridis"))


def limits(values: npt.NDArray[Any], seen: Mask, ramp: Ramp) -> tuple[float, float]:
    """Return the values of a ramp's two ends for an image; 0 and 1 where nothing is seen."""
    if not seen.any():
        return 0.0, 1.0
    low, high = np.percentile(values[seen], (2, 98))
    low = float(low) if ramp.low is None else ramp.low
    high = float(high) if ramp.high is None else ramp.high
    return (low, high) if high > low else (low, low + 1e-6)


def colorize(values: npt.NDArray[Any], valid: Mask, ramp: Ramp) -> Bytes:
    """Paint values [y, x] with a ramp: uint8 [y, x, 4], transparent where not valid or not finite."""
    from matplotlib import colormaps

    numbers = values.astype(np.float64)
    seen = valid & np.isfinite(numbers)
    low, high = limits(numbers, seen, ramp)
    scaled = np.clip((np.where(seen, numbers, low) - low) / (high - low), 0, 1)
    painted: Bytes = colormaps[ramp.name](scaled, bytes=True)
    painted[..., 3] = np.where(seen, 255, 0)
    return painted


def true_color(red: npt.NDArray[Any], green: npt.NDArray[Any], blue: npt.NDArray[Any], valid: Mask) -> Bytes:
    """Paint reflectance [y, x] as a photograph: uint8 [y, x, 4].

    One fixed stretch, so that pictures can be compared: reflectance 0.01 to 0.26 with a gamma of 1.6, the rest clipped.
    """
    stacked = np.stack([red, green, blue], axis=-1).astype(np.float64)
    stretched = np.clip((stacked - 0.01) / 0.25, 0, 1) ** (1 / 1.6)
    alpha = np.where(valid, 255, 0)[..., None]
    return np.concatenate([np.rint(stretched * 255), alpha], axis=-1).astype(np.uint8)


@cache
def palette_of(name: str) -> Bytes:
    """Return the colours of a matplotlib colour map as uint8 [n, 3], from its low end to its high end.

    Raises ExpressionError for a name that matplotlib does not have.
    """
    from matplotlib import colormaps

    if name not in colormaps:
        raise ExpressionError(f"colour map {name!r} is none of matplotlib's, such as viridis, magma, RdYlGn or terrain")
    found = colormaps[name]
    colors: Bytes = found(np.arange(found.N), bytes=True)[:, :3]
    return colors


def hex_color(color: str) -> tuple[int, int, int]:
    """Return red, green and blue, 0 to 255, of "#1c5638", with or without the sign, or of a CSS name as "teal".

    Raises ExpressionError for anything else.
    """
    from matplotlib.colors import to_rgb

    try:
        red, green, blue = to_rgb(color)
    except ValueError:
        try:
            red, green, blue = to_rgb(f"#{color}")
        except ValueError:
            raise ExpressionError(f"{color!r} is no colour; write #1c5638 or a name such as teal") from None
    return round(red * 255), round(green * 255), round(blue * 255)


def paint(
    values: npt.NDArray[Any],
    valid: Mask,
    bands: Sequence[str],
    colors: Mapping[int, tuple[int, int, int, int]] | None = None,
    ends: tuple[float, float] | None = None,
) -> Bytes:
    """Paint one or three bands [band, y, x] as uint8 [y, x, 4], transparent where `valid` [y, x] is false.

    Three bands of uint8 are red, green and blue as they are (`visualize` makes such), three others reflectance as a
    photograph; one band is painted by its colour table, or else the ramp of its name, whose ends `ends` replaces. Raises
    BandError for another number of bands.
    """
    if len(values) not in (1, 3):
        raise BandError(f"a picture needs one or three bands, the image has {len(values)}; add .median() or select(...)")
    if len(values) == 3 and values.dtype == np.uint8:
        return np.where(valid[..., None], np.stack([*values, np.full_like(values[0], 255)], axis=-1), 0).astype(np.uint8)
    if len(values) == 3:
        seen = valid & np.isfinite(values).all(axis=0)
        red, green, blue = np.where(seen, values, 0)
        return true_color(red, green, blue, seen)
    if colors:
        return paint_classes(np.where(valid, values[0], 0), {**colors, 0: (0, 0, 0, 0)})
    ramp = ramp_of(bands[0])
    return colorize(values[0], valid, ramp if ends is None else Ramp(ramp.name, *ends))


def _rgba(color: str) -> tuple[int, int, int, int]:
    return (*hex_color(color), 255)


def class_colors(names: Sequence[str]) -> dict[int, tuple[int, int, int, int]]:
    """Return a colour table for classes numbered from 1 in the order of their names; 0 is transparent."""
    taken = {KNOWN_CLASSES[name] for name in names if name in KNOWN_CLASSES}
    free = [color for color in CLASS_COLORS if color not in taken] or list(CLASS_COLORS)
    table = {0: (0, 0, 0, 0)}
    used = 0
    for code, name in enumerate(names, start=1):
        if name not in KNOWN_CLASSES:
            used += 1
        table[code] = _rgba(KNOWN_CLASSES.get(name) or free[(used - 1) % len(free)])
    return table


def paint_classes(classes: npt.NDArray[Any], colors: Mapping[int, tuple[int, int, int, int]]) -> Bytes:
    """Paint class numbers [y, x] with a colour table: uint8 [y, x, 4]; a class without colour is transparent."""
    table = np.zeros((int(max(256, classes.max() + 1)), 4), dtype=np.uint8)
    for code, color in colors.items():
        table[code] = color
    return table[classes]


def encode_png(pixels: Bytes) -> bytes:
    """Return uint8 [y, x, 4] as the bytes of a PNG."""
    from PIL import Image, PngImagePlugin

    told, data = PngImagePlugin.PngInfo(), io.BytesIO()
    told.add_text("Software", "esd")
    Image.fromarray(np.ascontiguousarray(pixels)).save(data, "PNG", pnginfo=told)
    return data.getvalue()


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file whole or not at all, its folder too. Returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(data)
    partial.replace(path)
    return path


def write_png(path: Path, pixels: Bytes) -> Path:
    """Write uint8 [y, x, 4] as a PNG, whole or not at all; small pictures enlarged, each pixel to a square of pixels."""
    enlarge = max(1, SMALL_PICTURE // max(pixels.shape[:2]))
    return write_whole(path, encode_png(pixels.repeat(enlarge, axis=0).repeat(enlarge, axis=1)))
