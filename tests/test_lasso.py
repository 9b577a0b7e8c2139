"""The lasso of many series: equal to scikit-learn's, one fit at a time, and to least squares without a penalty."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Lasso

from esd.analytics.lasso import fit_lasso

SERIES, TIMES, BANDS = 40, 40, 3


@pytest.mark.parametrize("penalty", [0.0, 0.002, 0.02, 0.2])
def test_equal_to_one_fit_at_a_time(penalty: float) -> None:
    rng = np.random.default_rng(8)
    days = np.sort(rng.random((SERIES, TIMES)) * 3, axis=1)
    waves = [wave(2 * np.pi * k * days) for k in (1, 2, 3) for wave in (np.cos, np.sin)]
    columns = np.stack([np.ones_like(days), days, *waves], axis=2)
    columns[0, :, 3] = 0.7
    values = columns @ (0.1 * rng.normal(size=(SERIES, 8, BANDS))) + 0.1 * rng.normal(size=(SERIES, TIMES, BANDS))
    used, sizes = rng.random((SERIES, TIMES)) < 0.8, rng.choice([4, 6, 8], SERIES)
    rows = np.concatenate([columns, values], axis=2) * used[:, :, None]
    found = fit_lasso(rows.transpose(0, 2, 1) @ rows, sizes, 8, penalty)
    for series, size in enumerate(sizes):
        x = columns[series, used[series], 1:size]
        spread = np.where(x.std(axis=0) > 1e-6, x.std(axis=0), np.inf)
        x = (x - x.mean(axis=0)) / spread
        for band in range(BANDS):
            y = values[series, used[series], band]
            if penalty:
                slopes = Lasso(alpha=penalty, tol=1e-12, max_iter=100_000).fit(x, y).coef_
            else:
                slopes = np.linalg.lstsq(x, y - y.mean(), rcond=None)[0]
            told = found.coefficients[series, :, band]
            assert np.allclose(told[1:size], slopes / spread, atol=1e-9)
            assert (told[size:] == 0).all()
            rest = y - y.mean() - x @ slopes
            assert np.isclose(found.rmse[series, band], np.sqrt((rest**2).sum() / (len(y) - size)), rtol=1e-8)
            middle = columns[series, used[series]].mean(axis=0)
            assert np.isclose(middle @ told, y.mean(), atol=1e-9)
