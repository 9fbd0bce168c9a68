"""The metrics that published zero-shot procedures report, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from medfm.evaluation.metrics import evaluate, metric
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.summarise import summarise


def made(truth: np.ndarray, scores: np.ndarray) -> Predictions:
    classes = tuple(f"c{i}" for i in range(scores.shape[1]))
    names = np.array(classes, dtype=object)
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(len(truth))],
            "patient_id": [f"p{i // 2}" for i in range(len(truth))],
            "site": None,
            "variant": "main",
            "repeat": 0,
            "fold": 0,
            "truth": names[truth],
            "predicted": names[scores.argmax(axis=1)],
            **{f"score:{c}": scores[:, i] for i, c in enumerate(classes)},
        }
    )
    return Predictions(table, "binary" if len(classes) == 2 else "multiclass", classes, "label")


def case(classes: int, n: int = 90, seed: int = 0, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    raw = rng.normal(size=(n, classes)) + 0.8 * np.eye(classes)[truth]
    if ties:
        raw = np.round(raw)
    powers = np.exp(raw)
    return truth, powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [5, 6, 9, 16])
@pytest.mark.parametrize("ties", [False, True])
def test_top5_accuracy_is_scikit_learns(classes: int, ties: bool) -> None:
    truth, scores = case(classes, seed=classes, ties=ties)
    expected = sk.top_k_accuracy_score(truth, scores, k=5, labels=np.arange(classes)) if classes > 5 else 1.0
    assert evaluate(made(truth, scores), ["top5_accuracy"])["top5_accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize("classes", [3, 4, 5])
def test_top5_accuracy_of_few_classes_is_one(classes: int) -> None:
    assert evaluate(made(*case(classes)), ["top5_accuracy"])["top5_accuracy"] == 1.0


@pytest.mark.parametrize("classes", [2, 3, 5, 9])
def test_names_of_papers_are_scikit_learns_figures(classes: int) -> None:
    truth, scores = case(classes, seed=classes + 40)
    said = scores.argmax(axis=1)
    report = sk.classification_report(truth, said, output_dict=True, zero_division=0)
    matrix = sk.multilabel_confusion_matrix(truth, said)
    specificity = (matrix[:, 0, 0] / matrix[:, 0].sum(axis=1)).mean()
    found = evaluate(
        made(truth, scores),
        ["mean_per_class_recall", "balanced_accuracy", "f1_weighted", "f1_macro", "specificity_macro", "accuracy"],
    )
    assert found["mean_per_class_recall"] == pytest.approx(report["macro avg"]["recall"])
    assert found["mean_per_class_recall"] == found["balanced_accuracy"]
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, said))
    assert found["f1_weighted"] == pytest.approx(report["weighted avg"]["f1-score"])
    assert found["f1_macro"] == pytest.approx(report["macro avg"]["f1-score"])
    assert found["specificity_macro"] == pytest.approx(specificity)
    assert found["accuracy"] == pytest.approx(report["accuracy"])


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_quadratic_kappa_is_scikit_learns(classes: int) -> None:
    truth, scores = case(classes, seed=classes + 7)
    name = "kappa" if classes == 2 else "quadratic_kappa"
    expected = sk.cohen_kappa_score(truth, scores.argmax(axis=1), weights="quadratic")
    assert evaluate(made(truth, scores), [name])[name] == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 8))
def test_weights_count_records(seed: int, classes: int) -> None:
    """A record of weight two counts as the record given twice, under every weighting at once."""
    truth, scores = case(classes, n=24, seed=seed, ties=True)
    weights = np.random.default_rng(seed + 1).integers(0, 3, (24, 3)).astype(np.float64)
    weights[0] = 1
    whole = Outcomes.of(made(truth, scores))
    for name in ("top5_accuracy", "specificity_macro", "mean_per_class_recall"):
        found = metric(name, "multiclass").compute(Weighted(whole, weights))
        for column in range(3):
            times = weights[:, column].astype(int)
            again = Outcomes.of(made(np.repeat(truth, times), np.repeat(scores, times, axis=0)))
            alone = metric(name, "multiclass").compute(Weighted(again, np.ones((times.sum(), 1))))
            np.testing.assert_allclose(found[column], alone[0], atol=1e-12)


def test_every_figure_has_an_interval() -> None:
    summary = summarise(
        made(*case(6, n=120)),
        StatisticsPlan(resamples=60),
        metrics=[
            "accuracy",
            "top5_accuracy",
            "mean_per_class_recall",
            "f1_weighted",
            "quadratic_kappa",
            "auroc_ovr_macro",
        ],
        probabilities=False,
    )
    for estimate in summary.headline:
        assert estimate.low <= estimate.value <= estimate.high, estimate.metric
        assert estimate.low < estimate.high
