"""The plan behind synthetic ECG cohorts: people, labels, reports, and what repeats."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.cohorts.synthetic_ecg import EXCLUSIVE, FINDINGS, LEAD_VECTORS, RHYTHMS, Device, Heart, conflicts, draw_ecg
from medfm.cohorts.synthetic_ecg_cohort import (
    LABELS,
    MAIN_CLASSES,
    PATIENTS_PER_SITE,
    SITES,
    draw_findings,
    labels_of,
    patients,
)
from medfm.cohorts.synthetic_ecg_files import digitise
from medfm.cohorts.synthetic_ecg_text import PHRASES, report

HEART, QUIET = Heart(0.0, 1.0, 1.0), Device(250, 0.0, 0.0, 50, 0.0)
SEEDS = st.integers(0, 10_000)


@pytest.mark.parametrize("seed", [0, 1, 17])
def test_people_of_a_seed(seed: int) -> None:
    people = patients(seed)
    assert people == patients(seed)
    assert len({p.patient_id for p in people}) == len(people) == PATIENTS_PER_SITE * len(SITES)
    shares = Counter((p.site, p.split) for p in people)
    for site in SITES:
        assert [shares[site, split] for split in ("train", "val", "test")] == [24, 4, 12]
    assert {p.own for p in people} == set(MAIN_CLASSES)  # every class has somebody
    assert all(20 <= p.age < 90 and p.sex in "FM" for p in people)
    assert patients(seed + 1) != people


@settings(max_examples=200, deadline=None)
@given(own=st.sampled_from(MAIN_CLASSES), seed=SEEDS)
def test_what_is_planned_can_be_drawn_and_is_labelled(own: str, seed: int) -> None:
    main, found = draw_findings(own, np.random.default_rng(seed))
    assert not conflicts(found) and len(found & set(RHYTHMS)) == 1 and len(found) <= 3
    labels = labels_of(found)
    assert tuple(labels) == LABELS and set(labels.values()) <= {0, 1}
    assert labels[main] == 1 or (main == "SR" and labels["SR"])
    assert labels["NORM"] == (found == {"SR"})
    assert {name for name, one in labels.items() if one} - {"NORM"} == found


def test_half_of_the_recordings_show_the_patients_own_class() -> None:
    rng = np.random.default_rng(0)
    share = np.mean([draw_findings("LVH", rng)[0] == "LVH" for _ in range(2000)])
    assert share == pytest.approx(0.5 + 0.5 / len(MAIN_CLASSES), abs=0.04)


def test_a_conflict_stays_one_with_more_findings() -> None:
    for group in EXCLUSIVE:
        for one in group:
            for other in group - {one}:
                assert conflicts({one, other}) and conflicts({one, other, "LVH"})
    for one in (*RHYTHMS, *FINDINGS):
        assert not conflicts({one})
    assert not conflicts(set())


@settings(max_examples=60, deadline=None)
@given(own=st.sampled_from(MAIN_CLASSES), seed=SEEDS, rate=st.integers(30, 200))
def test_a_report_says_the_rhythm_first_and_each_finding_once(own: str, seed: int, rate: int) -> None:
    rng = np.random.default_rng(seed)
    _, found = draw_findings(own, rng)
    text = report(found, rate, "anterior", np.random.default_rng(seed))
    assert text == report(found, rate, "anterior", np.random.default_rng(seed))
    assert "{" not in text and ".." not in text and text == " ".join(text.split())

    def form(phrase: str) -> str:
        said = phrase.format(region="anterior", rate=rate)
        return said[0].upper() + said[1:]

    places = {}
    for name in found:
        said = [text.index(form(p)) for p in PHRASES[name] if form(p) in text]
        assert said, (name, text)
        places[name] = min(said)
    (rhythm,) = found & set(RHYTHMS)
    assert places[rhythm] == 0 == min(places.values())
    for number in re.findall(r"\d+", re.sub("below 60|above 100|V1", "", text)):
        assert number == str(rate)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, rhythm=st.sampled_from(RHYTHMS), qrs=st.floats(0.5, 2))
def test_a_quiet_recording_is_a_projection_of_three_directions(seed: int, rhythm: str, qrs: float) -> None:
    """Twelve leads of one moving dipole have three degrees of freedom."""
    values = draw_ecg({rhythm}, Heart(0.1, qrs, 1.0), QUIET, np.random.default_rng(seed)).values
    strengths = np.linalg.svd(values, compute_uv=False)
    assert strengths[3] < 1e-9 * strengths[0]
    dipole, *_ = np.linalg.lstsq(LEAD_VECTORS, values, rcond=None)
    np.testing.assert_allclose(LEAD_VECTORS @ dipole, values, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, seconds=st.sampled_from([2.0, 5.0, 10.0]), hz=st.sampled_from([100, 250, 1000]))
def test_length_and_rate_are_those_asked_for(seed: int, seconds: float, hz: int) -> None:
    device = Device(hz, 0.01, 0.003, 50, 0.02)
    drawn = draw_ecg({"SR"}, HEART, device, np.random.default_rng(seed), seconds)
    assert drawn.values.shape == (12, round(seconds * hz)) and np.isfinite(drawn.values).all()
    assert drawn.region == "" and 20 <= drawn.rate <= 140


def test_a_larger_heart_of_the_same_person_is_larger() -> None:
    sizes = [
        np.ptp(draw_ecg({"SR"}, Heart(0.0, qrs, 1.0), QUIET, np.random.default_rng(3)).values[1])
        for qrs in (0.5, 1.0, 2.0)
    ]
    assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize(
    "findings", [set(), {"LVH"}, {"SR", "AFIB"}, {"SR", "FLUTTER"}, {"AFIB", "PAC"}, {"SR", "STE", "STD"}]
)
def test_what_cannot_be_drawn(findings: set[str]) -> None:
    with pytest.raises(ValueError, match="cannot be drawn together"):
        draw_ecg(findings, HEART, QUIET, np.random.default_rng(0))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, microvolts=st.sampled_from([1.0, 2.5, 5.0]))
def test_stored_numbers_keep_einthoven_to_the_digit(seed: int, microvolts: float) -> None:
    values = np.random.default_rng(seed).normal(0, 1, (12, 50))
    values[2:6] = [values[1] - values[0], -(values[0] + values[1]) / 2, values[0] - values[1] / 2,
                   values[1] - values[0] / 2]  # fmt: skip
    digits = digitise(values, microvolts).astype(np.int64)
    assert (digits[2] == digits[1] - digits[0]).all()
    assert np.abs(digits[:2] * microvolts / 1000 - values[:2]).max() <= 1.5 * microvolts / 1000
