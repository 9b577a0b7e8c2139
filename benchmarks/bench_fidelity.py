"""What an encoder has to hold, measured: one JSON object of figure, bar and whether it is met.

    python benchmarks/bench_fidelity.py ../shared/data [--encoder esd24] [--fold 0]
    python benchmarks/bench_fidelity.py ../shared/data --encoder 'folds/esd24_fold{n}.safetensors'

Reads landsat8_pantanal_dev.parquet, landsat_espa_wa and modis_mt9_dev.parquet from the folder. An encoder named with {n} is
one a fold (`esd train CONFIG --fold N`), each judged on the fold that it was not trained on; a single one is judged on
--fold only. Classical codecs of the same bytes are fitted to the other groups of each fold, and straight lines between the
visible observations, kept whole, say how much of the hidden ones those tell. Reconstruction bars are on observations of
blue up to 0.2; beside them "all" has every observation, "plausible" no pixel-years with corrupt near infrared.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import print_json

from esd.cli.evaluate import judged
from esd.codec import fill_linear
from esd.dekad import BANDS
from esd.encoder.adapter import Runtime, runtimes
from esd.encoder.evaluate import score
from esd.encoder.fidelity import HIDDEN_SHARE, TEST_SEED, kinds
from esd.encoder.harness import Effort, Ground, evaluation
from esd.encoder.ladder import CLASSICAL, classical_scores
from esd.encoder.sampling import hide_dekads, split

LARGER, SMALLER = "at least", "at most"
REFERENCE = 24
Bar = dict[str, Any]


def bar(figure: float, direction: str, limit: float, **more: Any) -> Bar:
    met = figure >= limit if direction == LARGER else figure <= limit
    return {"figure": round(figure, 5), "bar": f"{direction} {limit:g}", "met": bool(met), **more}


def interval(row: Mapping[str, float]) -> list[float]:
    return [round(row["low"], 4), round(row["high"], 4)]


def reconstruction(found: Mapping[str, Any], size: float, classical: Mapping[str, Any]) -> dict[str, Bar]:
    """Bars of the reconstruction of the labelled table; the absolute ones are those of 24 bytes."""
    full = found["reconstruction"]["full"]
    clear, every, plausible = (full["whole"][name] for name in ("visible_clear", "visible", "visible_plausible"))
    hidden = full["partly"]["hidden_clear"]["mae"]
    bars = {"rmse_over_pca": bar(clear["rmse"] / classical["PCA"]["visible_clear"]["rmse"], SMALLER, 0.85)}
    if size == REFERENCE:
        for key, direction, limit in (("mae", SMALLER, 0.0033), ("rmse", SMALLER, 0.0068), ("cc", LARGER, 0.985)):
            others = {name: round(row[key], 5) for name, row in (("all", every), ("plausible", plausible))}
            bars[key] = bar(clear[key], direction, limit, **others)
        bars["hidden_mae"] = bar(hidden, SMALLER, 0.007, all=round(full["partly"]["hidden"]["mae"], 5))
    if "fast" in found["reconstruction"]:
        fast = found["reconstruction"]["fast"]["whole"]["visible_clear"]["mae"]
        bars["fast_over_full_mae"] = bar(fast / clear["mae"], SMALLER, 1.12)
    return bars


def raw_observations(found: Mapping[str, Any], classical: Mapping[str, Any]) -> dict[str, Bar]:
    """Bars of the scenes, whose series nobody filled."""
    full = found["reconstruction"]["full"]
    rmse = full["whole"]["visible_clear"]["rmse"] / classical["PCA"]["visible_clear"]["rmse"]
    return {
        "raw_rmse_over_pca": bar(rmse, SMALLER, 0.85),
        "raw_visible_mae": bar(full["whole"]["visible_clear"]["mae"], SMALLER, 0.013),
        "raw_hidden_clean_mae": bar(full["partly"]["hidden_clean_summer"]["mae"], SMALLER, 0.0145),
    }


def land_cover(found: Mapping[str, Any]) -> dict[str, Bar]:
    """Bars of classification: not below raw by any classifier, and the best of both."""
    ours, raw = found["classification"]["embedding"], found["classification"]["raw"]
    gains = ours["difference"]
    bars = {f"overall_{key}": bar(row["mean"], LARGER, 0.0, interval=interval(row)) for key, row in gains.items()}
    of_both = {"embedding": [ours["best"], ours[ours["best"]]["overall"]], "raw": [raw["best"], raw[raw["best"]]["overall"]]}
    best = gains["best"]
    bars["overall_best"] = bar(best["mean"], LARGER, 0.028, interval=interval(best), **of_both)
    for size, sets in found["few-shot"].items():
        row = sets["embedding"]["difference"]["best"]
        names = {name: [sets[name]["best"], sets[name][sets[name]["best"]]["mean"]] for name in ("embedding", "raw")}
        bars[f"few_shot_{size}"] = bar(row["mean"], LARGER, 0.03, interval=interval(row), **names)
    return bars


def calibration(found: Mapping[str, Any]) -> dict[str, Bar]:
    """Bars of the intervals; without any the bar is not met."""
    sure = found["intervals"]
    if sure is None:
        return {"coverage": {"figure": None, "bar": "0.88 to 0.92", "met": False, "reason": "the encoder tells no interval"}}
    share = sure["all"]["coverage"]
    shares = {name: row["coverage"] for way in ("season", "class") for name, row in sure["all"].get(way, {}).items()}
    worst = max(shares, key=lambda name: abs(shares[name] - sure["nominal"]))
    apart = {name: round(sure[name]["coverage"], 4) for name in ("visible", "hidden")}
    off = bar(abs(shares[worst] - sure["nominal"]), SMALLER, 0.05, part=worst)
    return {"coverage": bar(abs(share - 0.9), SMALLER, 0.02, coverage=round(share, 4), **apart), "coverage_of_parts": off}


def stability(found: Mapping[str, Any], name: str) -> dict[str, Bar]:
    """Bars of consistency and of what hiding half of the observations costs on the rest."""
    halves = found["consistency"]["halves"]
    half = next(row for row in found["drift"] if row["share"] == 0.5)
    return {
        f"halves_factor_{name}": bar(halves["factor"], LARGER, 3.0, degrees=round(halves["angle"], 2)),
        f"half_hidden_cost_{name}": bar(half["cost"], SMALLER, 0.3, angle=round(half["angle"], 2)),
    }


def plain_errors(found: Mapping[str, Any]) -> dict[str, float]:
    full = found["reconstruction"]["full"]
    parts = {"": full["whole"]["visible_clear"], "hidden_": full["partly"]["hidden_clear"]}
    return {f"{prefix}{key}": round(row[key], 5) for prefix, row in parts.items() for key in ("mae", "rmse", "cc")}


def classical(size: float, tested: Ground, folds: Sequence[int]) -> dict[str, Any]:
    kept = ("visible", "visible_clear", "visible_plausible", "visible_cloud_free", "hidden_clear")
    return {
        name: {
            kind: found.summary()
            for kind, found in classical_scores(name, round(size), tested.source, folds).items()
            if kind in kept
        }
        for name in CLASSICAL
    }


def lines(tested: Ground, folds: Sequence[int]) -> dict[str, Any]:
    """Return what straight lines between the visible observations, never coded, make of the hidden ones."""
    parts = [split(tested.source, fold=fold)[1] for fold in folds]
    shown = [hide_dekads(part.weights, HIDDEN_SHARE, TEST_SEED) for part in parts]
    zero = np.zeros(len(BANDS), dtype=np.float32)
    drawn = np.concatenate([fill_linear(part.values, own, zero) for part, own in zip(parts, shown, strict=True)], axis=2)
    values, weights = (np.concatenate([getattr(part, name) for part in parts], axis=2) for name in ("values", "weights"))
    chosen = kinds(values, weights, np.concatenate(shown, axis=2))
    kept = ("hidden", "hidden_clear", "hidden_cloud_free", "hidden_clean_summer")
    return {kind: score(drawn, values, chosen[kind]).summary() for kind in kept}


def measure(folder: Path, encoder: Sequence[Runtime], fold: int, effort: Effort) -> dict[str, Any]:
    """Measure everything; the bars, and the figures that have none."""
    pantanal, scenes = judged(folder / "landsat8_pantanal_dev.parquet"), judged(folder / "landsat_espa_wa")
    modis = judged(folder / "modis_mt9_dev.parquet", 9)
    folds = range(5) if len(encoder) > 1 else (fold,)
    size = encoder[0].size
    beside = {tested.source.name: classical(size, tested, folds) for tested in (pantanal, scenes)}
    labelled = evaluation(encoder, pantanal, fold, effort=effort)
    chip = evaluation(encoder, scenes, fold, effort=effort)
    other = evaluation(encoder, modis, fold, ("reconstruction",), effort)
    bars = (
        reconstruction(labelled, size, beside[pantanal.source.name])
        | raw_observations(chip, beside[scenes.source.name])
        | land_cover(labelled)
    )
    bars |= stability(labelled, "pantanal") | stability(chip, "espa") | calibration(labelled)
    return {
        "encoder": encoder[0].id,
        "sha256": [runtime.codec.sha256[:12] for runtime in encoder],
        "bytes": size,
        "folds": list(folds),
        "bars_met": f"{sum(row['met'] for row in bars.values())} of {len(bars)}",
        "bars": bars,
        "not_trained_on_modis": plain_errors(other),
        "consistency": {"pantanal": labelled["consistency"], "espa": chip["consistency"]},
        "drift": {"pantanal": labelled["drift"], "espa": chip["drift"]},
        "codes": {"pantanal": labelled["codes"], "espa": chip["codes"]},
        "classical": beside,
        "lines": {"pantanal": lines(pantanal, folds), "espa": lines(scenes, folds)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", default="esd24")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--refine", type=int, default=0)
    options = parser.parse_args()
    encoder = runtimes(options.encoder, refine=options.refine)
    print_json("fidelity", measure(options.folder, encoder, options.fold, Effort(draws=options.draws)))


if __name__ == "__main__":
    main()
