"""Radiographs from DICOM: values against pydicom's own functions, polarity once, padding, kinds, compressions."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_presentation_lut, apply_voi_lut
from radiograph_files import CR, DX, ENCODERS, JPEG, LOSSY, SC, dicom, headless, lut, ramp

from medfm.core.errors import ReadError
from medfm.io.dicom_radiograph import decode_radiograph, is_dicom_data, is_radiograph
from medfm.io.dicom_values import Voi

HEADER = Voi()


def read(data: bytes, voi: Voi = HEADER, photometric: str | None = None) -> tuple[np.ndarray, dict[str, Any]]:
    return decode_radiograph(data, voi, photometric, "r1")


def by_pydicom(data: bytes, index: int = 0) -> np.ndarray:
    """The share of the stored range by pydicom's functions in the order of the standard."""
    file = pydicom.dcmread(io.BytesIO(data))
    values = apply_voi_lut(apply_modality_lut(file.pixel_array, file), file, index=index)
    shown = apply_presentation_lut(np.asarray(values), file) if "PresentationLUTShape" in file else values
    signed, bits = int(file.PixelRepresentation), int(file.BitsStored)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    share = (np.asarray(shown, np.float64) - low) / (high - low)
    return share if "PresentationLUTShape" in file or file.PhotometricInterpretation != "MONOCHROME1" else 1 - share


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_without_a_window_the_stored_range_is_the_scale(bits: int, signed: bool) -> None:
    pixels = ramp(bits=bits, signed=signed)
    array, facts = read(dicom(pixels, BitsStored=bits))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    assert array.dtype == np.float32 and array.shape == pixels.shape
    np.testing.assert_allclose(array, (pixels.astype(float) - low) / (high - low), atol=1e-6)
    assert facts["bits_stored"] == bits and facts["window_applied"] == "none" and facts["kind"] == "DX"


@settings(max_examples=40, deadline=None)
@given(
    centre=st.floats(-500, 5000),
    width=st.floats(2, 6000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    one=st.booleans(),
    large=st.booleans(),
)
def test_windows_are_those_of_pydicom(centre: float, width: float, function: str, one: bool, large: bool) -> None:
    # Large pictures go through a table of all stored values, small ones pixel by pixel.
    pixels = ramp(160, 120) if large else ramp()
    data = dicom(
        pixels,
        BitsStored=12,
        WindowCenter=f"{centre:.6g}",
        WindowWidth=f"{width:.6g}",
        VOILUTFunction=function,
        PhotometricInterpretation="MONOCHROME1" if one else "MONOCHROME2",
    )
    array, facts = read(data)
    np.testing.assert_allclose(array, by_pydicom(data), atol=2e-6)
    assert facts["window_applied"] == f"window, {function.lower().replace('_', ' ')}" and facts["inverted"] is one


def test_the_numbers_of_the_standard() -> None:
    # Values 0, 1000, 2000, 4095 of 12 bits with centre 2048 and width 2000 become 0, 0, 1950.195, 4095.
    data = dicom(np.array([[0, 1000, 2000, 4095]], np.uint16), BitsStored=12, WindowCenter=2048, WindowWidth=2000)
    np.testing.assert_allclose(read(data)[0][0] * 4095, [0, 0, 1950.195, 4095], atol=1e-3)


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),  # as DX objects have it: once, not twice
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", True),
    ],
)
def test_polarity_is_turned_once(photometric: str, shape: str | None, inverted: bool) -> None:
    more = {} if shape is None else {"PresentationLUTShape": shape}
    values = np.array([[0, 1000, 2000, 4095]], np.uint16)
    array, facts = read(dicom(values, BitsStored=12, PhotometricInterpretation=photometric, **more))
    expected = values / 4095
    np.testing.assert_allclose(array, 1 - expected if inverted else expected, atol=1e-6)
    assert facts["inverted"] is inverted
    assert ("notes" in facts) is (shape == "INVERSE" and photometric == "MONOCHROME2")


def test_several_windows_are_chosen_by_index_and_tables_come_before_windows() -> None:
    several = dicom(ramp(), BitsStored=12, WindowCenter=[1000, 3000], WindowWidth=[500, 1000])
    for index in (0, 1):
        array, facts = read(several, Voi(index=index))
        np.testing.assert_allclose(array, by_pydicom(several, index), atol=2e-6)
        assert facts["voi_items"] == 2
    with pytest.raises(ReadError, match="number 2") as caught:
        read(several, Voi(index=2))
    assert caught.value.expected == "0 to 1"
    both = dicom(
        ramp(), BitsStored=12, WindowCenter=1000, WindowWidth=500,
        VOILUTSequence=[lut(np.arange(4096)[::-1], 0, 12), lut(np.arange(4096) // 2, 0, 12)],
    )  # fmt: skip
    np.testing.assert_allclose(read(both)[0], 1 - ramp() / 4095, atol=1e-6)
    np.testing.assert_allclose(read(both, Voi(index=1))[0], (ramp() // 2) / 4095, atol=1e-6)
    assert read(both)[1]["window_applied"] == "table"


def test_a_window_by_hand_or_none_replaces_the_files() -> None:
    data = dicom(ramp(), BitsStored=12, WindowCenter=1000, WindowWidth=500, VOILUTFunction="SIGMOID")
    plain = dicom(ramp(), BitsStored=12)
    np.testing.assert_array_equal(read(data, Voi(off=True))[0], read(plain)[0])
    given_by_hand = read(data, Voi(window=(2048, 2000)))
    linear = dicom(ramp(), BitsStored=12, WindowCenter=2048, WindowWidth=2000)
    np.testing.assert_array_equal(given_by_hand[0], read(linear)[0])
    assert given_by_hand[1]["window_applied"] == "given"


def test_modality_table_and_slope_come_first() -> None:
    sloped = dicom(ramp(), BitsStored=12, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=3000, WindowWidth=3000)
    np.testing.assert_allclose(read(sloped)[0], np.clip((ramp() * 2.0 - 100 - 2999.5) / 2999 + 0.5, 0, 1), atol=1e-6)
    falling = dicom(ramp(), BitsStored=12, RescaleSlope=-1, RescaleIntercept=4095)
    np.testing.assert_allclose(read(falling)[0], 1 - ramp() / 4095, atol=1e-6)
    table = dicom(ramp(), BitsStored=12, ModalityLUTSequence=[lut((np.arange(4096) // 16), 0, 8)])
    np.testing.assert_allclose(read(table)[0], (ramp() // 16) / 255, atol=1e-6)
    assert read(table)[1]["modality_lut"] == "table"
    for slope in ("0", "1e400"):
        with pytest.raises(ReadError, match="slope"):
            read(dicom(ramp(), BitsStored=12, RescaleSlope=slope, RescaleIntercept=0))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("rows", [24, 200])
def test_padding_is_black_whatever_the_polarity(photometric: str, rows: int) -> None:
    pixels = ramp(rows, 100)
    pixels[:3] = 65535 if photometric == "MONOCHROME2" else 0
    more = {"PixelPaddingValue": int(pixels[0, 0]), "PhotometricInterpretation": photometric}
    array, facts = read(dicom(pixels, BitsStored=12, **more))
    assert not array[:3].any() and facts["padded"] >= 3 / rows
    assert "above_bits_stored" not in facts  # padding lies outside on purpose
    ranged = dicom(pixels, BitsStored=12, **more, PixelPaddingRangeLimit=int(pixels[0, 0]) ^ 7)
    assert read(ranged)[1]["padded"] >= facts["padded"]
    absent, told = read(dicom(ramp(rows, 100), BitsStored=12, PixelPaddingValue=4001))
    assert "padded" not in told and absent.max() == 1


def test_values_above_the_bits_stored_are_clipped_and_told() -> None:
    pixels = ramp(20, 20)
    pixels[0, :10] = 60000
    array, facts = read(dicom(pixels, BitsStored=12))
    assert (array[0, :10] == 1).all() and facts["above_bits_stored"] == pytest.approx(10 / 400)
    # Not 8 bits of the low byte: 12-bit values are not saturated at 255.
    assert len(np.unique(read(dicom(ramp(), BitsStored=12))[0])) > 200


def test_overlays_in_unused_bits_are_masked() -> None:
    pixels = ramp(20, 20)
    marked = pixels | np.where(np.arange(20) % 2, 1 << 15, 0).astype(np.uint16)
    overlay = Dataset()
    overlay.add_new(0x60000102, "US", 15)
    data = dicom(marked, BitsStored=12, **{})
    file = pydicom.dcmread(io.BytesIO(data))
    file.add(overlay[0x60000102])
    buffer = io.BytesIO()
    file.save_as(buffer)
    array, facts = read(buffer.getvalue())
    np.testing.assert_allclose(array, pixels / 4095, atol=1e-6)
    assert facts["overlay_in_pixels"] is True
    # The highest bit is not the usual one: the values lie further up.
    moved = dicom((pixels << 4).astype(np.uint16), BitsStored=12, HighBit=15)
    np.testing.assert_allclose(read(moved)[0], pixels / 4095, atol=1e-6)


@pytest.mark.parametrize("syntax", sorted(ENCODERS))
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_compressions_give_the_pixels(syntax: str, bits: int) -> None:
    pixels = ramp(40, 32, bits)
    array, facts = read(dicom(pixels, syntax, BitsStored=bits))
    np.testing.assert_array_equal(array, read(dicom(pixels, BitsStored=bits))[0])
    assert facts["transfer_syntax"] not in ("", "private")


@pytest.mark.parametrize(("syntax", "bits"), [("50", 8), ("51", 8), ("51", 12), ("91", 12), ("91", 16)])
def test_lossy_compressions_come_near(syntax: str, bits: int) -> None:
    pixels = ramp(40, 32, bits)
    array, _ = read(dicom(pixels, JPEG + syntax, BitsStored=bits))
    assert np.abs(array - pixels / (2**bits - 1)).max() < 0.02


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.1"])
def test_native_syntaxes(syntax: str) -> None:
    np.testing.assert_allclose(read(dicom(ramp(), syntax, BitsStored=12))[0], ramp() / 4095, atol=1e-6)


@pytest.mark.parametrize("uid", [JPEG + "100", JPEG + "56", "1.2.3.4.5"])
def test_a_compression_without_a_decoder_is_named(uid: str) -> None:
    data = dicom(ramp(), JPEG + "90", BitsStored=12)
    file = pydicom.dcmread(io.BytesIO(data))
    file.file_meta.TransferSyntaxUID = pydicom.uid.UID(uid)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, file, force_encoding=True, implicit_vr=False, little_endian=True)
    with pytest.raises(ReadError, match="decoders installed for it: none") as caught:
        read(buffer.getvalue())
    assert (uid in str(caught.value)) is not uid.startswith("1.2.3") and "libjpeg" not in str(caught.value)
    if uid.endswith("56"):
        assert "python-gdcm" in str(caught.value.fix)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", *sorted(ENCODERS), *sorted(LOSSY)])
def test_every_cut_is_refused(syntax: str) -> None:
    bits = 8 if syntax == JPEG + "50" else 12
    data = dicom(ramp(64, 48, bits), syntax, BitsStored=bits)
    for share in (0.02, 0.2, 0.5, 0.8, 0.9, 0.97):
        with pytest.raises(ReadError) as caught:
            read(data[: int(len(data) * share)])
        assert "SECRET" not in str(caught.value) and "Hidden" not in str(caught.value)


def test_files_without_preamble_or_syntax() -> None:
    data = dicom(ramp(), BitsStored=12)
    array, facts = read(headless(data))
    np.testing.assert_allclose(array, ramp() / 4095, atol=1e-6)
    assert facts["notes"] == ["no preamble", "no transfer syntax in the file; taken from the data"]
    implicit = dicom(ramp(), "1.2.840.10008.1.2", BitsStored=12)
    np.testing.assert_array_equal(read(headless(implicit))[0], array)
    for syntax in ("70", "80", "90", "50"):
        bits = 8 if syntax == "50" else 12
        bare = headless(dicom(ramp(40, 32, bits), JPEG + syntax, BitsStored=bits))
        assert np.abs(read(bare)[0] - ramp(40, 32, bits) / (2**bits - 1)).max() < 0.02
    with pytest.raises(ReadError, match="not a DICOM"):
        read(b"hello" * 100)
    assert not is_dicom_data(b"") and is_dicom_data(headless(data)) and not is_dicom_data(b"\x89PNG" + bytes(40))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2"}, "Digital Mammography"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "CT Image Storage"),
        ({"SOPClassUID": "1.2.3.4"}, "kind that is not known"),
        ({"SOPClassUID": SC, "Modality": "MG"}, "mammogram"),
        ({"NumberOfFrames": 3}, "3 frames"),
        ({"PhotometricInterpretation": None}, "whether low values are black"),
        ({"PhotometricInterpretation": "LOUD"}, "colour kind"),
        ({"BitsStored": 17}, "8 or 16 bits"),
        ({"Rows": 0}, "no pixels"),
        ({"Rows": 65535, "Columns": 65535}, "too large"),
        ({"Rows": 48}, "damaged or cut off"),
        ({"WindowCenter": 5, "WindowWidth": 0}, "no width"),
        ({"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "not known"),
        ({"Columns": None}, "does not say Columns"),
    ],
)
def test_what_is_refused_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ReadError, match=words) as caught:
        read(dicom(ramp(), **{"BitsStored": 12, **changes}))
    assert "SECRET" not in str(caught.value) and "Hidden" not in str(caught.value)


def test_one_frame_and_a_photometric_from_the_table_are_taken() -> None:
    np.testing.assert_allclose(read(dicom(ramp(), BitsStored=12, NumberOfFrames=1))[0], ramp() / 4095, atol=1e-6)
    data = dicom(ramp(), BitsStored=12, PhotometricInterpretation=None)
    array, facts = read(data, photometric="MONOCHROME1")
    np.testing.assert_allclose(array, 1 - ramp() / 4095, atol=1e-6)
    assert "from the table" in facts["notes"][0]
    # A file that does say is believed.
    assert not read(dicom(ramp(), BitsStored=12), photometric="MONOCHROME1")[1]["inverted"]


def test_a_wrong_value_representation_is_tolerated_or_named() -> None:
    data = dicom(ramp(), BitsStored=12)
    # BitsStored (0028,0101) US 2 bytes -> as text of the same length.
    where = data.index(b"\x28\x00\x01\x01US\x02\x00")
    text = data[: where + 4] + b"IS" + data[where + 6 : where + 8] + b"12" + data[where + 10 :]
    np.testing.assert_allclose(read(text)[0], ramp() / 4095, atol=1e-6)
    for name, tag in (
        ("Rows", b"\x28\x00\x10\x00"),
        ("Columns", b"\x28\x00\x11\x00"),
        ("Allocated", b"\x28\x00\x00\x01"),
    ):
        at = data.index(tag + b"US\x02\x00")
        number = b"%d" % int.from_bytes(data[at + 8 : at + 10], "little")
        for kind in (b"LO", b"DS", b"SH"):
            changed = data[: at + 4] + kind + data[at + 6 : at + 8] + number + data[at + 10 :]
            np.testing.assert_allclose(read(changed)[0], ramp() / 4095, atol=1e-6, err_msg=name)
    wrong = data[: where + 4] + b"LO" + data[where + 6 : where + 8] + b"ab" + data[where + 10 :]
    with pytest.raises(ReadError, match=r"BitsStored.*value representation"):
        read(wrong)


def test_colour_captures_become_grey_by_luminance() -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (12, 10, 3)).astype(np.uint8)
    array, facts = read(dicom(colours, SOPClassUID=SC, Modality="CR"))
    np.testing.assert_allclose(array, colours @ np.array([0.299, 0.587, 0.114]) / 255, atol=1e-6)
    assert "luminance" in facts["notes"][0] and facts["kind"] == "SC"
    grey = np.repeat(ramp(12, 10, 8)[..., None], 3, axis=2)
    array, facts = read(dicom(grey, SOPClassUID=SC, Modality="CR"))
    np.testing.assert_array_equal(array, (ramp(12, 10, 8) / np.float32(255)).astype(np.float32))
    assert "three equal channels" in facts["notes"][0]


def test_facts_hold_no_text_of_the_header(tmp_path: Any) -> None:
    data = dicom(
        ramp(), BitsStored=12, BodyPartExamined="SECRET PART", ViewPosition="SECRET", PatientOrientation=["SECRET", "X"]
    )  # fmt: skip
    facts = read(data)[1]
    assert "SECRET" not in str(facts) and "Hidden" not in str(facts)
    assert facts["view"] == "unknown" and facts["body_part"] == "other" and "patient_orientation" not in facts
    for number, (changes, mine) in enumerate(
        [({}, True), ({"SOPClassUID": CR}, True), ({"SOPClassUID": SC, "Modality": "CR"}, True),
         ({"SOPClassUID": SC, "Modality": "OT"}, False), ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, False)]
    ):  # fmt: skip
        file = tmp_path / f"{number}.dcm"
        file.write_bytes(dicom(ramp(), BitsStored=12, **changes))
        assert is_radiograph(file) is mine
    (tmp_path / "x.dcm").write_bytes(b"nothing")
    assert not is_radiograph(tmp_path / "x.dcm") and not is_radiograph(tmp_path / "absent.dcm")
    assert DX != CR
