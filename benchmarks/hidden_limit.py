"""What can be known of observations that are hidden: lines, trees and a codec beside each other.

    python benchmarks/hidden_limit.py DATA [--encoder esd24]

Reads landsat8_pantanal_dev.parquet and landsat_espa_wa from the folder DATA. A fifth of the observed dekads of held-out
blocks (fold 0) is hidden. Straight lines join the visible values; gradient boosted trees, one a band, learn from the other
blocks what hidden values are; neither is ever coded. Of Washington trees are asked twice: taught on the same dates of blocks
beside, whose haze they get to know, and on other years. One JSON line of mean absolute errors: of Pantanal hidden values of
blue up to 0.2, of Washington those of April to September with blue below 0.08.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import print_json
from sklearn.ensemble import HistGradientBoostingRegressor

from esd.cli.train import scenes_source
from esd.codec import Codec, fill_linear
from esd.dekad import BANDS, DEKADS
from esd.encoder.config import SourceConfig
from esd.encoder.evaluate import CLOUDY_BLUE
from esd.encoder.fidelity import HIDDEN_SHARE, TEST_SEED, kinds
from esd.encoder.sampling import Source, hide_dekads, split
from esd.encoder.sources import table_source
from esd.encoder.weights import find

TAUGHT = 40000
"""Pixel-years that trees are taught on at most."""
SEEDS = (1, 2, 3)
"""Dekads are hidden from the same pixel-years in so many ways."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Hidden:
    """Hidden observations: what is known around each, `about` [n, k], and the truth [n, 6], NaN where there is none."""

    about: Floats
    truth: Floats


def neighbours(seen: npt.NDArray[np.bool_], hidden: tuple[Any, Any], step: int) -> list[npt.NDArray[np.int64]]:
    """Return the nearest and the second visible dekad before (step -1) or after (1) each hidden one; -1 where none is."""
    time, (dekad, pixel) = np.arange(DEKADS)[:, None], hidden
    if step < 0:
        nearest = np.maximum.accumulate(np.where(seen, time, -1), axis=0)
    else:
        nearest = np.minimum.accumulate(np.where(seen, time, DEKADS)[::-1], axis=0)[::-1]
    nearest = np.pad(np.where(nearest < DEKADS, nearest, -1), ((1, 1), (0, 0)), constant_values=-1)
    first = nearest[dekad + 1 + step, pixel]
    return [first, np.where(first < 0, -1, nearest[first + 1 + step, pixel])]


def observations(source: Source, shown: npt.NDArray[np.uint8]) -> Hidden:
    """Collect the hidden dekads of a source with what is visible of their year."""
    visible, seen = np.where(shown > 0, source.values, np.float32(np.nan)), (shown > 0).any(axis=1)
    place = np.nonzero((source.weights > 0).any(axis=1) & ~seen)
    dekad, pixel = place
    lines = fill_linear(source.values, shown, np.full(len(BANDS), np.nan, np.float32))
    year = np.nan_to_num(lines, nan=-1)
    about = [lines[dekad, :, pixel], dekad[:, None], seen.sum(axis=0)[pixel, None]]
    for step in (-1, 1):
        for at in neighbours(seen, place, step):
            about += [np.where(at[:, None] < 0, np.nan, visible[at, :, pixel]), (at - dekad)[:, None]]
    about += [extreme(year, axis=0).T[pixel] for extreme in (np.min, np.median, np.max)]
    about += [year[::3, band][:, pixel].T for band in range(2, len(BANDS))]
    truth = np.where(source.weights > 0, source.values, np.float32(np.nan))[dekad, :, pixel]
    return Hidden(np.concatenate(about, axis=1).astype(np.float32), truth)


def error(predicted: Floats, source: Source, kind: str, shown: npt.NDArray[np.uint8]) -> float:
    """Return the mean absolute error of values [36, 6, n] on the hidden observations of a kind."""
    chosen = kinds(source.values, source.weights, shown)[kind]
    return round(float(np.abs(predicted - source.values)[chosen].mean()), 5)


def by_trees(taught: Source, asked: Source, shown: npt.NDArray[np.uint8]) -> Floats:
    """Return values [36, 6, n] of the hidden dekads of `asked`, 0 elsewhere, as trees say that learned from `taught`."""
    some = taught.take(np.sort(np.random.default_rng(0).permutation(taught.size)[:TAUGHT]))
    lessons = [observations(some, hide_dekads(some.weights, HIDDEN_SHARE, seed)) for seed in SEEDS]
    about, truth = (np.concatenate([getattr(lesson, name) for lesson in lessons]) for name in ("about", "truth"))
    dekad, pixel = np.nonzero((asked.weights > 0).any(axis=1) & ~(shown > 0).any(axis=1))
    question, result = observations(asked, shown).about, np.zeros_like(asked.values)
    for band in range(len(BANDS)):
        told = ~np.isnan(truth[:, band]) & ~(truth[:, 0] > CLOUDY_BLUE)
        trees = HistGradientBoostingRegressor(
            loss="absolute_error", max_iter=250, max_leaf_nodes=63, min_samples_leaf=40, random_state=0
        )
        result[dekad, band, pixel] = trees.fit(about[told], truth[told, band]).predict(question)
    return result


def compared(taught: dict[str, Source], asked: Source, codec: Codec, kind: str) -> dict[str, float]:
    """Return the errors of lines, of the codec, and of trees by what they were taught on."""
    shown = hide_dekads(asked.weights, HIDDEN_SHARE, TEST_SEED)
    lines = fill_linear(asked.values, shown, np.zeros(len(BANDS), np.float32))
    codes = codec.encode(asked.values, shown)
    trees = {f"trees, {name}": error(by_trees(source, asked, shown), asked, kind, shown) for name, source in taught.items()}
    return {
        "lines": error(lines, asked, kind, shown),
        codec.id: error(codec.decode(codes), asked, kind, shown),
        **trees,
    }


def washington(folder: Path, windows: str) -> tuple[Source, Source]:
    """Return the training and the held-out pixel-years of some years of the chip."""
    row = SourceConfig("chip", "scenes", 1.0, "landsat_espa_wa", options={"windows": windows})
    return split(scenes_source(row, folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", default="esd24")
    given = parser.parse_args()
    codec = Codec.load(find(given.encoder))
    taught, asked = split(table_source(given.folder / "landsat8_pantanal_dev.parquet", "pantanal", 1.0))
    early, (late, later) = washington(given.folder, "2000/2002")[0], washington(given.folder, "2003/2005")
    result = {
        "pantanal": compared({"same dates": taught}, asked, codec, "hidden_clear"),
        "washington, 2003 to 2005": compared(
            {"same dates": late, "other years": early}, later, codec, "hidden_clean_summer"
        ),
    }
    print_json("hidden_limit", result)


if __name__ == "__main__":
    main()
