"""Tables of pixel series: tidy reflectance to codes and back, as Parquet.

    observations   sample_id, date, any of the six bands (reflectance 0..1), and longitude, latitude where known
    codes          sample_id, window, code_0, code_1, .., count_0, .. by step, longitude, latitude where known
    reflectance    sample_id, date, the six bands

A table of codes carries its encoder (`attrs["esd:encoder"]`, and in the metadata of its Parquet file), so that no other one
decodes it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .codec import Codec, other_encoder
from .dekad import BANDS, DEKADS, dekad_dates, dekad_index, step_counts, window_start
from .errors import EncoderError, TableError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ENCODER",
    "Series",
    "codes_to_table",
    "dekads_from_table",
    "encoder_facts",
    "read_table",
    "reflectance_table",
    "step_columns",
    "table_to_codes",
    "window_months",
    "write_table",
]

ENCODER = "esd:encoder"
"""Name under which a table of codes carries the id and sha256 of its encoder."""

LARGEST_MEDIAN = 2.0
"""A median reflectance above this means that the numbers are scaled, usually by 10,000."""
LARGEST_VALUE = 10.0
"""A single reflectance beyond this is a fill value."""

Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Series:
    """Dekads of n pixel-years, each a sample in one window.

    `values` float32 reflectance and `weights` uint8 (observations behind each value, 0 = none) are [36, 6, n]. `ids` holds
    the sample of each; `longitude` and `latitude` are in degrees, None where the table had none.
    """

    ids: npt.NDArray[Any]
    windows: tuple[dt.date, ...]
    values: Floats
    weights: Counts
    longitude: npt.NDArray[np.float64] | None = None
    latitude: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.windows)


def _require(frame: pd.DataFrame, columns: tuple[str, ...], fix: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        has = ", ".join(map(str, frame.columns))
        raise TableError(f"the table has no column {', '.join(missing)} (it has {has}); {fix}")
    if len(frame) == 0:
        raise TableError("the table has no rows; give one with observations")


def _dates(column: pd.Series[Any], name: str) -> npt.NDArray[np.datetime64]:
    """Return a column of dates as datetime64[D], in UTC where it has a time zone.

    Texts are ISO 8601 and nothing else: 01/02/2004 is two dates. Raises TableError where one is missing or none.
    """
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        raise TableError(f"column {name} holds numbers, such as {column.iloc[0]}; write dates as 2004-07-01")
    parsed = pd.to_datetime(column, format="ISO8601", errors="coerce", utc=True).dt.tz_localize(None)
    bad = parsed.isna()
    if bad.any():
        first = str(column[bad].iloc[0])
        raise TableError(f"column {name} holds {first!r}, which is not a date; write dates as 2004-07-01")
    return np.asarray(parsed.to_numpy(), dtype="datetime64[D]")


def _reflectance(frame: pd.DataFrame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return reflectance [6, rows] and where it is observed. Raises TableError where it is clearly not 0..1."""
    present = [band for band in BANDS if band in frame.columns]
    if not present:
        raise TableError(f"the table has none of the columns {', '.join(BANDS)}; name at least one band so")
    values = np.full((len(BANDS), len(frame)), np.nan)
    for band in present:
        try:
            values[BANDS.index(band)] = frame[band].to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise TableError(f"column {band} does not hold numbers ({error}); give reflectance 0..1") from error
    observed = np.isfinite(values)
    if not observed.any():
        raise TableError("the table holds no reflectance at all, every value is missing; give at least one observation")
    median = float(np.median(np.abs(values[observed])))
    if median > LARGEST_MEDIAN:
        raise TableError(f"the reflectance has a median of {median:g}, it should lie in 0..1; scale it by 0.0001")
    strange = observed & (np.abs(values) > LARGEST_VALUE)
    if strange.any():
        raise TableError(f"the reflectance holds {values[strange][0]:g}, which is none; make fill values null")
    return np.where(observed, values, 0.0), observed


def window_months(days: npt.NDArray[np.datetime64], start_month: int) -> npt.NDArray[np.datetime64]:
    """Return the first month of the window that holds each day: datetime64[M]."""
    shift = np.timedelta64(window_start(2000, start_month).month - 1, "M")
    years = (days.astype("datetime64[M]") - shift).astype("datetime64[Y]")
    return np.asarray(years.astype("datetime64[M]") + shift, dtype="datetime64[M]")


def _place(frame: pd.DataFrame, name: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64] | None:
    return frame[name].to_numpy(dtype=np.float64)[rows] if name in frame.columns else None


def _average(
    place: npt.NDArray[np.int64], entries: int, reflectance: npt.NDArray[np.float64], observed: npt.NDArray[np.bool_]
) -> tuple[Floats, Counts]:
    """Average and count observations [6, rows] that share a place: dekad x entries + entry. Returns two [36, 6, entries]."""
    values = np.zeros((DEKADS, len(BANDS), entries), dtype=np.float32)
    weights = np.zeros(values.shape, dtype=np.uint8)
    for band, seen in enumerate(observed):
        sums = np.bincount(place[seen], reflectance[band, seen], minlength=DEKADS * entries)
        counts = np.bincount(place[seen], minlength=DEKADS * entries)
        values[:, band] = (sums / np.maximum(counts, 1)).reshape(DEKADS, entries)
        weights[:, band] = np.minimum(counts, np.iinfo(np.uint8).max).reshape(DEKADS, entries)
    return values, weights


def dekads_from_table(frame: pd.DataFrame, start_month: int = 1) -> Series:
    """Turn a tidy table of observations into dekads.

    A missing row, column or value is unobserved; observations of one sample in one dekad are averaged and counted. Every
    sample has one entry for each window (starting in `start_month`) in which it has a row, in order of sample as it first
    appears, then window. Raises TableError for a table without sample_id, date or any band, for dates that are none, and
    for reflectance that is clearly not 0..1.
    """
    import pandas as pd

    _require(frame, ("sample_id", "date"), "give one row an observation: sample_id, date and bands")
    if frame["sample_id"].isna().any():
        raise TableError("column sample_id has missing values; every row needs the name of its sample")
    days = _dates(frame["date"], "date")
    reflectance, observed = _reflectance(frame)
    starts = window_months(days, start_month)
    sample, ids = pd.factorize(frame["sample_id"])
    window, names = pd.factorize(starts, sort=True)
    pairs, first_row, entry = np.unique(sample * len(names) + window, return_index=True, return_inverse=True)
    first_days = np.asarray(names, dtype="datetime64[D]").astype(object)
    dekad = np.zeros(len(days), dtype=np.int64)
    for i, first_day in enumerate(first_days):
        dekad[window == i] = dekad_index(days[window == i], first_day)
    values, weights = _average(dekad * len(pairs) + entry, len(pairs), reflectance, observed)
    return Series(
        ids=np.asarray(ids)[pairs // len(names)],
        windows=tuple(first_days[pairs % len(names)]),
        values=values,
        weights=weights,
        longitude=_place(frame, "longitude", first_row),
        latitude=_place(frame, "latitude", first_row),
    )


def encoder_facts(codec: Codec) -> dict[str, str]:
    """Return what a table of codes says of its encoder."""
    return {"id": codec.id, "sha256": codec.sha256}


def step_columns(name: str, steps: int) -> tuple[str, ...]:
    """Return the column names of a number of each step: code_0, code_1, ..."""
    return tuple(f"{name}_{step}" for step in range(steps))


def codes_to_table(series: Series, codes: npt.NDArray[np.unsignedinteger], codec: Codec) -> pd.DataFrame:
    """Return codes [steps, n] of n pixel-years as a table, one row each, that carries its encoder."""
    import pandas as pd

    steps = codec.steps
    if codes.shape != (steps, len(series)):
        raise TableError(f"codes have shape {codes.shape}, {len(series)} series need ({steps}, {len(series)})")
    columns: dict[str, Any] = {"sample_id": series.ids}
    if series.longitude is not None and series.latitude is not None:
        columns |= {"longitude": series.longitude, "latitude": series.latitude}
    columns["window"] = np.array(series.windows, dtype="datetime64[ms]")
    columns |= dict(zip(step_columns("code", steps), codes, strict=True))
    columns |= dict(zip(step_columns("count", steps), step_counts(series.weights, steps), strict=True))
    table = pd.DataFrame(columns)
    table.attrs[ENCODER] = encoder_facts(codec)
    return table


def table_to_codes(table: pd.DataFrame, codec: Codec) -> npt.NDArray[np.unsignedinteger]:
    """Return the codes of a table, [steps, rows] of the codec's type. TableError for missing columns or what is no code."""
    columns, fill = step_columns("code", codec.steps), codec.fill
    _require(table, columns, "give the table that 'esd encode' wrote")
    codes = table[list(columns)].to_numpy().T
    whole = np.issubdtype(codes.dtype, np.integer)
    if not whole or codes.min() < 0 or codes.max() > fill:
        raise TableError(
            f"columns code_0 to {columns[-1]} are {codes.dtype}; codes are whole numbers 0..{fill}, {fill} = no data"
        )
    return np.asarray(codes, dtype=codec.code_dtype)


def _same_encoder(table: pd.DataFrame, codec: Codec) -> None:
    facts = table.attrs.get(ENCODER)
    if not isinstance(facts, Mapping):
        raise EncoderError(
            "the table of codes does not say which encoder wrote it; read it with esd.series.read_table from the file that "
            "'esd encode' wrote"
        )
    if facts.get("sha256") != codec.sha256:
        raise EncoderError(other_encoder("the codes were written", str(facts.get("sha256")), codec, facts.get("id")))


def _tidy(ids: npt.NDArray[Any], days: npt.NDArray[Any], reflectance: Floats) -> pd.DataFrame:
    """Return rows sample_id, date and the bands of `reflectance` [6, rows]."""
    import pandas as pd

    return pd.DataFrame(
        {"sample_id": ids, "date": days.astype("datetime64[ms]"), **dict(zip(BANDS, reflectance, strict=True))}
    )


def _all_dekads(table: pd.DataFrame, windows: list[dt.date], reflectance: Floats) -> pd.DataFrame:
    days = np.stack([dekad_dates(window) for window in windows])
    ids = np.repeat(table["sample_id"].to_numpy(), DEKADS)
    return _tidy(ids, days.ravel(), np.ascontiguousarray(reflectance.transpose(1, 2, 0)).reshape(len(BANDS), -1))


def _at_dates(table: pd.DataFrame, windows: list[dt.date], reflectance: Floats, dates: pd.DataFrame) -> pd.DataFrame:
    _require(dates, ("sample_id", "date"), "give the samples and dates that are asked for")
    days = _dates(dates["date"], "date")
    starts = np.array(windows)
    row, dekad = np.full(len(dates), -1), np.zeros(len(dates), dtype=np.int64)
    for window in sorted(set(windows)):
        rows = np.flatnonzero(starts == window)
        position = dict(zip(table["sample_id"].to_numpy()[rows], rows, strict=True))
        found = dates["sample_id"].map(position).fillna(-1).to_numpy(dtype=np.int64)
        index = dekad_index(days, window)
        hit = (found >= 0) & (index >= 0)
        row, dekad = np.where(hit, found, row), np.where(hit, index, dekad)
    if (row < 0).all():
        have = f"windows {min(windows)} to {max(windows)}, samples such as {table['sample_id'].iloc[0]!r}"
        raise TableError(f"no date asked for lies in a window of its sample; the codes have {have}")
    values = np.where(row >= 0, reflectance[dekad, :, np.maximum(row, 0)].T, np.float32(np.nan))
    return _tidy(dates["sample_id"].to_numpy(), days, values.astype(np.float32))


def reflectance_table(table: pd.DataFrame, codec: Codec, dates: pd.DataFrame | None = None) -> pd.DataFrame:
    """Decode a table of codes to dated reflectance: sample_id, date, blue to swir2 (float32, 0..1).

    Without `dates` every row gives its 36 dekads, each dated by its middle. With it (sample_id, date) there is one row for
    each of its rows, in its order: the value of the dekad that holds the date, NaN where no window of the sample does, or
    where the code is "no data". Raises EncoderError if the table says that another encoder wrote it, or nothing.
    """
    import pandas as pd

    _require(table, ("sample_id", "window"), "give the table that 'esd encode' wrote")
    _same_encoder(table, codec)
    codes = table_to_codes(table, codec)
    reflectance = codec.decode(codes)
    reflectance[..., (codes == codec.fill).any(axis=0)] = np.nan
    windows = [pd.Timestamp(day).date() for day in _dates(table["window"], "window")]
    if dates is None:
        return _all_dekads(table, windows, reflectance)
    return _at_dates(table, windows, reflectance, dates)


def write_table(table: pd.DataFrame, path: str | Path) -> Path:
    """Write a table as Parquet (zstd), whole or not at all; a table of codes with its encoder. Returns the path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    facts = {key: json.dumps(value) for key, value in table.attrs.items() if key == ENCODER}
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), **facts})
    temporary = path.with_name(f".{path.name}.part")
    pq.write_table(arrow, temporary, compression="zstd")
    temporary.replace(path)
    return path


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a Parquet table; one of codes comes with its encoder in `attrs`. Raises TableError if it is not one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise TableError(f"table {str(path)!r} is not there; give the path of a Parquet file")
    try:
        arrow = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path.name} is not a Parquet table ({str(error).splitlines()[0]})") from error
    table: pd.DataFrame = arrow.to_pandas()
    metadata = arrow.schema.metadata or {}
    if ENCODER.encode() in metadata:
        table.attrs[ENCODER] = json.loads(metadata[ENCODER.encode()])
    return table
