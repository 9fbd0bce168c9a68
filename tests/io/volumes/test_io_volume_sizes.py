"""Sizes told from the header alone: what does not fit is refused as the reader refuses it, and nothing else is."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
from volume_cases import affine_of, dicom_slices, enhanced_file, numbered, save_nifti

import medfm.io.volumes.volume as form
from medfm.core.errors import ReadError
from medfm.io.volumes.detect import check_volume_size, read_volume


def nifti1(folder: Path) -> Path:
    return save_nifti(folder / "v.nii", numbered())


def nifti2(folder: Path) -> Path:
    return save_nifti(folder / "v.nii", numbered(), kind=nib.Nifti2Image)


def packed(folder: Path) -> Path:
    return save_nifti(folder / "v.nii.gz", numbered())


def pair(folder: Path) -> Path:
    nib.save(nib.Nifti1Pair(numbered(), affine_of(), dtype=np.int16), folder / "v.img")
    return folder / "v.img"


def analyze(folder: Path) -> Path:
    nib.save(nib.AnalyzeImage(numbered(), np.eye(4)), folder / "v.img")
    return folder / "v.hdr"


def attached(folder: Path) -> Path:
    nrrd.write(str(folder / "v.nrrd"), numbered(), {"space": "RAS", "space directions": np.eye(3)})
    return folder / "v.nrrd"


def detached(folder: Path) -> Path:
    header = {"space": "RAS", "space directions": np.eye(3)}
    nrrd.write(str(folder / "v.nhdr"), numbered(), header, detached_header=True)
    return folder / "v.nhdr"


def mgh(folder: Path) -> Path:
    nib.save(nib.MGHImage(numbered().astype(np.float32), affine_of()), folder / "v.mgh")
    return folder / "v.mgh"


def mgz(folder: Path) -> Path:
    nib.save(nib.MGHImage(numbered().astype(np.float32), affine_of()), folder / "v.mgz")
    return folder / "v.mgz"


MAKERS = [nifti1, nifti2, packed, pair, analyze, attached, detached, mgh, mgz]


@pytest.mark.parametrize("make", MAKERS)
class TestEveryCarrier:
    def test_what_fits_goes_by(self, tmp_path: Path, make: Callable[[Path], Path]) -> None:
        check_volume_size(make(tmp_path), "v")

    def test_it_says_what_the_reader_says(
        self, tmp_path: Path, make: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = make(tmp_path)
        # 4 x 5 x 6 voxels take 480 bytes: exactly the limit is not above it.
        monkeypatch.setattr(form, "available_bytes", lambda: 800)
        check_volume_size(file, "v")
        monkeypatch.setattr(form, "available_bytes", lambda: 799)
        told = []
        for refuse in (lambda: check_volume_size(file, "v"), lambda: read_volume(file, {}, "v")):
            with pytest.raises(ReadError, match="4 x 5 x 6 voxels takes") as error:
                refuse()
            told.append(str(error.value))
        assert told[0] == told[1]

    def test_no_voxel_is_needed(
        self, tmp_path: Path, make: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = make(tmp_path)
        if file.suffix in (".gz", ".mgz"):
            data = gzip.decompress(file.read_bytes())
            file.write_bytes(gzip.compress(data[: -len(data) // 20], mtime=0))
        else:
            for beside in tmp_path.iterdir():
                if beside.suffix == ".img" or beside.name.startswith("v.raw"):
                    beside.write_bytes(b"")
            if file.suffix in (".nii", ".mgh"):
                os.truncate(file, file.stat().st_size - 100)
        monkeypatch.setattr(form, "available_bytes", lambda: 10)
        with pytest.raises(ReadError, match="of memory"):
            check_volume_size(file, "v")


def test_four_dimensions_and_single_slices_are_refused_too(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6, 3), np.int16), np.eye(4)), tmp_path / "four.nii")
    with pytest.raises(ReadError, match="3 volumes"):
        check_volume_size(tmp_path / "four.nii", "v")
    nib.save(nib.MGHImage(np.zeros((4, 5, 6, 2), np.float32), np.eye(4)), tmp_path / "four.mgh")
    with pytest.raises(ReadError, match="2 volumes"):
        check_volume_size(tmp_path / "four.mgh", "v")
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 1), np.int16), np.eye(4)), tmp_path / "slice.nii")
    with pytest.raises(ReadError, match="single slice"):
        check_volume_size(tmp_path / "slice.nii", "v")


def test_what_is_not_told_from_a_header_is_left_to_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "available_bytes", lambda: 10)
    dicom_slices(tmp_path / "series", numbered((4, 5, 3)), affine_of())
    enhanced_file(tmp_path / "enhanced.dcm", numbered((4, 5, 3)), affine_of())
    (tmp_path / "note.txt").write_text("no volume")
    (tmp_path / "empty.nii").write_bytes(b"")
    for name in ("series", "enhanced.dcm", "note.txt", "empty.nii", "absent.nii"):
        check_volume_size(tmp_path / name, "v")


def test_a_header_that_is_cut_off_is_an_error_of_ours(tmp_path: Path) -> None:
    file = attached(tmp_path)
    file.write_bytes(b"NRRD0004\ntype: short\n")
    with pytest.raises(ReadError):
        check_volume_size(file, "v")
    whole = packed(tmp_path)
    whole.write_bytes(whole.read_bytes()[:60])
    with pytest.raises(ReadError, match="damaged or cut off"):
        check_volume_size(whole, "v")
