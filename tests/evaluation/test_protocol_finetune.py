"""The protocol of fine-tuning and what other verbs make of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medfm.cohorts.cohort import Cohort
from medfm.core.config import build
from medfm.core.errors import ConfigError, EvaluationError
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.evaluate import evaluate
from medfm.evaluation.protocol import Protocol, load_protocol
from medfm.evaluation.protocol_finetune import FineTune


def test_the_shipped_protocol_is_one_split_beside_a_probe() -> None:
    plan = load_protocol("finetune@1")
    assert isinstance(plan.method, FineTune) and plan.method.beside == "linear-probe@1"
    assert plan.scheme.kind == "split" and load_protocol(plan.method.beside).method.kind == "linear_probe"
    assert any("One fixed split" in line for line in plan.deviations)


def test_medfm_probe_sends_it_on(tmp_path) -> None:
    table = pd.DataFrame({"record_id": ["a", "b"], "path": ["a", "b"], "patient_id": ["a", "b"], "site": "x"})
    table["label"], table["split"] = ["p", "q"], ["train", "test"]
    cohort = Cohort(table, "blood_cell", tmp_path, "two")
    with pytest.raises(EvaluationError, match="trains the encoder itself") as found:
        evaluate(Embeddings(np.zeros((2, 3), np.float32), ("a", "b")), cohort, "label", load_protocol("finetune@1"))
    assert "medfm finetune" in str(found.value)


def test_the_recipe_is_no_part_of_the_protocol() -> None:
    values = load_protocol("finetune@1").to_dict()
    with pytest.raises(ConfigError, match="no such key"):
        build(Protocol, {**values, "method": {**values["method"], "recipe": "lora"}}, where="a test")
    without = build(Protocol, {**values, "method": {"kind": "finetune", "beside": ""}}, where="a test")
    assert without.method.beside == ""  # type: ignore[union-attr]
