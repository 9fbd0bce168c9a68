"""Which records and labels a zero-shot run takes, and which metrics it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from zero_shot_cases import LABELS, cohort_of, shapes_file

from medfm.core.errors import CohortError, ConfigError, EvaluationError, UnknownNameError
from medfm.evaluation.protocol import ZeroShot, load_protocol
from medfm.workflows.zero_shot_target import headline_metrics, scope_of, target_names, zero_shot_plan

METHOD = ZeroShot()
SPLITS = ["train", "train", "val", "test", "test", "test"]


def flags(**more: object) -> pd.DataFrame:
    return pd.DataFrame({"C": [0, 1, 0, 1, 0, 1], "S": [1, 0, 0, 0, 1, 1], "E": [1, 1, 0, 0, 0, 0], **more})


def words(**more: object) -> pd.DataFrame:
    return pd.DataFrame({"label": ["circle", "square", "other", "circle", "square", "square"], **more})


def test_without_a_split_all_are_scored_and_it_is_said() -> None:
    scope = scope_of(cohort_of(words()), None, METHOD)
    assert len(scope.cohort) == 6 and "no split, so all 6" in scope.notes[0]
    assert scope_of(cohort_of(words(split=SPLITS)), None, METHOD.model_copy(update={"split": "all"})).notes == ()


@pytest.mark.parametrize(("split", "count"), [("test", 3), ("train", 2), ("all", 6)])
def test_the_split(split: str, count: int) -> None:
    scope = scope_of(cohort_of(flags(split=SPLITS)), ["C"], METHOD.model_copy(update={"split": split}))
    assert len(scope.cohort) == len(scope.truth) == count
    if split == "all":
        assert scope.cohort.table["split"].isna().all()  # nobody trains, so no split can leak
    else:
        assert f"{count} records of the split '{split}', of 6" in scope.notes[0]


def test_a_split_without_records_says_what_there_is() -> None:
    cohort = cohort_of(flags(split=["train"] * 6))
    with pytest.raises(EvaluationError, match="train: 6") as error:
        scope_of(cohort, ["C"], METHOD)
    assert "--split" in str(error.value)


def test_classes_left_out() -> None:
    scope = scope_of(cohort_of(words()), None, METHOD, leave_out=["other"])
    assert scope.truth.classes == ("circle", "square") and len(scope.truth) == 5
    assert any("1 records of the class other are left out" in note for note in scope.notes)
    with pytest.raises(ConfigError, match="did you mean 'other'"):
        scope_of(cohort_of(words()), None, METHOD, leave_out=["othr"])
    with pytest.raises(ConfigError, match="single label column"):
        scope_of(cohort_of(flags()), list(LABELS), METHOD, leave_out=["C"])


def test_records_without_a_label() -> None:
    table = words()
    table["label"] = table["label"].replace("other", "circle")
    table.loc[0, "label"] = None
    with pytest.raises(EvaluationError, match="no label"):
        scope_of(cohort_of(table), None, METHOD)
    scope = scope_of(cohort_of(table), None, METHOD, drop_unlabelled=True)
    assert len(scope.truth) == 5 and any("1 records without a label" in note for note in scope.notes)


def test_a_column_of_yes_and_no_is_a_label() -> None:
    for values in ([0, 1, 0, 1, 0, 1], [0.0, 1.0, None, 1.0, 0.0, 1.0], [True, False, True, False, True, True]):
        scope = scope_of(cohort_of(pd.DataFrame({"C": values})), "C", METHOD, drop_unlabelled=True)
        assert (scope.truth.task, scope.truth.classes) == ("multilabel", ("C",))
    assert scope_of(cohort_of(flags()), "C", METHOD, task="binary").truth.classes == ("0", "1")


def test_measurements_are_refused() -> None:
    with pytest.raises(EvaluationError, match="cannot be predicted zero-shot"):
        scope_of(cohort_of(pd.DataFrame({"C": np.linspace(0, 9, 6)})), "C", METHOD)


def test_one_sided_labels_go_only_where_nobody_named_them() -> None:
    cohort = cohort_of(flags(split=SPLITS), target=list(LABELS))
    scope = scope_of(cohort, None, METHOD)
    assert scope.truth.classes == ("C", "S") and any(note.endswith("records: E.") for note in scope.notes)
    with pytest.raises(EvaluationError, match="'E' does not occur both"):
        scope_of(cohort, list(LABELS), METHOD)
    with pytest.raises(EvaluationError, match="No label occurs both"):
        scope_of(cohort_of(flags()[:1], target=["C", "S"]), None, METHOD)


def test_where_the_target_comes_from(tmp_path) -> None:
    method = METHOD.model_copy(update={"knowledge": str(shapes_file(tmp_path)), "label_set": "cohort"})
    assert target_names(cohort_of(flags()), None, method) == list(LABELS)
    assert target_names(cohort_of(flags().drop(columns="S")), None, method) == ["C", "E"]
    own = method.model_copy(update={"label_set": None})
    assert target_names(cohort_of(flags(), label_set="cohort"), None, own) == list(LABELS)
    assert target_names(cohort_of(flags(), target=["E"]), None, method) == ["E"]
    both = flags(label=["circle", "square", "other"] * 2)
    assert target_names(cohort_of(both, target="label", label_set="cohort"), None, own) == list(LABELS)
    assert target_names(cohort_of(both, target="label", label_set="cohort"), "label", own) == "label"
    assert target_names(cohort_of(both, target="label"), None, own) == "label"
    assert target_names(cohort_of(words(), target="label"), None, METHOD) == "label"
    assert target_names(cohort_of(words()), None, METHOD) == "label"
    assert target_names(cohort_of(flags()), ("C", "S"), METHOD) == ["C", "S"]
    # The name of the cohort's label set stands for its columns.
    assert target_names(cohort_of(flags(), label_set="cohort"), "cohort", own) == list(LABELS)
    with pytest.raises(ConfigError, match="not said what to predict"):
        target_names(cohort_of(flags()), None, METHOD)
    with pytest.raises(CohortError, match="no column 'Q'"):
        scope_of(cohort_of(flags()), ["Q"], METHOD)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("multilabel", ("auroc_macro", "map")),
        ("multiclass", ("balanced_accuracy", "auroc_ovr_macro", "average_precision_macro")),
        ("binary", ("auroc", "average_precision", "balanced_accuracy")),
    ],
)
def test_headline_metrics(task, expected) -> None:
    assert headline_metrics(load_protocol("zero-shot@1"), task) == expected


@pytest.mark.parametrize(
    ("task", "name"), [("multilabel", "auroc_macro"), ("multiclass", "auroc_ovr_macro"), ("binary", "auroc")]
)
def test_the_published_metric_has_a_name_in_every_task(task, name) -> None:
    assert headline_metrics(load_protocol("merl-zeroshot@1"), task) == (name,)


@pytest.mark.parametrize(
    ("task", "metric"),
    [("multilabel", "f1_macro"), ("multilabel", "brier"), ("multiclass", "ece"), ("binary", "log_loss")],
)
def test_metrics_that_mean_nothing_are_refused(task, metric) -> None:
    plan = load_protocol("zero-shot@1", overrides=(f"metrics=[{metric}]",))
    with pytest.raises(ConfigError, match="means nothing for zero-shot"):
        headline_metrics(plan, task)
    with pytest.raises(UnknownNameError, match="did you mean"):
        headline_metrics(load_protocol("zero-shot@1", overrides=("metrics=[aurok]",)), task)


def test_settings_on_top_of_a_protocol() -> None:
    plan = zero_shot_plan("zero-shot@1", ("method.split=val",), knowledge="ecg", label_set="csn", prompt_file="a.json")
    method = plan.method
    assert isinstance(method, ZeroShot)
    assert (method.split, method.knowledge, method.label_set, method.prompt_file) == ("val", "ecg", "csn", "a.json")
    assert zero_shot_plan(plan) == plan
    with pytest.raises(ConfigError, match="no such key"):
        zero_shot_plan(plan, ("method.strateggy=x",))
