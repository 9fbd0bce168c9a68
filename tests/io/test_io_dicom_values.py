"""From stored values to shares of the display, against a loop over pixels that follows the standard's text."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from radiograph_files import lut

from medfm.core.errors import ReadError
from medfm.io.dicom_values import Voi, displayed, stored_range


def header(bits: int = 12, signed: bool = False, **elements: Any) -> Dataset:
    made = Dataset()
    made.BitsStored, made.PixelRepresentation, made.PhotometricInterpretation = bits, int(signed), "MONOCHROME2"
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def by_hand(value: float, centre: float, width: float, function: str) -> float:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3, with the output range 0 to 1."""
    if function == "SIGMOID":
        return 1 / (1 + math.exp(min(-4 * (value - centre) / width, 700.0)))
    if function == "LINEAR_EXACT":
        if value <= centre - width / 2:
            return 0.0
        return 1.0 if value > centre + width / 2 else (value - centre) / width + 0.5
    if value <= centre - 0.5 - (width - 1) / 2:
        return 0.0
    if value > centre - 0.5 + (width - 1) / 2:
        return 1.0
    return (value - (centre - 0.5)) / (width - 1) + 0.5


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.integers(0, 4095), min_size=1, max_size=12),
    centre=st.integers(-1000, 5000),
    width=st.integers(1, 5000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    slope=st.sampled_from([1.0, 2.0, -1.0, 0.5]),
    intercept=st.integers(-1024, 1024),
)
def test_windows_follow_the_standard(
    values: list[int], centre: int, width: int, function: str, slope: float, intercept: int
) -> None:
    made = header(
        WindowCenter=centre, WindowWidth=width, VOILUTFunction=function, RescaleSlope=slope, RescaleIntercept=intercept
    )
    facts: dict[str, Any] = {}
    shown = displayed(np.array([values], np.uint16), made, "r", facts)
    expected = [by_hand(value * slope + intercept, centre, width, function) for value in values]
    np.testing.assert_allclose(shown[0], expected, atol=1e-9)
    assert facts["voi"].startswith("window") and ("modality_lut" in facts) is ((slope, intercept) != (1.0, 0))


@pytest.mark.parametrize(
    ("bits", "signed", "expected"),
    [(8, False, (0, 255)), (12, False, (0, 4095)), (12, True, (-2048, 2047)), (16, True, (-32768, 32767))],
)
def test_ranges(bits: int, signed: bool, expected: tuple[float, float]) -> None:
    assert stored_range(header(bits, signed)) == expected


def test_a_choice_of_window() -> None:
    made = header(WindowCenter=[100, 2000], WindowWidth=[50, 1000])
    values = np.arange(0, 4096, 37, dtype=np.uint16)[None]
    facts: dict[str, Any] = {}
    second = displayed(values, made, "r", facts, Voi(index=1))
    np.testing.assert_allclose(second[0], [by_hand(int(v), 2000, 1000, "LINEAR") for v in values[0]], atol=1e-9)
    assert facts["voi_items"] == 2
    by_width = displayed(values, made, "r", {}, Voi(window=(2000, 1000)))
    np.testing.assert_array_equal(by_width, second)
    off: dict[str, Any] = {}
    np.testing.assert_allclose(displayed(values, made, "r", off, Voi(off=True)), values / 4095)
    assert off == {}
    for index in (-1, 2, 99):
        with pytest.raises(ReadError, match="number"):
            displayed(values, made, "r", {}, Voi(index=index))
    one = header(WindowCenter=100, WindowWidth=50)
    with pytest.raises(ReadError) as caught:
        displayed(values, one, "r", {}, Voi(index=1))
    assert caught.value.expected == "0"
    # Nothing to choose from: the whole range, as without an index.
    np.testing.assert_allclose(displayed(values, header(), "r", {}, Voi(index=3)), values / 4095)


@pytest.mark.parametrize("inverted", [True, False, None])
def test_polarity_may_be_said(inverted: bool | None) -> None:
    values = np.array([[0, 4095]], np.uint16)
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        shown = displayed(values, header(PhotometricInterpretation=photometric), "r", {}, Voi(), inverted)
        turned = photometric == "MONOCHROME1" if inverted is None else inverted
        assert shown.tolist() == ([[1, 0]] if turned else [[0, 1]])


def test_tables_of_values() -> None:
    entries = np.array([0, 10, 200, 255])
    made = header(VOILUTSequence=[lut(entries, 100, 8)])
    values = np.array([[0, 100, 101, 102, 103, 4000]], np.uint16)
    np.testing.assert_allclose(displayed(values, made, "r", {})[0] * 255, [0, 0, 10, 200, 255, 255])
    # A window by hand comes before the file's table.
    np.testing.assert_allclose(
        displayed(values, made, "r", {}, Voi(window=(2048, 4096)))[0], values[0] / 4095, atol=1e-3
    )
    both = header(VOILUTSequence=[lut(entries, 100, 8)], WindowCenter=5, WindowWidth=3)
    facts: dict[str, Any] = {}
    displayed(values, both, "r", facts)
    assert facts["voi"] == "table"
    short = header(VOILUTSequence=[lut(entries, 100, 8)])
    short.VOILUTSequence[0].LUTData = b"\0\0"
    with pytest.raises(ReadError, match="shorter or longer"):
        displayed(values, short, "r", {})


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 5, "WindowWidth": 0},
        {"WindowCenter": 5, "WindowWidth": -4, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 5, "WindowWidth": 4, "VOILUTFunction": "OTHER"},
    ],
)
def test_windows_that_cannot_be(elements: dict[str, Any]) -> None:
    with pytest.raises(ReadError, match="window"):
        displayed(np.zeros((2, 2), np.uint16), header(**elements), "r", {})


def test_half_a_window_is_none() -> None:
    values = np.array([[0, 4095]], np.uint16)
    assert displayed(values, header(WindowCenter=5), "r", {}).tolist() == [[0, 1]]
    assert displayed(values, header(WindowCenter=None, WindowWidth=7), "r", {}).tolist() == [[0, 1]]
