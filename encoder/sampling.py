"""Training samples: which pixels are held out, what is hidden from the encoder, and how a batch is drawn.

Arrays are dekads: `values` float32 [36, 6, pixels] reflectance and `weights` uint8 [36, 6, pixels], the number of
clear observations behind each value; a value whose weight is 0 was not observed and is never looked at.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.dekad import BANDS, DEKADS
from esd.errors import EncoderError

__all__ = [
    "Augmentation",
    "Batch",
    "Hiding",
    "Sampling",
    "Source",
    "calibration_pixels",
    "class_names",
    "draw_batch",
    "held_out",
    "hide",
    "hide_dekads",
    "observed_pixels",
    "split",
    "vary",
]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

EVEN = ("", "class", "place")
"""Of what a source can be drawn evenly: nothing (all pixels alike), its classes, or its groups."""
MODIS_BANDS_MISSING = (BANDS.index("green"), BANDS.index("swir1"))
"""MOD13Q1 carries blue, red, nir and a band near swir2."""


@dataclass(frozen=True)
class Source:
    """Pixel-years of one origin.

    `values` float32 and `weights` uint8 are [36, 6, n]; `groups` [n] names the place of each pixel, which is held out
    as a whole; `share` is the part of every batch drawn from this source; `labels` [n] are land-cover names, if known.
    `even` is one of EVEN: with "class" rare classes, with "place" places of few pixels are drawn as often as others.
    Raises EncoderError if the shapes do not fit, the share is not positive, or there are no classes to draw evenly.
    """

    name: str
    values: Floats
    weights: Weights
    groups: npt.NDArray[np.generic]
    share: float = 1.0
    labels: npt.NDArray[np.generic] | None = None
    even: str = ""

    def __post_init__(self) -> None:
        expected = (DEKADS, len(BANDS), self.size)
        if self.values.shape != expected or self.weights.shape != expected or self.groups.shape != (self.size,):
            raise EncoderError(
                f"source {self.name!r} has values {self.values.shape}, weights {self.weights.shape} and groups "
                f"{self.groups.shape}; they have to be [36, 6, n], [36, 6, n] and [n]"
            )
        if self.size == 0:
            raise EncoderError(f"source {self.name!r} holds no pixel; give it pixels or take it out of the config")
        if not self.share > 0:
            raise EncoderError(f"source {self.name!r} has share {self.share}; it has to be above 0")
        if self.even not in EVEN:
            raise EncoderError(f"source {self.name!r}: even is {self.even!r}; use 'class', 'place' or nothing")
        if self.even == "class" and self.labels is None:
            raise EncoderError(f"source {self.name!r} has no labels to draw its classes evenly; use even = 'place'")

    @property
    def size(self) -> int:
        """Number of pixel-years."""
        return int(self.values.shape[-1])

    def take(self, chosen: npt.NDArray[Any]) -> Source:
        """Return the pixel-years that an index or mask chooses."""
        return dataclasses.replace(
            self,
            values=self.values[..., chosen],
            weights=self.weights[..., chosen],
            groups=self.groups[chosen],
            labels=None if self.labels is None else self.labels[chosen],
        )

    @cached_property
    def _kinds(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """How many pixels each class or place has, and the pixels in the order of these."""
        by = self.labels if self.even == "class" and self.labels is not None else self.groups
        kind = np.unique(by, return_inverse=True)[1]
        return np.bincount(kind), np.argsort(kind, kind="stable")

    def draw(self, count: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        """Return the numbers of so many pixels drawn at random, with repetition."""
        if not self.even:
            return rng.integers(0, self.size, count)
        counts, order = self._kinds
        kind = rng.integers(0, counts.size, count)
        return np.asarray(order[np.cumsum(counts)[kind] - counts[kind] + rng.integers(0, counts[kind])])


def _order(group: object) -> bytes:
    return hashlib.sha256(str(group).encode()).digest()


def held_out(groups: npt.NDArray[np.generic], folds: int = 5, fold: int = 0) -> Mask:
    """Return which pixels belong to the held-out groups of one fold.

    The groups are ordered by the SHA-256 of their name, and every `folds`-th one, from number `fold`, is held out: at
    least one group is, wherever there are more groups than `fold`. The order does not depend on the data.
    """
    names = sorted(np.unique(groups).tolist(), key=_order)
    return np.isin(groups, names[fold::folds])


def split(source: Source, folds: int = 5, fold: int = 0) -> tuple[Source, Source]:
    """Return the training pixels and the held-out pixels of a source.

    Raises EncoderError if one of the two would be empty.
    """
    out = held_out(source.groups, folds, fold)
    if out.all() or not out.any():
        raise EncoderError(
            f"source {source.name!r} has {np.unique(source.groups).size} groups; at least two are needed to hold one out"
        )
    return source.take(~out), source.take(out)


def calibration_pixels(source: Source) -> Mask:
    """Return which training pixels are set aside to calibrate the uncertainty and to stop early: one group in sixteen.

    A source of fewer than ten groups gives none, for it would lose too much.
    """
    if np.unique(source.groups).size < 10:
        return np.zeros(source.size, dtype=bool)
    return held_out(source.groups, 16, 0)


@dataclass(frozen=True)
class Hiding:
    """How observations are hidden in training: the share of pixels that each pattern meets.

    `dekads`: single dekads, at a rate drawn up to `rate`; `seasons`: up to three runs of two to nine dekads; `bands`:
    one band, or the two that MODIS lacks; `sparse`: all but three to eight dekads. Patterns can meet.
    """

    dekads: float = 0.4
    rate: float = 0.6
    seasons: float = 0.3
    bands: float = 0.1
    sparse: float = 0.1


def observed_pixels(weights: Weights) -> Mask:
    """Return which pixel-years have an observation at all: weights [36, 6, n] to [n]."""
    return np.asarray((weights > 0).any(axis=(0, 1)))


def _season_runs(pixels: int, rng: np.random.Generator) -> Mask:
    dekad = np.arange(DEKADS)[:, None]
    hidden = np.zeros((DEKADS, pixels), dtype=bool)
    for number in range(3):
        start = rng.integers(0, DEKADS, pixels)
        length = rng.integers(2, 10, pixels)
        used = rng.random(pixels) < (1.0, 0.5, 0.25)[number]
        hidden |= used & ((dekad - start) % DEKADS < length)
    return hidden


def _missing_bands(pixels: int, rng: np.random.Generator) -> Mask:
    like_modis = rng.random(pixels) < 0.5
    single = rng.integers(0, len(BANDS), pixels)
    hidden = np.zeros((len(BANDS), pixels), dtype=bool)
    hidden[list(MODIS_BANDS_MISSING)] = like_modis
    hidden[single[~like_modis], np.flatnonzero(~like_modis)] = True
    return hidden


def hide(weights: Weights, hiding: Hiding, rng: np.random.Generator) -> Weights:
    """Return the weights that the encoder is shown: [36, 6, n], 0 where an observation is hidden from it.

    A pixel of which nothing would remain keeps all of its observations.
    """
    pixels = weights.shape[2]
    meets = rng.random((4, pixels)) < np.array([hiding.dekads, hiding.seasons, hiding.bands, hiding.sparse])[:, None]
    rate = rng.uniform(0.05, hiding.rate, pixels)
    by_dekad = meets[0] & (rng.random((DEKADS, pixels)) < rate)
    by_dekad |= meets[1] & _season_runs(pixels, rng)
    seen = (weights > 0).any(axis=1)
    order = np.argsort(np.where(seen, rng.random(seen.shape), 2.0), axis=0).argsort(axis=0)
    by_dekad |= meets[3] & (order >= rng.integers(3, 9, pixels))
    hidden = by_dekad[:, None] | (meets[2] & _missing_bands(pixels, rng))[None]
    shown = np.where(hidden, 0, weights).astype(np.uint8)
    nothing_left = np.logical_not(observed_pixels(shown))
    shown[..., nothing_left] = weights[..., nothing_left]
    return shown


def hide_dekads(weights: Weights, share: float, seed: int) -> Weights:
    """Return the weights with a random share of every pixel's observed dekads hidden, all bands of them: [36, 6, n].

    At least one observed dekad stays. This is how held-out observations are made for evaluation.
    """
    rng = np.random.default_rng(seed)
    seen: Mask = np.asarray((weights > 0).any(axis=1))
    rank = np.argsort(np.where(seen, rng.random(seen.shape), 2.0), axis=0).argsort(axis=0)
    count = seen.sum(axis=0)
    hidden = rank < np.minimum(np.rint(share * count), count - 1)
    return np.where(hidden[:, None] & seen[:, None], 0, weights).astype(np.uint8)


@dataclass(frozen=True)
class Augmentation:
    """How training pixels are varied: the share of pixels that each change meets.

    `shift`: the year begins at another dekad; `blend`: a mixed pixel of two of the same source (reflectance mixes
    linearly by area); `clouds`: a thin to thick cloud or shadow that a mask overlooked, on one or two dekads and part
    of the target too; `gain`: standard deviation of a factor on every band (sensor and correction differences); `spikes`:
    one band far too bright on a dekad, as where a detector saturates, and half so on the next one, as where gaps are
    filled from it, part of the target too.
    """

    shift: float = 0.5
    blend: float = 0.3
    clouds: float = 0.0
    gain: float = 0.02
    spikes: float = 0.0


def _overlook_clouds(values: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Return the values with clouds (three of four) and shadows laid over one or two neighbouring dekads."""
    pixels = values.shape[2]
    meets, shadow, lasts = rng.random((3, pixels)) < np.array([share, 0.25, 0.5])[:, None]
    bright = rng.uniform(0.4, 1.0, pixels) + rng.normal(0, 0.05, (len(BANDS), pixels))
    color = np.where(shadow, rng.uniform(0.0, 0.05, pixels), bright).astype(np.float32)
    opacity = rng.beta(1, 2.5, pixels) * meets
    cover = np.zeros((DEKADS, pixels), dtype=np.float32)
    dekad, pixel = rng.integers(0, DEKADS, pixels), np.arange(pixels)
    cover[dekad, pixel] = opacity
    cover[(dekad + 1) % DEKADS, pixel] = opacity * lasts * rng.random(pixels)
    return values + cover[:, None] * (color - values)


def _spike(values: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Return the values with one band of some pixels far too bright on a dekad, and of half of them half so on the next."""
    pixels = values.shape[2]
    meets, lasts = rng.random((2, pixels)) < np.array([share, 0.5])[:, None]
    bright = np.asarray(rng.uniform(0.5, 1.0, pixels), dtype=np.float32)
    dekad, band, pixel = rng.integers(0, DEKADS, pixels), rng.integers(0, len(BANDS), pixels), np.arange(pixels)
    result = values.copy()
    for later, opacity in ((0, meets * np.float32(1)), (1, meets * lasts * np.float32(0.5))):
        place = (dekad + later) % DEKADS, band, pixel
        result[place] += opacity * (bright - result[place])
    return result


def _blend(values: Floats, weights: Weights, share: float, rng: np.random.Generator) -> tuple[Floats, Weights, Mask]:
    """Return mixed pixels of two that were observed on mostly the same dekads, and which pixels those are."""
    pixels = values.shape[2]
    partner = rng.permutation(pixels)
    both = (weights > 0) & (weights[..., partner] > 0)
    overlap = both.sum(axis=(0, 1)) >= 0.7 * (weights > 0).sum(axis=(0, 1))
    blended = (rng.random(pixels) < share) & overlap
    area = np.where(blended, rng.uniform(0.5, 1.0, pixels), 1.0).astype(np.float32)
    mixed = values * area + values[..., partner] * (1 - area)
    return mixed, np.where(blended & ~both, 0, weights).astype(np.uint8), blended


def vary(values: Floats, weights: Weights, how: Augmentation, rng: np.random.Generator) -> tuple[Floats, Weights, Mask]:
    """Return varied pixel-years, [36, 6, n] values and weights, and which of the n are mixed pixels. See Augmentation."""
    pixels = values.shape[2]
    values, weights, blended = _blend(values, weights, how.blend, rng)
    values = _overlook_clouds(values, how.clouds, rng)
    if how.spikes > 0:  # a recipe without them goes on to draw the batches that its codec was trained on
        values = _spike(values, how.spikes, rng)
    values = values * rng.normal(1.0, how.gain, (1, len(BANDS), pixels)).astype(np.float32)
    shift = np.where(rng.random(pixels) < how.shift, rng.integers(0, DEKADS, pixels), 0)
    rows = ((np.arange(DEKADS)[:, None] - shift) % DEKADS)[:, None, :]
    return np.take_along_axis(values, rows, axis=0), np.take_along_axis(weights, rows, axis=0), blended


@dataclass(frozen=True)
class Batch:
    """What one step of training sees: `values` and `weights` as observed, `shown` the weights the encoder gets.

    `classes` [n] are land-cover classes by number, -1 where there is none to learn from; `origins` [n] the number of the
    source of each pixel.
    """

    values: Floats
    weights: Weights
    shown: Weights
    classes: npt.NDArray[np.int64]
    origins: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sampling:
    """Size of a batch, how its pixels are varied and hidden, and the land-cover classes by number."""

    batch: int = 512
    hiding: Hiding = field(default_factory=Hiding)
    augmentation: Augmentation = field(default_factory=Augmentation)
    classes: tuple[str, ...] = ()


def class_names(sources: Sequence[Source]) -> tuple[str, ...]:
    """Return the land-cover names of all labelled sources in alphabetical order."""
    return tuple(sorted({str(name) for source in sources if source.labels is not None for name in source.labels}))


def _draw(source: Source, count: int, sampling: Sampling, rng: np.random.Generator) -> tuple[Any, ...]:
    chosen = source.draw(count, rng)
    values, weights, blended = vary(source.values[..., chosen], source.weights[..., chosen], sampling.augmentation, rng)
    classes = np.full(count, -1)
    if source.labels is not None and sampling.classes:
        classes = np.where(blended, -1, np.searchsorted(sampling.classes, source.labels[chosen].astype(str)))
    return values, weights, classes


def draw_batch(sources: Sequence[Source], sampling: Sampling, rng: np.random.Generator) -> Batch:
    """Draw a batch: every source gives its share, pixels drawn at random, varied, then partly hidden."""
    shares = np.array([source.share for source in sources])
    counts = np.diff(np.rint(np.concatenate([[0], np.cumsum(shares / shares.sum())]) * sampling.batch)).astype(int)
    parts = [_draw(source, int(count), sampling, rng) for source, count in zip(sources, counts, strict=True)]
    values, weights = (np.concatenate([part[place] for part in parts], axis=2) for place in (0, 1))
    classes = np.concatenate([part[2] for part in parts])
    return Batch(values, weights, hide(weights, sampling.hiding, rng), classes, np.repeat(np.arange(len(counts)), counts))
