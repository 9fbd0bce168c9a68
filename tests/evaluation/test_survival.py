"""The survival protocol: signal found, noise not, nothing learnt from test records, clear refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from survival_cases import cohort_of, planted

from medfm.core.errors import EvaluationError
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.evaluate import evaluate as evaluate_labels
from medfm.evaluation.metrics import evaluate, metrics_for
from medfm.evaluation.paired import compare_pair, match
from medfm.evaluation.protocol import Protocol, Scheme, StatisticsPlan, load_protocol
from medfm.evaluation.survival import RiskModel, SurvivalRun, fit_risk_model, run_survival
from medfm.evaluation.survival_config import Survival
from medfm.evaluation.survival_data import survival_data
from medfm.evaluation.survival_summary import summarise_survival

FAST = {"components": (1, 2, 4), "penalties": (0.1, 1.0), "inner_folds": 3}


def plan(scheme: dict[str, object] | None = None, **method: object) -> Protocol:
    return Protocol(
        id="s@1",
        title="s",
        method=Survival(**{**FAST, **method}),  # type: ignore[arg-type]
        scheme=Scheme(kind="kfold", folds=4, **(scheme or {})),  # type: ignore[arg-type]
    )


def run(values: np.ndarray, time: np.ndarray, code: np.ndarray, protocol: Protocol | None = None, **more: object) -> SurvivalRun:  # fmt: skip
    protocol = protocol or plan()
    patients = more.pop("patients", None)
    cohort = cohort_of(time, code, patients, **more)  # type: ignore[arg-type]
    return run_survival(survival_data(values, cohort, "time", "event", protocol.method), protocol)  # type: ignore[arg-type]


def test_a_planted_risk_is_found_with_its_interval() -> None:
    values, time, code, truth = planted()
    found = run(values, time, code)
    figures = evaluate(found.predictions, found.metrics)
    ranking = [v for name, v in figures.items() if "brier" not in name]
    assert all(v is not None and v > 0.65 for v in ranking), figures
    assert len(found.metrics) == 7 and found.metrics[2].startswith("auc_at_")
    table = found.predictions.table
    assert sorted(table["record_id"]) == [f"r{i:03d}" for i in range(160)]
    ordered = table.set_index("record_id").loc[[f"r{i:03d}" for i in range(160)]]
    assert np.corrcoef(ordered["risk"], truth)[0, 1] > 0.85
    summary = summarise_survival(found.predictions, StatisticsPlan(resamples=200), found.metrics)
    c = summary.estimate("c_index")
    assert c.low is not None and c.high is not None and 0.5 < c.low < c.value < c.high < 0.95  # type: ignore[operator]
    assert set(table["risk_group"]) == {"lower risk", "higher risk"}
    assert 0.35 < (table["risk_group"] == "higher risk").mean() < 0.65


@pytest.mark.parametrize("criterion", ["partial_likelihood", "c_index"])
def test_noise_gives_one_half(criterion: str) -> None:
    scores = []
    for seed in range(6):
        _, time, code, _ = planted(100, seed=seed)
        noise = np.random.default_rng([seed, 9]).normal(size=(100, 12))
        found = run(noise, time, code, plan(criterion=criterion))
        scores.append(evaluate(found.predictions, ["c_index"])["c_index"])
    assert abs(np.mean(np.array(scores, float)) - 0.5) < 0.06


def test_test_records_change_nothing_that_is_learnt() -> None:
    """Other values for the test records of fold 0 leave that fold's model, and so the others' risks, as they were."""
    values, time, code, _ = planted(120)
    split = ["train"] * 90 + ["test"] * 30
    protocol = Protocol(id="s@1", title="s", method=Survival(**FAST), scheme=Scheme(kind="split"))  # type: ignore[arg-type]
    first = run(values, time, code, protocol, split=split)
    rng = np.random.default_rng(1)
    changed = values.copy()
    changed[91:] = rng.normal(size=(29, 12)) * 50
    times, codes = time.copy(), code.copy()
    times[91:], codes[91:] = rng.uniform(1, 90, 29), 1
    second = run(changed, times, codes, protocol, split=split)
    ignored = {"test_events"}
    assert {k: v for k, v in first.chosen[0].items() if k not in ignored} == {
        k: v for k, v in second.chosen[0].items() if k not in ignored
    }
    one, other = (r.predictions.table.iloc[0] for r in (first, second))
    assert one["risk"] == other["risk"] and one["risk_group"] == other["risk_group"] and first.tau == second.tau


def test_records_of_a_patient_stay_in_one_fold() -> None:
    values, time, code, _ = planted(120)
    patients = [f"p{i // 3}" for i in range(120)]
    found = run(values, time, code, plan(unit="record"), patients=patients)
    assert (found.predictions.table.groupby("patient_id")["fold"].nunique() == 1).all()


def test_one_fold_holds_no_pair_with_another_unless_pooled() -> None:
    values, time, code, _ = planted(100)
    within, pooled = run(values, time, code), run(values, time, code, plan(pairs="pooled"))
    assert within.predictions.table["stratum"].nunique() == 4 and pooled.predictions.table["stratum"].nunique() == 1
    shifted = within.predictions.table.assign(risk=lambda t: t["risk"] + 100 * t["fold"])
    same = type(within.predictions)(shifted, "survival", within.predictions.classes, "event")
    assert evaluate(same, ["c_index"]) == pytest.approx(evaluate(within.predictions, ["c_index"]))
    assert any("pooled" in note for note in pooled.notes)


def test_the_model_is_the_same_in_other_units_and_another_order() -> None:
    values, time, code, _ = planted(100)
    patients = np.array([f"p{i}" for i in range(100)], dtype=object)
    method = Survival(components=(3,), penalties=(0.1,), events_per_component=0)

    def risk(x: np.ndarray, t: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        model, _ = fit_risk_model(x[rows], t[rows], code[rows] == 1, patients[rows], method, seed=0)
        assert isinstance(model, RiskModel)
        return model.risk(x)

    first = risk(values, time)
    np.testing.assert_allclose(risk(values * 7 + 3, time * 30), first, atol=1e-6)
    np.testing.assert_allclose(risk(values, time, np.random.default_rng(0).permutation(100)), first, atol=1e-6)
    # A constant dimension adds nothing and breaks nothing.
    np.testing.assert_allclose(risk(np.c_[values, np.full(100, 5.0)], time), first, atol=1e-6)


def test_the_penalised_model_equals_lifelines_on_the_same_components() -> None:
    from lifelines import CoxPHFitter
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    values, time, code, _ = planted(100)
    method = Survival(components=(3,), penalties=(0.5,), events_per_component=0)
    model, about = fit_risk_model(values, time, code == 1, np.arange(100).astype(str), method, seed=0)
    parts = PCA(3).fit_transform(StandardScaler().fit_transform(values))
    frame = pd.DataFrame(parts, columns=list("abc")).assign(time=time, event=code == 1)
    theirs = CoxPHFitter(penalizer=0.5).fit(frame, "time", "event")
    np.testing.assert_allclose(model.risk(values), theirs.predict_log_partial_hazard(frame), atol=1e-4)
    assert about == {"components": 3, "penalty": 0.5}


def test_components_are_limited_by_events() -> None:
    values, time, code, _ = planted(100)
    events = int((code == 1).sum())
    for per, most in ((events, 1), (0, 4)):
        method = Survival(components=(1, 2, 4), penalties=(0.1,), events_per_component=per, inner_folds=3)
        patients = np.arange(100).astype(str)
        _, about = fit_risk_model(values, time, code == 1, patients, method, seed=0)
        assert about["components"] <= most


def test_three_groups_competing_events_and_given_times() -> None:
    values, time, code, _ = planted(200, other=60.0)
    assert set(code) == {0, 1, 2}
    found = run(values, time, code, plan(groups=3, times=(5.0, 20.0)))
    assert set(found.predictions.table["risk_group"]) == {"low risk", "middle risk", "high risk"}
    assert found.metrics[2:4] == ("auc_at_5", "auc_at_20")
    table = found.predictions.table
    assert (table["event_code"] == table["event"]).all() and (table.loc[table["event"] != 1, "uno_weight"] == 0).all()


def test_what_cannot_be_tested_is_said_with_what_to_do() -> None:
    values, time, code, _ = planted(60)
    few = np.where(np.arange(60) < 3, 1, 0)
    with pytest.raises(EvaluationError, match="inner folds need"):
        run(values, time, few)
    with pytest.raises(EvaluationError, match="AUC at 999"):
        run(values, time, code, plan(times=(999.0,)))
    with pytest.raises(EvaluationError, match="All training embeddings are equal"):
        run(np.ones((60, 4)), time, code)
    split = ["train"] * 40 + ["test"] * 20
    protocol = Protocol(id="s@1", title="s", method=Survival(**FAST), scheme=Scheme(kind="split"))  # type: ignore[arg-type]
    with pytest.raises(EvaluationError, match="No test record has the event"):
        run(values, time, np.where(np.arange(60) < 40, code, 0), protocol, split=split)
    with pytest.raises(EvaluationError, match="medfm survival"):
        cohort = cohort_of(time, code)
        evaluate_labels(Embeddings(values, tuple(cohort.record_ids)), cohort, "event", protocol)


def test_a_fold_without_events_is_noted_and_small_numbers_too() -> None:
    values, time, code, _ = planted(60)
    order = np.argsort(code == 1)  # unshuffled, unstratified folds: the first hold no event
    found = run(values[order], time[order], code[order], plan({"shuffle": False, "stratify": False}))
    assert any("hold no event" in note for note in found.notes)
    summary = summarise_survival(found.predictions, StatisticsPlan(resamples=20), found.metrics)
    assert summary.estimate("c_index").value is not None


def test_two_encoders_are_compared_on_the_same_pairs() -> None:
    values, time, code, _ = planted(120)
    noise = np.random.default_rng(5).normal(size=values.shape)
    good, bad = run(values, time, code).predictions, run(noise, time, code).predictions
    rows = compare_pair(match(bad, good), metrics_for((), "survival"), StatisticsPlan(resamples=200))
    assert rows[0].metric == "c_index" and rows[0].low is not None and rows[0].low > 0
    other = type(good)(good.table.assign(time=good.table["time"] + 1), "survival", good.classes, "event")
    with pytest.raises(EvaluationError, match="another truth"):
        match(good, other)


def test_the_shipped_protocol_is_the_default_of_every_setting() -> None:
    protocol = load_protocol("conversion-survival@1")
    assert protocol.method == Survival() and protocol.scheme.kind == "split_or_kfold"


def test_the_interval_of_c_covers_as_often_as_it_says() -> None:
    """95 % intervals of Harrell's C of a fixed risk hold the true C in about 95 % of cohorts."""
    from medfm.evaluation.bootstrap import Clusters, draw, percentile_interval
    from medfm.evaluation.survival_metrics import concordance

    rng = np.random.default_rng(8)
    first, second = rng.normal(size=(2, 400_000))
    truth, inside = float(np.mean(1 / (1 + np.exp(-np.abs(first - second))))), 0
    for trial in range(200):
        risk = rng.normal(size=60)
        time = rng.exponential(size=60) * np.exp(-risk)
        for weights in draw(Clusters.of(np.arange(60)), 300, trial, chunk=300):
            low, high = percentile_interval(concordance(risk, time, np.ones(60, bool), weights), 0.95)
        inside += bool(low <= truth <= high)
    assert 0.89 <= inside / 200 <= 0.99
