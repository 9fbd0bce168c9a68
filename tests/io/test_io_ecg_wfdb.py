"""WFDB: our decoder against the wfdb library on real and written records, and every kind of damage."""

import hashlib
from pathlib import Path

import ecg_files
import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ReadError
from medfm.io.ecg.wfdb import read_wfdb, wfdb_files
from medfm.io.ecg.wfdb_formats import MISSING, bytes_needed, decode, samples_held
from medfm.io.ecg.wfdb_header import header_path, read_header
from medfm.modalities.registry import read_record

VALUES = ecg_files.digital()
RANGE = {"16": 15, "24": 23, "32": 31, "61": 15, "80": 7, "160": 15, "212": 11}


def test_real_records_equal_the_library_bit_for_bit(ecg: Path) -> None:
    headers = sorted((ecg / "records").rglob("*.hea"))[::4] + sorted((ecg / "formats").glob("wfdb_*/*.hea"))
    assert len(headers) > 40
    for header in headers:
        expected, fields = wfdb.rdsamp(str(header.with_suffix("")))
        raw = read_wfdb(header, "r")
        np.testing.assert_array_equal(raw.values, expected.T)
        assert raw.names == fields["sig_name"]
        assert raw.sampling_hz == fields["fs"]
        assert raw.facts["checksums_verified"] is True or any(not row.any() for row in raw.values)


def test_headers_with_dates_that_the_library_refuses(ecg: Path) -> None:
    for header in sorted((ecg / "formats" / "cinc2020_dated_header").glob("*.hea")):
        record = read_record(header, "ecg")
        assert record.array.shape == (12, record.facts["samples"])
        assert np.isfinite(record.array).all()


def test_lower_case_names_and_frank_leads(ecg: Path) -> None:
    record = read_record(ecg / "formats" / "wfdb_ptb" / "s0010_re", "ecg")
    assert record.array.shape == (12, 38400)
    assert record.facts["extra_leads"] == ["VX", "VY", "VZ"]
    assert record.facts["units_source"] == "WFDB default (mV)"
    expected, fields = wfdb.rdsamp(str(ecg / "formats" / "wfdb_ptb" / "s0010_re"))
    order = [
        fields["sig_name"].index(n) for n in ["i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6"]
    ]
    np.testing.assert_array_equal(record.array, expected[:, order].T.astype(np.float32))


def test_a_record_is_named_by_header_signal_file_or_neither(ecg: Path) -> None:
    folder = ecg / "formats" / "wfdb_ludb"
    arrays = [read_record(folder / name, "ecg").array for name in ("1.hea", "1.dat", "1")]
    assert np.array_equal(arrays[0], arrays[1])
    assert np.array_equal(arrays[0], arrays[2])


@pytest.mark.parametrize("fmt", sorted(MISSING))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_decoding_inverts_packing(fmt: str, data: st.DataObject) -> None:
    limit = 1 << RANGE[fmt]
    numbers = data.draw(st.lists(st.integers(-limit, limit - 1), min_size=1, max_size=33))
    packed = ecg_files.pack(np.array([numbers]), fmt)
    assert len(packed) == bytes_needed(fmt, len(numbers))
    assert samples_held(fmt, len(packed)) >= len(numbers)
    assert decode(packed, fmt, len(numbers)).tolist() == numbers


@pytest.mark.parametrize("fmt", sorted(MISSING))
@pytest.mark.parametrize("samples", [700, 701])
def test_written_records_equal_the_library(tmp_path: Path, fmt: str, samples: int) -> None:
    values = ecg_files.digital(3, samples).astype(np.int64) // (8 if fmt == "80" else 1)
    values = np.clip(values, -(1 << RANGE[fmt]) + 1, (1 << RANGE[fmt]) - 1)
    values[4, 20:30] = MISSING[fmt]
    header = ecg_files.write_wfdb(tmp_path, values, fmt, gain="123.5(7)/mV", checksums=False)
    raw = read_wfdb(header, "r")
    expected = (values - 7) / 123.5
    expected[4, 20:30] = np.nan
    np.testing.assert_array_equal(raw.values, expected)
    np.testing.assert_allclose(wfdb.rdsamp(str(tmp_path / "rec"))[0].T, expected, rtol=1e-12)


def test_missing_samples_are_marked_in_the_record(tmp_path: Path) -> None:
    values = ecg_files.digital()
    values[7, 100:150] = -32768
    record = read_record(ecg_files.write_wfdb(tmp_path, values), "ecg")
    assert record.facts["missing"] == [("V2", 100, 150)]
    assert np.isnan(record.array).sum() == 50


def test_matlab_signal_file_with_offset(tmp_path: Path) -> None:
    header = ecg_files.write_wfdb(tmp_path, VALUES, ending=".mat", prefix=b"\0" * 24)
    assert np.array_equal(read_wfdb(header, "r").values, VALUES / 1000)
    assert np.array_equal(read_wfdb(tmp_path / "rec.mat", "r").values, VALUES / 1000)


def test_two_signal_files(tmp_path: Path) -> None:
    a = ecg_files.write_wfdb(tmp_path, VALUES[:8], name="a")
    b = ecg_files.write_wfdb(tmp_path, VALUES[8:], name="b", names=ecg_files.LEADS[8:], fmt="212")
    signals = [line for f in (a, b) for line in f.read_text().splitlines()[1:] if not line.startswith("#")]
    header = tmp_path / "both.hea"
    header.write_text("\n".join(["both 12 500 700", *signals]))
    assert np.array_equal(read_wfdb(header, "r").values, VALUES / 1000)
    assert wfdb_files(header, "r") == (header, tmp_path / "a.dat", tmp_path / "b.dat")


def test_segments_with_a_gap(tmp_path: Path) -> None:
    ecg_files.write_wfdb(tmp_path, VALUES[:, :300], name="s1")
    ecg_files.write_wfdb(tmp_path, VALUES[:, 400:], name="s2")
    (tmp_path / "multi.hea").write_text("multi/3 12 500 700\ns1 300\n~ 100\ns2 300\n")
    record = read_record(tmp_path / "multi.hea", "ecg")
    assert record.facts["segments"] == 3
    assert record.facts["missing"] == [(lead, 300, 400) for lead in ecg_files.LEADS]
    np.testing.assert_allclose(record.array[:, :300], VALUES[:, :300] / 1000, atol=1e-6)
    np.testing.assert_allclose(record.array[:, 400:], VALUES[:, 400:] / 1000, atol=1e-6)
    assert {file.name for file in wfdb_files(tmp_path / "multi.hea", "r")} == {
        "multi.hea", "s1.hea", "s1.dat", "s2.hea", "s2.dat",
    }  # fmt: skip


def test_segments_with_a_layout_and_different_channels(tmp_path: Path) -> None:
    ecg_files.write_wfdb(tmp_path, VALUES[:2, :300], name="s1")
    ecg_files.write_wfdb(tmp_path, VALUES[:3, 300:], name="s2")
    lines = [f"~ 0 1000/mV 16 0 0 0 0 {name}" for name in ("II", "I", "III")]
    (tmp_path / "lay.hea").write_text("\n".join(["lay 3 500 0", *lines]))
    (tmp_path / "multi.hea").write_text("multi/3 3 500 700\nlay 0\ns1 300\ns2 400\n")
    raw = read_wfdb(tmp_path / "multi.hea", "r")
    assert raw.names == ["II", "I", "III"]
    assert np.array_equal(raw.values[:2], VALUES[[1, 0]] / 1000)
    assert np.isnan(raw.values[2, :300]).all()
    assert np.array_equal(raw.values[2, 300:], VALUES[2, 300:] / 1000)


def test_segments_that_do_not_fit_together(tmp_path: Path) -> None:
    ecg_files.write_wfdb(tmp_path, VALUES, name="s1")
    ecg_files.write_wfdb(tmp_path, VALUES, name="s2", rate="250")
    ecg_files.write_wfdb(tmp_path, VALUES, name="s3", gain="1/uV")
    multi = tmp_path / "multi.hea"
    for text, words in [
        ("multi/1 12 500 701\ns1 701\n", "segment is cut off"),
        ("multi/2 12 500 1400\ns1 700\ns2 700\n", "another sampling frequency"),
        ("multi/2 12 500 1400\ns1 700\ns3 700\n", "different units"),
        ("multi/1 12 500 900\ns1 700\n", "record is cut off"),
        ("multi/1 12 500 900\n~ 900\n", "no samples"),
        ("multi/1 12 500 900\nmulti 900\n", "segments itself"),
        ("multi/1 12 500 900\ns1 -3\n", "impossible length"),
        ("multi/2 12 500 900\ns1 700\n~ 2000000000\n", "too long"),
    ]:
        multi.write_text(text)
        with pytest.raises(ReadError, match=words):
            read_wfdb(multi, "r")


def test_signals_of_two_rates_are_brought_to_the_highest(tmp_path: Path) -> None:
    time = np.arange(1000) / 500
    fast, slow = (np.rint(300 * np.sin(2 * np.pi * 3 * t)).astype(np.int16) for t in (time, time[::2]))
    frames = np.stack([fast[0::2], fast[1::2], slow], axis=1)
    (tmp_path / "m.dat").write_bytes(frames.astype("<i2").tobytes())
    (tmp_path / "m.hea").write_text("m 2 250 500\nm.dat 16x2 1000/mV 16 0 0 0 0 I\nm.dat 16 1000/mV 16 0 0 0 0 II\n")
    raw = read_wfdb(tmp_path / "m.hea", "r")
    assert raw.sampling_hz == 500
    assert raw.values.shape == (2, 1000)
    np.testing.assert_allclose(raw.values[0], fast / 1000, atol=1e-9)
    np.testing.assert_allclose(raw.values[1][20:-20], fast[20:-20] / 1000, atol=3e-3)


def test_formats_left_to_the_library(tmp_path: Path) -> None:
    small = VALUES[:3].astype(np.int64) // 2
    wfdb.wrsamp("p", 500, ["mV"] * 3, ["I", "II", "V1"], d_signal=small.T, fmt=["16"] * 3,
                adc_gain=[500.0] * 3, baseline=[0] * 3, write_dir=str(tmp_path))  # fmt: skip
    # 310: three 10-bit samples in two 16-bit words, the third in their spare high bits.
    flat = small.T.reshape(-1) & 0x3FF
    a, b, c = flat[0::3], flat[1::3], flat[2::3]
    words = np.stack([a << 1 | (c & 0x1F) << 11, b << 1 | (c >> 5) << 11], axis=1)
    (tmp_path / "p.dat").write_bytes(words.astype("<u2").tobytes())
    header = (tmp_path / "p.hea").read_text().replace("p.dat 16 ", "p.dat 310 ")
    (tmp_path / "p.hea").write_text(header)
    raw = read_wfdb(tmp_path / "p.hea", "r")
    assert raw.facts["decoded_by"] == "wfdb"
    np.testing.assert_allclose(raw.values, small / 500)


@pytest.mark.parametrize("cut", [1, 24, 8000, 16799])
def test_a_truncated_signal_file_is_refused(tmp_path: Path, cut: int) -> None:
    header = ecg_files.write_wfdb(tmp_path, VALUES)
    signal = tmp_path / "rec.dat"
    signal.write_bytes(signal.read_bytes()[:-cut])
    with pytest.raises(ReadError, match=f"promises 16800 bytes, the file holds {16800 - cut}"):
        read_wfdb(header, "r")


def test_a_header_that_promises_more_than_the_file_holds(tmp_path: Path) -> None:
    header = ecg_files.write_wfdb(tmp_path, VALUES, samples=701)
    with pytest.raises(ReadError, match="cut off"):
        read_wfdb(header, "r")


def test_without_a_length_the_file_decides(tmp_path: Path) -> None:
    header = ecg_files.write_wfdb(tmp_path, VALUES, samples=0)
    assert read_wfdb(header, "r").values.shape == VALUES.shape


def test_a_changed_sample_fails_the_checksum(tmp_path: Path) -> None:
    header = ecg_files.write_wfdb(tmp_path, VALUES)
    data = bytearray((tmp_path / "rec.dat").read_bytes())
    data[2 * (12 * 300 + 4)] ^= 1
    (tmp_path / "rec.dat").write_bytes(data)
    with pytest.raises(ReadError, match="signal 5 do not fit the checksum"):
        read_wfdb(header, "r")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("# Mustermann\n", "no record line"),
        ("rec\n", "incomplete"),
        ("rec twelve 500\n", "number of signals in the WFDB header is not a whole number"),
        ("rec 0 500\n", "describes no signal"),
        ("rec 2 500 700\nrec.dat 16\n", "describes 1 of 2 signals"),
        ("rec 1 fast 700\nrec.dat 16\n", "sampling frequency is not a number"),
        ("rec 1 -5 700\nrec.dat 16\n", "sampling frequency is -5"),
        ("rec 1 500 99999999999\nrec.dat 16\n", "promises 99999999999 samples"),
        ("rec 1 500 700\nrec.dat x16\n", "no storage format"),
        ("rec 1 500 700\nrec.dat 16 a/mV\n", "unreadable gain"),
        ("rec 1 500 700\n../../etc/passwd 16 200\n", "outside its own folder"),
        ("rec 1 500 700\n/etc/passwd 16 200\n", "outside its own folder"),
        ("rec/2 1 500 700\n../other 350\nrec2 350\n", "outside its own folder"),
        ("rec/2 1 500 700\ns1 350\n", "lists 1 of 2 segments"),
        ("rec 1 500 700\nnone.dat 16 200\n", "The signal file does not exist"),
        ("rec 1 500 700\nnone.dat 508 200\n", "file of the record is missing"),
        ("rec 2 500 700\nrec.dat 16 200\nrec.dat 212 200\n", "two storage formats"),
    ],
)
def test_malformed_headers(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "rec.dat").write_bytes(b"\1\0" * 700)
    header = tmp_path / "rec.hea"
    header.write_text(text)
    with pytest.raises(ReadError, match=words) as caught:
        read_wfdb(header, "case 7")
    assert caught.value.where == "case 7"
    assert "Mustermann" not in str(caught.value)


@pytest.mark.parametrize("made", ["empty", "folder"])
def test_errors_say_that_the_signal_file_is_meant(tmp_path: Path, made: str) -> None:
    # `where` is the header, which is neither empty nor absent.
    header = tmp_path / "rec.hea"
    header.write_text("rec 1 500 700\nrec.dat 16 200\n")
    if made == "empty":
        (tmp_path / "rec.dat").write_bytes(b"")
    else:
        (tmp_path / "rec.dat").mkdir()
    with pytest.raises(ReadError) as caught:
        read_wfdb(header, "rec.hea")
    assert str(caught.value).startswith(
        "The signal file is empty (0 bytes)." if made == "empty" else "The signal file is a folder."
    )
    header.write_bytes(b"")
    with pytest.raises(ReadError, match="The header is empty"):
        read_wfdb(header, "rec.hea")


def test_an_uncalibrated_record_says_so(tmp_path: Path) -> None:
    raw = read_wfdb(ecg_files.write_wfdb(tmp_path, VALUES, gain="0/mV"), "r")
    assert raw.facts["calibrated"] is False
    assert np.array_equal(raw.values, VALUES / 200)


def test_a_header_without_a_rate_does_not_invent_one(tmp_path: Path) -> None:
    header = tmp_path / "rec.hea"
    (tmp_path / "rec.dat").write_bytes(ecg_files.pack(VALUES[:2], "16"))
    header.write_text("rec 2\nrec.dat 16 1000/mV 16 0 0 0 0 I\nrec.dat 16 1000/mV 16 0 0 0 0 II\n")
    with pytest.raises(ReadError, match="does not say its sampling rate"):
        read_record(header, "ecg")
    assert read_record(header, "ecg", sampling_hz=500).facts["sampling_source"] == "cohort"


def test_header_path_prefers_the_name_with_the_ending(tmp_path: Path) -> None:
    (tmp_path / "a.b.hea").write_text("x")
    assert header_path(tmp_path / "a.b") == tmp_path / "a.b.hea"
    assert header_path(tmp_path / "a.dat") == tmp_path / "a.hea"


def test_comments_are_not_read(tmp_path: Path) -> None:
    header = read_header(ecg_files.write_wfdb(tmp_path, VALUES), "r")
    assert ecg_files.NAME not in repr(header)


def test_the_header_bytes_and_the_signal_bytes_are_both_in_files(tmp_path: Path) -> None:
    header = ecg_files.write_wfdb(tmp_path, VALUES)
    files = wfdb_files(header, "r")
    before = [hashlib.sha256(f.read_bytes()).hexdigest() for f in files]
    (tmp_path / "rec.dat").write_bytes(ecg_files.pack(VALUES[::-1], "16"))
    after = [hashlib.sha256(f.read_bytes()).hexdigest() for f in files]
    assert before[0] == after[0]
    assert before[1] != after[1]
