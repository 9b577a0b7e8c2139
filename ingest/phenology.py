"""How the ground looks through a year: spectra of cover types and the seasons that mix them.

A pixel is a mixture of green canopy, dry matter (litter, straw, leafless wood) and bare ground. The shares follow a
growing season: a double logistic curve between the cover out of season and the cover at its peak, as in
Beck et al. 2006 (doi 10.1016/j.rse.2005.10.021), with autumn-sown cover, straw after the harvest and a second crop.
Spectra are reflectance 0..1 in the order of `esd.dekad.BANDS`; their magnitudes follow what Landsat shows of such
covers. Nothing here reads or writes files.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy.special import expit

__all__ = [
    "BUILT",
    "CHAR",
    "CLEAR_WATER",
    "COVER_TYPES",
    "GROUND_SPECTRA",
    "LANDSCAPE_TYPES",
    "SOILS",
    "TURBID_WATER",
    "CoverType",
    "Seasons",
    "cover_code",
    "draws_needed",
    "mix",
    "season_state",
    "seasons_from_draws",
    "type_table",
    "wet_ground",
]

Floats = npt.NDArray[np.float32]
Range = tuple[float, float]
Spectrum = tuple[float, float, float, float, float, float]

AUTUMN_SOWING = -72.0
"""Day, counted from 1 January of the harvest year, at which half of the autumn-sown cover stands."""
STRAW_COVER = 0.85
"""Share of the ground that straw covers between ripeness and ploughing."""
SECOND_CROP_DELAY = 38.0
"""Days from the end of the first crop to half of the second crop's growth."""

WOOD_LITTER: Spectrum = (0.042, 0.058, 0.074, 0.165, 0.200, 0.135)
DRY_GRASS: Spectrum = (0.062, 0.098, 0.132, 0.255, 0.310, 0.205)
STRAW: Spectrum = (0.080, 0.128, 0.178, 0.300, 0.355, 0.245)

CLEAR_WATER: Spectrum = (0.030, 0.034, 0.021, 0.012, 0.006, 0.004)
TURBID_WATER: Spectrum = (0.058, 0.090, 0.086, 0.046, 0.014, 0.008)
BUILT: Spectrum = (0.088, 0.102, 0.114, 0.166, 0.188, 0.166)
CHAR: Spectrum = (0.034, 0.040, 0.048, 0.072, 0.125, 0.135)
SOILS: tuple[Spectrum, ...] = (
    (0.082, 0.122, 0.162, 0.232, 0.312, 0.262),
    (0.052, 0.074, 0.098, 0.146, 0.208, 0.178),
    (0.058, 0.086, 0.152, 0.224, 0.318, 0.272),
    (0.112, 0.150, 0.190, 0.252, 0.330, 0.296),
)
"""Dry soils: loess, dark humic soil, red tropical soil, sand."""

GROUND_SPECTRA: dict[str, Spectrum] = {"soil": SOILS[0], "water": CLEAR_WATER, "built": BUILT, "rock": SOILS[3]}
MOISTURE_DARKENING: Spectrum = (0.34, 0.37, 0.40, 0.43, 0.50, 0.55)
"""Share of a soil's reflectance that is lost from dry to saturated."""


@dataclass(frozen=True)
class CoverType:
    """One kind of land cover: its spectra and the ranges that its seasons are drawn from.

    Ranges are (lowest, highest). Covers are shares of the ground, 0..1; days count from 1 January of a temperate
    northern year.
    """

    code: int
    name: str
    colour: tuple[int, int, int]
    canopy: Spectrum
    litter: Spectrum
    base: Range
    """Green cover out of season."""
    peak: Range
    """Green cover at the height of the season."""
    start: Range
    """Day at which half of the spring growth is reached."""
    length: Range
    """Days from start to the day at which half of the green has gone."""
    rise: Range
    """Days of the logistic rise (a quarter of the time from 12 % to 88 %)."""
    fall: Range
    """Days of the logistic fall."""
    litter_cover: Range
    """Share of the ground that is not green and lies under dry matter."""
    straw_days: Range = (0.0, 0.0)
    """Days from ripeness to ploughing; 0 where nothing is harvested."""
    second: Range = (0.0, 0.0)
    """Cover of a second crop, as a share of the first."""
    autumn: float = 0.0
    """Share of the season's growth that stands since the autumn before."""
    drought: float = 0.0
    """Share of the green that a full drought takes."""
    ground: str = "soil"


_CONIFER: Spectrum = (0.017, 0.031, 0.020, 0.225, 0.098, 0.042)
_BROADLEAF: Spectrum = (0.020, 0.046, 0.025, 0.430, 0.180, 0.072)
_GRASS: Spectrum = (0.026, 0.064, 0.038, 0.410, 0.215, 0.105)
_CEREAL: Spectrum = (0.024, 0.060, 0.032, 0.490, 0.190, 0.082)
_ROW_CROP: Spectrum = (0.025, 0.062, 0.031, 0.520, 0.215, 0.090)
_MARSH: Spectrum = (0.021, 0.041, 0.030, 0.265, 0.110, 0.050)
_TROPICAL: Spectrum = (0.018, 0.042, 0.024, 0.330, 0.145, 0.058)
_SHRUB: Spectrum = (0.026, 0.050, 0.042, 0.260, 0.170, 0.088)

# fmt: off
COVER_TYPES: tuple[CoverType, ...] = (
    CoverType(1, "water", (38, 92, 170), _MARSH, WOOD_LITTER, (0, 0), (0, 0.01), (120, 130), (120, 130), (14, 18),
              (14, 18), (0, 0), ground="water"),
    CoverType(2, "evergreen forest", (18, 78, 38), _CONIFER, WOOD_LITTER, (0.80, 0.90), (0.88, 0.97), (112, 128),
              (165, 185), (16, 22), (18, 26), (0.75, 0.95), drought=0.03),
    CoverType(3, "deciduous forest", (74, 148, 62), _BROADLEAF, WOOD_LITTER, (0.06, 0.16), (0.86, 0.97), (116, 130),
              (166, 184), (5, 8), (8, 13), (0.85, 0.98), drought=0.05),
    CoverType(4, "grassland", (168, 204, 96), _GRASS, DRY_GRASS, (0.24, 0.44), (0.76, 0.94), (94, 114), (160, 200),
              (9, 15), (16, 28), (0.70, 0.92), drought=0.50),
    CoverType(5, "winter crop", (236, 202, 84), _CEREAL, STRAW, (0.01, 0.05), (0.86, 0.97), (92, 108), (80, 94),
              (7, 11), (5, 8), (0.05, 0.16), (16, 44), autumn=0.36, drought=0.10),
    CoverType(6, "summer crop", (226, 138, 52), _ROW_CROP, STRAW, (0.01, 0.05), (0.84, 0.97), (158, 176), (76, 104),
              (7, 11), (7, 11), (0.05, 0.20), (14, 50), drought=0.22),
    CoverType(7, "double crop", (206, 96, 132), _CEREAL, STRAW, (0.01, 0.05), (0.84, 0.96), (88, 104), (74, 84),
              (7, 10), (4, 7), (0.05, 0.16), (8, 18), (0.74, 0.95), autumn=0.40, drought=0.18),
    CoverType(8, "wetland", (92, 172, 168), _MARSH, DRY_GRASS, (0.12, 0.26), (0.66, 0.88), (116, 136), (140, 168),
              (12, 18), (14, 22), (0.40, 0.62), drought=0.08, ground="water"),
    CoverType(9, "urban", (196, 60, 58), _GRASS, WOOD_LITTER, (0.04, 0.12), (0.10, 0.36), (104, 118), (170, 196),
              (8, 13), (12, 20), (0.05, 0.20), drought=0.15, ground="built"),
    CoverType(10, "bare soil", (178, 152, 122), _GRASS, DRY_GRASS, (0.0, 0.02), (0.02, 0.08), (110, 130), (120, 160),
              (10, 16), (14, 22), (0.0, 0.08), drought=0.40, ground="rock"),
    CoverType(11, "clearing", (142, 110, 152), _GRASS, WOOD_LITTER, (0.05, 0.12), (0.26, 0.46), (118, 134), (130, 160),
              (10, 16), (12, 20), (0.55, 0.75), drought=0.25),
    CoverType(12, "tropical forest", (0, 60, 20), _TROPICAL, WOOD_LITTER, (0.82, 0.94), (0.90, 0.99), (60, 200),
              (120, 220), (18, 30), (18, 30), (0.80, 0.95), drought=0.06),
    CoverType(13, "savanna", (150, 160, 60), _SHRUB, DRY_GRASS, (0.18, 0.45), (0.60, 0.88), (90, 140), (120, 210),
              (9, 18), (18, 34), (0.55, 0.85), drought=0.35),
    CoverType(14, "shrubland", (160, 140, 80), _SHRUB, DRY_GRASS, (0.10, 0.40), (0.24, 0.62), (70, 140), (100, 180),
              (12, 24), (18, 34), (0.15, 0.45), drought=0.30),
    CoverType(15, "paddy rice", (120, 180, 230), _ROW_CROP, STRAW, (0.01, 0.04), (0.84, 0.97), (130, 180), (66, 88),
              (6, 10), (6, 10), (0.04, 0.15), (10, 40), (0.0, 0.9), drought=0.05, ground="water"),
    CoverType(16, "desert", (226, 206, 160), _SHRUB, DRY_GRASS, (0.0, 0.05), (0.01, 0.14), (60, 160), (60, 140),
              (10, 20), (14, 28), (0.0, 0.10), drought=0.60, ground="rock"),
)
# fmt: on
LANDSCAPE_TYPES = COVER_TYPES[:11]
"""The types that the temperate landscape is made of; the others widen the stream of training pixels."""

_DRAWN = ("base", "peak", "start", "length", "rise", "fall", "litter_cover", "straw_days", "second")
_LOWEST, _HIGHEST = (
    np.array([[0.0] * len(_DRAWN)] + [[getattr(t, name)[end] for name in _DRAWN] for t in COVER_TYPES], np.float32)
    for end in (0, 1)
)


@dataclass(frozen=True)
class Seasons:
    """Growing seasons of pixels; each field has the shape of the pixels, float32. Meanings as in CoverType."""

    base: Floats
    peak: Floats
    start: Floats
    length: Floats
    rise: Floats
    fall: Floats
    litter_cover: Floats
    straw_days: Floats
    second: Floats
    autumn: Floats
    drought: Floats

    @property
    def end(self) -> Floats:
        """Day at which half of the green has gone."""
        return self.start + self.length

    def shifted(self, days: float | Floats) -> Seasons:
        """Return the seasons `days` later."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Seasons(**(values | {"start": (self.start + days).astype(np.float32)}))


def cover_code(name: str) -> int:
    """Return the code of the cover type called `name`. Raises KeyError for a name that is not in the table."""
    return {cover.name: cover.code for cover in COVER_TYPES}[name]


def type_table(attribute: str) -> Floats:
    """Return an attribute of every cover type as an array indexed by code; row 0, "no cover", is zero."""
    rows = [np.atleast_1d(getattr(cover, attribute)).astype(np.float32) for cover in COVER_TYPES]
    return np.stack([np.zeros_like(rows[0]), *rows])


def draws_needed() -> int:
    """Return how many uniform draws a pixel's season takes."""
    return len(_DRAWN)


def seasons_from_draws(codes: npt.NDArray[np.uint8], draws: Floats) -> Seasons:
    """Return seasons of pixels with cover `codes` [...], from uniform `draws` in 0..1 [draws_needed(), ...]."""
    drawn = {
        name: (_LOWEST[:, i][codes] + draws[i] * (_HIGHEST - _LOWEST)[:, i][codes]).astype(np.float32)
        for i, name in enumerate(_DRAWN)
    }
    constant = {name: type_table(name)[:, 0][codes] for name in ("autumn", "drought")}
    return Seasons(**drawn, **constant)


def season_state(seasons: Seasons, day: float | Floats, drought: float | Floats = 0.0) -> tuple[Floats, Floats]:
    """Return growth (0..1 of the way from base to peak, one season only) and straw (0..1) on a day.

    `day` counts from 1 January of the season's harvest year and may lie outside of that year; shapes broadcast.
    `drought` (0..1) takes its share of the growth.
    """
    end = seasons.end
    spring = expit((day - seasons.start) / seasons.rise)
    sown = seasons.autumn * expit((day - AUTUMN_SOWING) / 9.0) + (1 - seasons.autumn) * spring
    ripe = expit((day - end) / seasons.fall)
    growth = sown * (1 - ripe)
    if np.any(seasons.second > 0):
        second_start = end + SECOND_CROP_DELAY
        growth = growth + seasons.second * expit((day - second_start) / 8.0) * expit((second_start + 72 - day) / 8.0)
    stubble = ripe * expit((end + seasons.straw_days - day) / 4.0)
    straw = np.where(seasons.straw_days > 0, stubble, 0.0)
    return (growth * (1 - seasons.drought * drought)).astype(np.float32), straw.astype(np.float32)


def mix(seasons: Seasons, growth: Floats, straw: Floats, canopy: Floats, litter: Floats, ground: Floats) -> Floats:
    """Return reflectance [6, ...] of pixels from the state of their season and the spectra [6, ...] of the parts."""
    green = np.clip(seasons.base + (seasons.peak - seasons.base) * growth, 0.0, 1.0)
    dry_share = seasons.litter_cover + (STRAW_COVER - seasons.litter_cover) * straw
    open_ground = 1 - green
    dry = open_ground * dry_share
    return np.asarray(green * canopy + dry * litter + (open_ground - dry) * ground, np.float32)


def wet_ground(ground: Floats, moisture: float | Floats, response: float | Floats = 1.0) -> Floats:
    """Return the ground's spectra [6, ...] darkened by moisture (0 dry .. 1 saturated), more so in the short-wave
    infrared; `response` (0..1) is 0 for covers that wetness does not darken.
    """
    darkening = np.array(MOISTURE_DARKENING, np.float32).reshape(6, *([1] * (ground.ndim - 1)))
    return np.asarray(ground * (1 - darkening * (np.asarray(moisture, np.float32) * response)), np.float32)
