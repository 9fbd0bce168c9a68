"""CSN: exact codes against the published substring labels, unknown codes, split files."""

from pathlib import Path

import pytest
import yaml
from ecg_sets import CONDITIONS, SECRET, read_table, write_csn, write_split_files

from medfm.cohorts.adapters import get_adapter, prepare
from medfm.cohorts.adapters.csn import read_conditions
from medfm.cohorts.adapters.ecg_labels import labels_of
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError

LABELS = labels_of("csn")
CODE = dict(reversed(CONDITIONS))
# Record -> acronyms; "?" stands for a code that the table of the release does not have.
TRUTH = {
    "JS00001": ["AFIB", "RBBB", "TWC"],
    "JS00002": ["SB"],
    "JS00003": ["SB", "LVQRSAL"],
    "JS00004": ["1AVB", "SR"],
    "JS00005": ["STTC", "ST"],
    "JS00006": ["STTC"],
    "JS00007": ["SR", "?"],
    "JS00008": ["SB", "VPE"],
    "JS00009": ["MI", "LBBB"],
    "JS00010": ["?"],
    "JS00011": ["AF"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    codes = {name: ",".join(CODE.get(a, "55827005") for a in acronyms) for name, acronyms in TRUTH.items()}
    return write_csn(tmp_path / "ecg-arrhythmia", codes)


def labels_in(table: Path) -> dict[str, set[str]]:
    return {i: {label for label in LABELS if row[label] == "1"} for i, row in read_table(table).items()}


def test_corrected_labels_are_exact(folder: Path, tmp_path: Path) -> None:
    done = prepare("csn", folder, tmp_path / "out")
    assert labels_in(done.table) == {
        name: found for name, acronyms in TRUTH.items() if (found := {a for a in acronyms if a in LABELS})
    }
    assert done.complete
    cohort = load_cohort(done.table)
    assert cohort.info["label_set"] == "csn"
    assert cohort.info["adapter"] == "csn@1"
    assert cohort.read(0).array.shape == (12, 200)
    assert "4 of 11 recordings are left out: none of the 38 labels" in done.info.read_text().replace("\n  ", " ")


def test_published_labels_are_substrings_and_unknown_codes_drop_a_record(folder: Path, tmp_path: Path) -> None:
    done = prepare("csn@published", folder, tmp_path / "out")
    assert labels_in(done.table) == {
        "JS00001": {"AFIB", "AF", "RBBB", "TWC"},
        "JS00003": {"SA"},
        "JS00004": {"1AVB", "AVB", "VB", "SR"},
        "JS00005": {"STTC", "ST"},
        "JS00006": {"STTC", "ST"},
        "JS00008": set(),  # kept by MERL without any label
        "JS00009": {"MI", "LBBB"},
        "JS00011": {"AF"},
    }
    notes = " ".join(yaml.safe_load(done.info.read_text())["notes"])
    assert "2 of 11 recordings are left out: 'Unknown'" in notes
    assert "not for clinical use" in notes


def test_a_short_label_can_only_gain_records() -> None:
    published, exact = get_adapter("csn@published"), get_adapter("csn")
    for acronym, _ in CONDITIONS:
        gained = {k for k, v in published.labels_of([acronym]).items() if v}  # type: ignore[attr-defined]
        right = {k for k, v in exact.labels_of([acronym]).items() if v}  # type: ignore[attr-defined]
        assert right <= gained
        assert right == ({acronym} & set(LABELS))
        assert gained == {label for label in LABELS if label in acronym}


def test_no_text_of_a_header_surfaces(folder: Path, tmp_path: Path) -> None:
    for name in ("csn", "csn@published"):
        prepare(name, folder, tmp_path / name)
        for file in (tmp_path / name).iterdir():
            assert SECRET not in file.read_text()
    row = read_table(tmp_path / "csn" / "labels.csv")["JS00001"]
    assert (row["age"], row["sex"], row["dx_snomed"]) == ("74", "male", "164889003 59118001 164934002")


@pytest.mark.parametrize("header", ["Acronym Name,Full Name,Snomed_CT", "AcronymName,FullName,Snomed_CT"])
def test_the_first_acronym_of_a_code_is_taken(header: str, tmp_path: Path) -> None:
    folder = write_csn(tmp_path / "c", {"JS00001": CODE["SR"]}, header)
    acronyms = read_conditions(folder / "ConditionNames_SNOMED-CT.csv")
    assert (acronyms["164909002"], acronyms["164865005"]) == ("LBBB", "MI")
    assert len(acronyms) == len({code for _, code in CONDITIONS})


def test_a_table_of_conditions_is_needed(folder: Path, tmp_path: Path) -> None:
    table = folder / "ConditionNames_SNOMED-CT.csv"
    table.write_text("A,B\n1,2\n")
    with pytest.raises(CohortError, match="no column"):
        prepare("csn", folder, tmp_path / "out")
    table.unlink()
    with pytest.raises(CohortError, match="This is not Chapman"):
        prepare("csn", folder, tmp_path / "out")


def write_splits(root: Path, prefix: str = "/chapman/WFDBRecords/01") -> Path:
    columns = ["ecg_path", "age", "diagnose", *LABELS]

    def row(folder: str, name: str, *ones: str) -> list:
        return [f"{prefix}/{folder}/{name}.mat", 12, "x", *(int(label in ones) for label in LABELS)]

    rows = {
        "train": [row("000", "JS00001", "AFIB", "AF"), row("000", "JS00003", "SA")],
        "val": [row("001", "JS00005", "ST", "STTC")],
        "test": [row("001", "JS00006", "ST", "STTC"), row("099", "JS99999", "SR")],
    }
    return write_split_files(root, "chapman/chapman", dict.fromkeys(rows, columns), rows)


def test_split_files_give_records_and_splits(folder: Path, tmp_path: Path) -> None:
    files = write_splits(tmp_path / "data_split")
    done = prepare("csn@published", folder, tmp_path / "p", splits=files, allow_partial=True)
    assert {i: row["split"] for i, row in read_table(done.table).items()} == {
        "JS00001": "train",
        "JS00003": "train",
        "JS00005": "val",
        "JS00006": "test",
    }
    assert labels_in(done.table)["JS00006"] == {"ST", "STTC"}
    assert done.differences[0] == "1 recordings of the split files are not in the folder"
    right = prepare("csn", folder, tmp_path / "c", splits=files, allow_partial=True)
    assert labels_in(right.table) == {
        "JS00001": {"AFIB", "RBBB", "TWC"},
        "JS00003": set(),
        "JS00005": {"ST", "STTC"},
        "JS00006": {"STTC"},
    }
    # The header lies: 12 is the number of leads there, not an age.
    assert read_table(right.table)["JS00001"]["age"] == "74"


@pytest.mark.parametrize("prefix", ["/chapman/elsewhere", "/chapman/WFDBRecords/../.."])
def test_paths_of_split_files_stay_inside(prefix: str, folder: Path, tmp_path: Path) -> None:
    files = write_splits(tmp_path / "data_split", prefix)
    with pytest.raises(CohortError, match="not as published"):
        prepare("csn", folder, tmp_path / "out", splits=files, allow_partial=True)


def test_published_counts_hold_with_split_files_only(folder: Path, tmp_path: Path) -> None:
    assert prepare("csn", folder, tmp_path / "free").complete
    with pytest.raises(CohortError, match="train: expected 16,546, found 2"):
        prepare("csn", folder, tmp_path / "out", splits=write_splits(tmp_path / "data_split"))


def test_an_empty_folder_of_records(folder: Path, tmp_path: Path) -> None:
    for header in folder.rglob("*.hea"):
        header.unlink()
    with pytest.raises(CohortError, match="no record was found"):
        prepare("csn", folder, tmp_path / "out")
