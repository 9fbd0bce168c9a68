from __future__ import annotations

import numpy as np
import pytest
from sheet_records import ecg_record, paths, texts

from medfm.encoders.attention import TimeAttention
from medfm.reporting.ecg_sheet import ecg_sheet
from medfm.reporting.ecg_sheet_attention import _LEVELS, CAPTION, is_strip
from medfm.reporting.ecg_sheet_layout import SheetSettings

X0, BARS = 15.0, 4.0


def attention(values: np.ndarray, seconds: float = 10.0, beyond: float = 0.0) -> TimeAttention:
    return TimeAttention(np.linspace(0, seconds, len(values) + 1), values, beyond)


def strip(svg: str) -> list[tuple[float, float, int]]:
    """(start, stop, level) in mm from the start of the row, the legend left out."""
    found = []
    for number, colour in enumerate(_LEVELS):
        for box in paths(svg, colour):
            if np.ptp(box[:, 1]) == 5.0:
                found.append((float(box[:, 0].min()) - X0, float(box[:, 0].max()) - X0, number))
    return sorted(found)


def test_the_strip_is_aligned_with_the_time():
    values = np.full(100, 0.1)
    values[40:42] = 9.0  # at 4.0 to 4.2 s
    svg = ecg_sheet(ecg_record(), None, attention(values)).svg()
    dark = [part for part in strip(svg) if part[2] == len(_LEVELS) - 1]
    assert len(dark) == 1
    np.testing.assert_allclose(dark[0][:2], (100.0, 105.0), atol=0.05)
    drawn = strip(svg)
    assert drawn[0][0] == 0.0 and drawn[-1][1] == 250.0
    np.testing.assert_allclose([a[1] for a in drawn[:-1]], [b[0] for b in drawn[1:]])


def test_an_even_attention_is_one_middle_shade():
    noise = 1 + 0.001 * np.random.default_rng(0).normal(size=313)
    (only,) = strip(ecg_sheet(ecg_record(), None, attention(noise)).svg())
    assert only == (0.0, 250.0, 5), "noise shall not look like a pattern"


def test_shades_follow_the_values_and_the_legend_says_how():
    values = np.linspace(0, 5, 110, endpoint=False)
    svg = ecg_sheet(ecg_record(), None, attention(values)).svg()
    drawn = strip(svg)
    assert [part[2] for part in drawn] == list(range(len(_LEVELS)))
    np.testing.assert_allclose([part[1] - part[0] for part in drawn], 250 / 11, atol=3)
    assert any(text.startswith("5.0 times an even spread") for text in texts(svg))
    assert any("not an explanation" in text for text in texts(svg))
    assert len(paths(svg, _LEVELS[0])) >= 2  # strip and legend


def test_lightness_falls_from_level_to_level():
    """One hue, told apart by lightness alone: relative luminance after WCAG 2.1."""
    light = []
    for colour in _LEVELS:
        parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        light.append(float(linear @ (0.2126, 0.7152, 0.0722)))
    assert (np.diff(light) < -0.02).all()


@pytest.mark.parametrize(("seconds", "beyond", "words"), [(3.0, 0.7, "70%"), (3.0, 0.0, ""), (9.8, 0.02, "2%")])
def test_what_the_encoder_did_not_see_is_said(seconds, beyond, words):
    svg = ecg_sheet(ecg_record(), None, attention(np.ones(50), seconds, beyond)).svg()
    assert strip(svg)[-1][1] == pytest.approx(25 * seconds, abs=0.05)
    shown = " | ".join(texts(svg))
    assert ("not seen by the encoder" in shown) is (seconds == 3.0)
    assert (words in shown) and ("of the attention fell on" in shown) is bool(words)


def test_a_sheet_that_begins_later_moves_the_strip():
    values = np.full(100, 0.1)
    values[60:62] = 9.0
    svg = ecg_sheet(ecg_record(20.0), SheetSettings(start=4.0), attention(values)).svg()
    (dark,) = [part for part in strip(svg) if part[2] == len(_LEVELS) - 1]
    np.testing.assert_allclose(dark[:2], (50.0, 55.0), atol=0.05)
    assert strip(svg)[-1][1] == pytest.approx(150.0)
    behind = ecg_sheet(ecg_record(30.0), SheetSettings(start=15.0), attention(values)).svg()
    assert strip(behind) == []


def test_a_strip_can_be_told_and_its_caption_is_honest():
    assert is_strip(ecg_sheet(ecg_record(), None, attention(np.ones(5))).svg().encode())
    assert not is_strip(ecg_sheet(ecg_record()).svg().encode())
    assert "not an explanation" in CAPTION


def test_no_attention_at_all_is_drawn_white():
    (only,) = strip(ecg_sheet(ecg_record(), None, attention(np.zeros(10), 10.0, 1.0)).svg())
    assert only[2] == 0
