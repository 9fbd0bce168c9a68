"""Identifiers, sites and splits of a table: the quick way over whole columns gives what the rule for one cell gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.cohorts import load
from medfm.cohorts.cohort import Cohort
from medfm.core.errors import CohortError
from medfm.modalities.blood_cell import BOX_COLUMNS
from medfm.modalities.row_options import missing

TEXT = st.sampled_from(["a", " b ", "", "  ", "007", "1e5", "ü", "x y"])
ANY = st.one_of(TEXT, st.none(), st.just(np.nan), st.just(pd.NA), st.integers(0, 3), st.sampled_from([1.0, 2.5]))


def as_written(value: object) -> str | None:
    """One cell by itself: its text without spaces around it, whole numbers without a point; ``None`` if empty."""
    if pd.isna(value) or not str(value).strip():
        return None
    return load._plain(value).strip()


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.lists(TEXT, min_size=1, max_size=8), st.lists(ANY, min_size=1, max_size=8)))
def test_optional_cells(values: list) -> None:
    frame = pd.DataFrame({"site": pd.Series(values, dtype=object)})
    found = load._optional(frame, "site")
    assert found.dtype == object
    assert [None if pd.isna(v) else v for v in found] == [as_written(v) for v in values]


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.lists(TEXT, min_size=1, max_size=8), st.lists(ANY, min_size=1, max_size=8)))
def test_identifiers(values: list) -> None:
    frame = pd.DataFrame({"record_id": pd.Series(values, dtype=object)})
    wanted = [as_written(value) for value in values]
    if None in wanted:
        with pytest.raises(
            CohortError, match=f"{wanted.count(None)} of {len(values)} rows have no record_id"
        ) as caught:
            load._identifiers(frame, "record_id", "t")
        assert f"(first: row {wanted.index(None) + 1})" in caught.value.what
    else:
        assert load._identifiers(frame, "record_id", "t") == wanted


@pytest.mark.parametrize("bad", ["line\nbreak", "zero\u200bwidth", "bell\x07"])
@pytest.mark.parametrize("rest", [["a", "b"], ["a", 2]])
def test_the_row_with_a_character_that_cannot_be_printed_is_named(bad: str, rest: list) -> None:
    frame = pd.DataFrame({"path": pd.Series([*rest, bad, bad], dtype=object)})
    with pytest.raises(CohortError, match="Row 3: the path has"):
        load._identifiers(frame, "path", "t")


def test_numbers_as_identifiers_stay_whole() -> None:
    assert load._identifiers(pd.DataFrame({"id": [7.0, 8.0]}), "id", "t") == ["7", "8"]
    assert load._identifiers(pd.DataFrame({"id": [7, 8]}), "id", "t") == ["7", "8"]
    assert load._optional(pd.DataFrame({"s": [7.0, np.nan]}), "s").tolist() == ["7", None]


def boxed(rows: list[tuple]) -> Cohort:
    table = pd.DataFrame(rows, columns=list(BOX_COLUMNS))
    front = pd.DataFrame({"record_id": [f"r{i}" for i in range(len(rows))], "path": "a.png", "patient_id": "p"})
    return Cohort(pd.concat([front, table], axis=1), "blood_cell", Path("root"), name="cells")


def test_options_are_checked_without_making_references(monkeypatch: pytest.MonkeyPatch) -> None:
    good = boxed([(0, 0, 4, 4), (1, 1, 5, 5)])
    good.check_options()
    assert [ref.options["box"] for ref in good.refs()] == [[0, 0, 4, 4], [1, 1, 5, 5]]
    bad = boxed([(0, 0, 4, 4), (1, 1, None, 5)])
    for look in (bad.check_options, lambda: list(bad.refs())):
        with pytest.raises(CohortError, match=f"Row 2: The box lacks {BOX_COLUMNS[2]}") as caught:
            look()
        assert caught.value.where == "cells, record r1"
    plain = Cohort(good.table[["record_id", "path", "patient_id"]], "blood_cell", Path("root"))
    plain.check_options()
    assert [dict(ref.options) for ref in plain.refs()] == [{}, {}]


@pytest.mark.parametrize(
    ("value", "gone"),
    [
        (None, True),
        ("", True),
        (" ", False),
        (float("nan"), True),
        (np.float64("nan"), True),
        (np.float32("nan"), True),
        (pd.NA, True),
        (pd.NaT, True),
        (0, False),
        (0.0, False),
        (False, False),
        (np.int64(3), False),
        (np.float32(3), False),
        (float("inf"), False),
    ],
)
def test_an_empty_cell(value: object, gone: bool) -> None:
    assert missing(value) is gone
