"""Conformal sets hold the truth as often as they promise; 95 % intervals cover 95 %."""

import numpy as np
import pytest

from medfm.core.errors import EvaluationError
from medfm.evaluation.bootstrap import Clusters, percentile_interval
from medfm.evaluation.bootstrap import draw as draws
from medfm.evaluation.conformal import ConformalSets, fit_conformal
from medfm.evaluation.delong import delong
from medfm.evaluation.intervals import clopper_pearson_interval


def draw(rng: np.random.Generator, n: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.choice(classes, n, p=[0.7, 0.2, 0.1])
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), truth] += 1.2
    raised = np.exp(logits)
    return raised / raised.sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_sets_hold_the_truth_at_the_promised_rate(level):
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(300):
        sets = fit_conformal(*draw(rng, 79), level)
        hits.append(sets.coverage(*draw(rng, 40))[0])
    # Exact on average: ceil(level * 80) / 80, which is `level` itself here.
    error = np.std(hits) / np.sqrt(len(hits))
    assert abs(np.mean(hits) - level) < 4 * error and error < 0.01


def test_sets_by_class_cover_the_rare_class_too():
    rng = np.random.default_rng(1)
    scores, truth = draw(rng, 3000)
    fresh, labels = draw(rng, 6000)
    rare = labels == 2
    joint, own = (fit_conformal(scores, truth, 0.9, by_class=b).coverage(fresh[rare], labels[rare])[0] for b in (0, 1))
    assert abs(own - 0.9) < 0.05 and abs(fit_conformal(scores, truth).coverage(fresh, labels)[0] - 0.9) < 0.02
    assert own != joint


def test_the_threshold_by_hand():
    scores = np.array([[p, 1 - p] for p in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)])
    found = fit_conformal(scores, np.zeros(9, int), 0.8)
    assert found.thresholds == (0.2, 0.2)  # all but 2 of 10 exchangeable records reach the second smallest
    assert found(np.array([[0.2, 0.8], [0.1, 0.9]])).tolist() == [[True, True], [False, True]]


def test_too_few_records_keep_every_class():
    found = fit_conformal(np.array([[0.9, 0.1]] * 5), np.zeros(5, int), 0.9)
    assert found.thresholds == (0.0, 0.0) and found(np.array([[1.0, 0.0]])).all()


@pytest.mark.parametrize(
    ("scores", "truth", "level"),
    [([[0.5, 0.5]], [0], 1.0), ([[0.5, 0.5]], [2], 0.9), ([[0.5, 0.5]], [-1], 0.9), ([[np.nan, 0.5]], [0], 0.9),
     ([[0.5, 0.5]], [0, 1], 0.9), (np.empty((0, 2)), [], 0.9)],
    ids=["level", "label", "negative", "nan", "lengths", "none"],
)  # fmt: skip
def test_what_cannot_be_fitted(scores, truth, level):
    with pytest.raises(EvaluationError):
        fit_conformal(np.array(scores), np.array(truth), level)


def test_scores_of_another_task_are_refused():
    with pytest.raises(EvaluationError, match="do not fit"):
        ConformalSets((0.1, 0.1), 0.9)(np.ones((3, 4)))


# The simulation: patients with several records each, scores shared within a patient.
RUNS, PATIENTS, EACH = 400, 60, 3


def cohort(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ill = rng.random(PATIENTS) < 0.4
    own = rng.normal(size=PATIENTS) + 1.0 * ill
    scores = own[:, None] + 0.5 * rng.normal(size=(PATIENTS, EACH))
    return scores.reshape(-1), np.repeat(ill, EACH), np.repeat(np.arange(PATIENTS), EACH)


def true_auroc() -> float:
    # Two records of different patients differ by N(1, 2 * (1 + 0.25)).
    from scipy.special import ndtr

    return float(ndtr(1 / np.sqrt(2.5)))


def test_clustered_delong_covers_95_percent_and_the_naive_one_does_not():
    rng, truth = np.random.default_rng(2), true_auroc()
    inside = np.zeros(2, int)
    for _ in range(RUNS):
        scores, ill, patients = cohort(rng)
        for k, clusters in enumerate((patients, None)):
            low, high = delong(scores, ill, clusters).interval()
            inside[k] += low <= truth <= high
    low, high = clopper_pearson_interval(inside[0], RUNS, 0.999)
    assert low <= 0.95 <= high
    assert inside[1] / RUNS < 0.87  # records as if they were patients


def test_the_clustered_bootstrap_covers_95_percent():
    """Of the mean over records: its truth is known, and 50 patients are enough for the percentile interval."""
    rng, runs, codes = np.random.default_rng(3), 400, np.repeat(np.arange(50), EACH)
    inside = np.zeros(2, int)
    for run in range(runs):
        values = (rng.normal(size=(50, 1)) + 0.5 * rng.normal(size=(50, EACH))).reshape(-1)
        for k, ids in enumerate((codes, np.arange(len(codes)))):
            weights = np.concatenate(list(draws(Clusters.of(ids), 300, run)), axis=1).astype(np.float64)
            low, high = percentile_interval((values @ weights) / weights.sum(axis=0), 0.95)
            inside[k] += low <= 0 <= high
    low, high = clopper_pearson_interval(inside[0], runs, 0.999)
    assert low <= 0.945 <= high  # the percentile interval of 50 patients is short by about 1 %
    assert inside[1] / runs < 0.85  # records as if they were patients
