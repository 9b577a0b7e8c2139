"""Continuous change detection and classification: series of several bands as segments that harmonics fit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.block import Block
from esd.errors import BandError, ExpressionError
from esd.image import Image, call, composite
from esd.operator import Band, Tile, operator
from esd.space import CubeType

from .breaks import decimal_years
from .composites import finite
from .continuous import COLUMNS, Detector, Found, History, Rules, median
from .dates import YEAR, days_of
from .least_squares import harmonic_columns
from .seasons import EPOCH_DAYS, check_days, fitted_type, harmonic_labels

__all__: list[str] = []

Array = npt.NDArray[Any]
WHOLE_SERIES = "needs all times of a pixel at once"
PLAIN = ("start", "end", "break", "observations", "probability")
LABELS = (*PLAIN, *harmonic_labels(3), "rmse", "magnitude")
AT_ONCE = 256
OUTLIER = 0.999999
"""The share of a score's distribution beyond which a single observation is no observation of the surface."""
SCREEN_ROUNDS, BISQUARE, MAD = 5, 4.685, 0.6745
SCREEN_MARGIN = 4.89
"""Variograms from the robust model at which an observation stands out. Source: USGS (2018)."""
RIDGE = 1e-10


def screen(days: Array, values: Array, inside: Array, typical: Array) -> Array:
    """Return where any band [series, time, band] stands out from a robust harmonic model: shadows, haze and cloud.

    The model has a constant, a year's harmonic and one as long as the window in whole years (two at least), fitted by
    iterated reweighting with Tukey's bisquare. Source: Zhu and Woodcock (2014), "Automated cloud, cloud shadow, and snow
    detection in multitemporal Landsat data" (Tmask), with limits in units of each series' variogram.
    """
    last = np.where(inside, days, -np.inf).max(axis=1)
    years = np.maximum(np.ceil((last - days[:, 0]) / YEAR), 2.0)[:, None]
    angle = 2 * np.pi * (days - EPOCH_DAYS) / YEAR
    waves = (np.cos(angle), np.sin(angle), np.cos(angle / years), np.sin(angle / years))
    columns = np.stack([np.ones_like(days), *waves], axis=2)
    out = np.zeros(days.shape, dtype=bool)
    for band in range(values.shape[2]):
        y, weights = values[:, :, band, None], inside[:, :, None] * 1.0
        for _round in range(SCREEN_ROUNDS):
            weighted = (columns * weights).transpose(0, 2, 1)
            normal = weighted @ columns
            ridge = RIDGE * np.eye(5) * np.diagonal(normal, axis1=1, axis2=2)[:, None, :]
            rest = np.abs(y - columns @ np.linalg.solve(normal + ridge, weighted @ y))
            spread = np.maximum(median(rest, inside) / MAD, 1e-12)
            weights = np.maximum(1 - (rest / (BISQUARE * spread[:, None])) ** 2, 0) ** 2 * inside[:, :, None]
        out |= rest[:, :, 0] > SCREEN_MARGIN * typical[:, None, band]
    return out


def _rules(bands: Sequence[int], tmask: Sequence[int], options: Mapping[str, Any]) -> Rules:
    from scipy.special import chdtri

    def screen_bands(days: Array, values: Array, inside: Array, typical: Array) -> Array:
        return screen(days, values[:, :, list(tmask)], inside, typical[:, list(tmask)])

    return Rules(
        bands=bands,
        peek=options["min_observations"],
        change=float(chdtri(len(bands), 1 - options["chi_square"])),
        outlier=float(chdtri(len(bands), 1 - OUTLIER)),
        growth=options["growth"],
        penalty=options["penalty"],
        most=options["max_segments"],
        screen=screen_bands if tmask else None,
    )


def _numbers(found: Found, days: tuple[float, ...]) -> tuple[Array, Array]:
    """Return segments as numbers [segment, label, series, band], and which of them there are."""
    years, shape = np.asarray(decimal_years(days)), found.rmse.shape
    dates = [years[np.searchsorted(days, day)] if day.any() else day for day in (found.start, found.end, found.breaks)]
    plain = [np.broadcast_to(one[:, :, None], shape) for one in (*dates, found.count, found.probability)]
    coefficients = [found.coefficients[:, :, column] for column in range(COLUMNS)]
    there = found.count > 0
    known = np.repeat(there[:, None, :, None], len(LABELS), axis=1) & np.ones((1, 1, 1, shape[2]), dtype=bool)
    for label in ("break", "magnitude"):
        known[:, LABELS.index(label)] &= (found.probability == 1)[:, :, None]
    return np.stack([*plain, *coefficients, found.rmse, found.magnitude], axis=1), known


def _rule(
    image: CubeType, *, days: tuple[float, ...], bands: tuple[int, ...], tmask: tuple[int, ...], **options: Any
) -> CubeType:
    check_days("ccdc", image, days)
    if not bands or not all(isinstance(band, int) and 0 <= band < len(image.bands) for band in (*bands, *tmask)):
        raise BandError(f"continuous_at: bands={bands}, tmask={tmask} must hold positions of the {len(image.bands)} bands")
    if any(one >= other for one, other in itertools.pairwise(days)):
        raise ExpressionError("ccdc: the times must rise; aggregate them to one a date first")
    _check_options(**options)
    labels = [_label(label, number) for number in range(1, options["max_segments"] + 1) for label in LABELS]
    return fitted_type(image, labels)


def _label(label: str, number: int) -> str:
    return f"{label}_{number}"


def _check_options(min_observations: int, chi_square: float, growth: float, penalty: float, max_segments: int) -> None:
    if not 2 <= min_observations <= 100 or not 1 <= max_segments <= 50:
        raise ExpressionError(
            f"ccdc: min_observations={min_observations} (2 to 100) or max_segments={max_segments} (1 to 50) is out of range"
        )
    if not 0 < chi_square < OUTLIER or not growth >= 1 or not 0 <= penalty < np.inf:
        raise ExpressionError(
            f"ccdc: chi_square={chi_square:g} (0 to {OUTLIER:g}), growth={growth:g} (1 or more) or penalty={penalty:g} "
            "(0 or more) is out of range"
        )


def _work(types: Sequence[CubeType], args: Mapping[str, Any], pixels: int) -> int:
    times, bands = len(types[0].time), len(types[0].bands)
    told = int(args["max_segments"]) * len(LABELS) * bands
    return 8 * (2 * pixels * told + AT_ONCE * (5 * times * (COLUMNS + bands) + 2 * told + 60 * bands * COLUMNS))


@operator(
    "change",
    Tile.ARRAY,
    _rule,
    work=_work,
    interpreted=WHOLE_SERIES,
    example="image.select('nir', 'red').continuous_at((0.0, 91.0, 183.0), (0, 1))",
)
def continuous_at(
    image: Block,
    days: tuple[float, ...],
    bands: tuple[float, ...],
    tmask: tuple[float, ...] = (),
    min_observations: int = 6,
    chi_square: float = 0.99,
    growth: float = 1.33,
    penalty: float = 0.002,
    max_segments: int = 6,
) -> Block:
    """Segment series at some days since 1970 by bands at some positions; `ccdc` takes them by name, and explains."""
    options = {
        "min_observations": min_observations,
        "chi_square": chi_square,
        "growth": growth,
        "penalty": penalty,
        "max_segments": max_segments,
    }
    rules = _rules([int(band) for band in bands], [int(band) for band in tmask], options)
    times, many, *size = image.values.shape
    pixels = image.values[0, 0].size
    known = finite(image.values, image.full_valid).all(axis=1).reshape(times, pixels).T
    values = image.values.reshape(times, many, pixels).transpose(2, 0, 1)
    columns, line = harmonic_columns(days, 3, YEAR, EPOCH_DAYS, YEAR), np.asarray(days)
    shape = (max_segments, len(LABELS), pixels, many)
    out, told = np.zeros(shape), np.zeros(shape, dtype=bool)
    for start in range(0, pixels, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        found = Detector(History(line, columns, values[part].astype(np.float64), known[part]), rules).run()
        out[:, :, part], told[:, :, part] = _numbers(found, days)
    out, told = (one.swapaxes(2, 3).reshape(-1, many, *size) for one in (out, told))
    return Block(np.where(told, out, 0.0), told)


@composite("change", example="cube.images().stack().select('nir', 'red').ccdc(max_segments=1)")
def ccdc(
    image: Image,
    break_bands: tuple[Band, ...] = (),
    tmask_bands: tuple[Band, ...] = (),
    min_observations: int = 6,
    chi_square: float = 0.99,
    growth: float = 1.33,
    penalty: float = 0.002,
    max_segments: int = 6,
) -> Image:
    """Continuous change detection: each series as segments that harmonics of a year fit, with the breaks between them.

    The image has rising dates, about 12 a year or more, and reflectance in 0..1; a time counts where all bands are valid.
    The result has times "start_1", "end_1", "break_1" (decimal years), "observations_1", "probability_1" (equal in all
    bands), "constant_1", "trend_1", "cos1_1" to "sin3_1" (a model as of `harmonic_fit`), "rmse_1" and "magnitude_1", then
    those of segment 2, up to `max_segments`; later ones are left out. float64; a segment that there is not is not valid, nor
    are "break" and "magnitude" of one that does not end in a break: its "probability" is the share of `min_observations`
    that the series ended with strangely, that of a break is 1. `ccdc_segment` takes one.

    A segment starts with 12 observations in a year or more, without those that stand out of `tmask_bands` (none: no such
    screening). It goes on while not `min_observations` in a row are strange: the sum over `break_bands` (none: all) of
    squared residuals, in units of the larger of RMSE and variogram, exceeds the quantile `chi_square` of chi-square. A
    start whose trend, together with the larger of its first and last residuals, would be strange moves on by one. Single
    observations beyond 0.999999 are dropped. Models have 4, from 18 observations on 6, from 24 on 8 coefficients, are
    fitted anew for each observation until 24, then whenever the window has grown by `growth`, at last to the whole segment,
    by a lasso of `penalty` (times 10000 for numbers of 1/10000: Earth Engine's 20). "magnitude" is the median residual of
    the observations that tell the break.

    Raises BandError for bands that are not there, ExpressionError for dates that do not rise or options out of range.
    Source: Zhu and Woodcock (2014), "Continuous change detection and classification of land cover using all available
    Landsat data", with the chi-square score, variogram and steps of USGS (2018), "LCMAP CCDC algorithm description", and
    the test of starts of Zhu et al. (2020), "Continuous monitoring of land disturbance based on Landsat time series";
    without their RMSE by season, models of what does not settle, and angle between changes. Earth Engine does not publish
    its inner steps; breaks at the margin may differ.
    """
    for band in (*break_bands, *tmask_bands):
        if band not in image.type.bands:
            raise BandError(f"ccdc: there is no band {band!r} among {', '.join(image.type.bands)}")
    bands, tmask = (
        tuple(image.type.bands.index(band) for band in chosen) for chosen in (break_bands or image.type.bands, tmask_bands)
    )
    options = (min_observations, chi_square, growth, penalty, max_segments)
    return call("continuous_at", image, days_of("ccdc", image.type.time), bands, tmask, *options)


@composite("change", example="cube.images().stack().select('nir', 'red').ccdc().ccdc_segment()")
def ccdc_segment(segments: Image, number: int = 1) -> Image:
    """One segment of `ccdc`, the first is 1: its times "start" to "magnitude", as they are named there without number.

    Its times 5 to 13, `.array_slice(5, 14)`, are what `predict_harmonic` takes. Raises ExpressionError for an image without
    that segment.
    """
    labels = tuple(_label(label, number) for label in LABELS)
    if not set(labels) <= set(segments.type.time):
        raise ExpressionError(
            f"ccdc_segment: there is no segment {number}; give what ccdc returned, and 1 up to max_segments"
        )
    first = segments.type.time.index(labels[0])
    return call("rename_times", segments.array_slice(first, first + len(LABELS)), LABELS)
