"""Sets of tissue patches: official layout in, each paper's classes and splits out."""

import csv
import gzip
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from cohort_pictures import paint, save

from medfm.cohorts.adapters import get_adapter, prepare
from medfm.cohorts.adapters.nct_crc import CLASSES as NCT
from medfm.cohorts.adapters.osteo import tidy
from medfm.cohorts.adapters.skincancer import CODES as SKIN
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError, UnknownNameError

PATCHES = [
    "bach", "databiox", "lc25000", "mhist", "nct_crc", "osteo", "pcam", "renal_cell", "sicapv2", "skincancer",
    "wsss4luad",
]  # fmt: skip


def table_of(name: str, source: Path, out: Path) -> pd.DataFrame:
    return load_cohort(prepare(name, source, out, allow_partial=True).table, check=False).table


def lines(file: Path, *rows: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)


@pytest.mark.parametrize("name", PATCHES)
def test_every_variant_has_a_name_classes_and_its_own_cohort(name: str) -> None:
    first = get_adapter(name)
    assert first.modality == "histopathology"
    names = first.cohort_names()
    assert len(names) == len(set(names)) == max(len(first.tasks), 1) * len(first.variants)
    for cohort in names:
        adapter = get_adapter(cohort)
        assert adapter.name == cohort
        assert len(set(adapter.names.values())) >= 2  # type: ignore[attr-defined]
        assert get_adapter(cohort) is adapter
    with pytest.raises(UnknownNameError):
        get_adapter(f"{name}@quiltnet")


def test_default_names_are_the_official_classes() -> None:
    assert get_adapter("nct_crc").name == get_adapter("nct_crc@official").name == "nct_crc"
    assert get_adapter("lc25000-colon@quilt").name == "lc25000-colon@quilt"


def nct(root: Path) -> Path:
    for i, part in enumerate(("NCT-CRC-HE-100K", "CRC-VAL-HE-7K")):
        for j, code in enumerate(NCT):
            save(root / part / code / f"{code}-{i}.tif", 10 * i + j)
    return root


def test_nct_has_nine_classes_eight_of_quilt_and_nine_of_pathgen(tmp_path: Path) -> None:
    source = nct(tmp_path / "in")
    official = table_of("nct_crc", source, tmp_path / "a")
    assert official["split"].value_counts().to_dict() == {"train": 9, "test": 9}
    assert set(official["label"]) == set(NCT)
    quilt = table_of("nct_crc@quilt", source, tmp_path / "b")
    assert quilt["label"].nunique() == 8 and len(quilt) == 16
    assert not quilt["path"].str.contains("BACK").any()
    pathgen = table_of("nct_crc@pathgen", source, tmp_path / "c")
    assert pathgen["label"].nunique() == 9
    assert set(pathgen["split"]) == {"test"} and set(pathgen["part"]) == {"NCT-CRC-HE-100K"}


@pytest.mark.parametrize("name", ["nct_crc", "nct_crc@quilt", "nct_crc@pathgen"])
def test_nct_counts_are_enforced_under_every_variant(tmp_path: Path, name: str) -> None:
    with pytest.raises(CohortError, match="100,000") as caught:
        prepare(name, nct(tmp_path / "in"), tmp_path / "out")
    assert ("7,180" in str(caught.value)) == (name != "nct_crc@pathgen")
    assert not (tmp_path / "out").exists()


def test_the_yaml_says_what_differs(tmp_path: Path) -> None:
    prepared = prepare("nct_crc@quilt", nct(tmp_path / "in"), tmp_path / "out", allow_partial=True)
    info = load_cohort(prepared.table, check=False).info
    assert info["adapter"] == "nct_crc@quilt@1"
    notes = " ".join(info["notes"])
    assert "2 of 18 patches are left out" in notes
    assert "do not compare" in notes and "incomplete: NCT-CRC-HE-100K: expected 100,000, found 9" in notes


def test_lc25000_tasks_and_names(tmp_path: Path) -> None:
    for i, code in enumerate(("lung_aca", "lung_n", "lung_scc")):
        save(tmp_path / "lung_colon_image_set/lung_image_sets" / code / f"{code}1.jpeg", i)
    quilt = table_of("lc25000@quilt", tmp_path, tmp_path / "a")
    assert sorted(quilt["label"]) == ["benign lung", "lung adenocarcinoma", "lung squamous cell carcinoma"]
    assert quilt["split"].isna().all()
    pathgen = table_of("lc25000-lung@pathgen", tmp_path, tmp_path / "b")
    assert sorted(pathgen["label"]) == ["benign lung tissue", "lung adenocarcinoma", "lung squamous cell carcinomas"]
    assert set(pathgen["split"]) == {"test"}
    with pytest.raises(CohortError, match="colon_image_sets"):
        prepare("lc25000-colon", tmp_path, tmp_path / "c")
    with pytest.raises(CohortError, match="lung_n: expected 5,000, found 1"):
        prepare("lc25000", tmp_path, tmp_path / "d")


def test_the_real_lc25000_patches(tmp_path: Path) -> None:
    shared = Path(__file__).resolve().parents[4] / "shared/data/histopathology/lc25000_lung"
    if not shared.is_dir():
        pytest.skip("the shared real data are not beside this repository")
    shutil.copytree(shared / "test", tmp_path / "lung_image_sets")
    frame = table_of("lc25000", tmp_path, tmp_path / "out")
    assert frame["label"].value_counts().to_dict() == {"lung_aca": 60, "lung_n": 60, "lung_scc": 60}


def test_bach_is_complete_with_a_hundred_of_each(tmp_path: Path) -> None:
    for code in ("Benign", "InSitu", "Invasive", "Normal"):
        (tmp_path / "in/ICIAR2018/Photos" / code).mkdir(parents=True)
        for i in range(100):
            (tmp_path / "in/ICIAR2018/Photos" / code / f"{code[0]}{i:03d}.tif").touch()
    prepared = prepare("bach@pathgen", tmp_path / "in", tmp_path / "out")
    assert prepared.complete and prepared.records == 400
    frame = load_cohort(prepared.table, check=False).table
    assert set(frame["mpp"]) == {0.42} and set(frame["split"]) == {"test"}
    assert "in-situ carcinoma" in set(frame["label"])


def test_renal_cell_drops_empty_patches_for_quilt(tmp_path: Path) -> None:
    for i, code in enumerate(("blood", "cancer", "normal", "other", "stroma", "empty")):
        save(tmp_path / "tissue_classification" / code / f"{i}.png", i)
    assert len(table_of("renal_cell", tmp_path, tmp_path / "a")) == 6
    quilt = table_of("renal_cell@quilt", tmp_path, tmp_path / "b")
    assert len(quilt) == 5 and "torn adipose necrotic tissue" in set(quilt["label"])


def test_databiox_reads_grade_and_magnification(tmp_path: Path) -> None:
    for i, path in enumerate(("Grade I/4x/a.jpg", "grade_II/b 40x.jpg", "IDC Grade-3/10x/c.jpg", "notes/logo.jpg")):
        save(tmp_path / path, i)
    frame = table_of("databiox", tmp_path, tmp_path / "out")
    assert dict(zip(frame["label"], frame["magnification"], strict=True)) == {
        "grade 1": "4x",
        "grade 2": "40x",
        "grade 3": "10x",
    }


def test_mhist_partition_and_votes(tmp_path: Path) -> None:
    header = ["Image Name", "Majority Vote Label", "Number of Annotators who Selected SSA (Out of 7)", "Partition"]
    rows = [["a.png", "HP", "2", "train"], ["b.png", "SSA", "6", "test"], ["gone.png", "SSA", "5", "test"]]
    lines(tmp_path / "annotations.csv", header, *rows)
    save(tmp_path / "images/a.png", 0)
    save(tmp_path / "images/b.png", 1)
    frame = table_of("mhist@quilt", tmp_path, tmp_path / "out")
    assert frame["label"].tolist() == ["hyperplastic polyp", "sessile serrated adenoma"]
    assert frame["split"].tolist() == ["train", "test"]
    assert [int(v) for v in frame["votes_ssa"]] == [2, 6]
    with pytest.raises(CohortError, match="1 pictures of the table are not in the folder"):
        prepare("mhist", tmp_path, tmp_path / "other")
    lines(tmp_path / "annotations.csv", header, ["a.png", "TA", "2", "train"])
    with pytest.raises(CohortError, match="'TA' is no class"):
        prepare("mhist", tmp_path, tmp_path / "other")


def test_skincancer_tasks_splits_and_the_data_folder(tmp_path: Path) -> None:
    rows = [[f"data/{code}/t.jpg", code, part, "tumor" if code.startswith("tumor") else "non-tumor"]
            for code, part in zip(SKIN, ["Train", "Test", "Validation", "Test"] * 4, strict=True)]  # fmt: skip
    lines(tmp_path / "tiles-v2.csv", ["file", "class", "set", "malignicy"], *rows)
    for i, code in enumerate(SKIN):
        save(tmp_path / ("data" if i % 2 else "") / code / "t.jpg", i)
    tissue = table_of("skincancer", tmp_path, tmp_path / "a")
    assert len(tissue) == 16 and tissue["split"].value_counts().to_dict() == {"test": 8, "train": 4, "val": 4}
    tumor = table_of("skincancer-tumor@quilt", tmp_path, tmp_path / "b")
    assert sorted(tumor["label"]) == ["basal-cell carcinoma", "melanoma in-situ", "naevus", "squamous-cell carcinoma"]
    pathgen = table_of("skincancer@pathgen", tmp_path, tmp_path / "c")
    assert set(pathgen["split"]) == {"test"} and pathgen["label"].str.match("(non-)?tumor ").all()
    for name, number in (("skincancer", "28,039"), ("skincancer-tumor", "8,851")):
        with pytest.raises(CohortError, match=f"test: expected {number}"):
            prepare(name, tmp_path, tmp_path / "d")


def test_osteo_mixed_tiles_and_untidy_names(tmp_path: Path) -> None:
    names = ["Case 3 - A10 - 38060-14977", "Case-3-A11-1-2.jpg", "Case 48 -P5-3-4", "Case-48-P5-5-6", "Case-4-gone"]
    classes = ["Non-Tumor", "Viable", "viable: non-viable", "Non-Viable-Tumor", "Viable"]
    lines(
        tmp_path / "ML_Features_1144.csv",
        ["image.name", "classification"],
        *map(list, zip(names, classes, strict=True)),
    )
    for i, name in enumerate(
        ("Case-3-A10-38060-14977.jpg", "Case-3-A11-1-2.jpg", "Case-48-P5-3-4.jpg", "Case-48-P5-5-6.jpg")
    ):
        save(tmp_path / "Training-Set-1" / name, i)
    official = table_of("osteo", tmp_path, tmp_path / "a")
    assert len(official) == 4 and official["patient_id"].tolist() == ["case-3", "case-3", "case-48", "case-48"]
    assert len(table_of("osteo@quilt", tmp_path, tmp_path / "b")) == 3
    pathgen = table_of("osteo@pathgen", tmp_path, tmp_path / "c")
    assert pathgen["label"].value_counts().to_dict() == {"viable tumor": 2, "non-tumor": 1, "necrotic tumor": 1}
    assert tidy("Case 3 - A10 -  1.JPG") == "case-3-a10-1"
    save(tmp_path / "copy/Case 3-A11-1-2.jpg", 1)
    with pytest.raises(CohortError, match="same name"):
        prepare("osteo", tmp_path, tmp_path / "d")


def test_wsss_labels_come_from_the_file_name(tmp_path: Path) -> None:
    for i, name in enumerate(("17-1-2-[1, 0, 0].png", "17-3-4-[0, 1, 0].png", "18-5-6-[1, 1, 1].png")):
        save(tmp_path / "1.training" / name, i)
    official = table_of("wsss4luad", tmp_path, tmp_path / "a")
    assert official[["tumor", "stroma", "normal"]].to_numpy().tolist() == [[1, 0, 0], [0, 1, 0], [1, 1, 1]]
    assert official["patient_id"].tolist() == ["17", "17", "18"]
    pathgen = table_of("wsss4luad@pathgen", tmp_path, tmp_path / "b")
    assert pathgen["label"].tolist() == ["tumor", "normal", "tumor"]
    save(tmp_path / "1.training/19-[1, 0].png", 4)
    with pytest.raises(CohortError, match="does not end in three numbers"):
        prepare("wsss4luad", tmp_path, tmp_path / "c")


def pcam(folder: Path, meta: bool, labels: dict[str, list[int]]) -> Path:
    folder.mkdir(parents=True)
    for part, values in labels.items():
        stem = folder / f"camelyonpatch_level_2_split_{part}"
        with h5py.File(f"{stem}_x.h5", "w") as file:
            file["x"] = np.stack([paint(i, 96, 96) for i in range(len(values))])
        with h5py.File(f"{stem}_y.h5", "w") as file:
            file["y"] = np.array(values, np.uint8).reshape(-1, 1, 1, 1)
        if meta:
            rows = [[str(i), "10", "20", f"camelyon16_{part}_{i % 2}"] for i in range(len(values))]
            lines(Path(f"{stem}_meta.csv"), ["", "coord_y", "coord_x", "wsi"], *rows)
    return folder


PARTS = {"train": [0, 1, 1], "valid": [1, 0], "test": [0, 1]}


def test_pcam_records_are_rows_of_the_files(tmp_path: Path) -> None:
    source = pcam(tmp_path / "in", True, PARTS)
    prepared = prepare("pcam@quilt", source, tmp_path / "out", allow_partial=True)
    cohort = load_cohort(prepared.table, check=False)
    assert cohort.table["split"].value_counts().to_dict() == {"train": 3, "val": 2, "test": 2}
    last = cohort.table.index[cohort.table["record_id"] == "train-000002"][0]
    assert cohort.table.loc[last, "label"] == "lymph node containing metastatic tumor tissue"
    assert cohort.table.loc[last, "patient_id"] == "camelyon16_train_0"
    assert np.array_equal(cohort.read(int(last)).array, paint(2, 96, 96))
    assert prepared.differences == ("test: expected 32,768, found 2",)


def test_pcam_without_tables_has_no_slides(tmp_path: Path) -> None:
    source = pcam(tmp_path / "in", True, PARTS)
    (source / "camelyonpatch_level_2_split_test_meta.csv").unlink()
    cohort = load_cohort(prepare("pcam", source, tmp_path / "out", allow_partial=True).table, check=False)
    assert not cohort.patients_known
    assert sorted(set(cohort.table["label"])) == ["normal", "tumor"]


def test_pcam_faults_are_named(tmp_path: Path) -> None:
    source = pcam(tmp_path / "a", False, {"test": [0, 1]})
    with pytest.raises(CohortError, match=r"split_train_x\.h5 is absent"):
        prepare("pcam", source, tmp_path / "out")
    with h5py.File(source / "camelyonpatch_level_2_split_test_y.h5", "w") as file:
        file["y"] = np.array([0, 2])
    with pytest.raises(CohortError, match="2 labels for 2 patches, or others"):
        prepare("pcam", source, tmp_path / "out", allow_partial=True)
    (source / "camelyonpatch_level_2_split_test_y.h5").unlink()
    with pytest.raises(CohortError, match="labels are absent"):
        prepare("pcam", source, tmp_path / "out", allow_partial=True)
    packed = tmp_path / "b"
    packed.mkdir()
    with gzip.open(packed / "camelyonpatch_level_2_split_test_x.h5.gz", "wb") as handle:
        handle.write(b"x")
    with pytest.raises(CohortError, match="still packed"):
        prepare("pcam", packed, tmp_path / "out")


def workbook(file: Path, *rows: list[str]) -> None:
    ns = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    cell = '<c t="inlineStr"><is><t>{}</t></is></c>'
    body = "".join("<row>" + "".join(cell.format(value) for value in row) + "</row>" for row in rows)
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", f"<worksheet {ns}><sheetData>{body}</sheetData></worksheet>")


@pytest.fixture
def sicap(tmp_path: Path) -> Path:
    header = ["image_name", "NC", "G3", "G4", "G5", "G4C"]
    train = [["16B1_Block_Region_0_0_0_xini_5_yini_7.jpg", "1", "0", "0", "0", "0"],
             ["16B1_Block_Region_0_0_1_xini_6_yini_7.jpg", "0", "1", "1", "0", "1"]]  # fmt: skip
    test = [["17B2_Block_Region_0_0_0_xini_8_yini_9.jpg", "0", "0", "0", "1", "0"]]
    workbook(tmp_path / "in/partition/Test/Train.xlsx", header, *train)
    workbook(tmp_path / "in/partition/Test/Test.xlsx", header, *test)
    for i, (name, *_) in enumerate(train + test):
        save(tmp_path / "in/images" / name, i)
    return tmp_path / "in"


def test_sicap_three_lists_and_two_splits(sicap: Path, tmp_path: Path) -> None:
    official = table_of("sicapv2", sicap, tmp_path / "a")
    assert dict(zip(official["split"], official["label"], strict=True)) == {"train": "NC", "test": "G5"}
    assert official["patient_id"].tolist() == ["16B1", "17B2"]
    quilt = table_of("sicapv2@quilt", sicap, tmp_path / "b")
    assert quilt["label"].tolist() == [
        "benign glands",
        "atrophic dense glands",  # two grades: the first counts
        "isolated nest cells without lumen roseting patterns",
    ]
    pathgen = table_of("sicapv2@pathgen", sicap, tmp_path / "c")
    assert (pathgen["label"].tolist(), pathgen["split"].tolist()) == (["non-cancerous"], ["test"])
    lists = [set(get_adapter(f"sicapv2@{v}").names.values()) for v in ("quilt", "pathgen", "quilt-descriptions")]  # type: ignore[attr-defined]
    assert not lists[0] & lists[1] and not lists[1] & lists[2] and not lists[0] & lists[2]


def test_sicap_faulty_tables(sicap: Path, tmp_path: Path) -> None:
    workbook(sicap / "partition/Test/Test.xlsx", ["image_name", "NC", "G3", "G4", "G5"], ["a.jpg", "2", "0", "0", "0"])
    with pytest.raises(CohortError, match="neither 0 nor 1"):
        prepare("sicapv2", sicap, tmp_path / "out")
    (sicap / "partition/Test/Test.xlsx").write_bytes(b"no")
    with pytest.raises(CohortError, match="no readable Excel workbook"):
        prepare("sicapv2", sicap, tmp_path / "out")
