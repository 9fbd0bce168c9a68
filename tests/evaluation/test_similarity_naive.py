"""Figures of drawn volumes against plain loops: SSIM voxel by voxel, PSNR, gains, intervals, visits between visits."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ConfigError
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted
from medfm.evaluation.missing_scans import MissingScan, missing_scans
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.similarity_metrics import blended, figure_names, figures, gains, mean
from medfm.evaluation.similarity_summary import summarise_similarity
from medfm.evaluation.volume_similarity import mean_square_error, psnr, ssim

SHAPE = (5, 6, 4)


def volume(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(SHAPE)


def tensor(*volumes: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(volumes)[:, None]).float()


def kernel(window: int) -> np.ndarray:
    """Weights of a Gaussian of 1.5 voxels about the middle of the window, of sum 1, (window,) * 3."""
    places = [place - (window - 1) / 2 for place in range(window)]
    line = [math.exp(-((place / 1.5) ** 2) / 2) for place in places]
    total = sum(line)
    made = np.zeros((window,) * 3)
    for i in range(window):
        for j in range(window):
            for k in range(window):
                made[i, j, k] = line[i] * line[j] * line[k] / total**3
    return made


def naive_ssim(first: np.ndarray, second: np.ndarray, window: int, data_range: float = 1.0) -> float:
    """The formula at every place where the whole window lies within the volume, and the mean of it."""
    weight = kernel(window)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    found = []
    for i in range(first.shape[0] - window + 1):
        for j in range(first.shape[1] - window + 1):
            for k in range(first.shape[2] - window + 1):
                a = first[i : i + window, j : j + window, k : k + window]
                b = second[i : i + window, j : j + window, k : k + window]
                ma, mb = float((weight * a).sum()), float((weight * b).sum())
                va = float((weight * a * a).sum()) - ma**2
                vb = float((weight * b * b).sum()) - mb**2
                cov = float((weight * a * b).sum()) - ma * mb
                found.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return sum(found) / len(found)


@pytest.mark.parametrize("window", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_ssim_equals_the_loop(window, seed):
    first, second = volume(seed), 0.7 * volume(seed) + 0.3 * volume(seed + 10)
    found = float(ssim(tensor(first), tensor(second), window=window)[0])
    assert found == pytest.approx(naive_ssim(first, second, window), abs=2e-5)


def test_ssim_with_another_range_equals_the_loop():
    first, second = 100 * volume(0), 100 * volume(1)
    found = float(ssim(tensor(first), tensor(second), window=3, data_range=100.0)[0])
    assert found == pytest.approx(naive_ssim(first, second, 3, 100.0), abs=1e-4)
    small = float(ssim(tensor(first / 100), tensor(second / 100), window=3)[0])
    assert found == pytest.approx(small, abs=1e-4)


@pytest.mark.parametrize("window", [2, 3, 4])
def test_ssim_does_not_depend_on_the_order_or_the_way_of_the_axes(window):
    first, second = volume(3), volume(4)
    expected = float(ssim(tensor(first), tensor(second), window=window)[0])
    for order in permutations(range(3)):
        one, other = first.transpose(order)[::-1].copy(), second.transpose(order)[::-1].copy()
        assert float(ssim(tensor(one), tensor(other), window=window)[0]) == pytest.approx(expected, abs=1e-5)
    assert float(ssim(tensor(second), tensor(first), window=window)[0]) == pytest.approx(expected, abs=1e-6)


def test_ssim_of_opposite_volumes_is_below_zero_and_never_out_of_range():
    first = volume(0)
    found = float(ssim(tensor(first), tensor(1 - first), window=4)[0])
    assert -1 <= found < 0 and found == pytest.approx(naive_ssim(first, 1 - first, 4), abs=2e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(1e-4, 1.0))
def test_psnr_and_mse_equal_their_sums(seed, size):
    first = volume(seed)
    second = first + size * (volume(seed + 1) - 0.5)
    total = 0.0
    for one, other in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True):
        total += (one - other) ** 2
    error = total / first.size
    assert float(mean_square_error(tensor(first), tensor(second))[0]) == pytest.approx(error, rel=1e-3)
    assert float(psnr(tensor(first), tensor(second))[0]) == pytest.approx(-10 * math.log10(error), abs=0.01)
    found = figures(tensor(second), tensor(first), (3,))
    assert found["psnr"][0] == pytest.approx(-10 * math.log10(error), abs=0.01)


def test_psnr_rises_by_twenty_decibels_where_the_error_is_a_tenth():
    first = tensor(volume(0))
    one, ten = (figures(first + error, first, (3,))["psnr"][0] for error in (0.01, 0.1))
    assert ten == pytest.approx(20, abs=0.01) and one == pytest.approx(40, abs=0.05)
    assert figures(first, first, (3,))["psnr"][0] == 120
    assert float(psnr(first, first)[0]) == math.inf


def test_every_volume_of_a_batch_is_judged_by_itself():
    drawn, true = [volume(i) for i in range(4)], [volume(i + 20) for i in range(4)]
    together = figures(tensor(*drawn), tensor(*true), (3, 4))
    assert tuple(together) == figure_names((3, 4)) == ("ssim", "ssim_w4", "psnr", "mse")
    for i in range(4):
        alone = figures(tensor(drawn[i]), tensor(true[i]), (3, 4))
        for name, values in together.items():
            assert values.shape == (4,) and values.dtype == np.float64
            assert values[i] == pytest.approx(alone[name][0], abs=1e-5), name


def test_figures_do_not_clamp_values_beyond_the_range():
    true = tensor(np.clip(volume(0), 0, 1))
    inside, beyond = true + 0.2, true + 2.0
    assert figures(beyond, true, (3,))["mse"][0] == pytest.approx(4, rel=1e-4)
    assert figures(inside, true, (3,))["ssim"][0] > figures(beyond, true, (3,))["ssim"][0]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6)
)
def test_gains_equal_a_loop(rows):
    drawn = {"ssim": np.array([r[0] for r in rows]), "mse": np.array([r[2] for r in rows])}
    other = {"ssim": np.array([r[1] for r in rows]), "mse": np.array([r[3] for r in rows])}
    found = gains(drawn, other)
    for i, (s, other_s, m, other_m) in enumerate(rows):
        assert found["ssim"][i] == s - other_s and found["mse"][i] == other_m - m
        assert (found["mse"][i] > 0) == (m < other_m) and (found["ssim"][i] > 0) == (s > other_s)
    back = gains(other, drawn)
    assert all(np.array_equal(found[name], -back[name]) for name in found)


def test_blending_equals_a_loop_and_its_ends_are_the_scans():
    first, last = volume(0), volume(1)
    for share in (0.0, 0.25, 1 / 3, 1.0):
        found = blended(tensor(first), tensor(last), share)[0, 0].numpy()
        for place in np.ndindex(*SHAPE):
            assert found[place] == pytest.approx((1 - share) * first[place] + share * last[place], abs=1e-6)


def predictions(patients: list[str], values: list[float], variant: str = "main") -> Predictions:
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(len(values))],
            "patient_id": patients,
            "variant": variant,
            "repeat": 0,
            "fold": 0,
            "mse": values,
        }
    )
    return Predictions(table, "similarity", ("mse",), "scan")


def test_the_weighted_mean_equals_a_loop():
    values = [0.1, 0.4, 0.2, 0.7]
    view = Weighted(
        Outcomes.of(predictions(["a", "a", "b", "c"], values)), np.array([[1, 1, 1, 1], [0, 3, 1, 0], [0] * 4]).T
    )
    found = mean("mse", view)
    assert found[0] == pytest.approx(sum(values) / 4)
    assert found[1] == pytest.approx((3 * 0.4 + 0.2) / 4) and np.isnan(found[2])


def test_the_interval_covers_the_resampled_means_of_whole_patients():
    """The published interval against a bootstrap of its own random numbers: patients are drawn, with all their scans."""
    rng = np.random.default_rng(5)
    levels = rng.normal(0.5, 0.1, 30)
    patients = [f"p{i:02d}" for i in range(30) for _ in range(3)]
    values = [float(abs(levels[i] + rng.normal(0, 0.01))) for i in range(30) for _ in range(3)]
    plan = StatisticsPlan(resamples=2000, seed=1)
    (found,) = summarise_similarity(predictions(patients, values), plan, ["mse"]).headline
    own = np.array(values).reshape(30, 3).mean(axis=1)
    draws = [own[rng.integers(0, 30, 30)].mean() for _ in range(2000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found.value == pytest.approx(np.mean(values))
    assert found.low == pytest.approx(low, abs=0.006) and found.high == pytest.approx(high, abs=0.006)
    # As if scans were patients it would be about the square root of three narrower.
    alone = summarise_similarity(predictions([f"q{i}" for i in range(90)], values), plan, ["mse"]).headline[0]
    assert (found.high - found.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(3), rel=0.15)


def test_what_a_reader_must_know_of_the_patients_comes_first():
    said = ("a", "b", "c")
    notes = summarise_similarity(
        predictions(["x", "x"], [0.1, 0.2]), StatisticsPlan(resamples=10), ["mse"], said=said
    ).notes
    assert notes[0].startswith("Only 1 patients") and notes[-3:] == said


def brute_force(visits: dict[str, list[float]]) -> set[tuple[str, float, float, float]]:
    """Every ordered triple of visits, kept where the times run upwards."""
    return {(patient, a, c, b) for patient, times in visits.items() for a, b, c in permutations(times, 3) if a < b < c}


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from("ABC"), st.lists(st.integers(0, 60), max_size=6, unique=True), max_size=3))
def test_visits_between_visits_against_all_triples(visits):
    times = {patient: [float(t) for t in own] for patient, own in visits.items()}
    found = missing_scans(times)
    assert {(t.subject_id, t.start, t.end, t.target) for t in found} == brute_force(times)
    assert len(found) == sum(math.comb(len(own), 3) for own in times.values())
    for one in found:
        assert 0 < one.share < 1 and one.time_gap == one.end - one.start
        assert one.prediction_gap <= one.time_gap / 2 and one.position == round(one.share, 1)
        assert one.start + one.share * one.time_gap == pytest.approx(one.target)


def test_gaps_by_hand():
    found = {(t.start, t.end, t.target): t for t in missing_scans({"A": [24.0, 0.0, 6.0, 12.0]})}
    assert sorted(found) == [(0, 12, 6), (0, 24, 6), (0, 24, 12), (6, 24, 12)]
    assert found[0, 24, 6] == MissingScan("A", 0, 24, 6) and found[0, 24, 6].prediction_gap == 6
    assert found[6, 24, 12].share == pytest.approx(1 / 3) and found[6, 24, 12].position == 0.3


@pytest.mark.parametrize("times", [[0, 6, 6], [0, 6, float("nan")], [0, 6, float("inf")]])
def test_two_scans_of_one_visit_and_times_that_are_none(times):
    with pytest.raises(ConfigError, match="two visits at one time") as caught:
        missing_scans({"A": [0.0, 1.0], "B": times})
    assert "subject 'B'" in str(caught.value)
