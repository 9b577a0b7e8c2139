"""`simulate_pixels`: independent pixel-years for training, far more varied than one landscape.

Sites are drawn over the world's climates: either hemisphere, any phase and length of season, one or two harvests, wet
and dry years, soils from black to red to sand. Each site has a year, its satellites and its weather; pixels of a site share
the cloudy dates and differ in cover, spectra, scan gaps and noise. Split by `groups`: pixels of one site are alike.
"""

from __future__ import annotations

from dataclasses import fields
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from esd.dekad import BANDS, DEKADS
from esd.errors import WindowError

from .phenology import (
    BUILT,
    CLEAR_WATER,
    COVER_TYPES,
    SOILS,
    TURBID_WATER,
    Seasons,
    draws_needed,
    mix,
    season_state,
    seasons_from_draws,
    type_table,
    wet_ground,
)
from .sensors import PLATFORMS, SLC_FAILURE
from .weather import CLOUD_SPECTRUM, SHADOW_DARKENING, generator

__all__ = ["PixelYears", "simulate_pixels"]

Floats = npt.NDArray[np.float32]

PIXELS_PER_SITE = 40
CHUNK_SITES = 250
"""Sites simulated at once; bounds the memory."""
DAYS_PER_DEKAD = 365.0 / DEKADS
MISSED_CLOUD_SHARE, MISSED_SHADOW_SHARE = 0.012, 0.012
"""Share of the observations called clear that a thin cloud brightens or a shadow darkens."""
BANDS_LOST_SHARE = 0.02
"""Share of the observations that lack some bands (saturation, dead detectors)."""


class PixelYears(NamedTuple):
    """A batch of n simulated pixel-years; bands in the order of `esd.dekad.BANDS`."""

    values: Floats
    """Mean of the clear observations of each dekad [36, 6, n], reflectance; 0 where there are none."""
    weights: npt.NDArray[np.uint8]
    """Number of clear observations behind each value [36, 6, n]."""
    labels: npt.NDArray[np.uint8]
    """Code of the cover type [n], see `phenology.COVER_TYPES`."""
    groups: npt.NDArray[np.int64]
    """Number of the site [n]."""
    truth: Floats
    """Clean reflectance in the middle of each dekad [36, 6, n]."""


def simulate_pixels(n: int, seed: int, years: tuple[int, int] = (1990, 2023)) -> PixelYears:
    """Simulate `n` pixel-years of the years (first, last) as Landsat would observe them; same arguments, same arrays.

    The years decide which satellites fly and whether Landsat 7 has gaps. Raises WindowError if none flies.
    """
    if not 1984 <= years[0] <= years[1] <= 2099:
        raise WindowError(f"years {years[0]} to {years[1]} cannot be simulated; give a first and a last year from 1984")
    parts, site = [], 0
    while site * PIXELS_PER_SITE < n:
        sites = min(CHUNK_SITES, -(-n // PIXELS_PER_SITE) - site)
        parts.append(_simulate_sites(generator(seed, "pixels", site), sites, site, years))
        site += sites
    return PixelYears(*(np.concatenate(arrays, axis=-1)[..., :n] for arrays in zip(*parts, strict=True)))


def _simulate_sites(rng: np.random.Generator, sites: int, first_site: int, years: tuple[int, int]) -> PixelYears:
    site_of = np.repeat(np.arange(sites), PIXELS_PER_SITE)
    labels = _labels(rng, sites)
    climate = _wetness(rng, sites)
    truth = _clean(rng, labels, site_of, climate)
    weights, sensor_noise = _observed(rng, sites, site_of, climate, years)
    values = _measured(rng, truth, weights, sensor_noise, site_of)
    return PixelYears(values, weights, labels, site_of + first_site, truth)


def _labels(rng: np.random.Generator, sites: int) -> npt.NDArray[np.uint8]:
    """Cover of each pixel: a site has a few types, each in its own share."""
    weights = rng.gamma(0.5, 1.0, (sites, len(COVER_TYPES)))
    cumulative = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    draws = rng.random((sites, PIXELS_PER_SITE))
    chosen = (draws[:, :, None] > cumulative[:, None, :]).sum(axis=2).clip(0, len(COVER_TYPES) - 1)
    return np.asarray(chosen + 1, np.uint8).ravel()


def _wetness(rng: np.random.Generator, sites: int) -> Floats:
    """Wetness of each dekad and site [36, sites], 0..1: a wet season or two, and spells of weather."""
    phase = 2 * np.pi * (np.arange(DEKADS)[:, None] / DEKADS - rng.random(sites))
    level, swing = rng.uniform(0.05, 0.75, sites), rng.uniform(0, 0.45, sites)
    double = rng.random(sites) < 0.15
    season = level + swing * np.where(double, np.cos(2 * phase), np.cos(phase))
    spells = _autoregressive(rng, (DEKADS, sites), 0.45) * rng.uniform(0.05, 0.25, sites)
    return np.clip(season + spells, 0, 1).astype(np.float32)


def _autoregressive(rng: np.random.Generator, shape: tuple[int, int], memory: float) -> Floats:
    """Normal noise of standard deviation 1 [time, n] that remembers the step before."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    for step in range(1, shape[0]):
        noise[step] = memory * noise[step - 1] + np.sqrt(1 - memory**2) * noise[step]
    return noise


def _seasons(
    rng: np.random.Generator, labels: npt.NDArray[np.uint8], site_of: npt.NDArray[np.int64], wetness: Floats
) -> Seasons:
    """Seasons of pixels, widened over the climates.

    A season begins in the spring of either hemisphere, before the site's wettest time, or at any time; it is
    stretched or squeezed, and stronger or weaker than in the table.
    """
    sites: int = wetness.shape[1]
    rough = 0.5 + 0.6 * (rng.random((draws_needed(), sites), dtype=np.float32)[:, site_of] - 0.5)
    draws = np.clip(rough + rng.normal(0, 0.22, rough.shape), 0, 1).astype(np.float32)
    seasons = seasons_from_draws(labels, draws)
    wettest = wetness.argmax(axis=0) * DAYS_PER_DEKAD - 120
    kind = rng.random(sites)
    spring = np.where(kind < 0.45, rng.normal(0, 14, sites), rng.normal(182, 14, sites))
    phase = np.where(kind < 0.7, spring, np.where(kind < 0.9, wettest, rng.uniform(0, 365, sites)))
    stretch = rng.lognormal(0, 0.16, sites)[site_of]
    vigour = np.clip(rng.normal(1, 0.10, sites)[site_of] * rng.normal(1, 0.05, site_of.size), 0.4, 1.1)
    changed = {field.name: getattr(seasons, field.name) for field in fields(Seasons)}
    changed["length"] = seasons.length * stretch
    changed["rise"], changed["fall"] = seasons.rise * stretch, seasons.fall * stretch
    changed["peak"] = np.minimum(seasons.peak * vigour, 1)
    changed["start"] = seasons.start + phase[site_of] + rng.normal(0, 5, site_of.size)
    return Seasons(**{name: values.astype(np.float32) for name, values in changed.items()})


def _clean(
    rng: np.random.Generator, labels: npt.NDArray[np.uint8], site_of: npt.NDArray[np.int64], wetness: Floats
) -> Floats:
    """Clean reflectance [36, 6, n] of pixels, some of which mix two covers or change for good within the year."""
    first = _pure(rng, labels, site_of, wetness)
    other = _pure(rng, rng.permutation(labels.reshape(-1, PIXELS_PER_SITE), axis=1).ravel(), site_of, wetness)
    mixed = np.where(rng.random(labels.size) < 0.35, 0.45 * rng.random(labels.size), 0)
    breaks = np.where(rng.random(labels.size) < 0.03, rng.integers(3, DEKADS - 3, labels.size), DEKADS)
    changed = np.arange(DEKADS)[:, None] >= breaks
    share = np.where(changed, 0.92, mixed).astype(np.float32)[:, None, :]
    return np.clip(first + share * (other - first), 0.001, 1).astype(np.float32)


def _pure(
    rng: np.random.Generator, labels: npt.NDArray[np.uint8], site_of: npt.NDArray[np.int64], wetness: Floats
) -> Floats:
    """Clean reflectance [36, 6, n] of pixels of one cover each."""
    seasons = _seasons(rng, labels, site_of, wetness)
    middle = ((np.arange(DEKADS, dtype=np.float32) + 0.5) * np.float32(DAYS_PER_DEKAD))[:, None]
    dryness = 0.5 - np.cumsum(wetness - wetness.mean(axis=0), axis=0) / 4
    drought = np.asarray(np.clip(dryness, 0, 1), np.float32)[:, site_of]
    lag = rng.uniform(0, 1, site_of.size).astype(np.float32)
    growth, straw = np.zeros(drought.shape, np.float32), np.zeros(drought.shape, np.float32)
    for year in (-1, 0, 1):
        more = season_state(seasons, middle - np.float32(365 * year), drought * lag)
        growth, straw = growth + more[0], np.maximum(straw, more[1])
    canopy, litter = (_spectra(rng, type_table(part)[labels].T, site_of) for part in ("canopy", "litter"))
    ground = _spectra(rng, _ground(rng, labels, site_of, wetness.shape[1]), site_of)
    drinks = np.isin(labels, [cover.code for cover in COVER_TYPES if cover.ground in ("soil", "rock")])
    moisture = np.clip(wetness[:, site_of] + rng.normal(0, 0.06, drought.shape), 0, 1) * drinks
    wet = wet_ground(ground[:, None, :], moisture.astype(np.float32))
    clean = mix(seasons, np.clip(growth, 0, 1.05), straw, canopy[:, None, :], litter[:, None, :], wet)
    return np.moveaxis(clean, 0, 1) * _illumination(rng, site_of)


def _spectra(rng: np.random.Generator, table: Floats, site_of: npt.NDArray[np.int64]) -> Floats:
    """Vary spectra [6, n] in brightness and in colour, by site and by pixel."""
    sites = int(site_of.max()) + 1
    brightness = rng.normal(0, 0.13, sites)[site_of] + rng.normal(0, 0.07, site_of.size)
    colour = rng.normal(0, 0.07, (len(BANDS), sites))[:, site_of] + rng.normal(0, 0.03, table.shape)
    visible = rng.normal(0, 0.12, sites)[site_of] * np.array([1, 0.8, 1, -0.3, 0, 0.3])[:, None]
    return np.asarray(table * np.exp(brightness + colour + visible), np.float32)


def _ground(rng: np.random.Generator, labels: npt.NDArray[np.uint8], site_of: npt.NDArray[np.int64], sites: int) -> Floats:
    """Dry ground [6, n]: a mixture of soils of the site; water with the site's silt; built land."""
    recipe = rng.gamma(0.6, 1.0, (sites, len(SOILS)))
    soil = (recipe / recipe.sum(axis=1, keepdims=True) @ np.array(SOILS))[site_of].T
    silt = rng.beta(0.7, 1.1, sites)[site_of]
    water = np.array(CLEAR_WATER)[:, None] * (1 - silt) + np.array(TURBID_WATER)[:, None] * silt
    built = np.array(BUILT)[:, None] * rng.lognormal(0, 0.22, site_of.size)
    kind = np.array(["", *(cover.ground for cover in COVER_TYPES)])[labels]
    ground = np.where(kind == "water", water, np.where(kind == "built", built, soil))
    return ground.astype(np.float32)


def _illumination(rng: np.random.Generator, site_of: npt.NDArray[np.int64]) -> Floats:
    """Factor by slope and season [36, 1, n]: pixels on shaded slopes darken towards midwinter."""
    sites = int(site_of.max()) + 1
    turn = 2 * np.pi * (np.arange(DEKADS)[:, None] / DEKADS - 0.5 * (rng.random(sites) < 0.4)[site_of])
    latitude = rng.uniform(0, 1, sites)[site_of]
    slope = rng.normal(0, 0.10, site_of.size) * (rng.random(sites) < 0.5)[site_of]
    factor = 1 + slope * (0.35 + latitude * np.cos(turn)) + 0.02 * latitude * np.cos(turn)
    return np.clip(factor, 0.5, 1.4).astype(np.float32)[:, None, :]


def _observed(
    rng: np.random.Generator, sites: int, site_of: npt.NDArray[np.int64], wetness: Floats, years: tuple[int, int]
) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Clear observations of each dekad, band and pixel [36, 6, n], and the noise [6, n] of the site's sensors."""
    year = rng.integers(years[0], years[1] + 1, sites)
    counts = np.zeros((DEKADS, site_of.size), np.int64)
    noise = np.zeros((len(BANDS), sites))
    flying = np.zeros(sites)
    cloud_threshold = rng.normal(-0.25, 0.75, sites) + 1.7 * (wetness - 0.4)
    weather = _autoregressive(rng, (DEKADS, sites), 0.35)
    for platform in PLATFORMS:
        flies = (year >= platform.first.year) & (year <= platform.last.year) & (rng.random(sites) < 0.94)
        flies |= (flying == 0) & (year >= platform.first.year) & (year <= platform.last.year)
        flying += flies
        noise += np.array(platform.noise)[:, None] * flies
        gap = 0.44 * rng.random(sites) * ((platform.sensor == "ETM") & (year > SLC_FAILURE.year))
        counts += _passes_seen(rng, flies, gap, weather - cloud_threshold, site_of)
    if not flying.any():
        raise WindowError(f"no Landsat flew in {years[0]} to {years[1]}; give years from 1984 on")
    weights = np.repeat(np.minimum(counts, 255).astype(np.uint8)[:, None, :], len(BANDS), axis=1)
    lost = (rng.random((DEKADS, 1, site_of.size)) < BANDS_LOST_SHARE) & (rng.random((1, len(BANDS), site_of.size)) < 0.4)
    weights[lost] = 0
    return weights, (noise / np.maximum(flying, 1)).astype(np.float32)[:, site_of]


def _passes_seen(
    rng: np.random.Generator, flies: npt.NDArray[np.bool_], gap: npt.NDArray[np.float64], clearness: Floats,
    site_of: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:  # fmt: skip
    """Count clear looks of one satellite in each dekad [36, n]: passes every 16 days, clouds, scan gaps."""
    days = rng.uniform(0, 16, flies.size)[None, :] + 16 * np.arange(23)[:, None]
    dekad = np.minimum((days / DAYS_PER_DEKAD).astype(np.int64), DEKADS - 1)
    passes = np.zeros((DEKADS, flies.size), np.int64)
    np.add.at(passes, (dekad, np.broadcast_to(np.arange(flies.size), dekad.shape)), 1)
    passes *= flies
    chance = expit(2.2 * clearness + 0.9 * rng.standard_normal(clearness.shape, dtype=np.float32))
    sky = chance[:, site_of] + 0.28 * rng.standard_normal((DEKADS, site_of.size), dtype=np.float32) > 0.5
    inside_gap = rng.random((DEKADS, site_of.size), dtype=np.float32) < gap[site_of]
    return np.where(sky & ~inside_gap, passes[:, site_of], 0)


def _measured(
    rng: np.random.Generator, truth: Floats, weights: npt.NDArray[np.uint8], noise: Floats,
    site_of: npt.NDArray[np.int64],
) -> Floats:  # fmt: skip
    """Observed means [36, 6, n]: the day within the dekad, aerosol, noise, cloud and shadow that a mask missed."""
    sites = int(site_of.max()) + 1
    day = rng.uniform(-0.5, 0.5, (DEKADS, sites)).astype(np.float32)[:, site_of][:, None, :]
    observed = truth + day * np.gradient(truth, axis=0)
    aerosol = np.array([1.0, 0.75, 0.6, 0.25, 0.1, 0.05], np.float32)[:, None]
    haze = rng.normal(0, 0.004, (DEKADS, sites)).astype(np.float32)[:, site_of][:, None, :]
    gain = 1 + rng.normal(0, 0.012, (DEKADS, 1, sites)).astype(np.float32)[..., site_of]
    random = rng.standard_normal(truth.shape, dtype=np.float32) * noise * np.sqrt(0.5 + 2 * truth)
    observed = observed * gain + haze * aerosol + random / np.sqrt(np.maximum(weights, 1))
    observed = _blemished(rng, observed)
    return np.where(weights > 0, np.clip(observed, -0.04, 1.2), 0).astype(np.float32)


def _blemished(rng: np.random.Generator, observed: Floats) -> Floats:
    shape = (DEKADS, 1, observed.shape[2])
    draw = rng.random(shape, dtype=np.float32)
    opacity = np.where(draw < MISSED_CLOUD_SHARE, 0.4 * rng.random(shape, dtype=np.float32) ** 2, 0)
    shadow = np.where(draw > 1 - MISSED_SHADOW_SHARE, 0.6 * rng.random(shape, dtype=np.float32), 0)
    darkened = observed * (1 - SHADOW_DARKENING[:, None] * shadow)
    return np.asarray(darkened + opacity * (0.85 * CLOUD_SPECTRUM[:, None] - darkened), np.float32)
