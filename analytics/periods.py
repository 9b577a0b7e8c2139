"""Times joined by the calendar: intervals, periods, normals and what departs from them, moving windows and lags.

All of them are `reduce_groups`, which reduces groups of times to one each, with groups and labels taken from the dates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from esd.block import Block
from esd.errors import ExpressionError, WindowError
from esd.image import Image, call, composite
from esd.operator import Tile, get_operator, operator
from esd.reducer import get_reducer
from esd.space import CubeType, Space

from .dates import FIELDS, days_of, moments, period_starts, season_labels

__all__ = ["chosen_times", "group_times"]

WHOLE_SERIES = "needs all times of a pixel at once"
NAMES_ONLY = "names times and computes none"
Groups = Sequence[Sequence[int]]


def _groups_rule(image: CubeType, *, groups: Groups, labels: tuple[str, ...], reducer: str) -> CubeType:
    last = len(image.time) - 1
    if not groups or len(groups) != len(labels):
        raise ExpressionError(f"reduce_groups: {len(groups)} groups and {len(labels)} labels; give as many, one at least")
    for group in groups:
        if not isinstance(group, tuple) or not all(isinstance(place, int) and 0 <= place <= last for place in group):
            raise ExpressionError(f"reduce_groups: group {group!r} must hold positions of the {last + 1} times, 0 to {last}")
    rule = get_operator("reduce").rule
    assert rule is not None
    return rule(image, reducer=reducer).with_(time=tuple(map(str, labels)))


def _groups_work(given: Sequence[CubeType], args: Mapping[str, Any], pixels: int) -> int:
    """Bytes of the reducer on the largest group."""
    work, most = get_operator("reduce").work, max(len(group) for group in args["groups"])
    assert work is not None
    largest = given[0].with_(time=("",) * max(most, 1))
    return work([largest], args, pixels) + pixels * most * len(given[0].bands) * (given[0].dtype.itemsize + 1)


@operator(
    "temporal",
    Tile.TIME,
    _groups_rule,
    work=_groups_work,
    interpreted=WHOLE_SERIES,
    example="image.reduce_groups(((0, 1), (1, 2)), ('2004-04-15', '2004-07-15'), 'max')",
)
def reduce_groups(image: Block, groups: tuple[Any, ...], labels: tuple[str, ...], reducer: str = "mean") -> Block:
    """Reduce groups of times, given by their positions from 0, to one time each; `labels` are the times of the result.

    A time may be in several groups; a group without times gives what the reducer gives where nothing is valid.
    """
    del labels
    reduce, valid = get_reducer(reducer), image.full_valid
    results = []
    for group in groups:
        places = list(group) or [0]
        counts = valid[places] if len(group) else np.zeros_like(valid[:1])
        results.append(reduce(image.values[places], counts))
    return Block(np.stack([values for values, _known in results]), np.stack([known for _values, known in results]))


def _rename_rule(image: CubeType, *, times: tuple[str, ...]) -> CubeType:
    if len(times) != len(image.time) or not all(isinstance(time, str) for time in times):
        raise WindowError(f"rename_times: {len(image.time)} times need as many names, got {times}")
    return image.with_(time=tuple(times))


@operator(
    "temporal",
    Tile.TIME,
    _rename_rule,
    openeo="rename_labels",
    interpreted=NAMES_ONLY,
    example="image.array_slice(0, 2).rename_times(('2004-01-01', '2005-01-01'))",
)
def rename_times(image: Block, times: tuple[str, ...]) -> Block:
    """Give the times new dates or names, one for each. Raises WindowError for more or fewer."""
    del times
    return image


def group_times(image: Image, groups: Groups, labels: Sequence[str], reducer: str) -> Image:
    """Return an image whose times are reduced group by group."""
    return call("reduce_groups", image, tuple(tuple(group) for group in groups), tuple(labels), reducer)


@composite(
    "temporal",
    openeo="aggregate_temporal",
    example="image.aggregate_temporal((('2004-04-01', '2004-10-01'),), 'median')",
)
def aggregate_temporal(
    image: Image, intervals: tuple[Any, ...], reducer: str = "mean", labels: tuple[str, ...] = ()
) -> Image:
    """Reduce the times of each interval, start <= time < end, to one; its date is the start, or one of `labels`.

    `intervals` are pairs of ISO dates, which may overlap. What lies in none is dropped; an interval without times is not
    valid. Raises WindowError for what is no date, ExpressionError for intervals that are no pairs or end before they start.
    """
    if not intervals or not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in intervals):
        raise ExpressionError(f"aggregate_temporal: intervals={intervals!r} must be pairs of a start and an end")
    times = days_of("aggregate_temporal", image.type.time)
    groups = []
    for start, end in intervals:
        first, after = days_of("aggregate_temporal", (str(start), str(end)))
        if first >= after:
            raise ExpressionError(f"aggregate_temporal: the interval {start}..{end} is empty; the end must be later")
        groups.append([place for place, time in enumerate(times) if first <= time < after])
    return group_times(image, groups, tuple(labels) or tuple(str(start) for start, _end in intervals), reducer)


@composite(
    "temporal",
    openeo="aggregate_temporal_period",
    example="cube.image(2004).select('nir').aggregate_period('season', 'max')",
)
def aggregate_period(image: Image, period: str, reducer: str = "mean") -> Image:
    """Reduce the times of each calendar period to one, dated by the period's first day; from the first to the last one.

    Periods are those of openEO: hour, day, week (ISO 8601, from Monday), dekad, month, season (from December),
    tropical-season (from November), year, decade (from 2000), decade-ad (from 2001). Periods between without times are not
    valid. Raises ExpressionError for another period.
    """
    numbers, start = period_starts("aggregate_period", moments("aggregate_period", image.type), period)
    every = range(min(numbers), max(numbers) + 1)
    groups = [[place for place, known in enumerate(numbers) if known == wanted] for wanted in every]
    return group_times(image, groups, [start(number) for number in every], reducer)


@composite("temporal", openeo="climatological_normal", example="cube.image(2004).ndvi().climatology('season')")
def climatology(
    image: Image, period: str = "month", reducer: str = "mean", baseline: tuple[str, ...] | None = None
) -> Image:
    """The normal of each period of the year: all years' values of a month (or day, week, dekad, season, tropical-season,
    year) reduced to one.

    `baseline` is a start and an end, start <= time < end, of the years that count; all without it. The times of the result
    are named as openEO names them, "01" to "12" for months, "djf", "mam", "jja", "son" for seasons, in the order of the
    year: those that the image has a time in. Raises ExpressionError for another period or an empty baseline.
    """
    times = moments("climatology", image.type)
    labels, names = season_labels("climatology", times, period)
    counts = set(range(len(times)))
    if baseline is not None:
        if len(baseline) != 2:
            raise ExpressionError(f"climatology: baseline={baseline!r} must be a start and an end")
        days = days_of("climatology", image.type.time)
        first, after = days_of("climatology", baseline)
        counts = {place for place in counts if first <= days[place] < after}
        if not counts:
            raise ExpressionError(f"climatology: no time of the image lies in the baseline {baseline[0]}..{baseline[1]}")
    groups = [[place for place in sorted(counts) if labels[place] == name] for name in names]
    return group_times(image, groups, names, reducer)


@composite("temporal", openeo="anomaly", example="image.anomaly(image.climatology('season'), 'season')")
def anomaly(image: Image, normals: Image, period: str = "month") -> Image:
    """What each time departs from the normal of its period of the year: image - normals, see `climatology`.

    Not valid where either is not. Raises ExpressionError where the normals lack a period of the image.
    """
    labels, names = season_labels("anomaly", moments("anomaly", image.type), period)
    known = {label: place for place, label in enumerate(normals.type.time)}
    missing = [name for name in names if name not in known]
    if missing:
        raise ExpressionError(
            f"anomaly: the normals have no {period} {missing[0]!r}, only {', '.join(known)}; make them by climatology"
        )
    departed = image - call("rearrange", normals, tuple(known[label] for label in labels))
    return call("rename_times", departed, image.type.time)


@composite("temporal", example="image.moving_window(100.0, 'mean')")
def moving_window(image: Image, days: float, reducer: str = "mean") -> Image:
    """Each time reduced together with those at most `days` before and after it; the dates stay.

    Raises ExpressionError for a negative number of days.
    """
    if not days >= 0:
        raise ExpressionError(f"moving_window: days={days:g} must be 0 or more")
    times = days_of("moving_window", image.type.time)
    groups = [[place for place, other in enumerate(times) if abs(other - time) <= days] for time in times]
    return group_times(image, groups, image.type.time, reducer)


@composite("temporal", example="image - image.lag(1)")
def lag(image: Image, n: int = 1) -> Image:
    """The value n times earlier (later for a negative n), under the date of each time; not valid where there is none."""
    times = len(image.type.time)
    groups = [(place - n,) if 0 <= place - n < times else () for place in range(times)]
    return group_times(image, groups, image.type.time, "first")


def chosen_times(image: Image, places: Sequence[int]) -> Image:
    """Return some times in their order; codes stay codes."""
    if image.type.space is not Space.CODES:
        return call("rearrange", image, tuple(places))
    days = [np.datetime64(image.type.time[place], "D") for place in places]
    return call("stack", *(call("filter_date", image, str(day), str(day + 1)) for day in days))


def _calendar_test(name: str, start: int, end: int, field: str) -> Callable[[int], bool]:
    if field not in FIELDS:
        raise ExpressionError(f"{name}: field={field!r} is not one of {', '.join(FIELDS)}")
    if start > end and field == "year":
        raise ExpressionError(f"{name}: the years {start}..{end} are none; give the first one first")
    return lambda number: start <= number <= end if start <= end else number >= start or number <= end


@composite("temporal", example="image.filter_calendar(6, 8, 'month')")
def filter_calendar(image: Image, start: int, end: int, field: str = "month") -> Image:
    """Keep the times whose month (or year, dekad, week, day_of_year, day_of_month, day_of_week, hour) is start to end.

    Both ends are kept. Where the start is the larger one the range goes past the end of the year: months 11 to 2. All
    count from 1 (hours from 0; days of the week from Monday; weeks are those of ISO 8601). Codes stay codes. Raises
    WindowError where no time is left, ExpressionError for another field.
    """
    test = _calendar_test("filter_calendar", start, end, field)
    times = moments("filter_calendar", image.type)
    places = [place for place, time in enumerate(times) if test(FIELDS[field](time))]
    if not places:
        raise WindowError(f"filter_calendar: no time from {image.type.time[0]} on has {field} {start}..{end}")
    return image if len(places) == len(times) else chosen_times(image, places)


@composite("temporal", example="image.filter_day_of_year(152, 243)")
def filter_day_of_year(image: Image, start: int, end: int) -> Image:
    """Keep the times whose day of the year, 1 to 366, is start to end, both included; see `filter_calendar`."""
    return call("filter_calendar", image, start, end, "day_of_year")
