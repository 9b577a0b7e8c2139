"""Processes of temporal dimensions: filters, and reducers over intervals and calendar periods."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .errors import ProcessGraphError
from .image import call
from .process_cubes import along, reduced, take_labels
from .process_declare import Cube, process
from .process_texts import instant
from .process_values import DataCube, Dimension, join_elements

if TYPE_CHECKING:
    from .process_graph import Context

__all__ = ["PERIODS"]

DATE_LENGTH = 10
"""Characters of a date without a time."""


def _temporal(cube: DataCube, name: str | None) -> Dimension:
    """Return the temporal dimension: the one of a name, or the only one."""
    if name is not None:
        return cube.dimension(name)
    found = [d for d in cube.dimensions if d.kind == "temporal"]
    if len(found) > 1:
        raise ProcessGraphError(
            f"there are {len(found)} temporal dimensions, {', '.join(d.name for d in found)}; name one", "TooManyDimensions"
        )
    if not found:
        raise ProcessGraphError("the cube has no temporal dimension", "DimensionNotAvailable")
    return found[0]


@process("filter_temporal")
def _filter_temporal(_graph: Context, data: Cube, extent: Any, dimension: Any = None) -> DataCube:
    """Keep the times in start <= time < end; null leaves a side open."""
    found = _temporal(data, dimension)
    start, end = _extent(extent)
    dates = isinstance(start, str) and isinstance(end, str) and len(start) == len(end) == DATE_LENGTH
    plain = data.image is not None and found.axis == "time" and data.image.type.time == found.labels
    if dates and plain and all(len(label) == DATE_LENGTH for label in found.labels):
        image = call("filter_date", data.image, start, end)
        return replace(data, image=image).with_dimension(found.name, replace(found, labels=image.type.time))
    return take_labels(data, found, [label for label in found.labels if _inside(label, start, end)])


def _extent(extent: Any) -> tuple[Any, Any]:
    if not isinstance(extent, list | tuple) or len(extent) != 2 or extent[0] is extent[1] is None:
        raise ProcessGraphError(f"extent={extent!r} must be a start and an end, one of them null at most")
    start, end = extent
    if start is not None and end is not None and instant(end) <= instant(start):
        raise ProcessGraphError(f"the extent {start}..{end} is empty; the end must be later", "TemporalExtentEmpty")
    return start, end


def _inside(label: Any, start: Any, end: Any) -> bool:
    moment = instant(label)
    return (start is None or instant(start) <= moment) and (end is None or moment < instant(end))


def _clock(moment: dt.datetime) -> str:
    return moment.strftime("%H:%M:%S")


def _in_interval(label: Any, start: Any, end: Any) -> bool:
    """Tell whether a time lies in an interval of dates, or of times of the day, which may go past midnight."""
    times = all(isinstance(side, str) and ":" in side and "T" not in side for side in (start, end))
    if not times:
        return _inside(label, start, end)
    clock = _clock(instant(label))
    return start <= clock < end if start < end else clock >= start or clock < end


def _aggregated(
    graph: Context, cube: DataCube, found: Dimension, groups: Sequence[Sequence[int]], labels: Sequence[Any], run: Any
) -> DataCube:
    """Return the cube with groups of times reduced to one each."""
    reducer, context = run
    series = along(cube, found)
    results = [reduced(graph, replace(found, axis="time"), reducer, context, series.pick(group)) for group in groups]
    joined = join_elements(results).image
    image = joined if found.axis == "time" else call("array_transpose", joined)
    return replace(cube, image=image).with_dimension(found.name, replace(found, labels=tuple(labels)))


@process("aggregate_temporal")
def _aggregate_temporal(
    graph: Context, data: Cube, intervals: Any, reducer: Any, labels: Any = (), dimension: Any = None, context: Any = None
) -> DataCube:
    """Reduce the times of each interval, start <= time < end, to one; its label is the start, or one of `labels`."""
    found = _temporal(data, dimension)
    if not isinstance(intervals, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in intervals):
        raise ProcessGraphError("intervals must be a list of pairs of start and end")
    names = list(labels) or [start for start, _end in intervals]
    if len(set(names)) < len(names):
        raise ProcessGraphError("the intervals start at the same time; give labels", "DistinctDimensionLabelsRequired")
    if len(names) != len(intervals):
        raise ProcessGraphError(f"{len(intervals)} intervals need as many labels, got {len(names)}")
    groups = [[i for i, label in enumerate(found.labels) if _in_interval(label, *pair)] for pair in intervals]
    return _aggregated(graph, data, found, groups, names, (reducer, context))


def _dekad(moment: dt.datetime) -> int:
    return (moment.month - 1) * 3 + min((moment.day - 1) // 10, 2)


Period = tuple[Callable[[dt.datetime], int], Callable[[int], str]]
SEASONS = ("djf", "mam", "jja", "son")

PERIODS: dict[str, Period] = {
    "hour": (
        lambda t: int(t.timestamp() // 3600),
        lambda n: dt.datetime.fromtimestamp(n * 3600, dt.UTC).strftime("%Y-%m-%d-%H"),
    ),
    "day": (lambda t: t.toordinal(), lambda n: dt.date.fromordinal(n).strftime("%Y-%j")),
    "week": (lambda t: (t.toordinal() - 1) // 7, lambda n: _week(n)),
    "dekad": (lambda t: t.year * 36 + _dekad(t), lambda n: f"{n // 36}-{n % 36 + 1:02d}"),
    "month": (lambda t: t.year * 12 + t.month - 1, lambda n: f"{n // 12}-{n % 12 + 1:02d}"),
    "season": (lambda t: (t.year * 12 + t.month) // 3, lambda n: _season(n)),
    "tropical-season": (lambda t: (t.year * 12 + t.month + 1) // 6, lambda n: _tropical(n)),
    "year": (lambda t: t.year, str),
    "decade": (lambda t: t.year // 10, lambda n: str(10 * n)),
    "decade-ad": (lambda t: (t.year - 1) // 10, lambda n: str(10 * n + 1)),
}
"""openEO's calendar periods: which one a moment lies in, counted without gaps, and the label of each."""


def _week(number: int) -> str:
    year, week, _day = dt.date.fromordinal(7 * number + 1).isocalendar()
    return f"{year}-{week:02d}"


def _season(number: int) -> str:
    """Return the label of a season; winter has the year of its December."""
    year, season = divmod(number, 4)
    return f"{year - 1 if season == 0 else year}-{SEASONS[season]}"


def _tropical(number: int) -> str:
    """Return the label of a half year: November to April has the year of its November."""
    year, half = divmod(number, 2)
    return f"{year - 1}-ndjfma" if half == 0 else f"{year}-mjjaso"


@process("aggregate_temporal_period")
def _aggregate_temporal_period(
    graph: Context, data: Cube, period: Any, reducer: Any, dimension: Any = None, context: Any = None
) -> DataCube:
    """Reduce the times of each calendar period to one, from the first period that has any to the last."""
    found = _temporal(data, dimension)
    if period not in PERIODS:
        raise ProcessGraphError(f"period={period!r} is not one of {', '.join(PERIODS)}")
    number, label = PERIODS[period]
    numbers = [number(instant(time)) for time in found.labels]
    if not numbers:
        raise ProcessGraphError(f"dimension {found.name!r} has no times left; filter less")
    every = range(min(numbers), max(numbers) + 1)
    groups = [[i for i, known in enumerate(numbers) if known == wanted] for wanted in every]
    return _aggregated(graph, data, found, groups, [label(n) for n in every], (reducer, context))
