"""The model card: what a codec was trained on, with which seed, and what it scores on pixels that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from esd.codec import Codec
from esd.dekad import BANDS
from esd.refining import EFFORTS

from .adapter import Runtime
from .baselines import PrincipalComponents
from .config import Config
from .evaluate import Score, cloudy, score, scores
from .fidelity import HIDDEN_SHARE, TEST_SEED
from .fit import Fitted
from .harness import Ground, evaluation
from .sampling import Source, hide_dekads

__all__ = ["Compared", "compare", "model_card"]

SCORED = 5000
"""Held-out pixel-years of a source that are scored at most, drawn with a fixed seed."""
LISTED = 12
"""Held-out groups that the card names at most."""


@dataclass(frozen=True)
class Compared:
    """Scores of the codec and of principal components on the same held-out pixel-years of one source.

    The keys of `results` are the methods; those of each value are "visible", "visible_clear" and "cloud_free" with
    nothing hidden, and "hidden" and "hidden_clear" where a fifth of the dekads was. `figures` are what
    `harness.evaluation` finds of the codec: decoders, intervals, codes, consistency and drift.
    """

    source: str
    trained: int
    tested: int
    groups: tuple[str, ...]
    results: Mapping[str, Mapping[str, Score]]
    figures: Mapping[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return the overall figures of every method as plain numbers."""
        return {method: {key: value.summary() for key, value in found.items()} for method, found in self.results.items()}


def _judge(method: Runtime | PrincipalComponents, source: Source) -> dict[str, Score]:
    values, weights = source.values, source.weights
    shown = hide_dekads(weights, HIDDEN_SHARE, TEST_SEED)
    if isinstance(method, Runtime):
        whole, partly = method.decode(method.encode(values, weights)), method.decode(method.encode(values, shown))
    else:
        whole, partly = method.reconstruct(values, weights), method.reconstruct(values, shown)
    result = scores(whole, values, weights, weights)
    calm = ~cloudy(values, weights)
    if calm.any():
        result["cloud_free"] = score(whole[..., calm], values[..., calm], weights[..., calm] > 0)
    gaps = scores(partly, values, weights, shown)
    return result | {name: gaps[name] for name in ("hidden", "hidden_clear") if name in gaps}


def compare(codec: Codec, training: Source, held_out: Source) -> Compared:
    """Score the codec beside principal components at the same bytes, fitted to all training pixel-years and to those
    without a cloudy value, on the same held-out pixel-years.
    """
    size = round(codec.bytes_per_pixel_year)
    chosen = np.sort(np.random.default_rng(TEST_SEED).permutation(held_out.size)[:SCORED])
    tested = held_out.take(chosen)
    clear = ~cloudy(training.values, training.weights)
    calm = training.take(clear) if clear.sum() > 1 else training
    encoders = [Runtime(codec, refine) for refine in range(len(EFFORTS))]
    methods: dict[str, Runtime | PrincipalComponents] = {
        **{encoder.id: encoder for encoder in encoders},
        "PCA": PrincipalComponents.fit(training.values, training.weights, size),
        "PCA, clear": PrincipalComponents.fit(calm.values, calm.weights, size),
    }
    groups = tuple(str(group) for group in np.unique(held_out.groups))
    results = {name: _judge(method, tested) for name, method in methods.items()}
    figures = evaluation((encoders[0],), Ground(tested), None, ("reconstruction", "consistency", "drift"))
    return Compared(held_out.name, training.size, tested.size, groups, results, figures)


def _number(value: float, digits: int = 4) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _triple(found: Mapping[str, Score], key: str) -> str:
    if key not in found:
        return "-"
    return " / ".join((_number(found[key].mae), _number(found[key].rmse), _number(found[key].cc, 3)))


def _score_table(compared: Sequence[Compared]) -> list[str]:
    lines = [
        "| source | method | all values | blue <= 0.2 | cloud-free pixel-years | hidden | hidden, blue <= 0.2 |",
        "|---|---|---|---|---|---|---|",
    ]
    keys = ("visible", "visible_clear", "cloud_free", "hidden", "hidden_clear")
    for row in compared:
        for method, found in row.results.items():
            cells = [row.source, method, *(_triple(found, key) for key in keys)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _band_table(codec: Codec, compared: Sequence[Compared]) -> list[str]:
    lines = [f"| source | method | {' | '.join(BANDS)} |", f"|---|---|{'---|' * len(BANDS)}"]
    for row in compared:
        for method in (codec.id, "PCA, clear"):
            found = row.results[method]["visible_clear"]
            cells = [f"{_number(mae)} / {_number(rmse)}" for mae, rmse in zip(found.band_mae, found.band_rmse, strict=True)]
            lines.append(f"| {row.source} | {method} | {' | '.join(cells)} |")
    return lines


def _data_table(config: Config, compared: Sequence[Compared]) -> list[str]:
    lines = [
        "| source | licence | share of a batch | training pixel-years | scored | held-out groups |",
        "|---|---|---|---|---|---|",
    ]
    total = sum(source.share for source in config.data.sources)
    by_name = {source.name: source for source in config.data.sources}
    for row in compared:
        source = by_name[row.source]
        more = f" and {len(row.groups) - LISTED} more" if len(row.groups) > LISTED else ""
        share, groups = f"{source.share / total:.2f}", ", ".join(row.groups[:LISTED]) + more
        cells = [row.source, source.licence or "-", share, f"{row.trained}", f"{row.tested}", groups]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _more_table(compared: Sequence[Compared]) -> list[str]:
    lines = [
        "| source | MAE full / fast | 90 % intervals cover (visible, hidden) | bits | halves: angle, factor | half hidden |",
        "|---|---|---|---|---|---|",
    ]
    for row in compared:
        found = row.figures
        errors = " / ".join(_number(part["whole"]["visible_clear"]["mae"]) for part in found["reconstruction"].values())
        sure = found["intervals"] or {}
        covered = ", ".join(_number(sure[name]["coverage"], 3) for name in ("visible", "hidden") if name in sure) or "-"
        halves = found["consistency"]["halves"]
        steady = "-" if "reason" in halves else f"{halves['angle']:.1f}, {halves['factor']:.2f}"
        half = next(drift for drift in found["drift"] if drift["share"] == 0.5)
        cost, bits = f"{half['cost']:+.1%}, {half['angle']:.1f}", f"{found['codes']['bits_by_level']:.2f}"
        lines.append(f"| {row.source} | {errors} | {covered} | {bits} | {steady} | {cost} |")
    return lines


def _limits(config: Config) -> list[str]:
    known = (
        "The code of one step is not independent of the others: the encoder sees the whole year.",
        "Clouds that the masks left in are partly smoothed away, for the loss is robust; they dominate the squared error.",
        "Reflectance inside long gaps is a guess from the rest of the year; the columns 'hidden' say how good.",
        *config.limits,
    )
    return [f"- {limit}" for limit in known]


def _head(codec: Codec, config: Config, fitted: Fitted, command: str) -> list[str]:
    work, training, last = fitted.model.work, config.training, fitted.curve[-1]
    levels, (device, precision) = " x ".join(map(str, codec.fsq.levels)), fitted.learned_on
    return [
        f"# {codec.id}",
        "",
        f"{levels} levels ({codec.fsq.size} codes) at each of {codec.steps} steps: {codec.bytes_per_pixel_year:g} bytes a",
        "pixel-year of 36 dekads x 6 bands.",
        "",
        f"- file: {len(codec.data)} bytes, SHA-256 `{codec.sha256}`",
        f"- numbers of a code weigh {', '.join(f'{number:.2f}' for number in codec.scale)} in its embedding",
        f"- work: {', '.join(f'{count:,} ({part})' for part, count in work.items())} multiply-adds a pixel-year",
        f"- training: {last.step} steps of {training.batch} pixel-years, seed {training.seed}, {precision}",
        f"- time: {last.seconds / 60:.0f} minutes on {device}",
        f"- made by: `{command}`",
        "",
    ]


def model_card(codec: Codec, config: Config, fitted: Fitted, compared: Sequence[Compared], command: str) -> str:
    """Return the card in Markdown: sizes, data and licences, held-out figures by source and band, limits."""
    lines = [
        *_head(codec, config, fitted, command),
        "## Data",
        "",
        *_data_table(config, compared),
        "",
        "Groups (whole degrees, blocks of 32 x 32 pixels, sites) are held out as a whole. In training, dekads, cloudy",
        "seasons, bands, or all but a few observations are hidden from the encoder, and scored with a weight of their own.",
        "",
        "## Reconstruction on held-out pixels",
        "",
        "MAE / RMSE / correlation (mean of six bands), reflectance 0-1, observed values only, through the runtime without",
        f"torch. 'hidden' are the values of {HIDDEN_SHARE:.0%} of the observed dekads, kept from the encoder. 'cloud-free'",
        "are pixel-years without a value of blue above 0.2. 'PCA' has Lloyd-Max levels and optimal bits at the same bytes,",
        "fitted to each source's own training pixels ('clear': to the cloud-free ones), whereas the codec is one for all",
        "sources. PCA gets linearly filled series, as the codec does. 'refined' is `esd ingest --refine`: neighbours of the",
        "encoder's codes that decode closer to what was observed.",
        "",
        *_score_table(compared),
        "",
        "## By band (blue <= 0.2, nothing hidden): MAE / RMSE",
        "",
        *_band_table(codec, compared),
        "",
        "## Decoders, intervals, codes and consistency",
        "",
        "MAE is on values of blue <= 0.2 with nothing hidden. Intervals are judged with a fifth of the dekads hidden.",
        "'bits' of a code: the sum of the levels' entropies. 'halves': median angle (degrees) between embeddings of two",
        "disjoint halves of a pixel-year's observations, and by what factor two different pixel-years (of the same class,",
        "where known) lie further apart. 'half hidden': what hiding half of the observations costs in MAE on the rest, and",
        "how far the embedding moves.",
        "",
        *_more_table(compared),
        "",
        "## Limits",
        "",
        *_limits(config),
        "",
    ]
    return "\n".join(lines)
