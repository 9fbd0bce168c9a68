"""Small official layouts made of real recordings: labels against the codes listed beside them."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from ecg_sets import CONDITIONS, read_table, write_csn, write_ptbxl

from medfm.cohorts.adapters import get_adapter, prepare
from medfm.cohorts.adapters.cpsc2018 import SNOMED
from medfm.cohorts.adapters.ecg_labels import labels_of
from medfm.cohorts.load import load_cohort
from medfm.workflows.data import check

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "ecg"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="no real data here")


def listed(database: str) -> dict[str, dict[str, str]]:
    with (REAL / "labels.csv").open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["path"].startswith(f"records/{database}/")]
    return {row["path"].rpartition("/")[2]: row for row in rows}


def copy(name: str, database: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for ending in (".hea", ".mat"):
        shutil.copy(REAL / "records" / database / f"{name}{ending}", folder)


def test_cpsc2018(tmp_path: Path) -> None:
    truth = listed("cpsc2018")
    for name in truth:
        copy(name, "cpsc2018", tmp_path / "c" / "g1")
    done = prepare("cpsc2018", tmp_path / "c", tmp_path / "out", allow_partial=True)
    rows = read_table(done.table)
    assert len(rows) == len(truth) == 9
    for name, row in rows.items():
        codes = truth[name]["dx_snomed"].split()
        assert {label for label in labels_of("cpsc2018") if row[label] == "1"} == {SNOMED[c] for c in codes}
        assert row["age"] == truth[name]["age"].removesuffix(".0")
        assert row["sex"][:1].upper() == truth[name]["sex"]
    cohort = load_cohort(done.table)
    assert all(cohort.read(i).array.shape[0] == 12 for i in range(9))


def csn_folder(root: Path) -> dict[str, dict[str, str]]:
    truth = listed("chapman_ningbo")
    write_csn(root, {})
    for name in truth:
        copy(name, "chapman_ningbo", root / "WFDBRecords" / name[2:4] / f"{name[2:4]}0")
    return truth


def test_csn(tmp_path: Path) -> None:
    truth = csn_folder(tmp_path / "c")
    assert len(truth) == 63
    labels = labels_of("csn")
    first = {code: acronym for acronym, code in reversed(CONDITIONS)}
    exact = {n: {first[c] for c in r["dx_snomed"].split() if c in first} & set(labels) for n, r in truth.items()}
    done = prepare("csn", tmp_path / "c", tmp_path / "out")
    rows = read_table(done.table)
    assert {n: {k for k in labels if r[k] == "1"} for n, r in rows.items()} == {n: e for n, e in exact.items() if e}
    assert rows["JS00001"]["dx_snomed"] == "164889003 59118001 164934002"
    published = read_table(prepare("csn@published", tmp_path / "c", tmp_path / "p").table)
    # Atrial fibrillation counts as flutter there; a record with an unheard code is dropped.
    assert (published["JS00001"]["AFIB"], published["JS00001"]["AF"], rows["JS00001"]["AF"]) == ("1", "1", "0")
    assert "JS20000" in rows
    assert "JS20000" not in published
    assert load_cohort(done.table).read(0).array.shape == (12, 5000)


def test_the_csn_cohort_passes_its_own_checks(tmp_path: Path) -> None:
    csn_folder(tmp_path / "c")
    done = prepare("csn", tmp_path / "c", tmp_path / "out")
    report = check(done.table)
    assert report.target == labels_of("csn")
    assert report.classes == done.counts
    found = {f.code: f for f in report.findings}
    assert found["T003"].severity == "passed"
    assert found["F002"].severity == "passed"
    # Most of the 38 labels cannot occur in 63 recordings.
    assert (found["S001"].severity, report.ok) == ("error", False)


# The superclass a statement belongs to; only to write a table of statements for recordings of known superclass.
STATEMENT = {"NORM": "NORM", "MI": "IMI", "STTC": "NDT", "CD": "CRBBB", "HYP": "LVH"}


def test_ptbxl(tmp_path: Path) -> None:
    truth = {n: row for n, row in listed("ptbxl").items() if row["ptbxl_superclass"]}
    assert len(truth) > 10
    cells = {}
    for name, row in truth.items():
        number = int(name[2:])
        kinds = row["ptbxl_superclass"].replace(",", " ").replace(";", " ").split()
        hr = f"records500/{number // 1000 * 1000:05d}/{number:05d}_hr"
        cells[number] = {
            "scp_codes": repr({STATEMENT[kind]: 0.0 for kind in kinds}),
            "patient_id": f"{row['patient_id'].rpartition('/')[2]}.0",
            "filename_hr": hr,
            "strat_fold": 10 if row["split"] == "test" else 1,
        }
        folder = (tmp_path / "p" / hr).parent
        copy(name, "ptbxl", folder)
        (folder / f"{name}.hea").rename(tmp_path / "p" / f"{hr}.hea")
    write_ptbxl(tmp_path / "p", cells, files=False)
    done = prepare("ptbxl-super", tmp_path / "p", tmp_path / "out", allow_partial=True)
    rows = read_table(done.table)
    for name, row in truth.items():
        got = rows[str(int(name[2:]))]
        assert {k for k in get_adapter("ptbxl-super").labels if got[k] == "1"} == set(
            row["ptbxl_superclass"].replace(",", " ").replace(";", " ").split()
        )
        assert got["patient_id"] == row["patient_id"].rpartition("/")[2]
    cohort = load_cohort(done.table)
    assert all(cohort.read(i).array.shape == (12, 5000) for i in range(len(cohort)))
    assert {f.code: f.severity for f in check(done.table).findings}["L001"] == "passed"
