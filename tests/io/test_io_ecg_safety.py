"""What every carrier has in common: no identifier surfaces, damage is one clear error, unknown files say what they are."""

import logging
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import ecg_files
import h5py
import numpy as np
import philips_files
import pytest
import scipy.io
import scp_files

from medfm.core.errors import ReadError
from medfm.modalities.registry import read_record

VALUES = ecg_files.digital(samples=200)
LEADS = ecg_files.LEADS
STATED = {"sampling_hz": 500, "units": "uV", "leads": LEADS}
NAMED = [*LEADS[:11], f"V6 {ecg_files.NAME}"]


def muse(folder: Path) -> Path:
    return ecg_files.write_muse(folder / "a.xml", VALUES, NAMED)


def aecg(folder: Path) -> Path:
    return ecg_files.write_aecg(folder / "a.xml", VALUES, NAMED)


def dicom(folder: Path) -> Path:
    return ecg_files.write_dicom(folder / "a.dcm", [{"values": VALUES, "names": NAMED, "label": ecg_files.NAME}])


def edf(folder: Path) -> Path:
    rows = zip(LEADS, VALUES, strict=True)
    return ecg_files.write_edf(folder / "a.edf", [(name, "uV", row) for name, row in rows], per_record=[100] * 12)


def wfdb(folder: Path) -> Path:
    return ecg_files.write_wfdb(folder, VALUES, names=NAMED, extra=f" 12:00:00 {ecg_files.NAME}")


def matlab(folder: Path) -> Path:
    scipy.io.savemat(folder / "a.mat", {"val": VALUES, "name": ecg_files.NAME})
    return folder / "a.mat"


def hdf5(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as h:
        h["x"] = VALUES
        h["x"].attrs["name"] = ecg_files.NAME
    return folder / "a.h5"


def npy(folder: Path) -> Path:
    np.save(folder / "a.npy", VALUES)
    return folder / "a.npy"


def scp(folder: Path) -> Path:
    return scp_files.write_scp(folder / "a.scp", VALUES, LEADS)


def philips(folder: Path) -> Path:
    return philips_files.write_philips(folder / "a.xml", VALUES // 5)


def table(folder: Path) -> Path:
    lines = [",".join([*LEADS, ecg_files.NAME]), *(",".join(map(str, [*row, 0])) for row in VALUES.T)]
    (folder / "a.csv").write_text("\n".join(lines))
    return folder / "a.csv"


CARRIERS: dict[str, tuple[Callable[[Path], Path], dict]] = {
    "muse": (muse, {}),
    "aecg": (aecg, {}),
    "dicom": (dicom, {}),
    "edf": (edf, {}),
    "wfdb": (wfdb, {}),
    "scp": (scp, {}),
    "philips": (philips, {}),
    "matlab": (matlab, STATED),
    "hdf5": (hdf5, STATED),
    "npy": (npy, STATED),
    "csv": (table, {k: v for k, v in STATED.items() if k != "leads"}),
}


@pytest.mark.parametrize("carrier", list(CARRIERS))
def test_a_planted_name_never_surfaces(tmp_path: Path, caplog: pytest.LogCaptureFixture, carrier: str) -> None:
    write, options = CARRIERS[carrier]
    file = write(tmp_path)
    assert any(ecg_files.NAME.encode() in f.read_bytes() for f in tmp_path.iterdir()) or carrier == "npy"
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        record = read_record(file, "ecg", **options)
    for text in (repr(record), str(record.facts), caplog.text, *(str(w.message) for w in caught)):
        assert ecg_files.NAME not in text
        assert ecg_files.BIRTH not in text
    assert record.array.shape == (12, 200)


@pytest.mark.parametrize("carrier", list(CARRIERS))
def test_damage_is_a_read_error_that_quotes_nothing(tmp_path: Path, carrier: str) -> None:
    """Bytes overwritten, removed or repeated anywhere: a record or a ReadError, and no name in either."""
    write, options = CARRIERS[carrier]
    file = write(tmp_path)
    whole = file.read_bytes()
    rng = np.random.default_rng(list(CARRIERS).index(carrier))
    refused = 0
    for turn in range(60):
        data = bytearray(whole)
        # Half the damage in the first bytes, where the headers are.
        place = int(rng.integers(0, min(len(data), 600) if turn % 2 else len(data)))
        kind = turn % 4
        if kind == 0:
            data = data[:place]
        elif kind == 1:
            data[place : place + 4] = rng.integers(0, 256, 4).astype(np.uint8).tobytes()
        elif kind == 2:
            data[place:place] = ecg_files.NAME.encode()
        else:
            del data[place : place + int(rng.integers(1, 40))]
        file.write_bytes(bytes(data))
        try:
            record = read_record(file, "ecg", **options)
        except ReadError as error:
            refused += 1
            text = "".join(traceback.format_exception(error))
            assert error.where == file.name or error.where is None
            assert ecg_files.BIRTH not in text
            # The traceback shows source lines of this test, which contain no name of their own.
            assert ecg_files.NAME not in str(error)
            assert error.__cause__ is None or ecg_files.NAME not in str(error.__cause__)
        else:
            assert ecg_files.NAME not in repr(record)
            assert record.array.shape[0] == 12
    assert refused > 10


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.dcm", b"", "empty"),
        ("a.xml", b"%PDF-1.7", "a PDF document"),
        ("a.dat", b"\0\1\2\3" * 50, "no WFDB header beside it"),
        ("a.bin", b"\x89PNG\r\n\x1a\n\0\0\0", "not an ECG medfm reads"),
        ("a.scp", b"\0" * 200, "SCP-ECG"),
        ("a.xml", b"<html></html>", "no ECG of a kind"),
    ],
)
def test_other_files(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ReadError, match=words):
        read_record(tmp_path / name, "ecg")


def test_absent_files_and_folders(tmp_path: Path) -> None:
    for name in ("none.hea", "none.dcm", "none"):
        with pytest.raises(ReadError, match="does not exist"):
            read_record(tmp_path / name, "ecg")
    (tmp_path / "folder.edf").mkdir()
    with pytest.raises(ReadError, match="folder"):
        read_record(tmp_path / "folder.edf", "ecg")


def test_a_format_is_known_by_content_not_by_ending(tmp_path: Path) -> None:
    for carrier, (write, options) in CARRIERS.items():
        if carrier in ("wfdb", "csv"):
            continue
        folder = tmp_path / carrier
        folder.mkdir()
        file = write(folder)
        expected = read_record(file, "ecg", **options).array
        renamed = file.rename(folder / "b.bin")
        assert np.array_equal(read_record(renamed, "ecg", **options).array, expected, equal_nan=True)
