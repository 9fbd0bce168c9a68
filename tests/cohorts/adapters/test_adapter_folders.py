"""Sets whose classes are folders: Acevedo, BMC, Raabin, AML Hehr, Elsafty."""

from pathlib import Path

import pandas as pd
import pytest
from cohort_pictures import save

from medfm.cohorts.adapters import get_adapter, prepare
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError


def files(root: Path, *paths: str) -> Path:
    for i, path in enumerate(paths):
        save(root / path, i)
    return root


def table_of(name: str, source: Path, out: Path) -> pd.DataFrame:
    return load_cohort(prepare(name, source, out, allow_partial=True).table).table


def test_acevedo_keeps_the_finer_labels_of_the_file_names(tmp_path: Path) -> None:
    root = files(tmp_path, *(f"PBC_dataset_normal_DIB/ig/{n}_1.jpg" for n in ("IG", "MY", "MMY", "PMY")))
    files(root, "PBC_dataset_normal_DIB/basophil/BA_12.jpg", "PBC_dataset_normal_DIB/platelet/PLATELET_7.jpg")
    save(root / "PBC_dataset_normal_DIB/neutrophil/.DS_169227.jpg", 3)
    frame = table_of("acevedo", root, tmp_path / "out")
    assert sorted(frame["subtype"]) == ["BA", "IG", "MMY", "MY", "PLATELET", "PMY"]
    assert frame["label"].value_counts().to_dict() == {"ig": 4, "basophil": 1, "platelet": 1}


def test_acevedo_may_be_named_by_its_inner_folder(tmp_path: Path) -> None:
    root = files(tmp_path, "PBC/basophil/BA_1.jpg")
    assert table_of("acevedo", root / "PBC", tmp_path / "out")["path"].tolist() == ["basophil/BA_1.jpg"]


def test_the_real_part_of_acevedo(shared: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        frame = table_of("acevedo", shared / "pbc" / split, tmp_path / split)
        assert frame["label"].nunique() == 8
        assert set(frame.loc[frame["label"] == "basophil", "subtype"]) == {"BA"}
        assert {"MY", "MMY", "PMY"} <= set(frame.loc[frame["label"] == "ig", "subtype"])
    assert len(frame) == 320


def test_acevedo_counts_add_up() -> None:
    expected = dict(get_adapter("acevedo").expected)
    assert expected.pop("total") == sum(expected.values())


def test_bmc_reads_numbered_folders_below_the_classes(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        "BM_cytomorphology_data/NGS/0001-1000/NGS_00001.jpg",
        "BM_cytomorphology_data/NGS/1001-2000/NGS_01001.jpg",
        "BM_cytomorphology_data/ABE/ABE_00001.jpg",
    )
    frame = table_of("bmc", root, tmp_path / "out")
    assert frame["label"].tolist() == ["ABE", "NGS", "NGS"]
    assert frame["split"].isna().all()


def test_bmc_has_21_classes() -> None:
    from medfm.cohorts.adapters.bmc import CLASSES

    assert len(CLASSES) == len(set(CLASSES)) == 21


@pytest.mark.parametrize("test_folder", ["TestA", "Test-A"])
def test_raabin_takes_the_official_split_and_leaves_test_b_out(tmp_path: Path, test_folder: str) -> None:
    root = files(
        tmp_path,
        "Raabin-WBC/Train/Basophil/1.jpg",
        "Raabin-WBC/Train/Neutrophil/2.jpg",
        f"Raabin-WBC/{test_folder}/Neutrophil/2.jpg",
        "Raabin-WBC/TestB/Neutrophil/3.jpg",
    )
    frame = table_of("raabin", root, tmp_path / "out")
    assert list(zip(frame["label"], frame["split"], strict=True)) == [
        ("neutrophil", "test"),
        ("basophil", "train"),
        ("neutrophil", "train"),
    ]


def test_raabin_counts_by_split(tmp_path: Path) -> None:
    root = files(tmp_path, "Train/Basophil/1.jpg", "TestA/Monocyte/2.jpg")
    done = prepare("raabin", root, tmp_path / "out", allow_partial=True)
    assert done.differences == ("train: expected 10,175, found 1", "test: expected 4,339, found 1")


def test_hehr_bags_carry_the_patients_label(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        "data/PML_RARA/AAA/image_1.tif",
        "data/PML_RARA/AAA/image_2.tif",
        "data/PML_RARA/BBB/image_1.tif",
        "data/control/CCC/image_1.tif",
    )
    frame = table_of("aml_hehr", root, tmp_path / "out")
    assert frame.groupby("patient_id")["label"].agg(list).to_dict() == {
        "PML_RARA/AAA": ["PML::RARA", "PML::RARA"],
        "PML_RARA/BBB": ["PML::RARA"],
        "control/CCC": ["control"],
    }
    assert frame["record_id"].is_unique


def test_hehr_counts_patients(tmp_path: Path) -> None:
    root = files(tmp_path, "data/NPM1/A/1.tif", "data/NPM1/A/2.tif", "data/NPM1/B/1.tif")
    done = prepare("aml_hehr", root, tmp_path / "out", allow_partial=True)
    assert done.differences == ("patients: expected 189, found 2",)
    assert load_cohort(done.table).patients_known


def test_elsafty_reads_the_slide_from_names_or_folders(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        "set/01-Rounded RBC/Slide 1 (12).png",
        "set/01-Rounded RBC/Slide 13 (12).png",
        "set/02-Teardrop/Slide 1 (3).png",
        "set/Slide 4/03-Ovalocyte/0007.png",
    )
    frame = table_of("elsafty", root, tmp_path / "out")
    assert frame.set_index("path")[["patient_id", "label"]].to_dict("index") == {
        "set/01-Rounded RBC/Slide 1 (12).png": {"patient_id": "slide-1", "label": "rounded_rbc"},
        "set/01-Rounded RBC/Slide 13 (12).png": {"patient_id": "slide-13", "label": "rounded_rbc"},
        "set/02-Teardrop/Slide 1 (3).png": {"patient_id": "slide-1", "label": "teardrop"},
        "set/Slide 4/03-Ovalocyte/0007.png": {"patient_id": "slide-4", "label": "ovalocyte"},
    }


def test_elsafty_without_a_slide_or_a_class_is_refused(tmp_path: Path) -> None:
    files(tmp_path / "one", "Teardrop/17.png")
    with pytest.raises(CohortError, match=r"no slide number is in the name Teardrop/17\.png"):
        prepare("elsafty", tmp_path / "one", tmp_path / "out")
    files(tmp_path / "two", "Slide 1 (2).png")
    with pytest.raises(CohortError, match="no class folder"):
        prepare("elsafty", tmp_path / "two", tmp_path / "out")
