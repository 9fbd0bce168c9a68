"""From values and resamples to an Estimate: which interval, under which name, with which note."""

import numpy as np
import pandas as pd
import pytest
from statistics_cases import binary_case, multiclass_case, multilabel_case, regression_case

from medfm.evaluation.metrics import metric
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.score_intervals import newcombe_interval
from medfm.evaluation.statistics_estimates import Sample, cluster_ids, estimate

PLAN = StatisticsPlan(resamples=200, level=0.9)
RESAMPLED = StatisticsPlan(resamples=200, level=0.9, intervals="resampled")


def sample_of(predictions: Predictions, **options) -> Sample:
    return Sample.of(predictions, options.pop("plan", PLAN), **options)


def test_percentiles_at_the_asked_level():
    sample = sample_of(multiclass_case(), plan=RESAMPLED)
    values = np.random.default_rng(0).normal(0.7, 0.05, 200)
    found = estimate(sample, metric("f1_macro", "multiclass"), 0.7, values)
    assert found.low == pytest.approx(np.quantile(values, 0.05))
    assert found.high == pytest.approx(np.quantile(values, 0.95))
    assert (found.level, found.value, found.metric) == (0.9, 0.7, "f1_macro")
    assert found.method == "patient-clustered bootstrap, B=200"
    assert (found.n_records, found.note) == (300, "")


def test_some_undefined_resamples_are_counted_and_left_out():
    sample = sample_of(multiclass_case(), plan=RESAMPLED)
    values = np.random.default_rng(0).normal(0.7, 0.05, 200)
    values[:30] = np.nan
    found = estimate(sample, metric("f1_macro", "multiclass"), 0.7, values)
    assert found.note == "undefined in 30 of 200 resamples"
    assert found.low == pytest.approx(np.quantile(values[30:], 0.05))


def test_mostly_undefined_resamples_give_no_interval():
    values = np.full(200, np.nan)
    values[:80] = 0.5
    found = estimate(sample_of(multiclass_case()), metric("f1_macro", "multiclass"), 0.7, values)
    assert (found.low, found.high, found.method) == (None, None, "")
    assert "undefined in 120 of 200" in found.note
    assert "too few" in found.note


def test_equal_resamples_give_no_interval():
    found = estimate(sample_of(multiclass_case()), metric("f1_macro", "multiclass"), 1.0, np.ones(200))
    assert found.low is None
    assert "same value" in found.note


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("accuracy", lambda t: t["patient_id"]),
        ("sensitivity", lambda t: t.loc[t["truth"] == "ill", "patient_id"]),
        ("specificity", lambda t: t.loc[t["truth"] == "healthy", "patient_id"]),
        ("ppv", lambda t: t.loc[t["predicted"] == "ill", "patient_id"]),
        ("npv", lambda t: t.loc[t["predicted"] == "healthy", "patient_id"]),
    ],
)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_proportion_at_its_end_gets_wilson_with_patients_as_trials(name, chosen, value):
    base = binary_case()
    found = estimate(sample_of(base), metric(name, "binary"), value, np.full(200, value))
    patients = chosen(base.table).nunique()
    z2 = 1.6448536**2
    assert found.method == "Wilson, one trial per patient"
    assert found.high - found.low == pytest.approx(z2 / (patients + z2), abs=1e-6)
    assert value in (found.low, found.high)


def test_an_undefined_value_says_why():
    found = estimate(sample_of(binary_case()), metric("auroc", "binary"), float("nan"), None, positive=1)
    assert (found.value, found.low) == (None, None)
    assert "'ill'" in found.note
    flat = estimate(sample_of(regression_case()), metric("r2", "regression"), float("nan"), None)
    assert "does not vary" in flat.note


def test_delong_falls_back_to_the_bootstrap_with_too_few_patients():
    base = binary_case(40, 20)
    table = base.table.copy()
    table.loc[table["truth"] == "ill", "patient_id"] = "one"
    sample = sample_of(Predictions(table, base.task, base.classes))
    values = np.random.default_rng(0).uniform(0.6, 0.9, 200)
    found = estimate(sample, metric("auroc", "binary"), 0.8, values, positive=1)
    assert found.method == "patient-clustered bootstrap (logit), B=200"


def test_a_perfect_auroc_is_counted_by_patients_or_has_no_interval():
    base = binary_case()
    ill = (base.table["truth"] == "ill").astype(float)
    perfect = Predictions(base.table.assign(**{"score:ill": ill, "score:healthy": 1 - ill}), base.task, base.classes)
    found = estimate(sample_of(perfect), metric("auroc", "binary"), 1.0, np.ones(200), positive=1)
    sizes = [base.table.loc[base.table["truth"] == c, "patient_id"].nunique() for c in ("ill", "healthy")]
    assert (found.low, found.high) == pytest.approx(newcombe_interval(1.0, *sizes, 0.9))
    assert 0.5 < found.low < 0.999 and found.method == "DeLong (score), clustered by patient"
    bare = estimate(sample_of(perfect, plan=RESAMPLED), metric("auroc", "binary"), 1.0, np.ones(200), positive=1)
    assert bare.low is None and bare.note


def test_delong_of_a_label_leaves_unknown_truths_out():
    base = multilabel_case(unknown=0.3)
    known = base.table[base.table["truth:finding 0"].notna()].reset_index(drop=True)
    whole = estimate(sample_of(base), metric("auroc", "binary"), 0.9, None, positive=0)
    part = estimate(
        sample_of(Predictions(known, base.task, base.classes)), metric("auroc", "binary"), 0.9, None, positive=0
    )
    assert (whole.low, whole.high) == pytest.approx((part.low, part.high))


def test_names_of_the_methods():
    base = binary_case()
    compute = metric("brier", "binary"), 0.2, np.linspace(0.1, 0.3, 200)
    assert estimate(sample_of(base), *compute).method == "patient-clustered bootstrap (logit), B=200"
    assert estimate(sample_of(base, patients_known=False), *compute).method == "record-level bootstrap (logit), B=200"
    assert estimate(sample_of(base, plan=RESAMPLED), *compute).method == "patient-clustered bootstrap, B=200"
    biased = metric("ece", "binary"), 0.05, np.linspace(0.06, 0.1, 200)
    assert estimate(sample_of(base), *biased).method == "patient-clustered bootstrap, B=200"
    assert estimate(sample_of(base), *biased).low > 0.05


def test_cluster_ids():
    table = pd.DataFrame(
        {"record_id": ["a", "b", "b", "c", "d"], "patient_id": ["p", None, None, " ", "a"], "repeat": [0, 0, 1, 0, 0]}
    )
    ids, incomplete = cluster_ids(table, True)
    assert len(set(ids)) == 4
    assert ids[1] == ids[2]
    # The record 'a' and the patient 'a' are not the same thing.
    assert ids[0] != ids[4]
    assert incomplete == 2
    loose, none = cluster_ids(table, False)
    assert len(set(loose)) == 4
    assert none == 0


def test_strata_come_from_the_classes_only():
    assert len(np.unique(sample_of(multiclass_case()).clusters.strata)) > 1
    assert len(np.unique(sample_of(regression_case()).clusters.strata)) == 1
    assert len(np.unique(sample_of(multilabel_case()).clusters.strata)) == 1
