"""SCP-ECG: one real recording against two other carriers, what we write read back, and hostile files."""

import struct
import time
from pathlib import Path

import ecg_files
import numpy as np
import pytest
import scp_files
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medfm.core.errors import ReadError
from medfm.io.ecg.scp import read_scp
from medfm.io.ecg.scp_huffman import DEFAULT, parse_tables, table, unpack
from medfm.modalities.registry import read_record

LEADS = ecg_files.LEADS
VALUES = ecg_files.digital(samples=300)
# A table of our own: frequent values short, the rest as 16 bits after a prefix.
OWN = [("00", 0, 0), ("01", 0, 1), ("100", 0, -1), ("101", 0, 40), ("110", 12, 0), ("111", 17, 0)]


def damaged(file: Path, sections: dict[int, bytes]) -> ReadError:
    """The error of a record of these sections (checksums right)."""
    file.write_bytes(scp_files.assemble(sections))
    with pytest.raises(ReadError) as caught:
        read_record(file, "ecg")
    assert caught.value.where == file.name
    assert ecg_files.NAME not in str(caught.value)
    return caught.value


def test_one_real_recording_is_equal_in_three_carriers(ecg: Path) -> None:
    scp = read_record(ecg / "formats" / "hl7_sample.scp", "ecg")
    assert scp.array.shape == (12, 5000)
    assert scp.facts["sampling_hz"] == 500
    assert scp.facts["huffman"] == "default"
    assert scp.facts["difference_order"] == 2
    assert scp.facts["record_checksum"] is True
    for other in ("hl7_sample_aecg.xml", "hl7_sample_dicom.dcm"):
        assert np.array_equal(scp.array, read_record(ecg / "formats" / other, "ecg").array)


@settings(max_examples=40, deadline=None)
@given(
    values=hnp.arrays(np.int16, st.tuples(st.integers(2, 5), st.integers(1, 60)), elements=st.integers(-8000, 8000)),
    order=st.sampled_from([0, 1, 2]),
    coding=st.sampled_from(["default", "own", "none"]),
)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, order: int, coding: str
) -> None:
    file = tmp_path_factory.mktemp("scp") / "a.scp"
    own = OWN if coding == "own" else None
    scp_files.write_scp(file, values, LEADS[: len(values)], order=order, huffman=coding, own=own, nanovolts=2500)
    raw = read_scp(file, {}, "a")
    assert np.array_equal(raw.values, values * 2.5)
    assert raw.names == LEADS[: len(values)]
    assert raw.sampling_hz == 500


def test_the_default_table_is_that_of_the_standard() -> None:
    codes = scp_files.default_codes()
    assert len(codes) == 19
    assert parse_tables(scp_files.table_bytes(codes), 1, "a")[0].code_of.tolist() == DEFAULT[0].code_of.tolist()
    numbers = [0, 1, -1, 8, -8, 9, -9, 127, -128, 128, -129, 32767, -32768]
    assert unpack(scp_files.pack_huffman(numbers, codes), DEFAULT, len(numbers), "a").tolist() == numbers


def test_a_code_can_switch_to_another_table() -> None:
    """Table 1: 0 -> 5, 10 -> table 2, 11 -> 6. Table 2: 0 -> 7, 1 -> table 1."""
    one = table([(1, 1, 1, 5, 0), (2, 2, 0, 2, 0b01), (2, 2, 1, 6, 0b11)])
    two = table([(1, 1, 1, 7, 0), (1, 1, 0, 1, 1)])
    bits = "0" + "11" + "10" + "0" + "0" + "1" + "0" + "1111"
    data = int(bits.ljust(16, "0"), 2).to_bytes(2, "big")
    assert unpack(data, (one, two), 6, "a").tolist() == [5, 6, 7, 7, 5, 6]


@pytest.mark.parametrize("microseconds", [1000, 2000, 4000, 7813])
def test_rates(tmp_path: Path, microseconds: int) -> None:
    file = scp_files.write_scp(tmp_path / "a.scp", VALUES, LEADS, microseconds=microseconds)
    record = read_record(file, "ecg")
    assert record.facts["sampling_hz"] == pytest.approx(1e6 / microseconds)
    np.testing.assert_allclose(record.array, VALUES / 1000, atol=1e-6)


def test_eight_leads_and_leads_that_start_later(tmp_path: Path) -> None:
    names = ["I", "II", *LEADS[6:]]
    stored = VALUES[[LEADS.index(n) for n in names]]
    record = read_record(scp_files.write_scp(tmp_path / "a.scp", stored, names), "ecg")
    assert record.facts["derived_leads"] == ["III", "aVR", "aVL", "aVF"]
    np.testing.assert_allclose(record.array, VALUES / 1000, atol=1.1e-3)
    starts = [11] * 6 + [31] * 6  # as machines write that record three leads at a time
    record = read_record(scp_files.write_scp(tmp_path / "b.scp", VALUES, LEADS, starts=starts), "ecg")
    assert record.array.shape == (12, 320)
    assert set(record.facts["missing"]) == {(n, 300, 320) for n in LEADS[:6]} | {(n, 0, 20) for n in LEADS[6:]}
    np.testing.assert_allclose(record.array[6:, 20:], VALUES[6:] / 1000, atol=1e-6)


def with_beats(places: list[tuple[int, int, int, int]], length: int = 50, centre: int = 20) -> tuple[dict, np.ndarray]:
    """Sections of a record whose rhythm lacks the beat at `places`, and what it should be, in uV."""
    beat = VALUES[:, 100 : 100 + length]
    whole = VALUES.astype(np.int64)
    residual = whole.copy()
    for kind, start, fiducial, end in places:
        for n in range(start, end + 1):  # samples from 1, as in the standard
            if kind == 0 and 1 <= centre + n - fiducial <= length:
                residual[:, n - 1] -= beat[:, centre + n - fiducial - 1]
    sections = scp_files.bodies(residual, LEADS, flags=0x05)
    sections[4] = struct.pack("<HHH", length * 2, centre, len(places)) + b"".join(
        struct.pack("<HIII", *place) for place in places
    )
    packed = [scp_files.pack_huffman(scp_files.differences(row, 1), scp_files.default_codes()) for row in beat]
    sections[5] = struct.pack("<HHBB", 1000, 2000, 1, 0) + struct.pack("<12H", *map(len, packed)) + b"".join(packed)
    return sections, whole


@pytest.mark.parametrize(
    "places",
    [
        [(0, 31, 50, 80)],
        [(0, 31, 50, 80), (1, 90, 110, 140), (0, 151, 170, 200)],  # another kind of beat stays as it is
        [(0, 1, 10, 40), (0, 260, 290, 300)],  # cut by both ends
        [],
    ],
)
def test_the_reference_beat_is_put_back(tmp_path: Path, places: list[tuple[int, int, int, int]]) -> None:
    sections, whole = with_beats(places)
    (tmp_path / "a.scp").write_bytes(scp_files.assemble(sections))
    record = read_record(tmp_path / "a.scp", "ecg")
    np.testing.assert_allclose(record.array, whole / 1000, atol=1e-6)
    assert record.facts["reference_beat_subtracted"] is True


def test_a_beat_of_another_rate_and_a_lacking_beat_are_refused(tmp_path: Path) -> None:
    sections, _ = with_beats([(0, 31, 50, 80)])
    other = dict(sections)
    other[5] = struct.pack("<HHBB", 1000, 1000, 1, 0) + sections[5][6:]
    assert "another rate" in damaged(tmp_path / "a.scp", other).what
    del sections[5]
    assert "no section 5" in damaged(tmp_path / "b.scp", sections).what


def test_bimodal_compression_is_refused_with_a_way_out(tmp_path: Path) -> None:
    error = damaged(tmp_path / "a.scp", scp_files.bodies(VALUES, LEADS, bimodal=1))
    assert "bimodal" in error.what
    assert "DICOM" in (error.fix or "")


@pytest.mark.parametrize(
    ("number", "body", "words"),
    [
        (3, b"", "describes no lead"),
        (3, b"\x0c\x64" + b"\1" * 20, "list of leads is cut off"),
        (3, b"\2\4" + struct.pack("<IIB", 5, 4, 1) * 2, "has no samples"),
        (3, b"\2\4" + struct.pack("<IIB", 1, 4_000_000_000, 1) + struct.pack("<IIB", 1, 300, 2), "cut off|too many"),
        (3, b"\2\4" + struct.pack("<IIB", 1, 10, 1) + struct.pack("<IIB", 4_000_000_000, 4_000_000_009, 2), "too many"),
        (6, b"", "cut off"),
        (6, struct.pack("<HHBB", 0, 2000, 0, 0) + b"\0" * 24, "no scale"),
        (6, struct.pack("<HHBB", 1000, 0, 0, 0) + b"\0" * 24, "no scale"),
        (6, struct.pack("<HHBB", 1000, 2000, 3, 0) + b"\0" * 24, "order of differences"),
        (6, struct.pack("<HHBB", 1000, 2000, 0, 0) + b"\xff" * 24, "cut off"),
        (6, struct.pack("<HHBB", 1000, 2000, 0, 0) + b"\0" * 24, "cut off"),
        (2, b"\1", "Huffman tables of the SCP-ECG record are cut off"),
        (2, struct.pack("<H", 0), "promises 0 Huffman tables"),
        (2, struct.pack("<H", 60000), "promises 60000 Huffman tables"),
        (2, struct.pack("<HH", 1, 60000), "cut off or empty"),
        (2, struct.pack("<HH", 1, 1) + struct.pack("<BBBhI", 0, 0, 1, 0, 0), "impossible length"),
        (2, struct.pack("<HH", 1, 1) + struct.pack("<BBBhI", 30, 30, 1, 0, 0), "impossible length"),
        (2, struct.pack("<HH", 1, 1) + struct.pack("<BBBhI", 1, 200, 1, 0, 0), "impossible length"),
        (2, struct.pack("<HH", 1, 2) + struct.pack("<BBBhI", 1, 1, 1, 0, 0) * 2, "begin alike"),
        (2, struct.pack("<HH", 1, 1) + struct.pack("<BBBhI", 1, 1, 0, 7, 0), "table that is not there"),
        (2, struct.pack("<HH", 1, 1) + struct.pack("<BBBhI", 1, 1, 1, 0, 0), "code that its table lacks"),
    ],
)  # fmt: skip
def test_sections_that_are_wrong(tmp_path: Path, number: int, body: bytes, words: str) -> None:
    sections = scp_files.bodies(VALUES, LEADS) | {number: body}
    started = time.monotonic()
    error = damaged(tmp_path / "a.scp", sections)
    assert __import__("re").search(words, error.what), error.what
    assert time.monotonic() - started < 2


def test_a_table_that_only_switches_ends(tmp_path: Path) -> None:
    loop = struct.pack("<HH", 1, 2) + struct.pack("<BBBhI", 1, 1, 0, 1, 0) + struct.pack("<BBBhI", 1, 1, 0, 1, 1)
    assert "cut off" in damaged(tmp_path / "a.scp", scp_files.bodies(VALUES, LEADS) | {2: loop}).what


@pytest.mark.parametrize("number", [0, 2, 3, 6])
def test_a_changed_byte_fails_the_checksum_of_its_section(tmp_path: Path, number: int) -> None:
    data = bytearray(scp_files.assemble(scp_files.bodies(VALUES, LEADS)))
    size, index = struct.unpack_from("<II", data, 22 + 10 * number + 2)
    data[index - 1 + size - 1] ^= 0x20
    (tmp_path / "a.scp").write_bytes(bytes(data))
    with pytest.raises(ReadError, match=f"Section {number} of the SCP-ECG record does not fit its checksum"):
        read_record(tmp_path / "a.scp", "ecg")


def test_a_blanked_name_leaves_the_recording_readable_and_noted(tmp_path: Path) -> None:
    data = scp_files.assemble(scp_files.bodies(VALUES, LEADS))
    (tmp_path / "a.scp").write_bytes(data.replace(ecg_files.NAME.encode(), b"X" * len(ecg_files.NAME)))
    record = read_record(tmp_path / "a.scp", "ecg")
    assert record.facts["record_checksum"] is False
    np.testing.assert_allclose(record.array, VALUES / 1000, atol=1e-6)


@pytest.mark.parametrize(("size", "index"), [(100, 1 << 31), (1 << 31, 7), (4, 7), (400, 0), (100, 7)])
def test_pointers_that_lead_elsewhere(tmp_path: Path, size: int, index: int) -> None:
    data = bytearray(scp_files.assemble(scp_files.bodies(VALUES, LEADS)))
    struct.pack_into("<II", data, 22 + 10 * 6 + 2, size, index)
    length = struct.unpack_from("<I", data, 10)[0]
    import binascii

    struct.pack_into("<H", data, 6, binascii.crc_hqx(bytes(data[8 : 6 + length]), 0xFFFF))
    (tmp_path / "a.scp").write_bytes(bytes(data))
    with pytest.raises(ReadError, match="pointer to section 6"):
        read_record(tmp_path / "a.scp", "ecg")


def test_truncated_anywhere(tmp_path: Path) -> None:
    data = scp_files.assemble(scp_files.bodies(VALUES, LEADS))
    for cut in (1, 5, 21, 30, 150, 200, 400, len(data) // 2, len(data) - 1):
        (tmp_path / "a.scp").write_bytes(data[:cut])
        with pytest.raises(ReadError) as caught:
            read_record(tmp_path / "a.scp", "ecg")
        assert "cut off" in caught.value.what


def test_random_damage_never_hangs_or_leaks(tmp_path: Path) -> None:
    data = scp_files.assemble(scp_files.bodies(VALUES, LEADS, huffman="own", own=OWN))
    rng = np.random.default_rng(0)
    for _ in range(150):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            broken[place] = rng.integers(256)
        (tmp_path / "a.scp").write_bytes(bytes(broken))
        try:
            record = read_record(tmp_path / "a.scp", "ecg")
        except ReadError as error:
            assert ecg_files.NAME not in str(error)
        else:
            assert record.array.shape == (12, 300)


def test_known_by_content_whatever_its_ending(tmp_path: Path) -> None:
    file = scp_files.write_scp(tmp_path / "export.bin", VALUES, LEADS)
    assert read_record(file, "ecg").facts["format"] == "scp-ecg"
    (tmp_path / "b.scp").write_bytes(b"not a recording at all, but long enough to be looked at")
    with pytest.raises(ReadError):
        read_record(tmp_path / "b.scp", "ecg")
