"""Tables of pixel series: to dekads by hand, to codes and back, and whose codes they are."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_codecs import random_codec

from esd.codec import Codec
from esd.dekad import BANDS, dekad_dates, step_counts, window_of
from esd.errors import EncoderError, TableError, WindowError
from esd.series import (
    codes_to_table,
    dekads_from_table,
    read_table,
    reflectance_table,
    step_columns,
    table_to_codes,
    write_table,
)

CODE_COLUMNS, COUNT_COLUMNS = step_columns("code", 12), step_columns("count", 12)


def observations(n: int = 300, seed: int = 0, samples: int = 7) -> pd.DataFrame:
    """Observations of some samples on random days of three years, with holes, without the green band."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "sample_id": [f"px{i}" for i in rng.integers(0, samples, n)],
            "date": np.datetime64("2003-01-01") + rng.integers(0, 1096, n).astype("timedelta64[D]"),
        }
    )
    place = frame["sample_id"].str[2:].astype(float)
    frame["longitude"], frame["latitude"] = 10 + place, 40 - place
    for band in ("blue", "red", "nir", "swir1", "swir2"):
        frame[band] = rng.random(n)
        frame.loc[rng.random(n) < 0.2, band] = np.nan
    return frame


def by_hand(frame: pd.DataFrame, start_month: int) -> dict[tuple[str, dt.date], dict[tuple[int, int], list[float]]]:
    """Every observation by sample and window, then by dekad and band: in plain loops."""
    found: dict[tuple[str, dt.date], dict[tuple[int, int], list[float]]] = {}
    for row in frame.to_dict("records"):
        day = pd.Timestamp(row["date"]).date()
        window = window_of(day, start_month)
        months = (day.year - window.year) * 12 + day.month - window.month
        dekad = months * 3 + (0 if day.day <= 10 else 1 if day.day <= 20 else 2)
        entry = found.setdefault((row["sample_id"], window), {})
        for band, name in enumerate(BANDS):
            if name in row and not np.isnan(row[name]):
                entry.setdefault((dekad, band), []).append(row[name])
    return found


@given(seed=st.integers(0, 1000), start_month=st.integers(1, 12))
def test_dekads_are_means_of_what_was_observed(seed: int, start_month: int) -> None:
    frame = observations(120, seed, samples=4)
    series = dekads_from_table(frame, start_month)
    expected = by_hand(frame, start_month)
    assert set(zip(series.ids, series.windows, strict=True)) == set(expected)
    assert len(series) == len(expected)
    for i, key in enumerate(zip(series.ids, series.windows, strict=True)):
        weights = np.zeros((36, 6), dtype=int)
        values = np.zeros((36, 6))
        for (dekad, band), numbers in expected[key].items():
            weights[dekad, band], values[dekad, band] = len(numbers), np.mean(numbers)
        assert np.array_equal(series.weights[..., i], weights)
        assert np.allclose(series.values[..., i], values, atol=1e-7)
        assert series.longitude is not None
        assert series.longitude[i] == 10 + float(key[0][2:])


def test_entries_are_ordered_by_sample_as_met_then_window() -> None:
    frame = observations()
    series = dekads_from_table(frame)
    first_met = list(dict.fromkeys(frame["sample_id"]))
    order = [(first_met.index(name), window) for name, window in zip(series.ids, series.windows, strict=True)]
    assert order == sorted(order)


def test_forms_of_dates_and_holes_do_not_matter() -> None:
    frame = observations()
    series = dekads_from_table(frame)
    as_text = frame.assign(date=frame["date"].dt.strftime("%Y-%m-%d"))
    as_days = frame.assign(date=frame["date"].dt.date)
    with_green = frame.assign(green=None, red=frame["red"].astype(object).where(frame["red"].notna(), None))
    shuffled_index = frame.set_index(np.arange(len(frame))[::-1])
    in_utc = frame.assign(date=frame["date"].dt.tz_localize("UTC"))
    for same in (as_text, as_days, in_utc, with_green, shuffled_index):
        other = dekads_from_table(same)
        assert np.array_equal(series.values, other.values)
        assert np.array_equal(series.weights, other.weights)
        assert series.windows == other.windows
    assert dekads_from_table(frame.drop(columns="longitude")).longitude is None


def test_step_counts_take_the_band_seen_most_in_each_dekad() -> None:
    weights = np.zeros((36, 6, 2), dtype=np.uint8)
    weights[0:3, 1, 0] = (1, 2, 0)
    weights[0:3, 2, 0] = (0, 2, 3)
    weights[33:36, 0, 1] = (200, 100, 9)
    counts = step_counts(weights)
    assert counts[:, 0].tolist() == [6] + [0] * 11
    assert counts[:, 1].tolist() == [0] * 11 + [254]


def encoded(codec: Codec, frame: pd.DataFrame, start_month: int = 1) -> pd.DataFrame:
    series = dekads_from_table(frame, start_month)
    return codes_to_table(series, codec.encode(series.values, series.weights), codec)


def test_codes_come_back_from_a_file(codec: Codec, tmp_path: Path) -> None:
    table = encoded(codec, observations())
    assert list(table.columns) == ["sample_id", "longitude", "latitude", "window", *CODE_COLUMNS, *COUNT_COLUMNS]
    assert {str(table[name].dtype) for name in CODE_COLUMNS} == {"uint16"}
    stored = read_table(write_table(table, tmp_path / "codes.parquet"))
    assert stored.equals(table)
    assert stored.attrs == table.attrs
    assert stored.attrs["esd:encoder"] == {"id": codec.id, "sha256": codec.sha256}
    assert np.array_equal(table_to_codes(stored, codec), np.stack([table[name] for name in CODE_COLUMNS]))
    again = write_table(table, tmp_path / "again.parquet")
    assert again.read_bytes() == (tmp_path / "codes.parquet").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_decoding_gives_the_36_dekads(codec: Codec) -> None:
    table = encoded(codec, observations(), start_month=7)
    tidy = reflectance_table(table, codec)
    assert list(tidy.columns) == ["sample_id", "date", *BANDS]
    assert len(tidy) == 36 * len(table)
    decoded = codec.decode(table_to_codes(table, codec))
    for i in (0, 5, len(table) - 1):
        rows = tidy.iloc[36 * i : 36 * (i + 1)]
        assert set(rows["sample_id"]) == {table["sample_id"].iloc[i]}
        assert np.array_equal(rows["date"].to_numpy("datetime64[D]"), dekad_dates(table["window"].iloc[i].date()))
        assert np.array_equal(rows[list(BANDS)].to_numpy(), decoded[..., i])


def test_decoding_at_dates_gives_the_dekad_that_holds_them(codec: Codec) -> None:
    frame = observations()
    table = encoded(codec, frame, start_month=4)
    asked = frame[["sample_id", "date"]]
    tidy = reflectance_table(table, codec, asked)
    assert list(tidy["sample_id"]) == list(asked["sample_id"])
    assert np.array_equal(tidy["date"].to_numpy("datetime64[D]"), asked["date"].to_numpy("datetime64[D]"))
    dekads = reflectance_table(table, codec)
    for i in range(0, len(asked), 37):
        day = asked["date"].iloc[i]
        middle = day.replace(day=5 if day.day <= 10 else 15 if day.day <= 20 else 25)
        row = dekads[(dekads["sample_id"] == asked["sample_id"].iloc[i]) & (dekads["date"] == middle)]
        assert np.array_equal(tidy.loc[i, list(BANDS)].to_numpy(float), row[list(BANDS)].to_numpy(float)[0])


def test_dates_that_no_window_holds_are_nan_and_none_at_all_is_an_error(codec: Codec) -> None:
    table = encoded(codec, observations())
    asked = pd.DataFrame({"sample_id": ["px0", "px0", "unknown"], "date": ["2004-05-01", "1999-05-01", "2004-05-01"]})
    values = reflectance_table(table, codec, asked)[list(BANDS)]
    assert values.notna().all(axis=1).tolist() == [True, False, False]
    with pytest.raises(TableError, match="no date asked for lies in a window of its sample"):
        reflectance_table(table, codec, asked.iloc[1:])


def test_a_year_without_observations_has_no_codes_and_no_reflectance(codec: Codec) -> None:
    frame = observations()
    frame.loc[frame["sample_id"] == "px1", list(BANDS[:1] + BANDS[2:])] = np.nan
    table = encoded(codec, frame)
    empty = (table["sample_id"] == "px1").to_numpy()
    assert (table.loc[empty, list(CODE_COLUMNS)] == 65535).all(axis=None)
    assert (table.loc[empty, list(COUNT_COLUMNS)] == 0).all(axis=None)
    tidy = reflectance_table(table, codec)
    assert tidy.loc[tidy["sample_id"] == "px1", list(BANDS)].isna().all(axis=None)
    assert tidy.loc[tidy["sample_id"] != "px1", list(BANDS)].notna().all(axis=None)


def test_codes_of_another_encoder_are_not_decoded(codec: Codec, tmp_path: Path) -> None:
    table = encoded(codec, observations())
    other = random_codec(seed=3, name="other")
    both = rf"written by random \({codec.sha256[:12]}\), not by other \({other.sha256[:12]}\)"
    with pytest.raises(EncoderError, match=both):
        reflectance_table(table, other)
    table.to_parquet(tmp_path / "plain.parquet")
    bare = pd.read_parquet(tmp_path / "plain.parquet")
    bare.attrs.clear()
    with pytest.raises(EncoderError, match="does not say which encoder"):
        reflectance_table(bare, codec)


def broken(**changes: object) -> pd.DataFrame:
    return observations().assign(**changes)


TABLES = {
    "no date": (observations().drop(columns="date"), "no column date"),
    "no sample": (observations().drop(columns="sample_id"), "no column sample_id"),
    "no band": (observations()[["sample_id", "date"]], "none of the columns blue, green"),
    "no rows": (observations().iloc[:0], "no rows"),
    "scaled": (broken(blue=700.0, red=900.0, nir=3000.0, swir1=2000.0, swir2=1000.0), "scale it by 0.0001"),
    "fill value": (broken(blue=[-9999.0] + [0.1] * 299), "holds -9999"),
    "all missing": (broken(**dict.fromkeys(("blue", "red", "nir", "swir1", "swir2"))), "every value is missing"),
    "text": (broken(nir="high"), "column nir does not hold numbers"),
    "bad date": (broken(date=["31st of June"] + ["2004-01-01"] * 299), "'31st of June', which is not a date"),
    "ambiguous date": (broken(date="01/02/2004"), "'01/02/2004', which is not a date"),
    "year": (broken(date=2004), "column date holds numbers"),
    "nameless": (broken(sample_id=[None] + ["a"] * 299), "sample_id has missing values"),
}


@pytest.mark.parametrize("name", TABLES)
def test_unusable_tables_say_why(name: str) -> None:
    frame, message = TABLES[name]
    with pytest.raises(TableError, match=message) as raised:
        dekads_from_table(frame)
    assert "\n" not in str(raised.value)


def test_unusable_codes_and_files(codec: Codec, tmp_path: Path) -> None:
    table = encoded(codec, observations())
    with pytest.raises(TableError, match="no column code_3"):
        table_to_codes(table.drop(columns="code_3"), codec)
    with pytest.raises(TableError, match="whole numbers"):
        table_to_codes(table.assign(code_0=-1), codec)
    with pytest.raises(TableError, match="whole numbers"):
        table_to_codes(table.assign(code_0=0.5), codec)
    with pytest.raises(WindowError, match="start month 13"):
        dekads_from_table(observations(), 13)
    with pytest.raises(TableError, match="not there"):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(TableError, match=r"text\.parquet is not a Parquet table"):
        read_table(tmp_path / "text.parquet")


def test_the_labelled_pixels_of_the_pantanal(shared_data: Path, codec: Codec) -> None:
    frame = read_table(shared_data / "landsat8_pantanal_dev.parquet")
    series = dekads_from_table(frame)
    assert len(series) == 4301
    assert set(series.windows) == {dt.date(2018, 1, 1)}
    assert (series.weights > 0).sum() == (series.weights).sum() == 4301 * 23 * 6
    pixel = frame[frame["sample_id"] == series.ids[17]].reset_index(drop=True)
    tidy = reflectance_table(codes_to_table(series, codec.encode(series.values, series.weights), codec), codec, pixel)
    assert len(tidy) == 23
    assert tidy[list(BANDS)].notna().all(axis=None)
