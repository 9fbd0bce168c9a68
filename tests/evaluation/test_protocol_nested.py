"""Settings of nested cross-validation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from medfm.cohorts.cohort import Cohort
from medfm.core.config import build
from medfm.core.errors import ConfigError, EvaluationError
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.evaluate import evaluate
from medfm.evaluation.protocol import Protocol, load_protocol
from medfm.evaluation.protocol_nested import NestedFineTune


def test_the_shipped_protocol_is_five_folds_by_patient_beside_a_probe() -> None:
    plan = load_protocol("nested-cv@1")
    assert isinstance(plan.method, NestedFineTune)
    assert (plan.scheme.kind, plan.scheme.folds, plan.scheme.repeats) == ("kfold", 5, 1)
    assert plan.scheme.stratify and plan.scheme.group_by_patient and plan.scheme.shuffle
    assert plan.method.candidates == ("linear-probe", "lp-ft", "bpd-progressive")
    assert load_protocol(plan.method.beside).method.kind == "linear_probe"
    assert plan.paper_std == "sample" and any("tested on none" in line for line in plan.deviations)


def test_the_file_says_every_setting_of_the_method() -> None:
    """So that a reader need not look up defaults, and the defaults are the shipped protocol."""
    method = load_protocol("nested-cv@1").method
    assert method == NestedFineTune()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("method.candidates=[full, full]", "named twice"),
        ("method.candidates=[]", "at least 1"),
        ("method.inner_trained=5", "cannot exceed"),
        ("method.inner_folds=1", "2 or more, or 0"),
        ("method.inner_folds=0", "leaves no patients to choose on"),
        ("method.rule=test", "best"),
        ("method.recalibration=isotonic", "temperature"),
        ("method.recipe=full", "no such key"),
    ],
    ids=["twice", "none", "parts", "one part", "no part", "rule", "recalibration", "unknown"],
)
def test_settings_that_make_no_sense_are_refused(change: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_protocol("nested-cv@1", overrides=(change,))


def test_medfm_probe_sends_it_on(tmp_path: Any) -> None:
    table = pd.DataFrame({"record_id": ["a", "b"], "path": ["a", "b"], "patient_id": ["a", "b"], "site": "x"})
    table["label"], table["split"] = ["p", "q"], None
    cohort = Cohort(table, "blood_cell", tmp_path, "two")
    with pytest.raises(EvaluationError, match="trains the encoder itself"):
        evaluate(Embeddings(np.zeros((2, 3), np.float32), ("a", "b")), cohort, "label", load_protocol("nested-cv@1"))


def test_it_survives_a_round_trip_and_is_told_from_fine_tuning_by_its_kind() -> None:
    plan = load_protocol("nested-cv@1", overrides=("method.rule=one_standard_error",))
    again = build(Protocol, plan.to_dict(), where="a test")
    assert again == plan and again.digest() != load_protocol("nested-cv@1").digest()
    with pytest.raises(ConfigError):
        build(Protocol, {**plan.to_dict(), "method": {**plan.to_dict()["method"], "kind": "finetune"}}, where="a test")
