"""Every registered metric's interval against a loop that repeats records and calls plain formulas."""

from __future__ import annotations

import json

import numpy as np
import pytest
from statistics_cases import binary_case, case, multiclass_case, regression_case
from test_metrics_weighted import BINARY, MULTICLASS, MULTILABEL, REGRESSION

from medfm.evaluation.bootstrap import Clusters, draw
from medfm.evaluation.delong import delong
from medfm.evaluation.metrics import evaluate, list_metrics, metric, metrics_for
from medfm.evaluation.metrics_outcomes import Outcomes
from medfm.evaluation.multiple import holm
from medfm.evaluation.paired import compare_pair, match
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.summarise import summarise

TASKS = ["binary", "multiclass", "multilabel", "regression"]
PLAN = StatisticsPlan(resamples=60, seed=3, intervals="resampled")


def gaps_of(sure, right) -> list[tuple[int, float]]:
    """Ten bins of equal width, closed above: size and |confidence - accuracy| of each filled one."""
    found = []
    for b in range(10):
        inside = (sure > b / 10) & (sure <= (b + 1) / 10) | ((b == 0) & (sure == 0))
        if inside.any():
            found.append((int(inside.sum()), abs(sure[inside].mean() - right[inside].mean())))
    return found


def log_loss_of_labels(y, s) -> float:
    p = np.clip(s, np.finfo(float).eps, 1 - np.finfo(float).eps)
    return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())


def plain(task: str, name: str, y, p, s) -> float | None:
    """The metric by scikit-learn or a formula; ``None`` for those that have a test of their own."""
    if name in ("ece", "mce"):
        return None
    if task == "binary":
        return BINARY[name](y, p, s[:, 1])
    if task == "multiclass":
        aliases = {"auroc": "auroc_ovr_macro", "f1_micro": "accuracy"}
        return MULTICLASS[aliases.get(name, name)](y, p, s)
    if task == "multilabel":
        if name == "log_loss":
            return log_loss_of_labels(y, s)
        return MULTILABEL[{"auroc": "auroc_macro"}.get(name, name)](y.astype(int), p, s)
    return REGRESSION[name](y, p)


def known_case(task: str) -> Predictions:
    from statistics_cases import multilabel_case

    return multilabel_case(unknown=0.0) if task == "multilabel" else case(task)


@pytest.mark.parametrize("task", TASKS)
def test_every_interval_is_that_of_a_naive_loop_over_the_same_draws(task):
    predictions = known_case(task)
    # Of four classes every record is among the first five: a share of 1 has no bootstrap interval.
    names = [n for n in list_metrics(task) if n not in ("ece", "mce", "top5_accuracy")]
    summary = summarise(predictions, PLAN, metrics=names)
    outcomes = Outcomes.of(predictions)
    labels = outcomes.truth if task in ("binary", "multiclass") else None
    ids = ("patient:" + predictions.table["patient_id"]).to_numpy(dtype=str)
    weights = np.concatenate(list(draw(Clusters.of(ids, labels), 60, 3)), axis=1).astype(int)
    checked = 0
    for name in names:
        found = summary.estimate(name)
        if "bootstrap" not in found.method:
            assert (task, name) == ("binary", "auroc")
            continue
        values = []
        for b in range(60):
            rows = np.repeat(np.arange(len(outcomes)), weights[:, b])
            values.append(plain(task, name, outcomes.truth[rows], outcomes.predicted[rows], outcomes.scores[rows]))
        low, high = np.quantile(values, [0.025, 0.975])
        assert found.low == pytest.approx(low, rel=1e-9, abs=1e-12), name
        assert found.high == pytest.approx(high, rel=1e-9, abs=1e-12), name
        checked += 1
    assert checked >= len(names) - 1


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_calibration_errors_are_sums_over_ten_bins(task):
    outcomes = Outcomes.of(case(task))
    if task == "binary":
        sure, right = outcomes.scores[:, 1], outcomes.truth
    else:
        sure, right = outcomes.scores.max(axis=1), outcomes.scores.argmax(axis=1) == outcomes.truth
    found = evaluate(outcomes, ["ece", "mce"])
    gaps = gaps_of(sure, right)
    assert found["ece"] == pytest.approx(sum(n * g for n, g in gaps) / len(sure), abs=1e-12)
    assert found["mce"] == pytest.approx(max(g for _, g in gaps), abs=1e-12)


def degraded(base: Predictions, task: str, noise: float) -> Predictions:
    """The same records with noisier scores."""
    table, rng = base.table.copy(), np.random.default_rng(5)
    if task == "regression":
        table["predicted"] = table["predicted"] + rng.normal(0, 5 * noise, len(table))
        return Predictions(table, task, base.classes, base.target)
    logits = np.log(np.clip(base.scores(), 1e-9, 1)) + rng.normal(0, noise, base.scores().shape)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if task == "multilabel":
        scores = np.clip(np.exp(logits), 0, 1)
    for c, name in enumerate(base.classes):
        table[f"score:{name}"] = scores[:, c]
    if task != "multilabel":
        table["predicted"] = np.array(base.classes)[scores.argmax(axis=1)]
    return Predictions(table, task, base.classes, base.target)


@pytest.mark.parametrize("task", TASKS)
def test_a_result_against_itself_differs_in_no_metric(task):
    a = case(task)
    for row in compare_pair(match(a, a), metrics_for(list_metrics(task), task), PLAN):
        assert (row.difference, row.p) == (0.0, 1.0), row.metric
        assert row.low == pytest.approx(0, abs=1e-12)
        assert row.high == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_swapping_the_order_turns_every_sign_and_keeps_every_p(task):
    a = case(task)
    b = degraded(a, task, 0.7)
    chosen = metrics_for(list_metrics(task), task)
    forward, backward = compare_pair(match(a, b), chosen, PLAN), compare_pair(match(b, a), chosen, PLAN)
    moved = 0
    for one, two in zip(forward, backward, strict=True):
        assert one.difference == pytest.approx(-two.difference, abs=1e-12), one.metric
        assert one.low == pytest.approx(-two.high, abs=1e-12)
        assert one.high == pytest.approx(-two.low, abs=1e-12)
        assert one.p == pytest.approx(two.p)
        moved += one.difference != 0
    assert moved > len(chosen) // 2


def test_the_paired_interval_is_that_of_a_naive_loop():
    a = multiclass_case()
    b = degraded(a, "multiclass", 1.0)
    (row,) = compare_pair(match(a, b), [metric("f1_macro", "multiclass")], PLAN)
    table = a.table.sort_values("record_id")
    outcomes = [Outcomes.of(Predictions(p.table.loc[table.index], p.task, p.classes, p.target)) for p in (a, b)]
    ids = ("patient:" + table["patient_id"]).to_numpy(dtype=str)
    weights = np.concatenate(list(draw(Clusters.of(ids, outcomes[0].truth), 60, 3)), axis=1).astype(int)
    values = []
    for column in weights.T:
        rows = np.repeat(np.arange(len(table)), column)
        first, second = (MULTICLASS["f1_macro"](o.truth[rows], o.predicted[rows], o.scores[rows]) for o in outcomes)
        values.append(second - first)
    np.testing.assert_allclose([row.low, row.high], np.quantile(values, [0.025, 0.975]), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_delong_with_a_patient_per_record_is_delong(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random(80) < 0.4
    scores = np.round(rng.normal(size=(3, 80)) + truth, 1)
    plain_form, clustered = delong(scores, truth), delong(scores, truth, rng.permutation(80))
    np.testing.assert_allclose(plain_form.aurocs, clustered.aurocs)
    np.testing.assert_allclose(plain_form.covariance, clustered.covariance, atol=1e-15)
    assert plain_form.paired(0, 1) == pytest.approx(clustered.paired(0, 1))
    assert not clustered.clustered


@pytest.mark.parametrize("seed", range(5))
def test_holm_keeps_order_never_falls_below_p_and_ignores_the_order_given(seed):
    p = np.random.default_rng(seed).random(12) ** 3
    found = np.array(holm(p.tolist()))
    order = np.argsort(p)
    assert (np.diff(found[order]) >= 0).all()
    assert (found >= p).all()
    assert found.max() <= 1
    assert found[order[0]] == pytest.approx(min(1.0, 12 * p.min()))
    shuffled = np.random.default_rng(seed + 99).permutation(12)
    np.testing.assert_allclose(np.array(holm(p[shuffled].tolist())), found[shuffled])


def changed(base: Predictions, **columns) -> Predictions:
    return Predictions(base.table.assign(**columns).reset_index(drop=True), base.task, base.classes, base.target)


def hopeless() -> dict[str, Predictions]:
    """Predictions on which some figures are undefined."""
    rare = binary_case(40, 20)
    rare = changed(rare, truth=np.where(np.arange(40) == 3, "ill", "healthy"))
    flat = multiclass_case(40, n_patients=10)
    flat = changed(flat, **{f"score:{c}": 0.25 for c in flat.classes}, predicted=flat.classes[0])
    sure = binary_case(30, 10)
    ill = (sure.table["truth"] == "ill").astype(float)
    sure = changed(sure, **{"score:ill": 1 - ill, "score:healthy": ill})
    unknown = case("multilabel")
    unknown = changed(unknown, **{f"truth:{unknown.classes[0]}": np.nan})
    lonely = changed(case("multiclass"), patient_id="only")
    still = changed(regression_case(30), predicted=100.0)
    short = regression_case(30)
    return {
        "one positive, absent from many resamples": rare,
        "all scores equal": flat,
        "certain and wrong": sure,
        "a label nobody knows": unknown,
        "one patient": lonely,
        "constant prediction": still,
        "one record": Predictions(short.table.head(1).reset_index(drop=True), "regression", (), short.target),
        "single class": changed(binary_case(30, 10), truth="ill"),
    }


@pytest.mark.parametrize("name", sorted(hopeless()))
@pytest.mark.parametrize("resamples", [0, 40])
def test_undefined_figures_are_none_with_a_note_in_strict_json(name, resamples):
    predictions = hopeless()[name]
    plan = StatisticsPlan(resamples=resamples, minimum_cell=3, subgroups=("age", "sex"))
    summary = summarise(predictions, plan, metrics=list_metrics(predictions.task))
    text = json.dumps(summary.to_dict(), allow_nan=False)
    assert type(summary).model_validate(json.loads(text)).to_dict() == summary.to_dict()
    for found in summary.headline:
        if found.value is None or (found.low is None and resamples):
            assert found.note, found.metric
        if found.low is not None:
            assert found.low <= found.high
