"""Images in memory for the tests of operators on neighbourhoods: noise, classes and blobs with holes in their masks."""

from __future__ import annotations

import numpy as np

import esd
from esd.grid import GeoBox, geobox_from_bounds
from esd.image import Image


def grid(rows: int, columns: int, resolution: float = 30.0) -> GeoBox:
    left, bottom = 500_000, 5_000_000
    right, top = left + resolution * columns, bottom + resolution * rows
    return geobox_from_bounds(left, bottom, right, top, "EPSG:32633", resolution)


def mask(rows: int, columns: int, share: float = 0.15, seed: int = 0) -> np.ndarray:
    """Validity with single pixels and whole areas missing."""
    rng = np.random.default_rng(seed)
    valid = rng.random((rows, columns)) >= share
    if share:
        valid[rows // 3 : rows // 3 + 9, columns // 4 : columns // 4 + 11] = False
    return valid


def noise(rows: int, columns: int, share: float = 0.15, seed: int = 0) -> Image:
    values = np.random.default_rng(seed + 1).random((rows, columns)).astype(np.float32)
    return esd.from_array(values, grid(rows, columns), valid=mask(rows, columns, share, seed))


def odd_noise(rows: int, columns: int) -> Image:
    """Noise with NaN, infinities and both zeros among the valid values, in two bands and two times."""
    rng = np.random.default_rng(7)
    values = rng.normal(size=(2, 2, rows, columns)).astype(np.float32)
    for number in (np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0):
        values[rng.random(values.shape) < 0.01] = number
    valid = rng.random(values.shape) >= 0.2
    return esd.from_array(values, grid(rows, columns), ("a", "b"), ("2004-01-01", "2004-02-01"), valid)


def classes(rows: int, columns: int, number: int = 4, share: float = 0.15, seed: int = 0) -> Image:
    values = np.random.default_rng(seed + 2).integers(0, number, (rows, columns)).astype(np.uint8)
    return esd.from_array(values, grid(rows, columns), valid=mask(rows, columns, share, seed))


def blobs(rows: int, columns: int, share: float = 0.02, seed: int = 0, level: float = 0.5) -> Image:
    """Booleans in patches that wind across the whole image."""
    from scipy import ndimage

    values = ndimage.gaussian_filter(np.random.default_rng(seed + 3).random((rows, columns)), 2)
    valid = mask(rows, columns, share, seed)
    return esd.from_array(values > np.quantile(values, level), grid(rows, columns), valid=valid)


def plane(image: Image) -> tuple[np.ndarray, np.ndarray]:
    """Values and validity [y, x] of an image of one time and band."""
    raster = image.compute()
    return raster.values[0, 0], raster.valid[0, 0]
