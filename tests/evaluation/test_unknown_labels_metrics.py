"""Unknown labels (NaN) in every metric of many labels: against loops over known cells, and in the probes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from statistics_cases import multilabel_case

from medfm.evaluation.metrics import evaluate, list_metrics, metric
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted

Cells = list[tuple[int, int, float, float]]


def outcomes(truth: np.ndarray, scores: np.ndarray) -> Outcomes:
    names = tuple(f"finding {c}" for c in range(truth.shape[1]))
    return Outcomes("multilabel", names, truth, (scores >= 0.5).astype(np.int64), scores)


def drawn(rows: int = 40, labels: int = 4, gaps: float = 0.35, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = (rng.random((rows, labels)) < 0.4).astype(float)
    scores = np.clip(0.25 * truth + 0.75 * rng.random((rows, labels)), 0, 1).round(2)
    truth[rng.random((rows, labels)) < gaps] = np.nan
    truth[:3] = np.nan  # records of which nothing is known
    return truth, scores


def known(truth: np.ndarray, scores: np.ndarray) -> Cells:
    return [
        (i, j, float(truth[i, j]), float(scores[i, j]))
        for i in range(truth.shape[0])
        for j in range(truth.shape[1])
        if not math.isnan(truth[i, j])
    ]


def f1(cells: Cells) -> float:
    hit = sum(t == 1 and s >= 0.5 for _, _, t, s in cells)
    size = sum(t == 1 for _, _, t, _ in cells) + sum(s >= 0.5 for _, _, _, s in cells)
    return 2 * hit / size if size else 0.0


def grouped(cells: Cells, axis: int) -> list[Cells]:
    return [[c for c in cells if c[axis] == k] for k in sorted({c[axis] for c in cells})]


def per_label(cells: Cells, score) -> float:
    columns = [(np.array([c[2] for c in own]), np.array([c[3] for c in own])) for own in grouped(cells, 1)]
    return float(np.mean([score(y, s) for y, s in columns if 0 < y.sum() < len(y)]))


def gaps(cells: Cells) -> list[tuple[int, float]]:
    found = []
    for b in range(10):
        own = [(t, s) for _, _, t, s in cells if (b / 10 < s <= (b + 1) / 10) or (b == 0 and s == 0)]
        if own:
            found.append((len(own), abs(sum(t for t, _ in own) - sum(s for _, s in own)) / len(own)))
    return found


def loss(cells: Cells) -> float:
    tiny = np.finfo(float).eps
    sure = [min(max(s if t == 1 else 1 - s, tiny), 1 - tiny) for _, _, t, s in cells]
    return -sum(math.log(v) for v in sure) / len(sure)


NAIVE = {
    "auroc_macro": lambda c: per_label(c, roc_auc_score),
    "auroc": lambda c: per_label(c, roc_auc_score),
    "auroc_micro": lambda c: float(roc_auc_score([t for *_, t, _ in c], [s for *_, s in c])),
    "map": lambda c: per_label(c, average_precision_score),
    "f1_micro": f1,
    "f1_macro": lambda c: float(np.mean([f1(own) for own in grouped(c, 1)])),
    "f1_samples": lambda c: float(np.mean([f1(own) for own in grouped(c, 0)])),
    "hamming_loss": lambda c: sum((s >= 0.5) != (t == 1) for _, _, t, s in c) / len(c),
    "subset_accuracy": lambda c: float(np.mean([all((s >= 0.5) == (t == 1) for *_, t, s in o) for o in grouped(c, 0)])),
    "brier": lambda c: sum((s - t) ** 2 for _, _, t, s in c) / len(c),
    "log_loss": loss,
    "ece": lambda c: sum(n * g for n, g in gaps(c)) / len(c),
    "mce": lambda c: max(g for _, g in gaps(c)),
}


def test_no_metric_is_forgotten_here() -> None:
    assert set(NAIVE) == set(list_metrics("multilabel"))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", sorted(NAIVE))
def test_a_metric_is_that_of_the_known_cells(name: str, seed: int) -> None:
    truth, scores = drawn(seed=seed)
    assert evaluate(outcomes(truth, scores), [name])[name] == pytest.approx(
        NAIVE[name](known(truth, scores)), abs=1e-12
    )


@pytest.mark.parametrize("name", sorted(NAIVE))
def test_what_is_said_of_unknown_labels_changes_nothing(name: str) -> None:
    truth, scores = drawn()
    for other in (0.0, 1.0):
        changed = np.where(np.isnan(truth), other, scores)
        found = evaluate(outcomes(truth, changed), [name])
        assert found == evaluate(outcomes(truth, scores), [name])


@pytest.mark.parametrize("name", sorted(NAIVE))
def test_records_of_which_nothing_is_known_could_as_well_be_away(name: str) -> None:
    truth, scores = drawn()
    told = ~np.isnan(truth).all(axis=1)
    assert 0 < told.sum() < len(told)
    whole, part = evaluate(outcomes(truth, scores), [name]), evaluate(outcomes(truth[told], scores[told]), [name])
    assert whole[name] == pytest.approx(part[name], abs=1e-12)


@pytest.mark.parametrize("name", sorted(NAIVE))
def test_nothing_known_is_undefined(name: str) -> None:
    _, scores = drawn()
    assert evaluate(outcomes(np.full(scores.shape, np.nan), scores), [name]) == {name: None}


@pytest.mark.parametrize("name", sorted(NAIVE))
def test_resamples_mask_as_the_whole_does(name: str) -> None:
    truth, scores = drawn()
    rng = np.random.default_rng(7)
    weights = np.stack(
        [np.bincount(rng.integers(0, len(truth), len(truth)), minlength=len(truth)) for _ in range(3)], 1
    )
    found = metric(name, "multilabel").compute(Weighted(outcomes(truth, scores), weights.astype(np.float64)))
    for b in range(3):
        rows = np.repeat(np.arange(len(truth)), weights[:, b])
        assert found[b] == pytest.approx(NAIVE[name](known(truth[rows], scores[rows])), abs=1e-9)


def test_a_table_with_empty_cells_is_read_as_unknown() -> None:
    predictions = multilabel_case(60, unknown=0.3)
    blank = predictions.table.copy()
    blank.loc[:4, [c for c in blank.columns if c.startswith("truth:")]] = None
    case = replace(predictions, table=blank)
    cells = known(case.truth_matrix(), case.scores())
    found = evaluate(case, list(NAIVE))
    assert found == pytest.approx({n: own(cells) for n, own in NAIVE.items()}, abs=1e-9)
