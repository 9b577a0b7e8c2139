"""Processes of texts and dates: plain values only, as no pixel is a text."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from typing import TYPE_CHECKING, Any

from .errors import ProcessGraphError
from .process_declare import process

if TYPE_CHECKING:
    from .process_graph import Context

__all__ = ["instant"]

_TIME_ONLY = re.compile(r"\d{2}:\d{2}(:\d{2}(\.\d+)?)?Z?")
SECONDS = {"millisecond": 0.001, "second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
MONTHS = {"month": 1, "year": 12}


def instant(text: Any) -> dt.datetime:
    """Return a date, or a date and time, as a moment in UTC. Raises ProcessGraphError for anything else."""
    if isinstance(text, str) and not _TIME_ONLY.fullmatch(text):
        try:
            parsed = dt.datetime.fromisoformat(text)
            return parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)
        except ValueError as error:
            raise ProcessGraphError(f"{text!r} is no date ({error}); write 2004-07-01 or 2004-07-01T12:00:00Z") from error
    raise ProcessGraphError(f"{str(text)[:60]!r} is no date; write 2004-07-01 or 2004-07-01T12:00:00Z")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ProcessGraphError(f"the argument {name!r} must be a text, not {str(value)[:60]!r}")
    return value


def _pair(data: Any, pattern: Any, case_sensitive: bool) -> tuple[str, str]:
    one, other = _text("data", data), _text("pattern", pattern)
    return (one, other) if case_sensitive else (one.lower(), other.lower())


@process("text_begins")
def _text_begins(_graph: Context, data: Any, pattern: Any, case_sensitive: bool = True) -> bool | None:
    """Whether a text begins with another."""
    if data is None:
        return None
    one, other = _pair(data, pattern, case_sensitive)
    return one.startswith(other)


@process("text_ends")
def _text_ends(_graph: Context, data: Any, pattern: Any, case_sensitive: bool = True) -> bool | None:
    """Whether a text ends with another."""
    if data is None:
        return None
    one, other = _pair(data, pattern, case_sensitive)
    return one.endswith(other)


@process("text_contains")
def _text_contains(_graph: Context, data: Any, pattern: Any, case_sensitive: bool = True) -> bool | None:
    """Whether a text is part of another."""
    if data is None:
        return None
    one, other = _pair(data, pattern, case_sensitive)
    return other in one


@process("text_find")
def _text_find(_graph: Context, data: Any, pattern: Any, case_sensitive: bool = True, reverse: bool = False) -> int | None:
    """Position of a text in another, the first or (`reverse`) the last; null where it is not in it."""
    if data is None:
        return None
    one, other = _pair(data, pattern, case_sensitive)
    place = one.rfind(other) if reverse else one.find(other)
    return None if place < 0 else place


@process("text_concat")
def _text_concat(_graph: Context, data: Any, separator: Any = "") -> str:
    """Join texts, numbers, booleans and null by a separator."""
    if not isinstance(data, list):
        raise ProcessGraphError(f"the argument 'data' must be a list, not {str(data)[:60]!r}")
    return str(_spell(separator)).join(_spell(item) for item in data)


def _spell(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _spelled_like(moment: dt.datetime, text: str) -> str:
    """Write a moment as the text that it came from was written: with a time if that had one, and its zone."""
    if "T" not in text.upper():
        return moment.date().isoformat()
    return moment.isoformat().replace("+00:00", "Z")


@process("date_shift")
def _date_shift(_graph: Context, date: Any, value: Any, unit: Any) -> str | None:
    """A date moved by a number of units; the 31st of a shorter month is its last day."""
    if date is None:
        return None
    if not isinstance(value, int) or (unit not in SECONDS and unit not in MONTHS):
        known = ", ".join([*SECONDS, *MONTHS])
        asked = f"value={str(value)[:40]!r} must be whole, and unit={str(unit)[:40]!r}"
        raise ProcessGraphError(f"date_shift: {asked} one of {known}")
    moment = instant(date)
    if unit in SECONDS:
        return _spelled_like(moment + dt.timedelta(seconds=value * SECONDS[unit]), date)
    month = moment.year * 12 + moment.month - 1 + value * MONTHS[unit]
    year, month = divmod(month, 12)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return _spelled_like(moment.replace(year=year, month=month + 1, day=day), date)


@process("date_difference")
def _date_difference(_graph: Context, date1: Any, date2: Any, unit: Any = "second") -> float:
    """How many units it is from one date to another; months and years by the calendar."""
    one, other = instant(date1), instant(date2)
    if unit in SECONDS:
        return (other - one).total_seconds() / SECONDS[unit]
    if unit not in MONTHS:
        raise ProcessGraphError(f"date_difference: unit={unit!r} is not one of {', '.join([*SECONDS, *MONTHS])}")
    return (_months(other) - _months(one)) / MONTHS[unit]


def _months(moment: dt.datetime) -> float:
    days = calendar.monthrange(moment.year, moment.month)[1]
    start = dt.datetime(moment.year, moment.month, 1, tzinfo=moment.tzinfo)
    return moment.year * 12 + moment.month - 1 + (moment - start).total_seconds() / (86400 * days)


@process("date_between")
def _date_between(_graph: Context, x: Any, min: Any, max: Any, exclude_max: bool = False) -> bool | None:  # noqa: A002 - openEO
    """Whether min <= x <= max, or < max."""
    if x is None:
        return None
    moment, first, last = instant(x), instant(min), instant(max)
    return first <= moment and (moment < last if exclude_max else moment <= last)
