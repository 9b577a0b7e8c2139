"""Sources of training pixels from tables and scenes' dekads, each with the groups that are held out as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from esd.dekad import BANDS, DEKADS
from esd.errors import TableError
from esd.series import Series, dekads_from_table, read_table

from .sampling import Source, observed_pixels

__all__ = ["chip_blocks", "chip_source", "collection2_source", "table_source"]

BLOCK = 32
"""Pixels on a side of the spatial blocks in which a chip is held out."""

COLLECTION2_SCALE, COLLECTION2_OFFSET = 2.75e-5, -0.2
COLLECTION2_VALID = (7273, 43636)
"""Digital numbers of reflectance 0 and 1, the valid range of Landsat Collection 2 Level-2 surface reflectance."""
QA_CLEAR, QA_WATER = 6, 7
TM_BANDS = ("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7")
OLI_BANDS = ("SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7")


def _observed(series: Series, name: str, share: float, groups: npt.NDArray[np.generic], labels: dict[str, str]) -> Source:
    """Make a source of those pixel-years that have an observation."""
    named = np.array([labels[sample] for sample in series.ids]) if labels else None
    source = Source(name, series.values, series.weights, groups, share, named)
    return source.take(observed_pixels(series.weights))


def table_source(path: Path, name: str, share: float, start_month: int = 1) -> Source:
    """Read a tidy table of pixel series: `sample_id, longitude, latitude, date` and any of the six bands, 0-1.

    See `esd.series.dekads_from_table`. A column `mir` (MOD13Q1's band near 2.1 um) stands for a missing `swir2`. Groups are
    whole degrees. A column `label` is kept. Raises TableError if the file is missing or is not such a table.
    """
    table = read_table(Path(path))
    if "mir" in table.columns and "swir2" not in table.columns:
        table = table.rename(columns={"mir": "swir2"})
    series = dekads_from_table(table, start_month)
    if series.longitude is None or series.latitude is None:
        raise TableError(f"table {Path(path).name} has no longitude and latitude; add them to hold out whole degrees")
    degrees = np.floor(np.stack([series.longitude, series.latitude], axis=1)).astype(int)
    groups = np.array([f"{east},{north}" for east, north in degrees])
    labels = dict(zip(table["sample_id"], table["label"], strict=True)) if "label" in table.columns else {}
    return _observed(series, name, share, groups, labels)


def collection2_source(path: Path, name: str, share: float) -> Source:
    """Read raw Landsat Collection 2 pixels (`site_id, date, spacecraft, SR_B*, QA_PIXEL`, digital numbers).

    Kept are rows whose QA_PIXEL says clear or water and digital numbers inside of the valid range (reflectance 0 to
    1). Groups are sites. Raises TableError if the file or a column is missing.
    """
    table = read_table(Path(path))
    needed = ("site_id", "date", "spacecraft", "QA_PIXEL", *TM_BANDS, "SR_B6")
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise TableError(f"table {Path(path).name} lacks the column {missing[0]!r}; it needs {', '.join(needed)}")
    quality = table["QA_PIXEL"].to_numpy(dtype=np.int64, na_value=0)
    table = table[((quality >> QA_CLEAR) | (quality >> QA_WATER)) & 1 > 0]
    newer = table["spacecraft"].isin(["LANDSAT_8", "LANDSAT_9"]).to_numpy()
    as_tm = table[list(TM_BANDS)].to_numpy(dtype=np.float64, na_value=np.nan)
    as_oli = table[list(OLI_BANDS)].to_numpy(dtype=np.float64, na_value=np.nan)
    number = np.where(newer[:, None], as_oli, as_tm)
    low, high = COLLECTION2_VALID
    reflectance = np.where((number >= low) & (number <= high), number * COLLECTION2_SCALE + COLLECTION2_OFFSET, np.nan)
    frame = pd.DataFrame(reflectance, columns=list(BANDS))
    frame["sample_id"], frame["date"] = table["site_id"].to_numpy(), table["date"].to_numpy()
    series = dekads_from_table(frame)
    return _observed(series, name, share, series.ids.astype(str), {})


def chip_blocks(height: int, width: int) -> npt.NDArray[np.str_]:
    """Return the name of the spatial block of 32 x 32 pixels that holds each pixel of a chip, [y, x]."""
    row, column = np.indices((height, width)) // BLOCK
    return np.asarray(np.char.add(np.char.add(row.astype(str), ","), column.astype(str)))


def chip_source(values: npt.NDArray[np.float32], weights: npt.NDArray[np.uint8], name: str, share: float) -> Source:
    """Make a source of the dekads of a chip: [36, 6, years, y, x] values and weights.

    Groups are spatial blocks of 32 x 32 pixels, the same in every year. Pixel-years never observed are left out.
    """
    years, height, width = values.shape[2:]
    groups = np.broadcast_to(chip_blocks(height, width), (years, height, width)).reshape(-1)
    flat_weights = weights.reshape(DEKADS, len(BANDS), -1)
    source = Source(name, values.reshape(DEKADS, len(BANDS), -1), flat_weights, groups, share)
    return source.take(observed_pixels(flat_weights))
