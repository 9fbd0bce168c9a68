"""Headers that are whole but wrong, field by field: EDF, aECG, WFDB; and short, long and odd recordings in each carrier."""

from collections.abc import Callable
from pathlib import Path

import ecg_files
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ReadError
from medfm.io.ecg.wfdb_header import DEFAULT_GAIN, read_header
from medfm.io.ecg.xml import parse_xml, text_of
from medfm.modalities.registry import read_record

VALUES = ecg_files.digital(4, 400)
LEADS = ecg_files.LEADS


def edf(folder: Path, values: np.ndarray = VALUES, rate: float = 500) -> Path:
    count = values.shape[1]
    rows = [(name, "uV", row) for name, row in zip(LEADS, values, strict=False)]
    return ecg_files.write_edf(folder / "a.edf", rows, per_record=[count] * len(rows), seconds=count / rate)


# Where the fields of an EDF with 12 signals lie: the fixed part, then a column of 12 cells per field.
FIXED = {"records": (236, 8), "seconds": (244, 8), "signals": (252, 4)}
WIDTHS = {
    "label": 16,
    "transducer": 80,
    "unit": 8,
    "pmin": 8,
    "pmax": 8,
    "dmin": 8,
    "dmax": 8,
    "filter": 80,
    "samples": 8,
}


def put(file: Path, field: str, text: str) -> None:
    data = bytearray(file.read_bytes())
    if field in FIXED:
        start, size = FIXED[field]
    else:
        names = list(WIDTHS)
        start = 256 + 12 * sum(WIDTHS[n] for n in names[: names.index(field)])
        size = WIDTHS[field]
    data[start : start + size] = text.encode("latin-1").ljust(size)
    file.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("records", "many", "number of data records is not a number"),
        ("records", "0", "no samples"),
        ("records", "-7", "no samples"),
        ("records", "2", "cut off: the header promises"),
        ("seconds", "0", "duration of a data record is 0"),
        ("seconds", "nan", "duration of a data record is nan"),
        ("signals", "0", "number of signals is 0"),
        ("signals", "99", "EDF header is cut off"),
        ("signals", "x", "number of signals is not a number"),
        ("samples", "-4", "samples per record is -4"),
        ("samples", ecg_files.NAME[:8], "samples per record is not a number"),
        ("pmax", "-32768", "range of a channel of the EDF file is empty"),
        ("dmax", "-32768", "range of a channel of the EDF file is empty"),
        ("pmin", "low", "physical min is not a number"),
        ("unit", "mmHg", "no voltage"),
        ("unit", "", "which unit"),
        ("label", "II", "Two channels are named as lead II"),
    ],
)
def test_edf_fields_that_are_wrong(tmp_path: Path, field: str, text: str, words: str) -> None:
    file = edf(tmp_path)
    put(file, field, text)
    with pytest.raises(ReadError, match=words) as caught:
        read_record(file, "ecg")
    assert ecg_files.NAME[:8] not in str(caught.value)


@settings(max_examples=30, deadline=None)
@given(low=st.integers(-2000, -1), high=st.integers(1, 2000))
def test_edf_scales_digits_to_the_physical_range(tmp_path_factory: pytest.TempPathFactory, low: int, high: int) -> None:
    file = edf(tmp_path_factory.mktemp("edf"))
    put(file, "pmin", str(low * 10))
    put(file, "pmax", str(high * 10))
    expected = ((VALUES[0].astype(float) + 32768) * (high - low) * 10 / 65535 + low * 10) / 1000
    np.testing.assert_allclose(read_record(file, "ecg").array[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('unit="ms"', 'unit="fortnight"', "interval is in an unknown unit"),
        ('increment value="2"', 'increment value="0"', "sampling interval is 0"),
        ('increment value="2"', f'increment value="{ecg_files.NAME}"', "sampling interval is not a number"),
        ("TIME_RELATIVE", "TIME_OTHER", "does not say its sampling rate"),
        ("<series>", "<other>", "malformed"),
        ("<digits>", f"<digits>{ecg_files.NAME} ", "not all numbers"),
        ('scale value="1"', 'scale value="one"', "scale is not a number"),
        ('origin value="0" unit="uV"', 'origin value="3" unit="mV"', "different units"),
        ('unit="uV"', 'unit="kg"', "no voltage"),
        ("SLIST_PQ", "SLIST_INT", "which unit"),
        ("sequenceSet>", "otherSet>", "no rhythm series"),
    ],
)
def test_aecg_that_is_wrong(tmp_path: Path, old: str, new: str, words: str) -> None:
    file = ecg_files.write_aecg(tmp_path / "a.xml", VALUES, LEADS)
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(ReadError, match=words) as caught:
        read_record(file, "ecg")
    assert ecg_files.NAME not in str(caught.value)


def test_aecg_leads_of_different_length(tmp_path: Path) -> None:
    file = ecg_files.write_aecg(tmp_path / "a.xml", VALUES, LEADS)
    file.write_text(file.read_text().replace("<digits>", "<digits>7 ", 1))
    with pytest.raises(ReadError, match=r"different lengths \(400 to 401 samples\)"):
        read_record(file, "ecg")


def test_aecg_takes_the_longest_sequence_set(tmp_path: Path) -> None:
    file = ecg_files.write_aecg(tmp_path / "a.xml", VALUES, LEADS)
    short = ecg_files.write_aecg(tmp_path / "b.xml", VALUES[:, :50] // 2, LEADS).read_text()
    series = short[short.index("<series>") + 8 : short.index("<derivation>")]
    file.write_text(file.read_text().replace("<series>", f"<series>{series}"))
    record = read_record(file, "ecg")
    assert record.array.shape == (12, 400)
    assert record.facts["sequence_sets"] == 2


def test_aecg_prefers_the_set_with_leads_one_and_two(tmp_path: Path) -> None:
    file = ecg_files.write_aecg(tmp_path / "a.xml", VALUES, LEADS)
    strip = ecg_files.write_aecg(tmp_path / "b.xml", np.tile(VALUES[1:2], 3), ["II"]).read_text()
    series = strip[strip.index("<series>") + 8 : strip.index("<derivation>")]
    file.write_text(file.read_text().replace("<series>", f"<series>{series}"))
    np.testing.assert_allclose(read_record(file, "ecg").array, VALUES / 1000, atol=1e-6)


def test_namespaces_are_cut_off() -> None:
    root = parse_xml(b'<a:x xmlns:a="urn:1" xmlns="urn:2"><b> t </b><a:c/></a:x>', "r")
    assert [e.tag for e in root.iter()] == ["x", "b", "c"]
    assert text_of(root, "b") == "t"
    assert text_of(root, "none") == text_of(None, "b") == ""


CARRIERS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    "muse": lambda folder, values: ecg_files.write_muse(folder / "a.xml", values, LEADS),
    "aecg": lambda folder, values: ecg_files.write_aecg(folder / "a.xml", values, LEADS),
    "dicom": lambda folder, values: ecg_files.write_dicom(folder / "a.dcm", [{"values": values}]),
    "edf": edf,
    "wfdb": ecg_files.write_wfdb,
}


@pytest.mark.parametrize("carrier", list(CARRIERS))
@pytest.mark.parametrize("samples", [2, 61, 1500])
def test_short_and_odd_lengths(tmp_path: Path, carrier: str, samples: int) -> None:
    values = ecg_files.digital(9, samples)
    record = read_record(CARRIERS[carrier](tmp_path, values), "ecg")
    np.testing.assert_allclose(record.array, values / 1000, atol=1e-6)
    assert record.facts["seconds"] == pytest.approx(samples / 500)


@pytest.mark.parametrize("carrier", list(CARRIERS))
def test_constant_and_silent_recordings(tmp_path: Path, carrier: str) -> None:
    with pytest.raises(ReadError, match="constant"):
        read_record(CARRIERS[carrier](tmp_path, np.full((12, 300), 5, np.int16)), "ecg")


@pytest.mark.parametrize("carrier", list(CARRIERS))
def test_a_wrong_unit_is_noticed_in_every_carrier(tmp_path: Path, carrier: str) -> None:
    file = CARRIERS[carrier](tmp_path, VALUES)
    with pytest.raises(ReadError, match="a thousand times an ECG"):
        read_record(file, "ecg", units="V")


def test_fields_of_a_signal_line(tmp_path: Path) -> None:
    lines = {
        "a.dat 16": (DEFAULT_GAIN, 0, None, "", False, 0),
        "a.dat 212 150": (150.0, 0, None, "", True, 0),
        "a.dat 16+24 1000/uV 16 7 1 2 0 Lead I": (1000.0, 7, "uV", "Lead I", True, 24),
        "a.dat 16:3+8 -2.5e2(-12)/mV 16 7 1 2 0 V1": (-250.0, -12, "mV", "V1", True, 8),
        "a.dat 16 0": (DEFAULT_GAIN, 0, None, "", False, 0),
    }
    for line, expected in lines.items():
        (tmp_path / "a.hea").write_text(f"a 1 500/125(3) 10\n# x\n{line}\n")
        header = read_header(tmp_path / "a.hea", "r")
        (signal,) = header.signals
        found = (signal.gain, signal.baseline, signal.units, signal.name, signal.calibrated, signal.offset)
        assert found == expected
        assert (header.sampling_hz, header.samples) == (500.0, 10)


def test_a_header_in_another_encoding(tmp_path: Path) -> None:
    header = ecg_files.write_wfdb(tmp_path, VALUES, gain="1/µV")
    header.write_bytes(header.read_text(encoding="utf-8").encode("latin-1"))
    np.testing.assert_allclose(read_record(header, "ecg").array, VALUES / 1000, atol=1e-6)
