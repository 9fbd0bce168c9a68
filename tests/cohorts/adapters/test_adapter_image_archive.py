"""LONI's image archive: which descriptions are T1 volumes, in which order, and what lies in the folders."""

from __future__ import annotations

import re
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
from brain_layouts import archived, put

from medfm.cohorts.adapters.image_archive import (
    UNCORRECTED,
    image_number,
    images_of,
    subject_folders,
    t1_rank,
    tables_below,
)

ADNI = re.compile(r"\d{3}_S_\d{4,5}")


@pytest.mark.parametrize(
    ("description", "rank"),
    [
        ("MPR__GradWarp__B1_Correction__N3__Scaled", 0),
        ("MPR__GradWarp__B1_Correction__N3__Scaled_2", 0),
        ("MPR-R__GradWarp__N3__Scaled", 0),
        ("MPR____N3__Scaled", 0),
        ("MT1__GradWarp__N3m", 1),
        ("MT1__N3m", 1),
        ("MPR__GradWarp__B1_Correction__N3", 2),
        ("MPR__GradWarp__B1_Correction", 3),
        ("MPR__GradWarp", 3),
        ("MP-RAGE", UNCORRECTED),
        ("MP_RAGE", UNCORRECTED),
        ("MPRAGE", UNCORRECTED),
        ("MPRAGE_ADNI_confirmed", UNCORRECTED),
        ("Accelerated_Sagittal_MPRAGE", UNCORRECTED),
        ("Accelerated_SAG_IR-SPGR", UNCORRECTED),
        ("Sag_Accel_IR-FSPGR", UNCORRECTED),
        ("MPRAGESAGISOp2ABCDE", UNCORRECTED),
    ],
)
def test_t1_volumes(description: str, rank: int) -> None:
    found = t1_rank(description)
    assert found is not None and found[0] == rank


@pytest.mark.parametrize(
    "description",
    [
        "MPR__GradWarp__B1_Correction__Mask",
        "Spatially_Normalized__Masked_and_N3_corrected_T1_image",
        "HHP_6_DOF_AC-PC_registered_MPRAGE",
        "HarP_135_final_release_2015",
        "EPI_current_corrected_image",
        "AAHead_Scout_MPR_sag",
        "3_Plane_Localizer",
        "Accelerated_Sagittal_MPRAGE_MPR_Cor",
        "Accelerated_Sagittal_MPRAGE_ND",
        "Sagittal_3D_FLAIR",
        "Axial_DTI",
        "Resting_State_fMRI",
        "B1-Calibration_Body",
        "Double_TSE",
        "",
    ],
)
def test_what_is_no_t1_volume(description: str) -> None:
    assert t1_rank(description) is None


def test_the_order_of_choice() -> None:
    ordered = [
        "MPR__GradWarp__B1_Correction__N3__Scaled",
        "MPR-R__GradWarp__B1_Correction__N3__Scaled",
        "MT1__GradWarp__N3m",
        "MPR__GradWarp__N3",
        "MPR__GradWarp",
        "MPRAGE",
        "MPRAGE_REPEAT",
        "Accelerated_Sagittal_MPRAGE",
        "MPRAGE_GRAPPA2_REPEAT",
    ]
    ranks = [t1_rank(name) for name in ordered]
    assert all(rank is not None for rank in ranks)
    assert all(one < other for one, other in pairwise(ranks))  # type: ignore[operator]


@pytest.mark.parametrize("name", ["MPRAGE_SENSE2", "MPRAGE_GRAPPA2", "IR-SPGR_w_ASSET", "ADNI3_Accelerated_MPRAGE"])
def test_accelerated_scans_are_known(name: str) -> None:
    rank = t1_rank(name)
    assert rank is not None and rank[1]


@pytest.mark.parametrize("name", ["MP-RAGE_REPEAT", "MPRAGE_ADNI_confirmed_RPT", "MPRAGE_ADNI_conf_REPEAT"])
def test_repeats_are_known(name: str) -> None:
    rank = t1_rank(name)
    assert rank is not None and rank[2]


def test_images_of_a_subject(tmp_path: Path) -> None:
    archived(tmp_path, "999_S_0001", "2001-02-03", 11)
    archived(tmp_path, "999_S_0001", "2001-02-03", 12, "MPRAGE", dicom=True)
    subject = tmp_path / "999_S_0001"
    put(subject, "MPRAGE/2001-02-03_09_10_11.0/I13/notes.txt", "MPRAGE/2001-02-03_09_10_11.0/.I99/x.nii")
    put(subject, "MPRAGE/2001-02-03_09_10_11.0/I14/a.nii", "MPRAGE/2001-02-03_09_10_11.0/I14/b.nii.gz")
    put(subject, "MPRAGE/2001-13-03_09_10_11.0/I15/a.nii", "MPRAGE/no_date/I16/a.nii", "MPRAGE/x.nii", "readme.txt")
    put(subject, "MPRAGE/2001-02-04_09_10_11.0/S88/ADNI_x_S88_I17.nii.gz")
    found = {image.image_id: image for image in images_of(subject)}
    assert set(found) == {"I11", "I12", "I13", "I14", "I17"}
    assert {image.subject for image in found.values()} == {"999_S_0001"}
    assert found["I11"].day == date(2001, 2, 3) and found["I11"].description == "MP-RAGE"
    assert found["I11"].path is not None and found["I11"].path.name.endswith("_I11.nii")
    assert found["I12"].path == subject / "MPRAGE" / "2001-02-03_09_10_11.0" / "I12"
    assert found["I13"].path is None and "no NIfTI or DICOM" in found["I13"].why_not
    assert found["I14"].path is None and "several" in found["I14"].why_not
    assert found["I17"].path is not None and found["I17"].path.parent.name == "S88"


def test_folders_of_subjects(tmp_path: Path) -> None:
    put(tmp_path, "ADNI/999_S_0001/999_S_0002/x", "part2/ADNI/999_S_00003/x", "ADNI/notes/x", "deep/a/b/999_S_0004/x")
    put(tmp_path, "ADNI/.hidden/999_S_0005/x", "999_S_0006")
    names = [folder.relative_to(tmp_path).as_posix() for folder in subject_folders(tmp_path, ADNI)]
    assert names == ["ADNI/999_S_0001", "part2/ADNI/999_S_00003"]
    assert [f.name for f in subject_folders(tmp_path / "ADNI", ADNI)] == ["999_S_0001"]


def test_tables_are_not_looked_for_in_subjects_folders(tmp_path: Path) -> None:
    put(
        tmp_path,
        "adnimerge_1.CSV",
        "a/b/ADNIMERGE.csv",
        "a/ADNIMERGE.xlsx",
        "999_S_0001/ADNIMERGE.csv",
        ".x/ADNIMERGE.csv",
    )
    found = [file.relative_to(tmp_path).as_posix() for file in tables_below(tmp_path, "adnimerge", ADNI)]
    assert found == ["a/b/ADNIMERGE.csv", "adnimerge_1.CSV"]
    assert len(tables_below(tmp_path, "ADNIMERGE", ADNI, endings=(".csv", ".xlsx"))) == 3


def test_numbers_of_images() -> None:
    assert sorted(["I100", "I20", "S3"], key=image_number) == ["S3", "I20", "I100"]
    assert image_number("I") == 0
