import io

import numpy as np
import pytest
from PIL import Image

from medfm.io.formats import describe, image_format


def encoded(kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(("kind", "expected"), [("PNG", "png"), ("JPEG", "jpeg"), ("TIFF", "tiff"), ("BMP", "bmp")])
def test_formats_are_told_by_their_first_bytes(kind: str, expected: str) -> None:
    assert image_format(encoded(kind)) == expected


@pytest.mark.parametrize(
    "data",
    [b"", b"BM", b"BMW drives fast and this is only text", b"\x89PNG", encoded("GIF"), b"%PDF-1.7", b"path,label\n"],
)
def test_other_bytes_are_no_image(data: bytes) -> None:
    assert image_format(data) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"%PDF-1.7", "PDF"),
        (b"path,label\na,b\n", "text file"),
        ("é".encode() * 300, "text file"),
        (b"\xff\xfe\x00\x01" * 10, "unknown"),
        (b"\xff\xfe\xfa\xf1" * 200, "unknown"),
        (encoded("GIF"), "GIF"),
        (b"\0" * 128 + b"DICM" + b"\0" * 20, "DICOM"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "WebP"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "LFS"),
        (b"PK\x03\x04rest", "ZIP"),
        (b"\0\0\0\x18ftypheic", "HEIF"),
    ],
)
def test_what_it_is_instead_is_said(data: bytes, words: str) -> None:
    assert words in describe(data)
