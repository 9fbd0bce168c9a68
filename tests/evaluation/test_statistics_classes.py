import numpy as np
import pytest
from statistics_cases import binary_case, multiclass_case, multilabel_case

from medfm.evaluation.metrics_outcomes import Weighted
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.statistics_classes import PER_CLASS, class_rows, per_class_metrics
from medfm.evaluation.statistics_estimates import Sample

MAKERS = [binary_case, multiclass_case, multilabel_case]


def rows_of(predictions, drawn=None):
    sample = Sample.of(predictions, StatisticsPlan(resamples=0))
    point = Weighted(sample.outcomes, np.ones((len(sample.outcomes), 1)))
    return class_rows(sample, point, drawn or {})


@pytest.mark.parametrize("maker", MAKERS)
def test_a_row_per_class_in_order(maker):
    predictions = maker()
    rows = rows_of(predictions)
    assert [row.name for row in rows] == list(predictions.classes)
    for row in rows:
        assert [e.metric for e in row.estimates] == list(PER_CLASS)
        assert all(e.value is not None and 0 <= e.value <= 1 for e in row.estimates)


@pytest.mark.parametrize("maker", MAKERS)
def test_f1_is_the_harmonic_mean(maker):
    for row in rows_of(maker()):
        values = {e.metric: e.value for e in row.estimates}
        harmonic = 2 * values["sensitivity"] * values["ppv"] / (values["sensitivity"] + values["ppv"])
        assert values["f1"] == pytest.approx(harmonic)


def test_the_two_classes_of_a_binary_task_mirror_each_other():
    healthy, ill = ({e.metric: e.value for e in row.estimates} for row in rows_of(binary_case()))
    assert healthy["sensitivity"] == pytest.approx(ill["specificity"])
    assert healthy["specificity"] == pytest.approx(ill["sensitivity"])
    assert healthy["auroc"] == pytest.approx(ill["auroc"])


def test_only_what_has_a_formula_has_an_interval_without_resamples():
    for row in rows_of(multiclass_case()):
        for e in row.estimates:
            assert (e.low is not None) == (e.metric in ("auroc", "sensitivity", "specificity", "ppv"))


def test_resamples_of_each_class_go_to_its_own_row():
    predictions = multiclass_case()
    sample = Sample.of(predictions, StatisticsPlan(resamples=50, intervals="resampled"))
    point = Weighted(sample.outcomes, np.ones((300, 1)))
    drawn = {"class:f1": np.arange(4)[:, None] * 0.2 + np.linspace(0, 0.1, 50)[None, :]}
    for c, row in enumerate(class_rows(sample, point, drawn)):
        f1 = next(e for e in row.estimates if e.metric == "f1")
        assert 0.2 * c <= f1.low < f1.high <= 0.2 * c + 0.1


def test_a_class_never_predicted_has_no_precision():
    base = multiclass_case()
    table = base.table.assign(predicted=base.table["predicted"].replace("class 1", "class 0"))
    row = rows_of(type(base)(table, base.task, base.classes))[1]
    values = {e.metric: e for e in row.estimates}
    assert values["ppv"].value is None
    assert "never predicted" in values["ppv"].note
    assert values["sensitivity"].value == 0.0


def test_regression_has_no_classes():
    assert per_class_metrics("regression") == {}
