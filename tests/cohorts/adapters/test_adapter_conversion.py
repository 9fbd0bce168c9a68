"""Follow-up from MCI to AD: each rule by hand, and against a second writing of the rules on random lives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.cohorts.adapters.brain_visits import DAYS_PER_MONTH, Visit, nearest
from medfm.cohorts.adapters.conversion import RULES, conversion

YEAR = 365


def lives(**subjects: str) -> dict[str, list[Visit]]:
    """Visits a year apart from letters: C, M, A, and - for no diagnosis."""
    told = {"C": "CN", "M": "MCI", "A": "AD", "-": None}
    return {
        name: [Visit(f"m{12 * i}", YEAR * i, 12 * i, told[letter]) for i, letter in enumerate(letters)]
        for name, letters in subjects.items()
    }


def scan(subject: str, day: int, label: str | None, visit_day: float | None = None) -> dict[str, Any]:
    return {
        "patient_id": subject,
        "record_id": f"{subject}_{day}",
        "label": label,
        "_day": day,
        "_visit_day": day if visit_day is None else visit_day,
    }


def follow(letters: str, *scans: dict[str, Any]) -> list[tuple[str, float, int]]:
    made = conversion(list(scans), lives(p=letters))
    return [(row["record_id"], row["time"], row["event"]) for row in made.rows]


def test_the_event_is_the_first_later_visit_with_ad() -> None:
    assert follow("MMAA", scan("p", 0, "MCI")) == [("p_0", 24.0, 1)]


def test_the_end_is_the_last_visit_with_a_diagnosis() -> None:
    assert follow("MMM-", scan("p", 0, "MCI")) == [("p_0", 24.0, 0)]


def test_the_record_is_the_first_scan_at_mci() -> None:
    scans = [scan("p", YEAR, "MCI"), scan("p", 2 * YEAR, "MCI"), scan("p", 0, "CN")]
    assert follow("CMMA", *scans) == [("p_365", 24.0, 1)]


def test_who_had_ad_before_the_scan_is_left_out() -> None:
    assert follow("AMMA", scan("p", YEAR, "MCI")) == []
    assert follow("MAMA", scan("p", 2 * YEAR, "MCI")) == []


def test_a_reversion_after_ad_does_not_undo_the_event() -> None:
    assert follow("MAMM", scan("p", 0, "MCI")) == [("p_0", 12.0, 1)]


def test_a_reversion_to_cn_ends_nothing() -> None:
    assert follow("MCMA", scan("p", 0, "MCI")) == [("p_0", 36.0, 1)]
    assert follow("MCC", scan("p", 0, "MCI")) == [("p_0", 24.0, 0)]


def test_no_scan_at_mci_and_no_later_visit() -> None:
    assert follow("CCA", scan("p", 0, "CN"), scan("p", 2 * YEAR, "AD")) == []
    assert follow("CM", scan("p", YEAR, "MCI")) == []
    assert follow("M--", scan("p", 0, "MCI")) == []


def test_time_runs_from_the_scan_not_from_its_visit() -> None:
    [(_, time, event)] = follow("MA", scan("p", 61, "MCI", 0))
    assert (time, event) == (round((YEAR - 61) / DAYS_PER_MONTH, 1), 1)
    [(_, early, _)] = follow("MA", scan("p", -61, "MCI", 0))
    assert early == round((YEAR + 61) / DAYS_PER_MONTH, 1)


def test_the_visit_of_the_scan_itself_is_no_follow_up() -> None:
    """A scan 40 days before the only visit: that visit gave its label and cannot censor it."""
    assert follow("M", scan("p", -40, "MCI", 0)) == []


def test_a_very_near_event_still_has_a_time() -> None:
    visits = {"p": [Visit("bl", 0, 0, "MCI"), Visit("m01", 1, 1, "AD")]}
    [row] = conversion([scan("p", 0, "MCI")], visits).rows
    assert (row["time"], row["event"]) == (0.1, 1)


def test_notes_count_what_was_left_out() -> None:
    visits = lives(a="MMA", b="AM", c="CC", d="M", e="MCA", f="MAM", g="MC")
    scans = [
        scan("a", 0, "MCI"),
        scan("b", YEAR, "MCI"),
        scan("c", 0, "CN"),
        scan("d", 0, "MCI"),
        scan("e", 0, "MCI"),
        scan("f", 0, "MCI"),
        scan("g", 0, "MCI"),
    ]
    made = conversion(scans, visits)
    assert [row["patient_id"] for row in made.rows] == ["a", "e", "f", "g"]
    assert made.notes[: len(RULES)] == RULES
    assert "no scan at MCI 1, AD at or before 1, no later visit 1" in made.notes[-2]
    assert "CN came in between 2, though a diagnosis after AD was not AD 1" in made.notes[-1]
    assert all("label" not in row for row in made.rows)


def test_a_subject_without_visits_is_left_out() -> None:
    assert conversion([scan("p", 0, "MCI")], {}).rows == []
    assert conversion([], {}).rows == []


def naive(letters: list[str], scan_days: list[int]) -> tuple[int, float, int] | None:
    """The rules once more, without sharing code: day of the scan, months, event."""
    told = [(100 * i, x) for i, x in enumerate(letters) if x != "-"]
    for day in sorted(scan_days):
        near = [(abs(d - day), d, x) for d, x in told if abs(d - day) <= 60]
        if not near:
            continue
        _, at, state = min(near)
        if state != "M":
            continue
        if any(x == "A" and d <= max(at, day) for d, x in told):
            return None
        later = [(d, x) for d, x in told if d > at and d > day]
        if not later:
            return None
        converted = [d for d, x in later if x == "A"]
        end = converted[0] if converted else later[-1][0]
        return day, max(round((end - day) / (365.25 / 12), 1), 0.1), int(bool(converted))
    return None


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from("CMA-"), min_size=1, max_size=7), st.lists(st.integers(-60, 700), max_size=4, unique=True)
)
def test_against_the_rules_written_again(letters: list[str], days: list[int]) -> None:
    told = {"C": "CN", "M": "MCI", "A": "AD", "-": None}
    visits = [Visit(str(i), 100 * i, i, told[letter]) for i, letter in enumerate(letters)]
    rows = []
    for day in days:
        near = nearest(visits, day, 60, diagnosed=True)
        rows.append(scan("p", day, near.diagnosis if near else None, near.day if near else day))
    made = [(row["_day"], row["time"], row["event"]) for row in conversion(rows, {"p": visits}).rows]
    expected = naive(letters, days)
    assert made == ([] if expected is None else [expected])
    for _, time, _ in made:
        assert time == pytest.approx(time) and time > 0
