"""Screening in time: drops cloud and shadow that a product's own mask has left behind.

A pixel is compared with its own other observations of the same window, so no threshold depends on the place.

* Cloud and haze lift blue more than half of red, whatever grows below (the haze optimized transform, blue - 0.5 red,
  of Zhang et al. 2002, used in Fmask). An observation whose transform lies above the pixel's median by more than
  0.025 and by more than four robust standard deviations is dropped; fewer than four observations drop nothing.
* A shadow darkens everything for one date. An observation is dropped if near and shortwave infrared fall below 0.6
  and green below 0.9 of the darker of the observations before and after it, each at most 64 days away. A flood
  keeps its green, and a clearing or fire does not recover: both stay.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from esd.dekad import BANDS

__all__ = ["keep_mask", "median_of_seen"]

HAZE_RISE = 0.025
HAZE_DEVIATIONS = 4.0
FEWEST_FOR_A_MEDIAN = 4
SHADOW_SHARES = {"nir": 0.6, "swir1": 0.6, "green": 0.9}
SHADOW_REACH_DAYS = 64
MAD_TO_DEVIATION = 1.4826

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


def keep_mask(reflectance: Floats, clear: Bools, days: npt.NDArray[np.int64]) -> Bools:
    """Return which observations stay, bool [n, y, x].

    `reflectance` and `clear` are [n, 6, y, x], `days` [n] the day numbers of the observations, in rising order. An
    observation without the bands that a test needs passes that test.
    """
    cloud = _is_haze(reflectance, clear)
    return ~(cloud | _is_shadow(reflectance, clear & ~cloud[:, None], days))


def _is_haze(reflectance: Floats, clear: Bools) -> Bools:
    blue, red = BANDS.index("blue"), BANDS.index("red")
    seen = clear[:, blue] & clear[:, red]
    haze = reflectance[:, blue] - np.float32(0.5) * reflectance[:, red]
    centre = median_of_seen(haze, seen)
    deviation = np.float32(MAD_TO_DEVIATION) * median_of_seen(np.abs(haze - centre), seen)
    limit = centre + np.maximum(np.float32(HAZE_RISE), np.float32(HAZE_DEVIATIONS) * deviation)
    found: Bools = seen & (haze > limit) & (seen.sum(axis=0) >= FEWEST_FOR_A_MEDIAN)
    return found


def median_of_seen(values: Floats, seen: Bools) -> Floats:
    """Return the median over axis 0 of what is seen (it may be 1 long where `values` has bands); 0 where nothing is."""
    ordered = np.sort(np.where(seen, values, np.float32(np.inf)), axis=0)
    count = seen.sum(axis=0)
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(values) - 1)
    middle = [np.take_along_axis(ordered, at[None], axis=0)[0] for at in (low, high)]
    return np.where(count > 0, np.float32(0.5) * (middle[0] + middle[1]), np.float32(0))


def _is_shadow(reflectance: Floats, clear: Bools, days: npt.NDArray[np.int64]) -> Bools:
    numbers = [BANDS.index(band) for band in SHADOW_SHARES]
    seen: Bools = np.logical_and.reduce(clear[:, numbers], axis=1)
    before, after = _neighbours(seen)
    far = np.int64(np.iinfo(np.int32).max)
    since = days[:, None, None] - np.append(days, -far)[before]
    until = np.append(days, far)[after] - days[:, None, None]
    dark = seen & (since <= SHADOW_REACH_DAYS) & (until <= SHADOW_REACH_DAYS)
    last = len(days) - 1
    for number, share in zip(numbers, SHADOW_SHARES.values(), strict=True):
        band = reflectance[:, number]
        around = [np.take_along_axis(band, np.minimum(at, last), axis=0) for at in (before, after)]
        dark &= band < np.float32(share) * np.minimum(*around)
    return dark


def _neighbours(seen: Bools) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the index along axis 0 of the seen observation before and after each; n where there is none."""
    count = len(seen)
    index = np.arange(count).reshape(-1, 1, 1)
    nothing = np.full((1, *seen.shape[1:]), count)
    latest = np.maximum.accumulate(np.where(seen, index, -1), axis=0)
    before = np.concatenate([nothing, np.where(latest < 0, count, latest)[:-1]])
    earliest = np.minimum.accumulate(np.where(seen, index, count)[::-1], axis=0)[::-1]
    return before, np.concatenate([earliest[1:], nothing])
