"""Change between two windows: the angle between a pixel's vectors, and a threshold with a known false-alarm rate.

A fixed threshold means something else in every landscape: how far apart the vectors of an unchanged pixel lie depends on
the encoder, the clouds of both years and the land itself. The threshold is taken from unchanged pixels instead: from a mask
of stable ones where there is one, else from the bulk of the angles (`change_null`). One half of the land, a chessboard of
squares of 16 pixels, gives the threshold, the other half tells the false-alarm rate that it has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from esd.cube import codec_by_hash
from esd.engine.execute import region_for, run_tiles
from esd.engine.plan import make_plan
from esd.errors import ExpressionError, GridError
from esd.grid import Region
from esd.image import Image, call
from esd.space import Space

from .change_null import MixedNull, Sample
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


def _require_bulk(pixels: int) -> None:
    if pixels < FEWEST:
        raise ExpressionError(
            f"only {pixels} valid pixels in half of the land, {FEWEST} are needed to tell change from chance; "
            "give a larger area"
        )


def change_threshold(angles: Angles, alpha: float = 0.01, stable: Bools | None = None) -> float:
    """Return the angle in radians above which a pixel counts as changed.

    `angles` are finite radians of any shape. With `stable`, bool of the same shape, it is the conformal quantile of the
    stable ones: a false-alarm rate of at most `alpha` for pixels like them. Without, a null distribution (normal in some
    power of the angle) is fitted to the lower 60 percent and extrapolated; the more has changed, the more cautious it is.
    Of land that differs in how much it varies `detect_change` knows more, and fits closer.
    Raises ExpressionError for too few pixels or an alpha outside 0..0.5.
    """
    _check_alpha(alpha)
    if stable is None:
        _require_bulk(np.size(angles))
        return _edge(MixedNull.fit(np.ravel(angles).astype(np.float64), None, WIDTH).upper(alpha))
    histogram = _Histogram()
    histogram.add(np.asarray(angles)[stable])
    return _stable_threshold(histogram, alpha)


def _held_out(part: Region) -> Bools:
    """Tell which pixels of a region lie on the black squares of the chessboard."""
    row, column = np.arange(part.y0, part.y1) // SQUARE, np.arange(part.x0, part.x1) // SQUARE
    return np.asarray((row[:, None] + column[None, :]) % 2 == 1)


class _StableHalf(_Histogram):
    """Angles of the stable pixels of one half of the land, counted."""

    basis = "stable pixels"

    def upper(self, alpha: float, _smallest: float) -> float:
        return _stable_threshold(self, alpha)

    def tail(self, threshold: float, _smallest: float) -> float:
        return self.share_above(threshold)


class _BulkHalf(Sample):
    """A sample of one half of the land: angles, and what land they are of."""

    basis = "bulk of the angles"

    def upper(self, alpha: float, smallest: float) -> float:
        angle = self._null(smallest).upper(alpha)
        return smallest if angle <= smallest else _edge(angle)

    def tail(self, threshold: float, smallest: float) -> float:
        return self._null(smallest).tail(threshold)

    def _null(self, smallest: float) -> MixedNull:
        _require_bulk(self.total)
        return MixedNull.fit(self.rows[:, 0], self.rows[:, 1:], smallest)


@dataclass
class _Counted:
    """What one pass over the land finds: the half that calibrates, the one held out, and angles and lengths of all."""

    halves: tuple[_StableHalf, _StableHalf] | tuple[_BulkHalf, _BulkHalf]
    everything: _Histogram
    norms: _Histogram


def _planes(image: Image, geobox: GeoBox | None, max_memory: int | None) -> Iterator[tuple[Region, Angles, Bools]]:
    """Yield tile by tile the values and validity [band, y, x] of an image of one time."""
    whole, region = region_for(image, geobox, "nearest")
    if whole.expr is not image.expr:
        raise GridError("detect_change: the area asked for is on another grid; give one whose pixels coincide")
    for part, block in run_tiles(make_plan(whole.expr, region, None, max_memory, threads=1)):
        yield part, block.values[0], block.full_valid[0]


def _count_stable(
    angle: Image, norm: Image, stable: Image | Bools, geobox: GeoBox | None, max_memory: int | None
) -> _Counted:
    """Count angles and lengths in one pass over the land, tile by tile."""
    judged = angle.update_mask(stable) if isinstance(stable, Image) else angle
    planes = call("add_bands", angle, norm, judged.rename("judged"))
    halves = _StableHalf(), _StableHalf()
    counted = _Counted(halves, _Histogram(), _Histogram(scale=100.0))
    for part, values, valid in _planes(planes, geobox, max_memory):
        _add(counted, values, valid)
        chosen = valid[2]
        if isinstance(stable, np.ndarray):
            chosen = chosen & stable[part.slices]
        black = _held_out(part)
        for half, pixels in zip(halves, (chosen & ~black, chosen & black), strict=True):
            half.add(values[2][pixels])
    return counted


def _count_bulk(angle: Image, norm: Image, vectors: Image, geobox: GeoBox | None, max_memory: int | None) -> _Counted:
    """Sample the land in one pass over it: angles, and the mean and spread over the steps of the first year's vectors."""
    land = [vectors.mean(), vectors.std()]
    named = [
        image.rename(*(f"{kind}_{band}" for band in image.type.bands))
        for kind, image in zip(("mean", "std"), land, strict=True)
    ]
    planes = call("add_bands", angle, norm, *named)
    columns = len(planes.type.bands) - 1
    halves = _BulkHalf(columns), _BulkHalf(columns)
    counted = _Counted(halves, _Histogram(), _Histogram(scale=100.0))
    for part, values, valid in _planes(planes, geobox, max_memory):
        _add(counted, values, valid)
        black = _held_out(part)
        for half, pixels in zip(halves, (valid[0] & ~black, valid[0] & black), strict=True):
            y, x = (index.astype(np.int64) for index in np.nonzero(pixels))
            half.add(y + part.y0, x + part.x0, np.delete(values, 1, axis=0)[:, pixels].T.astype(np.float64))
    return counted


def _add(counted: _Counted, values: Angles, valid: Bools) -> None:
    counted.everything.add(values[0][valid[0]])
    counted.norms.add(values[1][valid[1]])


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
    without it the null distribution comes from the bulk of the angles of land alike, which holds while most is unchanged;
    real noise has longer tails than that tells: false alarms were up to three times `alpha` on a Landsat chip.
    `geobox` restricts the pixels that calibrate. One pass over the land is run, in bounded memory; the images of the result
    are lazy. The threshold is one for all land: where cover types differ in how much they vary, false alarms gather in the
    more variable ones, so that a mask of the type of interest is worth giving.
    Raises EncoderError for images of different encoders, ExpressionError for too few pixels, GridError for other grids.
    """
    _check_alpha(alpha)
    angle, norm = call("angle", image_a, image_b), call("norm", image_a)
    if isinstance(stable, np.ndarray):
        _check_mask(stable, angle)
    if stable is None:
        vectors = call("embedding", image_a) if image_a.type.space is Space.CODES else image_a
        counted = _count_bulk(angle, norm, vectors, geobox, max_memory)
    else:
        counted = _count_stable(angle, norm, stable, geobox, max_memory)
    encoder = image_a.type.encoder
    smallest = None
    if encoder is not None and codec_by_hash(encoder).has_codes and counted.norms.total:
        smallest = _edge(one_level_angle(codec_by_hash(encoder), counted.norms.quantile(0.5)))
    calibration = _calibrate(counted, alpha, smallest)
    return Change(angle, (angle > calibration.threshold).rename("changed"), calibration)


def _calibrate(counted: _Counted, alpha: float, smallest: float | None) -> Calibration:
    half, held_out = counted.halves
    floor = smallest or WIDTH
    threshold = max(half.upper(alpha, floor), smallest or 0.0)
    return Calibration(
        threshold=threshold,
        alpha=alpha,
        basis=half.basis,
        calibration_pixels=half.total,
        held_out_pixels=held_out.total,
        false_alarm_rate=held_out.tail(threshold, floor),
        changed_share=counted.everything.share_above(threshold),
        smallest_angle=smallest,
    )
