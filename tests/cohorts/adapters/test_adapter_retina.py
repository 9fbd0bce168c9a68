"""Retina sets in their official layouts, with pictures of a few pixels."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from cohort_pictures import save
from workbooks import workbook

from medfm.cohorts.adapters import get_adapter, list_adapters, prepare
from medfm.cohorts.adapters.base import Prepared
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError

RETINA = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "retina"
SETS = [name for name in list_adapters() if get_adapter(name).modality == "retina"]


def put(root: Path, *paths: str) -> Path:
    for i, path in enumerate(paths):
        save(root / path, i)
    return root


def text(root: Path, path: str, content: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content, encoding="utf-8")


def made(name: str, source: Path, out: Path) -> tuple[pd.DataFrame, Prepared]:
    done = prepare(name, source, out, allow_partial=True)
    cohort = load_cohort(done.table)
    assert cohort.modality == "retina"
    list(cohort.refs())
    return cohort.table, done


def test_idrid_takes_part_b_and_its_split(tmp_path: Path) -> None:
    a, b = "IDRiD/A. Segmentation", "IDRiD/B. Disease Grading"
    put(
        tmp_path,
        f"{b}/1. Original Images/a. Training Set/IDRiD_001.jpg",
        f"{b}/1. Original Images/a. Training Set/IDRiD_002.jpg",
        f"{b}/1. Original Images/b. Testing Set/IDRiD_001.jpg",
        f"{a}/1. Original Images/a. Training Set/IDRiD_01.jpg",
    )
    head = "Image name,Retinopathy grade,Risk of macular edema ,,,\n"
    folder = f"{b}/2. Groundtruths"
    text(
        tmp_path,
        f"{folder}/a. IDRiD_Disease Grading_Training Labels.csv",
        head + "IDRiD_001,3,2,,,\nIDRiD_002,0,0,,,\n",
    )
    text(tmp_path, f"{folder}/b. IDRiD_Disease Grading_Testing Labels.csv", head + "IDRiD_001,4,0,,,\n")
    frame, done = made("idrid", tmp_path, tmp_path / "out")
    assert sorted(zip(frame["record_id"], frame["split"], frame["label"], strict=True)) == [
        ("test_IDRiD_001", "test", 4),
        ("train_IDRiD_001", "train", 3),
        ("train_IDRiD_002", "train", 0),
    ]
    assert set(frame["label_name"]) >= {"proliferative diabetic retinopathy"}
    assert frame["path"].str.contains("B. Disease Grading").all()
    assert "train: expected 413, found 2" in done.differences
    dme, _ = made("idrid-dme", tmp_path, tmp_path / "dme")
    assert sorted(dme["label"]) == [0, 0, 2]


@pytest.mark.parametrize("excel", [False, True])
def test_messidor_reads_its_sheets(tmp_path: Path, excel: bool) -> None:
    put(tmp_path, "Base11/20051019_38557_0100_PP.tif", "Base12/20051020_1.tif")
    head = ["Image name", "Ophthalmologic department", "Retinopathy grade", "Risk of macular edema"]
    for base, row in (
        ("11", ["20051019_38557_0100_PP.tif", "Service A", "3", "1"]),
        ("12", ["20051020_1.tif", "Service A", "0", "0"]),
    ):
        if excel:
            workbook(tmp_path / f"Annotation_Base{base}.xlsx", [head, row])
        else:
            text(tmp_path, f"Annotation_Base{base}.csv", ",".join(head) + "\n" + ",".join(row) + "\n")
    frame, _ = made("messidor", tmp_path, tmp_path / "out")
    assert dict(zip(frame["base"], frame["label"], strict=True)) == {"Base11": 3, "Base12": 0}
    assert set(frame["site"]) == {"Service A"}
    assert sorted(made("messidor-dme", tmp_path, tmp_path / "dme")[0]["label"]) == [0, 1]


def test_old_sheets_of_messidor_are_named(tmp_path: Path) -> None:
    put(tmp_path, "Base11/a.tif")
    text(tmp_path, "Annotation_Base11.xls", "x")
    with pytest.raises(CohortError, match="save each as CSV"):
        prepare("messidor", tmp_path, tmp_path / "out")


@pytest.mark.parametrize(("header", "eyes"), [("left;right\n", {"L", "R"}), ("", set())])
def test_messidor2_has_examinations_and_leaves_ungradable_out(tmp_path: Path, header: str, eyes: set[str]) -> None:
    put(tmp_path, "IMAGES/20051020_1_PP.png", "IMAGES/IM002385.JPG", "IMAGES/IM002386.JPG")
    text(
        tmp_path,
        "messidor_data.csv",
        "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable\n"
        "20051020_1_PP.png,2.0,0.0,1\nIM002385.jpg,4,1,1\nIM002386.jpg,,,0\n",
    )
    text(tmp_path, "messidor-2.csv", f"{header}20051020_1_PP.png;IM002386.JPG\nIM002385.JPG;IM009999.JPG\n")
    frame, _ = made("messidor2", tmp_path, tmp_path / "out")
    assert sorted(frame["label"]) == [2, 4]
    assert frame["patient_id"].nunique() == 2
    assert set(frame["laterality"].dropna() if "laterality" in frame else ()) == ({"L"} if eyes else set())
    assert sorted(made("messidor2-dme", tmp_path, tmp_path / "dme")[0]["label"]) == [0, 1]


def test_aptos(tmp_path: Path) -> None:
    put(
        tmp_path,
        "aptos/train_images/000c1434d8d7.png",
        "aptos/train_images/001639a390f0.png",
        "aptos/test_images/0005cfc8afb6.png",
    )
    text(tmp_path, "aptos/train.csv", "id_code,diagnosis\n000c1434d8d7,2\n001639a390f0,4\n")
    frame, _ = made("aptos2019", tmp_path, tmp_path / "out")
    assert frame.set_index("record_id")["label"].to_dict() == {"000c1434d8d7": 2, "001639a390f0": 4}


def test_fives_takes_the_class_from_the_name(tmp_path: Path) -> None:
    root = "FIVES A Fundus Image Dataset"
    put(
        tmp_path,
        f"{root}/train/Original/1_A.png", f"{root}/train/Original/2_D.png", f"{root}/test/Original/1_N.png",
        f"{root}/test/Original/9_G.png", f"{root}/train/Ground truth/1_A.png",
    )  # fmt: skip
    text(tmp_path, f"{root}/train/Original/Thumbs.db", "x")
    frame, _ = made("fives", tmp_path, tmp_path / "out")
    assert frame["label"].value_counts().to_dict() == {
        "age-related macular degeneration": 1, "diabetic retinopathy": 1, "normal": 1, "glaucoma": 1,
    }  # fmt: skip
    assert frame["split"].value_counts().to_dict() == {"train": 2, "test": 2}
    put(tmp_path, f"{root}/test/Original/9_X.png")
    with pytest.raises(CohortError, match=r"9_X\.png"):
        prepare("fives", tmp_path, tmp_path / "other", allow_partial=True)


def test_refuge_by_folders_with_a_test_part(tmp_path: Path) -> None:
    put(
        tmp_path,
        "Training400/Glaucoma/g0001.jpg", "Training400/Non-Glaucoma/n0001.jpg", "Training400/Non-Glaucoma/n0002.jpg",
        "Annotation-Training400/Disc_Cup_Masks/Glaucoma/g0001.bmp", "Test400/T0001.jpg", "Test400/T0002.jpg",
    )  # fmt: skip
    sheet = [
        ["ID", "ImgName", "Label(Glaucoma=1)", "Fovea_X"],
        ["1", "T0001.jpg", "1", "5.5"],
        ["2", "T0002.jpg", "0", "1"],
    ]
    workbook(tmp_path / "Glaucoma_label_and_Fovea_location.xlsx", sheet)
    frame, _ = made("refuge", tmp_path, tmp_path / "out")
    found = frame.set_index("record_id")
    assert found["label"].to_dict() == {"g0001": 1, "n0001": 0, "n0002": 0, "t0001": 1, "t0002": 0}
    assert found["split"].to_dict()["t0001"] == "test"


def test_refuge_by_names_counts_its_training_part(tmp_path: Path) -> None:
    put(tmp_path, "REFUGE/train/Images/g0001.jpg", "REFUGE/train/Images/n0001.jpg", "REFUGE/val/Images/V0001.jpg")
    frame, done = made("refuge", tmp_path, tmp_path / "out")
    assert sorted(frame["record_id"]) == ["g0001", "n0001"]
    assert done.differences == ("train: expected 400, found 2", "0: expected 360, found 1", "1: expected 40, found 1")


def test_acrima_and_jsiec(tmp_path: Path) -> None:
    put(tmp_path / "a", "Database/Images/Im001_ACRIMA.jpg", "Database/Images/Im310_g_ACRIMA.jpg")
    assert sorted(made("acrima", tmp_path / "a", tmp_path / "1")[0]["label_name"]) == ["glaucoma", "no glaucoma"]
    put(tmp_path / "j", "1000images/0.0.Normal/1.jpg", "1000images/10.0.Possible glaucoma/2.JPG", "1000images/x/3.jpg")
    assert sorted(made("jsiec", tmp_path / "j", tmp_path / "2")[0]["label"]) == ["Normal", "Possible glaucoma"]


def deepdrid(root: Path) -> Path:
    top = root / "regular_fundus_images"
    head = "patient_id,image_id,image_path,Overall quality,left_eye_DR_Level,right_eye_DR_Level,patient_DR_Level\n"
    for part, rows in (
        ("training", "1,1_l1,\\x\\1_l1.jpg,0,2,,3\n1,1_r1,\\x\\1_r1.jpg,1,,3,3\n56,56_r3,\\x\\56_r3.jpg,0,1,,1\n"),
        ("validation", "265,265_l1,\\x\\265_l1.jpg,0,0,,0\n"),
    ):
        name = f"regular-fundus-{part}"
        text(top, f"{name}/{name}.csv", head + rows)
        put(top / name / "Images", *(f"{r.split(',')[0]}/{r.split(',')[1]}.jpg" for r in rows.splitlines()))
    place = top / "Online-Challenge1&2-Evaluation"
    workbook(place / "Challenge1_labels.xlsx", [["image_id", "DR_Levels"], ["347_l1", "1"], ["347_r2", "4"]])
    put(place / "Images", "347/347_l1.jpg", "347/347_r2.jpg")
    return root


def test_deepdrid_knows_patients_and_eyes(tmp_path: Path) -> None:
    frame, done = made("deepdrid", deepdrid(tmp_path), tmp_path / "out")
    found = frame.set_index("record_id")
    assert found["label"].to_dict() == {"1_l1": 2, "1_r1": 3, "56_r3": 1, "265_l1": 0, "347_l1": 1, "347_r2": 4}
    assert found["laterality"].to_dict() == {
        "1_l1": "L", "1_r1": "R", "56_r3": "L", "265_l1": "L", "347_l1": "L", "347_r2": "R",
    }  # fmt: skip
    assert found["split"].value_counts().to_dict() == {"train": 3, "val": 1, "test": 2}
    assert frame["patient_id"].nunique() == 4
    assert "1 photograph says the other eye" in done.info.read_text()


def test_mmac_recognises_its_tables(tmp_path: Path) -> None:
    put(
        tmp_path,
        "1. Images/1. Training Set/mmac_task_1_train_0001.png",
        "1. Images/2. Validation Set/mmac_task_1_val_0001.png",
    )
    text(
        tmp_path,
        "2. Groundtruths/1. Training_Labels.csv",
        "image,myopic_maculopathy_grade,age,sex\nmmac_task_1_train_0001.png,4,60,1\n",
    )
    text(
        tmp_path,
        "2. Groundtruths/2. Validation_Labels.csv",
        "image,myopic_maculopathy_grade\nmmac_task_1_val_0001.png,1\n",
    )
    text(tmp_path, "other.csv", "image,spherical_equivalent\nmmac_task_3_train_0001.png,-3\n")
    frame, _ = made("mmac", tmp_path, tmp_path / "out")
    assert dict(zip(frame["split"], frame["label_name"], strict=True)) == {
        "train": "macular atrophy",
        "val": "tessellated fundus",
    }


def odir(root: Path) -> Path:
    head = [
        "ID",
        "Patient Age",
        "Patient Sex",
        "Left-Fundus",
        "Right-Fundus",
        "Left-Diagnostic Keywords",
        "Right-Diagnostic Keywords",
        *"NDGCAHMO",
    ]
    rows = [
        ["0", "69", "Female", "0_left.jpg", "0_right.jpg", "cataract", "normal fundus", *"00010000"],
        ["1", "57", "Male", "1_left.jpg", "1_right.jpg", "drusen\uff0ccataract", "pathological myopia", *"00010011"],
    ]
    workbook(root / "ODIR-5K_Training_Annotations(Updated)_V2.xlsx", [head, *rows])
    return put(root, *(f"ODIR-5K_Training_Dataset/{i}_{side}.jpg" for i in range(2) for side in ("left", "right")))


def test_odir_by_person(tmp_path: Path) -> None:
    frame, done = made("odir5k", odir(tmp_path), tmp_path / "out")
    assert len(frame) == 4 and frame["patient_id"].nunique() == 2
    assert done.counts["cataract"] == 4 and done.counts["pathological_myopia"] == 2
    assert sorted(frame["laterality"]) == ["L", "L", "R", "R"]


def test_odir_by_eye(tmp_path: Path) -> None:
    frame, _ = made("odir5k-eye3", odir(tmp_path), tmp_path / "out")
    assert frame.set_index("record_id")["label"].to_dict() == {
        "0_left": "cataract", "0_right": "normal", "1_right": "pathologic myopia",
    }  # fmt: skip


def test_an_absent_photograph_stops_unless_partial_is_allowed(tmp_path: Path) -> None:
    root = deepdrid(tmp_path)
    next(root.rglob("1_r1.jpg")).unlink()
    with pytest.raises(CohortError, match="1 of 6 photographs"):
        prepare("deepdrid", root, tmp_path / "out")
    frame, _ = made("deepdrid", root, tmp_path / "out")
    assert "1_r1" not in set(frame["record_id"])


def test_a_doubled_name_is_never_guessed(tmp_path: Path) -> None:
    root = odir(tmp_path)
    put(root, "preprocessed_images/0_left.jpg")
    with pytest.raises(CohortError, match="Two images are called"):
        prepare("odir5k", root, tmp_path / "out", allow_partial=True)


def test_an_unknown_grade_is_named_with_its_line(tmp_path: Path) -> None:
    put(tmp_path, "train_images/a.png")
    text(tmp_path, "train.csv", "id_code,diagnosis\na,7\n")
    with pytest.raises(CohortError, match=r"train\.csv, line 2"):
        prepare("aptos2019", tmp_path, tmp_path / "out", allow_partial=True)


@pytest.mark.parametrize("name", SETS)
def test_another_folder_is_refused_with_the_layout(tmp_path: Path, name: str) -> None:
    put(tmp_path / "s", "holiday/1.jpg")
    with pytest.raises(CohortError) as caught:
        prepare(name, tmp_path / "s", tmp_path / "out")
    assert caught.value.expected == get_adapter(name).layout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", SETS)
def test_counts_of_parts_add_up(name: str) -> None:
    for cohort in get_adapter(name).cohort_names():
        expected = dict(get_adapter(cohort).expected)
        grades = [n for key, n in expected.items() if key in "01234"]
        splits = [n for key, n in expected.items() if key in ("train", "val", "test")]
        if grades and "total" in expected:
            assert sum(grades) == expected["total"]
        if len(splits) > 1 and grades:
            assert sum(splits) == sum(grades)


def test_sets_of_the_list() -> None:
    assert set(SETS) == {
        "acrima", "aptos2019", "deepdrid", "fives", "idrid", "jsiec", "messidor", "messidor2", "mmac", "odir5k", "refuge",
    }  # fmt: skip
    assert get_adapter("messidor-dme").id == "messidor" and get_adapter("messidor2-dr").id == "messidor2"


@pytest.mark.skipif(not RETINA.is_dir(), reason="the real photographs beside the repository are absent")
def test_the_training_counts_of_idrid_bound_the_real_part() -> None:
    table = pd.read_csv(RETINA / "labels.csv")
    test = table[(table["task"] == "idrid_dr_grade") & (table["split"] == "test")]["label"].value_counts().to_dict()
    expected = get_adapter("idrid").expected
    # One of the 103 test images (grade 3) is left out of the real part, being a copy of a training image.
    assert {int(k): v for k, v in {"0": 34, "1": 5, "2": 32, "3": 18, "4": 13}.items()} == test
    assert all(expected[str(grade)] > number for grade, number in test.items())
