"""The registry of metrics, point values and what happens at the edges."""

import numpy as np
import pytest
from statistics_cases import binary_case, binary_outcomes, case, multiclass_case, multilabel_case, regression_case

from medfm.core.errors import EvaluationError, UnknownNameError
from medfm.evaluation.metrics import default_metrics, evaluate, list_metrics, metric, metrics_for, number
from medfm.evaluation.metrics_outcomes import Outcomes
from medfm.evaluation.predictions import Predictions

TASKS = ["binary", "multiclass", "multilabel", "regression"]


def names_of(task):
    """Metrics that three classes suffice for; test_metrics_zero_shot.py looks at the other."""
    return [name for name in list_metrics(task) if name != "top5_accuracy"]


def changed(predictions: Predictions, column: str, values) -> Predictions:
    table = predictions.table.copy()
    table[column] = values
    return Predictions(table, predictions.task, predictions.classes, predictions.target)


@pytest.mark.parametrize("task", TASKS)
def test_every_metric_gives_a_finite_figure_within_its_range(task):
    found = evaluate(case(task), names_of(task))
    for name, value in found.items():
        entry = metric(name, task)
        assert value is not None, name
        assert entry.lowest <= value <= entry.highest, name
        assert entry.title


@pytest.mark.parametrize("task", TASKS)
def test_defaults_exist_and_are_used(task):
    assert list(evaluate(case(task))) == list(default_metrics(task))


@pytest.mark.parametrize("task", TASKS)
def test_better_predictions_score_better(task):
    """The direction in the registry is the direction of the figure."""
    good = {
        "binary": lambda e: binary_case(2000, effect=e),
        "multiclass": lambda e: multiclass_case(2000, effect=e),
        "regression": lambda e: regression_case(500, noise=1 / e),
        "multilabel": lambda e: multilabel_with_effect(e),
    }[task]
    weak, strong = evaluate(good(0.5), names_of(task)), evaluate(good(4.0), names_of(task))
    # Calibration errors depend on the scale of the scores, not on how well they rank.
    for name in set(weak) - {"ece", "mce"}:
        gain = strong[name] - weak[name]
        assert gain > 0 if metric(name, task).better == "higher" else gain < 0, name


def multilabel_with_effect(effect: float) -> Predictions:
    base = multilabel_case(1000, unknown=0.0)
    table = base.table.copy()
    rng = np.random.default_rng(1)
    for name in base.classes:
        truth = table[f"truth:{name}"]
        table[f"score:{name}"] = 1 / (1 + np.exp(-(rng.normal(size=len(table)) + effect * (2 * truth - 1))))
    return Predictions(table, "multilabel", base.classes)


def test_an_unknown_metric_names_near_ones():
    with pytest.raises(UnknownNameError, match="auroc"):
        metric("aurocc", "binary")


def test_a_metric_of_another_task_says_so():
    with pytest.raises(EvaluationError, match="binary"):
        metric("sensitivity", "multiclass")


def test_doubles_are_computed_once():
    assert [m.name for m in metrics_for(["brier", "auroc", "brier"], "binary")] == ["brier", "auroc"]


def test_ranking_is_undefined_with_one_class():
    outcomes = binary_outcomes([1, 1, 1], [0.2, 0.4, 0.9])
    found = evaluate(outcomes, ["auroc", "average_precision", "specificity", "sensitivity", "accuracy"])
    assert found["auroc"] is None
    assert found["average_precision"] is None
    assert found["specificity"] is None
    assert found["sensitivity"] == pytest.approx(1 / 3)
    assert found["accuracy"] == pytest.approx(1 / 3)


def test_all_scores_tied_is_guessing():
    found = evaluate(binary_outcomes([0, 1, 0, 1], [0.3] * 4), ["auroc", "average_precision", "mcc"])
    assert found == {"auroc": 0.5, "average_precision": 0.5, "mcc": 0.0}


def test_ties_count_one_half():
    # Pairs (positive, negative): 0.7 beats 0.2 and 0.5; 0.5 beats 0.2 and ties with 0.5.
    assert evaluate(binary_outcomes([1, 1, 0, 0], [0.7, 0.5, 0.5, 0.2]), ["auroc"])["auroc"] == 3.5 / 4


def test_a_class_without_records_is_left_out_of_macro_averages():
    whole = multiclass_case(classes=4)
    part = whole.table[whole.table["truth"] != "class 3"].copy()
    part["predicted"] = part["predicted"].replace("class 3", "class 0")
    found = evaluate(Predictions(part, "multiclass", whole.classes), ["auroc_ovr_macro", "balanced_accuracy"])
    outcomes = Outcomes.of(Predictions(part, "multiclass", whole.classes))
    three = [
        evaluate(binary_outcomes(outcomes.truth == c, outcomes.scores[:, c]), ["auroc"])["auroc"] for c in range(3)
    ]
    assert found["auroc_ovr_macro"] == pytest.approx(np.mean(three))
    recalls = [(outcomes.predicted[outcomes.truth == c] == c).mean() for c in range(3)]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))


def test_perfect_predictions():
    found = evaluate(binary_outcomes([0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0]), list_metrics("binary"))
    for name, value in found.items():
        best = 1.0 if metric(name, "binary").better == "higher" else 0.0
        assert value == pytest.approx(best, abs=1e-9), name


def test_a_certain_error_has_a_finite_log_loss():
    value = evaluate(binary_outcomes([1, 0], [0.0, 1.0]), ["log_loss"])["log_loss"]
    assert value == pytest.approx(-np.log(np.finfo(float).eps), rel=1e-6)


def test_constant_regression_target_is_undefined_not_nan():
    predictions = changed(regression_case(), "truth", 4.0)
    found = evaluate(predictions, list_metrics("regression"))
    assert found["r2"] is None
    assert found["pearson"] is None
    assert found["spearman"] is None
    assert found["mae"] > 0


def test_regression_far_from_zero_keeps_its_accuracy():
    near = regression_case()
    far = changed(changed(near, "truth", near.table["truth"] + 1e7), "predicted", near.table["predicted"] + 1e7)
    for name, value in evaluate(near, list_metrics("regression")).items():
        assert evaluate(far, [name])[name] == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize(
    ("task", "column", "value", "message"),
    [
        ("binary", "score:ill", np.nan, "not finite"),
        ("binary", "score:ill", 1.7, "probabilities"),
        ("binary", "score:ill", -0.5, "probabilities"),
        ("binary", "truth", "purple", "purple"),
        ("multiclass", "predicted", None, "not classes"),
        ("regression", "predicted", np.inf, "not finite"),
        ("regression", "truth", "tall", "not finite"),
        ("multilabel", "truth:finding 1", 0.5, "neither 0, 1 nor missing"),
    ],
)
def test_bad_values_are_refused(task, column, value, message):
    predictions = case(task)
    values = predictions.table[column].astype(object).copy()
    values.iloc[3] = value
    if isinstance(value, float):
        values = values.astype(float)
    with pytest.raises(EvaluationError, match=message):
        evaluate(changed(predictions, column, values))


def test_errors_name_the_record():
    predictions = binary_case()
    values = predictions.table["score:ill"].copy()
    values.iloc[7] = np.nan
    with pytest.raises(EvaluationError, match="r00007"):
        evaluate(changed(predictions, "score:ill", values))


def test_no_rows_is_an_error():
    empty = binary_case().table.iloc[:0]
    with pytest.raises(EvaluationError, match="no predictions"):
        evaluate(Predictions(empty, "binary", ("healthy", "ill")))


def test_rounding_above_one_is_accepted():
    predictions = changed(binary_case(), "score:ill", 1.0 + 1e-9)
    assert evaluate(predictions, ["brier"])["brier"] <= 1.0


def test_unknown_multilabel_truths_are_left_out():
    predictions = multilabel_case(unknown=0.3)
    name = predictions.classes[0]
    known = predictions.table[predictions.table[f"truth:{name}"].notna()]
    single = binary_outcomes(known[f"truth:{name}"].astype(int), known[f"score:{name}"])
    outcomes = Outcomes.of(predictions)
    plan = outcomes.rank_plan(0)
    ones = np.ones((len(predictions), 1))
    assert plan.auroc(ones)[0] == pytest.approx(evaluate(single, ["auroc"])["auroc"])


def test_number():
    assert number(0.5) == 0.5
    assert number(float("nan")) is None
    assert number(float("-inf")) is None
