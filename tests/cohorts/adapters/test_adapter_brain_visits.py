"""Dates, codes and numbers of visits; which visit a scan belongs to."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfm.cohorts.adapters.brain_visits import (
    DAYS_PER_MONTH,
    Visit,
    age_at,
    as_date,
    code_months,
    months_of,
    nearest,
    number,
    number_visits,
)
from medfm.core.errors import CohortError


@given(st.dates(date(1900, 1, 1), date(2099, 12, 31)))
def test_dates_are_read_as_they_are_written(day: date) -> None:
    assert as_date(day.isoformat(), "x") == day
    assert as_date(f"{day.month}/{day.day}/{day.year}", "x") == day
    assert as_date(f" {day.isoformat()} 00:00:00", "x") == day


@pytest.mark.parametrize("text", ["", "-4", "NA", "n/a", " "])
def test_cells_without_a_date(text: str) -> None:
    assert as_date(text, "x") is None


@pytest.mark.parametrize("text", ["08-09-2005", "8.9.2005", "2005", "2005-13-01", "31/12/2005", "2005-02-30", "soon"])
def test_ambiguous_and_impossible_dates_are_refused_without_repeating_them(text: str) -> None:
    with pytest.raises(CohortError, match="YYYY-MM-DD") as caught:
        as_date(text, "ADNIMERGE.csv, line 7")
    assert "line 7" in str(caught.value) and text not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("29", 29.0), ("0.5", 0.5), ("0", 0.0), ("-4", None), ("-1", None), ("", None), (".", None), ("NaN", None)],
)
def test_numbers(text: str, expected: float | None) -> None:
    assert number(text) == expected
    assert number(None) is None and number("many") is None


@pytest.mark.parametrize(
    ("code", "expected"),
    [("bl", 0), ("BL", 0), ("sc", 0), ("m06", 6), ("m18", 18), ("M120", 120), ("f", None), ("y1", None), ("", None)],
)
def test_codes_of_visits(code: str, expected: int | None) -> None:
    assert code_months(code) == expected


def test_months_and_ages() -> None:
    assert [months_of(d) for d in (0, 30, 365.25, 731, -1, -40)] == [0.0, 1.0, 12.0, 24.0, 0.0, -1.3]
    assert str(months_of(-1)) == "0.0"
    assert age_at(70.0, 365.25) == 71.0 and age_at(70.0, -40) == 69.9 and age_at(None, 3) is None
    assert pytest.approx(30.4375) == DAYS_PER_MONTH


def visit(day: float, diagnosis: str | None = "CN") -> Visit:
    return Visit(f"d{day}", day, 0, diagnosis)


def test_the_nearest_visit() -> None:
    visits = [visit(0), visit(180), visit(360)]
    assert nearest(visits, 100, 90) == visits[1]
    assert nearest(visits, 90, 90) == visits[0]  # of two alike the earlier, and the limit counts as within
    assert nearest(visits, 90, 89) is None
    assert nearest(visits, 451, 90) is None and nearest(visits, 450, 90) == visits[2]
    assert nearest([], 0, 90) is None


def test_a_visit_without_a_diagnosis_is_a_visit_but_gives_none() -> None:
    visits = [visit(0, "MCI"), visit(60, None)]
    assert nearest(visits, 50, 90) == visits[1]
    assert nearest(visits, 50, 90, diagnosed=True) == visits[0]
    assert nearest(visits, 95, 90, diagnosed=True) is None


@given(
    st.lists(st.tuples(st.integers(-50, 2000), st.sampled_from([None, "CN", "AD"])), max_size=12),
    st.integers(-50, 2000),
    st.integers(0, 300),
    st.booleans(),
)
def test_no_visit_is_nearer(days: list[tuple[int, str | None]], day: int, limit: int, diagnosed: bool) -> None:
    visits = [visit(d, dx) for d, dx in days]
    found = nearest(visits, day, limit, diagnosed)
    fitting = [abs(v.day - day) for v in visits if abs(v.day - day) <= limit and (v.diagnosis or not diagnosed)]
    if found is None:
        assert not fitting
    else:
        assert abs(found.day - day) == min(fitting)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4)), max_size=15))
def test_visits_are_numbered_in_their_order(scans: list[tuple[str, int]]) -> None:
    rows = [{"patient_id": who, "session": f"s{day}", "_day": day} for who, day in scans]
    number_visits(rows)
    for row in rows:
        before = {day for who, day in scans if who == row["patient_id"] and day < row["_day"]}
        assert row["visit"] == len(before)


def test_a_session_of_two_days_has_one_number() -> None:
    start = date(2001, 1, 1)
    days = [(start + timedelta(days=d) - start).days for d in (5, 0, 3)]
    rows = [{"patient_id": "a", "session": s, "_day": d} for s, d in zip(("one", "one", "two"), days, strict=True)]
    number_visits(rows)
    assert [row["visit"] for row in rows] == [0, 0, 1]
