"""Which kind of ECG file this is, judged by content, and the reader for it."""

from __future__ import annotations

import importlib
from pathlib import Path

from medfm.core.errors import ReadError
from medfm.io.ecg.raw import Options, RawECG
from medfm.io.ecg.wfdb import read_wfdb
from medfm.io.ecg.wfdb_header import header_path
from medfm.io.formats import describe

SUFFIXES: tuple[str, ...] = (
    ".hea", ".dat", ".mat", ".dcm", ".xml", ".edf", ".bdf", ".csv", ".tsv", ".npy", ".h5", ".hdf5", ".scp",
)  # fmt: skip

# kind -> "module:function"; each takes (path, options, where).
_READERS = {
    "matlab": "medfm.io.ecg.matlab:read_matlab",
    "hdf5": "medfm.io.ecg.hdf5:read_hdf5",
    "npy": "medfm.io.ecg.table:read_npy",
    "csv": "medfm.io.ecg.table:read_csv",
    "dicom": "medfm.io.ecg.dicom:read_dicom",
    "xml": "medfm.io.ecg.xml:read_xml",
    "edf": "medfm.io.ecg.edf:read_edf",
    "scp": "medfm.io.ecg.scp:read_scp",
}


def is_wfdb(path: Path) -> bool:
    """Whether `path` is a WFDB header, a record name without ending, or a signal file with its header beside it."""
    if path.suffix == ".hea":
        return True
    return (path.suffix.lower() in (".dat", ".mat") or not path.is_file()) and header_path(path).is_file()


def read_raw(path: Path, options: Options, where: str) -> RawECG:
    """Read the ECG at `path`, of whatever kind.

    Raises:
        ReadError: See the reader of each format; or the file is none of them.
    """
    try:
        if is_wfdb(path):
            return read_wfdb(path, where)
        module, _, function = _READERS[_kind(path, where)].partition(":")
        raw: RawECG = getattr(importlib.import_module(module), function)(path, options, where)
    except ReadError:
        raise
    except MemoryError:
        raise ReadError("There is not enough memory to read this recording.", where=where) from None
    except Exception as error:
        # Damaged headers can say anything. Only the kind of error is told: its text may quote the file.
        raise ReadError(
            f"The recording is damaged or cut off ({type(error).__name__}).",
            where=where,
            fix="copy or export the file again",
        ) from None
    return raw


def _kind(path: Path, where: str) -> str:
    try:
        with path.open("rb") as handle:
            head = handle.read(4096)
    except FileNotFoundError as error:
        raise ReadError("The file does not exist.", where=where, fix="check the path and the root folder") from error
    except IsADirectoryError as error:
        raise ReadError("This is a folder, not a recording.", where=where) from error
    except (OSError, ValueError) as error:
        raise ReadError(f"The file cannot be read: {type(error).__name__}.", where=where) from error
    if not head:
        raise ReadError("The file is empty (0 bytes).", where=where, fix="copy or download the file again")
    if head[128:132] == b"DICM":
        return "dicom"
    if head.startswith(b"\x89HDF\r\n\x1a\n") or head[512:520] == b"\x89HDF\r\n\x1a\n":
        return "hdf5"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith((b"0       ", b"\xffBIOSEMI")):
        return "edf"
    if head.startswith(b"MATLAB 5.0") or (path.suffix.lower() == ".mat" and b"\0" in head[:20]):
        return "matlab"
    if head[16:22] == b"SCPECG" or path.suffix.lower() in (".scp", ".ecg"):
        return "scp"
    if path.suffix.lower() == ".dat":
        raise ReadError(
            "This signal file has no WFDB header beside it.",
            where=where,
            fix="put the .hea file of the same name into the same folder",
        )
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<") or head[:4] in (b"\xff\xfe<\0", b"\xfe\xff\0<"):
        return "xml"
    words = describe(head)
    if words == "a text file":
        return "csv"
    raise ReadError(
        f"This is {words}, not an ECG medfm reads.",
        where=where,
        expected="WFDB, DICOM, HL7 aECG, MUSE or Philips XML, SCP-ECG, EDF, MATLAB, CSV, NumPy or HDF5",
        fix="export the recording again in one of these formats (renaming does not convert it)",
    )
