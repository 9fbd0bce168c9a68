"""What is settled before an evaluation: the target's columns, labelled records, the coded checks, training sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import ChecksFailedError, ConfigError
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.protocol import load_protocol, other_method, protocol_of
from medfm.workflows.before_evaluation import check_cohort, only_labelled, seen_in_training, target_names


def cohort_of(**columns: list[Any]) -> Cohort:
    """Records without files."""
    number = len(next(iter(columns.values())))
    base: dict[str, list[Any]] = {
        "record_id": [f"r{i:04d}" for i in range(number)],
        "path": [f"{i:04d}.png" for i in range(number)],
        "patient_id": [f"p{i:04d}" for i in range(number)],
        "site": [None] * number,
        "split": [None] * number,
    }
    return Cohort(pd.DataFrame({**base, **columns}), "blood_cell", Path("/nowhere"))


PLAN = load_protocol("linear-probe@1")


def vectors(cohort: Cohort, **provenance: Any) -> Embeddings:
    values = np.random.default_rng(0).normal(size=(len(cohort), 4)).astype(np.float32)
    return Embeddings(values, tuple(cohort.record_ids), provenance)


@pytest.fixture
def cohort() -> Cohort:
    labels = ["a", "b"] * 30
    return cohort_of(label=labels, patient_id=[f"p{i // 2}" for i in range(60)])


def test_the_target_is_what_was_named_else_the_cohorts_own(cohort: Cohort) -> None:
    assert target_names(cohort, None) == "label" and target_names(cohort, "label") == "label"
    assert target_names(cohort, ["x", "y"]) == ["x", "y"]
    with pytest.raises(ConfigError, match="not said what to predict"):
        target_names(cohort_of(other=["a", "b"]), None)


@pytest.mark.parametrize("drop", [False, True])
def test_unlabelled_records_go_only_where_that_was_asked_for(drop: bool) -> None:
    cohort = cohort_of(label=["a", None, "b", None])
    kept, notes = only_labelled(cohort, "label", drop)
    assert len(kept) == (2 if drop else 4)
    assert notes == (["2 records without a label are left out."] if drop else [])


def test_of_label_columns_one_known_label_is_enough() -> None:
    cohort = cohort_of(x=[1, None, None], y=[None, 0, None])
    kept, notes = only_labelled(cohort, ["x", "y"], True)
    assert list(kept.record_ids) == list(cohort.record_ids)[:2] and notes == ["1 records without a label are left out."]


def test_nothing_left_out_is_nothing_said(cohort: Cohort) -> None:
    assert only_labelled(cohort, "label", True) == (cohort, [])


def test_a_sound_cohort_passes(cohort: Cohort) -> None:
    found = check_cohort(cohort, "label", "binary", PLAN, vectors(cohort), ())
    assert not [f.code for f in found if f.severity == "error"] and "L001" in [f.code for f in found]


def test_a_patient_in_two_splits_stops_it_until_allowed() -> None:
    cohort = cohort_of(
        label=["a", "a", "b", "b"] * 10, patient_id=[f"p{i // 4}" for i in range(40)], split=["train", "test"] * 20
    )
    with pytest.raises(ChecksFailedError, match="L001"):
        check_cohort(cohort, "label", "binary", PLAN, vectors(cohort), ())
    (found,) = [f for f in check_cohort(cohort, "label", "binary", PLAN, vectors(cohort), ["L001"]) if f.code == "L001"]
    assert found.allowed and found.severity == "error"


def test_missing_files_are_a_word_where_vectors_are_at_hand(cohort: Cohort) -> None:
    assert not cohort.root.joinpath(cohort.table["path"].iloc[0]).exists()
    (found,) = [f for f in check_cohort(cohort, "label", "binary", PLAN, vectors(cohort), ()) if f.code == "F001"]
    assert found.severity == "warning"


@pytest.mark.parametrize(
    ("about", "names"),
    [
        ({}, ()),
        ({"encoder": "no-such-encoder"}, ()),
        ({"encoder": "dinobloom-s", "weights_kind": "random", "training_data": ["x"]}, ()),
        ({"encoder": "mine", "weights_kind": "trained here", "training_data": ["x", "y"]}, ("x", "y")),
    ],
)
def test_what_an_encoder_has_seen(cohort: Cohort, about: dict[str, Any], names: tuple[str, ...]) -> None:
    assert seen_in_training(vectors(cohort, **about)) == names


def test_a_published_encoder_has_seen_what_its_card_says(cohort: Cohort) -> None:
    names = seen_in_training(vectors(cohort, encoder="dinobloom-s", weights_kind="published"))
    assert names and all(isinstance(name, str) for name in names)


class TestProtocolOf:
    def test_a_name_and_a_protocol_are_one(self) -> None:
        assert protocol_of("linear-probe@1") == PLAN and protocol_of(PLAN) is PLAN

    @pytest.mark.parametrize("given", ["linear-probe@1", PLAN])
    def test_settings_come_on_top(self, given: Any) -> None:
        changed = protocol_of(given, ["scheme.folds=3"])
        assert changed.scheme.folds == 3 and PLAN.scheme.folds != 3
        with pytest.raises(ConfigError, match="scheme"):
            protocol_of(given, ["scheme.foldz=3"])

    def test_another_method_is_named_with_advice(self) -> None:
        error = other_method(PLAN, "survival", expected="conversion-survival@1")
        assert "is of the method 'linear_probe', not 'survival'" in str(error)
        assert error.expected == "conversion-survival@1" and error.fix is None
