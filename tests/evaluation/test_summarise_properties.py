"""Whatever small and odd predictions come in, a summary comes out without NaN, and paired tests hold their level."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medfm.evaluation.delong import delong
from medfm.evaluation.metrics import list_metrics, metrics_for
from medfm.evaluation.paired import compare_pair, match
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.summarise import summarise

PLAN = StatisticsPlan(resamples=12, minimum_cell=2, subgroups=("sex",))
LEVELS = st.integers(0, 4).map(lambda v: v / 4)


@st.composite
def predictions(draw, task: str) -> Predictions:
    """Few records, few patients, ties, absent classes, repeats, missing sites."""
    n = draw(st.integers(1, 14))
    classes = ("a", "b") if task == "binary" else ("a", "b", "c")

    def column(values):
        return draw(st.lists(values, min_size=n, max_size=n))

    table = pd.DataFrame(
        {
            "record_id": column(st.sampled_from([f"r{i}" for i in range(8)])),
            "patient_id": column(st.sampled_from(["p", "q", "r", None])),
            "site": column(st.sampled_from(["x", "y", None])),
            "sex": column(st.sampled_from(["f", "m", ""])),
            "variant": column(st.sampled_from(["main", "main", "k=1"])),
            "repeat": column(st.integers(0, 1)),
            "fold": column(st.integers(0, 2)),
        }
    )
    if task == "regression":
        table["truth"] = column(st.integers(-3, 3).map(float))
        table["predicted"] = column(st.integers(-3, 3).map(float))
        return Predictions(table, "regression")
    scores = np.array([column(LEVELS) for _ in classes]).T
    if task != "multilabel":
        scores = (scores + 1e-3) / (scores + 1e-3).sum(axis=1, keepdims=True)
        table["truth"] = column(st.sampled_from(classes))
        table["predicted"] = np.array(classes)[scores.argmax(axis=1)]
    for c, name in enumerate(classes):
        table[f"score:{name}"] = scores[:, c]
        if task == "multilabel":
            table[f"truth:{name}"] = column(st.sampled_from([0.0, 1.0, float("nan")]))
    return Predictions(table, task, classes)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression"])
@pytest.mark.parametrize("known", [True, False])
def test_never_nan_never_a_crash(task, known):
    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(predictions(task))
    def check(given_predictions):
        summary = summarise(given_predictions, PLAN, metrics=tuple(list_metrics(task)), patients_known=known)
        json.dumps(summary.to_dict(), allow_nan=False)
        for estimate in (*summary.headline, *summary.variants):
            assert (estimate.low is None) == (estimate.high is None)
            assert estimate.low is not None or estimate.note
        for row in (*summary.sites, *summary.subgroups):
            assert row.suppressed == (row.n_patients is None)

    check()


def model(rng: np.random.Generator, truth: np.ndarray, owner: np.ndarray, effect: float) -> pd.DataFrame:
    """Scores with an error common to the records of a patient."""
    score = 1 / (1 + np.exp(-(effect * (2 * truth - 1) + rng.normal(size=len(truth)) + rng.normal(size=30)[owner])))
    names = np.array(["no", "yes"])
    return pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(len(truth))],
            "patient_id": [f"p{o}" for o in owner],
            "variant": "main",
            "repeat": 0,
            "fold": 0,
            "truth": names[truth],
            "predicted": names[(score > 0.5).astype(int)],
            "score:no": 1 - score,
            "score:yes": score,
        }
    )


def test_paired_tests_hold_their_level_on_clustered_records():
    """Two models of equal quality, 30 patients with 6 records: about 5 % false claims, naive far more."""
    rng = np.random.default_rng(0)
    runs, claims = 100, {"brier": 0, "auroc": 0, "naive": 0}
    plan = StatisticsPlan(resamples=200)
    for _ in range(runs):
        owner = np.repeat(np.arange(30), 6)
        truth = owner % 2
        pair = [Predictions(model(rng, truth, owner, 0.7), "binary", ("no", "yes")) for _ in range(2)]
        for row in compare_pair(match(*pair), metrics_for(["brier", "auroc"], "binary"), plan):
            claims[row.metric] += row.p < 0.05
        losses = [(p.scores()[:, 1] - truth) ** 2 for p in pair]
        d = losses[1] - losses[0]
        claims["naive"] += abs(d.mean()) > 1.96 * d.std(ddof=1) / np.sqrt(len(d))
    assert claims["brier"] / runs <= 0.12
    assert claims["auroc"] / runs <= 0.12
    assert claims["naive"] / runs > 0.2


def test_delong_interval_covers():
    """True AUROC of two normals one apart is Phi(1 / sqrt 2)."""
    rng = np.random.default_rng(0)
    truth = np.arange(80) % 2 == 0
    inside = 0
    for _ in range(300):
        low, high = delong(rng.normal(size=80) + truth, truth).interval()
        inside += low <= 0.7602499389 <= high
    assert 0.92 <= inside / 300 <= 0.98
