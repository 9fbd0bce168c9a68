"""Philips XML: what we write read back, both versions, and hostile files."""

import base64
import struct
import time
from pathlib import Path

import ecg_files
import numpy as np
import philips_files
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medfm.core.errors import ReadError
from medfm.modalities.registry import read_record

VALUES = ecg_files.digital(samples=400) // 5
LEADS = ecg_files.LEADS


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("rate", ["500", "1000"])
def test_both_versions_and_rates(tmp_path: Path, old: bool, rate: str) -> None:
    record = read_record(philips_files.write_philips(tmp_path / "a.xml", VALUES, old=old, rate=rate), "ecg")
    assert record.facts["format"] == "philips-xml"
    assert record.facts["sampling_hz"] == float(rate)
    assert record.facts["derived_leads"] == []
    np.testing.assert_allclose(record.array, VALUES * 5e-3, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(values=hnp.arrays(np.int16, st.tuples(st.just(12), st.integers(3, 80)), elements=st.integers(-2000, 2000)))
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> None:
    """Any twelve leads, whether they agree or not: the residuals restore them exactly."""
    values[:, 0] += np.arange(12, dtype=np.int16) + 50
    values[:, 1] -= 50
    file = philips_files.write_philips(tmp_path_factory.mktemp("x") / "a.xml", values)
    np.testing.assert_allclose(read_record(file, "ecg", units="uV").array, values * 1e-3 * 5, atol=1e-6)


def test_a_long_record_fills_the_table_of_codes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-300, 300, (12, 4000)).astype(np.int16)
    record = read_record(philips_files.write_philips(tmp_path / "a.xml", values), "ecg")
    np.testing.assert_allclose(record.array, values * 5e-3, atol=1e-6)


def test_the_calibration_pulse_at_the_end_is_cut_off(tmp_path: Path) -> None:
    pulse = np.tile(np.repeat(np.array([0, 200, 0], np.int16), [50, 100, 50]), (12, 1))
    values = np.concatenate([VALUES, pulse], axis=1)
    values[0, 399] += 1  # the last sample of the recording itself
    record = read_record(philips_files.write_philips(tmp_path / "a.xml", values), "ecg")
    assert record.array.shape == (12, 400)
    assert record.facts["calibration_samples_removed"] == 200
    np.testing.assert_allclose(record.array, values[:, :400] * 5e-3, atol=1e-6)
    # A flat end, as after an electrode fell off, is no pulse.
    values[:, 400:] = 0
    record = read_record(philips_files.write_philips(tmp_path / "b.xml", values), "ecg")
    assert record.array.shape == (12, 600)
    assert "calibration_samples_removed" not in record.facts


def test_utf_16_and_no_resolution(tmp_path: Path) -> None:
    file = philips_files.write_philips(tmp_path / "a.xml", VALUES)
    file.write_text(file.read_text().replace('version="1.0"', 'version="1.0" encoding="utf-16"'), encoding="utf-16")
    np.testing.assert_allclose(read_record(file, "ecg").array, VALUES * 5e-3, atol=1e-6)
    philips_files.write_philips(tmp_path / "b.xml", VALUES, resolution=None)
    with pytest.raises(ReadError, match="does not say in which unit"):
        read_record(tmp_path / "b.xml", "ecg")


def lead(size: int, codes: bytes) -> str:
    return base64.b64encode(struct.pack("<iHh", size, 0, 0) + codes).decode()


def codes(*numbers: int) -> bytes:
    bits = "".join(f"{n:010b}" for n in numbers)
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


BOMB = codes(0, *range(256, 1023), *[1022] * 3000)
WHOLE = 'dataencoding="Base64" compression="XLI" durationperchannel="{}"'


@pytest.mark.parametrize(
    ("samples", "more", "words"),
    [
        ("not base64!", {}, "not base64"),
        ("", {}, "cut off"),
        (lead(-8, b"xxxx"), {}, "cut off"),
        (lead(1 << 30, b"xxxx"), {}, "cut off"),
        (lead(4, b"\0\0\0\0"), {}, "cut off"),
        (lead(len(BOMB), BOMB), {}, "longer than the file says"),
        (lead(5, codes(5, 900, 1, 1)), {}, "unknown code"),
        (lead(5, codes(256, 1, 1, 1)), {}, "unknown code"),
        (lead(4, b"\0\0\0\0"), {"waves": 'dataencoding="Base64" durationperchannel="800"'}, "XLI compression"),
        (lead(4, b"\0\0\0\0"), {"waves": 'dataencoding="Hex" compression="XLI"'}, "XLI compression"),
        ("", {"waves": 'dataencoding="Base64" compression="XLI"'}, "duration is not a number"),
        ("", {"waves": WHOLE.format("1e12")}, "impossible length"),
        ("", {"waves": WHOLE.format("-5")}, "duration is -5"),
        ("", {"waves": WHOLE.format("800") + ' leadlabels="V1 V2 I II"'}, "six limb leads"),
        ("", {"rate": "0", "waves": WHOLE.format("800")}, "sampling rate is 0"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, samples: str, more: dict, words: str) -> None:
    file = tmp_path / "a.xml"
    file.write_text(philips_files.document(samples, 400, **more))
    started = time.monotonic()
    with pytest.raises(ReadError, match=words) as caught:
        read_record(file, "ecg")
    assert ecg_files.NAME not in str(caught.value)
    assert time.monotonic() - started < 2


def test_no_waveforms(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(f"<restingecgdata><name>{ecg_files.NAME}</name></restingecgdata>")
    with pytest.raises(ReadError, match="holds no waveforms"):
        read_record(tmp_path / "a.xml", "ecg")
