"""NIfTI and Analyze: scaling, geometry rules, pairs, and everything that a header can get wrong."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from volume_cases import SECRET, affine_of, numbered, patched, save_nifti

from medfm.core.errors import ReadError
from medfm.io.volumes import volume as form
from medfm.io.volumes.detect import read_volume, volume_files
from medfm.modalities.registry import read_record


def read(path: Path, **options: object):
    return read_record(path, "brain_mri", **options)


class TestValues:
    @pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "<u2", "i4", "u4", "f4", ">f8"])
    @pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
    def test_every_kind_of_number(self, tmp_path: Path, dtype: str, ending: str) -> None:
        array = numbered((3, 4, 5), dtype)
        record = read(save_nifti(tmp_path / f"v{ending}", array))
        assert np.array_equal(record.array, array.astype(np.float32))
        assert record.facts["stored"] == np.dtype(dtype).newbyteorder("=").name
        assert record.facts["format"] == "nifti1" and record.facts["scaled"] is False
        assert record.facts["range"] == [0.0, 59.0]

    def test_nifti2(self, tmp_path: Path) -> None:
        record = read(save_nifti(tmp_path / "v.nii.gz", numbered(), kind=nib.Nifti2Image))
        assert record.facts["format"] == "nifti2"
        assert np.array_equal(record.array, numbered())

    @pytest.mark.parametrize(
        ("slope", "inter", "scaled"), [(2.5, -3, True), (0, 7, False), (np.nan, np.nan, False), (1, 0, False)]
    )
    def test_scaling(self, tmp_path: Path, slope: float, inter: float, scaled: bool) -> None:
        file = patched(save_nifti(tmp_path / "v.nii", numbered()), scl_slope=slope, scl_inter=inter)
        record = read(file)
        expected = numbered() * slope + inter if scaled else numbered()
        np.testing.assert_array_equal(record.array, expected.astype(np.float32))
        assert record.facts["scaled"] is scaled
        np.testing.assert_allclose(record.array, nib.load(file).get_fdata(), rtol=1e-6)

    def test_an_intercept_that_is_no_number_is_refused(self, tmp_path: Path) -> None:
        file = patched(save_nifti(tmp_path / "v.nii", numbered()), scl_slope=2, scl_inter=np.inf)
        with pytest.raises(ReadError, match="intercept"):
            read(file)

    def test_voxels_that_are_no_numbers_are_counted_and_kept(self, tmp_path: Path) -> None:
        array = numbered(dtype=np.float32)
        array[0, 0, 0], array[1, 2, 3] = np.nan, -np.inf
        record = read(save_nifti(tmp_path / "v.nii", array))
        assert record.facts["not_finite"] == 2
        np.testing.assert_array_equal(record.array, array)
        assert "not_finite" not in read(save_nifti(tmp_path / "w.nii", numbered())).facts

    def test_a_volume_of_no_numbers_at_all_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match="no finite value"):
            read(save_nifti(tmp_path / "v.nii", np.full((3, 3, 3), np.nan, np.float32)))

    def test_ct_given_as_mr_is_refused(self, tmp_path: Path) -> None:
        ct = np.full((6, 6, 6), -1024, np.int16)
        ct[2:5, 2:5, 2:5] = 1200
        with pytest.raises(ReadError, match=r"those of CT: 88% of the voxels"):
            read(save_nifti(tmp_path / "v.nii", ct))
        normalised = np.linspace(-3, 3, 216, dtype=np.float32).reshape(6, 6, 6)
        assert read(save_nifti(tmp_path / "z.nii", normalised)).array.min() == -3

    @pytest.mark.parametrize("dtype", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
    def test_colours_and_complex_numbers_are_refused(self, tmp_path: Path, dtype: object) -> None:
        nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), dtype), affine_of()), tmp_path / "v.nii")
        with pytest.raises(ReadError, match="not grey values"):
            read(tmp_path / "v.nii")


class TestGeometry:
    @pytest.mark.parametrize(("s", "q", "source"), [(1, 1, "sform"), (4, 0, "sform"), (0, 2, "qform"), (2, 1, "sform")])
    def test_sform_before_qform(self, tmp_path: Path, s: int, q: int, source: str) -> None:
        facts = read(save_nifti(tmp_path / "v.nii", numbered(), s=s, q=q)).facts
        assert facts["orientation_source"] == source and facts["left_right"] == "known"

    def test_the_sform_wins_and_the_difference_is_told(self, tmp_path: Path) -> None:
        file = save_nifti(tmp_path / "v.nii", numbered())
        shifted = patched(file, srow_x=[1, 0, 0, -7])
        facts = read(shifted).facts
        assert facts["affine"][0][3] == -7
        assert facts["sform_against_qform_mm"] == pytest.approx(3) and facts["same_codes"] is True
        assert "sform_mirrors_qform" not in facts
        mirrored = read(patched(file, srow_x=[-1, 0, 0, -7])).facts
        assert mirrored["sform_mirrors_qform"] is True

    def test_without_codes_left_and_right_are_not_known(self, tmp_path: Path) -> None:
        facts = read(save_nifti(tmp_path / "v.nii", numbered(), s=0, q=0)).facts
        assert facts["left_right"] == "not known" and facts["orientation_source"] == "none"
        assert facts["spacing_mm"] == [1, 2, 3]

    @pytest.mark.parametrize("pixdim", [[0.0, 0.0, 0.0], [1.0, np.nan, 1.0], [1.0, 1.0, 0.0]])
    def test_no_spacing_is_refused_unless_the_table_states_it(self, tmp_path: Path, pixdim: list[float]) -> None:
        file = patched(save_nifti(tmp_path / "v.nii", numbered(), s=0, q=0), pixdim=[1, *pixdim, 0, 0, 0, 0])
        with pytest.raises(ReadError, match="no spacing") as caught:
            read(file)
        assert "spacing_mm" in str(caught.value.fix)
        record = read(file, spacing_mm="1 x 1 x 1.2")
        assert record.facts["spacing_mm"] == [1, 1, 1.2] and record.facts["spacing_source"] == "table"
        with pytest.raises(ReadError, match="not three numbers"):
            read(file, spacing_mm="1x1")
        with pytest.raises(ReadError, match="not a positive number"):
            read(file, spacing_mm="1x1x-1")

    def test_the_table_does_not_override_a_header(self, tmp_path: Path) -> None:
        assert read(save_nifti(tmp_path / "v.nii", numbered()), spacing_mm=[9, 9, 9]).facts["spacing_mm"] == [1, 2, 3]

    def test_a_degenerate_sform_is_refused(self, tmp_path: Path) -> None:
        file = patched(save_nifti(tmp_path / "v.nii", numbered(), q=0), srow_y=[0, 0, 0, 0])
        with pytest.raises(ReadError, match="degenerate"):
            read(file)

    def test_a_degenerate_sform_beside_a_sound_qform(self, tmp_path: Path) -> None:
        file = patched(save_nifti(tmp_path / "v.nii", numbered()), srow_y=[0, 0, 0, 0])
        assert read(file).facts["orientation_source"] == "qform"

    @pytest.mark.parametrize(("unit", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (2 | 8, 1)])
    def test_units(self, tmp_path: Path, unit: int, factor: float) -> None:
        file = patched(save_nifti(tmp_path / "v.nii", numbered()), xyzt_units=unit)
        np.testing.assert_allclose(read(file).facts["spacing_mm"], np.array([1, 2, 3]) * factor)

    def test_oblique_and_sheared_volumes_are_told(self, tmp_path: Path) -> None:
        oblique = read(save_nifti(tmp_path / "v.nii", numbered(), affine_of((1, 1, 1), turned=(20, 0, 0)))).facts
        assert oblique["oblique_deg"] == pytest.approx(20, abs=0.01) and "shear_deg" not in oblique
        file = patched(save_nifti(tmp_path / "w.nii", numbered(), q=0), srow_x=[1, 0.5, 0, 0])
        assert read(file).facts["shear_deg"] > 5


class TestShapes:
    def test_a_fourth_axis_of_one(self, tmp_path: Path) -> None:
        record = read(save_nifti(tmp_path / "v.nii.gz", numbered()[..., None]))
        assert np.array_equal(record.array, numbered())

    def test_4d_is_refused(self, tmp_path: Path) -> None:
        file = save_nifti(tmp_path / "v.nii.gz", np.zeros((3, 4, 5, 7), np.int16))
        with pytest.raises(ReadError, match="holds 7 volumes"):
            read(file)

    def test_ten_gigabytes_are_refused_before_a_voxel_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(form, "available_bytes", lambda: 14_000_000_000)
        file = patched(save_nifti(tmp_path / "v.nii", numbered()), dim=[3, 1400, 1400, 1400, 1, 1, 1, 1])
        tracemalloc.start()
        with pytest.raises(ReadError, match=r"takes 11\.0 GB of memory, and 14\.0 GB are free"):
            read(file)
        assert tracemalloc.get_traced_memory()[1] < 50e6
        tracemalloc.stop()

    def test_a_volume_is_in_memory_once(self, tmp_path: Path) -> None:
        shape = (128, 128, 160)
        file = save_nifti(tmp_path / "v.nii.gz", np.zeros(shape, np.int16))
        read(file)
        tracemalloc.start()
        record = read(file)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # float32 once, and a slab of 8 MB in the kinds of numbers on the way: whole it would be three times as much.
        assert record.array.nbytes < peak < record.array.nbytes + 6 * (8 << 20)


class TestFiles:
    @pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.AnalyzeImage])
    @pytest.mark.parametrize("named", [".hdr", ".img"])
    def test_pairs_by_either_name(self, tmp_path: Path, kind: type, named: str) -> None:
        array = numbered((4, 5, 6))
        nib.save(
            kind(array, np.diag([2, 2, 2.5, 1]), dtype=np.int16)
            if kind is nib.Nifti1Pair
            else kind(array, np.diag([2, 2, 2.5, 1])),
            tmp_path / "v.img",
        )
        record = read(tmp_path / f"v{named}")
        assert record.facts["spacing_mm"] == [2, 2, 2.5]
        assert volume_files(tmp_path / f"v{named}", "v") == (tmp_path / "v.hdr", tmp_path / "v.img")
        analyze = kind is nib.AnalyzeImage
        assert record.facts["left_right"] == ("not known" if analyze else "known")
        assert record.facts["format"] == ("analyze" if analyze else "nifti1")
        expected = nib.as_closest_canonical(nib.load(tmp_path / "v.img"))
        assert np.array_equal(record.array, np.asarray(expected.dataobj))

    @pytest.mark.parametrize("gone", [".hdr", ".img"])
    def test_half_a_pair(self, tmp_path: Path, gone: str) -> None:
        nib.save(nib.Nifti1Pair(numbered(), affine_of()), tmp_path / "v.img")
        (tmp_path / f"v{gone}").unlink()
        for named in (".hdr", ".img"):
            with pytest.raises(ReadError, match=r"missing|does not exist"):
                read(tmp_path / f"v{named}")

    def test_files_are_known_by_content(self, tmp_path: Path) -> None:
        save_nifti(tmp_path / "v.nii.gz", numbered())
        (tmp_path / "v.nii.gz").rename(tmp_path / "w.nii")
        assert np.array_equal(read(tmp_path / "w.nii").array, numbered())

    @pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
    @pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
    def test_cut_off_files_are_refused(self, tmp_path: Path, ending: str, share: float) -> None:
        values = np.random.default_rng(0).integers(0, 9000, (12, 13, 14)).astype(np.int16)
        file = save_nifti(tmp_path / f"v{ending}", values)
        data = file.read_bytes()
        file.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ReadError, match="cut off"):
            read(file)

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"", "an empty file"),
            (b"hello world" * 60, "a text file"),
            (b"%PDF-1.4" + b"\0" * 600, "a PDF"),
            (b"PK\x03\x04" + b"\0" * 600, "a ZIP archive"),
            (gzip.compress(b"just some words " * 50, mtime=0), "a text file"),
            (b"\x1f\x8b" + b"\xff" * 600, "damaged or cut off"),
        ],
    )
    def test_other_files(self, tmp_path: Path, data: bytes, words: str) -> None:
        (tmp_path / "v.nii.gz").write_bytes(data)
        with pytest.raises(ReadError, match=words):
            read(tmp_path / "v.nii.gz")

    def test_absent_files_and_empty_folders(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match="does not exist"):
            read(tmp_path / "v.nii")
        with pytest.raises(ReadError, match="no DICOM files"):
            read(tmp_path)
        with pytest.raises(ReadError, match="no option 'page'"):
            read(save_nifti(tmp_path / "v.nii", numbered()), page=1)
        with pytest.raises(ReadError, match="Only DICOM has series"):
            read(tmp_path / "v.nii", series="1")

    def test_offsets_that_cannot_be(self, tmp_path: Path) -> None:
        file = save_nifti(tmp_path / "v.nii", numbered())
        for offset in (np.nan, 1e30, 1e7):
            with pytest.raises(ReadError, match=r"where its voxels begin|cut off"):
                read(patched(file, vox_offset=offset))

    def test_any_change_of_the_header_is_read_or_refused(self, tmp_path: Path) -> None:
        data = save_nifti(tmp_path / "v.nii", numbered()).read_bytes()
        generator = np.random.default_rng(3)
        for _ in range(150):
            broken = bytearray(data)
            for place in generator.integers(0, 348, 4):
                broken[place] = generator.integers(0, 256)
            (tmp_path / "w.nii").write_bytes(bytes(broken))
            try:
                volume = read_volume(tmp_path / "w.nii", {}, "w.nii")
            except ReadError as error:
                assert SECRET not in str(error)
            else:
                assert volume.array.ndim == 3 and np.isfinite(volume.affine).all()


def test_no_text_of_a_header_comes_out(tmp_path: Path) -> None:
    record = read(save_nifti(tmp_path / "v.nii.gz", numbered()))
    assert SECRET[:5] not in repr(record.facts)
    words = {v for v in record.facts.values() if isinstance(v, str)}
    assert words == {"nifti1", "int16", "sform", "known", "RAS"}
