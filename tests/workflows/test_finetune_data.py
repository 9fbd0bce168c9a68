"""Who trains, who chooses, who is tested."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import ConfigError, EvaluationError
from medfm.evaluation.target import Target, make_target
from medfm.training.finetune_labels import labels_of
from medfm.workflows.finetune import load_finetune_recipe
from medfm.workflows.finetune_data import Parts, split_parts

RECIPE = load_finetune_recipe("full")


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    """40 records of 20 patients: 12 patients train, 4 validate, 4 are tested."""
    table = pd.DataFrame({"record_id": [f"r{i}" for i in range(40)], "path": [f"{i}.png" for i in range(40)]})
    table["patient_id"] = [f"p{i // 2}" for i in range(40)]
    table["site"], table["label"] = "here", ["a" if i % 4 < 2 else "b" for i in range(40)]
    table["split"] = ["train"] * 24 + ["val"] * 8 + ["test"] * 8
    return Cohort(table, "blood_cell", tmp_path, "mine")


def parts(cohort: Cohort, *overrides: str) -> Parts:
    from medfm.workflows.finetune import changed

    return split_parts(cohort, make_target(cohort, "label"), changed(RECIPE, list(overrides)))


def test_the_given_validation_split_is_used(cohort: Cohort) -> None:
    found = parts(cohort)
    assert found.train.tolist() == list(range(24)) and found.validation.tolist() == list(range(24, 32))
    assert found.test.tolist() == list(range(32, 40)) and "threshold are chosen on the split 'val'" in found.notes[0]


def test_patients_are_taken_out_of_training_whole(cohort: Cohort) -> None:
    found = parts(cohort, "validation.source=patients", "validation.share=0.25")
    owners = cohort.table["patient_id"].to_numpy()
    assert not set(owners[found.train]) & set(owners[found.validation])
    assert len(found.train) + len(found.validation) == 24 and len(found.validation) == 6
    assert set(cohort.table["label"].to_numpy()[found.validation]) == {"a", "b"}
    assert any("'val' are not used" in note for note in found.notes)
    again = parts(cohort, "validation.source=patients", "validation.share=0.25", "seed=1")
    assert again.validation.tolist() != found.validation.tolist()


def test_none_means_none(cohort: Cohort) -> None:
    settings = ("validation.source=none", "selection.keep=last", "selection.threshold=half", "selection.patience=0")
    found = parts(cohort, *settings)
    assert len(found.validation) == 0 and found.train.tolist() == list(range(24))
    assert "nothing is chosen" in found.notes[0] and "8 records of the split 'val'" in found.notes[1]


def test_what_cannot_be_is_said(cohort: Cohort) -> None:
    bare = cohort.subset((cohort.table["split"] != "val").to_numpy())
    assert len(parts(bare).validation) > 0  # auto falls back to patients
    with pytest.raises(EvaluationError, match="has the split"):
        parts(bare, "validation.source=split")
    with pytest.raises(EvaluationError, match="'test'") as found:
        parts(cohort.subset((cohort.table["split"] != "test").to_numpy()))
    assert "by patient" in (found.value.fix or "") and "kfold" not in str(found.value)  # folds are not for one network
    few = cohort.subset(np.array([0, 2, 34, 36]))
    with pytest.raises(EvaluationError, match="Validation patients cannot be drawn"):
        parts(few)


def test_a_measurement_is_standardised_by_training_records_alone() -> None:
    target = Target("age", "regression", (), np.array([10.0, 20.0, 30.0, 1000.0]))
    labels = labels_of(target, np.arange(3), ordinal=False)
    assert labels.centre == 20.0 and labels.encode(target.values[:3]).tolist() == pytest.approx(
        [-1.2247, 0, 1.2247], abs=1e-3
    )


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target("x", "binary", ("a", "b"), np.array([0, 1])), "no grades"),
        (Target("x", "multiclass", ("mild", "none", "severe"), np.array([0, 1, 2])), "in which order"),
    ],
    ids=["two classes", "words without a scale"],
)
def test_grades_must_have_an_order(target: Target, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        labels_of(target, np.arange(2), ordinal=True)


def test_numbers_and_scales_are_grades() -> None:
    values = np.array([0, 1, 2])
    assert labels_of(Target("x", "multiclass", ("0", "1", "2"), values), values, ordinal=True).kind == "ordinal"
    scaled = Target("x", "multiclass", ("none", "mild", "severe"), values, grades="icdr")
    assert labels_of(scaled, values, ordinal=True).outputs == 2
