"""P003: DICOM headers against the table; no value of a header is ever told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from radiograph_files import dicom, headless

from medfm.cohorts.checks.headers import Person, check_headers, person_of
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding

PIXELS = np.zeros((2, 2), np.uint8)
ANNA = {"PatientName": "Anna^Zwiebel", "PatientID": "MRN-4711", "PatientBirthDate": "19500815", "PatientSex": "F"}
OTTO = {"PatientName": "Otto^Lauch", "PatientID": "MRN-0815", "PatientBirthDate": "19991224", "PatientSex": "M"}
VALUES = ("MRN", "4711", "0815", "Zwiebel", "Lauch", "1950", "1999", "1224")


def finding(folder: Path, *headers: dict[str, Any] | None, known: bool = True, **columns: list[Any]) -> Finding:
    ids = [f"r{i}" for i in range(len(headers))]
    for i, header in enumerate(headers):
        data = b"\x89PNG\r\n\x1a\n" if header is None else dicom(PIXELS, **header)
        (folder / f"{i}.dcm").write_bytes(data)
    table = pd.DataFrame({"record_id": ids, "path": [f"{i}.dcm" for i in range(len(ids))], "patient_id": ids})
    table = table.assign(site=None, split=None).assign(**columns)
    (made,) = check_headers(Cohort(table.astype(object), "chest_xray", folder, "c", patients_known=known))
    assert made.code == "P003" and not any(value in str(made) for value in VALUES), made
    return made


def test_headers_that_agree_pass(tmp_path: Path) -> None:
    made = finding(tmp_path, ANNA, ANNA, OTTO, patient_id=["a", "a", "o"], sex=["F", "female", "m"])
    assert made.severity == "passed" and made.detail == "3 DICOM headers"


def test_no_dicom_nothing_to_compare(tmp_path: Path) -> None:
    assert finding(tmp_path, None).detail == "no DICOM header"


@pytest.mark.parametrize(
    "other",
    [OTTO, {**ANNA, "PatientBirthDate": "19510815"}, {**ANNA, "PatientSex": "M"},
     {"PatientID": "MRN-4712", "PatientBirthDate": None}],
    ids=["all", "birth", "sex", "id"],
)  # fmt: skip
def test_two_people_under_one_patient_id(tmp_path: Path, other: dict[str, Any]) -> None:
    first = {**ANNA, "PatientBirthDate": ""} if other.get("PatientBirthDate", "") is None else ANNA
    other = {name: value for name, value in other.items() if value is not None}
    third = {**OTTO, "PatientID": "MRN-9", "PatientBirthDate": "19801224"}
    made = finding(tmp_path, first, other, third, patient_id=["a", "a", "o"])
    assert made.severity == "warning" and made.records == ("r0", "r1")
    assert "2 records in which a patient_id of the table is several people" in made.detail


def test_one_person_with_ids_of_two_hospitals_is_one(tmp_path: Path) -> None:
    assert finding(tmp_path, ANNA, {**ANNA, "PatientID": "X-1"}, patient_id=["a", "a"]).severity == "passed"


def test_one_person_under_two_patient_ids(tmp_path: Path) -> None:
    made = finding(tmp_path, ANNA, ANNA, OTTO, patient_id=["a", "b", "o"])
    assert made.severity == "warning" and made.records == ("r0", "r1")
    across = finding(tmp_path, ANNA, ANNA, OTTO, patient_id=["a", "b", "o"], split=["train", "test", "test"])
    assert across.severity == "error" and "1 person in two splits" in across.detail
    # Also where the table has no patients at all: every record then counts as one.
    assert finding(tmp_path, ANNA, ANNA, known=False).severity == "warning"


def test_dummies_name_nobody(tmp_path: Path) -> None:
    dummy = {"PatientID": "ANON", "PatientName": "ANON"}
    assert finding(tmp_path, dummy, dummy, dummy).severity == "passed"
    with_date = {**dummy, "PatientBirthDate": "19000101"}
    assert finding(tmp_path, with_date, with_date).severity == "passed"
    removed = {**ANNA, "PatientIdentityRemoved": "YES"}
    assert finding(tmp_path, removed, removed).severity == "passed"


def test_sex_and_age_of_the_table(tmp_path: Path) -> None:
    made = finding(tmp_path, ANNA, OTTO, sex=["M", "M"])
    assert made.records == ("r0",) and "with another sex" in made.detail
    aged = {**ANNA, "StudyDate": "20201231"}  # 70 years
    assert finding(tmp_path, aged, aged, known=True, age=[70, 71], patient_id=["a", "a"]).severity == "passed"
    made = finding(tmp_path, aged, aged, age=[70, 40], patient_id=["a", "a"])
    assert made.records == ("r1",) and "with another age" in made.detail
    assert finding(tmp_path, aged, age=["unknown"]).severity == "passed"
    old = {**ANNA, "PatientBirthDate": "19200101", "StudyDate": "20201231"}
    assert finding(tmp_path, old, age=[90]).severity == "passed", "ages above 89 are often capped"


def test_several_reasons_share_one_finding(tmp_path: Path) -> None:
    made = finding(tmp_path, ANNA, OTTO, ANNA, patient_id=["a", "a", "b"], sex=["M", "M", "F"])
    assert made.detail.count(";") == 2 and set(made.records) == {"r0", "r1", "r2"}


def test_synthetic_cohorts_are_nobodys(tmp_path: Path) -> None:
    table = pd.DataFrame({"record_id": ["r"], "path": ["x"], "patient_id": ["p"], "split": None})
    (made,) = check_headers(Cohort(table, "chest_xray", tmp_path, "c", synthetic=True))
    assert made.severity == "passed"


@pytest.mark.parametrize(
    ("header", "age"),
    [
        ({"PatientAge": "045Y"}, 45.0),
        ({"PatientAge": "006M"}, 0.5),
        ({"PatientAge": "045Y", "PatientBirthDate": "19000102", "StudyDate": "20200101"}, 45.0),
        ({"PatientBirthDate": "20000101", "StudyDate": "20200101"}, 20.0),
        ({"PatientBirthDate": "2000.01.01", "StudyDate": "20200101"}, 20.0),
        ({"PatientBirthDate": "20200101", "StudyDate": "20000101"}, None),
        ({"PatientBirthDate": "20001399", "StudyDate": "20200101"}, None),
        ({"PatientAge": "000D", "PatientIdentityRemoved": "YES"}, None),
        ({"PatientAge": "old"}, None),
        ({}, None),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_ages(tmp_path: Path, header: dict[str, Any], age: float | None) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom(PIXELS, **header))
    person = person_of(tmp_path / "a.dcm")
    assert person is not None and person.age == (None if age is None else pytest.approx(age, abs=0.01))


def test_who_is_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom(PIXELS, **ANNA))
    person = person_of(path)
    assert person is not None and (person.birth, person.sex) == ("19500815", "F") and "MRN" not in person.patient
    path.write_bytes(headless(dicom(PIXELS, **ANNA)))
    assert person_of(path) == person, "a file without preamble has a patient too"
    for content in (b"", b"text", b"\0" * 128 + b"DICM", dicom(PIXELS, **ANNA)[:200]):
        path.write_bytes(content)
        assert person_of(path) in (None, Person("", "", "", None))
    assert person_of(tmp_path / "absent") is None
    path.write_bytes(bytes([8, 0, 5, 0]) + bytes(range(256)) * 4)
    assert person_of(path) is None, "numbers, not a header"
