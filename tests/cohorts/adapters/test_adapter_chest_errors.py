"""Sets of chest radiographs whose tables are not as published: each is refused where it differs, without its content."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfm.cohorts.adapters import get_adapter, list_adapters
from medfm.cohorts.adapters.chest import CHEXPERT, IGNORE, ONES, UNKNOWN, ZEROS, ChestAdapter, observations
from medfm.cohorts.adapters.padchest import TABLE
from medfm.core.errors import CohortError, UnknownNameError

CHESTS = [name for name in list_adapters() if get_adapter(name).modality == "chest_xray"]
CHEX = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(CHEXPERT)
MIMIC = "mimic-cxr-2.0.0-"


def write(folder: Path, tables: dict[str, str]) -> Path:
    for name, text in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_the_sets() -> None:
    assert CHESTS == [
        "bpdneo", "chexpert", "mimic-cxr-jpg", "nih-cxr14", "padchest", "rsna-pneumonia", "vindr-cxr",
    ]  # fmt: skip
    for name in CHESTS:
        adapter = get_adapter(name)
        assert isinstance(adapter, ChestAdapter) and adapter.citation and adapter.task
        assert len(set(adapter.labels)) == len(adapter.labels) and not set(adapter.labels) & set(adapter.columns)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("nih-cxr14", 14),
        ("chexpert", 14),
        ("chexpert-competition", 5),
        ("mimic-cxr-jpg", 14),
        ("vindr-cxr", 28),
        ("padchest", 18),
    ],
)
def test_numbers_of_labels(name: str, count: int) -> None:
    assert len(get_adapter(name).labels) == count


def test_tasks_and_variants_are_part_of_the_name() -> None:
    assert get_adapter("chexpert-competition@u-ones").name == "chexpert-competition@u-ones"
    assert get_adapter("chexpert").name == "chexpert-all" and get_adapter("vindr-cxr@any").name == "vindr-cxr@any"
    assert get_adapter("mimic-cxr-jpg").name == "mimic-cxr-jpg-chexpert"
    for wrong in ("chexpert@u-two", "mimic-cxr-jpg-other", "nih-cxr15"):
        with pytest.raises(UnknownNameError):
            get_adapter(wrong)


@pytest.mark.parametrize(
    ("name", "tables", "words"),
    [
        ("nih-cxr14", {"Data_Entry_2017.csv": "Image Index\na.png\n"}, "no column 'Finding Labels'"),
        (
            "nih-cxr14",
            {
                "Data_Entry_2017.csv": "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,View Position\nSmith.png,,0,1,1,PA\n"
            },
            "line 2",
        ),
        ("chexpert", {"train.csv": f"{CHEX}\nSmith/a.jpg,F,1,Frontal,AP\n", "valid.csv": CHEX}, "train.csv, line 2"),
        (
            "chexpert",
            {"train.csv": f"{CHEX}\ntrain/patient1/study1/view1_frontal.jpg,F,1,Frontal,AP,Smith\n", "valid.csv": CHEX},
            "neither 1, 0, -1",
        ),
        ("chexpert", {"train.csv": "Path\n", "valid.csv": CHEX}, "no column"),
        (
            "mimic-cxr-jpg",
            {
                f"{MIMIC}split.csv": "dicom_id,study_id,subject_id,split\na,1,2,Smith\n",
                f"{MIMIC}metadata.csv": "dicom_id,ViewPosition\n",
                f"{MIMIC}chexpert.csv": "subject_id,study_id," + ",".join(CHEXPERT) + "\n",
            },
            "split.csv, line 2",
        ),
        ("mimic-cxr-jpg", {f"{MIMIC}split.csv": "dicom_id\n"}, "there is no mimic-cxr-2.0.0-metadata"),
        (
            "rsna-pneumonia",
            {
                "stage_2_train_labels.csv": "patientId,Target\n",
                "stage_2_detailed_class_info.csv": "patientId,class\na,Smith\n",
            },
            "class_info.csv, line 2",
        ),
        (
            "rsna-pneumonia",
            {
                "stage_2_train_labels.csv": "patientId,Target\na,2\n",
                "stage_2_detailed_class_info.csv": "patientId,class\na,Normal\n",
            },
            "labels.csv, line 2",
        ),
        (
            "vindr-cxr",
            {"image_labels_train.csv": "image_id\na\n", "image_labels_test.csv": "image_id\n"},
            "no column 'Aortic",
        ),
        (
            "padchest",
            {TABLE: "ImageID,PatientID,StudyID,Projection,MethodLabel,Labels\na.png,1,2,PA,x,{1}\n"},
            "no list",
        ),
        ("bpdneo", {"a.xlsx": "Smith"}, "no readable Excel"),
    ],
)
def test_tables_that_are_not_as_published(name: str, tables: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=words) as caught:
        get_adapter(name).find(write(tmp_path, tables))
    assert "Smith" not in str(caught.value)


@given(st.dictionaries(st.sampled_from(CHEXPERT), st.sampled_from(["", "1.0", "0.0", "-1.0", "1", "0", "-1"])))
def test_observations_are_0_1_or_unknown_and_rules_agree_where_all_is_said(cells: dict[str, str]) -> None:
    found = {rule: observations(cells, CHEXPERT, rule, "t") for rule in (UNKNOWN, IGNORE, ZEROS, ONES)}
    for rule, labels in found.items():
        assert list(labels) == list(CHEXPERT) and set(labels.values()) <= {0, 1, None}
        assert rule not in (ZEROS, ONES) or None not in labels.values()
    for name in CHEXPERT:
        said = cells.get(name, "").removesuffix(".0")
        values = [found[rule][name] for rule in (IGNORE, ZEROS, ONES)]
        assert values == {"1": [1, 1, 1], "0": [0, 0, 0], "-1": [None, 0, 1], "": [0, 0, 0]}[said]
        healthy = cells.get("No Finding", "").startswith("1") and name not in ("No Finding", "Support Devices")
        expected = 0 if healthy else {"1": 1, "0": 0}.get(said)
        assert found[UNKNOWN][name] == expected


def test_files_of_padchest_that_are_known_to_be_damaged_are_left_out(tmp_path: Path) -> None:
    from medfm.cohorts.adapters.padchest_damaged import DAMAGED

    assert len(DAMAGED) == 21
    # PATIENT is part of a name: the date within and the two digits of the folder show that none was mistyped.
    assert all(
        re.fullmatch(r"2168401113669640\d{11,14}20(09|1[0-4])\d+_\d\d-\d{3}-\d{3}\.png", name) for name in DAMAGED
    )
    one = sorted(DAMAGED)[0]
    head = "ImageID,PatientID,StudyID,Projection,MethodLabel,Labels"
    lines = [f"{name},P1,S1,PA,Physician,['normal']" for name in (one, "good.png")]
    write(tmp_path, {TABLE: "\n".join([head, *lines]) + "\n", f"0/{one}": "", "0/good.png": ""})
    found = get_adapter("padchest").find(tmp_path)
    assert [row["record_id"] for row in found.rows] == ["good"] and not found.partial
    assert found.notes == ("1 radiographs are left out: known to be absent or damaged",)


def test_a_split_file_of_mimic_with_other_counts_is_noted(tmp_path: Path) -> None:
    from medfm.cohorts.adapters.mimic_cxr import RELEASED

    assert sum(RELEASED.values()) == 377_110
    labels = "subject_id,study_id," + ",".join(CHEXPERT) + "\n10000001,50000001" + ",1.0" * 14 + "\n"
    write(
        tmp_path,
        {
            f"{MIMIC}split.csv": "dicom_id,study_id,subject_id,split\na,50000001,10000001,validate\n",
            f"{MIMIC}metadata.csv": "dicom_id,ViewPosition\na,PA\n",
            f"{MIMIC}chexpert.csv": labels,
            "files/p10/p10000001/s50000001/a.jpg": "",
        },
    )
    (note,) = get_adapter("mimic-cxr-jpg").find(tmp_path).notes
    assert "0 train, 1 val, 0 test; the release 368,960 train, 2,991 val, 5,159 test" in note


def test_an_age_of_nought_in_chexpert_is_not_known(tmp_path: Path) -> None:
    row = "CheXpert-v1.0/train/patient0000{0}/study1/view1_frontal.jpg,Male,{1},Frontal,AP" + "," * 14
    table = "\n".join([CHEX, row.format(1, 0), row.format(2, 61)]) + "\n"
    pictures = {f"train/patient0000{n}/study1/view1_frontal.jpg": "" for n in (1, 2)}
    write(tmp_path, {"train.csv": table, "valid.csv": CHEX + "\n", **pictures})
    assert [r["age"] for r in get_adapter("chexpert").find(tmp_path).rows] == [None, 61]
