"""Deep checks (P): whether the files of a cohort say who they are from."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.checks.codes import count, found, passed
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding, Severity
from medfm.cohorts.synthetic_notice import NOTICE
from medfm.io.dicom_radiograph import has_mark, is_dicom_data

# Words of PNG texts and EXIF tags that name programs, not people.
_HARMLESS = {"software", "colorspace", "srgb", "gamma"}
# How programs sign JPEG files.
_PROGRAM = re.compile(rb"jpeg library|gd-jpeg|lead technologies|photoshop|gimp|imagemagick|lavc|adobe|encoder", re.I)
# Times say when, not who: told apart, as they are common and still identify together with other facts.
_TIMES = ("DateTime (EXIF)", "DateTimeOriginal (EXIF)", "DateTimeDigitized (EXIF)", "PNG text 'date:create'",
          "PNG text 'date:modify'", "PNG text 'date:timestamp'")  # fmt: skip
# Keywords of PNG texts that standards and programs use; another one may itself be a name, so it is not told.
_KEYWORDS = {
    "title", "author", "description", "copyright", "creation time", "disclaimer", "warning", "source", "comment",
    "xml:com.adobe.xmp", "raw profile type exif", "raw profile type iptc", "raw profile type xmp", "date:create",
    "date:modify", "date:timestamp", "parameters", "imagedescription",
}  # fmt: skip
_PNG = b"\x89PNG\r\n\x1a\n"
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
# EXIF: description, maker's note, artist, copyright, owner, serial number, comments, times, place.
_EXIF = {
    270: "ImageDescription", 306: "DateTime", 315: "Artist", 33432: "Copyright", 34853: "GPS", 36867: "DateTimeOriginal",
    36868: "DateTimeDigitized", 37500: "MakerNote", 37510: "UserComment", 42032: "CameraOwnerName",
    42033: "BodySerialNumber", 40091: "XPTitle", 40092: "XPComment", 40093: "XPAuthor", 40095: "XPSubject",
}  # fmt: skip
_EXIF_FOLDER = 34665
# What tifffile writes there when it is told nothing: the shape of the array.
_SHAPE = re.compile(r'\{"shape": \[[\d, ]*\](, "axes": "[A-Z]*")?\}\Z')


def check_identity(cohort: Cohort) -> Iterator[Finding]:
    """P001 (DICOM headers) and P002 (texts in pictures), from the beginnings of the files."""
    if cohort.synthetic:
        yield passed("P001", "synthetic: nobody is in it")
        yield passed("P002", "synthetic: nobody is in it")
        return
    headers: dict[str, list[str]] = {}
    texts: dict[str, list[str]] = {}
    dicoms = 0
    looked: set[str] = set()
    for ref in cohort.refs():
        for path in _parts(ref.path):
            if str(path) in looked:
                continue
            looked.add(str(path))
            kind, names = look(path)
            dicoms += kind == "dicom"
            if names:
                (headers if kind == "dicom" else texts)[ref.record_id] = names
    for code, bad, number in (("P001", headers, dicoms), ("P002", texts, len(looked) - dicoms)):
        what = "DICOM file" if code == "P001" else "other file"
        if not bad:
            yield passed(code, count(number, what))
            continue
        common = Counter(name for names in bad.values() for name in set(names)).most_common(6)
        listed = ", ".join(f"{name} ({n:,})" for name, n in common)
        only_times = all(name in _TIMES for names in bad.values() for name in names)
        severity: Severity = "info" if only_times else "warning"
        yield found(code, severity, f"{len(bad):,} of {count(number, what)} hold {listed}", bad)


def _parts(path: Path) -> list[Path]:
    """The file, or the files of a folder (a DICOM series)."""
    return sorted(part for part in path.iterdir() if part.is_file()) if path.is_dir() else [path]


def look(path: Path) -> tuple[str, list[str]]:
    """The kind of a file and the names of attributes in it that may say who it is from; never their values.

    Files that cannot be read are the business of other checks.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(132)
    except OSError:
        return "none", []
    if has_mark(head):
        return "dicom", _dicom(path) or []
    if is_dicom_data(head) and (names := _dicom(path, marked=False)) is not None:
        return "dicom", names
    if head.startswith(_PNG):
        return "picture", _png(path)
    if head.startswith((b"\xff\xd8\xff", b"II*\0", b"MM\0*")):
        return "picture", _exif(path)
    return "other", []


def _dicom(path: Path, *, marked: bool = True) -> list[str] | None:
    """Names of what is left; ``None`` for what is no DICOM file, where its mark does not say that it is."""
    import warnings

    import pydicom

    from medfm.io.deidentify.leftovers import leftovers

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            # Signals and other numbers may begin as DICOM without a mark does.
            return leftovers(header) if marked or header.get("SOPClassUID") else None
    except Exception:  # damaged: nobody can say what is in it
        return ["a header that cannot be parsed"] if marked else None


def _png(path: Path) -> list[str]:
    """Keywords of text chunks, and EXIF; chunks are stepped over, not read."""
    names: list[str] = []
    with path.open("rb") as handle:
        handle.seek(len(_PNG))
        while len(head := handle.read(8)) == 8:
            (size,), kind = struct.unpack(">I", head[:4]), head[4:]
            if kind in _TEXT_CHUNKS:
                text = handle.read(min(size, 160))
                keyword = text[:80].split(b"\0")[0].decode("latin-1", "replace")
                if keyword.lower() not in _HARMLESS and text.partition(b"\0")[2] != NOTICE.encode():
                    names.append(f"PNG text '{keyword}'" if keyword.lower() in _KEYWORDS else "PNG text, own keyword")
                handle.seek(size - len(text) + 4, 1)
            else:
                if kind == b"eXIf":
                    names += _exif(path)
                handle.seek(size + 4, 1)
            if kind == b"IEND":
                break
    return names


def _exif(path: Path) -> list[str]:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            tags = picture.getexif()
            inner = tags.get_ifd(_EXIF_FOLDER)
            values = {name: tags.get(tag) or inner.get(tag) for tag, name in _EXIF.items()}
            names = [
                name
                for name, value in values.items()
                if value and str(value) != NOTICE and not _SHAPE.match(str(value))
            ]
            comment = picture.info.get("comment")
            if comment and not _PROGRAM.search(comment if isinstance(comment, bytes) else str(comment).encode()):
                names.append("JPEG comment")
    except Exception:  # damaged: F002 says so
        return []
    return [f"{name} (EXIF)" if name != "JPEG comment" else name for name in names]
