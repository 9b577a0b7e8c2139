"""LandTrendr: yearly series as a few straight segments, and what they say of disturbance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import BandError, ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType

from .breaks import decimal_years
from .dates import YEAR, days_of
from .seasons import check_days, fitted_type
from .segmentation import Options, interpolate, segment
from .yearly import AT_ONCE, Ordered, by_series, one_index

__all__: list[str] = []

Array = npt.NDArray[Any]
WHOLE_SERIES = "needs all times of a pixel at once"
SEGMENTED = ("fitted", "vertex")
DISTURBANCE = ("start", "duration", "magnitude")


def _segmented(years: Array, values: Array, valid: Array, options: Options) -> tuple[Array, Array]:
    """Return fitted values and vertices [time, 2, series] of series, and which of them are of series with times enough."""
    series = Ordered(years, values[:, 0], valid[:, 0])
    vertices, levels = segment(series.x, series.y, series.last, options)
    x = np.broadcast_to(years[:, None], series.known.shape)
    fitted = interpolate(x, vertices, levels, np.take_along_axis(series.x, vertices, axis=0))
    marks = np.zeros(series.known.shape)
    for row in vertices:
        np.put_along_axis(marks, np.take_along_axis(series.order, row[None], axis=0), 1.0, axis=0)
    enough = series.known.sum(axis=0) >= options.fewest
    planes = np.stack([fitted, marks], axis=1)
    return planes, np.broadcast_to(enough, planes.shape)


def _rule(image: CubeType, *, days: tuple[float, ...], **options: Any) -> CubeType:
    _check_options(Options(**options))
    return one_index("landtrendr", image, days, SEGMENTED)


def _check_options(options: Options) -> None:
    if not 1 <= options.max_segments <= 20 or not 0 <= options.overshoot <= 10 or options.fewest < 3:
        raise ExpressionError(
            f"landtrendr: max_segments={options.max_segments} (1 to 20), overshoot={options.overshoot} (0 to 10) or "
            f"fewest={options.fewest} (3 or more) is out of range"
        )
    for name, share in (("spike", options.spike), ("p_value", options.p_value), ("proportion", options.proportion)):
        if not 0 < share <= 1:
            raise ExpressionError(f"landtrendr: {name}={share:g} must lie above 0, and at most at 1")
    if not options.recovery > 0:
        raise ExpressionError(f"landtrendr: recovery={options.recovery:g} must be above 0")


def _work(types: Sequence[CubeType], args: Mapping[str, Any], pixels: int) -> int:
    models, times = int(args["max_segments"]), len(types[0].time)
    return 8 * (2 * pixels * times + AT_ONCE * (20 * times + 3 * models * (models + 4) + 60))


@operator(
    "change",
    Tile.TIME,
    _rule,
    work=_work,
    interpreted=WHOLE_SERIES,
    example="cube.image(2004).select('nir').array_slice(0, 6).segments_at((0.0, 1.0, 2.0, 3.0, 4.0, 5.0), 2)",
)
def segments_at(
    image: Block,
    days: tuple[float, ...],
    max_segments: int = 6,
    spike: float = 0.9,
    overshoot: int = 3,
    one_year_recovery: bool = False,
    recovery: float = 0.25,
    p_value: float = 0.05,
    proportion: float = 0.75,
    fewest: int = 6,
) -> Block:
    """Segment series at some days since 1970; `landtrendr` takes the days from the dates, and explains."""
    options = Options(max_segments, spike, overshoot, one_year_recovery, recovery, p_value, proportion, fewest)
    years = (np.asarray(days) - days[0]) / YEAR
    return by_series(image, 2, lambda values, valid: _segmented(years, values, valid, options))


@composite("change", example="cube.image(2004).select('nir').aggregate_period('month').landtrendr(3)")
def landtrendr(
    image: Image,
    max_segments: int = 6,
    spike: float = 0.9,
    overshoot: int = 3,
    one_year_recovery: bool = False,
    recovery: float = 0.25,
    p_value: float = 0.05,
    proportion: float = 0.75,
    fewest: int = 6,
) -> Image:
    """Segment series of one value a year into straight lines: bands "fitted" and "vertex" (1 where segments meet, else 0).

    The image has one band, an index that falls with disturbance (NBR, NDVI), and rising dates; both bands have all its
    times, float64, and pixels with fewer valid ones than `fewest` are not valid. Spikes are dampened while they stand out
    more than `spike` (1 keeps them); vertices are found by splitting where a line fits worst, `overshoot` more than needed,
    and dropped again where the series turns least; models of `max_segments` to one segment are fitted, the vertex that is
    missed least dropped from one to the next. Of those whose recoveries are slower than `recovery` (share of the range a
    year), and none within one year unless `one_year_recovery`, the one of most segments is taken whose p-value is at most
    (2 - `proportion`) times the best; pixels whose best one is above `p_value` get their mean. Raises BandError for several
    bands. Source: Kennedy, Yang and Cohen (2010), "Detecting trends in forest disturbance and recovery using yearly Landsat
    time series: 1. LandTrendr"; parameters as in Earth Engine.
    """
    options = (max_segments, spike, overshoot, one_year_recovery, recovery, p_value, proportion, fewest)
    return call("segments_at", image, days_of("landtrendr", image.type.time), *options)


@composite(
    "change", example="collection.stack().landtrendr_fit(nir.array_repeat(3).rename_times(image.type.time).landtrendr())"
)
def landtrendr_fit(image: Image, segments: Image) -> Image:
    """All bands of an image on the segments of another: their values at the vertices, joined by straight lines.

    `segments` is what `landtrendr` returned for the same times. A vertex at which a band is not valid is passed over; before
    the first and after the last that is left the result is not valid. Source: Earth Engine's LandTrendrFit, without its
    dampening of spikes. Raises BandError for segments without vertices, ExpressionError for other times.
    """
    if segments.type.bands != SEGMENTED or segments.type.time != image.type.time:
        raise BandError(f"landtrendr_fit: {segments.type.describe()} is not what landtrendr returned for these times")
    days = days_of("landtrendr_fit", image.type.time)
    at_vertices = call("update_mask", image, segments.select("vertex"))
    return call("interpolate_at", at_vertices, days, days, image.type.time)


def _disturbance_rule(segments: CubeType, *, days: tuple[float, ...]) -> CubeType:
    check_days("disturbance_at", segments, days)
    if segments.bands != SEGMENTED:
        raise BandError(f"greatest_disturbance: the bands {', '.join(segments.bands)} are not those of landtrendr")
    return fitted_type(segments, DISTURBANCE).with_(bands=("disturbance",))


@operator(
    "change",
    Tile.ARRAY,
    _disturbance_rule,
    interpreted=WHOLE_SERIES,
    example="image.select('nir', 'red').rename('fitted', 'vertex').disturbance_at((0.0, 91.0, 183.0))",
)
def disturbance_at(segments: Block, days: tuple[float, ...]) -> Block:
    """The greatest fall of segments at some days since 1970; `greatest_disturbance` takes the days from the dates."""
    fitted, marks, valid = segments.values[:, 0], segments.values[:, 1] > 0, segments.full_valid[:, 0]
    shape = fitted.shape[1:]
    years = decimal_years(days)
    level, since, seen = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
    start, duration, magnitude = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for place, year in enumerate(years):
        here = marks[place] & valid[place]
        fall = np.where(here & seen, level - fitted[place], 0)
        greater = fall > magnitude
        start, duration = np.where(greater, since, start), np.where(greater, year - since, duration)
        magnitude = np.where(greater, fall, magnitude)
        level, since, seen = np.where(here, fitted[place], level), np.where(here, year, since), seen | here
    known = magnitude > 0
    values = np.stack([start, duration, magnitude])[:, None]
    return Block(values, np.broadcast_to(known, values.shape).copy())


@composite("change", example="cube.image(2004).select('nir').landtrendr(3).greatest_disturbance()")
def greatest_disturbance(segments: Image) -> Image:
    """When a series of segments falls most: times "start", "duration" and "magnitude" of the band "disturbance", float64.

    "start" is the decimal year of the vertex from which the segment with the greatest fall sets out, "duration" its years,
    "magnitude" the fall, above 0. Not valid where no segment falls. `segments` is what `landtrendr` returned; raises
    BandError for anything else.
    """
    return call("disturbance_at", segments, days_of("greatest_disturbance", segments.type.time))
