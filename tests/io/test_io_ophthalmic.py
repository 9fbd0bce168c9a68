"""Ophthalmic photographs and volumes from DICOM files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from eye_files import OCT, PHOTO_8, PHOTO_16, SECRETS, eye_file, lut
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut, convert_color_space
from pydicom.uid import RLELossless

from medfm.core.errors import ReadError
from medfm.io.ophthalmic_dicom import is_dicom, read_ophthalmic


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture
def grey16() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 4096, (16, 24), dtype=np.uint16)


def read(path: Path, frame: int | None = None) -> tuple[np.ndarray, dict]:
    return read_ophthalmic(path, frame, "eye 1")


def test_colour_of_8_bits_comes_back_as_it_is(tmp_path: Path, rgb: np.ndarray) -> None:
    array, facts = read(eye_file(tmp_path / "a.dcm", rgb, elements={"ImageLaterality": "R"}))
    np.testing.assert_array_equal(array, rgb)
    assert facts["laterality_file"] == "R"
    assert (facts["format"], facts["kind"], facts["source_bits"]) == ("dicom", "photograph", 8)
    assert (facts["height"], facts["width"]) == (20, 30)


def test_run_lengths_change_nothing(tmp_path: Path, rgb: np.ndarray) -> None:
    array, _ = read(eye_file(tmp_path / "a.dcm", rgb, compress=RLELossless))
    np.testing.assert_array_equal(array, rgb)


@pytest.mark.parametrize("codec", ["jpegls", "ljpeg", "jpeg", "jpeg2k"])
def test_compressed_frames_of_every_family(tmp_path: Path, rgb: np.ndarray, codec: str) -> None:
    import imagecodecs
    from pydicom.encaps import encapsulate

    smooth = np.add.outer(np.arange(32), np.arange(48)).astype(np.uint8)[:, :, None] + np.uint8([20, 90, 160])
    encoded, syntax, photometric = {
        "jpegls": (lambda: imagecodecs.jpegls_encode(smooth), "1.2.840.10008.1.2.4.80", "RGB"),
        "ljpeg": (lambda: imagecodecs.ljpeg_encode(smooth[:, :, 0].copy()), "1.2.840.10008.1.2.4.70", "MONOCHROME2"),
        "jpeg": (
            lambda: imagecodecs.jpeg8_encode(smooth, level=98, subsampling="422"),
            "1.2.840.10008.1.2.4.50",
            "YBR_FULL_422",
        ),
        "jpeg2k": (
            lambda: imagecodecs.jpeg2k_encode(smooth, level=0, codecformat="j2k", mct=True, reversible=True),
            "1.2.840.10008.1.2.4.90",
            "YBR_RCT",
        ),
    }[codec]
    pixels = smooth[:, :, 0] if codec == "ljpeg" else smooth
    path = eye_file(tmp_path / "a.dcm", pixels, photometric=photometric)
    import pydicom

    ds = pydicom.dcmread(path)
    ds.PixelData = encapsulate([encoded()])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path)
    array, facts = read(path)
    wanted = np.repeat(pixels[:, :, None], 3, axis=2) if codec == "ljpeg" else smooth
    difference = np.abs(array.astype(int) - wanted).max()
    assert difference <= (6 if codec == "jpeg" else 0)
    assert facts["photometric"] == photometric


def test_ybr_becomes_rgb_as_pydicom_converts_it(tmp_path: Path, rgb: np.ndarray) -> None:
    ybr = convert_color_space(rgb, "RGB", "YBR_FULL")
    array, _ = read(eye_file(tmp_path / "a.dcm", ybr, photometric="YBR_FULL"))
    np.testing.assert_array_equal(array, convert_color_space(ybr, "YBR_FULL", "RGB"))
    assert np.abs(array.astype(int) - rgb).max() <= 2


def test_colour_of_16_bits_is_scaled_by_depth(tmp_path: Path) -> None:
    deep = np.array([[[0, 2048, 4095], [1, 16, 4000]]], np.uint16)
    array, facts = read(eye_file(tmp_path / "a.dcm", deep, sop=PHOTO_16, bits=12))
    np.testing.assert_array_equal(array, np.rint(deep.astype(float) * 255 / 4095).astype(np.uint8))
    assert facts["source_bits"] == 12


def test_palette_colours(tmp_path: Path) -> None:
    index = np.array([[0, 1], [2, 3]], np.uint8)
    tables = {}
    for name, values in (("Red", [0, 10, 20, 30]), ("Green", [1, 11, 21, 31]), ("Blue", [2, 12, 22, 32])):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = np.array([v * 257 for v in values], "<u2").tobytes()
    array, _ = read(eye_file(tmp_path / "a.dcm", index, photometric="PALETTE COLOR", elements=tables))
    np.testing.assert_array_equal(array[1, 0], [20, 21, 22])
    np.testing.assert_array_equal(array[0, 1], [10, 11, 12])


def test_grey_without_any_table_uses_the_stored_depth(tmp_path: Path, grey16: np.ndarray) -> None:
    array, facts = read(eye_file(tmp_path / "a.dcm", grey16, sop=PHOTO_16, photometric="MONOCHROME2", bits=12))
    np.testing.assert_array_equal(array[..., 0], np.rint(grey16 / 4095 * 255))
    assert (array[..., 0] == array[..., 2]).all()
    assert "voi" not in facts and "modality_lut" not in facts


def test_monochrome1_is_turned_over(tmp_path: Path, grey16: np.ndarray) -> None:
    one, _ = read(eye_file(tmp_path / "1.dcm", grey16, sop=PHOTO_16, photometric="MONOCHROME1", bits=12))
    two, _ = read(eye_file(tmp_path / "2.dcm", grey16, sop=PHOTO_16, photometric="MONOCHROME2", bits=12))
    assert np.abs(one.astype(int) + two - 255).max() <= 1


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("rescale", [None, (2.0, -100.0), (0.5, 7.0)])
def test_windows_agree_with_pydicom(
    tmp_path: Path, grey16: np.ndarray, function: str, rescale: tuple[float, float] | None
) -> None:
    elements = {"WindowCenter": 1800, "WindowWidth": 2100, "VOILUTFunction": function}
    if rescale:
        elements |= {"RescaleSlope": rescale[0], "RescaleIntercept": rescale[1]}
    path = eye_file(tmp_path / "a.dcm", grey16, sop=PHOTO_16, photometric="MONOCHROME2", bits=12, elements=elements)
    array, facts = read(path)
    import pydicom

    ds = pydicom.dcmread(path)
    shown = apply_voi_lut(apply_modality_lut(grey16, ds), ds)
    ends = sorted(v * (rescale[0] if rescale else 1) + (rescale[1] if rescale else 0) for v in (0, 4095))
    wanted = np.rint((shown - ends[0]) / (ends[1] - ends[0]) * 255)
    assert np.abs(array[..., 0] - wanted).max() <= 1
    assert facts["voi"].startswith("window")
    assert ("modality_lut" in facts) == (rescale is not None)


def test_tables_agree_with_pydicom(tmp_path: Path) -> None:
    stored = np.arange(64, dtype=np.uint16).reshape(8, 8)
    modality = lut(10, [int(v) for v in np.linspace(0, 1023, 40)], 16)
    voi = lut(0, [int(v) for v in (np.arange(1024) ** 2 / 1023**2 * 65535)], 16)
    elements = {"ModalityLUTSequence": [modality], "VOILUTSequence": [voi]}
    path = eye_file(tmp_path / "a.dcm", stored, sop=PHOTO_16, photometric="MONOCHROME2", bits=12, elements=elements)
    import pydicom

    ds = pydicom.dcmread(path)
    array, facts = read(path)
    shown = apply_voi_lut(apply_modality_lut(stored, ds), ds)
    np.testing.assert_array_equal(array[..., 0], np.rint(shown / 65535 * 255))
    assert (facts["modality_lut"], facts["voi"]) == ("table", "table")


@pytest.mark.parametrize(
    ("elements", "side"),
    [
        ({"ImageLaterality": "L"}, "L"),
        ({"Laterality": "R"}, "R"),
        ({"ImageLaterality": "L", "Laterality": "R"}, "L"),
        ({"ImageLaterality": "B"}, "B"),
        ({"Laterality": "Mustermann"}, None),
        ({}, None),
    ],
)
def test_the_eye_is_read_from_image_then_series(
    tmp_path: Path, rgb: np.ndarray, elements: dict, side: str | None
) -> None:
    _, facts = read(eye_file(tmp_path / "a.dcm", rgb, elements=elements))
    assert facts.get("laterality_file") == side


def oct_file(path: Path, volume: np.ndarray, **more: object) -> Path:
    measures, anatomy, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.004, 0.012], 0.12
    anatomy.FrameLaterality = "L"
    shared.PixelMeasuresSequence, shared.FrameAnatomySequence = [measures], [anatomy]
    return eye_file(
        path, volume, sop=OCT, photometric="MONOCHROME2", elements={"SharedFunctionalGroupsSequence": [shared], **more}
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_volume_keeps_its_values_and_says_its_spacing(tmp_path: Path, dtype: type) -> None:
    volume = np.random.default_rng(3).integers(0, np.iinfo(dtype).max, (5, 12, 9)).astype(dtype)
    path = oct_file(tmp_path / "a.dcm", volume)
    array, facts = read(path)
    np.testing.assert_array_equal(array, volume)
    assert array.dtype == dtype
    assert facts["kind"] == "oct" and facts["frames"] == 5 and facts["laterality_file"] == "L"
    assert facts["spacing_mm"] == {"rows": 0.004, "columns": 0.012, "slices": 0.12}
    scan, more = read(path, 3)
    assert scan.shape == (12, 9, 3) and scan.dtype == np.uint8 and more["frame"] == 3
    np.testing.assert_array_equal(scan[..., 1], np.rint(volume[3] / np.iinfo(dtype).max * 255))


def test_several_photographs_in_one_file_need_a_choice(tmp_path: Path) -> None:
    frames = np.random.default_rng(4).integers(0, 256, (3, 8, 10, 3), dtype=np.uint8)
    path = eye_file(tmp_path / "a.dcm", frames, frames=3)
    with pytest.raises(ReadError, match="3 frames"):
        read(path)
    for index in range(3):
        np.testing.assert_array_equal(read(path, index)[0], frames[index])
    with pytest.raises(ReadError, match="no frame 3"):
        read(path, 3)


def test_no_identifier_leaves_the_file(tmp_path: Path, rgb: np.ndarray) -> None:
    _, facts = read(eye_file(tmp_path / "a.dcm", rgb, elements={"BurnedInAnnotation": "YES"}))
    assert facts["burned_in"] is True
    assert not any(secret in repr(facts) for secret in SECRETS)


def test_no_error_names_a_value_of_the_header(tmp_path: Path, rgb: np.ndarray) -> None:
    data = eye_file(tmp_path / "a.dcm", rgb).read_bytes()
    seen = 0
    for cut in range(140, len(data) - 2, 97):
        (tmp_path / "cut.dcm").write_bytes(data[:cut])
        try:
            read(tmp_path / "cut.dcm")
        except ReadError as error:
            seen += 1
            assert not any(secret in str(error) for secret in SECRETS)
    assert seen > 10


def test_a_cut_file_is_never_half_a_picture(tmp_path: Path, rgb: np.ndarray) -> None:
    data = eye_file(tmp_path / "a.dcm", rgb).read_bytes()
    (tmp_path / "cut.dcm").write_bytes(data[:-400])
    with pytest.raises(ReadError, match="damaged or cut off"):
        read(tmp_path / "cut.dcm")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sop": "1.2.840.10008.5.1.4.1.1.2"}, "neither an ophthalmic"),
        ({"photometric": "YBR_PARTIAL_420"}, "YBR_PARTIAL_420"),
        ({"elements": {"WindowCenter": 10, "WindowWidth": 0}, "photometric": "MONOCHROME2"}, "window"),
        ({"elements": {"RescaleSlope": 0, "RescaleIntercept": 0}, "photometric": "MONOCHROME2"}, "rescale"),
        ({"elements": {"VOILUTSequence": [lut(0, [1, 2], 4)]}, "photometric": "MONOCHROME2"}, "look-up table"),
    ],
)
def test_what_is_refused(tmp_path: Path, rgb: np.ndarray, changes: dict, words: str) -> None:
    pixels = rgb[..., 0] if changes.get("photometric", "").startswith("MONO") else rgb
    path = eye_file(tmp_path / "a.dcm", pixels, **{"sop": PHOTO_8, **changes})
    with pytest.raises(ReadError, match=words):
        read(path)


def test_huge_dimensions_are_refused_before_decoding(tmp_path: Path, rgb: np.ndarray) -> None:
    path = eye_file(tmp_path / "a.dcm", rgb, elements={"Rows": 60000, "Columns": 60000})
    with pytest.raises(ReadError, match="too large"):
        read(path)


def test_the_mark_tells_dicom_apart(tmp_path: Path, rgb: np.ndarray) -> None:
    assert is_dicom(eye_file(tmp_path / "a.dcm", rgb))
    (tmp_path / "b.dcm").write_bytes(b"not")
    assert not is_dicom(tmp_path / "b.dcm")
    assert not is_dicom(tmp_path / "absent.dcm")
