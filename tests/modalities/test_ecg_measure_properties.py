"""Measurements of recordings: what must not change them, what must change them in proportion, plain counterparts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from heartbeats import LEADS, heart
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.modalities.ecg_beat import AFTER, BEFORE, limb_fit
from medfm.modalities.ecg_quality import FLAT_MV, Quality, measure

FACTS: dict[str, Any] = {"sampling_hz": 500.0, "derived_leads": [], "absent_leads": [], "missing": []}
SEEDS = st.integers(0, 50)


def facts(**changes: Any) -> dict[str, Any]:
    return {**FACTS, **changes}


def close(a: Quality, b: Quality, tolerance: float = 1e-3) -> None:
    assert a.amplitude_mv == pytest.approx(b.amplitude_mv, rel=tolerance)
    assert (a.flat, a.absent, a.missing) == (b.flat, b.absent, b.missing)
    assert a.hum_mv == pytest.approx(b.hum_mv, abs=1e-4)
    assert a.disagreement == pytest.approx(b.disagreement, abs=tolerance)
    assert (a.limbs is None) == (b.limbs is None)
    if a.limbs is not None and b.limbs is not None:
        assert a.limbs.one == pytest.approx(b.limbs.one, abs=0.02)
        assert a.limbs.two == pytest.approx(b.limbs.two, abs=0.02)


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, offset=st.floats(-2, 2))
def test_an_offset_of_a_chest_lead_or_of_all_changes_nothing(seed: int, offset: float) -> None:
    array = heart(seed)
    close(measure(array, FACTS), measure((array + np.float32(offset)).astype(np.float32), FACTS))


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, factor=st.sampled_from([0.5, 2.0, 4.0]))
def test_amplitudes_grow_with_the_gain_and_shares_do_not(seed: int, factor: float) -> None:
    array = heart(seed, noise=0.02)
    one, other = measure(array, FACTS), measure(array * np.float32(factor), FACTS)
    assert other.amplitude_mv == pytest.approx(factor * one.amplitude_mv, rel=1e-4)
    assert other.disagreement == pytest.approx(one.disagreement, abs=1e-5)
    for mains in one.hum_mv:
        assert other.hum_mv[mains] == pytest.approx(factor * one.hum_mv[mains], rel=1e-2, abs=1e-5)
    assert other.clipped.keys() == one.clipped.keys()


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS)
def test_a_heart_upside_down_turns_every_sign(seed: int) -> None:
    """All leads turned over, chest leads too: limb and chest leads still agree, P waves change sides."""
    array = heart(seed)
    fit, turned = limb_fit(array, 500), limb_fit(-array, 500)
    assert fit is not None and turned is not None
    assert turned.one == pytest.approx(fit.one, abs=0.05) and turned.two == pytest.approx(fit.two, abs=0.05)
    assert turned.p_excess_mv == pytest.approx(-fit.p_excess_mv, abs=1e-3)


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, row=st.sampled_from([0, 1]))
def test_one_limb_lead_turned_over_turns_its_own_agreement(seed: int, row: int) -> None:
    array = heart(seed)
    fit = limb_fit(array, 500)
    array[row] *= -1
    turned = limb_fit(array, 500)
    assert fit is not None and turned is not None
    own, other = ("one", "two") if row == 0 else ("two", "one")
    assert getattr(turned, own) == pytest.approx(-getattr(fit, own), abs=0.1)
    assert getattr(turned, other) == pytest.approx(getattr(fit, other), abs=0.1)


def test_a_swap_of_the_arms_is_seen_in_every_synthetic_heart() -> None:
    """Right arm for left arm: I turns over, II and III change places."""
    for seed in range(8):
        array = heart(seed)
        swapped = array.copy()
        swapped[0], swapped[1], swapped[2] = -array[0], array[2], array[1]
        fit = limb_fit(swapped, 500)
        assert fit is not None and fit.one < -0.5


def test_what_cannot_be_judged_is_none() -> None:
    array = heart(0)
    assert limb_fit(array, 79) is None
    assert limb_fit(array[:, :400], 500) is None  # a beat at most
    silent = array.copy()
    silent[10:] = 0
    assert limb_fit(silent, 500) is None
    assert limb_fit(np.zeros_like(array), 500) is None
    assert limb_fit(array[:, : round((BEFORE + AFTER) * 500)], 500) is None


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, mains=st.sampled_from([50, 60]), level=st.floats(0.02, 0.3), phase=st.floats(0, 6))
def test_hum_of_known_size_is_measured_wherever_it_starts(seed: int, mains: int, level: float, phase: float) -> None:
    array = heart(seed)
    time = np.arange(array.shape[1]) / 500
    array[7] += (level * np.sqrt(2) * np.sin(2 * np.pi * mains * time + phase)).astype(np.float32)
    found = measure(array, FACTS).hum_mv
    assert found[mains] == pytest.approx(level, rel=0.1)
    assert found[110 - mains] < 0.2 * level


def plain_clipped(row: np.ndarray, hz: float) -> float:
    """Milliseconds in stretches of three samples and more at the lead's own extreme, the worse of both."""
    worst = 0.0
    for extreme in (np.nanmax(row), np.nanmin(row)):
        total, run = 0, 0
        for value in [*row.tolist(), None]:
            if value == extreme:
                run += 1
                continue
            total += run if run >= 3 else 0
            run = 0
        worst = max(worst, 1e3 * total / hz)
    return worst


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, limit=st.floats(0.1, 1.0), holes=st.booleans())
def test_clipping_equals_a_plain_count(seed: int, limit: float, holes: bool) -> None:
    array = np.clip(heart(seed, seconds=3), -limit / 2, limit).astype(np.float32)
    if holes:
        array[:, 200:260] = np.nan
    found = measure(array, facts(missing=[[200, 260]] if holes else []))
    for row, lead in enumerate(LEADS):
        expected = plain_clipped(array[row], 500) if lead not in found.flat else 0.0
        assert found.clipped.get(lead, 0.0) == pytest.approx(expected, abs=1e-6), lead


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, begin=st.integers(0, 4000), length=st.integers(1, 800))
def test_the_share_that_is_missing(seed: int, begin: int, length: int) -> None:
    array = heart(seed)
    array[:, begin : begin + length] = np.nan
    found = measure(array, facts(missing=[[begin, begin + length]]))
    assert found.missing == pytest.approx(length / 5000)
    assert np.isfinite(found.amplitude_mv) and all(np.isfinite(v) for v in found.hum_mv.values())


def test_nothing_but_gaps_is_measured_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    array = np.full((12, 5000), np.nan, np.float32)
    found = measure(array, facts(missing=[[0, 5000]]))
    assert found.missing == 1.0 and found.amplitude_mv == 0.0 and found.limbs is None
    assert set(found.flat) == set(LEADS)
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


@pytest.mark.parametrize("row", range(12))
def test_flat_leads_are_named_and_absent_ones_left_out(row: int) -> None:
    array = heart(1)
    array[row] = 0.3
    found = measure(array, FACTS)
    assert found.flat == (LEADS[row],)
    gone = measure(array, facts(absent_leads=[LEADS[row]]))
    assert gone.flat == () and gone.absent == (LEADS[row],)


def test_the_border_of_flatness() -> None:
    array = heart(2)
    wave = np.tile([1.0, -1.0], 2500)
    array[5], array[6] = 0.9 * FLAT_MV * wave, 1.1 * FLAT_MV * wave
    assert measure(array, FACTS).flat == ("aVF",)


def test_disagreement_equals_the_definition() -> None:
    rng = np.random.default_rng(0)
    array = heart(3)
    array[2] += rng.normal(0, 0.05, 5000).astype(np.float32)
    limbs = array[:6, ::4].astype(np.float64)
    limbs -= limbs.mean(axis=1, keepdims=True)
    scale = np.sqrt((limbs[:2] ** 2).mean())
    expected = np.sqrt(((limbs[2] - limbs[1] + limbs[0]) ** 2).mean()) / scale
    found = measure(array, FACTS).disagreement
    assert found["III"] == pytest.approx(expected, rel=1e-9)
    assert max(found[k] for k in ("aVR", "aVL", "aVF")) < 1e-3
    assert measure(array, facts(derived_leads=["III"])).disagreement.keys() == {"aVR", "aVL", "aVF"}
    assert measure(array, facts(derived_leads=["I"])).disagreement == {}


def test_measuring_does_not_change_the_recording_and_repeats() -> None:
    array = heart(4)
    array[:, 100:150] = np.nan
    before = array.copy()
    first = measure(array, facts(missing=[[100, 150]]))
    np.testing.assert_array_equal(array, before)
    assert measure(array, facts(missing=[[100, 150]])) == first
    assert replace(first, seconds=1.0) != first
