"""MATLAB, HDF5, NumPy and CSV: bare numbers with rate, units and leads from the cohort."""

from pathlib import Path

import ecg_files
import h5py
import numpy as np
import pytest
import scipy.io

from medfm.core.errors import ReadError
from medfm.modalities.registry import read_record

VALUES = ecg_files.digital()
MILLIVOLT = (VALUES / 1000).astype(np.float32)
STATED = {"sampling_hz": 500, "units": "uV", "leads": ",".join(ecg_files.LEADS)}


def write(folder: Path, kind: str, values: np.ndarray) -> Path:
    file = folder / f"a.{kind}"
    if kind == "npy":
        np.save(file, values)
    elif kind == "mat":
        scipy.io.savemat(file, {"val": values})
    elif kind == "h5":
        with h5py.File(file, "w") as h:
            h["group/signal"] = values
            h.attrs["patient"] = ecg_files.NAME
    else:
        np.savetxt(file, values, delimiter=",", fmt="%d")
    return file


@pytest.mark.parametrize("kind", ["npy", "mat", "h5", "csv"])
@pytest.mark.parametrize("turned", [False, True])
def test_bare_numbers_in_both_orders(tmp_path: Path, kind: str, turned: bool) -> None:
    record = read_record(write(tmp_path, kind, VALUES.T if turned else VALUES), "ecg", **STATED)
    np.testing.assert_allclose(record.array, MILLIVOLT, atol=1e-6)
    assert record.facts["sampling_source"] == record.facts["units_source"] == record.facts["leads_source"] == "cohort"


@pytest.mark.parametrize("kind", ["npy", "mat", "h5", "csv"])
@pytest.mark.parametrize("left_out", ["sampling_hz", "units", "leads"])
def test_nothing_is_guessed(tmp_path: Path, kind: str, left_out: str) -> None:
    file = write(tmp_path, kind, VALUES)
    with pytest.raises(ReadError) as caught:
        read_record(file, "ecg", **{k: v for k, v in STATED.items() if k != left_out})
    assert f"'{left_out}' column" in str(caught.value.fix)


def test_the_challenge_file_without_its_header(ecg: Path, tmp_path: Path) -> None:
    base = ecg / "records" / "cpsc2018" / "A0001"
    (tmp_path / "A0001.mat").write_bytes(base.with_suffix(".mat").read_bytes())
    alone = read_record(tmp_path / "A0001.mat", "ecg", **STATED)
    assert alone.facts["format"] == "matlab"
    np.testing.assert_allclose(alone.array, read_record(base, "ecg").array, atol=1e-6)


def test_the_struct_of_cpsc2018(tmp_path: Path) -> None:
    file = tmp_path / "A0001.mat"
    scipy.io.savemat(file, {"ECG": {"sex": "Male", "age": 74, "data": VALUES / 1000, "name": ecg_files.NAME}})
    record = read_record(file, "ecg")
    np.testing.assert_allclose(record.array, MILLIVOLT, atol=1e-6)
    assert record.facts["sampling_hz"] == 500
    assert record.facts["units_source"] == "CPSC2018 layout (mV)"
    assert ecg_files.NAME not in repr(record)


def test_a_struct_of_another_kind(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"ECG": {"sex": "Male"}})
    with pytest.raises(ReadError, match="no field 'data'"):
        read_record(tmp_path / "a.mat", "ecg", **STATED)


def test_a_named_variable(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"other": np.ones((3, 4)), "signal": VALUES})
    with pytest.raises(ReadError, match="no variable val or ECG"):
        read_record(tmp_path / "a.mat", "ecg", **STATED)
    record = read_record(tmp_path / "a.mat", "ecg", **STATED, dataset="signal")
    np.testing.assert_allclose(record.array, MILLIVOLT, atol=1e-6)


def test_matlab_of_version_7_3_is_hdf5(tmp_path: Path) -> None:
    file = tmp_path / "a.mat"
    with h5py.File(file, "w", userblock_size=512) as h:
        h["val"] = VALUES.T
    file.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + file.read_bytes()[512:])
    np.testing.assert_allclose(read_record(file, "ecg", **STATED).array, MILLIVOLT, atol=1e-6)


def test_the_data_set_of_an_hdf5_file(tmp_path: Path) -> None:
    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as h:
        h["one"], h["two/deep"], h["text"] = VALUES[::-1], VALUES, "x"
    with pytest.raises(ReadError, match="2 data sets of two axes"):
        read_record(file, "ecg", **STATED)
    with pytest.raises(ReadError, match="no such data set"):
        read_record(file, "ecg", **STATED, dataset="three")
    np.testing.assert_allclose(read_record(file, "ecg", **STATED, dataset="/two/deep").array, MILLIVOLT, atol=1e-6)


def test_data_outside_the_hdf5_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "raw.bin").write_bytes(VALUES.tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as h:
        h.create_dataset("x", VALUES.shape, "i2", external=[(str(tmp_path / "raw.bin"), 0, h5py.h5f.UNLIMITED)])
    with pytest.raises(ReadError, match="outside the HDF5 file"):
        read_record(tmp_path / "a.h5", "ecg", **STATED)
    with h5py.File(tmp_path / "b.h5", "w") as h:
        h["x"] = h5py.ExternalLink(str(tmp_path / "a.h5"), "x")
    with pytest.raises(ReadError, match="0 data sets"):
        read_record(tmp_path / "b.h5", "ecg", **STATED)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(ReadError, match="holds objects"):
        read_record(tmp_path / "a.npy", "ecg", **STATED)


@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", ","), (" ", ".")])
def test_tables_with_a_first_line(tmp_path: Path, separator: str, decimal: str) -> None:
    lines = [separator.join(["time", *ecg_files.LEADS])]
    for number, row in enumerate(MILLIVOLT.T):
        lines.append(separator.join([str(number), *(f"{v:.3f}".replace(".", decimal) for v in row)]))
    (tmp_path / "a.csv").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    record = read_record(tmp_path / "a.csv", "ecg", sampling_hz=500, units="mV")
    np.testing.assert_allclose(record.array, MILLIVOLT, atol=1e-6)
    assert record.facts["leads_source"] == "file"


def test_empty_cells_are_missing_samples(tmp_path: Path) -> None:
    rows = [["I", "II"], *([str(a), str(b)] for a, b in VALUES[:2].T)]
    rows[11][1] = ""
    rows[12][1] = "NaN"
    (tmp_path / "a.csv").write_text("\n".join(",".join(row) for row in rows))
    missing = read_record(tmp_path / "a.csv", "ecg", sampling_hz=500, units="uV").facts["missing"]
    assert missing[0] == ("II", 10, 12)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n \n", "empty"),
        ("I,II\n", "no samples"),
        ("I,II\n1,2\n3\n", "Line 3 has 1 cells"),
        ("I,II\n1,2\n3,Mustermann\n", "Line 3, column 2 is not a number"),
        ("a,b\n1,2\n", "names a lead"),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ReadError, match=words) as caught:
        read_record(tmp_path / "a.csv", "ecg", sampling_hz=500, units="mV")
    assert "Mustermann" not in str(caught.value)
