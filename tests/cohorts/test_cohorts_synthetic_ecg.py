"""The drawn signals: Einthoven, rates, and each finding measured in the leads where it belongs."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import find_peaks

from medfm.cohorts.synthetic_ecg import EXCLUSIVE, FINDINGS, LEAD_VECTORS, RHYTHMS, Device, Heart, conflicts, draw_ecg
from medfm.cohorts.synthetic_ecg_files import digitise
from medfm.cohorts.synthetic_ecg_text import PHRASES, report
from medfm.io.ecg.leads import LEADS
from medfm.knowledge.load import load_knowledge
from medfm.knowledge.prompts import build_prompts, list_strategies

CLEAN = Device(500, 0.0, 0.0, 50, 0.0)
NOISY = Device(500, 0.02, 0.01, 50, 0.08)
HEART = Heart(0.0, 1.0, 1.0)


def lead(values: np.ndarray, name: str) -> np.ndarray:
    return values[LEADS.index(name)]


def draw(findings: set[str], seed: int = 0, device: Device = CLEAN) -> np.ndarray:
    return draw_ecg(findings, HEART, device, np.random.default_rng(seed)).values


def r_peaks(values: np.ndarray, hertz: int = 500) -> np.ndarray:
    """Sample numbers of the QRS complexes: where all leads together change fastest."""
    speed = np.abs(np.diff(values, axis=1)).sum(axis=0)
    smooth = np.convolve(speed, np.ones(40) / 40, mode="same")
    return find_peaks(smooth, height=0.4 * smooth.max(), distance=int(0.25 * hertz))[0]


def beats_around(values: np.ndarray, before: float, after: float) -> np.ndarray:
    """(12, samples): the mean beat around the R wave of lead II."""
    rows = []
    for peak in r_peaks(values):
        top = peak - 40 + int(np.argmax(np.abs(lead(values, "II")[max(peak - 40, 0) : peak + 40])))
        if top - before * 500 >= 0 and top + after * 500 < values.shape[1]:
            rows.append(values[:, int(top - before * 500) : int(top + after * 500)])
    return np.mean(rows, axis=0)


def width_of_qrs(values: np.ndarray) -> float:
    """Seconds in which the mean beat moves fast."""
    beat = beats_around(values, 0.12, 0.16)
    speed = np.abs(np.diff(beat, axis=1)).sum(axis=0)
    fast = np.flatnonzero(speed > 0.12 * speed.max())
    return (fast[-1] - fast[0]) / 500


sets = st.tuples(
    st.sampled_from(RHYTHMS), st.sets(st.sampled_from(FINDINGS), max_size=3), st.integers(0, 10_000)
).filter(lambda c: not conflicts({c[0], *c[1]}))


@settings(max_examples=25, deadline=None)
@given(sets, st.sampled_from([250, 500, 1000]))
def test_einthoven_holds_on_every_drawing_also_after_rounding(choice: tuple, hertz: int) -> None:
    rhythm, others, seed = choice
    device = Device(hertz, 0.02, 0.01, 50, 0.08)
    drawn = draw_ecg({rhythm, *others}, HEART, device, np.random.default_rng(seed))
    values = drawn.values
    assert values.shape == (12, 10 * hertz)
    assert np.isfinite(values).all()
    assert 0.3 < np.abs(values).max() < 8
    digits = digitise(values, 2.5).astype(np.int64)
    for one, two, three, avr, avl, avf in (values[:6], digits[:6]):
        assert np.abs(one + three - two).max() < 1e-9
        assert np.abs(avr + (one + two) / 2).max() < 1e-9
        assert np.abs(avl - (one - two / 2)).max() < 1e-9
        assert np.abs(avf - (two - one / 2)).max() < 1e-9
    # Steps of 2.5 uV, and limb leads moved to an even step.
    assert np.abs(digits * 0.0025 - values).max() < 0.0101


def test_the_lead_directions_obey_einthoven_and_point_where_they_should() -> None:
    assert np.allclose(LEAD_VECTORS[0] + LEAD_VECTORS[2], LEAD_VECTORS[1])
    assert LEAD_VECTORS[6, 2] > 0 > LEAD_VECTORS[6, 0]  # V1 looks from the front right
    assert np.all(np.diff(LEAD_VECTORS[6:, 0] / np.linalg.norm(LEAD_VECTORS[6:], axis=1)) > 0)  # V1 to V6 go left


def test_equal_generators_draw_equal_recordings() -> None:
    assert np.array_equal(draw({"AFIB", "VPC"}, 3, NOISY), draw({"AFIB", "VPC"}, 3, NOISY))
    assert not np.array_equal(draw({"AFIB"}, 3), draw({"AFIB"}, 4))


@pytest.mark.parametrize(("rhythm", "low", "high"), [("SR", 60, 100), ("SBRAD", 35, 60), ("STACH", 100, 140)])
def test_rates(rhythm: str, low: float, high: float) -> None:
    for seed in range(6):
        drawn = draw_ecg({rhythm}, HEART, CLEAN, np.random.default_rng(seed))
        intervals = np.diff(r_peaks(drawn.values)) / 500
        assert low < 60 / intervals.mean() < high
        assert intervals.std() / intervals.mean() < 0.05
        assert abs(drawn.rate - 60 / intervals.mean()) < 8


def test_atrial_fibrillation_is_irregular_and_has_no_p_wave() -> None:
    spread = []
    for seed in range(6):
        intervals = np.diff(r_peaks(draw({"AFIB"}, seed))) / 500
        spread.append(intervals.std() / intervals.mean())
    assert min(spread) > 0.1
    p_of = {r: np.ptp(lead(beats_around(draw({r}, 1), 0.2, 0.1), "II")[:60]) for r in ("SR", "AFIB")}
    assert p_of["SR"] > 2 * p_of["AFIB"]


def test_bundle_branch_blocks_widen_qrs_and_turn_v1_and_v6() -> None:
    narrow = width_of_qrs(draw({"SR"}))
    assert 0.06 < narrow < 0.1
    left, right = draw({"SR", "CLBBB"}), draw({"SR", "CRBBB"})
    for wide in (left, right):
        assert width_of_qrs(wide) > max(0.115, narrow + 0.03)
    beat = beats_around(left, 0.1, 0.15)
    assert lead(beat, "V1").min() < -0.8
    assert lead(beat, "V1").max() < 0.2
    assert lead(beat, "V6").max() > 0.5
    beat = beats_around(right, 0.1, 0.15)
    late = lead(beat, "V1")[50 + 20 : 50 + 50]
    assert late.max() > 0.6 > lead(beat, "V1")[:50].max()
    assert lead(beat, "V6")[50 + 20 : 50 + 50].min() < -0.3


def test_st_segments_move_in_the_leads_named() -> None:
    def st_level(values: np.ndarray, name: str) -> float:
        beat = lead(beats_around(values, 0.2, 0.2), name)
        return float(np.median(beat[100 + 45 : 100 + 60]) - np.median(beat[:10]))

    base = draw({"SR"})
    regions = {}
    for seed in range(12):
        drawn = draw_ecg({"SR", "STE"}, HEART, CLEAN, np.random.default_rng(seed))
        regions[drawn.region] = drawn.values
    assert set(regions) == {"anterior", "inferior"}
    assert st_level(regions["inferior"], "III") > 0.15 > st_level(base, "III")
    assert st_level(regions["anterior"], "V3") - st_level(base, "V3") > 0.15
    assert st_level(regions["anterior"], "III") < 0.1
    for name in ("I", "II", "V5"):
        assert st_level(draw({"SR", "STD"}), name) < -0.05


def test_long_pr_moves_the_p_wave_away() -> None:
    def pr(values: np.ndarray) -> float:
        beat = lead(beats_around(values, 0.4, 0.1), "II")
        return (200 - int(np.argmax(beat[20:170])) - 20) / 500

    normal, long = pr(draw({"SR"}, 2)), pr(draw({"SR", "1AVB"}, 2))
    assert 0.1 < normal < 0.19
    assert 0.24 < long < 0.35


@pytest.mark.parametrize("kind", ["VPC", "PAC"])
def test_premature_beats_come_early_and_only_ventricular_ones_are_wide(kind: str) -> None:
    values = draw({"SR", kind}, 5)
    intervals = np.diff(r_peaks(values)) / 500
    # The middle of a wide complex comes later than its beginning, hence the room.
    assert intervals.min() < 0.85 * np.median(intervals)
    assert intervals.max() > 1.1 * np.median(intervals)
    # A ventricular beat is far larger than the others in lead III.
    high = np.abs(lead(values, "III")).max() / np.abs(lead(draw({"SR"}, 5), "III")).max()
    assert (high > 2) == (kind == "VPC")


def test_hypertrophy_is_voltage() -> None:
    def sokolow(values: np.ndarray) -> float:
        beat = beats_around(values, 0.1, 0.1)
        return float(lead(beat, "V5").max() - lead(beat, "V1").min())

    assert sokolow(draw({"SR", "LVH"})) > 3.0 > 2.2 > sokolow(draw({"SR"}))


def test_conflicts() -> None:
    assert conflicts({"SR", "AFIB"})
    assert conflicts({"AFIB", "1AVB"})
    assert conflicts({"STACH", "VPC"})
    assert not conflicts({"SR", "CLBBB", "STE", "VPC", "LVH"})
    for group in EXCLUSIVE:
        assert all(conflicts(set(pair)) for pair in combinations(group, 2))
    for wrong in ({"SR", "AFIB"}, {"LVH"}, {"SR", "XYZ"}):
        with pytest.raises(ValueError, match="cannot be drawn"):
            draw(wrong)


class TestReports:
    def test_every_finding_is_said_and_no_other(self) -> None:
        rng = np.random.default_rng(0)
        words = {"CLBBB": "left bundle", "CRBBB": "right bundle", "AFIB": "fibrillation", "LVH": "hypertrophy"}
        for name, word in words.items():
            for _ in range(20):
                found = {name} if name in RHYTHMS else {"SR", name}
                text = report(found, 70, "", rng).lower()
                assert word in text
                assert not any(other in text for key, other in words.items() if key != name)
                assert "a normal ecg" not in text

    def test_wording_varies_and_regions_are_named(self) -> None:
        rng = np.random.default_rng(1)
        texts = {report({"SR", "STE"}, 70, "inferior", rng) for _ in range(60)}
        assert len(texts) > 20
        assert all("inferior" in text.lower() or "st segment elevation" in text.lower() for text in texts)
        assert not any("{" in text for text in texts)

    def test_no_sentence_is_a_prompt(self) -> None:
        knowledge = load_knowledge("ecg")
        prompts = {
            text.lower().rstrip(".")
            for label_set in knowledge.label_sets
            for strategy in list_strategies()
            for text in build_prompts(knowledge, label_set, strategy).texts()
        }
        rng = np.random.default_rng(2)
        for name in PHRASES:
            for _ in range(60):
                found = {name} if name in RHYTHMS else {"SR", name}
                text = report(found, 70, "inferior", rng).lower()
                assert text not in prompts
                assert not prompts & set(text.split(". ")), text
