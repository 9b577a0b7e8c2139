"""Windows, steps and dekads."""

from __future__ import annotations

import calendar
import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esd.dekad import dekad_dates, dekad_index, parse_windows, step_dates, window_end, window_of, window_start
from esd.errors import WindowError

DATES = st.dates(dt.date(1984, 1, 1), dt.date(2030, 12, 31))
MONTHS = st.integers(1, 12)


@given(DATES, MONTHS)
def test_every_date_lies_in_its_window_and_dekad(date: dt.date, month: int) -> None:
    window = window_of(date, month)
    assert window <= date < window_end(window)
    dekad = int(dekad_index(date, window))
    middle = dekad_dates(window)[dekad].astype(object)
    assert (middle.year, middle.month) == (date.year, date.month)
    assert abs((middle - date).days) <= 6


@given(st.integers(1984, 2030), MONTHS)
def test_a_window_is_cut_into_36_dekads_without_gap(year: int, month: int) -> None:
    window = window_start(year, month)
    days = np.arange(np.datetime64(window), np.datetime64(window_end(window)))
    index = dekad_index(days, window)
    assert np.array_equal(np.unique(index), np.arange(36))
    assert (np.diff(index) >= 0).all()
    lengths = np.bincount(index)
    february = 28 + calendar.isleap(year if month <= 2 else year + 1)
    assert set(lengths) <= {8, 9, 10, 11}
    assert lengths.sum() == 365 + (february == 29)


def test_dates_outside_have_no_dekad() -> None:
    assert dekad_index(["2003-12-31", "2005-01-01"], dt.date(2004, 1, 1)).tolist() == [-1, -1]


def test_steps_are_the_months() -> None:
    assert [str(date) for date in step_dates(dt.date(2004, 11, 1))[:3]] == ["2004-11-15", "2004-12-15", "2005-01-15"]


@pytest.mark.parametrize(
    ("text", "years"), [("2004", [2004]), ("2000/2003", [2000, 2001, 2002, 2003]), ("2005,2000/2001", [2000, 2001, 2005])]
)
def test_windows_are_read(text: str, years: list[int]) -> None:
    assert [window.year for window in parse_windows(text)] == years


@pytest.mark.parametrize("text", ["", "04", "2005/2000", "2000-2005", "all", "2000/2001/2002"])
def test_other_windows_are_refused(text: str) -> None:
    with pytest.raises(WindowError):
        parse_windows(text)


def test_a_start_month_must_be_a_month() -> None:
    with pytest.raises(WindowError, match="13"):
        window_start(2004, 13)
