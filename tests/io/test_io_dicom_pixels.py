"""Frames of DICOM pictures: which decoder, what its absence says, bits above those stored."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID
from radiograph_files import ENCODERS, JPEG, dicom, ramp

from medfm.core.errors import ReadError
from medfm.io import dicom_pixels
from medfm.io.dicom_pixels import decode_frames, not_decoded, syntax_name


def opened(data: bytes) -> Any:
    return pydicom.dcmread(io.BytesIO(data))


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        (JPEG + "90", "JPEG 2000 Image Compression (Lossless Only)"),
        (JPEG + "110", "JPEG XL Lossless"),
        (JPEG + "112", "JPEG XL"),
        ("1.2.840.10008.1.2.5", "RLE Lossless"),
        ("1.2.3.4", ""),
        ("1.2.840.10008.5.1.4.1.1.2", ""),  # a storage class, not a transfer syntax
    ],
)
def test_names_of_syntaxes(uid: str, name: str) -> None:
    assert syntax_name(UID(uid)) == name


@pytest.mark.parametrize(
    ("uid", "package"),
    [
        (JPEG + "57", "python-gdcm"),
        (JPEG + "70", "python-gdcm"),
        (JPEG + "80", "pyjpegls"),
        (JPEG + "90", "pylibjpeg-openjpeg"),
        (JPEG + "201", "pylibjpeg-openjpeg"),
        (JPEG + "110", "imagecodecs"),
        (JPEG + "100", None),
        ("1.2.3.4", None),
    ],
)
def test_the_error_names_the_syntax_and_a_package_that_is_free_to_use(uid: str, package: str | None) -> None:
    error = not_decoded(UID(uid), "r1")
    assert error.where == "r1" and "decoders installed for it" in error.what
    assert (uid in error.what) is (uid != "1.2.3.4")
    assert ("pip install" in str(error.fix)) is (package is not None) and (package or "") in str(error.fix)
    assert "pylibjpeg-libjpeg" not in str(error)  # GPL


def test_what_is_installed_is_listed() -> None:
    assert "pillow" in not_decoded(UID(JPEG + "90"), "r").what


# Pillow decodes JPEG 2000 as well.
@pytest.mark.parametrize("syntax", sorted(set(ENCODERS) - {JPEG + "90"}))
def test_a_missing_codec_is_an_error_of_its_own(syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dicom_pixels._OTHERS, syntax, "no_such_decode")
    with pytest.raises(ReadError, match="is not read"):
        decode_frames(opened(dicom(ramp(), syntax, BitsStored=12)), None, "r")


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_the_quicker_decoder_gives_the_same_values(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(dicom(ramp(40, 30, bits), JPEG + "90", BitsStored=bits))
    quick = decode_frames(file, None, "r")
    monkeypatch.setattr(dicom_pixels, "_QUICKER", {})
    np.testing.assert_array_equal(quick, decode_frames(file, None, "r"))
    np.testing.assert_array_equal(quick, ramp(40, 30, bits))


def test_signed_jpeg_2000_goes_through_pydicom() -> None:
    pixels = ramp(40, 30, 12, signed=True)
    file = opened(dicom(pixels, JPEG + "90", BitsStored=12))
    np.testing.assert_array_equal(decode_frames(file, None, "r"), pixels)


def test_bits_above_those_stored_are_kept_when_asked() -> None:
    pixels = ramp(6, 5)
    pixels[0] = 61440 + 7
    file = opened(dicom(pixels, BitsStored=12))
    np.testing.assert_array_equal(decode_frames(file, None, "r", unused_bits=True), pixels)
    assert (decode_frames(file, None, "r")[0] == 7).all()


def test_a_stream_of_another_size_is_refused() -> None:
    file = opened(dicom(ramp(24, 20), JPEG + "80", BitsStored=12))
    file.Rows = 12
    with pytest.raises(ReadError, match="another size"):
        decode_frames(file, None, "r")


@pytest.mark.parametrize("kind", ["", "HSV", "YBR_PARTIAL_420", "SMITH"])
def test_colour_kinds_that_are_not_read(kind: str) -> None:
    with pytest.raises(ReadError, match="colour kind") as caught:
        decode_frames(SimpleNamespace(get=lambda name, default=None: kind), None, "r")
    assert "SMITH" not in str(caught.value)
