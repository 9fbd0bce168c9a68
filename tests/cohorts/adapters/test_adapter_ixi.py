"""IXI: files by name, the sheet with its people listed twice, and eight real scans."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from brain_layouts import beside, dates_in, made, put, reasons, sheet
from workbooks import workbook

from medfm.cohorts.adapters import prepare
from medfm.cohorts.info import load_info
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError

REAL = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "mri"
HEAD = (
    "IXI_ID", "SEX_ID (1=m, 2=f)", "HEIGHT", "WEIGHT", "ETHNIC_ID", "MARITAL_ID", "OCCUPATION_ID", "QUALIFICATION_ID",
    "DOB", "DATE_AVAILABLE", "STUDY_DATE", "AGE",
)  # fmt: skip


def person(number: Any, sex: Any, age: Any, height: Any = 170, weight: Any = 70) -> list[Any]:
    return [number, sex, height, weight, 1, 2, 3, 4, "1960-01-01", 1, "2005-06-01", age]


def table(root: Path, *people: list[Any], name: str = "IXI.csv") -> None:
    sheet(root / name, [dict(zip(HEAD, row, strict=True)) for row in people], HEAD)


@pytest.fixture
def ixi(tmp_path: Path) -> Path:
    root = tmp_path / "ixi"
    put(
        root,
        "IXI-T1/IXI002-Guys-0828-T1.nii.gz",
        "IXI-T1/IXI012-HH-1211-T1.nii.gz",
        "IXI-T1/IXI013-IOP-0001-T1.nii.gz",
        "IXI-T1/IXI219-Guys-0900-T1.nii.gz",
        "IXI-T1/IXI237-Guys-0901-T1.nii.gz",
        "IXI-T1/IXI600-HH-0902-T1.nii.gz",
        "IXI-T2/IXI002-Guys-0828-T2.nii.gz",
        "IXI-DTI/IXI002-Guys-0828-DTI-00.nii.gz",
    )
    table(
        root,
        person(2, 2, 35.80013689, 164, 58),
        person(12, 1, 38.78165640, 0, 0),
        person(13, 1, ""),
        person(219, 2, 53.08, 170, 104),
        person(219, 2, 58.07, 164, 73),
        person(237, 2, 78.204, 167, 0),
        person(237, 2, 78.204, 0, 0),
        person(400, 1, 30),
    )
    return root


def test_rows(ixi: Path) -> None:
    rows, done = made("ixi", ixi)
    assert list(rows.index) == [
        "IXI002-Guys-0828", "IXI012-HH-1211", "IXI013-IOP-0001", "IXI219-Guys-0900", "IXI237-Guys-0901", "IXI600-HH-0902",
    ]  # fmt: skip
    first = rows.loc["IXI002-Guys-0828"]
    assert first["path"] == "IXI-T1/IXI002-Guys-0828-T1.nii.gz"
    assert first[["patient_id", "site", "age", "sex", "height_cm", "weight_kg"]].tolist() == [
        "IXI002", "Guys", "35.8", "F", "164.0", "58.0",
    ]  # fmt: skip
    assert rows.loc["IXI012-HH-1211", ["age", "sex", "height_cm", "weight_kg"]].tolist() == ["38.78", "M", "", ""]
    assert done.counts == {"subjects": 6, "sessions": 6}
    info = load_info(done.table)
    assert info.target == "age" and info.units["age"] == "years" and info.prepared_as == "ixi"


def test_people_listed_twice(ixi: Path) -> None:
    rows, done = made("ixi", ixi)
    # Two ages: neither is taken. Two rows that agree, one of them without a height: what they say together.
    assert rows.loc["IXI219-Guys-0900", ["age", "sex", "height_cm"]].tolist() == ["", "F", ""]
    assert rows.loc["IXI237-Guys-0901", ["age", "sex", "height_cm"]].tolist() == ["78.2", "F", "167.0"]
    notes = " ".join(load_info(done.table).notes)
    assert "people whom the sheet lists twice: 2" in notes
    assert (
        "scans without an age: 3 (of people who are not in the sheet 1, whom it lists twice with different ages 1)"
        in (notes)
    )


def test_nothing_else_of_the_sheet_is_carried(ixi: Path) -> None:
    _, done = made("ixi", ixi)
    assert dates_in(done, but=()) == []
    columns = pd.read_csv(done.table, nrows=0).columns
    assert not {"DOB", "STUDY_DATE", "ETHNIC_ID", "MARITAL_ID"} & set(columns)
    assert not beside(done, "pairs.csv") and not (done.table.parent / "survival.csv").exists()


def test_copies_of_a_scan_give_way_to_the_released_one(ixi: Path) -> None:
    put(ixi, "IXI-T1/IXI002-Guys-0828-T1_2mm.nii.gz", "small/IXI012-HH-1211-T1.nii.gz")
    rows, done = made("ixi", ixi)
    assert rows.loc["IXI002-Guys-0828", "path"] == "IXI-T1/IXI002-Guys-0828-T1.nii.gz"
    assert set(reasons(done)) == {"IXI002-Guys-0828-T1_2mm.nii.gz", "IXI012-HH-1211-T1.nii.gz"}
    assert set(reasons(done).values()) == {"another T1 file of the person was taken"}


def test_ids_may_be_written_whole(ixi: Path) -> None:
    table(ixi, person("IXI002", "1", 40.125), person("012.0", "2.0", 50))
    rows, _ = made("ixi", ixi)
    assert rows.loc["IXI002-Guys-0828", ["age", "sex"]].tolist() == ["40.12", "M"]
    assert rows.loc["IXI012-HH-1211", ["age", "sex"]].tolist() == ["50.0", "F"]


def test_a_workbook(ixi: Path) -> None:
    (ixi / "IXI.csv").unlink()
    workbook(ixi / "IXI.xlsx", [list(HEAD), [str(cell) for cell in person(2, 2, 35.8)]])
    assert made("ixi", ixi)[0].loc["IXI002-Guys-0828", "age"] == "35.8"


def test_folders_that_are_not_ixi(ixi: Path) -> None:
    table(ixi, person("two", 2, 35))
    with pytest.raises(CohortError, match="IXI_ID is no number") as caught:
        prepare("ixi", ixi, ixi.parent / "out")
    assert "line 2" in str(caught.value)
    sheet(ixi / "IXI.csv", [{"IXI_ID": 2, "AGE": 3}])
    with pytest.raises(CohortError, match="no column 'SEX_ID"):
        prepare("ixi", ixi, ixi.parent / "out")
    (ixi / "IXI.csv").unlink()
    with pytest.raises(CohortError, match=r"not IXI: there is no IXI.csv"):
        prepare("ixi", ixi, ixi.parent / "out")
    put(ixi, "IXI.xls")
    with pytest.raises(CohortError, match="save it as CSV"):
        prepare("ixi", ixi, ixi.parent / "out")
    shutil.rmtree(ixi / "IXI-T1")
    with pytest.raises(CohortError, match="no T1 volume"):
        prepare("ixi", ixi, ixi.parent / "out")


def test_real_scans(tmp_path: Path) -> None:
    """Eight scans of the set at 2 mm, in its folder; ages and sexes as the table beside them has them."""
    if not REAL.is_dir():
        pytest.skip("the shared real data are not beside this repository")
    known = pd.read_csv(REAL / "labels.csv")
    known = known[known["task"] == "ixi_sex"]
    root = tmp_path / "real"
    (root / "IXI-T1").mkdir(parents=True)
    people = []
    for row in known.to_dict("records"):
        name = Path(row["path"]).name
        shutil.copy(REAL / row["path"], root / "IXI-T1" / name)
        people.append(person(int(name[3:6]), "MF".index(row["sex"]) + 1, row["age"]))
    table(root, *people)
    # The parcellations that lie beside these scans are no T1 volumes of their own person.
    shutil.copy(REAL / known["path"].iloc[0].replace("_2mm.nii", "_2mm_dlmuse.nii"), root / "IXI-T1")
    _, done = made("ixi", root)
    cohort = load_cohort(done.table)
    assert len(cohort) == len(known) == 8 and set(cohort.table["site"]) == {"HH"}
    told = cohort.table.set_index("patient_id")
    for row in known.to_dict("records"):
        assert told.loc[Path(row["path"]).name[:6], ["age", "sex"]].tolist() == [row["age"], row["sex"]]
    record = cohort.read(0)
    assert record.array.ndim == 3 and record.facts["left_right"] == "known"
