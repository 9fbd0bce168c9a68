"""Which reader a path belongs to, by content; a folder is a DICOM series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medfm.core.errors import ReadError
from medfm.io.formats import describe
from medfm.io.volumes.dicom import dicom_files, read_series
from medfm.io.volumes.mgh import check_mgh_size, is_mgh, read_mgh
from medfm.io.volumes.nifti import check_nifti_size, is_pair, nifti_kind, pair_of, read_nifti
from medfm.io.volumes.nrrd import check_nrrd_size, data_file, is_nrrd, read_nrrd
from medfm.io.volumes.stream import opened
from medfm.io.volumes.volume import Volume

ENDINGS = (".nii.gz", ".img.gz", ".hdr.gz", ".nii", ".mgz", ".mgh", ".hdr", ".img", ".nrrd", ".nhdr", ".dcm")
_HEAD = 544  # bytes: the longest header that is told by them, NIfTI-2
_READ = "NIfTI (.nii, .nii.gz), MGH (.mgh, .mgz), Analyze (.hdr with .img), NRRD, DICOM"


def volume_files(path: Path, where: str) -> tuple[Path, ...]:
    """All files whose bytes make up the volume.

    Raises:
        ReadError: A folder without DICOM files, or a header that names its voxels badly.
    """
    if path.is_dir():
        return tuple(dicom_files(path, where))
    if is_pair(path):
        return pair_of(path)
    if path.suffix.lower() == ".nhdr" and path.is_file():
        beside = data_file(path, where)
        return (path,) if beside is None else (path, beside)
    return (path,)


def check_volume_size(path: Path, where: str) -> None:
    """Refuse a file from its header that :func:`read_volume` would refuse for its sizes; reads no voxel.

    DICOM is left to its reader, and so is whatever is no volume.

    Raises:
        ReadError: It does not fit into memory, is 4D or a single slice, or the header is damaged.
    """
    header = pair_of(path)[0] if is_pair(path) else path
    if not header.is_file():
        return
    with opened(header, where) as stream:
        head = stream.read(_HEAD)
    if nifti_kind(head) is not None:
        check_nifti_size(head, where)
    elif is_nrrd(head):
        check_nrrd_size(header, where)
    elif is_mgh(head):
        check_mgh_size(head, where)


def read_volume(path: Path, options: dict[str, Any], where: str) -> Volume:
    """Read a volume in the order of its file.

    Args:
        path: A file, or the folder of a DICOM series.
        options: ``series`` (label of one of several DICOM volumes) and ``spacing_mm`` (three numbers for a header
            that has none), where given.
        where: How errors name it.

    Raises:
        ReadError: The file is missing, damaged, of another kind, holds no single volume, or does not fit into memory.
    """
    series = options.get("series")
    try:
        if path.is_dir():
            return read_series(path, series, where)
        header = pair_of(path)[0] if is_pair(path) else path
        if not header.exists() and path.exists():
            raise ReadError(
                "The header of the pair is missing.", where=where, expected=f"{header.name} beside it", fix="copy both"
            )
        with opened(header, where) as stream:
            head = stream.read(_HEAD)
        if head[128:132] == b"DICM":
            return read_series(path, series, where)
        if series is not None:
            raise ReadError("Only DICOM has series to choose from.", where=where, fix="leave out the option 'series'")
        if nifti_kind(head) is not None:
            return read_nifti(path, options.get("spacing_mm"), where)
        if is_nrrd(head):
            return read_nrrd(path, where)
        if is_mgh(head):
            return read_mgh(path, where)
    except MemoryError as error:
        raise ReadError("There is not enough memory to read this volume.", where=where) from error
    what = "an empty file" if not head else describe(head)
    raise ReadError(f"This is {what}, not a volume that is read.", where=where, expected=_READ)
