"""How often the product's intervals hold the truth: the simulations of scripts/interval_coverage.py, with fewer cohorts.

Margins are binomial (99.9 %) around what the interval promises; known shortfalls of small cohorts are pinned from both
sides, so that docs/statistics.md stays true.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from scipy.stats import binom, t

from medfm.evaluation.calibration import CalibrationFit, calibration_fit
from medfm.evaluation.calibration_intervals import calibration_intervals
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.summarise import summarise
from medfm.reporting.tables import calibration_rows

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "interval_coverage.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="needs the checkout")


@pytest.fixture(scope="module")
def simulate():
    spec = importlib.util.spec_from_file_location("interval_coverage", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def held(simulate, share: float, runs: int, promise: float = 0.95) -> bool:
    low, high = simulate.margin(runs, promise)
    return low <= share <= high


def test_the_margin_is_that_of_a_binomial(simulate):
    low, high = simulate.margin(1000)
    assert 0.92 < low < 0.95 < high < 0.975
    assert binom.cdf(low * 1000 - 1, 1000, 0.95) < 0.001 and binom.sf(high * 1000, 1000, 0.95) < 0.001


def test_the_true_auroc_is_that_of_very_many(simulate):
    for each, shift in ((1, 1.0), (3, 1.0), (1, 2.5)):
        scores, ill, _ = simulate.auroc_cohort(np.random.default_rng(0), 4000, each, shift)
        order = scores.argsort().argsort() + 1.0
        m = ill.sum()
        found = (order[ill].sum() - m * (m + 1) / 2) / (m * (len(ill) - m))
        assert found == pytest.approx(simulate.true_auroc(each, shift), abs=0.02)


def test_the_intervals_of_an_auroc_cover_95_percent(simulate):
    runs = 300
    for patients, each in ((100, 1), (60, 4)):
        found = simulate.auroc_coverage(runs, patients, each, resamples=200)
        assert held(simulate, found["DeLong"], runs), (patients, each, found)
        assert held(simulate, found["bootstrap"], runs, 0.94), (patients, each, found)


def test_a_bootstrap_of_20_patients_falls_short_and_formulas_do_not(simulate):
    runs = 300
    found = simulate.auroc_coverage(runs, 20, shift=1.0, resamples=200)
    assert found["bootstrap"] < 0.95 and found["bootstrap"] > 0.83
    assert found["DeLong"] >= simulate.margin(runs)[0] <= found["score"]


@pytest.mark.parametrize(
    ("patients", "each", "every", "shift"), [(20, 1, 2, 2.5), (60, 1, 10, 2.5), (40, 5, 8, 2.5), (40, 4, 2, 1.0)]
)
def test_the_score_interval_covers_few_patients_and_an_auroc_near_one(simulate, patients, each, every, shift):
    runs = 300
    found = simulate.auroc_coverage(runs, patients, each, shift, every=every, resamples=0)
    assert found["score"] >= simulate.margin(runs)[0], found
    if shift > 2:
        # DeLong's own interval does not, or does not exist: why it is not the default.
        assert found["DeLong"] < found["score"]


@pytest.mark.parametrize(("patients", "each", "every"), [(20, 1, 2), (60, 1, 10), (40, 5, 2)])
def test_sensitivity_and_balanced_accuracy_are_covered(simulate, patients, each, every):
    runs = 200
    found = simulate.decision_coverage(runs, patients, each, every=every)
    low = simulate.margin(runs, 0.94)[0]
    assert found["balanced accuracy, Wilson"] >= low, found
    # Wilson's own coverage of six proportions of 0.9 is 0.89 to 0.98 (summed exactly).
    assert found["sensitivity, Wilson"] >= simulate.margin(runs, 0.93)[0] - 0.02, found
    assert found["balanced accuracy, bootstrap"] < found["balanced accuracy, Wilson"]


def test_the_c_index_is_covered(simulate):
    runs = 200
    found = simulate.c_index_coverage(runs, 40)
    assert found["logit"] >= simulate.margin(runs)[0], found
    assert 0.8 < found["percentiles"] <= found["logit"]


def test_proportions_are_covered_wherever_the_truth_lies(simulate):
    for total in (10, 30, 100):
        found = simulate.proportion_coverage(total)
        assert found["Clopper-Pearson"][0] >= 0.95  # never less, and so more on average
        assert found["Wilson"][0] < 0.95 < found["Wilson"][1] < found["Clopper-Pearson"][1]
        assert found["Wilson"][0] > 0.83


@pytest.mark.parametrize(("patients", "each"), [(200, 1), (80, 5)])
def test_slope_and_intercept_are_covered(simulate, patients, each):
    runs = 300
    found = simulate.calibration_coverage(runs, patients, each)
    assert all(held(simulate, share, runs, 0.945) for share in found.values()), found


def test_records_as_if_they_were_patients_are_not(simulate, monkeypatch):
    monkeypatch.setattr(
        simulate, "calibration_intervals", lambda s, h, fit, who, level: calibration_intervals(s, h, fit, None, level)
    )
    assert all(share < 0.85 for share in simulate.calibration_coverage(150, 80, 5).values())


def test_the_corrected_t_calls_few_equal_models_different(simulate):
    found = simulate.false_differences(400)
    assert found["Nadeau-Bengio"] <= simulate.margin(400, 0.05)[1]
    assert found["plain t"] > 0.2


def test_the_table_is_printed(simulate, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["interval_coverage.py", "--runs", "10"])
    monkeypatch.setattr(simulate, "auroc_coverage", lambda *a, **k: {"DeLong": 0.95})
    for name in ("decision_coverage", "c_index_coverage"):
        monkeypatch.setattr(simulate, name, lambda *a, **k: {"Wilson": 0.95})
    monkeypatch.setattr(simulate, "calibration_coverage", lambda *a, **k: {"slope": 0.94})
    simulate.main()
    text = capsys.readouterr().out
    assert "| interval | cohort | coverage |" in text and "94.0 %" in text and "Clopper-Pearson" in text


# What the intervals are, apart from how often they cover.


def sample(n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    scores = rng.uniform(0.05, 0.95, n)
    return scores, (rng.random(n) < scores).astype(int)


def naive(scores: np.ndarray, truth: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Information by finite differences of the log-likelihood, and the score of each record, in a plain loop."""

    def likelihood(beta: np.ndarray) -> float:
        p = 1 / (1 + np.exp(-(beta[0] + beta[1] * logit(scores))))
        return float(np.sum(truth * np.log(p) + (1 - truth) * np.log1p(-p)))

    h, unit = 1e-4, np.eye(2)
    information = np.zeros((2, 2))
    for i in range(2):
        for j in range(2):
            ends = [likelihood(at + h * (a * unit[i] + b * unit[j])) * a * b for a in (1, -1) for b in (1, -1)]
            information[i, j] = -sum(ends) / (4 * h * h)
    rows = [[y - 1 / (1 + np.exp(-(at[0] + at[1] * x))), (y - 1 / (1 + np.exp(-(at[0] + at[1] * x)))) * x] for x, y in zip(logit(scores), truth, strict=True)]  # fmt: skip
    return information, np.array(rows)


def test_independent_records_have_the_interval_of_the_information():
    scores, truth = sample()
    fit = calibration_fit(scores, truth)
    slope, intercept, large = calibration_intervals(scores, truth, fit)
    information, _ = naive(scores, truth, np.array([fit.intercept, fit.slope]))
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    assert intercept == pytest.approx(
        (fit.intercept - 1.959964 * errors[0], fit.intercept + 1.959964 * errors[0]), abs=1e-4
    )
    assert slope == pytest.approx((fit.slope - 1.959964 * errors[1], fit.slope + 1.959964 * errors[1]), abs=1e-4)
    p = 1 / (1 + np.exp(-(fit.in_the_large + logit(scores))))
    assert (large[1] - large[0]) / 2 == pytest.approx(1.959964 / np.sqrt(np.sum(p * (1 - p))), rel=1e-5)


def test_clusters_have_the_sandwich_in_a_plain_loop():
    scores, truth = sample()
    who = np.arange(120) // 4
    fit = calibration_fit(scores, truth)
    slope, _, _ = calibration_intervals(scores, truth, fit, who)
    information, rows = naive(scores, truth, np.array([fit.intercept, fit.slope]))
    middle = sum(np.outer(rows[who == g].sum(axis=0), rows[who == g].sum(axis=0)) for g in range(30)) * 30 / 29
    inverse = np.linalg.inv(information)
    error = np.sqrt((inverse @ middle @ inverse)[1, 1])
    assert (slope[1] - slope[0]) / 2 == pytest.approx(error * t.ppf(0.975, 29), rel=1e-4)
    renamed = calibration_intervals(scores, truth, fit, who[::-1].max() - who)[0]
    assert renamed == pytest.approx(slope)


def test_what_is_undefined_has_no_interval():
    scores, truth = sample(20)
    assert calibration_intervals(scores, truth, CalibrationFit(None, None, None)) == (None, None, None)
    one = calibration_intervals(scores, truth, calibration_fit(scores, truth), np.zeros(20, int))
    assert one == (None, None, None)
    narrow, wide = (
        calibration_intervals(scores, truth, calibration_fit(scores, truth), level=v)[0] for v in (0.5, 0.99)
    )
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_the_summary_and_its_table_carry_the_intervals():
    scores, truth = sample(60)
    names = np.array(["no", "yes"])
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(60)],
            "patient_id": [f"p{i // 2}" for i in range(60)],
            "site": None,
            "variant": "main",
            "repeat": 0,
            "fold": 0,
            "truth": names[truth],
            "predicted": names[(scores > 0.5).astype(int)],
            "score:no": 1 - scores,
            "score:yes": scores,
        }
    )
    found = summarise(Predictions(table, "binary", ("no", "yes")), StatisticsPlan(resamples=20))
    calibration = found.calibration
    expected = calibration_intervals(scores, truth, calibration_fit(scores, truth), np.arange(60) // 2)
    assert calibration.slope_interval == pytest.approx(expected[0]) and calibration.in_the_large_interval is not None
    cells = dict(calibration_rows(found).rows)
    assert "–" in cells["slope (1 is best; below 1 is too sure)"]
    bare = found.model_copy(update={"calibration": calibration.model_copy(update={"slope_interval": None})})
    assert "(" not in dict(calibration_rows(bare).rows)["slope (1 is best; below 1 is too sure)"]
