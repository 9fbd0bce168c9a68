"""Huffman codes of SCP-ECG and LZW codes of Philips files against decoders that read bit by bit."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from philips_files import lzw
from scp_files import Code, default_codes, pack_huffman, table_bytes

from medfm.core.errors import ReadError
from medfm.io.ecg.philips import _lzw, _undo_differences
from medfm.io.ecg.scp_huffman import DEFAULT, Table, parse_tables, table, unpack

Row = tuple[int, int, int, int, int]


def plain_decoder(data: bytes, rows: list[Row], count: int) -> list[int]:
    """One bit after the other, from the description of the standard."""
    bits = "".join(f"{byte:08b}" for byte in data)
    codes = {f"{code:0{prefix}b}"[::-1]: (total, value) for prefix, total, _, value, code in rows}
    found, place = [], 0
    while len(found) < count:
        length = next(n for n in range(1, 17) if bits[place : place + n] in codes)
        total, value = codes[bits[place : place + length]]
        if total > length:
            number = bits[place + length : place + total]
            value = int(number, 2) - (int(number[0]) << len(number))
        found.append(value)
        place += total
    return found


def random_codes(rng: np.random.Generator, leaves: int) -> list[Code]:
    """A prefix code made by splitting random leaves; the last ones are followed by a number."""
    prefixes = [""]
    while len(prefixes) < leaves:
        chosen = prefixes.pop(int(rng.integers(len(prefixes))))
        if len(chosen) >= 15:
            prefixes.append(chosen)
            continue
        prefixes += [chosen + "0", chosen + "1"]
    values = rng.permutation(np.arange(-leaves, leaves))[:leaves].tolist()
    codes = [(prefix, 0, int(value)) for prefix, value in zip(prefixes, values, strict=True)]
    codes[-1] = (prefixes[-1], 16, 0)
    if leaves > 3:
        codes[-2] = (prefixes[-2], 9, 0)
    return codes


def rows_of(codes: list[Code]) -> list[Row]:
    return [(len(p), len(p) + extra, 1, value, int(p[::-1], 2)) for p, extra, value in codes]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), leaves=st.integers(2, 40), count=st.integers(1, 60))
def test_any_table_gives_back_what_was_packed(seed: int, leaves: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    codes = random_codes(rng, leaves)
    numbers = [int(v) for v in rng.integers(-40, 41, count)] + [int(rng.integers(-30_000, 30_000))]
    data = pack_huffman(numbers, codes)
    tables = parse_tables(table_bytes(codes), 1, "here")
    assert unpack(data, tables, len(numbers), "here").tolist() == numbers
    assert plain_decoder(data, rows_of(codes), len(numbers)) == numbers


@settings(max_examples=40, deadline=None)
@given(numbers=st.lists(st.integers(-32768, 32767), min_size=1, max_size=80))
def test_the_default_table_equals_the_plain_decoder(numbers: list[int]) -> None:
    data = pack_huffman(numbers, default_codes())
    assert unpack(data, DEFAULT, len(numbers), "here").tolist() == numbers
    assert plain_decoder(data, rows_of(default_codes()), len(numbers)) == numbers


@settings(max_examples=40, deadline=None)
@given(data=st.binary(min_size=0, max_size=40), count=st.integers(1, 60))
def test_any_bytes_are_numbers_or_a_read_error(data: bytes, count: int) -> None:
    try:
        found = unpack(data, DEFAULT, count, "here")
    except ReadError as error:
        assert error.where == "here"
    else:
        assert found.shape == (count,) and np.abs(found).max() <= 32768
        assert found.tolist() == plain_decoder(data + bytes(8), rows_of(default_codes()), count)


def test_a_golden_example_worked_out_by_hand() -> None:
    # 0 -> "0"; 1 -> "100"; -1 -> "101"; 2 -> "1100"; -3 -> "11101"; together 0 100 101 1100 11101.
    data = int("0100101110011101", 2).to_bytes(2, "big")
    assert unpack(data, DEFAULT, 5, "").tolist() == [0, 1, -1, 2, -3]


def test_a_prefix_longer_than_the_rest_of_the_data_is_cut_off() -> None:
    whole = pack_huffman([300], default_codes())
    with pytest.raises(ReadError, match="cut off"):
        unpack(whole[:2], DEFAULT, 1, "")


def test_wide_numbers_come_whole_from_any_bit() -> None:
    """Codes of 40 bits: what follows spans six bytes when it starts late in one."""
    one: list[Code] = [("0", 0, 7), ("1", 39, 0)]
    made = table(rows_of(one))
    for before in range(8):
        for value in (-(2**38), 2**38 - 1, -1, 123_456_789_012):
            numbers = [7] * before + [value]
            data = pack_huffman(numbers, one)
            assert unpack(data, (made,), len(numbers), "").tolist() == numbers


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ((0, 0, 1, 0, 0), "impossible length"),
        ((17, 17, 1, 0, 0), "impossible length"),
        ((3, 2, 1, 0, 0), "impossible length"),
        ((1, 41, 1, 0, 0), "impossible length"),
        ((2, 2, 1, 0, 0b100), "impossible length"),
    ],
)
def test_codes_that_cannot_be(row: Row, words: str) -> None:
    with pytest.raises(ReadError, match=words) as caught:
        table([row], "file.scp")
    assert caught.value.where == "file.scp"


@pytest.mark.parametrize(("first", "second"), [("1", "1"), ("1", "10"), ("010", "01"), ("0", "0000000000000001")])
def test_codes_that_begin_alike(first: str, second: str) -> None:
    with pytest.raises(ReadError, match="begin alike"):
        table(rows_of([(first, 0, 1), (second, 0, 2)]))


@pytest.mark.parametrize("count", [0, 9, 500])
def test_how_many_tables_there_can_be(count: int) -> None:
    with pytest.raises(ReadError, match=f"promises {count} Huffman tables") as caught:
        parse_tables(table_bytes(default_codes()) * max(count, 1), count, "")
    assert caught.value.expected == "1 to 8"


def test_tables_cut_off_at_any_byte() -> None:
    whole = table_bytes([("0", 0, 1), ("1", 0, 2)])
    for size in range(len(whole)):
        with pytest.raises(ReadError, match="cut off or empty"):
            parse_tables(whole[:size], 1, "")


def test_a_switch_goes_to_another_table_and_back() -> None:
    def packed(rows: list[Row]) -> bytes:
        return struct.pack("<H", len(rows)) + b"".join(struct.pack("<BBBhI", *row) for row in rows)

    # Table 1: "0" is 5, "1" switches to table 2; table 2: "0" is -9, "1" switches back.
    body = packed([(1, 1, 1, 5, 0), (1, 1, 0, 2, 1)]) + packed([(1, 1, 1, -9, 0), (1, 1, 0, 1, 1)])
    tables = parse_tables(body, 2, "")
    data = int("01001000", 2).to_bytes(1, "big")
    assert unpack(data, tables, 5, "").tolist() == [5, -9, -9, 5, 5]
    wrong = packed([(1, 1, 0, 3, 1)])
    with pytest.raises(ReadError, match="not there"):
        parse_tables(wrong, 1, "")


def test_the_shipped_default_is_complete_and_of_19_codes() -> None:
    assert isinstance(DEFAULT[0], Table) and len(DEFAULT[0].prefix) == 19
    assert (DEFAULT[0].code_of >= 0).all()  # whatever comes is the beginning of some code
    assert sum(2.0 ** -int(n) for n in DEFAULT[0].prefix) == 1.0  # Kraft


@settings(max_examples=40, deadline=None)
@given(data=st.binary(min_size=1, max_size=3000))
def test_lzw_round_trip(data: bytes) -> None:
    assert _lzw(lzw(data), len(data), "here") == data
    with pytest.raises(ReadError, match="longer than the file says"):
        _lzw(lzw(data), len(data) - 1, "here")


def test_lzw_of_one_byte_repeated_uses_the_code_just_made() -> None:
    # "aaaa..." is the case in which a code is used before the table has it.
    for size in (1, 2, 3, 4, 100, 5000):
        assert _lzw(lzw(b"a" * size), size, "") == b"a" * size


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=80))
def test_lzw_of_any_bytes_is_bytes_or_a_read_error(data: bytes) -> None:
    try:
        found = _lzw(data, 10_000, "here")
    except ReadError as error:
        assert error.where == "here"
    else:
        assert isinstance(found, bytes)


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.integers(-2000, 2000), min_size=3, max_size=60))
def test_second_differences_are_undone(values: list[int]) -> None:
    z = values
    differences = [2 * z[i - 1] - z[i - 2] - z[i] for i in range(2, len(z))]
    stored = np.array([z[0], z[1], *(d + 64 for d in differences[1:]), 64][: len(z)], np.int64).astype(np.uint16)
    packed = (stored >> 8).astype(np.uint8).tobytes() + (stored & 0xFF).astype(np.uint8).tobytes()
    assert _undo_differences(packed, len(z), differences[0]).tolist() == z
