from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sheet_records import ecg_record, parsed, paths, texts

from medfm.core.errors import ConfigError, ReadError
from medfm.modalities.ecg import LEADS
from medfm.modalities.record import Record
from medfm.modalities.registry import read_record
from medfm.reporting.drawing import INK
from medfm.reporting.ecg_sheet import ecg_sheet
from medfm.reporting.ecg_sheet_layout import SheetSettings

FORMATS = Path(__file__).resolve().parents[3] / "shared" / "data" / "ecg" / "formats"
FILES = sorted([*FORMATS.glob("*.xml"), *FORMATS.glob("*.dcm"), *FORMATS.glob("*/*.hea")])
FINE, BOLD = "#f4cfcb", "#e2938c"
X0, TRACK = 15.0, 250.0  # mm: where rows begin


def lines_of(record: Record, **settings) -> list[np.ndarray]:
    """All pen lines of a sheet; the pulses are those that begin left of the rows."""
    return paths(ecg_sheet(record, SheetSettings(**settings)).svg(), INK)


def traces(record: Record, **settings) -> list[np.ndarray]:
    return [line for line in lines_of(record, **settings) if line[0, 0] >= X0 - 0.01]


def pulses(record: Record, **settings) -> list[np.ndarray]:
    return [line for line in lines_of(record, **settings) if line[0, 0] < X0 - 0.01]


def height(line: np.ndarray) -> float:
    return float(np.ptp(line[:, 1]))


def test_the_grid_is_in_millimetres():
    svg = ecg_sheet(ecg_record()).svg()
    for colour, step, first in ((FINE, 1.0, False), (BOLD, 5.0, True)):
        lines = paths(svg, colour)
        upright = np.array(sorted(line[0, 0] for line in lines if line[0, 0] == line[1, 0]))
        level = np.array(sorted(line[0, 1] for line in lines if line[0, 1] == line[1, 1]))
        assert len(upright) + len(level) == len(lines)
        for places in (upright, level):
            if first:
                np.testing.assert_allclose(np.diff(places), 5.0)
            else:  # every millimetre but each fifth, which is bold
                assert set(np.round(np.diff(places), 6)) == {1.0, 2.0} and step == 1.0
    bold = [line[0, 0] for line in paths(svg, BOLD) if line[0, 0] == line[1, 0]]
    assert max(bold) - min(bold) == 260.0  # ten seconds and the pulse


@pytest.mark.parametrize("gain", ["5", "10", "20"])
@pytest.mark.parametrize("layout", ["3x4", "6x2", "12x1"])
def test_a_millivolt_and_a_second_have_their_length(gain, layout):
    record = ecg_record()
    array = np.zeros_like(record.array)
    array[1, 1000:1100] = 0.5  # 0.2 s of 0.5 mV in lead II, two seconds in
    shown = traces(replace(record, array=array), gain=gain, layout=layout)
    steps = [line for line in shown if height(line) > 0.1]
    assert steps
    for line in steps:
        assert height(line) == pytest.approx(float(gain) / 2, abs=0.051)
        top = line[line[:, 1] < line[:, 1].min() + 0.05]
        assert np.ptp(top[:, 0]) == pytest.approx(0.2 * 25, abs=0.11)
        assert top[0, 0] - X0 == pytest.approx(2.0 * 25, abs=0.11)
    for pulse in pulses(record, gain=gain, layout=layout):
        assert height(pulse) == float(gain)
        plateau = pulse[pulse[:, 1] == pulse[:, 1].min()]
        assert np.ptp(plateau[:, 0]) == 5.0


def test_every_row_has_a_pulse():
    assert [len(pulses(ecg_record(), layout=name)) for name in ("3x4", "6x2", "12x1")] == [4, 7, 12]


def test_leads_stand_at_their_place_with_their_own_height():
    shown = traces(ecg_record(), layout="12x1", gain="10")
    assert len(shown) == 12
    for row, line in enumerate(shown):
        expected = 10 * (0.2 + 0.1 * row)
        assert height(line) == pytest.approx(min(expected, 12.0), abs=0.2), LEADS[row]
    # Records of the fixture begin on the baseline.
    np.testing.assert_allclose(np.diff([line[0, 1] for line in shown]), 12.75, atol=0.8)  # on whole millimetres
    assert [line[:, 1].max() > line[0, 1] + 1 for line in shown] == [row == 3 for row in range(12)]  # aVR: down


def test_columns_show_their_own_time():
    record = ecg_record()
    array = np.zeros_like(record.array)
    array[:, 4500:4510] = 1.0  # at 9 s: only in the last column and the strip
    shown = [line for line in traces(replace(record, array=array)) if height(line) > 5]
    assert len(shown) == 4
    for line in shown:
        assert line[line[:, 1].argmin(), 0] == pytest.approx(X0 + 9 * 25 + 0.25, abs=0.3)


def test_cabrera_turns_avr_round():
    record = ecg_record()
    standard = traces(record, layout="6x2", gain="10")
    turned = traces(record, layout="6x2", gain="10", order="cabrera")
    a, b = standard[3], turned[2]  # aVR, −aVR
    assert a[:, 1].min() == a[0, 1] < a[:, 1].max() - 4
    assert b[:, 1].max() == b[0, 1] > b[:, 1].min() + 4
    assert height(a) == pytest.approx(height(b), abs=0.051)
    assert "−aVR" in texts(ecg_sheet(record, SheetSettings(order="cabrera")).svg())


def test_an_offset_does_not_move_a_trace():
    record = ecg_record()
    offset = replace(record, array=record.array + np.linspace(-5, 5, 12, dtype=np.float32)[:, None])
    for own, other in zip(traces(record), traces(offset), strict=True):
        assert own[0, 1] == pytest.approx(other[0, 1], abs=0.06)
        assert height(own) == pytest.approx(height(other), abs=0.06)


def test_the_level_is_that_of_the_ten_seconds_shown():
    record = ecg_record(40.0)
    drift = replace(record, array=record.array + np.linspace(0, 8, record.array.shape[1], dtype=np.float32) // 2)
    for own, other in zip(traces(record, start=20.5), traces(drift, start=20.5), strict=True):
        assert own[0, 1] == pytest.approx(other[0, 1], abs=0.06)


def test_large_amplitudes_get_half_the_gain_and_a_stamp():
    record = ecg_record()
    usual, large = ecg_sheet(record), ecg_sheet(replace(record, array=record.array * 2.5))
    assert "25 mm/s · 10 mm/mV" in texts(usual.svg()) and not paths(usual.svg(), "#b3261e")
    assert "25 mm/s · 5 mm/mV" in texts(large.svg()) and paths(large.svg(), "#b3261e")
    assert not any("cut off" in text for text in texts(large.svg()))


def test_what_is_cut_off_is_marked_and_said():
    record = ecg_record()
    huge = ecg_sheet(replace(record, array=record.array * 12), SheetSettings(layout="12x1"))
    marks = paths(huge.svg(), "#0072B2")
    assert len(marks) > 20
    assert any("cut off at the border" in text for text in texts(huge.svg()))
    inside = np.concatenate(traces(replace(record, array=record.array * 12), layout="12x1"))
    assert inside[:, 1].min() >= 14.0 and inside[:, 1].max() <= huge.height - 18.0  # never off the paper
    assert not paths(ecg_sheet(record).svg(), "#0072B2")


def test_missing_stretches_are_hatched_and_absent_leads_said():
    record = ecg_record()
    array = record.array.copy()
    array[6], array[0, 500:750], array[7] = np.nan, np.nan, 0.25
    facts = {"absent_leads": ["V1"], "missing": [("V1", 0, 5000), ("I", 500, 750)], "flat_leads": ["V2"]}
    svg = ecg_sheet(replace(record, array=array, facts={**record.facts, **facts})).svg()
    boxes = sorted(paths(svg, "#f1f2f3"), key=lambda box: box[0, 0])
    assert len(boxes) == 2
    assert boxes[0][:, 0].min() == pytest.approx(X0 + 25, abs=0.11)
    assert np.ptp(boxes[0][:, 0]) == pytest.approx(12.5, abs=0.11)
    assert np.ptp(boxes[1][:, 0]) == pytest.approx(62.5, abs=0.11)
    shown = texts(svg)
    assert "V1 not recorded" in shown and "V2 constant" in shown
    assert any("not recorded: V1" in text and "hatched" in text for text in shown)
    # Nothing is drawn inside a gap.
    first = [line for line in paths(svg, INK) if X0 <= line[0, 0] < 77 and line[0, 1] < 50]
    assert not any(((line[:, 0] > 40.2) & (line[:, 0] < 52.3)).any() for line in first)


def test_short_and_long_records_say_what_is_shown():
    short = " ".join(texts(ecg_sheet(ecg_record(3.0)).svg()))
    assert "shown: all 3.0 s" in short and "every column shows 0 to 2.5 s" in short
    long = ecg_record(38.4)
    assert "shown: 0 to 10.0 s of 38.4 s" in " ".join(texts(ecg_sheet(long).svg()))
    later = ecg_sheet(long, SheetSettings(start=33.0))
    assert "shown: 33 to 38.4 s of 38.4 s" in " ".join(texts(later.svg()))
    assert {"33", "42", "43 s"} <= set(texts(later.svg()))
    with pytest.raises(ConfigError, match=r"lasts 3\.0 s"):
        ecg_sheet(ecg_record(3.0), SheetSettings(start=3.0))


def test_synthetic_records_say_so():
    assert any("SYNTHETIC" in text for text in texts(ecg_sheet(ecg_record(), synthetic=True).svg()))
    assert not any("SYNTHETIC" in text for text in texts(ecg_sheet(ecg_record()).svg()))


@pytest.mark.parametrize("hz", [100.0, 128.0, 257.3, 1000.0])
@pytest.mark.parametrize("seconds", [0.02, 0.9, 2.5, 9.998, 61.0])
def test_any_rate_and_length_is_drawn(hz, seconds):
    for layout in ("3x4", "6x2", "12x1"):
        svg = ecg_sheet(ecg_record(seconds, hz), SheetSettings(layout=layout)).svg()
        parsed(svg)
        for line in paths(svg, INK):
            assert line[:, 0].min() >= 5.0 and line[:, 0].max() <= 265.0 + 0.05


def test_hostile_ids_are_text_and_long_ones_are_cut():
    svg = ecg_sheet(ecg_record(name="<script>&\x00" + "x" * 500)).svg()
    parsed(svg)
    assert "<script>" not in svg and "x" * 100 not in svg


def test_other_records_are_refused():
    good = ecg_record()
    for wrong in (
        replace(good, modality="blood_cell"),
        replace(good, array=good.array[:8]),
        replace(good, array=good.array[:, :0]),
        replace(good, facts={}),
    ):
        with pytest.raises(ReadError, match="no ECG of twelve leads"):
            ecg_sheet(wrong)


def test_a_drawing_does_not_change_the_record():
    record = ecg_record()
    before = record.array.copy()
    first = ecg_sheet(record).svg()
    assert np.array_equal(before, record.array) and ecg_sheet(record).svg() == first


@pytest.mark.skipif(not FORMATS.is_dir(), reason="the real recordings beside the repository are absent")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
@pytest.mark.parametrize("layout", ["3x4", "6x2", "12x1"])
def test_every_real_format_is_drawn_small(file, layout):
    record = read_record(file, "ecg")
    svg = ecg_sheet(record, SheetSettings(layout=layout)).svg()
    assert len(svg) < {"3x4": 60_000, "6x2": 80_000, "12x1": 130_000}[layout]
    drawn = [line for line in paths(svg, INK) if line[0, 0] >= X0 - 0.01]
    assert len(drawn) >= 12 and np.isfinite(np.concatenate(drawn)).all()
    assert set(LEADS) <= {text.split(" ")[0] for text in texts(svg)}


@pytest.mark.skipif(not FORMATS.is_dir(), reason="the real recordings beside the repository are absent")
def test_one_recording_from_three_carriers_gives_one_sheet():
    sheets = []
    for name in ("hl7_sample_aecg.xml", "hl7_sample_dicom.dcm"):
        sheets.append(paths(ecg_sheet(read_record(FORMATS / name, "ecg")).svg(), INK))
    assert all(a.shape == b.shape and np.allclose(a, b, atol=0.051) for a, b in zip(*sheets, strict=True))


@pytest.mark.skipif(not FORMATS.is_dir(), reason="the real recordings beside the repository are absent")
def test_a_sheet_is_drawn_in_a_moment():
    record = read_record(FORMATS / "mortara_12lead_waveform.dcm", "ecg")
    ecg_sheet(record).svg()
    best = min(_timed(record) for _ in range(5))
    assert best < 0.5, "about 0.02 s on one core"


def _timed(record: Record) -> float:
    start = time.perf_counter()
    ecg_sheet(record).svg()
    return time.perf_counter() - start
