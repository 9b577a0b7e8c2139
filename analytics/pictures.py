"""Images to look at: numbers as red, green and blue of 0 to 255. Lazy as any image: they fuse, tile and are written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from esd.block import Block
from esd.colors import hex_color, palette_of
from esd.errors import BandError, ExpressionError
from esd.image import Image, call, composite
from esd.operator import Band, Tile, operator
from esd.space import CubeType, Space

__all__: list[str] = []

RGB = ("red", "green", "blue")
BLENDS = ("soft", "overlay", "multiply")
Numbers = float | Sequence[float]


def _per_band(name: str, given: Numbers, count: int) -> tuple[float, ...]:
    """Return a number for each band. Raises ExpressionError for anything but one number, or as many as bands."""
    numbers: Sequence[float] = given if isinstance(given, tuple | list) else (given,) * count  # type: ignore[assignment]
    fit = all(isinstance(number, int | float) and not isinstance(number, bool) and np.isfinite(number) for number in numbers)
    if not fit or len(numbers) != count:
        raise ExpressionError(f"visualize: {name}={given!r} must be a number, or one for each of {count} bands")
    return tuple(float(number) for number in numbers)


def _seen(image: Image) -> Image:
    """Return an image with NaN, which is no colour, not valid and 0."""
    known = call("is_valid", image)
    return call("update_mask", call("where", known, image, 0.0), known)


def _byte(image: Image, band: str) -> Image:
    return call("to_uint8", call("round", image)).rename(band)


@composite("visualisation", example="image.decode().median().visualize(('red', 'green', 'blue'), 0.0, 0.4, 1.6)")
def visualize(
    image: Image,
    bands: tuple[Band, ...] = (),
    min: float | tuple[float, ...] = 0.0,  # noqa: A002 - Earth Engine's name
    max: float | tuple[float, ...] = 1.0,  # noqa: A002 - Earth Engine's name
    gamma: float | tuple[float, ...] = 1.0,
    palette: tuple[str, ...] = (),
) -> Image:
    """One or three bands as a picture: uint8 bands red, green and blue.

    `bands`, or all of the image if none is named, are stretched from `min`..`max` (in the image's unit; one number, or one
    a band) to 0..255, cut there, with 255 x share^(1 / gamma), rounded half to even. One band is grey, or with a `palette`
    of two or more colours, as "#1c5638" or "teal", runs through them at equal steps, straight lines between. Each time by
    itself. A pixel is valid where all chosen bands are, and none is NaN. Raises BandError for another number of bands,
    ExpressionError unless min < max and gamma > 0, or for what is no colour. Source: Earth Engine's Image.visualize.
    """
    chosen = call("select", image, *bands) if bands else image
    names = chosen.type.bands
    if len(names) not in (1, 3):
        raise BandError(f"visualize: {len(names)} bands are neither one nor three; give bands=('red', 'green', 'blue')")
    lows, highs, gammas = (_per_band(*pair, len(names)) for pair in (("min", min), ("max", max), ("gamma", gamma)))
    if any(low >= high for low, high in zip(lows, highs, strict=True)) or any(power <= 0 for power in gammas):
        raise ExpressionError(f"visualize: min={min!r} must be below max={max!r}, and gamma={gamma!r} above 0")
    shares = []
    for band, low, high, power in zip(names, lows, highs, gammas, strict=True):
        share = ((_seen(call("select", chosen, band)) - low) / (high - low)).clamp(0.0, 1.0)
        shares.append(share if power == 1 else share ** (1 / power))
    if palette:
        return _run_through(shares, palette)
    parts = [_byte(share * 255.0, band) for share, band in zip(shares if len(shares) == 3 else shares * 3, RGB, strict=True)]
    together = call("logical_and", call("logical_and", parts[0].mask(), parts[1].mask()), parts[2].mask())
    picture = call("add_bands", *parts)
    return picture if len(shares) == 1 else call("update_mask", picture, together.rename("seen"))


def _run_through(shares: Sequence[Image], palette: Sequence[str]) -> Image:
    """Return the share of one band as colours of a palette at equal steps."""
    if len(shares) != 1 or len(palette) < 2:
        raise ExpressionError(
            f"visualize: a palette paints one band in two or more colours, not {len(shares)} in {len(palette)}"
        )
    colors = [hex_color(color) for color in palette]
    steps = tuple(place / (len(colors) - 1) for place in range(len(colors)))
    return call(
        "add_bands",
        *(
            _byte(call("interpolate", shares[0], steps, tuple(float(color[place]) for color in colors), "clamp"), band)
            for place, band in enumerate(RGB)
        ),
    )


def _colormap_rule(image: CubeType, *, name: str, min: float, max: float) -> CubeType:  # noqa: A002 - see colormap
    palette_of(name)
    if len(image.bands) != 1:
        raise BandError(f"colormap: {len(image.bands)} bands are not one; .select() it")
    if not min < max:
        raise ExpressionError(f"colormap: min={min:g} must be below max={max:g}")
    return image.with_(bands=RGB, dtype=np.dtype(np.uint8), space=Space.VALUE, encoder=None)


@operator(
    "visualisation",
    Tile.ARRAY,
    _colormap_rule,
    interpreted="looks numbers up in a table of colours",
    example="image.ndvi().max().colormap('RdYlGn', -0.1, 0.95)",
)
def colormap(
    image: Block,
    name: str = "viridis",
    min: float = 0.0,  # noqa: A002 - as visualize has it
    max: float = 1.0,  # noqa: A002 - as visualize has it
) -> Block:
    """One band in the colours of a matplotlib colour map, by name: uint8 bands red, green and blue.

    `min` takes the first colour, `max` the last, what lies beyond theirs; in between the range is cut into as many equal
    classes as the map has colours (256 of viridis, 20 of tab20). NaN is not valid. Raises ExpressionError for an unknown
    map or unless min < max, BandError for several bands.
    """
    table = palette_of(name)
    numbers = image.values[:, 0].astype(np.float64)
    seen = image.full_valid[:, 0] & ~np.isnan(numbers)
    share = np.clip((np.where(seen, numbers, min) - min) / (max - min), 0, 1)
    place = np.minimum((share * len(table)).astype(np.int64), len(table) - 1)
    values = np.where(seen[..., None], table[place], 0).astype(np.uint8)
    return Block(np.moveaxis(values, -1, 1), np.repeat(seen[:, None], 3, axis=1))


@composite(
    "visualisation",
    example="image.decode().median().visualize(('red', 'green', 'blue'), 0.0, 0.4).hillshade_blend(dem)",
)
def hillshade_blend(
    image: Image, dem: Image, blend: str = "soft", azimuth: float = 315.0, altitude: float = 45.0, z_factor: float = 1.0
) -> Image:
    """A picture lit by the relief of an elevation model on the same grid: uint8, the picture's bands.

    `dem` is one band in metres, and its `hillshade` by a light from `azimuth` at `altitude` (degrees), heights exaggerated
    by `z_factor`, is the intensity i, 0 dark to 1. With c, the picture's colour of 0 to 1, `blend` is soft (Pegtop's soft
    light, 2ic + (1 - 2i)c^2: black and white stay), overlay (2ci where c <= 1/2, else 1 - 2(1 - c)(1 - i)) or multiply (ci).
    Valid where the picture and the shading are, so not along the edge of the grid. Raises ExpressionError for another
    blend or a picture that is not uint8, GridError for a grid in degrees. Source: matplotlib's LightSource.
    """
    if blend not in BLENDS:
        raise ExpressionError(f"hillshade_blend: blend={blend!r} is not one of {', '.join(BLENDS)}")
    if image.type.dtype != np.uint8 or len(dem.type.bands) != 1:
        raise ExpressionError(
            f"hillshade_blend: {image.type.describe()} with {len(dem.type.bands)} bands of heights; .visualize() the image, "
            "and .select() one band of the heights"
        )
    light = (call("to_float32", dem.hillshade(azimuth, altitude, z_factor=z_factor)) - 1.0) / 254.0
    color = call("to_float32", image) / 255.0
    if blend == "soft":
        lit = light * 2.0 * color + (1.0 - light * 2.0) * (color * color)
    elif blend == "overlay":
        lit = call("where", color <= 0.5, color * 2.0 * light, 1.0 - (1.0 - color) * 2.0 * (1.0 - light))
    else:
        lit = color * light
    return call("to_uint8", call("round", lit.clamp(0.0, 1.0) * 255.0))
