"""Training pixels from cubes of reflectance: the same pixels as from a table, and faults in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from test_encoder_training import DOCUMENT

from esd.dekad import BANDS
from esd.encoder.config import Config, SourceConfig
from esd.encoder.cube_source import cube_source
from esd.encoder.sources import chip_blocks, table_source
from esd.encoder.train import build_sources
from esd.errors import EncoderError

DAYS = pd.to_datetime(["2003-05-02", "2003-05-07", "2003-05-30", "2004-02-11", "2004-12-31"])
SHAPE = (40, 35)


def cube(seed: int = 0) -> xr.Dataset:
    """Five dates of two years, two in one dekad; three tenths of the values, and one pixel, were not observed."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.02, 0.4, (len(BANDS), len(DAYS), *SHAPE)).astype(np.float32)
    values[np.broadcast_to(rng.random((len(DAYS), *SHAPE)) < 0.3, values.shape)] = np.nan
    values[..., 3, 4] = np.nan
    dims = ("time", "y", "x")
    return xr.Dataset({band: (dims, part) for band, part in zip(BANDS, values, strict=True)}, {"time": DAYS})


def written(dataset: xr.Dataset, path: Path, **encoding: object) -> Path:
    dataset.to_zarr(path, consolidated=False, zarr_format=2, encoding=encoding or None)
    return path


def test_a_cube_gives_the_pixels_of_the_same_table(tmp_path: Path) -> None:
    given = cube()
    found = cube_source(written(given, tmp_path / "cube.zarr"), "chip", 0.5)
    row, column = np.indices(SHAPE)
    frame = given.stack(pixel=("y", "x")).to_dataframe().reset_index(drop=True)
    frame["date"] = np.repeat(DAYS, row.size)
    frame["sample_id"] = np.tile(np.arange(row.size), len(DAYS))
    frame["longitude"], frame["latitude"] = np.tile(column.ravel(), len(DAYS)) * 1e-3, np.tile(row.ravel(), len(DAYS)) * 1e-3
    frame.to_parquet(tmp_path / "table.parquet")
    expected = table_source(tmp_path / "table.parquet", "chip", 0.5)

    def sorted_columns(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(-1, values.shape[2])
        return flat[:, np.lexsort(flat)]

    assert found.size == expected.size
    np.testing.assert_allclose(sorted_columns(found.values), sorted_columns(expected.values), rtol=1e-6)
    np.testing.assert_array_equal(sorted_columns(found.weights), sorted_columns(expected.weights))
    assert found.weights.max() == 2
    assert set(found.groups.tolist()) == set(chip_blocks(*SHAPE).ravel().tolist())


def test_scaled_integers_and_other_orders_of_dimensions_are_read(tmp_path: Path) -> None:
    given = cube()
    packed = {"dtype": "int16", "scale_factor": 1e-4, "_FillValue": -9999}
    other = written(given.transpose("y", "x", "time"), tmp_path / "packed.zarr", **dict.fromkeys(BANDS, packed))
    plain = cube_source(written(given, tmp_path / "plain.zarr"), "chip", 1.0)
    found = cube_source(other, "chip", 1.0)
    np.testing.assert_array_equal(found.weights, plain.weights)
    np.testing.assert_allclose(found.values, plain.values, atol=1e-4)


def test_missing_bands_are_unobserved_and_years_begin_when_told(tmp_path: Path) -> None:
    path = written(cube()[["red", "nir"]], tmp_path / "two.zarr")
    found = cube_source(path, "two", 1.0, start_month=7)
    assert (found.weights.any(axis=(0, 2)) == [band in ("red", "nir") for band in BANDS]).all()
    assert found.size <= 3 * np.prod(SHAPE)  # windows of July 2002, 2003 and 2004
    assert found.size > 2 * np.prod(SHAPE)


@pytest.mark.parametrize(
    ("change", "because"),
    [
        (lambda given: given.rename({band: f"sr_{band}" for band in BANDS}), "has none of the variables"),
        (lambda given: given * 10000, "scale it by 0.0001"),
        (lambda given: given.where(False), "holds no reflectance at all"),
        (lambda given: given.isel(time=0, drop=True), "over time and two dimensions"),
    ],
)
def test_what_is_not_such_a_cube_is_said(change: object, because: str, tmp_path: Path) -> None:
    path = written(change(cube()), tmp_path / "other.zarr")
    with pytest.raises(EncoderError, match=because):
        cube_source(path, "chip", 1.0)


def test_a_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"nowhere.zarr' is not a Zarr store"):
        cube_source(tmp_path / "nowhere.zarr", "chip", 1.0)


def test_a_config_names_a_cube(tmp_path: Path) -> None:
    path = written(cube(), tmp_path / "cube.zarr")
    row = {"name": "chip", "kind": "cube", "share": 1.0, "path": "cube.zarr", "options": {"start_month": 7}}
    described = Config.from_document({**DOCUMENT, "data": {"sources": [row]}})
    (found,) = build_sources(described, tmp_path, {})
    np.testing.assert_array_equal(found.values, cube_source(path, "chip", 1.0, start_month=7).values)


def test_options_are_checked_by_name_and_type() -> None:
    row = SourceConfig("chip", "cube", 1.0, options={"start_month": 7})
    assert row.given(start_month=1) == {"start_month": 7}
    with pytest.raises(EncoderError, match="unknown option 'start_month'; cube takes windows"):
        row.given(windows="")
    with pytest.raises(EncoderError, match="start_month is 7; it has to be like '1'"):
        row.given(start_month="1")
    with pytest.raises(EncoderError, match="cube takes no options"):
        row.given()
