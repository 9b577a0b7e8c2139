"""Gap filling on real Landsat, side by side on the same holes; prints one JSON line.

    python benchmarks/bench_gaps.py ../shared/data/landsat_espa_wa

Every clear observation (cfmask) is hidden in turn, together with what these columns say, and predicted; told is the
mean absolute error over six bands, over all targets and over clean ones (blue below 0.08, April to September, scenes
at least 80 % clear). The four simple methods know the pixel's own series alone, so one row serves all columns:

* linear interpolation between the clear dates before and after;
* the median of clear dates within 24 days of the season, of all years (linear where there is none);
* harmonic regression with trend and two harmonics;
* the mean of the first two with cloudy donors screened out (`screening.keep_mask`).

"fusion" is `filling`: `pixel`, the pixel alone is hidden on its date (its neighbours in fact by ninths, so that one in
nine is hidden at a time); `cloud_240m` and `cloud_960m`, squares of 8 and 32 pixels are hidden, a quarter of the scene
at a time; `scene`, nobody has seen anything on the date. What it knows of the date are the observations that the
screening keeps, as in an ingest; "unscreened" has all that cfmask calls clear there. Whatever is hidden is hidden
from the screening, too. `--size` takes a part of the chip (its upper left corner).
"""

from __future__ import annotations

import argparse
import datetime as dt
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import print_json

from esd.dekad import BANDS
from esd.ingest import find_scenes, read_scene
from esd.ingest.filling import Series, add_neighbours, expect
from esd.ingest.screening import keep_mask

SEASON_DAYS = 24
HARMONICS = 2
TARGETS = {"blue_below": 0.08, "months": range(4, 10), "clear_share": 0.8}
HOLES = {"pixel": (1, 3), "cloud_240m": (8, 2), "cloud_960m": (32, 2)}
"""Side of the squares that are hidden, and every how manieth of them in each direction at a time."""


class Stack(NamedTuple):
    """Reflectance [n, 6, y, x], clear in all bands [n, y, x], days [n], and which targets are clean [n, y, x]."""

    values: np.ndarray
    clear: np.ndarray
    days: np.ndarray
    clean: np.ndarray


def load(folder: Path, size: int) -> Stack:
    scenes, _ = find_scenes([folder])
    read = [read_scene(scene, scene.geobox) for scene in scenes]
    values = np.stack([observation.reflectance for observation in read])
    clear = np.stack([observation.clear for observation in read]).all(axis=1)
    share = np.stack([observation.clear.any(axis=0).mean() for observation in read])
    summer = np.array([scene.acquired.month in TARGETS["months"] for scene in scenes])
    chosen = (summer & (share >= TARGETS["clear_share"]))[:, None, None]
    clean = clear & chosen & (values[:, BANDS.index("blue")] < TARGETS["blue_below"])
    days = np.array([scene.acquired.toordinal() for scene in scenes])
    return Stack(values[..., :size, :size], clear[:, :size, :size], days, clean[:, :size, :size])


def screened(stack: Stack, clear: np.ndarray) -> np.ndarray:
    return clear & keep_mask(stack.values, np.repeat(clear[:, None], len(BANDS), axis=1), stack.days)


def without(clear: np.ndarray, date: int) -> np.ndarray:
    """Return what is clear [n, y, x] with a date hidden."""
    rest = clear.copy()
    rest[date] = False
    return rest


def linear(stack: Stack, clear: np.ndarray, date: int) -> np.ndarray:
    """Interpolate between the donors before and after a date; NaN without any."""
    index = np.arange(len(clear))[:, None, None]
    before = np.where(clear[:date], index[:date], -1).max(axis=0, initial=-1)
    after = np.where(clear[date + 1 :], index[date + 1 :], len(clear)).min(axis=0, initial=len(clear))
    none = (before < 0) & (after >= len(clear))
    left, right = np.where(before < 0, after, before), np.where(after >= len(clear), before, after)
    left, right = np.where(none, 0, left), np.where(none, 0, right)
    ends = [np.take_along_axis(stack.values, at[None, None], axis=0)[0] for at in (left, right)]
    span = stack.days[right] - stack.days[left]
    share = np.where(span > 0, (stack.days[date] - stack.days[left]) / np.maximum(span, 1), 0)
    return np.where(none, np.nan, ends[0] + (ends[1] - ends[0]) * share)


def seasonal(stack: Stack, clear: np.ndarray, date: int) -> np.ndarray:
    """Take the median of the donors of the season, of all years; NaN without any."""
    day_of_year = np.array([dt.date.fromordinal(int(day)).timetuple().tm_yday for day in stack.days])
    apart = np.abs(day_of_year - day_of_year[date])
    near = np.minimum(apart, 365 - apart) <= SEASON_DAYS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmedian(np.where(clear[near][:, None], stack.values[near], np.nan), axis=0)


def harmonic(stack: Stack, clear: np.ndarray, date: int) -> np.ndarray:
    """Fit mean, trend and harmonics to the donors of each pixel by least squares."""
    turn = 2 * np.pi * stack.days / 365.25
    waves = [wave(number * turn) for number in range(1, HARMONICS + 1) for wave in (np.cos, np.sin)]
    design = np.stack([np.ones(len(turn)), (stack.days - stack.days.mean()) / 1000, *waves], axis=1)
    weight = clear.reshape(len(clear), -1).astype(float)
    normal = np.einsum("tp,ti,tj->pij", weight, design, design, optimize=True) + 1e-6 * np.eye(design.shape[1])
    values = stack.values.reshape(*stack.values.shape[:2], -1)
    right = np.einsum("ti,tbp->pib", design, weight[:, None] * values, optimize=True)
    return (design[date] @ np.linalg.solve(normal, right)).T.reshape(stack.values.shape[1:])


def simple(stack: Stack) -> dict[str, np.ndarray]:
    """Return predictions [n, 6, y, x] of the four simple methods."""
    names = ("linear", "seasonal_median", "harmonic", "mean_screened")
    found = {name: np.zeros_like(stack.values) for name in names}
    for date in range(len(stack.days)):
        rest = without(stack.clear, date)
        donors = screened(stack, rest)
        straight, median = linear(stack, rest, date), seasonal(stack, rest, date)
        found["linear"][date] = straight
        found["seasonal_median"][date] = np.where(np.isnan(median), straight, median)
        found["harmonic"][date] = harmonic(stack, rest, date)
        straight, median = linear(stack, donors, date), seasonal(stack, donors, date)
        found["mean_screened"][date] = (straight + np.where(np.isnan(median), straight, median)) / 2
    return found


def fusion(stack: Stack) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the predictions [n, 6, y, x] of `filling` with ever more hidden around each target."""
    alone = np.stack([_expected(stack, date) for date in range(len(stack.days))])
    yield "fusion_scene", alone
    kept = screened(stack, stack.clear)
    for name, (side, every) in HOLES.items():
        for label, visible in ((f"fusion_{name}", kept), (f"unscreened_{name}", stack.clear)):
            found = np.empty_like(stack.values)
            for hole in _holes(stack.clear.shape[1:], side, every):
                for date, expected in enumerate(alone):
                    guess = add_neighbours(expected, stack.values[date], visible[date] & ~hole)
                    found[date][:, hole] = guess[:, hole]
            yield label, found


def _expected(stack: Stack, date: int) -> np.ndarray:
    """Predict a date that is hidden as a whole; the donors are those around its year, as in an ingest."""
    years = np.array([dt.date.fromordinal(int(day)).year for day in stack.days])
    first, last = np.flatnonzero(years == years[date])[[0, -1]]
    seen = screened(stack, without(stack.clear, date))
    return expect(Series(stack.values, seen, stack.days), slice(first, last + 1))[date - first]


def _holes(shape: tuple[int, ...], side: int, every: int) -> Iterator[np.ndarray]:
    rows, columns = np.indices(shape) // side
    for row in range(every):
        for column in range(every):
            yield (rows % every == row) & (columns % every == column)


def score(stack: Stack, predicted: np.ndarray) -> dict[str, float]:
    """Return the mean absolute error over all and over clean targets."""
    error = np.abs(predicted - stack.values).mean(axis=1)
    return {"all": round(float(error[stack.clear].mean()), 5), "clean": round(float(error[stack.clean].mean()), 5)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--size", type=int, default=128, help="pixels of the chip's sides to take")
    options = parser.parse_args()
    started = time.process_time()
    stack = load(options.scenes, options.size)
    scores = {name: score(stack, predicted) for name, predicted in simple(stack).items()}
    best = {column: min(result[column] for result in scores.values()) for column in ("all", "clean")}
    scores |= {name: score(stack, predicted) for name, predicted in fusion(stack)}
    below = {
        name: {column: round(1 - result[column] / best[column], 3) for column in best} for name, result in scores.items()
    }
    targets = {"all": int(stack.clear.sum()), "clean": int(stack.clean.sum())}
    seconds = round(time.process_time() - started, 1)
    print_json(
        "gaps", {"targets": targets, "mean_absolute_error": scores, "below_best_simple": below, "cpu_seconds": seconds}
    )


if __name__ == "__main__":
    main()
