"""Series with gaps on uneven dates, and the check that an image is what an independent reference says, pixel by pixel."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from sample_images import grid

import esd
from esd.errors import EsdError
from esd.image import Image

__all__ = [
    "COLUMNS",
    "DATE_SERIES",
    "ROWS",
    "Refusal",
    "assert_image",
    "assert_refused",
    "dates",
    "from_series",
    "per_series",
    "series",
]

ROWS, COLUMNS = 19, 23
TILES = (10_000, 8, 13)
Refusal = tuple[Callable[[], Image], type[EsdError], str]
"""A call that is refused, the kind of error, and what its one line names."""


def dates(number: int, start: str = "2003-12-08", step: int = 11) -> list[str]:
    """Dates about `step` days apart, no two gaps alike."""
    first = dt.date.fromisoformat(start)
    return [str(first + dt.timedelta(days=step * i + (i * i) % 5)) for i in range(number)]


DATE_SERIES = dates(12)


def series(
    times: Sequence[str], bands: Sequence[str] = ("a", "b"), seed: int = 0, missing: float = 0.25
) -> np.ma.MaskedArray:
    """Smooth series and noise [time, band, y, x], a share of them missing, some pixels wholly."""
    rng = np.random.default_rng(seed)
    shape = (len(times), len(bands), ROWS, COLUMNS)
    wave = np.sin(np.linspace(0, 7, len(times)))[:, None, None, None] * rng.normal(size=(1, *shape[1:]))
    mask = rng.random(shape) < missing
    mask[:, :, rng.random(shape[2:]) < 0.05] = True
    return np.ma.MaskedArray((wave + 0.3 * rng.normal(size=shape)).astype(np.float32), mask=mask)


def from_series(array: np.ma.MaskedArray, times: Sequence[str], bands: Sequence[str] = ("a", "b")) -> Image:
    """Return an image of series; NaN stands where nothing is valid, so that nobody reads it."""
    values = array.filled(np.nan) if array.dtype.kind == "f" else array.data
    return esd.from_array(values, grid(*array.shape[2:]), tuple(bands), tuple(times), ~np.ma.getmaskarray(array))


def per_series(
    array: np.ma.MaskedArray, function: Callable[[np.ma.MaskedArray], Sequence[float | None]]
) -> np.ma.MaskedArray:
    """Apply a function of one series to all; None is missing."""
    flat = array.reshape(len(array), -1)
    columns = [function(flat[:, i]) for i in range(flat.shape[1])]
    missing = np.array([[value is None for value in column] for column in columns]).T
    values = np.array([[0 if value is None else value for value in column] for column in columns], dtype=np.float64).T
    shape = (-1, *array.shape[1:])
    return np.ma.MaskedArray(values.reshape(shape), mask=missing.reshape(shape))


def assert_image(image: Image, expected: np.ma.MaskedArray, monkeypatch: pytest.MonkeyPatch, rtol: float = 1e-5) -> None:
    """Check values, validity, shape and dtype in both tiers, and that three tilings give the same bytes."""
    valid = ~np.ma.getmaskarray(expected)
    assert valid.any()
    found = set()
    for tier in ("interpreted", "compiled"):
        monkeypatch.setenv("ESD_TIER", tier)
        for tile in TILES:
            raster = image.compute(tile=tile)
            assert raster.values.shape == (len(image.type.time), len(image.type.bands), *expected.shape[2:])
            assert raster.values.dtype == image.type.dtype
            assert np.array_equal(raster.valid, np.broadcast_to(valid, raster.valid.shape))
            kept = raster.values[raster.valid].astype(np.float64)
            assert np.allclose(kept, expected.data[valid].astype(np.float64), rtol=rtol, atol=1e-6, equal_nan=True)
            assert np.isfinite(raster.values[~raster.valid]).all()
            found.add(raster.values.tobytes())
    assert len(found) == 1


def assert_refused(refusal: Refusal) -> None:
    """Check that a call raises its error, in one line that names the thing."""
    build, kind, reason = refusal
    with pytest.raises(kind) as caught:
        build()
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
