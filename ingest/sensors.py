"""Landsat instruments: when they pass, what they leave out, how noisy they are, and what their quality bits say.

Orbits follow WRS-2: a path every 16 days, Landsat 7 and 9 eight days off Landsat 5 and 8. The scan line corrector of
Landsat 7 failed on 2003-05-31; scenes after it have gaps that widen from none at the swath's centre to 14 lines of 32 at
its edges. Quality values are those of genuine Collection 2 products of each sensor family.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation

from .weather import PIXEL_METRES, Clouds, fractal

__all__ = [
    "PLATFORMS",
    "Platform",
    "measured",
    "passes",
    "quality_bits",
    "saturated_bands",
    "scan_gaps",
    "wrs_path",
]

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.uint16]

CYCLE_DAYS = 16
_ANCHOR_PATH, _ANCHOR_DAY = 204, dt.date(2020, 9, 27)
"""A pass of Landsat 8 over WRS-2 path 204."""
SLC_FAILURE, SLC_IMAGING_AGAIN = dt.date(2003, 5, 31), dt.date(2003, 7, 14)
SCAN_LINES = 32
"""Lines of a forward and a reverse scan together."""
WIDEST_GAP = 14
HALF_SWATH_METRES, INTACT_METRES = 92_500.0, 11_000.0
TRACK_TILT = np.radians(13.0)
"""Angle of the ground track from north at middle latitudes."""

FILL, DILATED, CIRRUS, CLOUD, SHADOW, CLEAR, WATER = (1 << bit for bit in (0, 1, 2, 3, 4, 6, 7))
_LOW_CONFIDENCE = {"TM": 0b0001_0101 << 8, "OLI": 0b0101_0101 << 8}
"""Low confidence of cloud, shadow and snow (and of cirrus, which TM and ETM+ cannot see)."""


@dataclass(frozen=True)
class Platform:
    """A Landsat satellite. Band lists are in the order of `esd.dekad.BANDS`."""

    code: str
    """First four letters of its product names."""
    spacecraft: str
    sensor: str
    family: str
    """ "TM" (8-bit TM and ETM+) or "OLI"."""
    bands: tuple[int, ...]
    first: dt.date
    last: dt.date
    phase: int
    """Days after Landsat 8's pass in the 16-day cycle."""
    gains: tuple[float, ...]
    """Response of each band relative to ETM+, for its different spectral response."""
    noise: tuple[float, ...]
    """Standard deviation of a pixel's reflectance."""


_TM_BANDS, _OLI_BANDS = (1, 2, 3, 4, 5, 7), (2, 3, 4, 5, 6, 7)
_TM_NOISE = (0.0034, 0.0032, 0.0030, 0.0040, 0.0038, 0.0036)
_ETM_NOISE = (0.0030, 0.0028, 0.0026, 0.0036, 0.0034, 0.0032)
_OLI_NOISE = (0.0013, 0.0012, 0.0012, 0.0016, 0.0014, 0.0014)
_OLI_GAINS = (0.965, 0.985, 0.975, 1.025, 1.005, 0.985)

PLATFORMS: tuple[Platform, ...] = (
    Platform(
        "LT05",
        "LANDSAT_5",
        "TM",
        "TM",
        _TM_BANDS,
        dt.date(1984, 3, 16),
        dt.date(2011, 11, 17),
        0,
        (1.010, 1.000, 0.995, 0.990, 1.005, 1.005),
        _TM_NOISE,
    ),
    Platform(
        "LE07", "LANDSAT_7", "ETM", "TM", _TM_BANDS, dt.date(1999, 6, 29), dt.date(2022, 4, 5), 8, (1.0,) * 6, _ETM_NOISE
    ),
    Platform(
        "LC08",
        "LANDSAT_8",
        "OLI_TIRS",
        "OLI",
        _OLI_BANDS,
        dt.date(2013, 4, 11),
        dt.date(2100, 1, 1),
        0,
        _OLI_GAINS,
        _OLI_NOISE,
    ),
    Platform(
        "LC09",
        "LANDSAT_9",
        "OLI_TIRS",
        "OLI",
        _OLI_BANDS,
        dt.date(2021, 11, 1),
        dt.date(2100, 1, 1),
        8,
        _OLI_GAINS,
        _OLI_NOISE,
    ),
)


def wrs_path(longitude: float) -> int:
    """Return the WRS-2 path, 1..233, whose scenes are centred near a longitude at 48 degrees north."""
    return int(190 - round((longitude - 14.6) * 233 / 360) - 1) % 233 + 1


def passes(platform: Platform, path: int, years: tuple[int, int]) -> list[dt.date]:
    """Return the days on which a platform images a WRS-2 path in the years (first, last), both included."""
    west = (path + (233 if path < 100 else 0)) - _ANCHOR_PATH
    anchor = _ANCHOR_DAY + dt.timedelta(days=7 * west + platform.phase)
    start = max(dt.date(years[0], 1, 1), platform.first)
    end = min(dt.date(years[1], 12, 31), platform.last)
    day = start + dt.timedelta(days=(anchor - start).days % CYCLE_DAYS)
    days = [day + dt.timedelta(days=CYCLE_DAYS * i) for i in range(max(0, (end - day).days // CYCLE_DAYS + 1))]
    return [day for day in days if platform.code != "LE07" or not SLC_FAILURE <= day < SLC_IMAGING_AGAIN]


def scan_gaps(shape: tuple[int, int], centre_metres: float, offset: float) -> Mask:
    """Return where Landsat 7 without its scan line corrector saw nothing [y, x].

    `centre_metres` is how far east of the swath's centre line the grid's first pixel lies; `offset` (lines) is where
    the scans begin. The gap is a wedge: WIDEST_GAP of SCAN_LINES lines at the swath's edge, none near its centre.
    """
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float64)
    across = centre_metres + (columns * np.cos(TRACK_TILT) + rows * np.sin(TRACK_TILT)) * PIXEL_METRES
    along = rows * np.cos(TRACK_TILT) - columns * np.sin(TRACK_TILT) + offset
    width = WIDEST_GAP * (np.abs(across) - INTACT_METRES) / (HALF_SWATH_METRES - INTACT_METRES)
    return np.asarray(along % SCAN_LINES < np.clip(width, 0, WIDEST_GAP))


def measured(rng: np.random.Generator, platform: Platform, seen: Floats) -> Floats:
    """Return what a platform reports of reflectance [6, y, x]: gains, an aerosol left uncorrected, and noise."""
    shape = seen.shape[1:]
    haze = np.array([1.0, 0.75, 0.6, 0.25, 0.1, 0.05], np.float32) * np.float32(rng.normal(0, 0.0035))
    drift = 1 + rng.normal(0, 0.010, 6).astype(np.float32)
    smooth = 0.0015 * fractal(rng, (max(64, shape[0]), max(64, shape[1])), 2.0, 200)[: shape[0], : shape[1]]
    offset = haze[:, None, None] + np.array([1, 0.8, 0.6, 0.3, 0.1, 0.1], np.float32)[:, None, None] * smooth
    gain = (np.array(platform.gains, np.float32) * drift)[:, None, None]
    noise = rng.standard_normal(seen.shape, dtype=np.float32) * np.array(platform.noise, np.float32)[:, None, None]
    return np.asarray(seen * gain + offset + noise * np.sqrt(0.5 + 2 * seen), np.float32)


def saturated_bands(platform: Platform, reflectance: Floats) -> Bits:
    """Return QA_RADSAT [y, x]: bit n-1 is set where band n is brighter than the instrument can tell."""
    limits = (0.66, 0.72, 0.72, 0.95, 0.95, 0.95) if platform.family == "TM" else (1.2,) * 6
    bits = np.zeros(reflectance.shape[1:], np.uint16)
    for band, limit, values in zip(platform.bands, limits, reflectance, strict=True):
        bits |= np.where(values > limit, np.uint16(1 << (band - 1)), np.uint16(0))
    return bits


def _dilated(mask: Mask, pixels: int) -> Mask:
    return np.asarray(binary_dilation(mask, iterations=pixels)) if mask.any() else mask


def quality_bits(platform: Platform, clouds: Clouds, water: Mask, fill: Mask) -> Bits:
    """Return QA_PIXEL [y, x] as the platform's Collection 2 products code it.

    Cloud outranks its dilated rim, that the shadow, and that water and clear. TM and ETM+ keep the "clear" bit in a
    dilated rim and drop it over water and shadow; OLI the other way round.
    """
    oli = platform.family == "OLI"
    cloud = clouds.detected
    shadow = clouds.shadow_detected & ~cloud
    rim = _dilated(cloud, 3) & ~cloud
    bits = np.full(cloud.shape, _LOW_CONFIDENCE[platform.family], np.uint16)
    clear = ~cloud & ~rim if oli else ~cloud & ~shadow & ~(water & ~rim)
    bits |= np.where(clear, np.uint16(CLEAR), np.uint16(0))
    bits |= np.where(water & ~cloud & ~rim & ~shadow, np.uint16(WATER), np.uint16(0))
    bits |= np.where(rim, np.uint16(DILATED), np.uint16(0))
    bits |= np.where(shadow, np.uint16(SHADOW | 0b11 << 10), np.uint16(0))
    bits |= np.where(cloud, np.uint16(CLOUD | 0b11 << 8), np.uint16(0))
    if oli and clouds.cirrus:
        high = clouds.opacity > 0.06
        bits |= np.where(high, np.uint16(CIRRUS | 0b11 << 14), np.uint16(0))
    bits[fill] = FILL
    return bits
