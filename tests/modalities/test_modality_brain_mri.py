"""Brain MRI as a modality: cohorts, options, content keys, drawing and embedding, and the real scans."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from brain_volumes import SHARED, head, save_head

from medfm.cli.main import main
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError, ConfigError, MissingExtraError, ReadError
from medfm.embeddings.lookup import Hasher, Item, Unreadable
from medfm.modalities.brain_mri import BRAIN_MRI
from medfm.modalities.record import RecordRef
from medfm.modalities.registry import get_modality, list_modalities, read_record
from medfm.workflows.show import show

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "io" / "volumes"))
from volume_cases import SECRET, dicom_slices, enhanced_file, numbered

real = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data are not beside this repository")


def run(*words: str) -> object:
    """Exit code of a command."""
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return stop.value.code


def test_it_is_a_modality_of_its_own() -> None:
    assert "brain_mri" in list_modalities() and get_modality("brain_mri") is BRAIN_MRI
    assert "RAS" in BRAIN_MRI.contract and BRAIN_MRI.folders


class TestOptions:
    def test_of_a_row(self) -> None:
        assert BRAIN_MRI.options({"series": 401.0, "spacing_mm": "1x1x1.2", "axes": " FILE "}) == {
            "series": "401", "spacing_mm": [1, 1, 1.2], "axes": "file",
        }  # fmt: skip
        assert BRAIN_MRI.options({"series": None, "spacing_mm": "", "axes": float("nan"), "age": 3}) == {}
        assert BRAIN_MRI.options({"series": "4-2"}) == {"series": "4-2"}

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ({"spacing_mm": "1x1"}, "three numbers"),
            ({"spacing_mm": "a b c"}, "positive number"),
            ({"axes": "LPS"}, "axes"),
        ],
    )
    def test_malformed_rows_stop_the_cohort(self, tmp_path: Path, row: dict, words: str) -> None:
        save_head(tmp_path / "v.nii", head(8.0), 8.0)
        with pytest.raises(CohortError, match=words):
            load_cohort(pd.DataFrame([{"path": "v.nii", **row}]), "brain_mri", tmp_path)


def test_without_nibabel_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_head(tmp_path / "v.nii", head(8.0), 8.0)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(MissingExtraError, match="needs the Python package 'nibabel'") as caught:
        read_record(tmp_path / "v.nii", "brain_mri")
    assert "medfm[mri]" in str(caught.value.fix)


class TestContentKeys:
    def items(self, *refs: RecordRef) -> list[Item | Unreadable]:
        return list(Hasher(BRAIN_MRI).items(refs))

    def test_both_files_of_a_pair_count(self, tmp_path: Path) -> None:
        nib.save(nib.Nifti1Pair(head(8.0), np.eye(4)), tmp_path / "v.img")
        before = self.items(RecordRef("v", tmp_path / "v.hdr"))[0]
        data = bytearray((tmp_path / "v.img").read_bytes())
        data[-1] ^= 1
        (tmp_path / "v.img").write_bytes(bytes(data))
        after = self.items(RecordRef("v", tmp_path / "v.hdr"))[0]
        assert isinstance(before, Item) and isinstance(after, Item) and before.key != after.key

    @real
    def test_every_slice_of_a_series_counts(self, tmp_path: Path) -> None:
        shutil.copytree(SHARED / "dicom_series" / "slab", tmp_path / "s")
        before = self.items(RecordRef("s", tmp_path / "s"))[0]
        (tmp_path / "s" / "notes.txt").write_text("no slice")
        same = self.items(RecordRef("s", tmp_path / "s"))[0]
        sorted((tmp_path / "s").glob("*.dcm"))[7].unlink()
        after = self.items(RecordRef("s", tmp_path / "s"))[0]
        assert isinstance(before, Item) and isinstance(same, Item) and isinstance(after, Item)
        assert before.key == same.key != after.key
        with pytest.raises(ReadError, match=r"1 slice is missing: .* after slice 7 of 15"):
            read_record(tmp_path / "s", "brain_mri")

    def test_options_are_part_of_the_key(self, tmp_path: Path) -> None:
        file = save_head(tmp_path / "v.nii", head(8.0), 8.0)
        one, other = self.items(RecordRef("v", file), RecordRef("v", file, {"axes": "file"}))
        assert isinstance(one, Item) and isinstance(other, Item) and one.key != other.key

    def test_empty_folders_are_told(self, tmp_path: Path) -> None:
        (unreadable,) = self.items(RecordRef("s", tmp_path))
        assert isinstance(unreadable, Unreadable) and "no DICOM files" in unreadable.reason


class TestShow:
    def test_a_file_by_its_ending(self, tmp_path: Path) -> None:
        save_head(tmp_path / "subject.nii.gz")
        (done,) = show(tmp_path / "subject.nii.gz", out=tmp_path / "pictures")
        assert done.path == tmp_path / "pictures" / "subject.png" and done.path.read_bytes()[:4] == b"\x89PNG"

    def test_other_folders_are_refused(self, tmp_path: Path) -> None:
        for modality in (None, "retina"):
            with pytest.raises(ReadError, match="This is a folder"):
                show(tmp_path, modality=modality)
        with pytest.raises(ReadError, match="no DICOM files"):
            show(tmp_path, modality="brain_mri")

    def test_dicom_is_told_by_its_kind(self, tmp_path: Path) -> None:
        file = enhanced_file(tmp_path / "e.dcm", (head(8.0)[:, :, ::2] / 8).astype(np.uint16), np.diag([8.0, 8, 16, 1]))
        (done,) = show(file, out=tmp_path / "e.png")
        assert dict(done.facts)["modality"] == "brain_mri" and done.path is not None
        dicom_slices(tmp_path / "s", numbered(dtype=np.uint16), np.eye(4), number=1)
        dicom_slices(tmp_path / "s", numbered((5, 5, 5), np.uint16), np.eye(4), name="B", number=2)
        with pytest.raises(ReadError, match="holds 2 volumes"):
            show(tmp_path / "s")
        (done,) = show(tmp_path / "s", out=tmp_path / "s.png", reader={"series": "2"})
        assert dict(done.facts)["shape"] == "5 x 5 x 5, float32" and SECRET not in repr(done.facts)

    def test_settings_of_other_drawings_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no setting 'layout'"):
            show(save_head(tmp_path / "v.nii", head(8.0), 8.0), settings={"layout": "6x2"})

    def test_as_it_is_typed(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        save_head(Path("v.nii"), head(8.0), 8.0)
        assert run("data", "show", "v.nii", "--out", "panels.png") == 0
        assert "left right" in capsys.readouterr().out
        Path("w.nii").write_bytes(Path("v.nii").read_bytes()[:900])
        assert run("data", "show", "w.nii", "--out", "w.png") == 2
        assert "cut off" in capsys.readouterr().err and not Path("w.png").exists()
        nib.save(nib.Nifti1Image(np.zeros((4, 5, 6, 9), np.int16), np.eye(4)), "four.nii.gz")
        assert run("data", "show", "four.nii.gz") == 2
        assert "holds 9 volumes" in capsys.readouterr().err


@real
class TestRealScans:
    def test_three_ways_to_store_a_head(self) -> None:
        paths = {
            "ixi_2mm/train/IXI012-HH-1211-T1_2mm.nii.gz": "PSR",
            "ms_ljubljana/train/patient01_study1_T1W.nii.gz": "LPS",
            "templates/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz": "RAS",
        }
        for path, axes in paths.items():
            record = read_record(SHARED / path, "brain_mri")
            assert record.facts["axes_in_file"] == axes
            reference = nib.as_closest_canonical(nib.load(SHARED / path))
            np.testing.assert_allclose(record.array, reference.get_fdata(), rtol=1e-6)
            np.testing.assert_allclose(record.facts["affine"], reference.affine, atol=1e-5)

    def test_the_parcellation_lies_on_its_scan(self) -> None:
        # Two files of one head in different orders: as records they fit without any further turning.
        scan = read_record(SHARED / "ixi_2mm/train/IXI012-HH-1211-T1_2mm.nii.gz", "brain_mri")
        parts = read_record(SHARED / "ixi_2mm/train/IXI012-HH-1211-T1_2mm_dlmuse.nii.gz", "brain_mri")
        assert scan.array.shape == parts.array.shape
        inside, outside = scan.array[parts.array > 0], scan.array[parts.array == 0]
        assert np.median(inside) > 5 * np.median(outside)

    @pytest.mark.parametrize("name", ["train/IXI048-HH-1326", "test/IXI013-HH-1212"])
    def test_right_is_right(self, name: str) -> None:
        # MUSE numbers the right hippocampus 47 and the left one 48; amygdala 31, 32; caudate 36, 37.
        parts = read_record(SHARED / f"ixi_2mm/{name}-T1_2mm_dlmuse.nii.gz", "brain_mri").array
        for right, left in ((47, 48), (31, 32), (36, 37)):
            assert np.argwhere(parts == right)[:, 0].mean() > np.argwhere(parts == left)[:, 0].mean() + 5

    def test_a_slab_of_dicom(self) -> None:
        record = read_record(SHARED / "dicom_series" / "slab", "brain_mri")
        assert record.array.shape == (274, 384, 16) and record.facts["axes_in_file"] == "LPS"
        np.testing.assert_allclose(record.facts["spacing_mm"], [0.699988, 0.666667, 0.666667], atol=1e-5)
        assert record.facts["oblique_deg"] == pytest.approx(7.68, abs=0.02)

    def test_the_whole_series_holds_the_slab(self, tmp_path: Path) -> None:
        import zipfile

        with zipfile.ZipFile(SHARED / "dicom_series" / "example_dicom_structural.zip") as archive:
            wanted = [name for name in archive.namelist() if name.endswith(".dcm") and "N2D_01" in name]
            archive.extractall(tmp_path, sorted(wanted)[60:])
        part = read_record(tmp_path, "brain_mri")
        slab = read_record(SHARED / "dicom_series" / "slab", "brain_mri")
        corner = np.linalg.inv(part.facts["affine"]) @ np.append(np.array(slab.facts["affine"])[:3, 3], 1)
        first = np.rint(corner[:3]).astype(int)
        np.testing.assert_allclose(corner[:3], first, atol=0.02)
        common = part.array[:, :, max(first[2], 0) :][:, :, : slab.array.shape[2]]
        assert common.shape[2] > 5 and np.array_equal(
            common, slab.array[:, :, max(-first[2], 0) :][:, :, : common.shape[2]]
        )

    def test_the_folder_is_drawn(self, tmp_path: Path) -> None:
        (done,) = show(SHARED / "dicom_series" / "slab", out=tmp_path / "x.svg")
        text = done.path.read_text() if done.path else ""
        assert "slab" in text and "Jane" not in text and "anat-T1w" not in text


class TestLooksLikeCt:
    """A whole number that overflowed reaches far below air; it is a fault of the file, not another machine."""

    def test_overflow_is_read_and_left_to_the_checks(self, tmp_path: Path) -> None:
        values = (head() * 60).astype(np.int64).astype(np.int16)
        assert (values <= -900).mean() > 0.1 and values.min() < -4096
        record = BRAIN_MRI.read(RecordRef("r", save_head(tmp_path / "v.nii.gz", values)))
        assert record.facts["range"][0] < -4096
        assert BRAIN_MRI.measure(record).wrapped > 0.001

    @pytest.mark.parametrize("padding", [-1000, -2048, -3024])
    def test_ct_with_the_padding_of_its_scanner_is_refused(self, tmp_path: Path, padding: int) -> None:
        drawn = head(noise=0.0)
        values = np.where(drawn > 50, drawn + 40, padding).astype(np.int16)
        with pytest.raises(ReadError, match="those of CT"):
            BRAIN_MRI.read(RecordRef("r", save_head(tmp_path / "v.nii.gz", values)))


def test_a_folder_of_ct_is_refused_with_the_way_to_find_out_why(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    ct = {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}
    dicom_slices(folder, np.arange(60, dtype=np.int16).reshape(4, 5, 3), np.eye(4), **ct)
    with pytest.raises(ReadError, match="This is a folder") as caught:
        show(folder, out=tmp_path / "p.png")
    assert "--modality" in str(caught.value.fix)
    with pytest.raises(ReadError, match="computed tomography"):
        show(folder, out=tmp_path / "p.png", modality="brain_mri")
