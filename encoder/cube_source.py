"""Training pixels from a cube of dated reflectance, as xarray writes it to Zarr."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from esd.dekad import BANDS, DEKADS, dekad_index
from esd.errors import EncoderError
from esd.series import LARGEST_MEDIAN, window_months

from .sampling import Source
from .sources import chip_source

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["cube_source"]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]


def cube_source(path: Path, name: str, share: float, start_month: int = 1) -> Source:
    """Read a Zarr store with the variables blue, green, red, nir, swir1 and swir2, any of them, over time and two others.

    Values are reflectance 0-1 once the store's own scale and offset are applied; NaN and the store's fill value are
    unobserved. Dates of one dekad are averaged and counted. Every window (starting in `start_month`) that holds a date gives
    a pixel-year; groups are blocks of 32 x 32 pixels, the same in every year. Raises EncoderError if there is no such store,
    it has none of the variables or no time, or its numbers are clearly not 0-1.
    """
    with _opened(Path(path)) as cube:
        present = [band for band in BANDS if band in cube.variables]
        if not present:
            has = ", ".join(map(str, cube.data_vars)) or "none"
            raise EncoderError(f"cube {Path(path).name} has none of the variables {', '.join(BANDS)} (it has {has})")
        if any(len(cube[band].dims) != 3 or "time" not in cube[band].dims for band in present):
            raise EncoderError(f"cube {Path(path).name}: variables have to lie over time and two dimensions of space")
        days = cube["time"].to_numpy().astype("datetime64[D]")
        starts = window_months(days, start_month)
        windows = [start.astype("datetime64[D]").astype(dt.date) for start in np.unique(starts)]
        years = [_year(cube, present, dekad_index(days, window)) for window in windows]
    values, weights = (np.stack(arrays, axis=2) for arrays in zip(*years, strict=True))
    seen = values[weights > 0]
    if not seen.size:
        raise EncoderError(f"cube {Path(path).name} holds no reflectance at all, every value is missing")
    median = float(np.median(np.abs(seen)))
    if median > LARGEST_MEDIAN:
        raise EncoderError(f"cube {Path(path).name} has a median of {median:g}, it should lie in 0..1; scale it by 0.0001")
    return chip_source(values, weights, name, share)


def _opened(path: Path) -> xr.Dataset:
    import xarray as xr

    try:
        return xr.open_zarr(path, chunks=None, consolidated=False)
    except (OSError, ValueError, KeyError) as error:
        raise EncoderError(f"cube {str(path)!r} is not a Zarr store that xarray opens ({error})") from error


def _year(cube: xr.Dataset, present: list[str], dekads: npt.NDArray[np.int64]) -> tuple[Floats, Weights]:
    """Return the dekads of a window, values and weights [36, 6, y, x]; `dekads` [time] are -1 for dates outside of it."""
    shape = cube[present[0]].transpose("time", ...).shape[1:]
    values = np.zeros((DEKADS, len(BANDS), *shape), dtype=np.float32)
    weights = np.zeros(values.shape, dtype=np.uint8)
    for dekad in np.unique(dekads[dekads >= 0]):
        for band in present:
            dates = cube[band].transpose("time", ...)[dekads == dekad].to_numpy().astype(np.float32)
            seen = np.isfinite(dates)
            count = seen.sum(axis=0)
            place = dekad, BANDS.index(band)
            values[place] = np.where(seen, dates, 0).sum(axis=0) / np.maximum(count, 1)
            weights[place] = np.minimum(count, np.iinfo(np.uint8).max)
    return values, weights
