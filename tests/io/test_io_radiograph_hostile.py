"""Radiographs from files that others made or broke: pydicom's own collection, changed bytes, names in every element."""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from radiograph_files import CR, JPEG, SC, dataset, dicom, headless, lut, ramp, written

from medfm.core.errors import ReadError
from medfm.io.dicom_radiograph import decode_radiograph, has_mark, is_dicom_data
from medfm.io.dicom_values import Voi
from medfm.modalities.chest_xray import CHEST_XRAY
from medfm.modalities.record import RecordRef

COLLECTION = Path(pydicom.__file__).parent / "data" / "test_files"
WHOLE = Voi(off=True)
SECRET = "Mustermann"
# Files of the collection that pydicom decodes with what the core installs, made to say that they are radiographs.
GREY = (
    "CT_small", "MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_implicit", "MR_small_jp2klossless",
    "MR_small_padded", "J2K_pixelrep_mismatch", "JPEG2000", "examples_overlay", "image_dfl",
)  # fmt: skip
COLOUR = (
    "SC_rgb_rle", "SC_rgb_rle_16bit", "SC_rgb_small_odd", "SC_rgb_small_odd_big_endian", "SC_rgb_dcmtk_+eb+cr",
    "SC_rgb_dcmtk_+eb+cy+np", "SC_ybr_full_422_uncompressed", "SC_rgb_gdcm_KY", "SC_rgb_jpeg_dcmtk",
)  # fmt: skip
# What imagecodecs decodes beyond that; the shape is what the header says.
MORE = ("MR_small_jpeg_ls_lossless", "JPGExtended", "JPEG-lossy", "SC_rgb_jls_lossy_line", "SC_rgb_jpeg_gdcm")
REFUSED = {
    "MR_truncated": "damaged or cut off",
    "SC_rgb_rle_2frame": "2 frames",
    "SC_rgb_rle_32bit": "8 or 16 bits",
    "badVR": "NumberOfFrames",
    "liver_1frame": "8 or 16 bits",
    "rtdose_1frame": "8 or 16 bits",
    "examples_ybr_color": "30 frames",
}


def read(data: bytes, voi: Voi = WHOLE) -> tuple[np.ndarray, dict[str, Any]]:
    return decode_radiograph(data, voi, None, "r1")


def as_radiograph(name: str) -> tuple[Dataset, bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = pydicom.dcmread(COLLECTION / f"{name}.dcm", force=True)
        file.SOPClassUID, file.Modality = CR, "CR"
        buffer = io.BytesIO()
        file.save_as(buffer)
    return file, buffer.getvalue()


@pytest.mark.parametrize("name", GREY)
def test_grey_files_of_others_have_pydicoms_values(name: str) -> None:
    file, data = as_radiograph(name)
    signed, bits = bool(file.PixelRepresentation), int(file.BitsStored)
    low, high = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    expected = np.clip((file.pixel_array.astype(float) - low) / (high - low), 0, 1)
    if file.PhotometricInterpretation == "MONOCHROME1":
        expected = 1 - expected
    array, facts = read(data)
    outside = array != 0 if facts.get("padded") else np.ones(array.shape, bool)
    np.testing.assert_allclose(array[outside], expected[outside], atol=1e-6)
    assert facts["bits_stored"] == bits


@pytest.mark.parametrize("name", COLOUR)
def test_colour_files_of_others_have_pydicoms_luminance(name: str) -> None:
    file, data = as_radiograph(name)
    colours = file.pixel_array.astype(float)
    if str(file.PhotometricInterpretation).startswith("YBR_FULL"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            colours = np.asarray(pydicom.dcmread(io.BytesIO(data)).pixel_array, float)
    array, facts = read(data)
    grey = colours @ np.array([0.299, 0.587, 0.114]) / (2.0 ** int(file.BitsStored) - 1)
    np.testing.assert_allclose(array, grey, atol=1.5 / 255)
    assert "luminance" in facts["notes"][0] or "three equal" in facts["notes"][0]


@pytest.mark.parametrize("name", MORE)
def test_files_that_pydicom_alone_does_not_decode(name: str) -> None:
    file, data = as_radiograph(name)
    array, _ = read(data)
    assert array.shape == (file.Rows, file.Columns) and 0 <= array.min() < array.max() <= 1


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_refused(name: str) -> None:
    with pytest.raises(ReadError, match=REFUSED[name]):
        read(as_radiograph(name)[1])


def test_files_of_other_kinds_are_refused_by_their_kind() -> None:
    for name, words in (("CT_small", "CT Image Storage"), ("MR_small", "MR Image Storage"), ("rtplan", "RT Plan")):
        with pytest.raises(ReadError, match=words):
            read((COLLECTION / f"{name}.dcm").read_bytes())


def test_the_head_of_a_tiff_in_the_preamble_is_still_dicom(tmp_path: Path) -> None:
    data = dicom(ramp(8, 6), BitsStored=12)
    both = b"II*\0\x80\0\0\0" + bytes(120) + data[128:]
    (tmp_path / "a.dcm").write_bytes(both)
    record = CHEST_XRAY.read(RecordRef("r", tmp_path / "a.dcm"))
    np.testing.assert_array_equal(record.array, read(data)[0])
    assert record.facts["format"] == "dicom" and has_mark(both) and not has_mark(b"II*\0" * 50)
    with pytest.raises(ReadError, match="CT Image Storage"):
        CHEST_XRAY.read(RecordRef("r", COLLECTION / "CT_small.dcm"))


def test_big_endian_without_a_file_header() -> None:
    bare = Dataset()
    bare.update(dataset(ramp(8, 6), BitsStored=12))
    bare.PixelData = ramp(8, 6).astype(">u2").tobytes()
    bare["PixelData"].VR = "OW"
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, bare, implicit_vr=False, little_endian=False, enforce_file_format=False)
    data = buffer.getvalue()
    assert is_dicom_data(data) and data[:2] == b"\x00\x08"
    np.testing.assert_allclose(read(data)[0], ramp(8, 6) / 4095, atol=1e-6)
    assert not is_dicom_data(b"\x00\x08\x00\x05\x01\x02" + bytes(20))


@pytest.mark.parametrize("colour", ["Red", "Green", "Blue"])
def test_a_palette_with_a_part_missing_is_told(colour: str) -> None:
    made = dataset(ramp(bits=8), SOPClassUID=SC, Modality="CR", PhotometricInterpretation="PALETTE COLOR")
    for one in {"Red", "Green", "Blue"} - {colour}:
        setattr(made, f"{one}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(made, f"{one}PaletteColorLookupTableData", bytes(512))
    made.PixelData = ramp(bits=8).tobytes()
    made["PixelData"].VR = "OB"
    with pytest.raises(ReadError, match=f"lacks the {colour.lower()} part"):
        read(written(made, "1.2.840.10008.1.2.1"))


def test_colour_without_its_order_is_told() -> None:
    colours = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ReadError, match="does not say PlanarConfiguration"):
        read(dicom(colours, SOPClassUID=SC, Modality="CR", PlanarConfiguration=None))


def test_the_file_header_says_the_kind_where_the_rest_does_not() -> None:
    made = dataset(ramp(8, 6), BitsStored=12, SOPClassUID=None)
    made.PixelData = ramp(8, 6).tobytes()
    made["PixelData"].VR = "OW"
    np.testing.assert_allclose(read(written(made, "1.2.840.10008.1.2.1"))[0], ramp(8, 6) / 4095, atol=1e-6)
    with pytest.raises(ReadError, match="no SOP class"):
        read(headless(written(made, "1.2.840.10008.1.2.1")))
    with pytest.raises(ReadError, match="Directory"):
        read((COLLECTION / "dicomdirtests" / "DICOMDIR").read_bytes())


def test_an_empty_padding_value_is_none() -> None:
    array, facts = read(dicom(ramp(), BitsStored=12, PixelPaddingValue=""))
    np.testing.assert_array_equal(array, read(dicom(ramp(), BitsStored=12))[0])
    assert "padded" not in facts


@pytest.mark.parametrize("name", ["RescaleSlope", "WindowWidth"])
def test_an_error_says_what_to_do(name: str) -> None:
    with pytest.raises(ReadError) as caught:
        read(
            dicom(ramp(), BitsStored=12, **{"WindowCenter": 5, "WindowWidth": 9, "RescaleIntercept": 0, name: 0}), Voi()
        )
    assert "to do:" in str(caught.value)


@cache
def small(kind: str) -> bytes:
    if kind == "native":
        return dicom(
            ramp(8, 6), BitsStored=12, WindowCenter=2048, WindowWidth=2000, PixelPaddingValue=0, PatientComments=SECRET
        )
    if kind == "tables":
        tables = {"VOILUTSequence": [lut(np.arange(256), 0, 8)], "ModalityLUTSequence": [lut(np.arange(4096), 0, 12)]}
        return dicom(ramp(8, 6), BitsStored=12, **tables)
    if kind == "headless":
        return headless(dicom(ramp(8, 6), BitsStored=12))
    return dicom(ramp(16, 12), JPEG + kind, BitsStored=12)


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(["native", "tables", "headless", "90", "70", "80", "51"]),
    place=st.floats(0, 1, exclude_max=True),
    value=st.binary(min_size=1, max_size=4),
    cut=st.booleans(),
)
@example(kind="native", place=0.0, value=b"\0", cut=True)
def test_changed_bytes_end_in_a_picture_or_a_reason(kind: str, place: float, value: bytes, cut: bool) -> None:
    data = bytearray(small(kind))
    start = int(place * len(data))
    if cut:
        del data[start:]
    else:
        data[start : start + len(value)] = value
    try:
        array, facts = read(bytes(data), Voi())
    except ReadError as error:
        assert SECRET not in str(error) and "Hidden" not in str(error)
        return
    assert array.ndim == 2 and array.dtype == np.float32 and np.isfinite(array).all()
    assert array.min() >= 0 and array.max() <= 1 and SECRET not in str(facts)


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_are_no_radiograph(data: bytes) -> None:
    for head in (b"", b"\0" * 128 + b"DICM", b"\x08\x00\x05\x00CS"):
        with pytest.raises(ReadError):
            read(head + data)


@pytest.mark.parametrize("broken", [False, True])
def test_a_name_in_every_element_comes_out_nowhere(broken: bool) -> None:
    elements: dict[str, Any] = {
        "PatientName": SECRET, "PatientID": SECRET, "PatientBirthDate": "19500101", "InstitutionName": SECRET,
        "StudyDescription": SECRET, "SeriesDescription": SECRET, "ProtocolName": SECRET, "BodyPartExamined": SECRET.upper(),
        "ViewPosition": SECRET.upper(), "ImageComments": SECRET, "AccessionNumber": SECRET, "StationName": SECRET,
        "WindowCenterWidthExplanation": SECRET, "PixelSpacingCalibrationDescription": SECRET, "ImageLaterality": SECRET.upper(),
        "BurnedInAnnotation": SECRET.upper(), "VOILUTFunction": SECRET.upper() if broken else "LINEAR",
        "WindowCenter": 2048, "WindowWidth": 2000, "PatientOrientation": [SECRET.upper(), "F"],
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = dicom(ramp(), BitsStored=12, **elements)
    if broken:
        with pytest.raises(ReadError) as caught:
            read(data, Voi())
        assert SECRET.lower() not in str(caught.value).lower()
        return
    array, facts = read(data, Voi())
    assert SECRET.lower() not in str(facts).lower() and "1950" not in str(facts) and array.size


def test_a_secondary_capture_of_a_palette_and_of_signed_values() -> None:
    made = dataset(ramp(bits=8), SOPClassUID=SC, Modality="CR", PhotometricInterpretation="PALETTE COLOR")
    for colour, top in (("Red", 255), ("Green", 128), ("Blue", 0)):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        made[f"{colour}PaletteColorLookupTableDescriptor"].VR = "US"
        table = np.round(np.arange(256) * top / 255).astype("<u2") * 257
        setattr(made, f"{colour}PaletteColorLookupTableData", table.tobytes())
    made.PixelData = ramp(bits=8).tobytes()
    made["PixelData"].VR = "OB"
    array, facts = read(written(made, "1.2.840.10008.1.2.1"))
    values = ramp(bits=8).astype(float)
    expected = (0.299 * values + 0.587 * np.round(values * 128 / 255)) / 255
    np.testing.assert_allclose(array, expected, atol=2 / 255)
    assert facts["photometric"] == "PALETTE COLOR" and "luminance" in facts["notes"][0]
