"""Vegetation change tracker: yearly forest scores as forest, disturbance and what follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import BandError, ExpressionError
from esd.image import Image, call, composite
from esd.operator import Tile, operator
from esd.space import CubeType, Space

from .breaks import decimal_years
from .composites import finite
from .dates import days_of
from .yearly import AT_ONCE, by_series, check_rising

__all__ = ["DISTURBED", "FOREST", "NON_FOREST", "OPEN", "REGROWN", "WATER"]

Array = npt.NDArray[Any]
NON_FOREST, FOREST, WATER, REGROWN, DISTURBED, OPEN = 1.0, 2.0, 3.0, 4.0, 5.0, 6.0
"""The classes of the paper's maps: 4 was disturbed before and is forest again, 6 was disturbed before and is not."""
TOLD = ("class", "year", "magnitude")
GIVEN = ("ifz", "ndvi", "water")


@composite("change", example="image.select('nir', 'red').forest_z_score((0.3, 0.03), (0.05, 0.01))")
def forest_z_score(image: Image, means: tuple[float, ...], deviations: tuple[float, ...]) -> Image:
    """How far a pixel is from forest: the band "ifz", the root of the mean squared z-score of the bands, 0 and above.

    `means` and `deviations` (above 0) are those of samples of forest in the same image, one for each band, in its unit; the
    paper has red and the two short-wave infrared bands. Below 3 is most likely forest. Valid where all bands are. Raises
    ExpressionError for other than one mean and deviation a band. Source: the integrated forest z-score of
    Huang et al. (2010).
    """
    bands = image.type.bands
    if not len(means) == len(deviations) == len(bands) or not all(one > 0 for one in deviations):
        raise ExpressionError(
            f"forest_z_score: {len(means)} means and {len(deviations)} deviations for the bands {', '.join(bands)}; give "
            "one for each, deviations above 0"
        )
    squares = [
        ((image.select(band) - mean) / deviation) ** 2
        for band, mean, deviation in zip(bands, means, deviations, strict=True)
    ]
    total = squares[0]
    for square in squares[1:]:
        total = total + square
    return call("rename", call("sqrt", total / float(len(bands))), "ifz")


class Departures:
    """For each time [time, series] how long series stay in forest or out of it from there on, and how far they get out."""

    def __init__(self, score: Array, like: Array, strong: Array, known: Array) -> None:
        self.inside, self.outside, self.peak = np.zeros((3, *score.shape))
        self.strong = np.zeros(score.shape, dtype=bool)
        ahead, away, peak = np.zeros((3, score.shape[1]))
        far = np.zeros(score.shape[1], dtype=bool)
        for k in range(len(score) - 1, -1, -1):
            here, forest = known[k], like[k]
            out = here & ~forest
            ahead = np.where(here & forest, ahead + 1, np.where(out, 0, ahead))
            away = np.where(out, away + 1, np.where(here, 0, away))
            far = np.where(out, far | strong[k], far & ~here)
            peak = np.where(out, np.maximum(peak, score[k]), np.where(here, 0, peak))
            self.inside[k], self.outside[k], self.strong[k], self.peak[k] = ahead, away, far, peak


def track(
    departures: Departures, score: Array, like: Array, known: Array, years: Sequence[float], persistence: int
) -> Block:
    """Return class, year and magnitude [time, 3, series] of scores [time, series] at years; class 1 where never forest."""
    shape = score.shape[1:]
    forest, past, dated, ever = np.zeros((4, *shape), dtype=bool)
    level, year, magnitude = np.zeros((3, *shape))
    out, told = np.zeros((len(score), 3, *shape)), np.zeros((len(score), 3, *shape), dtype=bool)
    for k, moment in enumerate(years):
        here = known[k]
        lasting = here & departures.strong[k] & (departures.outside[k] >= persistence)
        leaves = forest & lasting
        forest = (forest & ~leaves) | (here & (departures.inside[k] >= persistence))
        past, dated, ever = past | (lasting & ~forest), dated | leaves, ever | forest
        year, magnitude = np.where(leaves, moment, year), np.where(leaves, departures.peak[k] - level, magnitude)
        level = np.where(here & forest & like[k], score[k], level)
        standing = np.where(forest | ~past, np.where(past, REGROWN, FOREST), OPEN)
        out[k] = np.where(leaves, DISTURBED, standing), year, magnitude
        told[k] = here, here & dated, here & dated
    out[:, 0] = np.where(ever, out[:, 0], NON_FOREST)
    return Block(out, told)


def _tracked(years: Sequence[float], values: Array, valid: Array, options: Mapping[str, Any]) -> tuple[Array, Array]:
    """Return what `vct` tells [time, 3, series] of the bands of `GIVEN` [time, 2 or 3, series]."""
    known: Array = np.asarray(finite(values, valid).all(axis=1))
    bands = [np.where(known, values[:, place], 0).astype(np.float64) for place in range(values.shape[1])]
    score, green = bands[0], bands[1] >= options["min_ndvi"]
    like = known & green & (score <= options["for_thr_max"])
    strong = known & ~(green & (score <= options["max_ud"]))
    tracked = track(Departures(score, like, strong, known), score, like, known, years, options["persistence"])
    if len(bands) == len(GIVEN):
        wet = 2 * (known & (bands[2] != 0)).sum(axis=0) > known.sum(axis=0)
        kinds = tracked.values[:, 0]
        tracked.values[:, 0] = np.where(wet & (kinds == NON_FOREST), WATER, kinds)
    enough = known.sum(axis=0) >= options["fewest"]
    return tracked.values, tracked.valid & enough


def _rule(
    image: CubeType,
    *,
    days: tuple[float, ...],
    max_ud: float,
    min_ndvi: float,
    for_thr_max: float,
    persistence: int,
    fewest: int,
) -> CubeType:
    check_rising("vct", image, days)
    if image.bands not in (GIVEN, GIVEN[:2]):
        raise BandError(f"vct: the bands {', '.join(image.bands)} are not ifz and ndvi, and water if there is a mask of it")
    if not 0 < for_thr_max <= max_ud < np.inf or not -1 <= min_ndvi <= 1:
        raise ExpressionError(
            f"vct: for_thr_max={for_thr_max:g} must lie above 0 and not above max_ud={max_ud:g}, "
            f"min_ndvi={min_ndvi:g} in -1 to 1"
        )
    if persistence < 1 or not 1 <= fewest <= len(image.time):
        raise ExpressionError(
            f"vct: persistence={persistence} must be 1 or more, and fewest={fewest} lie in 1 to {len(image.time)}, the times"
        )
    return image.with_(bands=TOLD, dtype=np.dtype(np.float64), space=Space.VALUE, encoder=None)


def _work(types: Sequence[CubeType], _args: Mapping[str, Any], pixels: int) -> int:
    return 8 * len(types[0].time) * (4 * pixels + 8 * AT_ONCE)


@operator(
    "change",
    Tile.ARRAY,
    _rule,
    work=_work,
    interpreted="needs all times of a pixel at once",
    example="image.select('nir', 'red').rename('ifz', 'ndvi').tracked_at((0.0, 366.0, 731.0), fewest=3)",
)
def tracked_at(
    image: Block,
    days: tuple[float, ...],
    max_ud: float = 4.0,
    min_ndvi: float = 0.45,
    for_thr_max: float = 3.0,
    persistence: int = 2,
    fewest: int = 6,
) -> Block:
    """Track forest at some days since 1970; `vct` takes the days from the dates, and explains."""
    options = {
        "max_ud": max_ud,
        "min_ndvi": min_ndvi,
        "for_thr_max": for_thr_max,
        "persistence": persistence,
        "fewest": fewest,
    }
    years = decimal_years(days)
    return by_series(image, len(TOLD), lambda values, valid: _tracked(years, values, valid, options))


@composite(
    "change",
    example="yearly.select('swir2').forest_z_score((0.05,), (0.01,)).add_bands(yearly.select('nbr').rename('ndvi')).vct()",
)
def vct(
    image: Image,
    max_ud: float = 4.0,
    min_ndvi: float = 0.45,
    for_thr_max: float = 3.0,
    persistence: int = 2,
    fewest: int = 6,
) -> Image:
    """Yearly forest scores as forest, disturbance and what follows it: bands "class", "year" and "magnitude".

    The image has the bands "ifz" (as of `forest_z_score`), "ndvi" and, if wanted, "water" (not 0 where there is), in this
    order, and rising dates, one a year. The result has the same times, float64. "class" is 1 non-forest all the time, 2
    forest not disturbed so far, 3 water, 4 disturbed before, forest again, 5 disturbed at this time, 6 disturbed before, not
    forest. "year" is the decimal year of the last disturbance up to a time, "magnitude" the largest score until it looks
    like forest again, less the last score before; both are not valid before the first one within the series.

    A time looks like forest with a score up to `for_thr_max` and an NDVI from `min_ndvi` on. `persistence` such times in a
    row make forest; as many others in a row end it, if the score rises above `max_ud`, or NDVI falls short, at one of
    them. So the last time alone tells no disturbance. A series that is not forest at first and then becomes it counts as
    disturbed before. Series that never are forest are water where more than half of their times are. Times where a band is
    not valid are passed over and not valid, as are series with fewer than `fewest` valid ones.

    Raises BandError for other bands, ExpressionError for dates that do not rise or options out of range. Source: Huang et
    al. (2010), "An automated approach for reconstructing recent forest disturbance history using dense Landsat time series
    stacks"; the classes are those of its maps. Options are named as in Earth Engine, which does not publish its inner steps:
    what they do here is said above, and results need not be the same.
    """
    options = (max_ud, min_ndvi, for_thr_max, persistence, fewest)
    return call("tracked_at", image, days_of("vct", image.type.time), *options)
