"""Sun, rain and cloud of the virtual landscape.

Days of rain drive soil moisture, drought and cloudiness; clouds are spectral-noise fields with thickness, shadows and
a share that a cloud mask overlooks. Every number comes from a generator keyed by seed, purpose and date.
"""

from __future__ import annotations

import datetime as dt
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.signal import lfilter

__all__ = ["PIXEL_METRES", "Clouds", "Sun", "Weather", "clear_sky", "clouds_of", "fractal", "generator", "sun_at"]

Floats = npt.NDArray[np.float32]

CLOUD_SPECTRUM = np.array([0.62, 0.61, 0.62, 0.66, 0.50, 0.38], np.float32)
"""Reflectance of a thick cloud after (meaningless) atmospheric correction."""
SHADOW_DARKENING = np.array([0.44, 0.50, 0.55, 0.62, 0.68, 0.70], np.float32)
"""Share of the reflectance that is lost in full cloud shadow."""
MASK_OPACITY = 0.22
"""Cloud opacity at which a mask usually finds the cloud."""
SPIN_UP_DAYS = 400
PIXEL_METRES = 30.0


def generator(seed: int, *keys: int | str) -> np.random.Generator:
    """Return the random generator of a purpose: same seed and keys, same numbers, whatever ran before."""
    words = [key if isinstance(key, int) else zlib.crc32(key.encode()) for key in keys]
    return np.random.default_rng([seed, *words])


def fractal(rng: np.random.Generator, shape: tuple[int, int], exponent: float, outer: float, stretch: float = 1.0) -> Floats:
    """Return periodic noise [y, x] of mean 0 and standard deviation 1 whose amplitude falls as frequency^-exponent.

    `outer` is the largest feature in pixels; `stretch` above 1 draws features out along x.
    """
    white = rng.standard_normal(shape, dtype=np.float32)
    spectrum = scipy.fft.rfft2(white, workers=1)
    fy = scipy.fft.fftfreq(shape[0]).astype(np.float32)[:, None]
    fx = scipy.fft.rfftfreq(shape[1]).astype(np.float32)[None, :] * np.float32(stretch)
    amplitude = (fy**2 + fx**2 + np.float32(1 / outer**2)) ** np.float32(-exponent / 2)
    amplitude[0, 0] = 0
    noise = scipy.fft.irfft2(spectrum * amplitude, s=shape, workers=1)
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)


@dataclass(frozen=True)
class Sun:
    """Where the sun stands: degrees above the horizon, and degrees from north, clockwise."""

    elevation: float
    azimuth: float


def sun_at(date: dt.date, latitude: float, hour: float = 10.2) -> Sun:
    """Return the sun's position at a local solar hour, from Cooper's declination (Solar Energy 12, 1969).

    Elevation is at least 3 degrees, so that scenes of polar winters stay defined.
    """
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + date.timetuple().tm_yday) / 365)
    phi, angle = np.radians(latitude), np.radians(15 * (hour - 12))
    sine = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(angle)
    elevation = np.arcsin(np.clip(sine, -1, 1))
    cosine = (np.sin(declination) - np.sin(phi) * sine) / (np.cos(phi) * max(np.cos(elevation), 1e-6))
    azimuth = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return Sun(max(float(np.degrees(elevation)), 3.0), float(azimuth if hour <= 12 else 360 - azimuth))


class Weather:
    """Daily weather of years `first` to `last` and the year before: moisture, drought, season shifts, cloudiness."""

    def __init__(self, seed: int, first: int, last: int, cloudiness: float) -> None:
        self.seed = seed
        self.cloudiness = cloudiness
        self.origin = dt.date(first - 1, 1, 1) - dt.timedelta(days=SPIN_UP_DAYS)
        days = (dt.date(last + 2, 1, 1) - self.origin).days
        self._rain = self._daily_rain(days)
        self._moisture = np.clip(lfilter([0.24], [1, -0.89], self._rain), 0, 1)
        slow = lfilter([1 / 40], [1, -(1 - 1 / 40)], self._rain)
        self._drought = np.clip((0.34 - slow) / 0.26, 0, 1)

    def _daily_rain(self, days: int) -> npt.NDArray[np.float64]:
        rng = generator(self.seed, "rain")
        day_of_year = (np.arange(days) + self.origin.timetuple().tm_yday) % 365.25
        season = 0.40 + 0.10 * np.cos(2 * np.pi * (day_of_year - 20) / 365.25)
        years = rng.normal(0, 0.07, days // 365 + 2)
        spells = lfilter([1], [1, -0.9], rng.normal(0, 0.075, days))
        chance = season + np.interp(np.arange(days), np.arange(years.size) * 365.25, years) + spells
        return np.where(rng.random(days) < chance, rng.gamma(1.2, 0.75, days), 0.0)

    def _index(self, date: dt.date) -> int:
        return (date - self.origin).days

    def moisture(self, date: dt.date) -> float:
        """Wetness of the topsoil, 0 dry .. 1 saturated."""
        return float(self._moisture[self._index(date)])

    def drought(self, date: dt.date) -> float:
        """Lack of rain over about two months, 0 none .. 1 severe."""
        return float(self._drought[self._index(date)])

    def season_shift(self, year: int) -> float:
        """Days by which the year's seasons come late (negative: early)."""
        return float(np.clip(generator(self.seed, "season", year).normal(0, 6), -14, 14))

    def vigour(self, year: int) -> float:
        """Factor on the year's peak cover, about 1."""
        return float(np.clip(generator(self.seed, "vigour", year).normal(1, 0.03), 0.9, 1.06))

    def turbidity(self, date: dt.date) -> float:
        """Load of silt in running water, 0 clear .. 1 after heavy rain or snow melt."""
        melt = 0.45 * np.exp(-(((date.timetuple().tm_yday - 110) / 30.0) ** 2))
        return float(np.clip(0.1 + melt + 0.6 * self.moisture(date), 0, 1))

    def cloud_cover(self, date: dt.date, rng: np.random.Generator) -> float:
        """Draw a date's share of cloud, 0..1: U-shaped, cloudier in winter and on days of rain."""
        winter = np.cos(2 * np.pi * (date.timetuple().tm_yday - 10) / 365.25)
        rain = min(self._rain[self._index(date)], 1.0)
        mean = float(np.clip(self.cloudiness + 0.13 * winter + 0.30 * (rain - 0.3), 0.04, 0.94))
        if self.cloudiness <= 0:
            return 0.0
        return float(rng.beta(0.75 * mean, 0.75 * (1 - mean)))


@dataclass(frozen=True)
class Clouds:
    """Clouds over a grid; each array is [y, x].

    `opacity` and `shadow` are shares 0..1 of light; `brightness` is the factor on a cloud's reflectance, more where
    it is deep and on its sunny side; `detected` is true where the mask sees cloud, `shadow_detected`
    where it sees shadow; `cirrus` tells that the cloud is high and thin.
    """

    opacity: Floats
    shadow: Floats
    brightness: Floats
    detected: npt.NDArray[np.bool_]
    shadow_detected: npt.NDArray[np.bool_]
    cirrus: bool

    def over(self, surface: Floats) -> Floats:
        """Return what is seen of a surface [6, y, x] through the clouds, shadows included."""
        if not (self.opacity.any() or self.shadow.any()):
            return surface
        darkened = surface * (1 - SHADOW_DARKENING[:, None, None] * self.shadow)
        cloud = CLOUD_SPECTRUM[:, None, None] * self.brightness
        return (darkened * (1 - self.opacity) + cloud * self.opacity).astype(np.float32)


def clear_sky(shape: tuple[int, int]) -> Clouds:
    """Return a sky without clouds."""
    nothing = np.zeros(shape, np.float32)
    never = np.zeros(shape, bool)
    return Clouds(nothing, nothing, nothing, never, never, False)


def _thickness(rng: np.random.Generator, side: int, cover: float, kind: int) -> Floats:
    """Optical depth of clouds [side, side]: 0 cumulus, 1 stratus, 2 cirrus."""
    outer, exponent, stretch, depth = ((24, 2.7, 1.0, 6.0), (200, 1.8, 1.3, 4.0), (260, 1.8, 3.5, 0.56))[kind]
    field = fractal(rng, (side, side), exponent, outer, stretch)
    if kind == 0:
        field = field + 0.8 * fractal(rng, (side, side), 2.2, 150) + 0.06 * fractal(rng, (side, side), 0.9, 8)
    edge = np.quantile(field[::2, ::2], min(max(1 - cover, 0.0), 1.0))
    return np.asarray(depth * np.maximum(field - edge, 0), np.float32)


def _shadow_shift(rng: np.random.Generator, sun: Sun, kind: int, limit: int) -> tuple[int, int]:
    height = rng.uniform(*((700, 1800), (600, 2000), (6000, 9000))[kind])
    length = min(height / np.tan(np.radians(max(sun.elevation, 12.0))) / PIXEL_METRES, limit)
    direction = np.radians(sun.azimuth + 180)
    return round(-length * np.cos(direction)), round(length * np.sin(direction))


def clouds_of(rng: np.random.Generator, shape: tuple[int, int], cover: float, sun: Sun) -> Clouds:
    """Draw the clouds of one acquisition with a share `cover` (0..1) of cloud, over a grid [y, x] of 30 m pixels.

    Shadows fall away from the sun by the cloud's height. The mask misses thin cloud, more of it on some dates, and
    part of the shadow; on about one date in six a thin haze lies over everything and is not seen at all.
    """
    kind = int(rng.choice(3, p=(0.5, 0.38, 0.12)))
    haze, sharpness = float(rng.random()), float(rng.uniform(0.7, 1.5) if rng.random() < 0.88 else 1.9)
    side = max(256, 2 * int(2 ** np.ceil(np.log2(max(shape)))))
    if cover < 0.005:
        return clear_sky(shape)
    depth = _thickness(rng, side, cover, kind)
    opacity = 1 - np.exp(-depth)
    relief = np.roll(depth, (1, -1), axis=(0, 1)) - np.roll(depth, (-1, 1), axis=(0, 1))
    brightness = 0.66 + 0.46 * (1 - np.exp(-depth / 3)) - 0.05 * np.clip(relief, -2, 2)
    dy, dx = _shadow_shift(rng, sun, kind, side // 3)
    shadow = np.roll(opacity, (dy, dx), axis=(0, 1))[: shape[0], : shape[1]]
    if haze < 0.16:
        veil = fractal(rng, (side, side), 2.2, 300)
        opacity = np.maximum(opacity, np.clip(0.045 + 0.025 * veil, 0, 0.11))
    opacity, brightness = (part[: shape[0], : shape[1]].astype(np.float32) for part in (opacity, brightness))
    shadow = (shadow * (0.55 if kind == 2 else 1.0) * (1 - opacity)).astype(np.float32)
    return Clouds(opacity, shadow, brightness, opacity > MASK_OPACITY * sharpness, shadow > 0.30 * sharpness, kind == 2)
