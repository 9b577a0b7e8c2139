"""The times of an image as dates: calendar periods, years and days, for operators that need more than an order of time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

from esd.errors import ExpressionError, WindowError
from esd.process_time import PERIODS
from esd.space import CubeType

__all__ = ["FIELDS", "PERIODS", "YEAR", "days_of", "moment", "moments", "period_starts", "season_labels"]

YEAR = 365.25
"""Days of a year, leap years averaged."""
EPOCH = dt.datetime(1970, 1, 1)
DAY = dt.timedelta(days=1)
DEKADS_OF_YEAR = 36
SEASONS = ("djf", "mam", "jja", "son")
HALF_YEARS = ("mjjaso", "ndjfma")

FIELDS: dict[str, Callable[[dt.datetime], int]] = {
    "year": lambda t: t.year,
    "month": lambda t: t.month,
    "dekad": lambda t: (t.month - 1) * 3 + min((t.day - 1) // 10, 2) + 1,
    "week": lambda t: t.isocalendar().week,
    "day_of_year": lambda t: t.timetuple().tm_yday,
    "day_of_month": lambda t: t.day,
    "day_of_week": lambda t: t.isoweekday(),
    "hour": lambda t: t.hour,
}
"""Numbers that tell where in the calendar a moment lies, all from 1 (hours from 0); weeks are those of ISO 8601."""


def moment(name: str, text: str) -> dt.datetime:
    """Return a date as a moment. Raises WindowError for what is none."""
    try:
        return dt.datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError as error:
        raise WindowError(f"{name}: {text!r} is no date; write dates as 2004-07-01") from error


def moments(name: str, image: CubeType) -> list[dt.datetime]:
    """Return the times of an image as moments. Raises WindowError where one is no date, such as a reducer's "slope"."""
    return [moment(name, time) for time in image.time]


def days_of(name: str, times: Sequence[str]) -> tuple[float, ...]:
    """Return dates as days since 1970-01-01. Raises WindowError for what is none."""
    return tuple((moment(name, time) - EPOCH) / DAY for time in times)


def _dekad_start(number: int) -> str:
    year, dekad = divmod(number, DEKADS_OF_YEAR)
    return f"{year:04d}-{dekad // 3 + 1:02d}-{1 + 10 * (dekad % 3):02d}"


def _month_start(number: int) -> str:
    return f"{number // 12:04d}-{number % 12 + 1:02d}-01"


_STARTS: dict[str, Callable[[int], str]] = {
    "hour": lambda n: (EPOCH + dt.timedelta(hours=n)).strftime("%Y-%m-%dT%H:%M"),
    "day": lambda n: dt.date.fromordinal(n).isoformat(),
    "week": lambda n: dt.date.fromordinal(7 * n + 1).isoformat(),
    "dekad": _dekad_start,
    "month": _month_start,
    "season": lambda n: _month_start(3 * n - 1),
    "tropical-season": lambda n: _month_start(6 * n - 2),
    "year": lambda n: f"{n:04d}-01-01",
    "decade": lambda n: f"{10 * n:04d}-01-01",
    "decade-ad": lambda n: f"{10 * n + 1:04d}-01-01",
}
"""The first day of a period of `PERIODS`, by its number."""

_SEASON_LABELS: dict[str, Callable[[dt.datetime], str]] = {
    "day": lambda t: f"{FIELDS['day_of_year'](t):03d}",
    "week": lambda t: f"{FIELDS['week'](t):02d}",
    "dekad": lambda t: f"{FIELDS['dekad'](t):02d}",
    "month": lambda t: f"{t.month:02d}",
    "season": lambda t: SEASONS[t.month % 12 // 3],
    "tropical-season": lambda t: HALF_YEARS[(t.month - 5) % 12 // 6],
    "year": lambda _t: "year",
}
"""The period of the year that a moment lies in, as openEO labels it."""
_ORDER = {label: place for place, label in enumerate((*SEASONS, *HALF_YEARS))}


def _known(name: str, period: str, choices: Sequence[str]) -> None:
    if period not in choices:
        raise ExpressionError(f"{name}: period={period!r} is not one of {', '.join(choices)}")


def period_starts(name: str, times: Sequence[dt.datetime], period: str) -> tuple[list[int], Callable[[int], str]]:
    """Return the number of the calendar period that each time lies in, and what gives a period's first day."""
    _known(name, period, tuple(PERIODS))
    number = PERIODS[period][0]
    return [number(time.replace(tzinfo=dt.UTC)) for time in times], _STARTS[period]


def season_labels(name: str, times: Sequence[dt.datetime], period: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the period of the year that each time lies in, and those that there are, in the order of the year."""
    _known(name, period, tuple(_SEASON_LABELS))
    labels = [_SEASON_LABELS[period](time) for time in times]
    return labels, tuple(sorted(set(labels), key=lambda label: (_ORDER.get(label, 0), label)))
