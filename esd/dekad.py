"""Time: windows of a year, of 36 dekads each.

A window is named by its first day, the first of a month. Its 36 dekads are days 1-10, 11-20 and 21-end of
each of its twelve months. A codec joins dekads to steps: a step is a month if its encoder has twelve of them.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from .errors import WindowError

__all__ = [
    "BANDS",
    "DEKADS",
    "DEKADS_PER_STEP",
    "STEPS",
    "dekad_dates",
    "dekad_index",
    "parse_windows",
    "step_counts",
    "step_dates",
    "window_end",
    "window_of",
    "window_of_steps",
    "window_start",
]

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
STEPS = 12
DEKADS_PER_STEP = 3
DEKADS = STEPS * DEKADS_PER_STEP

MOST_COUNTED = 254
"""Largest number of observations that is told; more are told as this many."""

Dates = npt.NDArray[np.datetime64]


def window_start(year: int, start_month: int = 1) -> dt.date:
    """Return the name of the window that starts in `start_month` of `year`.

    Raises WindowError for a month outside 1..12 or a year outside 1900..2200.
    """
    if not 1 <= start_month <= 12:
        raise WindowError(f"start month {start_month} is not a month; give 1 to 12")
    if not 1900 <= year <= 2200:
        raise WindowError(f"window year {year} is out of range; give a year from 1900 to 2200")
    return dt.date(year, start_month, 1)


def parse_windows(text: str, start_month: int = 1) -> tuple[dt.date, ...]:
    """Return the windows that `text` names: "2004", "2000/2005" (both ends included) or "2000,2003".

    Raises WindowError for any other form, or a range that runs backwards.
    """
    years: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{4})(?:/(\d{4}))?\s*", part)
        if not found:
            raise WindowError(f'window {text!r} is not understood; write it as "2004", "2000/2005" or "2000,2003"')
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise WindowError(f'window range {text!r} runs backwards; write "{last}/{first}"')
        years.update(range(first, last + 1))
    return tuple(window_start(year, start_month) for year in sorted(years))


def window_of(date: dt.date, start_month: int = 1) -> dt.date:
    """Return the window that holds `date`."""
    year = date.year if date.month >= start_month else date.year - 1
    return window_start(year, start_month)


def window_end(window: dt.date) -> dt.date:
    """Return the first day after the window."""
    return dt.date(window.year + 1, window.month, 1)


def dekad_index(dates: npt.ArrayLike, window: dt.date) -> npt.NDArray[np.int64]:
    """Return the dekad, 0 to 35, that each date falls into; -1 outside the window. Shape of `dates`."""
    days = np.asarray(dates, dtype="datetime64[D]")
    months = days.astype("datetime64[M]")
    day_of_month = (days - months.astype("datetime64[D]")).astype(np.int64)
    month_of_window = (months - np.datetime64(window, "M")).astype(np.int64)
    index = month_of_window * DEKADS_PER_STEP + np.minimum(day_of_month // 10, DEKADS_PER_STEP - 1)
    return np.where((month_of_window >= 0) & (month_of_window < STEPS), index, -1)


def _days_of_months(window: dt.date, days: Iterable[int]) -> Dates:
    months = np.datetime64(window, "M") + np.arange(STEPS)
    offsets = np.array([day - 1 for day in days], dtype="timedelta64[D]")
    return (months.astype("datetime64[D]")[:, None] + offsets).ravel()


def dekad_dates(window: dt.date) -> Dates:
    """Return the date that stands for each dekad, its middle: the 5th, 15th and 25th. datetime64[D], shape (36,)."""
    return _days_of_months(window, (5, 15, 25))


def step_dates(window: dt.date, steps: int = STEPS) -> Dates:
    """Return the date that stands for each step, its middle. datetime64[D], shape (steps,).

    Of twelve steps it is the 15th of each month; of a step with an even number of dekads, the first day of its second half.
    """
    dekads = DEKADS // steps
    days = (5, 15, 25) if dekads % 2 else (1, 11, 21)
    return _days_of_months(window, days)[dekads // 2 :: dekads]


def window_of_steps(first: dt.date, steps: int) -> dt.date:
    """Return the window whose first step is at the date `first` (see `step_dates`)."""
    months = first.year * 12 + first.month - 1 - DEKADS // steps // 2 // DEKADS_PER_STEP
    return dt.date(months // 12, months % 12 + 1, 1)


def step_counts(weights: npt.NDArray[np.uint8], steps: int = STEPS) -> npt.NDArray[np.uint8]:
    """Return the clear observations behind each step: weights uint8 [36, 6, ...] to uint8 [steps, ...], 254 at most.

    It is the largest count of any band, added up over the dekads of a step.
    """
    dekads = weights.max(axis=1).astype(np.uint16)
    counts = dekads.reshape(steps, DEKADS // steps, *dekads.shape[1:]).sum(axis=1)
    return np.minimum(counts, MOST_COUNTED).astype(np.uint8)
