"""What a new user may hand to ``medfm data standardize``: each file is refused with a reason and a remedy, or prepared."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from brain_volumes import head, save_head, t1_head

from medfm.cohorts.load import load_cohort
from medfm.encoders.preparation.steps import PreparationRecipe
from medfm.io.volumes import volume as memory
from medfm.workflows.standardize import Standardized, standardize

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "io" / "volumes"))
from volume_cases import SECRET, dicom_slices

RECIPE = PreparationRecipe.model_validate(
    {
        "id": "plain@1",
        "title": "turn and scale",
        "steps": [{"step": "volume_reorient"}, {"step": "volume_robust_scale"}],
    }
)
MM = np.diag([8.0, 8.0, 8.0, 1.0])
SLAB = np.random.default_rng(0).integers(0, 900, (6, 5, 8)).astype(np.int16)


def turned(degrees: float) -> np.ndarray:
    a, affine = np.radians(degrees), np.diag([2.0, 2.0, 3.0, 1.0])
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    return turn @ affine


def no_spacing(path: Path, array: np.ndarray) -> None:
    image = nib.Nifti1Image(array, None)
    image.header["pixdim"][1:4] = 0
    image.header["sform_code"] = image.header["qform_code"] = 0
    data = bytearray(image.to_bytes())
    data[80:92] = bytes(12)  # pixdim 1 to 3, which nibabel mends on writing
    path.write_bytes(bytes(data))


def ten_gigabytes(path: Path) -> None:
    """A header that promises 1357 x 1357 x 1357 float32 voxels, and a file with a hole of that size."""
    header = nib.Nifti1Header()
    header.set_data_shape((1357, 1357, 1357))
    header.set_data_dtype(np.float32)
    header.set_sform(np.eye(4), 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with path.open("wb") as file:
        file.write(header.binaryblock)
        file.truncate(352 + 4 * 1357**3)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    plain, _ = t1_head(8.0)
    save_head(folder / "good.nii.gz", plain, 8.0)
    save_head(folder / "four.nii.gz", np.stack([plain] * 3, -1), 8.0)
    broken = plain.copy()
    broken[4, 4, 4], broken[5, 5, 5] = np.nan, np.inf
    save_head(folder / "nan.nii.gz", broken, 8.0)
    save_head(folder / "overflow.nii.gz", (head(8.0) * 60).astype(np.int64).astype(np.int16), 8.0)
    drawn = head(8.0, noise=0.0)
    save_head(folder / "ct.nii.gz", np.where(drawn > 50, drawn, -1000).astype(np.int16), 8.0)
    no_spacing(folder / "bare.nii", plain)
    ten_gigabytes(folder / "huge.nii")
    save_head(folder / "slice.nii.gz", plain[:, :, :1], 8.0)
    (folder / "cut.nii.gz").write_bytes((folder / "good.nii.gz").read_bytes()[:3000])
    (folder / "empty.nii.gz").write_bytes(b"")
    dicom_slices(folder / "two_series", SLAB, turned(0), name="A", number=4)
    dicom_slices(folder / "two_series", SLAB, turned(0), name="B", number=9)
    for file in dicom_slices(folder / "gap", SLAB, turned(0))[3:5]:
        file.unlink()
    dicom_slices(folder / "oblique", SLAB, turned(20))
    dicom_slices(folder / "ct_series", SLAB, turned(0), Modality="CT")
    (folder / "nothing").mkdir()
    rows = [(path.name.partition(".")[0] + "_", path.name) for path in sorted(folder.iterdir())]
    pd.DataFrame([*rows, ("gone_", "gone.nii.gz")], columns=["record_id", "path"]).to_csv(
        folder / "labels.csv", index=False
    )
    return folder


@pytest.fixture(scope="module")
def done(shelf: Path, tmp_path_factory) -> Standardized:
    """One run over the shelf, on a machine with 14 GB of free memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "available_bytes", lambda: 14_000_000_000)
        cohort = load_cohort(shelf / "labels.csv", "brain_mri", check=False)
        return standardize(cohort, RECIPE, tmp_path_factory.mktemp("out") / "standard")


REFUSED = {
    "four_": ("holds 3 volumes", "extract the volume"),
    "nan_": ("2 voxels are NaN or infinite", "export the volume again"),
    "ct_": ("values are those of CT", "take the MR series"),
    "bare_": ("no spacing", "spacing_mm"),
    "huge_": ("takes 10.0 GB of memory, and 14.0 GB are free", "at least 17 GB free"),
    "slice_": ("single slice", "at least 2 voxels"),
    "cut_": ("cut off", "again"),
    "empty_": ("empty file", ""),
    "two_series_": ("holds 2 volumes", "'series'"),
    "gap_": ("2 slices are missing", "export or copy the series again"),
    "ct_series_": ("computed tomography", ""),
    "nothing_": ("no DICOM", ""),
    "gone_": ("does not exist", ""),
}


@pytest.mark.parametrize("record", sorted(REFUSED))
def test_what_is_refused_and_how(done: Standardized, record: str) -> None:
    reason = dict(done.failed)[record]
    what, remedy = REFUSED[record]
    assert what in reason and remedy in reason and "Unexpected" not in reason


def test_two_series_are_listed_so_that_one_can_be_named(done: Standardized, shelf: Path, tmp_path: Path) -> None:
    reason = dict(done.failed)["two_series_"]
    assert "4 (8 slices of 6 x 5)" in reason and "9 (8 slices of 6 x 5)" in reason
    cohort = load_cohort(
        pd.DataFrame({"record_id": ["r"], "path": ["two_series"], "series": ["9"]}), "brain_mri", shelf, check=False
    )
    chosen = standardize(cohort, RECIPE, tmp_path / "o")
    assert chosen.written == 1 and "series" not in load_cohort(chosen.table).table.columns


def test_the_rest_is_prepared(done: Standardized) -> None:
    assert set(dict(done.failed)) == set(REFUSED)
    cohort = load_cohort(done.table)
    assert set(cohort.record_ids) == {"good_", "oblique_", "overflow_"}, "the last is for data check to find"
    for n in range(len(cohort)):
        record = cohort.read(n)
        assert record.facts["range"] == [0.0, 1.0] and "not_finite" not in record.facts


def test_an_oblique_volume_keeps_its_tilt(done: Standardized) -> None:
    cohort = load_cohort(done.table)
    record = cohort.read(cohort.record_ids.index("oblique_"))
    assert record.facts["oblique_deg"] == pytest.approx(20, abs=0.01) and record.facts["left_right"] == "known"
    assert record.facts["spacing_mm"] == pytest.approx([2, 2, 3], abs=1e-4)


def test_nothing_of_a_header_is_written(done: Standardized) -> None:
    """The DICOM slices hold a name; neither volumes nor provenance do."""
    text = (done.out / "provenance.json").read_text() + (done.out / "labels.csv").read_text()
    told = json.dumps([list(dict(done.failed).values()), text])
    for file in (done.out / "volumes").iterdir():
        image = nib.load(file)
        assert bytes(image.header["descrip"]).strip(b"\0") == b"" and not image.header.extensions
    assert SECRET not in told


def test_only_whole_files_are_left(done: Standardized) -> None:
    kept = sorted(path.relative_to(done.out).as_posix() for path in done.out.rglob("*") if path.is_file())
    names = ("good", "oblique", "overflow")
    assert kept == sorted(
        ["labels.csv", "labels.yaml", "provenance.json", *(f"volumes/{n}.nii.gz" for n in names),
         *(f"records/{n}.json" for n in names)]
    )  # fmt: skip
