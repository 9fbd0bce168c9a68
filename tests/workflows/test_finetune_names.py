"""What classes are called in the knowledge: what a fine-tuning run is told by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import ConfigError, UnknownNameError
from medfm.evaluation.protocol_zero_shot import ZeroShot
from medfm.evaluation.target import Target
from medfm.workflows.finetune_names import check_names, with_names
from medfm.workflows.zero_shot_prompts import questions

RHYTHMS = ("AF/AFL", "SB", "SR", "STach")
MAPPED = {"SR": "SNR", "AF/AFL": "AF+AFL"}


def cohort(modality: str = "ecg", **info: Any) -> Cohort:
    table = pd.DataFrame({"record_id": ["r"], "path": ["x"], "patient_id": ["p"], "site": [None], "split": [None]})
    return Cohort(table, modality, Path(), "some", info=info)


def truth(classes: tuple[str, ...] = RHYTHMS, task: Any = "multiclass") -> Target:
    return Target("label", task, classes, np.arange(len(classes)))


def test_without_names_the_cohort_is_left_alone() -> None:
    one = cohort(label_set="csn")
    assert with_names(one, None, None) is one and with_names(one, None, {}) is one


def test_names_lie_in_the_cohort_and_the_old_one_is_unchanged() -> None:
    one = cohort(label_set="cpsc2018", licence="x")
    named = with_names(one, "cinc2021", MAPPED)
    assert named.info == {"label_set": "cinc2021", "map_class": MAPPED, "licence": "x"}
    assert one.info == {"label_set": "cpsc2018", "licence": "x"} and named.digest() == one.digest()
    assert with_names(one, None, MAPPED).info["label_set"] == "cpsc2018"


def test_real_rhythm_codes_have_prompts_by_these_names() -> None:
    """The classes of the real ECG set: two in one, and an abbreviation that its table writes otherwise."""
    named = with_names(cohort(), "cinc2021", MAPPED)
    check_names(named, truth(), asked=True)
    found = questions(ZeroShot(), RHYTHMS, modality="ecg", label_set="cinc2021", given=named.info["map_class"])
    assert found.classes == {
        "AF/AFL": ("atrial_fibrillation", "atrial_flutter"),
        "SB": ("sinus_bradycardia",),
        "SR": ("sinus_rhythm",),
        "STach": ("sinus_tachycardia",),
    }
    texts = found.asked[0].prompts
    assert texts.labels == RHYTHMS and len(texts.classes[0].groups) == 2


@pytest.mark.parametrize(
    ("label_set", "mapped", "said"),
    [
        ("cinc2021", {}, "'AF/AFL', 'SR'"),
        ("csn", MAPPED, "'STach'"),
        (None, {"SB": "sinus bradycardia"}, "'AF/AFL'"),
        ("cinc2021", {"other": "pvc"}, "no class 'other'"),
    ],
    ids=["no map", "other set", "no set", "stray"],
)
def test_names_without_prompts_are_refused_where_the_user_named_some(label_set: Any, mapped: Any, said: str) -> None:
    named = with_names(cohort(), label_set, mapped)
    with pytest.raises(ConfigError, match=said) as found:
        check_names(named, truth(), asked=True)
    assert "there is then no reading" in str(found.value.fix) and "--leave-out" not in str(found.value.fix)
    check_names(named, truth(), asked=False)  # a reading that comes by itself fails with a note


def test_measurements_and_several_labels_have_no_reading_to_name() -> None:
    for task in ("regression", "multilabel"):
        check_names(cohort(), truth(("x", "y"), task), asked=True)


def test_an_unknown_label_set_and_a_modality_without_knowledge_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="cinc2021"):
        with_names(cohort(), "cinc2022", None)
    with pytest.raises(ConfigError, match="no knowledge of blood_cell") as found:
        with_names(cohort("blood_cell"), None, {"a": "b"})
    assert "ecg" in str(found.value.expected)
