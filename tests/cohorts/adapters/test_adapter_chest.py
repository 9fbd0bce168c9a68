"""Sets of chest radiographs in their official layouts, made small: labels, unknown values, splits, what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from workbooks import workbook

from medfm.cohorts.adapters import get_adapter, prepare
from medfm.cohorts.adapters.chest import (
    CHEXPERT,
    IGNORE,
    ONES,
    UNKNOWN,
    ZEROS,
    files_below,
    observations,
    read_table,
    sex,
    table_at,
    years,
)
from medfm.cohorts.adapters.vindr_cxr import FINDINGS as VINDR
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError


def touch(file: Path, data: bytes = b"x") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def csv(file: Path, header: str, *lines: str) -> None:
    touch(file, "\n".join([header, *lines, ""]).encode())


def rows_of(name: str, source: Path) -> dict[str, dict[str, Any]]:
    found = get_adapter(name).find(source)
    return {row["record_id"]: row for row in found.rows}


def chexpert_line(**values: str) -> str:
    return ",".join(values.get(name, "") for name in CHEXPERT)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [(UNKNOWN, (1, 0, None, None)), (IGNORE, (1, 0, None, 0)), (ZEROS, (1, 0, 0, 0)), (ONES, (1, 0, 1, 0))],
)
def test_the_rules_of_uncertain_and_unmentioned(rule: str, expected: tuple[Any, ...]) -> None:
    cells = {"Edema": "1.0", "Pneumonia": "0.0", "Atelectasis": "-1.0"}
    names = ("Edema", "Pneumonia", "Atelectasis", "Fracture")
    assert tuple(observations(cells, names, rule, "t").values()) == expected


def test_no_finding_clears_everything_but_devices() -> None:
    found = observations({"No Finding": "1.0", "Edema": "-1"}, CHEXPERT, UNKNOWN, "t")
    assert found["No Finding"] == 1 and found["Edema"] == 0 and found["Support Devices"] is None
    assert sum(value == 0 for value in found.values()) == 12
    with pytest.raises(CohortError, match="neither 1, 0, -1"):
        observations({"Edema": "2"}, ("Edema",), UNKNOWN, "t")


@pytest.mark.parametrize(
    ("cell", "age"), [("058Y", 58), ("58.0", 58), ("7", 7), ("413", None), ("", None), ("x", None)]
)
def test_ages(cell: str, age: int | None) -> None:
    assert years(cell) == age


def test_small_helpers(tmp_path: Path) -> None:
    assert (sex("Female"), sex("M "), sex("Unknown")) == ("F", "M", None)
    touch(tmp_path / "a" / "X.PNG")
    touch(tmp_path / "a" / ".hidden.png")
    assert files_below(tmp_path) == {"x.png": "a/X.PNG"}
    touch(tmp_path / "b" / "x.png")
    with pytest.raises(CohortError, match="Two radiographs"):
        files_below(tmp_path)
    touch(tmp_path / "t.csv.gz", gzip.compress(b"p,q\n1\n\n2,3,4\n"))
    table = table_at(tmp_path, "t.csv")
    assert table is not None and table.suffix == ".gz" and table_at(tmp_path, "u.csv") is None
    assert [cells for _, cells in read_table(table, ("p",))] == [{"p": "1", "q": ""}, {"p": "2", "q": "3"}]
    with pytest.raises(CohortError, match="no column 'z'"):
        list(read_table(table, ("z",)))
    for data in (b"\xff\xfe\x00", gzip.compress(b"p\n1\n")[:-6]):
        bad = touch(tmp_path / ("bad.csv" if data[0] == 255 else "bad.csv.gz"), data)
        with pytest.raises(CohortError, match="cannot be read"):
            list(read_table(bad, ("p",)))


@pytest.fixture
def nih(tmp_path: Path) -> Path:
    root = tmp_path / "nih"
    csv(
        root / "Data_Entry_2017.csv",
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],",
        "00000001_000.png,Cardiomegaly|Effusion,0,1,058Y,M,PA,2682,2749,0.143,0.143,",
        "00000001_001.png,No Finding,1,1,058Y,M,AP,2682,2749,0.143,0.143,",
        "00000002_000.png,Hernia,0,2,413Y,F,PA,2500,2048,0.168,0.168,",
        "00000003_000.png,Mass,0,3,40Y,F,PA,2500,2048,0.168,0.168,",
    )
    for name in ("00000001_000", "00000001_001", "00000002_000"):
        touch(root / "images_001" / "images" / f"{name}.png")
    return root


def test_nih(nih: Path, tmp_path: Path) -> None:
    found = get_adapter("nih-cxr14").find(nih)
    assert len(found.rows) == 3 and "1 of 4" in found.partial[0] and "no split" in found.notes[0]
    (nih / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (nih / "test_list.txt").write_text("00000002_000.png\n00000003_000.png\n")
    rows = rows_of("nih-cxr14", nih)
    first, well, old = (rows[name] for name in ("00000001_000", "00000001_001", "00000002_000"))
    assert (first["Cardiomegaly"], first["Effusion"], first["Mass"], first["no_finding"]) == (1, 1, 0, 0)
    assert (first["split"], first["patient_id"], first["view"], first["age"], first["sex"]) == (
        "train",
        "1",
        "PA",
        58,
        "M",
    )
    assert well["no_finding"] == 1 and not any(well[label] for label in get_adapter("nih-cxr14").labels)
    assert old["split"] == "test" and old["age"] is None and old["Hernia"] == 1
    with pytest.raises(CohortError, match="total: expected 112,120, found 3"):
        prepare("nih-cxr14", nih, tmp_path / "out")
    done = prepare("nih-cxr14", nih, tmp_path / "out", allow_partial=True)
    cohort = load_cohort(done.table, check=False)
    assert cohort.modality == "chest_xray" and len(cohort.info["target"]) == 14 and done.counts["Hernia"] == 1
    csv(
        nih / "Data_Entry_2017.csv",
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,View Position",
        "a.png,Flu,0,1,1,PA",
    )
    with pytest.raises(CohortError, match="not one of the 14"):
        rows_of("nih-cxr14", nih)


@pytest.fixture
def chexpert(tmp_path: Path) -> Path:
    root = tmp_path / "CheXpert-v1.0-small"
    header = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(CHEXPERT)
    front, side = "train/patient00001/study1/view1_frontal.jpg", "train/patient00001/study1/view2_lateral.jpg"
    value = "valid/patient64541/study1/view1_frontal.jpg"
    values = chexpert_line(Edema="1.0", Atelectasis="-1.0", Consolidation="0.0")
    csv(
        root / "train.csv", header,
        f"CheXpert-v1.0-small/{front},Female,68,Frontal,AP,{values}",
        f"CheXpert-v1.0-small/{side},Female,68,Lateral,,{values}",
    )  # fmt: skip
    csv(
        root / "valid.csv",
        header,
        f"CheXpert-v1.0-small/{value},Male,73,Frontal,PA,{chexpert_line(**{'No Finding': '1.0'})}",
    )
    for file in (front, side, value):
        touch(root / file)
    return root.parent


def test_chexpert(chexpert: Path, tmp_path: Path) -> None:
    rows = rows_of("chexpert", chexpert)
    front, side = rows["patient00001-study1-view1_frontal"], rows["patient00001-study1-view2_lateral"]
    assert (front["Edema"], front["Consolidation"], front["Atelectasis"], front["Fracture"]) == (1, 0, None, None)
    assert (front["view"], front["frontal"], side["view"], side["frontal"]) == ("AP", 1, "LL", 0)
    assert front["path"] == "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg" and front["age"] == 68
    valid = rows["patient64541-study1-view1_frontal"]
    assert valid["split"] == "val" and valid["Edema"] == 0 and front["study_id"] == side["study_id"]
    ones = rows_of("chexpert-competition@u-ones", chexpert)["patient00001-study1-view1_frontal"]
    assert (ones["Atelectasis"], ones["Cardiomegaly"]) == (1, 0) and "Fracture" not in ones
    done = prepare("chexpert-competition", chexpert, tmp_path / "out", allow_partial=True)
    table = load_cohort(done.table, check=False).table
    assert table["Atelectasis"].isna().sum() == 2 and set(table["Edema"].dropna().astype(float)) == {0.0, 1.0}
    assert any("unknown" in note for note in get_adapter("chexpert").notes)
    assert any("present (1)" in note for note in get_adapter("chexpert@u-ones").notes)


def test_mimic(tmp_path: Path) -> None:
    root, pre = tmp_path / "mimic", "mimic-cxr-2.0.0-"
    csv(root / f"{pre}split.csv", "dicom_id,study_id,subject_id,split",
        "aa,50414267,10000032,train", "bb,50414267,10000032,train", "cc,50000001,10000764,validate", "dd,5,10000764,test")  # fmt: skip
    csv(
        root / f"{pre}metadata.csv",
        "dicom_id,subject_id,ViewPosition",
        "aa,10000032,PA",
        "bb,10000032,LATERAL",
        "cc,1,",
    )
    for kind, value in (("chexpert", "-1.0"), ("negbio", "0.0")):
        lines = [f"10000032,50414267,{chexpert_line(Edema=value)}", f"10000764,50000001,{chexpert_line(Edema='1.0')}"]
        text = "\n".join(["subject_id,study_id," + ",".join(CHEXPERT), *lines, ""])
        touch(root / f"{pre}{kind}.csv.gz", gzip.compress(text.encode()))
    for name, place in (("aa", "p10000032/s50414267"), ("bb", "p10000032/s50414267"), ("cc", "p10000764/s50000001")):
        touch(root / "files" / "p10" / place / f"{name}.jpg")
    found = get_adapter("mimic-cxr-jpg").find(root)
    rows = {row["record_id"]: row for row in found.rows}
    assert set(rows) == {"aa", "bb", "cc"} and "1 of 4" in found.notes[0]
    assert (rows["aa"]["Edema"], rows["aa"]["view"], rows["bb"]["view"], rows["cc"]["view"]) == (None, "PA", "LL", None)
    assert (rows["cc"]["split"], rows["cc"]["Edema"], rows["aa"]["path"]) == (
        "val", 1, "files/p10/p10000032/s50414267/aa.jpg",
    )  # fmt: skip
    assert rows_of("mimic-cxr-jpg-negbio", root)["aa"]["Edema"] == 0
    csv(root / f"{pre}split.csv", "dicom_id,study_id,subject_id,split", "aa,../x,10000032,train")
    with pytest.raises(CohortError, match="not as published"):
        rows_of("mimic-cxr-jpg", root)


def test_rsna(tmp_path: Path) -> None:
    csv(
        tmp_path / "stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target",
        "p1,,,,,0",
        "p2,1,2,3,4,1",
        "p2,5,6,7,8,1",
        "p3,,,,,0",
    )
    csv(
        tmp_path / "stage_2_detailed_class_info.csv",
        "patientId,class",
        "p1,Normal",
        "p2,Lung Opacity",
        "p2,Lung Opacity",
        "p3,No Lung Opacity / Not Normal",
    )
    for name in ("p1", "p2", "p3"):
        touch(tmp_path / "stage_2_train_images" / f"{name}.dcm")
    rows = rows_of("rsna-pneumonia", tmp_path)
    assert [(rows[p]["label"], rows[p]["boxes"]) for p in ("p1", "p2", "p3")] == [("0", 0), ("1", 2), ("0", 0)]
    assert rows_of("rsna-pneumonia-three", tmp_path)["p3"]["label"] == "No Lung Opacity / Not Normal"
    csv(tmp_path / "stage_2_detailed_class_info.csv", "patientId,class", "p1,Normal", "p2,Normal", "p3,Normal")
    with pytest.raises(CohortError, match="contradict"):
        rows_of("rsna-pneumonia", tmp_path)


def vindr_row(image: str, reader: str, *found: str) -> str:
    return ",".join([image, reader, *("1" if name in found else "0" for name in VINDR)])


def test_vindr(tmp_path: Path) -> None:
    header = "image_id,rad_id," + ",".join(VINDR)
    csv(tmp_path / "annotations" / "image_labels_train.csv", header,
        vindr_row("a", "R1", "ILD", "COPD"), vindr_row("a", "R2", "ILD"), vindr_row("a", "R3", "No finding"))  # fmt: skip
    csv(tmp_path / "annotations" / "image_labels_test.csv", header.replace("Other diseases", "Other disease").replace(",rad_id", ""),
        vindr_row("b", "", "Other diseases").replace("b,,", "b,"))  # fmt: skip
    touch(tmp_path / "train" / "a.dicom")
    touch(tmp_path / "test" / "b.dicom")
    rows = rows_of("vindr-cxr", tmp_path)
    assert (rows["a"]["ILD"], rows["a"]["COPD"], rows["a"]["No finding"], rows["a"]["readers"]) == (1, 0, 0, 3)
    assert (rows["b"]["Other diseases"], rows["b"]["split"], rows["b"]["readers"]) == (1, "test", 1)
    assert rows_of("vindr-cxr@any", tmp_path)["a"]["COPD"] == 1


def test_padchest(tmp_path: Path) -> None:
    from medfm.cohorts.adapters.padchest import TABLE

    header = ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,Projection,MethodLabel,Labels"
    csv(tmp_path / TABLE, header,
        "0,a.png,0,20140915,S1,P1,1954.0,M,PA,Physician,\"['pneumonia', ' pleural effusion']\"",
        "1,b.png,0,20140915,S1,P1,1954.0,M,L,RNN_model,\"['normal']\"",
        "2,c.png,0,20140915,S2,P2,,F,PA,Physician,[]")  # fmt: skip
    touch(tmp_path / "0" / "a.png")
    touch(tmp_path / "0" / "b.png")
    rows = rows_of("padchest", tmp_path)
    assert set(rows) == {"a", "b"} and set(rows_of("padchest-physician", tmp_path)) == {"a"}
    assert (rows["a"]["pneumonia"], rows["a"]["pleural effusion"], rows["a"]["normal"], rows["a"]["age"]) == (
        1,
        1,
        0,
        60,
    )
    assert rows["b"]["view"] == "LL" and not any("2014" in str(v) or v == "1954" for v in rows["a"].values())
    csv(tmp_path / TABLE, header, "0,a.png,0,2014,S1,P1,1954,M,PA,Physician,pneumonia")
    with pytest.raises(CohortError, match="no list of terms"):
        rows_of("padchest", tmp_path)


def bpd(root: Path, lines: list[list[str]]) -> Path:
    for name in ("7_a.png", "7_b.png", "8_1.png", "9_x.png", "10_x.png", "99_x.png"):
        touch(root / "images" / name)
    workbook(root / "grades.xlsx", [["patient_id", "bpd"], *lines])
    return root


def test_bpdneo(tmp_path: Path) -> None:
    root = bpd(tmp_path, [["7", "severe"], ["8", "no BPD"], ["9", "keine Angabe"], ["10", "Mild"], ["11", "moderate"]])
    found = get_adapter("bpdneo").find(root)
    assert {row["patient_id"]: row["label"] for row in found.rows} == {"7": "1", "8": "0", "10": "0"}
    assert len(found.rows) == 4 and "1 radiographs are of patients" in found.partial[0]
    assert any("1 patients have no stated grade" in note for note in found.notes)
    assert any("1 patients of the sheet" in note for note in found.notes)
    assert {row["label"] for row in get_adapter("bpdneo-grade").find(root).rows} == {"severe", "no BPD", "mild"}


@pytest.mark.parametrize(
    ("lines", "words"), [([["7", "bad"]], "another word"), ([["7", "mild"], ["7", "severe"]], "two grades")]
)
def test_bpdneo_refuses(tmp_path: Path, lines: list[list[str]], words: str) -> None:
    with pytest.raises(CohortError, match=words):
        get_adapter("bpdneo").find(bpd(tmp_path, lines))
    workbook(tmp_path / "more.xlsx", [["patient_id", "bpd"]])
    with pytest.raises(CohortError, match="several Excel"):
        get_adapter("bpdneo").find(tmp_path)


@pytest.mark.parametrize(
    "name", ["nih-cxr14", "chexpert", "mimic-cxr-jpg", "rsna-pneumonia", "vindr-cxr", "padchest", "bpdneo"]
)
def test_every_set_refuses_split_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="not prepared from published split files"):
        get_adapter(name).find(tmp_path, tmp_path)
    assert get_adapter(name).modality == "chest_xray"
