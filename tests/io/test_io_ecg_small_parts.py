"""Lead names, units, plausibility, rate conversion, and which axis is the leads."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ReadError
from medfm.io.ecg.leads import LEADS, lead_name
from medfm.io.ecg.orient import leads_first
from medfm.io.ecg.resample import resample, runs
from medfm.io.ecg.units import implausible, millivolts_per

NAMED = {
    "I": ["I", "i", " I ", "Lead I", "LEAD I", "Lead I (Einthoven)", "MDC_ECG_LEAD_I", "ECG I", "EKG_I", "ECG Lead I", "lead_i"],
    "III": ["III", "iii", "Lead III", "MDC_ECG_LEAD_III"],
    "aVR": ["aVR", "AVR", "avr", "Lead aVR", "MDC_ECG_LEAD_AVR", "ECG aVR", "aVR.", "a VR"],
    "V1": ["V1", "v1", "Lead V1", "V 1", "MDC_ECG_LEAD_V1", "V1 "],
    "V6": ["V6", "ECG V6"],
    "V3R": ["V3R", "v3r"],
    "VX": ["vx", "VX"],
}  # fmt: skip


@pytest.mark.parametrize(("text", "lead"), [(text, lead) for lead, texts in NAMED.items() for text in texts])
def test_names_of_leads(text: str, lead: str) -> None:
    assert lead_name(text) == lead


@pytest.mark.parametrize("text", ["", "-aVR", "MLII", "C3", "EEG I", "IV", "Resp", "V", "V10", "V0", "LEADER", "Mustermann", "VI", "PLETH", "-I", "aVRI"])  # fmt: skip
def test_names_of_other_things(text: str) -> None:
    assert lead_name(text) is None


def test_every_canonical_name_names_itself() -> None:
    assert [lead_name(name) for name in LEADS] == list(LEADS)


def test_units() -> None:
    assert millivolts_per("[uV]") == millivolts_per("\u00b5V") == millivolts_per("\u03bcV") == 1e-3
    assert millivolts_per("MV") == 1
    assert millivolts_per("adu") is None
    assert millivolts_per("") is None


def test_plausible_amplitudes() -> None:
    assert implausible(0.02) is implausible(1.2) is implausible(0.0) is None
    assert "uV were taken for mV" in str(implausible(20.0))
    assert "mV were taken for uV" in str(implausible(2e-4))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), max_size=40))
def test_runs_cover_exactly_what_is_true(mask: list[bool]) -> None:
    found = runs(np.array(mask, bool))
    again = np.zeros(len(mask), bool)
    for start, stop in found:
        assert start < stop
        again[start:stop] = True
    assert again.tolist() == mask
    assert all(b[0] > a[1] for a, b in itertools.pairwise(found))


@pytest.mark.parametrize(("before", "after"), [(1000, 500), (500, 100), (128, 500), (257, 500), (360, 500), (100, 500)])
def test_a_slow_wave_keeps_its_form(before: float, after: float) -> None:
    start = np.arange(int(4 * before)) / before
    wave = np.sin(2 * np.pi * 5 * start) + 7
    out = resample(np.stack([wave, 2 * wave]), before, after)
    assert out.dtype == np.float32
    assert out.shape == (2, int(np.ceil(4 * after)))
    expected = np.sin(2 * np.pi * 5 * np.arange(out.shape[1]) / after) + 7
    middle = slice(out.shape[1] // 10, -out.shape[1] // 10)
    np.testing.assert_allclose(out[0, middle], expected[middle], atol=0.01)
    np.testing.assert_allclose(out[1], 2 * out[0], rtol=1e-5)


def test_what_lies_above_half_the_new_rate_is_removed() -> None:
    time = np.arange(10_000) / 1000
    slow, fast = np.sin(2 * np.pi * 10 * time), np.sin(2 * np.pi * 180 * time)
    kept, aliased = resample(slow, 1000, 250), resample(fast, 1000, 250)
    assert np.std(kept) == pytest.approx(np.sqrt(0.5), rel=0.02)
    assert np.std(aliased[50:-50]) < 0.02
    assert np.std(fast[::4]) > 0.5  # what plain thinning would have left


def test_an_offset_does_not_ring_at_the_edges() -> None:
    np.testing.assert_allclose(resample(np.full(1000, 3.0), 500, 360), 3.0, atol=1e-4)


def test_equal_rates_give_an_equal_copy() -> None:
    values = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    values[1, 5] = np.nan
    out = resample(values, 500, 500.0)
    assert np.array_equal(out, values, equal_nan=True)
    assert out is not values


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(0, 190),
    length=st.integers(1, 60),
    rates=st.sampled_from([(1000, 500), (500, 1000), (360, 500), (500, 128), (100, 500)]),
)
def test_gaps_stay_gaps(start: int, length: int, rates: tuple[int, int]) -> None:
    values = np.sin(np.arange(200) / 20)
    stop = min(start + length, 200)
    values[start:stop] = np.nan
    out = resample(values, *rates)
    times = np.arange(len(out)) * rates[0] / rates[1]
    before = times <= start - 1
    after = times >= stop
    # Real on both sides of the gap, missing between the two real neighbours.
    assert np.isfinite(out[before]).all()
    assert np.isfinite(out[after & (stop < 200)]).all()
    assert np.isnan(out[(times > start - 1) & (times < stop)]).all()


def test_a_row_that_is_all_missing_does_not_spoil_the_others() -> None:
    rows = np.stack([np.full(100, np.nan), np.ones(100)])
    out = resample(rows, 100, 500)
    assert np.isnan(out[0]).all()
    np.testing.assert_allclose(out[1], 1, atol=1e-4)


@pytest.mark.parametrize("rates", [(0, 500), (500, 0), (-1, 5), (np.nan, 5), (5, np.inf), (1, 1e9)])
def test_impossible_rates(rates: tuple[float, float]) -> None:
    with pytest.raises(ReadError):
        resample(np.ones(10), *rates)


def test_nothing_cannot_be_resampled() -> None:
    with pytest.raises(ReadError, match="without samples"):
        resample(np.ones((12, 0)), 100, 500)


def test_which_axis_holds_the_leads() -> None:
    array = np.arange(24.0).reshape(2, 12)
    stated = {"leads": ["I", "II"]}
    assert np.array_equal(leads_first(array, stated, "r"), array)
    assert np.array_equal(leads_first(array.T, stated, "r"), array)
    assert np.array_equal(leads_first(array.T, {}, "r"), array)
    assert leads_first(array.astype(np.int16), stated, "r").dtype == np.float64


@pytest.mark.parametrize(
    ("array", "leads"),
    [
        (np.ones((12, 12)), 12),
        (np.ones((12, 20)), None),
        (np.ones((12, 500)), 8),
        (np.ones(500), None),
        (np.ones((2, 3, 500)), None),
        (np.ones((12, 0)), None),
        (np.ones((12, 500), bool), None),
        (np.ones((12, 500), complex), None),
    ],
)
def test_axes_that_cannot_be_told_apart(array: np.ndarray, leads: int | None) -> None:
    with pytest.raises(ReadError):
        leads_first(array, {} if leads is None else {"leads": ["I"] * leads}, "r")
