"""Predictions -> Summary, whole: every task, repeats, unknown patients, edges; never NaN."""

import json

import numpy as np
import pandas as pd
import pytest
from statistics_cases import binary_case, case, multiclass_case, multilabel_case, regression_case

from medfm.core.errors import EvaluationError, UnknownNameError
from medfm.core.progress import Progress
from medfm.evaluation.delong import delong
from medfm.evaluation.metrics import default_metrics, evaluate
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.score_intervals import auroc_interval, newcombe_interval
from medfm.evaluation.summarise import summarise
from medfm.evaluation.summary import Estimate, Summary

TASKS = ["binary", "multiclass", "multilabel", "regression"]
PLAN = StatisticsPlan(resamples=100)


def with_table(base: Predictions, table: pd.DataFrame) -> Predictions:
    return Predictions(table.reset_index(drop=True), base.task, base.classes, base.target)


def every_estimate(summary: Summary) -> list[Estimate]:
    found = [*summary.headline, *summary.variants]
    for row in (*summary.per_class, *summary.sites, *summary.subgroups):
        found += row.estimates
    if summary.calibration is not None:
        found += [summary.calibration.ece, summary.calibration.mce, summary.calibration.brier]
    return found


def check(summary: Summary) -> None:
    """What holds for every summary."""
    text = json.dumps(summary.to_dict(), allow_nan=False)
    assert Summary.model_validate(json.loads(text)) == summary
    for estimate in every_estimate(summary):
        assert (estimate.low is None) == (estimate.high is None)
        if estimate.low is None:
            assert estimate.note, estimate
            assert not estimate.method
        else:
            assert estimate.method
            assert estimate.low <= estimate.high
        if estimate.value is None:
            assert estimate.low is None


@pytest.mark.parametrize("task", TASKS)
def test_every_task(task):
    predictions = case(task)
    summary = summarise(predictions, PLAN)
    check(summary)
    assert [e.metric for e in summary.headline] == list(default_metrics(task))
    points = evaluate(predictions)
    for estimate in summary.headline:
        assert estimate.value == pytest.approx(points[estimate.metric])
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.n_records == summary.n_records == len(predictions)
        assert estimate.n_patients == summary.n_patients == predictions.table["patient_id"].nunique()
    assert (summary.task, summary.target, summary.classes) == (task, predictions.target, predictions.classes)
    assert len(summary.sites) == 3
    assert bool(summary.confusion) == (task in ("binary", "multiclass"))
    assert bool(summary.decision) == (task == "binary")
    assert (summary.calibration is None) == (task == "regression")
    assert bool(summary.roc) == bool(summary.pr) == bool(summary.per_class) == (task != "regression")


@pytest.mark.parametrize("task", TASKS)
def test_the_seed_decides(task):
    predictions = case(task)
    assert summarise(predictions, PLAN) == summarise(predictions, PLAN)
    other = summarise(predictions, StatisticsPlan(resamples=100, seed=1))
    assert [e.value for e in other.headline] == [e.value for e in summarise(predictions, PLAN).headline]
    assert other.headline[-1].low != summarise(predictions, PLAN).headline[-1].low


def test_row_order_does_not_matter():
    base = multiclass_case()
    shuffled = with_table(base, base.table.sample(frac=1, random_state=0))
    for one, two in zip(summarise(base, PLAN).headline, summarise(shuffled, PLAN).headline, strict=True):
        assert one.value == pytest.approx(two.value)
        assert one.low == pytest.approx(two.low)


def test_binary_auroc_is_delongs():
    base = binary_case()
    plan = StatisticsPlan(resamples=20, intervals="resampled")
    found = summarise(base, plan).estimate("auroc")
    expected = delong(base.scores()[:, 1], base.truth_index() == 1, base.patients()).interval()
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.method == "DeLong (logit), clustered by patient"
    usual = summarise(base, PLAN).estimate("auroc")
    expected = auroc_interval(base.scores()[:, 1], base.truth_index() == 1, base.patients())
    assert (usual.low, usual.high) == pytest.approx(expected)
    assert usual.method == "DeLong (score), clustered by patient"
    single = with_table(base, base.table.assign(patient_id=base.table["record_id"]))
    assert summarise(single, PLAN).estimate("auroc").method == "DeLong (score)"
    assert summarise(base, PLAN).estimate("brier").method == "patient-clustered bootstrap (logit), B=100"


def test_metrics_can_be_chosen():
    summary = summarise(multiclass_case(), PLAN, metrics=("quadratic_kappa", "auroc"))
    assert [e.metric for e in summary.headline] == ["quadratic_kappa", "auroc"]
    assert summary.estimate("auroc").value == evaluate(multiclass_case(), ["auroc_ovr_macro"])["auroc_ovr_macro"]


def test_wrong_names():
    with pytest.raises(UnknownNameError, match="balanced_accuracy"):
        summarise(multiclass_case(), PLAN, metrics=("balanced_acuracy",))
    with pytest.raises(EvaluationError, match="regression"):
        summarise(multiclass_case(), PLAN, metrics=("r2",))
    with pytest.raises(EvaluationError, match="sex"):
        summarise(multiclass_case(), StatisticsPlan(subgroups=("sexx",)))


def test_confusion_and_classes():
    base = multiclass_case()
    summary = summarise(base, PLAN)
    expected = pd.crosstab(base.table["truth"], base.table["predicted"]).to_numpy()
    assert np.array_equal(np.array(summary.confusion), expected)
    for c, row in enumerate(summary.per_class):
        own = base.table[base.table["truth"] == row.name]
        assert (row.n_records, row.n_patients) == (len(own), own["patient_id"].nunique())
        values = {e.metric: e.value for e in row.estimates}
        assert values["sensitivity"] == pytest.approx(expected[c, c] / expected[c].sum())
        assert values["ppv"] == pytest.approx(expected[c, c] / expected[:, c].sum())
        rest = (expected.sum() - expected[c].sum() - expected[:, c].sum() + expected[c, c]) / (
            expected.sum() - expected[c].sum()
        )
        assert values["specificity"] == pytest.approx(rest)


def test_per_label_figures_equal_single_tasks():
    base = multilabel_case(unknown=0.2)
    summary = summarise(base, PLAN)
    for row in summary.per_class:
        known = base.table[base.table[f"truth:{row.name}"].notna()]
        yes = known[f"truth:{row.name}"] == 1
        score = known[f"score:{row.name}"]
        single = pd.DataFrame(
            {
                **{c: known[c] for c in ("record_id", "patient_id", "variant", "repeat", "fold")},
                "truth": np.where(yes, "yes", "no"),
                "predicted": np.where(score >= 0.5, "yes", "no"),
                "score:no": 1 - score,
                "score:yes": score,
            }
        ).reset_index(drop=True)
        names = ("auroc", "average_precision", "sensitivity", "specificity", "ppv", "f1")
        points = evaluate(Predictions(single, "binary", ("no", "yes")), names)
        assert {e.metric: e.value for e in row.estimates} == pytest.approx(points)
        assert row.n_records == int(yes.sum())


def test_curves_of_all_classes_and_their_mean():
    summary = summarise(multiclass_case(), PLAN)
    assert [c.name for c in summary.roc] == ["macro", *summary.classes]
    assert [c.name for c in summary.pr] == ["macro", *summary.classes]
    assert all(len(c.x) == len(c.y) == len(c.low) == len(c.high) for c in (*summary.roc, *summary.pr))
    assert [c.name for c in summarise(binary_case(), PLAN).roc] == ["ill"]
    assert [c.name for c in summarise(binary_case(), PLAN).decision] == ["model", "treat all", "treat none"]


def test_calibration_of_a_binary_task():
    found = summarise(binary_case(800, 300), PLAN).calibration
    assert found.slope > 0
    assert found.ece.value <= found.mce.value
    assert sum(b.n for b in found.bins) == 800


def test_repeats_are_pooled_and_folds_are_listed():
    base = multiclass_case(120, n_patients=120)
    rng = np.random.default_rng(0)
    parts = [base.table.assign(repeat=r, fold=rng.permutation(120) % 4) for r in range(3)]
    pooled = with_table(base, pd.concat(parts))
    summary = summarise(pooled, PLAN)
    once = summarise(base, PLAN)
    check(summary)
    assert (summary.n_records, summary.n_patients) == (120, base.table["patient_id"].nunique())
    assert any("360 predictions of 120 records" in note for note in summary.notes)
    for one, three in zip(once.headline, summary.headline, strict=True):
        assert one.value == pytest.approx(three.value)
        # Copies of the same records bring no certainty.
        assert one.high - one.low <= (three.high - three.low) * (1 + 1e-6)
        assert three.high - three.low == pytest.approx(one.high - one.low, rel=0.03)
    assert len(summary.folds) == 12
    for row in summary.folds:
        own = pooled.table[(pooled.table["repeat"] == row.repeat) & (pooled.table["fold"] == row.fold)]
        assert row.n_records == len(own)
        assert row.metrics == pytest.approx(evaluate(with_table(base, own), list(row.metrics)))


def test_repeats_without_patients_still_keep_a_record_together():
    base = binary_case(100, 30)
    doubled = with_table(base, pd.concat([base.table, base.table.assign(repeat=1)]))
    summary = summarise(doubled, PLAN, patients_known=False)
    assert summary.n_patients == 100
    assert summary.estimate("auroc").method == "DeLong (score), clustered by record"


def test_variants():
    base = multiclass_case()
    few = base.table.assign(variant="fraction=0.1", repeat=0, predicted="class 0")
    summary = summarise(with_table(base, pd.concat([base.table, few])), PLAN)
    check(summary)
    assert {e.variant for e in summary.headline} == {"main"}
    assert {e.variant for e in summary.variants} == {"fraction=0.1"}
    assert summary.estimate("accuracy", "fraction=0.1").value < summary.estimate("accuracy").value
    assert {row.variant for row in summary.folds} == {"main", "fraction=0.1"}
    only = summarise(with_table(base, few), PLAN)
    assert {e.variant for e in only.headline} == {"fraction=0.1"}


def test_unknown_patients_are_said_and_counted_as_records():
    summary = summarise(multiclass_case(), PLAN, patients_known=False)
    assert not summary.patients_known
    assert summary.n_patients == 300
    assert "too narrow" in summary.notes[0]
    assert summary.headline[0].method == "Wilson of each class, joined"
    assert summary.estimate("f1_macro").method == "record-level bootstrap (logit), B=100"


def test_clustering_widens_the_interval():
    """One patient's records are alike: with patients the interval is wider than without."""
    rng = np.random.default_rng(0)
    base = binary_case(400, 20)
    right = rng.random(20) < 0.6
    owner = base.table["patient_id"].str[1:].astype(int).to_numpy()
    truth = base.table["truth"].to_numpy()
    wrong = np.where(truth == "ill", "healthy", "ill")
    made = with_table(base, base.table.assign(predicted=np.where(right[owner], truth, wrong)))
    known, unknown = (summarise(made, PLAN, metrics=("accuracy",), patients_known=k).headline[0] for k in (True, False))
    assert known.high - known.low > 2.5 * (unknown.high - unknown.low)


def test_missing_patient_ids_are_their_own_patients():
    base = multiclass_case()
    ids = base.table["patient_id"].astype(object).copy()
    ids.iloc[:40] = None
    ids.iloc[40:50] = ""
    summary = summarise(with_table(base, base.table.assign(patient_id=ids)), PLAN)
    assert summary.n_patients == 50 + ids.iloc[50:].nunique()
    assert any("50 records have no patient id" in note for note in summary.notes)


def test_few_patients_are_said():
    summary = summarise(multiclass_case(100, n_patients=8), PLAN)
    assert any("Only 8 patients" in note for note in summary.notes)
    assert not any("Only" in note for note in summarise(multiclass_case(), PLAN).notes)


def test_one_patient_has_no_interval():
    base = multiclass_case()
    summary = summarise(with_table(base, base.table.assign(patient_id="p")), PLAN)
    check(summary)
    assert all(e.low is None and "single patient" in e.note for e in summary.headline)


def test_one_record():
    summary = summarise(with_table(binary_case(), binary_case().table.iloc[:1]), PLAN)
    check(summary)
    assert summary.n_records == 1


def test_no_resamples():
    summary = summarise(multiclass_case(), StatisticsPlan(resamples=0))
    check(summary)
    assert {e.metric for e in summary.headline if e.low is not None} == {"accuracy", "balanced_accuracy"}
    assert summary.roc[0].low == ()
    binary = summarise(binary_case(), StatisticsPlan(resamples=0))
    assert binary.estimate("auroc").low is not None


def test_one_class_only():
    base = binary_case()
    summary = summarise(with_table(base, base.table[base.table["truth"] == "ill"]), PLAN)
    check(summary)
    assert summary.estimate("auroc").value is None
    assert "undefined" in summary.estimate("auroc").note
    assert summary.roc == ()
    assert any("healthy" in note for note in summary.notes)


def test_an_absent_class_is_named():
    base = multiclass_case()
    table = base.table[base.table["truth"] != "class 2"]
    summary = summarise(with_table(base, table), PLAN)
    check(summary)
    assert any("class 2" in note for note in summary.notes)
    absent = summary.per_class[2]
    assert absent.n_records == 0
    assert {e.metric: e.value for e in absent.estimates}["auroc"] is None


def test_a_label_with_one_kind_of_truth():
    base = multilabel_case(unknown=0.0)
    table = base.table.assign(**{f"truth:{base.classes[1]}": 0.0})
    summary = summarise(with_table(base, table), PLAN)
    check(summary)
    assert any(base.classes[1] in note for note in summary.notes)
    assert summary.estimate("auroc_macro").value is not None


def test_a_class_of_few_patients_is_named():
    base = multiclass_case(300, classes=3)
    rare = base.table[base.table["truth"] == "class 2"].index[2:]
    summary = summarise(with_table(base, base.table.drop(index=rare)), PLAN)
    check(summary)
    assert any("class 2 (" in note for note in summary.notes)


def test_perfect_predictions_have_no_false_certainty():
    base = binary_case()
    ill = base.table["truth"] == "ill"
    table = base.table.assign(
        predicted=base.table["truth"],
        **{"score:ill": np.where(ill, 0.9, 0.1), "score:healthy": np.where(ill, 0.1, 0.9)},
    )
    summary = summarise(with_table(base, table), PLAN, metrics=("auroc", "sensitivity", "accuracy", "brier"))
    check(summary)
    assert summary.estimate("auroc").value == 1.0
    sizes = [base.table.loc[own, "patient_id"].nunique() for own in (ill, ~ill)]
    assert summary.estimate("auroc").low == pytest.approx(newcombe_interval(1.0, *sizes)[0])
    sensitivity = summary.estimate("sensitivity")
    assert sensitivity.method == "Wilson, one trial per patient"
    patients = base.table.loc[ill, "patient_id"].nunique()
    z2 = 1.959964**2
    assert sensitivity.low == pytest.approx(patients / (patients + z2), abs=1e-6)
    assert sensitivity.high == 1.0


def test_undefined_resamples_are_counted():
    """A site with two ill patients among many: some resamples have none left outside the strata."""
    base = multilabel_case(60, labels=1, unknown=0.0)
    truth = np.zeros(60)
    truth[:2] = 1
    table = base.table.assign(**{f"truth:{base.classes[0]}": truth, "patient_id": base.table["record_id"]})
    summary = summarise(with_table(base, table), StatisticsPlan(resamples=400), metrics=("map",))
    note = summary.headline[0].note
    assert "undefined in" in note
    share = int(note.split()[2]) / 400
    assert share == pytest.approx((58 / 60) ** 60, abs=0.08)


def test_sites_and_subgroups():
    summary = summarise(binary_case(600, 300), StatisticsPlan(resamples=50, subgroups=("age", "sex")))
    check(summary)
    assert {row.column for row in summary.sites} == {"site"}
    assert [row.column for row in summary.subgroups] == ["age"] * 5 + ["sex"] * 2
    assert {g.column for g in summary.gaps} == {"site", "age", "sex"}
    assert all(0 <= g.value <= 1 for g in summary.gaps)


def test_one_site_has_no_table():
    base = multiclass_case()
    assert summarise(with_table(base, base.table.assign(site="one")), PLAN).sites == ()
    assert summarise(with_table(base, base.table.assign(site=None)), PLAN).sites == ()
    assert summarise(with_table(base, base.table.drop(columns="site")), PLAN).sites == ()


def test_progress_counts_resamples():
    progress = Progress("statistics", None)
    summarise(multiclass_case(), PLAN, progress=progress)
    assert progress.done == 100


def test_many_classes_keep_only_the_mean_curve():
    summary = summarise(multiclass_case(500, classes=45, n_patients=400), StatisticsPlan(resamples=10))
    assert [c.name for c in summary.roc] == ["macro"]
    assert len(summary.per_class) == 45


def test_regression_far_from_a_constant():
    base = regression_case()
    summary = summarise(with_table(base, base.table.assign(predicted=100.0)), PLAN)
    check(summary)
    assert summary.estimate("spearman").value is None
    assert summary.estimate("mae").value is not None
