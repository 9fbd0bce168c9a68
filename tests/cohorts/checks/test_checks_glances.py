"""X codes in every workflow: findings from glances and from the column ``view``, without opening a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medfm.cohorts.checks.glances import check_glances
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding
from medfm.modalities.chest_judgements import Glance

OK = Glance.SEEN | Glance.PA


def cohort_of(number: int, modality: str = "chest_xray", **columns: list[Any]) -> Cohort:
    ids = [f"r{i}" for i in range(number)]
    table = pd.DataFrame({"record_id": ids, "path": "x", "patient_id": ids, "split": None})
    return Cohort(table.assign(**columns), modality, Path("/absent"), "c")


def findings(*marks: int, target: str | None = None, **columns: list[Any]) -> dict[str, Finding]:
    glances = {f"r{i}": int(mark) for i, mark in enumerate(marks)}
    return {f.code: f for f in check_glances(cohort_of(len(marks), **columns), glances, target)}


def test_good_radiographs_pass() -> None:
    found = findings(OK, OK)
    assert set(found) == {"X001", "X002", "X003", "X004", "X009"}
    assert {f.severity for f in found.values()} == {"passed"}
    assert "2 radiographs looked at" in found["X001"].detail


@pytest.mark.parametrize(
    ("mark", "code"),
    [
        (Glance.NEGATIVE, "X001"),
        (Glance.NOT_UPRIGHT, "X002"),
        (Glance.STRANGE, "X004"),
        (Glance.WRITTEN, "X007"),
        (Glance.RAW, "X009"),
        (Glance.ABOVE_BITS, "X009"),
        (Glance.TWO_POLARITIES, "X009"),
    ],
)
def test_each_mark_meets_its_code_as_a_warning(mark: Glance, code: str) -> None:
    found = findings(OK, OK | mark, OK)
    assert found[code].severity == "warning" and found[code].records == ("r1",) and found[code].fix
    assert "1 of 3 radiographs" in found[code].detail
    assert {c for c, f in found.items() if f.severity != "passed"} == {code}


def test_lateral_views_among_frontal_ones() -> None:
    lateral = Glance.SEEN | Glance.LATERAL
    found = findings(OK, lateral, Glance.SEEN)
    assert found["X003"].severity == "warning" and found["X003"].records == ("r1",)
    assert "1 lateral view among 2 other pictures" in found["X003"].detail
    assert findings(lateral, lateral)["X003"].severity == "passed"
    # The table goes before the file.
    assert findings(OK, OK, view=["PA", "LATERAL"])["X003"].records == ("r1",)
    assert findings(OK, lateral, view=["PA", "AP"])["X003"].severity == "passed"
    # What the table calls lateral is not judged as a frontal one.
    assert findings(OK, OK | Glance.STRANGE, view=["PA", "LL"])["X004"].severity == "passed"


def test_records_that_nobody_looked_at_are_counted() -> None:
    found = findings(OK, 0, OK | Glance.NEGATIVE)
    assert "1 of 2 radiographs" in found["X001"].detail
    assert "2 radiographs looked at, of 3" in found["X002"].detail
    assert "unknown" not in found["X003"].detail, "a file that nobody read is no view"


def test_without_glances_the_column_view_is_enough() -> None:
    found = findings(0, 0, view=["PA", "L"])
    assert set(found) == {"X003"} and found["X003"].records == ("r1",)
    assert findings(0, 0) == {} and findings(0, 0, view=[None, "oblique"]) == {}


def test_views_tied_to_classes() -> None:
    labels, views = ["a"] * 4 + ["b"] * 4, ["AP"] * 4 + ["PA"] * 4
    found = findings(*[0] * 8, target="label", label=labels, view=views)
    assert found["X011"].severity == "warning" and "a 100%, b 0%" in found["X011"].detail
    mixed = findings(*[0] * 8, target="label", label=["a", "b"] * 4, view=views)
    assert mixed["X011"].severity == "passed"
    by_file = findings(*[Glance.SEEN | Glance.AP] * 4, *[OK] * 4, target="label", label=labels)
    assert by_file["X011"].severity == "warning"


def test_other_modalities_have_nothing_to_say() -> None:
    assert list(check_glances(cohort_of(1, "blood_cell", view=["LL"]), {"r0": 31}, None)) == []
