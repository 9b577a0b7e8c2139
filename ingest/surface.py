"""Clean reflectance of the virtual landscape on any day: what a sensor would see without air, cloud and noise."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.ndimage import convolve1d

from .land_events import BURN_MEMORY_DAYS, Event, cover_at, soft_edge, stages
from .landscape import Landscape
from .phenology import (
    BUILT,
    CHAR,
    CLEAR_WATER,
    COVER_TYPES,
    GROUND_SPECTRA,
    SOILS,
    TURBID_WATER,
    Seasons,
    cover_code,
    draws_needed,
    mix,
    season_state,
    seasons_from_draws,
    type_table,
    wet_ground,
)
from .weather import Sun, Weather, fractal, generator, sun_at

__all__ = ["Surface"]

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]

BLUR = np.array([0.11, 0.78, 0.11], np.float32)
"""Weights of a pixel and its neighbours along each axis: the sensor's point spread."""
ILLUMINATION = 0.50
"""Share of the sun's cosine that shows in surface reflectance; the rest is lit by the sky."""
DAYS_PER_METRE = 0.018
"""Delay of spring with height."""
_WETNESS_RESPONSE = {"soil": 1.0, "rock": 0.6, "built": 0.25, "water": 0.0}


def _column(spectrum: tuple[float, ...]) -> Floats:
    return np.array(spectrum, np.float32)[:, None, None]


def _blocks(rng: np.random.Generator, size: int, side: int) -> Floats:
    """Normal noise that is constant over squares of `side` pixels [y, x]."""
    coarse = rng.standard_normal((size // side + 1, size // side + 1), dtype=np.float32)
    return np.asarray(np.kron(coarse, np.ones((side, side), np.float32))[:size, :size])


@dataclass(frozen=True)
class _Look:
    """Spectra of a state of the cover, each [6, y, x], and the ground's response to rain [y, x]."""

    cover: Codes
    canopy: Floats
    litter: Floats
    ground: Floats
    wetness_response: Floats


class Surface:
    """The landscape's clean reflectance, day by day."""

    def __init__(self, land: Landscape, events: tuple[Event, ...], weather: Weather, seed: int, latitude: float) -> None:
        self.land, self.events, self.weather, self.latitude = land, events, weather, latitude
        self._seed = seed
        self._size = len(land.cover)
        rng = generator(seed, "surface")
        self._texture = [self._noise(rng, exponent, outer) for exponent, outer in ((1.2, 30), (1.6, 50), (1.9, 110))]
        self._grain = rng.standard_normal((3, self._size, self._size), dtype=np.float32)
        self._roofs = 0.22 * _blocks(rng, self._size, 2) + 0.20 * _blocks(rng, self._size, 5) + 0.12 * self._grain[0]
        self._tint = _blocks(rng, self._size, 2)
        self._stand = rng.standard_normal((2, int(land.parcels.max()) + 1), dtype=np.float32)[:, land.parcels]
        self._water_share = (land.cover == cover_code("water")).astype(np.float32)
        self._normals = np.gradient(land.elevation, 30.0)
        self._scars = [(event, soft_edge(event.mask)) for event in events if event.kind in ("burn", "flood")]
        self._draws = lru_cache(maxsize=3)(self._uniform_draws)
        self._seasons = lru_cache(maxsize=4)(self._seasons_of)
        self._look = lru_cache(maxsize=1)(self._look_of)

    def _noise(self, rng: np.random.Generator, exponent: float, outer: float) -> Floats:
        return fractal(rng, (2 * self._size, 2 * self._size), exponent, outer)[: self._size, : self._size]

    def cover_on(self, date: dt.date) -> Codes:
        """Return the cover type's code of each pixel on a day [y, x]."""
        return cover_at(self.land, self.events, date.year, stages(self.events, date))

    def _uniform_draws(self, year: int) -> Floats:
        """Uniform draws of each pixel's season: fields anew each year, woods and meadows the same in all years."""
        parcels = self.land.parcels
        count = int(parcels.max()) + 1
        lasting = generator(self._seed, "stands").random((draws_needed(), count), dtype=np.float32)
        yearly = generator(self._seed, "fields", year).random((draws_needed(), count), dtype=np.float32)
        rough = np.stack([self._texture[i % 3] for i in range(draws_needed())]) * np.float32(0.24)
        natural = 0.5 + 0.55 * (lasting[:, parcels] - 0.5) + rough + 0.05 * self._grain[0]
        fields = 0.5 + 0.80 * (yearly[:, parcels] - 0.5) + 0.28 * rough + 0.03 * self._grain[0]
        return np.asarray(np.clip(np.where(self.land.arable, fields, natural), 0, 1), np.float32)

    def _seasons_of(self, year: int, reached: tuple[int, ...]) -> Seasons:
        seasons = seasons_from_draws(cover_at(self.land, self.events, year, reached), self._draws(year))
        height = self.land.elevation - self.land.elevation.min()
        return seasons.shifted(self.weather.season_shift(year) + np.float32(DAYS_PER_METRE) * height)

    def _look_of(self, year: int, reached: tuple[int, ...]) -> _Look:
        cover = cover_at(self.land, self.events, year, reached)
        wooded = np.isin(cover, [cover_code("evergreen forest"), cover_code("deciduous forest")])
        grain = np.where(wooded, np.float32(0.045), np.float32(0.015)) * self._grain
        visible = 0.05 * self._texture[0] + 0.05 * self._stand[0] + grain[0]
        infrared = 0.045 * self._texture[1] + 0.05 * self._stand[1] + grain[1]
        tone = np.exp(np.stack([visible, visible, 1.2 * visible, infrared, 0.5 * (visible + infrared), visible]))
        canopy = np.moveaxis(type_table("canopy")[cover], -1, 0) * tone
        litter = np.moveaxis(type_table("litter")[cover], -1, 0) * np.exp(0.5 * visible + 0.5 * grain[2])
        response = np.array([0.0, *(_WETNESS_RESPONSE[cover_type.ground] for cover_type in COVER_TYPES)], np.float32)
        return _Look(cover, canopy, litter, self._ground(cover), response[cover])

    def _ground(self, cover: Codes) -> Floats:
        """Dry ground under the plants [6, y, x]: soils that differ from field to field, roofs, gravel."""
        kind = np.array(["", *(cover_type.ground for cover_type in COVER_TYPES)])[cover]
        dark = 1 / (1 + np.exp(-1.3 * self._texture[2]))
        soil = _column(SOILS[0]) * (1 - dark) + _column(SOILS[1]) * dark
        soil = soil * np.exp(0.07 * self._stand[0] + 0.04 * self._texture[0] + 0.02 * self._grain[2])
        tiles = np.array([-0.03, 0.02, 0.11, 0.05, 0.03, 0.03], np.float32)[:, None, None] * self._tint
        built = _column(BUILT) * np.exp(self._roofs + tiles)
        rock = _column(GROUND_SPECTRA["rock"]) * np.exp(0.10 * self._texture[0] + 0.04 * self._grain[2])
        marsh = 0.5 * (_column(CLEAR_WATER) + _column(SOILS[1]))
        ground = np.where(kind == "built", built, np.where(kind == "rock", rock, soil))
        return np.where(kind == "water", marsh, ground).astype(np.float32)

    def _growth(self, date: dt.date, reached: tuple[int, ...]) -> tuple[Floats, Floats]:
        """Growth and straw on a day, with the crops sown for the year to come and what is left of the last."""
        day, drought = float(date.timetuple().tm_yday), self.weather.drought(date)
        growth, straw = season_state(self._seasons(date.year, reached), day, drought)
        if day > 240:
            growth = growth + season_state(self._seasons(date.year + 1, reached), day - 365, 0.0)[0]
        if day < 80:
            growth = growth + season_state(self._seasons(date.year - 1, reached), day + 365, 0.0)[0]
        return growth * np.float32(self.weather.vigour(date.year)), straw

    def _illumination(self, sun: Sun) -> Floats:
        """Factor on reflectance by slope and aspect [y, x]; 1 on flat land and water."""
        down, right = self._normals
        zenith, azimuth = np.radians(90 - sun.elevation), np.radians(sun.azimuth)
        towards = down * np.cos(azimuth) - right * np.sin(azimuth)
        cosine = (np.cos(zenith) + np.sin(zenith) * towards) / np.sqrt(1 + down**2 + right**2)
        relative = np.maximum(cosine, 0) / max(np.cos(zenith), 0.3)
        flat = np.cos(zenith) / max(np.cos(zenith), 0.3)
        factor = 1 + ILLUMINATION * (relative - flat)
        return np.where(self._water_share > 0, 1, np.clip(factor, 0.45, 1.4)).astype(np.float32)

    def reflectance(self, date: dt.date) -> Floats:
        """Return clean surface reflectance [6, y, x] in the order of `esd.dekad.BANDS`, about 0..0.7, on a day."""
        reached = stages(self.events, date)
        look = self._look(date.year, reached)
        growth, straw = self._growth(date, reached)
        ground = wet_ground(look.ground, self.weather.moisture(date), look.wetness_response)
        silt = self.land.moving_water * self.weather.turbidity(date)
        water = _column(CLEAR_WATER) + (_column(TURBID_WATER) - _column(CLEAR_WATER)) * silt
        ground = np.where(look.cover == cover_code("water"), water, ground)
        seen = mix(self._seasons(date.year, reached), growth, straw, look.canopy, look.litter, ground)
        seen = seen + self.land.roads * (0.85 * _column(BUILT) - seen)
        seen = self._scarred(seen, date) * self._illumination(sun_at(date, self.latitude))
        for axis in (1, 2):
            seen = np.asarray(convolve1d(seen, BLUR, axis=axis, mode="nearest"), np.float32)
        return np.clip(seen, 0.0005, 1).astype(np.float32)

    def _scarred(self, seen: Floats, date: dt.date) -> Floats:
        for event, share in self._scars:
            age = (date - event.date).days
            if age < 0 or (event.kind == "flood" and event.end is not None and date >= event.end):
                continue
            if event.kind == "burn":
                strength, scar = 0.88 * float(np.exp(-age / BURN_MEMORY_DAYS)), _column(CHAR)
            else:
                strength, scar = 0.92, 0.6 * _column(TURBID_WATER) + 0.4 * _column(CLEAR_WATER)
            seen = seen + np.float32(strength) * share * (scar - seen)
        return seen
