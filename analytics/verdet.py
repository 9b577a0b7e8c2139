"""VerDET: the slopes of yearly series, by regularizing how much they vary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType

from .dates import YEAR, days_of
from .yearly import AT_ONCE, Ordered, by_series, one_index

__all__ = ["trend_filter"]

Array = npt.NDArray[Any]
SLOPES = ("fitted", "slope")
CENTRING, INSIDE = 0.1, 0.99
"""How far each round goes towards the boundary's middle, and at the most of the way to the boundary."""

ROUNDING = 1e-16
"""A share of the sum of squares at which a gap is rounding: of a series that is straight already there is no other."""


class Bends:
    """The operator D from values [time, series] to the changes of slope at the inner times of each series, 0 beyond it."""

    def __init__(self, x: Array, last: Array) -> None:
        there = np.arange(1, len(x) - 1)[:, None] < last
        steps = np.diff(x, axis=0)
        safe = np.where(steps > 0, steps, 1.0)
        self.before, self.after = there / safe[:-1], there / safe[1:]
        self.middle = -(self.before + self.after)

    def __call__(self, values: Array) -> Array:
        """Return D values."""
        return self.before * values[:-2] + self.middle * values[1:-1] + self.after * values[2:]

    def transposed(self, bends: Array) -> Array:
        """Return D' bends."""
        out = np.zeros((len(bends) + 2, bends.shape[1]))
        out[:-2] += self.before * bends
        out[1:-1] += self.middle * bends
        out[2:] += self.after * bends
        return out

    def normal(self) -> tuple[Array, Array, Array]:
        """Return the diagonals of DD': the main one, and those one and two beside it, as long as the main one."""
        one, two = np.zeros_like(self.middle), np.zeros_like(self.middle)
        one[:-1] = self.middle[:-1] * self.before[1:] + self.after[:-1] * self.middle[1:]
        two[:-2] = self.after[:-2] * self.before[2:]
        return self.before**2 + self.middle**2 + self.after**2, one, two


def _solve(main: Array, one: Array, two: Array, right: Array) -> Array:
    """Solve symmetric systems of five diagonals [row, series] each: their Cholesky factors without roots."""
    size = len(main)
    main, first, second, out = main.copy(), np.zeros_like(main), np.zeros_like(main), right.copy()
    for k in range(size):
        first[k] = (one[k] - (first[k - 1] * second[k - 1] * main[k - 1] if k else 0)) / main[k]
        second[k] = two[k] / main[k]
        if k + 1 < size:
            main[k + 1] -= first[k] ** 2 * main[k]
            out[k + 1] -= first[k] * out[k]
        if k + 2 < size:
            main[k + 2] -= second[k] ** 2 * main[k]
            out[k + 2] -= second[k] * out[k]
    out /= main
    for k in range(size - 2, -1, -1):
        out[k] -= first[k] * out[k + 1]
        if k + 2 < size:
            out[k] -= second[k] * out[k + 2]
    return out


def _farthest(place: Array, step: Array) -> Array:
    """Return how far, at most 1, each series can go until a number above 0 [row, series] is nearly 0."""
    room = np.where(step < 0, -place / np.where(step < 0, step, -1.0), np.inf)
    return np.minimum(INSIDE * room.min(axis=0), 1.0)


def trend_filter(x: Array, y: Array, last: Array, alpha: float, tolerance: float, runs: int) -> tuple[Array, Array]:
    """Return the values [time, series] of least half squared distance from y plus alpha times their changes of slope.

    Series are y at rising x up to the place `last` of each. Also which of them came within `tolerance`, as a share of that
    sum, of the least there is, in so many rounds. Source: Kim, Koh, Boyd and Gorinevsky (2009), "l1 trend filtering": the
    interior point method, on the dual problem.
    """
    bends = Bends(x, last)
    given, (main, one, two) = bends(y), bends.normal()
    dual, smallest = np.zeros_like(given), ROUNDING * (y * y).sum(axis=0)
    upper = lower = np.broadcast_to(np.abs(given).max(axis=0) + 1e-300, given.shape)
    done = np.zeros(y.shape[1], dtype=bool)
    for _run in range(runs + 1):
        pull = bends.transposed(dual)
        bent = given - bends(pull)
        squares, changes = (pull * pull).sum(axis=0), alpha * np.abs(bent).sum(axis=0)
        gap = squares - (given * dual).sum(axis=0) + changes
        done = done | (gap <= np.maximum(tolerance * (squares / 2 + changes), smallest))
        if done.all():
            break
        above, below = alpha - dual, alpha + dual
        middle = CENTRING * (upper * above + lower * below).sum(axis=0) / (2 * len(dual))
        step = _solve(main + upper / above + lower / below, one, two, bent - middle / above + middle / below)
        up, down = (middle + upper * step) / above - upper, (middle - lower * step) / below - lower
        size = np.minimum(_farthest(above, -step), _farthest(below, step))
        size = np.where(done, 0, np.minimum(size, np.minimum(_farthest(upper, up), _farthest(lower, down))))
        dual, upper, lower = dual + size * step, upper + size * up, lower + size * down
    return y - bends.transposed(dual), done


def _sloped(years: Array, values: Array, valid: Array, options: Mapping[str, Any]) -> tuple[Array, Array]:
    """Return fitted values and slopes [time, 2, series], and which of them lie within what is known of a series."""
    series = Ordered(years, values[:, 0], valid[:, 0])
    fitted, done = trend_filter(series.x, series.y, series.last, options["alpha"], options["tolerance"], options["runs"])
    slopes, lengths = np.diff(fitted, axis=0), np.diff(series.x, axis=0)
    slopes = slopes / np.where(lengths > 0, lengths, 1.0)
    count = np.cumsum(series.known, axis=0)
    enough = done & (count[-1] >= options["fewest"])
    at = np.clip(count - 1 - series.known, 0, len(slopes) - 1)
    slope = np.take_along_axis(slopes, at, axis=0)
    start = np.take_along_axis(series.x, at, axis=0)
    level = np.take_along_axis(fitted, at, axis=0) + slope * (years[:, None] - start)
    within = (count > 0) & ((count < count[-1]) | series.known) & enough
    return np.stack([level, slope], axis=1), np.stack([within, within], axis=1)


def _rule(image: CubeType, *, days: tuple[float, ...], tolerance: float, alpha: float, runs: int, fewest: int) -> CubeType:
    if not 0 < tolerance < 1 or not 0 < alpha < np.inf:
        raise ExpressionError(f"verdet: tolerance={tolerance:g} must lie between 0 and 1, and alpha={alpha:g} above 0")
    if runs < 1 or not 3 <= fewest <= len(image.time):
        raise ExpressionError(
            f"verdet: runs={runs} must be 1 or more, and fewest={fewest} lie in 3 to {len(image.time)}, the times"
        )
    return one_index("verdet", image, days, SLOPES)


def _work(types: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    return 8 * len(types[0].time) * (3 * pixels + 20 * AT_ONCE)


@operator(
    "change",
    Tile.TIME,
    _rule,
    work=_work,
    interpreted="needs all times of a pixel at once",
    example="cube.image(2004).select('nir').array_slice(0, 6).slopes_at((0.0, 366.0, 731.0, 1096.0, 1461.0, 1827.0))",
)
def slopes_at(
    image: Block,
    days: tuple[float, ...],
    tolerance: float = 0.0001,
    alpha: float = 0.03333,
    runs: int = 100,
    fewest: int = 6,
) -> Block:
    """Regularized slopes of series at some days since 1970; `verdet` takes the days from the dates, and explains."""
    years = (np.asarray(days) - days[0]) / YEAR
    options = {"tolerance": tolerance, "alpha": alpha, "runs": runs, "fewest": fewest}
    return by_series(image, 2, lambda values, valid: _sloped(years, values, valid, options))


@composite("change", example="yearly.select('nbr').verdet()")
def verdet(image: Image, tolerance: float = 0.0001, alpha: float = 0.03333, runs: int = 100, fewest: int = 6) -> Image:
    """Series of one value a year as straight segments by regularizing their slopes: bands "fitted" and "slope".

    The image has one band, an index in 0..1 that falls with disturbance (NBR, NDVI), and rising dates. "slope" is the rise
    a year on the way to a time (at the first: from it), below 0 where the vegetation is disturbed, above 0 where it
    regenerates, "fitted" the line itself, both float64 at all times from the first to the last that is valid. The line
    minimizes half the sum of its squared distances plus `alpha` times the sum of its changes of slope, so that most are next
    to 0; a larger `alpha` leaves fewer segments. Pixels are not valid with fewer valid times than `fewest`, or where `runs`
    rounds do not come within `tolerance`, as a share, of that minimum.

    Raises BandError for several bands, ExpressionError for dates that do not rise or options out of range. Source: Hughes,
    Kaylor and Hayes (2017), "Patch-based forest change detection from Landsat time series", whose slopes are regularized by
    total variation; the minimum as of Kim, Koh, Boyd and Gorinevsky (2009). The patches, which they form in each image
    first, are left out, as in Earth Engine, whose inner steps are not published: numbers need not be the same.
    """
    return call("slopes_at", image, days_of("verdet", image.type.time), tolerance, alpha, runs, fewest)
