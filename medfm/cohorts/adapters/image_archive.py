"""LONI's image archive on disk: SUBJECT/DESCRIPTION/DATE/IMAGE ID/files; which images are T1 volumes, and which first.

Checked against the paths in public code (``002_S_0295/MPR__GradWarp__B1_Correction__N3__Scaled/2006-11-02_08_16_44.0/
I40966/ADNI_002_S_0295_MR_..._S21856_I40966.nii`` and alike), Clinica's ``adni_to_bids`` and ``aibl_to_bids`` at
e633afc89 for the descriptions. No archive of ADNI or AIBL itself was at hand: descriptions are free text of scanners,
and those that are not recognised are named in the notes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})_\d{2}_\d{2}_\d{2}(?:\.\d+)?")
_IMAGE = re.compile(r"[ISD]?\d+")
_OF_FILE = re.compile(r"_I(\d+)\.nii")
# What is made from a T1 volume, or only sounds like one: masks, templates, reformatted slabs, scouts, calibration.
_DERIVED = re.compile(
    r"mask|spatially|6_dof|^hhp|^harp|epi_current|scout|locali[sz]er|calibration|field_map|survey|_nd$|"
    r"(?:mprage|spgr).*_mpr(?:_|$)|mpr_range|average|projection|phase"
)
_CORRECTED = re.compile(r"^(?:mpr(?:-r)?|mt1)_{2,}")
_T1 = re.compile(r"mp[-_]?rage|spgr")
_ACCELERATED = re.compile(r"accel|sense|grappa|asset|arc\b")
_REPEATED = re.compile(r"repeat|rpt|^mpr-r|_r$|-r$|_conf_repeat")
UNCORRECTED = 4


@dataclass(frozen=True)
class ArchiveImage:
    """One image of the archive.

    Attributes:
        subject: Name of its first folder.
        description: Name of its second folder.
        day: Date of acquisition; never written anywhere.
        image_id: ``I40966``; the folder's name where the file has no such part.
        path: The NIfTI file, or the folder of a DICOM series; ``None`` where there is neither, or several files.
        why_not: Why there is no path.
    """

    subject: str
    description: str
    day: date
    image_id: str
    path: Path | None
    why_not: str = ""


def t1_rank(description: str) -> tuple[int, bool, bool] | None:
    """How far down the list of T1 volumes an image comes: (correction, accelerated, repeated), smaller first.

    Correction: 0 for ADNI's ``...Scaled`` (gradient, B1, N3, scaled by phantom), 1 for ``N3m``, 2 for another N3,
    3 for gradient or B1 alone, 4 for the original. ``None``: no T1 volume.
    """
    words = description.strip().lower()
    if _DERIVED.search(words):
        return None
    if _CORRECTED.search(words):
        ranks = (("scaled", 0), ("n3m", 1), ("n3", 2), ("", 3))
        rank = next(number for part, number in ranks if part in words)
    elif _T1.search(words):
        rank = UNCORRECTED
    else:
        return None
    return rank, bool(_ACCELERATED.search(words)), bool(_REPEATED.search(words))


def subject_folders(source: Path, pattern: re.Pattern[str], depth: int = 3) -> list[Path]:
    """The folders called as `pattern` says, down to `depth` below `source`, not looked for within each other."""
    found: list[Path] = []
    level = [source]
    for _ in range(depth):
        below: list[Path] = []
        for folder in level:
            for name in _folders(folder):
                (found if pattern.fullmatch(name) else below).append(folder / name)
        level = below
    return sorted(found)


def tables_below(
    source: Path, start: str, subjects: re.Pattern[str], depth: int = 4, endings: tuple[str, ...] = (".csv",)
) -> list[Path]:
    """The tables whose names begin with `start` (case aside), outside of subjects' folders."""
    found: list[Path] = []
    level = [source]
    for _ in range(depth):
        below: list[Path] = []
        for folder in level:
            for entry in os.scandir(folder):
                name = entry.name.lower()
                if entry.is_dir():
                    if not subjects.fullmatch(entry.name) and not name.startswith("."):
                        below.append(folder / entry.name)
                elif name.startswith(start.lower()) and name.endswith(endings):
                    found.append(folder / entry.name)
        level = below
    return sorted(found)


def images_of(subject: Path) -> Iterator[ArchiveImage]:
    """The images of one subject's folder; what is not laid out as DESCRIPTION/DATE/ID is passed over."""
    for description in _folders(subject):
        for taken in _folders(subject / description):
            parts = _DATE.fullmatch(taken)
            if parts is None:
                continue
            try:
                day = date(int(parts[1]), int(parts[2]), int(parts[3]))
            except ValueError:
                continue
            for image in _folders(subject / description / taken):
                if _IMAGE.fullmatch(image):
                    folder = subject / description / taken / image
                    path, why = _volume(folder)
                    named = _OF_FILE.search(path.name) if path is not None else None
                    image_id = f"I{named[1]}" if named else image
                    yield ArchiveImage(subject.name, description, day, image_id, path, why)


def image_number(image_id: str) -> int:
    """The number of an image id: smaller ones were archived earlier."""
    digits = re.sub(r"\D", "", image_id)
    return int(digits) if digits else 0


def _volume(folder: Path) -> tuple[Path | None, str]:
    """The NIfTI file of an image's folder, or the folder where it holds DICOM files."""
    volumes, dicom = [], False
    for entry in os.scandir(folder):
        name = entry.name.lower()
        if name.startswith("."):
            continue
        if name.endswith((".nii", ".nii.gz", ".hdr")):
            volumes.append(entry.name)
        dicom = dicom or name.endswith((".dcm", ".ima"))
    if len(volumes) > 1:
        return None, "several volumes in one folder of an image"
    if volumes:
        return folder / volumes[0], ""
    return (folder, "") if dicom else (None, "no NIfTI or DICOM file in the folder of the image")


def _folders(folder: Path) -> list[str]:
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))
