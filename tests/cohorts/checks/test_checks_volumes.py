"""Checks M001 to M010 on cohorts of drawn heads, one of which has something wrong."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from brain_volumes import SHARED, head, save_head

from medfm.cohorts.checks.run import run_checks
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding
from medfm.cohorts.load import load_cohort

CODES = [f"M{n:03d}" for n in range(1, 11)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        save_head(tmp_path / f"{number}.nii.gz", seed=number)
    return tmp_path


def found(folder: Path, **more: object) -> dict[str, Finding]:
    files = sorted(p.name for p in folder.iterdir() if p.name[0].isdigit())
    table = pd.DataFrame({"path": files, "record_id": [f.split(".")[0] for f in files], **more})
    cohort: Cohort = load_cohort(table, "brain_mri", folder, check=False)
    return {f.code: f for f in run_checks(cohort, target=False)}


def unmet(findings: dict[str, Finding]) -> dict[str, tuple[str, ...]]:
    return {code: findings[code].records for code in CODES if code in findings and findings[code].severity != "passed"}


def test_sound_heads_pass(folder: Path) -> None:
    findings = found(folder)
    assert not unmet(findings) and set(CODES) <= set(findings)
    assert findings["F002"].severity == "passed" and findings["M010"].detail == "4 x 4 x 4 mm"
    # Volumes are no pictures.
    assert not {"U001", "L005"} & set(findings)


def change(folder: Path, name: str) -> None:
    array = head(seed=9)
    file = folder / "9.nii"
    if name == "constant":
        save_head(file, np.full(array.shape, 5.0, np.float32))
    elif name == "nan":
        array[3, 4, 5] = np.nan
        save_head(file, array)
    elif name == "overflow":
        ramp = (array * 42).astype(np.int64) + (np.arange(len(array)) * 150)[:, None, None] * (array > 400)
        save_head(file, ramp.astype(np.int16))
    elif name == "clipped":
        save_head(file, np.minimum(array, 600))
    elif name == "no codes":
        save_head(file, array, code=0)
    elif name == "mirrored forms":
        image = nib.Nifti1Image(array, np.diag([4.0, 4, 4, 1]))
        image.set_sform(np.diag([-4.0, 4, 4, 1]), 1)
        image.set_qform(np.diag([4.0, 4, 4, 1]), 1)
        nib.save(image, file)
    elif name == "axes":
        save_head(file, np.transpose(array, (2, 1, 0)))
    elif name == "noise":
        save_head(file, np.abs(np.random.default_rng(0).normal(size=array.shape)).astype(np.float32))
    elif name == "slab":
        save_head(file, array[:, :, 28:40])
    elif name == "noisy":
        save_head(file, head(noise=0.3))
    elif name == "thick":
        nib.save(nib.Nifti1Image(head(2.0)[:, :, ::4], np.diag([2.0, 2, 8, 1])), file)


@pytest.mark.parametrize(
    ("name", "code", "severity", "words"),
    [
        ("constant", "M001", "error", "1 of 4 volumes hold one value throughout"),
        ("nan", "M002", "error", "1 of 4 volumes hold NaN or infinite voxels"),
        ("overflow", "M003", "warning", "1 x overflowed"),
        ("clipped", "M003", "warning", "1 x clipped"),
        ("no codes", "M004", "warning", "1 x the file does not say"),
        ("mirrored forms", "M004", "warning", "1 x sform and qform are mirror images"),
        ("axes", "M005", "warning", "more symmetric along another axis"),
        ("noise", "M006", "warning", "not the size, shape or symmetry of a head"),
        ("slab", "M007", "warning", "end within the head"),
        ("noisy", "M009", "warning", "1 x noise"),
        ("thick", "M008", "warning", "more than 2 times as long as wide"),
        ("thick", "M010", "info", "2 sizes of voxels, most often 4 x 4 x 4 mm (3)"),
    ],
)
def test_what_is_wrong_with_one_is_found(folder: Path, name: str, code: str, severity: str, words: str) -> None:
    change(folder, name)
    findings = found(folder)
    assert findings[code].severity == severity
    assert words in findings[code].detail
    assert findings[code].records == (("9",) if code != "M010" else ())
    assert all(records in ((), ("9",)) for records in unmet(findings).values())
    assert findings[code].fix


def test_files_that_cannot_be_read_are_reported_with_their_reason(folder: Path) -> None:
    (folder / "8.nii.gz").write_bytes(save_head(folder / "7.nii.gz").read_bytes()[:5000])
    save_head(folder / "6.nii", np.zeros((5, 6, 7, 3), np.float32))
    findings = found(folder)
    assert findings["F002"].severity == "error" and findings["F002"].records == ("6", "8")
    detail = findings["F002"].detail
    assert "1 x The packed file is damaged or cut off (first: 8)" in detail, "which record has which reason"
    assert "holds 3 volumes" in detail and "not one (first: 6)" in detail
    assert "medfm data show" in findings["F002"].fix


def test_folders_are_records_and_an_empty_one_is_told(folder: Path) -> None:
    (folder / "4").mkdir()
    findings = found(folder)
    assert findings["F001"].severity == "passed" and findings["F003"].records == ("4",)
    assert "no DICOM files" in findings["F002"].detail
    (folder / "4" / "a.txt").write_text("x")
    assert found(folder)["F003"].severity == "passed"


def test_copies_are_found_by_content(folder: Path) -> None:
    (folder / "5.nii.gz").write_bytes((folder / "0.nii.gz").read_bytes())
    findings = found(folder, split=["train", "train", "train", "test"])
    assert findings["L002"].severity == "error" and set(findings["L002"].records) == {"0", "5"}


def test_a_volume_of_three_slices_is_no_picture(tmp_path: Path) -> None:
    save_head(tmp_path / "1.nii", head()[:, :, 30:33])
    findings = found(tmp_path)
    assert "U001" not in findings and "M007" in unmet(findings)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data are not beside this repository")
class TestRealScans:
    def test_ixi(self) -> None:
        cohort = load_cohort(
            SHARED / "labels.csv", "brain_mri", map={"patient_id": "source_id"}, where={"task": "ixi_sex"}, check=False
        )
        findings = {f.code: f for f in run_checks(cohort.subset(slice(0, 3)), target=False)}
        assert not unmet(findings) and findings["M010"].detail == "2 x 2 x 2 mm"

    def test_thick_slices(self) -> None:
        cohort = load_cohort(
            SHARED / "labels.csv",
            "brain_mri",
            map={"patient_id": "source_id"},
            where={"task": "ms_contrast"},
            check=False,
        )
        findings = {f.code: f for f in run_checks(cohort.subset(slice(0, 3)), target=False)}
        assert set(unmet(findings)) == {"M008", "M010"}

    def test_a_folder_of_slices_is_a_record_and_a_slab_is_seen(self) -> None:
        table = pd.DataFrame({"path": ["slab"], "record_id": ["one"]})
        cohort = load_cohort(table, "brain_mri", SHARED / "dicom_series")
        findings = {f.code: f for f in run_checks(cohort, target=False)}
        assert findings["F001"].severity == findings["F002"].severity == findings["F003"].severity == "passed"
        assert set(unmet(findings)) == {"M007"}
