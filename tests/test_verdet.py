"""VerDET: equal to a lasso of hinges, and slopes that tell disturbance and recovery."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from series_checks import Refusal, assert_image, assert_refused, from_series, per_series
from sklearn.linear_model import Lasso

from esd.errors import BandError, ExpressionError

YEARS = list(range(1988, 2018))
TIMES = [f"{year}-07-{10 + year % 7}" for year in YEARS]
DAYS = (np.array(TIMES, dtype="datetime64[D]") - np.datetime64("1970-01-01")).astype(float)
X = (DAYS - DAYS[0]) / 365.25
ROWS, COLUMNS = 6, 11


def forest(noise: float, seed: int = 0, missing: float = 0.15) -> tuple[np.ma.MaskedArray, np.ndarray]:
    """An index of 0.7 that falls by 0.2 to 0.5 in two years and comes back in about fifteen; the year of the fall."""
    rng = np.random.default_rng(seed)
    when, depth = rng.integers(6, 20, (ROWS, COLUMNS)), rng.uniform(0.2, 0.5, (ROWS, COLUMNS))
    after = np.arange(len(YEARS))[:, None, None] - when
    values = 0.7 - depth * np.interp(after, [0, 2, 17], [0, 1, 0])
    values = values + noise * rng.normal(size=values.shape)
    mask = rng.random(values.shape) < missing
    mask[5:, 0, 0] = mask[:, 0, 1] = mask[:3, 0, 2] = mask[-4:, 0, 2] = mask[:, 0, 3] = True
    mask[2:5, 0, 3] = False
    return np.ma.MaskedArray(values[:, None].astype(np.float32), mask=mask[:, None]), when


def by_hinges(x: np.ndarray, y: np.ndarray, alpha: float) -> np.ndarray:
    """The least half squared distance plus alpha times the bends: a line, and a hinge of penalized height at each time."""
    line = np.stack([np.ones_like(x), x], axis=1)
    hinges = np.maximum(x[:, None] - x[None, 1:-1], 0)
    away = np.eye(len(x)) - line @ np.linalg.pinv(line)
    lasso = Lasso(alpha=alpha / len(x), fit_intercept=False, tol=1e-12, max_iter=1_000_000)
    heights = lasso.fit(away @ hinges, away @ y).coef_
    rest = y - hinges @ heights
    return hinges @ heights + line @ np.linalg.lstsq(line, rest, rcond=None)[0]


@pytest.mark.parametrize(("noise", "alpha", "fewest"), [(0.02, 0.03333, 6), (0.1, 0.2, 3), (0.05, 0.001, 6)])
def test_equal_to_a_lasso_of_hinges(noise: float, alpha: float, fewest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = forest(noise, seed=fewest)[0]

    def reference(one: np.ma.MaskedArray) -> Sequence[float | None]:
        keep = np.flatnonzero(~np.ma.getmaskarray(one))
        if len(keep) < fewest:
            return [None] * (2 * len(X))
        fitted = by_hinges(X[keep], one.data[keep].astype(float), alpha)
        between = np.maximum(np.searchsorted(X[keep], X) - 1, 0)
        slopes = (np.diff(fitted) / np.diff(X[keep]))[np.minimum(between, len(keep) - 2)]
        inside = (np.arange(len(X)) >= keep[0]) & (np.arange(len(X)) <= keep[-1])
        both = np.concatenate([np.interp(X, X[keep], fitted), slopes])
        return [float(value) if there else None for value, there in zip(both, [*inside, *inside], strict=True)]

    expected = per_series(data, reference).reshape(2, len(TIMES), ROWS, COLUMNS).swapaxes(0, 1)
    image = from_series(data, TIMES, ("nbr",)).verdet(1e-11, alpha, fewest=fewest)
    assert image.type.bands == ("fitted", "slope")
    assert_image(image, expected, monkeypatch, rtol=2e-4)


def test_slopes_tell_the_fall_and_the_recovery() -> None:
    data, when = forest(0.02, seed=9)
    raster = from_series(data, TIMES, ("nbr",)).verdet().compute()
    slope, valid = raster.values[:, 1], raster.valid[:, 1]
    after = np.arange(len(YEARS))[:, None, None] - when
    assert (slope[valid & ((after == 1) | (after == 2))] < -0.02).mean() > 0.9
    assert np.median(slope[valid & (after > 5) & (after < 15)]) > 0.01
    assert np.abs(slope[valid & (after < -2)]).max() < 0.03
    assert np.median(np.abs(np.diff(slope, n=1, axis=0))) < 1e-3


def test_straight_series_stay_as_they_are() -> None:
    lines = np.linspace(0, 0.02, 12).reshape(3, 4) * X[:, None, None] + 0.3
    lines[:, 0, 0] = 0
    raster = from_series(np.ma.MaskedArray(lines[:, None], mask=False), TIMES, ("nbr",)).verdet().compute()
    assert raster.valid.all()
    assert np.allclose(raster.values[:, 0], lines, atol=1e-6)
    assert np.allclose(raster.values[:, 1], np.linspace(0, 0.02, 12).reshape(3, 4), atol=1e-6)


def test_pixels_that_are_not_done_in_time_are_not_valid() -> None:
    image = from_series(forest(0.05)[0], TIMES, ("nbr",))
    assert not image.verdet(runs=1).compute().valid.any()


IMAGE = from_series(forest(0.02)[0], TIMES, ("nbr",))
BAD: dict[str, Refusal] = {
    "two bands": (lambda: IMAGE.add_bands(IMAGE.rename("b")).verdet(), BandError, "nbr, b"),
    "no tolerance": (lambda: IMAGE.verdet(0.0), ExpressionError, "tolerance=0"),
    "no alpha": (lambda: IMAGE.verdet(alpha=0.0), ExpressionError, "alpha=0"),
    "no runs": (lambda: IMAGE.verdet(runs=0), ExpressionError, "runs=0"),
    "too few": (lambda: IMAGE.verdet(fewest=2), ExpressionError, "fewest=2"),
    "backwards": (lambda: IMAGE.rearrange((2, 1, 0)).verdet(fewest=3), ExpressionError, "must rise"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_in_one_line(name: str) -> None:
    assert_refused(BAD[name])
