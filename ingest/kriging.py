"""Prediction in time: what a pixel showed on a date, from its own observations on other dates.

A pixel's series is taken for a Gaussian process (Rasmussen and Williams 2006, Gaussian Processes for Machine
Learning; simple kriging in time). Two dates resemble each other because they are of one place (CONSTANT), of one
season (SEASONAL, fading between years that lie far apart), and near in time (COHERENT). An observation's noise says
how little it is believed: hazy dates and outliers hold on to nothing. What is predicted on a date that was observed
comes from the other dates alone (leave one out; equations 5.10 to 5.12 there).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["BAND_SCALES", "DONORS", "predict_in_time"]

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Days = npt.NDArray[np.int64]

BAND_SCALES = np.array([0.02, 0.02, 0.025, 0.05, 0.04, 0.03], dtype=np.float32)
"""Reflectance by which dates of a pixel differ, band by band; variances and noise below are in squares of these."""
CONSTANT, SEASONAL, COHERENT = 4.0, 1.0, 0.5
SEASON_WIDTH, YEAR_MEMORY_DAYS, COHERENCE_DAYS = 0.7, 3000.0, 120.0
YEAR_DAYS = 365.25
DONORS = 40
"""Observations that a prediction rests on at most, those nearest to the middle of the targets."""
CHUNK = 256
"""Pixels solved at a time: their matrices stay in cache."""


def covariance(days: Days) -> Floats:
    """Return how alike the days [n] are, [n, n], in squares of BAND_SCALES."""
    apart = np.abs(days[:, None] - days[None]).astype(np.float64)
    season = np.exp(-2 * np.sin(np.pi * apart / YEAR_DAYS) ** 2 / SEASON_WIDTH**2 - apart / YEAR_MEMORY_DAYS)
    return (CONSTANT + SEASONAL * season + COHERENT * np.exp(-apart / COHERENCE_DAYS)).astype(np.float32)


def predict_in_time(series: Floats, seen: Bools, days: Days, noise: Floats, targets: slice) -> tuple[Floats, Floats, Bools]:
    """Return predictions [m, bands, p] for the dates `targets`, those of all observations from the others, and of which.

    `series` [n, bands, p] are deviations from the pixel's mean in units of BAND_SCALES, `seen` and `noise` [n, p]
    (variance, in the same units squared), `days` [n]. The second result is [n, bands, p] and has a meaning where the
    third, bool [n, p], says that an observation is among the DONORS nearest to the targets; elsewhere it is 0, as is what
    is predicted for a pixel without observations.
    """
    alike = covariance(days)
    middle = (days[targets].min() + days[targets].max()) / 2
    order = np.argsort(np.abs(days - middle), kind="stable")
    predicted = np.empty((len(days[targets]), *series.shape[1:]), dtype=np.float32)
    others, told = np.zeros_like(series), np.zeros_like(seen)
    for start in range(0, series.shape[2], CHUNK):
        part = slice(start, start + CHUNK)
        predicted[..., part], others[..., part], told[:, part] = _solve(
            series[..., part], seen[:, part], noise[:, part], alike, order, targets
        )
    return np.where(told[targets][:, None], others[targets], predicted), others, told


def _solve(
    series: Floats, seen: Bools, noise: Floats, alike: Floats, order: Days, targets: slice
) -> tuple[Floats, Floats, Bools]:
    """Solve for a chunk of pixels; a place among the donors that a pixel cannot fill is cut off from the others."""
    chosen = order[np.argsort(~seen[order], axis=0, kind="stable")[:DONORS]]
    used = np.take_along_axis(seen, chosen, axis=0)
    rows = chosen.T
    matrix: Floats = alike[rows[:, :, None], rows[:, None, :]] * (used.T[:, :, None] & used.T[:, None, :])
    own = np.arange(len(chosen))
    matrix[:, own, own] += np.where(used, np.take_along_axis(noise, chosen, axis=0), np.float32(1)).T
    inverse = np.linalg.inv(matrix)
    values = np.take_along_axis(series, chosen[:, None], axis=0) * used[:, None]
    values = np.ascontiguousarray(values.transpose(2, 0, 1))
    weights = inverse @ values
    known = values - weights / inverse[:, own, own][:, :, None]
    others, told = np.zeros_like(series), np.zeros_like(seen)
    np.put_along_axis(others, chosen[:, None], (known * used.T[:, :, None]).transpose(1, 2, 0), axis=0)
    np.put_along_axis(told, chosen, used, axis=0)
    reach = np.ascontiguousarray(alike[targets][:, rows].transpose(1, 0, 2)) * used.T[:, None]
    return (reach @ weights).transpose(1, 2, 0).astype(np.float32), others, told
