"""The evaluation of a codec on one source of pixel-years: everything that can be asked of it, as plain numbers.

Nothing here trains. A codec is judged on pixel-years that the caller chooses: those of the fold that it was not trained
on, or all of a source that it has never seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.codec import fill_linear
from esd.dekad import BANDS, DEKADS
from esd.errors import EncoderError

from .adapter import Runtime
from .baselines import band_means
from .consistency import cloud_drift, halves_consistency, missing_bands, same_ground, stable_years
from .coverage import intervals
from .fidelity import HIDDEN_SHARE, TEST_SEED, fidelity
from .protocol import CLASSIFIERS, Samples, classification, few_shot
from .sampling import Source, held_out, hide_dekads, split
from .usage import code_usage

__all__ = [
    "PARTS",
    "Chip",
    "Effort",
    "Ground",
    "Rebuilt",
    "averaged",
    "consistency",
    "evaluation",
    "join",
    "judge",
    "land_cover",
    "raw_features",
    "rebuild",
]

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.uint8]

FOLDS = 5
PARTS = ("reconstruction", "consistency", "drift", "classification", "few-shot")


@dataclass(frozen=True)
class Chip:
    """The same ground over years: values and weights [36, 6, years, n], and the groups [n] of its pixels.

    `sensors` holds the same arrays by sensor, where more than one saw it.
    """

    values: Floats
    weights: Weights
    groups: npt.NDArray[np.generic]
    sensors: Mapping[str, tuple[Floats, Weights]] = field(default_factory=dict)

    def take(self, chosen: npt.NDArray[Any]) -> Chip:
        """Return the pixels that an index or mask chooses."""
        sensors = {name: (values[..., chosen], weights[..., chosen]) for name, (values, weights) in self.sensors.items()}
        return Chip(self.values[..., chosen], self.weights[..., chosen], self.groups[chosen], sensors)


@dataclass(frozen=True)
class Ground:
    """A source of pixel-years to be judged on; `start_month` is the month in which its windows begin."""

    source: Source
    start_month: int = 1
    chip: Chip | None = None

    def fold(self, fold: int) -> Ground:
        """Return the held-out groups of one fold of five. Raises EncoderError if there is but one group."""
        chip = None if self.chip is None else self.chip.take(held_out(self.chip.groups, fold=fold))
        return Ground(split(self.source, fold=fold)[1], self.start_month, chip)


@dataclass(frozen=True)
class Effort:
    """How much is computed: pixel-years scored, pixel-years of consistency and drift, few-shot draws and sizes."""

    scored: int = 5000
    consistency: int = 2000
    draws: int = 50
    per_class: tuple[int, ...] = (5, 10, 20)
    classifiers: tuple[str, ...] = tuple(CLASSIFIERS)


@dataclass(frozen=True)
class Rebuilt:
    """Pixel-years as a codec rebuilds them: with nothing hidden (`whole`) and with a fifth of the dekads (`partly`).

    Both by name of the decoder, [36, 6, n]; `half` are the half-widths of the 90 % intervals for `partly`, None where
    the codec has none; `codes` are those of `whole`.
    """

    source: Source
    shown: Weights
    codes: npt.NDArray[np.unsignedinteger[Any]]
    whole: Mapping[str, Floats]
    partly: Mapping[str, Floats]
    half: Floats | None


def sample(source: Source, most: int, seed: int = TEST_SEED) -> Source:
    """Return at most so many pixel-years of a source, drawn with a seed, in their order."""
    if source.size <= most:
        return source
    return source.take(np.sort(np.random.default_rng(seed).permutation(source.size)[:most]))


def rebuild(runtime: Runtime, source: Source) -> Rebuilt:
    """Encode and decode a source twice: as it is, and with a fifth of each pixel-year's observed dekads hidden."""
    shown = hide_dekads(source.weights, HIDDEN_SHARE, TEST_SEED)
    codes, fewer = runtime.encode(source.values, source.weights), runtime.encode(source.values, shown)
    return Rebuilt(
        source,
        shown,
        codes,
        {name: runtime.decode(codes, name) for name in runtime.decoders},
        {name: runtime.decode(fewer, name) for name in runtime.decoders},
        runtime.interval(fewer),
    )


def _joined(sources: Sequence[Source]) -> Source:
    first = sources[0]
    labels = None if first.labels is None else np.concatenate([source.labels for source in sources])
    values, weights = (
        np.concatenate([getattr(source, name) for source in sources], axis=2) for name in ("values", "weights")
    )
    return Source(first.name, values, weights, np.concatenate([s.groups for s in sources]), first.share, labels)


def join(parts: Sequence[Rebuilt]) -> Rebuilt:
    """Put together what codecs of the same kind rebuilt of the parts of one source."""
    halves = [part.half for part in parts if part.half is not None]
    whole, partly = (
        {name: np.concatenate([getattr(part, which)[name] for part in parts], axis=2) for name in parts[0].whole}
        for which in ("whole", "partly")
    )
    return Rebuilt(
        _joined([part.source for part in parts]),
        np.concatenate([part.shown for part in parts], axis=2),
        np.concatenate([part.codes for part in parts], axis=1),
        whole,
        partly,
        np.concatenate(halves, axis=2) if len(halves) == len(parts) else None,
    )


def judge(runtime: Runtime, rebuilt: Rebuilt, start_month: int = 1) -> dict[str, Any]:
    """Score what a codec rebuilt: "reconstruction" by decoder ("whole", "partly"), "intervals" (or None) and "codes"."""
    source = rebuilt.source
    observed = (source.values, source.weights)
    about = (source.labels, start_month)
    reconstruction = {
        name: {
            "whole": fidelity(rebuilt.whole[name], *observed, source.weights, *about),
            "partly": fidelity(rebuilt.partly[name], *observed, rebuilt.shown, *about),
        }
        for name in rebuilt.whole
    }
    sure = None
    if rebuilt.half is not None:
        sure = intervals(rebuilt.partly["full"], rebuilt.half, *observed, rebuilt.shown, *about)
    return {"reconstruction": reconstruction, "intervals": sure, "codes": code_usage(runtime.codec, rebuilt.codes)}


def consistency(runtime: Runtime, tested: Ground, most: int = 2000) -> dict[str, Any]:
    """Measure what embeddings keep: halves of the observations, the bands of MODIS, and sensors and years where known.

    A check that the source has no observations for tells the `reason` instead of figures.
    """
    source = sample(tested.source, most)
    given = (source.values, source.weights, source.labels)
    checks: dict[str, Callable[[], dict[str, float]]] = {
        "halves": lambda: halves_consistency(runtime, *given),
        "modis_bands": lambda: missing_bands(runtime, *given),
    }
    if tested.chip is not None:
        chip = _few_pixels(tested.chip, most)
        checks["stable_years"] = lambda: stable_years(runtime, chip.values, chip.weights, most)
        if len(chip.sensors) == 2:
            pairs = [tuple(array.reshape(DEKADS, len(BANDS), -1) for array in both) for both in chip.sensors.values()]
            values, weights = zip(*pairs, strict=True)
            checks[" / ".join(chip.sensors)] = lambda: same_ground(runtime, values, weights)
    result: dict[str, Any] = {}
    for name, check in checks.items():
        try:
            result[name] = check()
        except EncoderError as error:
            result[name] = {"reason": str(error)}
    return result


def _few_pixels(chip: Chip, most: int) -> Chip:
    """Draw so many pixels of a chip that they have about `most` pixel-years."""
    count, years = len(chip.groups), chip.values.shape[2]
    return chip.take(np.sort(np.random.default_rng(TEST_SEED).permutation(count)[: max(1, most // years)]))


def raw_features(source: Source) -> Floats:
    """Return the raw series as features [n, d]: all dekads and bands that any pixel-year observed, gaps filled in time."""
    columns = (source.weights > 0).any(axis=2).reshape(-1)
    filled = fill_linear(source.values, source.weights, band_means(source.values, source.weights))
    return np.ascontiguousarray(filled.reshape(DEKADS * len(BANDS), -1)[columns].T)


def land_cover(
    runtimes: Sequence[Runtime],
    source: Source,
    effort: Effort,
    parts: Sequence[str] = ("classification", "few-shot"),
    fold: int | None = None,
) -> dict[str, Any]:
    """Classify by embeddings and by the raw series: one runtime, or one for each of the five folds of the groups.

    With a `fold` only its samples are tested, by classifiers trained on the other four. Raises TableError if the source
    has no labels or too few of them.
    """
    embeddings = [runtime.embed(runtime.encode(source.values, source.weights)) for runtime in runtimes]
    sets: dict[str, Any] = {
        "embedding": embeddings[0] if len(embeddings) == 1 else tuple(embeddings),
        "raw": raw_features(source),
    }
    labels = np.zeros(source.size, dtype=int) if source.labels is None else source.labels
    samples = Samples(labels, source.groups, judged=tuple(range(FOLDS)) if fold is None else (fold,))
    result: dict[str, Any] = {"samples": source.size, "raw_numbers": sets["raw"].shape[1]}
    if "classification" in parts:
        result["classification"] = classification(sets, samples, effort.classifiers)
    if "few-shot" in parts:
        result["few-shot"] = few_shot(sets, samples, effort.per_class, effort.draws, effort.classifiers)
    return result


def averaged(rows: Sequence[Any]) -> Any:
    """Return the mean of equal structures of numbers, by key and position; what is no number is the first one's."""
    first = rows[0]
    if isinstance(first, Mapping):
        return {key: averaged([row[key] for row in rows if key in row]) for key in first}
    if isinstance(first, list):
        return [averaged(list(items)) for items in zip(*rows, strict=True)]
    numbers = isinstance(first, int | float) and not isinstance(first, bool)
    return float(np.mean(rows)) if numbers else first


def evaluation(
    runtimes: Sequence[Runtime],
    tested: Ground,
    fold: int | None = None,
    parts: Sequence[str] = PARTS,
    effort: Effort | None = None,
    told: Callable[[str], None] = lambda _part: None,
) -> dict[str, Any]:
    """Evaluate a codec on a source: on all of it, or on the held-out groups of a `fold` of five.

    Of five runtimes each is judged on the fold of its number; errors are then those of all pixel-years together, angles
    and drift the mean over the folds. `parts` are of PARTS; land cover needs labels, and trains its classifiers on the
    groups of the folds that are not judged. `told` is called with the name of each part as it begins. Raises
    EncoderError if a fold cannot be made.
    """
    effort = effort or Effort()
    if len(runtimes) > 1:
        held = [(runtime, tested.fold(number)) for number, runtime in enumerate(runtimes)]
    else:
        held = [(runtimes[0], tested if fold is None else tested.fold(fold))]
    count = len(held)
    judged = "all" if fold is None and count == 1 else f"fold {fold}" if count == 1 else "each fold by its own codec"
    total = sum(part.source.size for _runtime, part in held)
    result: dict[str, Any] = {"source": tested.source.name, "pixel_years": total, "judged_on": judged}
    if "reconstruction" in parts:
        told("reconstruction")
        rebuilt = [rebuild(runtime, sample(part.source, effort.scored // count)) for runtime, part in held]
        result |= judge(runtimes[0], join(rebuilt), tested.start_month)
    if "consistency" in parts:
        told("consistency")
        result["consistency"] = averaged([consistency(runtime, part, effort.consistency // count) for runtime, part in held])
    if "drift" in parts:
        told("drift")
        drawn = [(runtime, sample(part.source, effort.consistency // 2 // count)) for runtime, part in held]
        result["drift"] = averaged([cloud_drift(runtime, source.values, source.weights) for runtime, source in drawn])
    for part in ("classification", "few-shot"):
        if part in parts and tested.source.labels is not None:
            told(part)
            result |= land_cover(runtimes, tested.source, effort, (part,), fold if count == 1 else None)
    return result
