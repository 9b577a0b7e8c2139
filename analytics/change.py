"""Change between two windows: the angle between a pixel's vectors, and a threshold with a known false-alarm rate.

A fixed threshold means something else in every landscape: how far apart the vectors of an unchanged pixel lie depends on
the encoder, the clouds of both years and the land itself. The threshold is taken from unchanged pixels instead: from a mask
of stable ones where there is one, else from the bulk of the angles. One half of the land, a chessboard of squares of 16
pixels, gives the threshold, the other half tells the false-alarm rate that it has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from esd.cube import codec_by_hash
from esd.engine.execute import region_for, run_tiles
from esd.engine.plan import make_plan
from esd.errors import ExpressionError, GridError
from esd.grid import Region
from esd.image import Image, call

from .embedding import one_level_angle

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["Calibration", "Change", "change_threshold", "detect_change"]

BINS = 1 << 16
WIDTH = math.pi / BINS
"""Width of a histogram bin in radians, 0.00005: angles are counted, not kept, so that memory does not grow with the area."""
SQUARE = 16
FEWEST = 100
"""Pixels in each half of the land below which a distribution says nothing."""
LEVELS = (0.02, 0.05, 0.1, 0.16, 0.25, 0.35, 0.5, 0.6)
"""Shares of the angles to which the null distribution is fitted: low ones, where changed pixels are rare."""
POWERS = tuple(step * 0.25 for step in range(9))

Angles = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


def _edge(angle: float) -> float:
    """Round an angle up to the edge of a bin, so that counting bins and comparing angles agree."""
    return math.ceil(angle / WIDTH) * WIDTH


class _Histogram:
    """Counts of numbers in 0..pi, or in 0..pi x `scale`."""

    def __init__(self, scale: float = 1.0) -> None:
        self.counts = np.zeros(BINS, dtype=np.int64)
        self.width = WIDTH * scale

    def add(self, values: Angles) -> None:
        bins = np.clip(values / self.width, 0, BINS - 1).astype(np.int64)
        self.counts += np.bincount(bins, minlength=BINS)

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def at_rank(self, rank: int) -> float:
        """Return the upper edge of the bin that holds the value of a rank, the smallest being 1."""
        return (int(np.searchsorted(np.cumsum(self.counts), rank)) + 1) * self.width

    def quantile(self, share: float) -> float:
        return self.at_rank(max(1, math.ceil(share * self.total)))

    def share_above(self, threshold: float) -> float:
        """Return the share of values above a bin's edge."""
        return float(self.counts[round(threshold / self.width) :].sum() / max(self.total, 1))


@dataclass(frozen=True)
class _Null:
    """The distribution of unchanged angles: a power of the angle (0 stands for its logarithm) is normal."""

    power: float
    centre: float
    spread: float

    @classmethod
    def fit(cls, angles: _Histogram) -> _Null:
        """Fit the lower quantiles: the power that makes them most nearly normal, then centre and spread by a line."""
        scores = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
        quantiles = np.array([angles.quantile(level) for level in LEVELS])
        if quantiles[-1] - quantiles[0] < len(LEVELS) * WIDTH:
            return cls(1.0, float(quantiles[-1]), 0.0)
        best = max(POWERS, key=lambda power: float(np.corrcoef(scores, _to_power(quantiles, power))[0, 1]))
        spread, centre = np.polyfit(scores, _to_power(quantiles, best), 1)
        return cls(best, float(centre), float(spread))

    def upper(self, alpha: float) -> float:
        """Return the angle that a share `alpha` of unchanged pixels exceeds; at most pi."""
        value = self.centre + NormalDist().inv_cdf(1 - alpha) * self.spread
        angle = math.exp(value) if self.power == 0 else max(value, 0.0) ** (1 / self.power)
        return _edge(min(angle, math.pi))

    def tail(self, angle: float) -> float:
        """Return the share of unchanged pixels that exceed an angle."""
        value = float(_to_power(np.array([angle]), self.power)[0])
        if self.spread == 0:
            return float(value < self.centre)
        return 1 - NormalDist(self.centre, self.spread).cdf(value)


def _to_power(angles: npt.NDArray[np.float64], power: float) -> npt.NDArray[np.float64]:
    return np.log(angles) if power == 0 else angles**power


@dataclass(frozen=True)
class Calibration:
    """What stands behind a threshold.

    `threshold` in radians; `alpha` the false-alarm rate asked for; `basis` "stable pixels" or "bulk of the angles".
    `false_alarm_rate` is that of the held-out half: counted on its stable pixels, or, where there is no mask of them, the
    tail beyond the threshold of a null distribution fitted to that half alone (an estimate, not a count).
    `smallest_angle` is the angle of one FSQ level at the median length of a vector, None for images without an encoder; a
    threshold is never below it. `changed_share` is the share of all valid pixels above the threshold.
    """

    threshold: float
    alpha: float
    basis: str
    calibration_pixels: int
    held_out_pixels: int
    false_alarm_rate: float
    changed_share: float
    smallest_angle: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Change:
    """Change between two windows: lazy images `angle` (radians, float32) and `changed` (bool), and their calibration."""

    angle: Image
    changed: Image
    calibration: Calibration

    @property
    def threshold(self) -> float:
        """The angle in radians above which a pixel counts as changed."""
        return self.calibration.threshold


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha <= 0.5:
        raise ExpressionError(f"alpha={alpha} is no false-alarm rate; give a share above 0 and at most 0.5")


def _stable_threshold(angles: _Histogram, alpha: float) -> float:
    """Return the threshold that unchanged pixels like these exceed with probability `alpha` at most.

    The rank is that of split conformal prediction: ceil((n + 1)(1 - alpha)) of n. Source: Vovk et al., "Algorithmic
    Learning in a Random World" (2005).
    """
    rank = math.ceil((angles.total + 1) * (1 - alpha))
    if rank > angles.total:
        needed = math.ceil(1 / alpha) - 1
        raise ExpressionError(
            f"{angles.total} stable pixels cannot tell a false-alarm rate of {alpha:g}, {needed} are needed in each half of "
            "the land; give more of them, or a larger alpha"
        )
    return angles.at_rank(rank)


def _require_bulk(angles: _Histogram) -> None:
    if angles.total < FEWEST:
        raise ExpressionError(
            f"only {angles.total} valid pixels in half of the land, {FEWEST} are needed to tell change from chance; "
            "give a larger area"
        )


def change_threshold(angles: Angles, alpha: float = 0.01, stable: Bools | None = None) -> float:
    """Return the angle in radians above which a pixel counts as changed.

    `angles` are finite radians of any shape. With `stable`, bool of the same shape, it is the conformal quantile of the
    stable ones: a false-alarm rate of at most `alpha` for pixels like them. Without, a null distribution (normal in some
    power of the angle) is fitted to the lower 60 percent and extrapolated; the more has changed, the more cautious it is.
    Raises ExpressionError for too few pixels or an alpha outside 0..0.5.
    """
    _check_alpha(alpha)
    histogram = _Histogram()
    histogram.add(np.asarray(angles)[stable] if stable is not None else np.ravel(angles))
    if stable is not None:
        return _stable_threshold(histogram, alpha)
    _require_bulk(histogram)
    return _Null.fit(histogram).upper(alpha)


def _held_out(part: Region) -> Bools:
    """Tell which pixels of a region lie on the black squares of the chessboard."""
    row, column = np.arange(part.y0, part.y1) // SQUARE, np.arange(part.x0, part.x1) // SQUARE
    return np.asarray((row[:, None] + column[None, :]) % 2 == 1)


@dataclass
class _Counted:
    """Histograms of one pass over the land."""

    calibration: _Histogram
    held_out: _Histogram
    everything: _Histogram
    norms: _Histogram


def _planes(image: Image, geobox: GeoBox | None, max_memory: int | None) -> Iterator[tuple[Region, Angles, Bools]]:
    """Yield tile by tile the values and validity [band, y, x] of an image of one time."""
    whole, region = region_for(image, geobox, "nearest")
    if whole.expr is not image.expr:
        raise GridError("detect_change: the area asked for is on another grid; give one whose pixels coincide")
    for part, block in run_tiles(make_plan(whole.expr, region, None, max_memory, threads=1)):
        yield part, block.values[0], block.full_valid[0]


def _count(
    angle: Image, norm: Image, stable: Image | Bools | None, geobox: GeoBox | None, max_memory: int | None
) -> _Counted:
    """Count angles and lengths in one pass over the land, tile by tile."""
    judged = angle.update_mask(stable) if isinstance(stable, Image) else angle
    planes = call("add_bands", angle, judged.rename("judged"), norm)
    counted = _Counted(_Histogram(), _Histogram(), _Histogram(), _Histogram(scale=100.0))
    for part, values, valid in _planes(planes, geobox, max_memory):
        chosen = valid[1]
        if isinstance(stable, np.ndarray):
            chosen = chosen & stable[part.slices]
        black = _held_out(part)
        counted.everything.add(values[0][valid[0]])
        counted.calibration.add(values[1][chosen & ~black])
        counted.held_out.add(values[1][chosen & black])
        counted.norms.add(values[2][valid[2]])
    return counted


def _check_mask(stable: Bools, image: Image) -> None:
    grid = image.type.grid
    if grid is not None and stable.shape != tuple(grid.shape):
        raise GridError(f"the mask of stable pixels is {stable.shape}, the image {tuple(grid.shape)}; give the same grid")


def detect_change(
    image_a: Image,
    image_b: Image,
    alpha: float = 0.01,
    stable: Image | Bools | None = None,
    *,
    geobox: GeoBox | None = None,
    max_memory: int | None = None,
) -> Change:
    """Find change between two windows: the angle between the vectors of each pixel, and a calibrated threshold.

    The images are windows of cubes of the same encoder and grid. `alpha` is the share of unchanged pixels that may be
    called changed. `stable` marks unchanged land, an image on the grid (valid and not zero) or a bool array [y, x] of it;
    without it the null distribution comes from the bulk of the angles, which holds while most of the land is unchanged.
    `geobox` restricts the pixels that calibrate. One pass over the land is run, in bounded memory; the images of the result
    are lazy. The null is that of the land as a whole: where cover types differ in how much they vary, false alarms
    gather in the more variable ones, so that a mask of the type of interest is worth giving.
    Raises EncoderError for images of different encoders, ExpressionError for too few pixels, GridError for other grids.
    """
    _check_alpha(alpha)
    angle = call("angle", image_a, image_b)
    if isinstance(stable, np.ndarray):
        _check_mask(stable, angle)
    counted = _count(angle, call("norm", image_a), stable, geobox, max_memory)
    encoder = image_a.type.encoder
    smallest = None
    if encoder is not None and codec_by_hash(encoder).has_codes and counted.norms.total:
        smallest = _edge(one_level_angle(codec_by_hash(encoder), counted.norms.quantile(0.5)))
    calibration = _calibrate(counted, alpha, stable is not None, smallest)
    return Change(angle, (angle > calibration.threshold).rename("changed"), calibration)


def _calibrate(counted: _Counted, alpha: float, masked: bool, smallest: float | None) -> Calibration:
    if masked:
        threshold = max(_stable_threshold(counted.calibration, alpha), smallest or 0.0)
        rate = counted.held_out.share_above(threshold)
    else:
        _require_bulk(counted.calibration)
        _require_bulk(counted.held_out)
        threshold = max(_Null.fit(counted.calibration).upper(alpha), smallest or 0.0)
        rate = _Null.fit(counted.held_out).tail(threshold)
    return Calibration(
        threshold=threshold,
        alpha=alpha,
        basis="stable pixels" if masked else "bulk of the angles",
        calibration_pixels=counted.calibration.total,
        held_out_pixels=counted.held_out.total,
        false_alarm_rate=rate,
        changed_share=counted.everything.share_above(threshold),
        smallest_angle=smallest,
    )
