"""Breaks in series: what no longer follows the model of its own history, found by monitoring the residuals."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType

from .composites import finite
from .dates import YEAR, days_of
from .least_squares import Fit, fit_columns, fit_work, harmonic_columns, result
from .seasons import EPOCH_DAYS, check_days, check_harmonics, fitted_type

__all__ = ["cusum_boundary", "decimal_years"]

Array = npt.NDArray[Any]
WHOLE_SERIES = "needs all times of a pixel at once"
BREAK = ("break", "magnitude", "rmse")
EWMA = ("break", "mean", "chart")
SPARE = 2
"""Residuals beyond the number of coefficients that a history needs."""


def cusum_boundary(alpha: float) -> float:
    """Return the a of the boundary that a standard cumulative sum exceeds with probability alpha, ever.

    The solution of 2 (1 - Phi(a) + a phi(a)) = alpha, the upper tail of chi with three degrees of freedom: a^2 is 7.81 for
    0.05 and 6.25 for 0.1. Source: Chu, Stinchcombe and White (1996), "Monitoring structural change".
    """
    from scipy.special import chdtri

    return math.sqrt(chdtri(3, alpha))


def _history(name: str, image: CubeType, days: Sequence[float], start: float, size: int) -> int:
    """Return how many times lie before the start. Raises ExpressionError where they cannot tell a model."""
    check_days(name, image, days)
    if any(one >= other for one, other in itertools.pairwise(days)):
        raise ExpressionError(f"{name}: the times must rise; filter or aggregate them to one a date")
    before = sum(day < start for day in days)
    if before < size + SPARE or before == len(days):
        raise ExpressionError(
            f"{name}: {before} of {len(days)} times lie before the start; the model needs {size + SPARE} there and one after"
        )
    return before


def _check_share(name: str, what: str, share: float) -> None:
    if not 0 < share < 1:
        raise ExpressionError(f"{name}: {what}={share:g} must lie between 0 and 1")


def _fitted(image: Block, days: Sequence[float], before: int, n: int, trend: bool) -> tuple[Fit, Array, Array]:
    """Return the model of the history, all residuals from it (0 where there is none), and where they are known."""
    columns = harmonic_columns(days, n, YEAR, EPOCH_DAYS, YEAR)
    columns = columns if trend else np.delete(columns, 1, axis=1)
    known = finite(image.values, image.full_valid)
    fit = fit_columns(columns[:before], image.values[:before], known[:before], spare=SPARE)
    known = known & fit.known
    return fit, np.where(known, image.values - fit.predicted(columns), 0.0), known


def _deviation(fit: Fit, size: int) -> Array:
    """Return the standard deviation of the residuals of the history."""
    return np.sqrt(fit.squares / np.maximum(fit.count - size, 1))


def _break_rule(image: CubeType, *, days: tuple[float, ...], start: float, n: int, trend: bool, alpha: float) -> CubeType:
    check_harmonics("structural_break", n, YEAR)
    _history("structural_break", image, days, start, 1 + trend + 2 * n)
    _check_share("structural_break", "alpha", alpha)
    return fitted_type(image, BREAK)


def _break_work(types: Sequence[CubeType], args: Mapping[str, Any], pixels: int) -> int:
    return 2 * fit_work(2 + 2 * int(args["n"]), types, pixels)


def decimal_years(days: Sequence[float]) -> list[float]:
    """Return days since 1970 as decimal years."""
    found = []
    for day in days:
        date = dt.datetime(1970, 1, 1) + dt.timedelta(days=day)
        first, after = dt.datetime(date.year, 1, 1), dt.datetime(date.year + 1, 1, 1)
        found.append(date.year + (date - first) / (after - first))
    return found


@operator(
    "change",
    Tile.TIME,
    _break_rule,
    work=_break_work,
    interpreted=WHOLE_SERIES,
    example="cube.image(2004).ndvi().array_slice(0, 5).break_at((0.0, 10.0, 20.0, 30.0, 40.0), 35.0, 0, False)",
)
def break_at(
    image: Block, days: tuple[float, ...], start: float, n: int = 1, trend: bool = True, alpha: float = 0.05
) -> Block:
    """Monitor series at some days since 1970 from a start on; `structural_break` takes them from dates, and explains."""
    before, size = sum(day < start for day in days), 1 + trend + 2 * n
    fit, rest, known = _fitted(image, days, before, n, trend)
    spread, edge = _deviation(fit, size), cusum_boundary(alpha)
    length = np.maximum(fit.count, 1).astype(np.float64)
    total, seen = np.zeros(spread.shape), np.zeros(spread.shape)
    moment, found = np.zeros(spread.shape), np.zeros(spread.shape, dtype=bool)
    for place, year in enumerate(decimal_years(days[before:]), before):
        total, seen = total + rest[place], seen + known[place]
        k = (length + np.maximum(seen, 1)) / length
        border = np.sqrt(k * (k - 1) * (edge**2 + np.log(k / (k - 1))))
        crossed = known[place] & ~found & (np.abs(total) > border * spread * np.sqrt(length))
        moment, found = np.where(crossed, year, moment), found | crossed
    middle, monitored = _median(rest[before:], known[before:])
    return result([moment, middle, spread], [found, monitored, fit.known])


def _median(values: Array, known: Array) -> tuple[Array, Array]:
    from esd.reducer import REDUCERS

    return REDUCERS["median"](values, known)


@composite("change", example="cube.image(2004).ndvi().structural_break('2004-09-01')")
def structural_break(image: Image, start: str, n: int = 1, trend: bool = True, alpha: float = 0.05) -> Image:
    """When a series leaves the course of its history: times "break", "magnitude", "rmse".

    A constant, `n` pairs of harmonics of a year and, unless not wanted, a trend are fitted to what lies before `start`, an
    ISO date. From there on the residuals are added up; "break" is the first time, as a decimal year, at which their sum
    leaves a boundary that a series without change leaves, ever, with the probability `alpha`; not valid where it never does.
    "magnitude" is the median residual of all that is monitored, "rmse" the standard deviation of the history's. float64. A
    pixel needs two valid times more in its history than the model has coefficients. Raises ExpressionError where the image
    has too few times before the start, or none after. Source: Verbesselt, Zeileis and Herold (2012), "Near real-time
    disturbance detection using satellite image time series" (BFAST monitor), with the OLS-CUSUM test of Chu, Stinchcombe
    and White (1996).
    """
    moment = days_of("structural_break", (start,))[0]
    return call("break_at", image, days_of("structural_break", image.type.time), moment, n, trend, alpha)


def _ewma_rule(
    image: CubeType, *, days: tuple[float, ...], start: float, n: int, weight: float, sigmas: float, persistence: int
) -> CubeType:
    check_harmonics("ewmacd", n, YEAR)
    _history("ewmacd", image, days, start, 1 + 2 * n)
    _check_share("ewmacd", "weight", weight)
    if not sigmas > 0 or persistence < 1:
        raise ExpressionError(f"ewmacd: sigmas={sigmas:g} must be above 0, and persistence={persistence} at least 1")
    return fitted_type(image, EWMA)


@operator(
    "change",
    Tile.TIME,
    _ewma_rule,
    work=_break_work,
    interpreted=WHOLE_SERIES,
    example="cube.image(2004).ndvi().array_slice(0, 5).ewma_at((0.0, 10.0, 20.0, 30.0, 40.0), 35.0, 0)",
)
def ewma_at(
    image: Block,
    days: tuple[float, ...],
    start: float,
    n: int = 2,
    weight: float = 0.3,
    sigmas: float = 3.0,
    persistence: int = 3,
) -> Block:
    """Control chart of series at some days since 1970 from a start on; `ewmacd` takes them from dates, and explains."""
    before, size = sum(day < start for day in days), 1 + 2 * n
    fit, rest, known = _fitted(image, days, before, n, trend=False)
    spread = _deviation(fit, size)
    mean, count = np.zeros(spread.shape), np.zeros(spread.shape)
    run, moment, onset = (np.zeros(spread.shape) for _ in range(3))
    found = np.zeros(spread.shape, dtype=bool)
    for place, year in enumerate(decimal_years(days[before:]), before):
        here = known[place]
        mean, count = np.where(here, weight * rest[place] + (1 - weight) * mean, mean), count + here
        limit = sigmas * spread * np.sqrt(weight / (2 - weight) * (1 - (1 - weight) ** (2 * count)))
        out = here & (np.abs(mean) > limit)
        onset = np.where(out & (run == 0), year, onset)
        run = np.where(here, np.where(out, run + 1, 0), run)
        lasting = ~found & (run >= persistence)
        moment, found = np.where(lasting, onset, moment), found | lasting
    monitored = fit.known & (count > 0)
    chart = np.where(spread > 0, mean / np.where(spread > 0, spread, 1), 0)
    return result([moment, mean, chart], [found, monitored, monitored & (spread > 0)])


@composite("change", example="cube.image(2004).ndvi().ewmacd('2004-09-01', 1)")
def ewmacd(image: Image, start: str, n: int = 2, weight: float = 0.3, sigmas: float = 3.0, persistence: int = 3) -> Image:
    """When the exponentially weighted mean of a series' residuals goes out of control: times "break", "mean", "chart".

    A constant and `n` pairs of harmonics of a year are fitted to what lies before `start`, an ISO date. From there on the
    residuals are averaged, each with `weight` and the mean before it with the rest; the control limits are `sigmas` standard
    deviations of that mean. "break" is the decimal year at which it leaves them for at least `persistence` valid times in a
    row, not valid where it never does; "mean" is the mean at the last time, "chart" the same in standard deviations of the
    history's residuals. float64; needs as many valid times as `structural_break`. Source: Brooks et al. (2014), "On-the-fly
    massively multitemporal change detection using statistical quality control charts and Landsat data".
    """
    moment = days_of("ewmacd", (start,))[0]
    return call("ewma_at", image, days_of("ewmacd", image.type.time), moment, n, weight, sigmas, persistence)
