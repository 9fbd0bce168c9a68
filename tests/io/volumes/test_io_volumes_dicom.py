"""DICOM series: order by geometry, several series, gaps, copies, scaling, what is not MR."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEGLSLossless, RLELossless, generate_uid
from volume_cases import SECRET, affine_of, dicom_slices, enhanced_file, numbered, orders, reordered

from medfm.core.errors import ReadError
from medfm.io.volumes import volume as form
from medfm.io.volumes.detect import volume_files
from medfm.modalities.brain_mri import BRAIN_MRI
from medfm.modalities.registry import read_record

AFFINE = affine_of((0.9, 1.1, 2.5))


def read(path: Path, **options: object):
    return read_record(path, "brain_mri", **options)


def series(folder: Path, array: np.ndarray | None = None, affine: np.ndarray = AFFINE, **changed: object) -> list[Path]:
    return dicom_slices(folder, numbered(dtype=np.uint16) if array is None else array, affine, **changed)


class TestGeometry:
    def test_a_series_is_the_volume(self, tmp_path: Path) -> None:
        series(tmp_path / "s")
        record = read(tmp_path / "s")
        assert np.array_equal(record.array, numbered())
        np.testing.assert_allclose(record.facts["affine"], AFFINE, atol=1e-6)
        assert record.facts["spacing_mm"] == [0.9, 1.1, 2.5]
        assert record.facts["format"] == "dicom" and record.facts["files"] == 6
        assert SECRET not in repr(record.facts)

    def test_all_orders_and_an_oblique_position(self, tmp_path: Path) -> None:
        turned = affine_of((0.9, 1.1, 2.5), turned=(12, -7, 4))
        for number, (axes, signs) in enumerate(orders()):
            stored, at = reordered(numbered(dtype=np.uint16), turned, axes, signs)
            if np.linalg.det(at[:3, :3]) > 0:
                continue  # of DICOM the slices are sorted along row x column, so half of the orders are the others
            series(tmp_path / str(number), stored, at)
            record = read(tmp_path / str(number))
            assert np.array_equal(record.array, numbered())
            np.testing.assert_allclose(record.facts["affine"], turned, atol=1e-5)
            assert record.facts["oblique_deg"] == pytest.approx(13.9, abs=0.2)

    @settings(max_examples=15, deadline=None)
    @given(st.permutations(range(6)), st.integers(0, 2**32 - 1))
    def test_neither_names_nor_instance_numbers_order(self, tmp_path_factory, names: list[int], seed: int) -> None:
        folder = tmp_path_factory.mktemp("s")
        numbers = np.random.default_rng(seed).integers(1, 99, 6)
        series(folder, names=names, InstanceNumber=lambda k: int(numbers[k]))
        assert np.array_equal(read(folder).array, numbered())

    def test_files_in_folders_below_and_other_files(self, tmp_path: Path) -> None:
        files = series(tmp_path / "s" / "DICOM" / "A")
        (tmp_path / "s" / "DICOM" / "B").mkdir()
        files[2].rename(tmp_path / "s" / "DICOM" / "B" / "noending")
        (tmp_path / "s" / "README.txt").write_text("hello")
        shutil.copy(files[0], tmp_path / "s" / ".hidden.dcm")
        shutil.copy(files[0], tmp_path / "s" / "DICOMDIR")
        assert np.array_equal(read(tmp_path / "s").array, numbered())
        assert len(volume_files(tmp_path / "s", "s")) == 6

    def test_a_missing_slice(self, tmp_path: Path) -> None:
        files = series(tmp_path / "s")
        files[2].unlink()
        with pytest.raises(ReadError, match=r"1 slice is missing: .*after slice 2 of 5") as caught:
            read(tmp_path / "s")
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize(("shift", "fine"), [(0.005, True), (0.02, True), (0.2, False), (1.0, False)])
    def test_uneven_slices(self, tmp_path: Path, shift: float, fine: bool) -> None:
        lps = np.diag([-1.0, -1, 1, 1]) @ AFFINE

        def place(k: int) -> list[str]:
            return [f"{v:.5f}" for v in (lps @ [0, 0, k + (shift / 2.5 if k == 3 else 0), 1])[:3]]

        series(tmp_path / "s", ImagePositionPatient=place)
        if fine:
            assert read(tmp_path / "s").array.shape == (4, 5, 6)
        else:
            with pytest.raises(ReadError, match="unevenly spaced"):
                read(tmp_path / "s")

    def test_displaced_slices(self, tmp_path: Path) -> None:
        lps = np.diag([-1.0, -1, 1, 1]) @ AFFINE
        series(tmp_path / "s", ImagePositionPatient=lambda k: list((lps @ [k, 0, k, 1])[:3]))
        with pytest.raises(ReadError, match="displaced against each other"):
            read(tmp_path / "s")

    def test_a_single_slice(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match="single slice") as caught:
            read(series(tmp_path / "s")[0])
        assert "folder" in str(caught.value.fix)

    @pytest.mark.parametrize(
        ("element", "value", "words"),
        [
            ("PixelSpacing", None, "no spacing"),
            ("PixelSpacing", [0, 1], "no spacing"),
            ("ImagePositionPatient", None, "where its plane lies"),
            ("ImageOrientationPatient", None, "where its plane lies"),
            ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], "right angles"),
            ("RescaleSlope", 0, "slope .* is 0"),
            ("PhotometricInterpretation", "RGB", "colours"),
            ("ImageType", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"], "mosaic"),
            ("Modality", "CT", "computed tomography"),
            ("Modality", "PT", "positron emission"),
            ("Modality", SECRET[:8], "no image that is read here"),
            ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7", "not magnetic resonance"),
            ("NumberOfFrames", 3, "several frames without a geometry"),
        ],
    )
    def test_headers_that_are_refused(self, tmp_path: Path, element: str, value: object, words: str) -> None:
        series(tmp_path / "s", **{element: value})
        with pytest.raises(ReadError, match=words) as caught:
            read(tmp_path / "s")
        assert SECRET[:5] not in str(caught.value)

    def test_too_large_a_series_is_refused_before_pixels(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        files = series(tmp_path / "s")
        monkeypatch.setattr(form, "available_bytes", lambda: 700)
        with pytest.raises(ReadError, match="of memory"):
            read(tmp_path / "s")
        monkeypatch.setattr(form, "available_bytes", lambda: None)
        files[3].write_bytes(files[3].read_bytes()[:-9])
        with pytest.raises(ReadError, match="damaged or cut off"):
            read(tmp_path / "s")
        files[3].write_bytes(files[3].read_bytes()[:180])
        with pytest.raises(ReadError):
            read(tmp_path / "s")


class TestSeries:
    def test_two_series_in_one_folder(self, tmp_path: Path) -> None:
        series(tmp_path / "s", name="A", number=401)
        series(tmp_path / "s", numbered((7, 5, 3), np.uint16), name="B", number=402)
        with pytest.raises(ReadError, match="holds 2 volumes") as caught:
            read(tmp_path / "s")
        assert "401 (6 slices of 4 x 5), 402 (3 slices of 7 x 5)" in str(caught.value.expected)
        assert read(tmp_path / "s", series=401).array.shape == (4, 5, 6)
        chosen = read(tmp_path / "s", series="402")
        assert chosen.array.shape == (7, 5, 3)
        assert chosen.facts["series"] == "402" and chosen.facts["other_series"] == 1
        with pytest.raises(ReadError, match="no series '9'"):
            read(tmp_path / "s", series="9")

    def test_series_of_one_number_are_numbered_apart(self, tmp_path: Path) -> None:
        series(tmp_path / "s", name="A")
        series(tmp_path / "s", numbered((4, 5, 3), np.uint16), name="B")
        with pytest.raises(ReadError) as caught:
            read(tmp_path / "s")
        assert "4-1 (6 slices" in str(caught.value.expected) and "4-2 (3 slices" in str(caught.value.expected)
        assert read(tmp_path / "s", series="4-2").array.shape == (4, 5, 3)

    @pytest.mark.parametrize(
        "changed",
        [
            {"EchoTime": "9.9"},
            {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
            {"AcquisitionNumber": 2},
            {"TemporalPositionIdentifier": 2},
            {"ImageType": ["DERIVED", "SECONDARY", "OTHER", "FILTERED"]},
        ],
    )
    def test_volumes_within_one_series_are_told_apart(self, tmp_path: Path, changed: dict) -> None:
        uid = generate_uid()
        same = {"EchoTime": "3", "AcquisitionNumber": 1, "TemporalPositionIdentifier": 1, "series": uid}
        series(tmp_path / "s", name="A", **same)
        series(tmp_path / "s", numbered(dtype=np.uint16) + 500, name="B", **{**same, **changed})
        with pytest.raises(ReadError, match="holds 2 volumes"):
            read(tmp_path / "s")
        values = sorted(float(read(tmp_path / "s", series=label).array.min()) for label in ("4-1", "4-2"))
        assert values == [0, 500]

    def test_an_acquisition_number_per_slice_parts_nothing(self, tmp_path: Path) -> None:
        series(tmp_path / "s", AcquisitionNumber=lambda k: k, TriggerTime=lambda k: k * 10)
        assert np.array_equal(read(tmp_path / "s").array, numbered())

    @pytest.mark.parametrize("kind", ["LOCALIZER", "MPR", "MIP"])
    def test_planning_and_reformats_give_way(self, tmp_path: Path, kind: str) -> None:
        series(tmp_path / "s", name="A", number=2)
        series(
            tmp_path / "s", numbered((9, 9, 3), np.uint16), name="B", number=1, ImageType=["ORIGINAL", "PRIMARY", kind]
        )
        record = read(tmp_path / "s")
        assert record.array.shape == (4, 5, 6) and record.facts["other_series"] == 1

    def test_a_reformat_alone_is_read(self, tmp_path: Path) -> None:
        series(tmp_path / "s", ImageType=["DERIVED", "SECONDARY", "MPR"])
        assert read(tmp_path / "s").facts["derived"] is True

    def test_copies_of_files_are_left_out(self, tmp_path: Path) -> None:
        files = series(tmp_path / "s")
        for file in files[:2]:
            shutil.copy(file, file.with_name(f"copy of {file.name}"))
        record = read(tmp_path / "s")
        assert np.array_equal(record.array, numbered()) and record.facts["copies_left_out"] == 2

    def test_two_slices_in_one_place_that_nothing_tells_apart(self, tmp_path: Path) -> None:
        uid = generate_uid()
        series(tmp_path / "s", name="A", series=uid)
        series(tmp_path / "s", numbered(dtype=np.uint16) + 1, name="B", series=uid)
        with pytest.raises(ReadError, match="6 of 12 slices lie where another slice lies"):
            read(tmp_path / "s")

    def test_ct_beside_mr(self, tmp_path: Path) -> None:
        series(tmp_path / "s", name="A")
        series(tmp_path / "s", name="B", Modality="CT")
        with pytest.raises(ReadError, match="computed tomography") as caught:
            read(tmp_path / "s")
        assert caught.value.where == "s, B0000.dcm"


class TestValues:
    def test_each_slice_has_its_own_scale(self, tmp_path: Path) -> None:
        series(tmp_path / "s", RescaleSlope=lambda k: 1 + k, RescaleIntercept=lambda k: -k)
        record = read(tmp_path / "s")
        expected = numbered() * (1 + np.arange(6)) - np.arange(6)
        assert np.array_equal(record.array, expected)
        assert record.facts["scaled"] is True and record.facts["scaled_per_slice"] is True

    @pytest.mark.parametrize("dtype", [np.int16, np.uint16])
    def test_signed_and_inverted(self, tmp_path: Path, dtype: type) -> None:
        series(
            tmp_path / "s", numbered(dtype=dtype), PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11
        )
        top = 4095 if dtype is np.uint16 else -1
        assert np.array_equal(read(tmp_path / "s").array, top - numbered())
        assert read(tmp_path / "s").facts["stored"] == ("uint12" if dtype is np.uint16 else "int12")

    def test_packed_pixels(self, tmp_path: Path) -> None:
        for file in series(tmp_path / "s"):
            dataset = pydicom.dcmread(file)
            dataset.compress(RLELossless)
            dataset.save_as(file)
        assert np.array_equal(read(tmp_path / "s").array, numbered())

    @pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.50"])
    def test_a_compression_that_is_not_read(self, tmp_path: Path, syntax: str) -> None:
        for file in series(tmp_path / "s"):
            dataset = pydicom.dcmread(file)
            dataset.PixelData = pydicom.encaps.encapsulate([b"\0\1\2\3" * 20])
            dataset["PixelData"].VR = "OB"
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.save_as(file, enforce_file_format=True)
        with pytest.raises(ReadError, match=r"compression .* is not read|damaged or cut off"):
            read(tmp_path / "s")

    def test_jpeg_ls_is_read_where_its_decoder_is(self, tmp_path: Path) -> None:
        import imagecodecs

        array = numbered((16, 16, 4), np.uint16)
        for k, file in enumerate(series(tmp_path / "s", array)):
            dataset = pydicom.dcmread(file)
            frame = imagecodecs.jpegls_encode(np.ascontiguousarray(array[:, :, k].T))
            dataset.PixelData = pydicom.encaps.encapsulate([frame])
            dataset["PixelData"].VR = "OB"
            dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
            dataset.save_as(file, enforce_file_format=True)
        assert np.array_equal(read(tmp_path / "s").array, array)


class TestEnhanced:
    @pytest.mark.parametrize("shared", [True, False])
    def test_frames_in_any_order(self, tmp_path: Path, shared: bool) -> None:
        array = numbered(dtype=np.uint16)
        file = enhanced_file(tmp_path / "e.dcm", array, AFFINE, order=[3, 0, 5, 1, 4, 2], shared_orientation=shared)
        record = read(file)
        assert np.array_equal(record.array, array)
        np.testing.assert_allclose(record.facts["affine"], AFFINE, atol=1e-6)
        assert record.facts["frames"] == 6 and SECRET not in repr(record.facts)

    def test_each_frame_has_its_own_scale(self, tmp_path: Path) -> None:
        file = enhanced_file(tmp_path / "e.dcm", numbered(dtype=np.uint16), AFFINE, slopes=[1, 2, 3, 4, 5, 6])
        assert np.array_equal(read(file).array, numbered() * np.arange(1, 7) - 1)

    def test_time_points_are_told_apart(self, tmp_path: Path) -> None:
        file = enhanced_file(tmp_path / "e.dcm", numbered((4, 5, 6), np.uint16), AFFINE, times=2)
        with pytest.raises(ReadError, match="holds 2 volumes"):
            read(file)
        assert np.array_equal(read(file, series="7-2").array, numbered()[:, :, 3:])

    def test_fewer_descriptions_than_frames(self, tmp_path: Path) -> None:
        file = enhanced_file(tmp_path / "e.dcm", numbered(dtype=np.uint16), AFFINE)
        dataset = pydicom.dcmread(file)
        dataset.NumberOfFrames = 7
        dataset.save_as(file)
        with pytest.raises(ReadError, match="more or fewer frames"):
            read(file)

    def test_a_frame_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match="1 slice is missing"):
            read(_with_gap(tmp_path))


def _with_gap(folder: Path) -> Path:
    file = enhanced_file(folder / "e.dcm", numbered(dtype=np.uint16), AFFINE)
    dataset = pydicom.dcmread(file)
    del dataset.PerFrameFunctionalGroupsSequence[2]
    dataset.NumberOfFrames = 5
    dataset.PixelData = dataset.PixelData[: 5 * 4 * 5 * 2]
    dataset.save_as(file)
    return file


def test_mr_is_told_from_other_dicom(tmp_path: Path) -> None:
    files = series(tmp_path / "s")
    assert BRAIN_MRI.owns(files[0]) and BRAIN_MRI.owns(tmp_path / "s")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "x.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"junk" * 40)
    assert not BRAIN_MRI.owns(tmp_path / "t") and not BRAIN_MRI.owns(tmp_path / "none")
    with pytest.raises(ReadError):
        read(tmp_path / "t")
