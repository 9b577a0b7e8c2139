"""Series at other dates: gaps filled, and series put on the dates of another."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType, Space

from .composites import finite
from .dates import days_of
from .periods import group_times

__all__: list[str] = []

Array = npt.NDArray[Any]
WHOLE_SERIES = "needs all times of a pixel at once"
METHODS = ("linear", "nearest", "previous")


def _rising(days: Sequence[float]) -> bool:
    return all(one < other for one, other in itertools.pairwise(days))


def _line_rule(
    image: CubeType, *, places: tuple[float, ...], targets: tuple[float, ...], labels: tuple[str, ...], max_gap: float | None
) -> CubeType:
    if len(places) != len(image.time) or not _rising(places):
        raise ExpressionError(f"interpolate_at: places={places} must be {len(image.time)} rising numbers, the times' dates")
    if not targets or len(targets) != len(labels):
        raise ExpressionError(f"interpolate_at: {len(targets)} targets and {len(labels)} labels; give as many, at least one")
    if max_gap is not None and not max_gap > 0:
        raise ExpressionError(f"interpolate_at: max_gap={max_gap:g} must be above 0")
    dtype = np.result_type(image.dtype, np.float32)
    return image.with_(time=tuple(labels), dtype=dtype, space=Space.VALUE, encoder=None)


@operator(
    "temporal",
    Tile.TIME,
    _line_rule,
    interpreted=WHOLE_SERIES,
    example="image.array_slice(0, 3).interpolate_at((4.0, 14.0, 24.0), (9.0,), ('2004-01-10',))",
)
def interpolate_at(
    image: Block,
    places: tuple[float, ...],
    targets: tuple[float, ...],
    labels: tuple[str, ...],
    max_gap: float | None = None,
) -> Block:
    """Series at other places by straight lines between valid neighbours; computed in float64.

    `places` are those of the times, rising, and `targets` those of the result, both in one unit such as days. A target at a
    valid time takes its value as it is. Not valid before the first and after the last valid time, and where the two
    neighbours lie further apart than `max_gap`. NaN and infinite values do not count.
    """
    del labels
    known = finite(image.values, image.full_valid)
    values, line = np.where(known, image.values, 0).astype(np.float64), np.asarray(places)
    dtype = np.result_type(image.values.dtype, np.float32)
    out = np.zeros((len(targets), *values.shape[1:]), dtype=dtype)
    valid = np.zeros(out.shape, dtype=bool)
    for row, target in enumerate(targets):
        before, has_before = _nearest(known, line <= target, last=True)
        after, has_after = _nearest(known, line >= target, last=False)
        one, other = (np.take_along_axis(values, place[None], axis=0)[0] for place in (before, after))
        gap = line[after] - line[before]
        share = (target - line[before]) / np.where(gap > 0, gap, 1)
        valid[row] = has_before & has_after & (True if max_gap is None else gap <= max_gap)
        out[row] = np.where(valid[row], np.where(gap > 0, one * (1 - share) + other * share, one), 0)
    return Block(out, valid)


def _nearest(known: Array, side: Array, last: bool) -> tuple[Array, Array]:
    """Return the last (or first) known time among those of one side of a target, and whether there is one."""
    candidates = known & side[:, None, None, None]
    place = len(known) - 1 - np.argmax(candidates[::-1], axis=0) if last else np.argmax(candidates, axis=0)
    found = np.asarray(candidates.any(axis=0))
    return np.where(found, place, 0), found


def _near_groups(times: Sequence[float], target: float, within: float | None, back_only: bool) -> list[int]:
    """Return the times from the nearest to the furthest, the earlier of equally near ones first."""
    order = sorted(range(len(times)), key=lambda place: (abs(times[place] - target), times[place]))
    close = [place for place in order if within is None or abs(times[place] - target) <= within]
    return [place for place in close if not back_only or times[place] <= target]


@composite("temporal", openeo="resample_cube_temporal", example="image.resample_time(('2004-01-01',), 'linear')")
def resample_time(image: Image, dates: tuple[str, ...], method: str = "nearest", valid_within: float | None = None) -> Image:
    """The series at other dates (ISO): the nearest time, the earlier of two equally near ones, or `linear` between two.

    `nearest` takes that time as it is, valid or not; with `valid_within` it takes the nearest valid value within so many
    days. `linear` interpolates between valid values, which may then lie at most that far apart, and is not valid outside
    of the series. Raises WindowError for what is no date, ExpressionError for another method.
    """
    if method not in ("nearest", "linear"):
        raise ExpressionError(f"resample_time: method={method!r} is not one of nearest, linear")
    times, targets = days_of("resample_time", image.type.time), days_of("resample_time", dates)
    if method == "linear":
        return call("interpolate_at", image, times, targets, tuple(dates), valid_within)
    groups = [_near_groups(times, target, valid_within, back_only=False) for target in targets]
    kept = groups if valid_within is not None else [group[:1] for group in groups]
    return group_times(image, kept, dates, "first")


@composite("temporal", openeo="array_interpolate_linear", example="image.interpolate_time('linear', max_gap=64.0)")
def interpolate_time(image: Image, method: str = "linear", max_gap: float | None = None) -> Image:
    """Fill what is not valid from other times by date: `linear` between two, the `nearest` valid one, or the `previous`.

    `max_gap` in days: the two times that a line joins lie no further apart, the one that is taken no further away. Linear
    fills nothing before the first and after the last valid time. Raises ExpressionError for another method.
    """
    if method not in METHODS:
        raise ExpressionError(f"interpolate_time: method={method!r} is not one of {', '.join(METHODS)}")
    times = days_of("interpolate_time", image.type.time)
    if method == "linear":
        line = call("interpolate_at", image, times, times, image.type.time, max_gap)
        return call("first_valid", image, line)
    groups = [_near_groups(times, time, max_gap, back_only=method == "previous") for time in times]
    return group_times(image, groups, image.type.time, "first")
