"""Classes that are steps of one scale: their order, and the kappa that needs it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from probe_data import cohort_of
from sklearn.metrics import cohen_kappa_score

from medfm.cohorts.cohort import Cohort
from medfm.evaluation.grades import grade_order, headline_with_kappa, order_notes
from medfm.evaluation.metrics import evaluate
from medfm.evaluation.metrics_outcomes import Outcomes
from medfm.evaluation.target import Target, make_target
from medfm.knowledge.load import load_knowledge

WORDS = [
    "no diabetic retinopathy",
    "mild diabetic retinopathy",
    "moderate diabetic retinopathy",
    "severe diabetic retinopathy",
    "proliferative diabetic retinopathy",
]
SHORT = ["no DR", "Mild NPDR", "moderate DR", "severe_DR", "PDR"]


def eyes(labels: list[str] | list[int], label_set: str | None = None, modality: str = "retina") -> Cohort:
    n = len(labels)
    frame = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "path": "x.png",
            "patient_id": [f"p{i}" for i in range(n)],
            "site": None,
            "split": "train",
            "label": labels,
        }
    )
    made = cohort_of(frame)
    return Cohort(
        table=made.table,
        modality=modality,
        root=made.root,
        name="eyes",
        info={} if label_set is None else {"label_set": label_set},
    )


@pytest.mark.parametrize("words", [WORDS, SHORT])
@pytest.mark.parametrize("label_set", ["idrid", "messidor", None])
def test_spelled_out_grades_are_in_the_order_of_their_scale(words: list[str], label_set: str | None) -> None:
    truth = make_target(eyes(sorted(words) * 2, label_set), "label")
    assert truth.classes == tuple(words)
    assert truth.grades is not None and load_knowledge("retina").label_set(truth.grades).grades
    assert [truth.classes[v] for v in truth.values] == sorted(words) * 2


def test_the_order_can_come_from_the_label_set_named() -> None:
    cohort = eyes(["G5", "NC", "G3"] * 3, modality="histopathology")
    assert make_target(cohort, "label").classes == ("G3", "G5", "NC")
    truth = make_target(cohort, "label", label_set="sicapv2")
    assert truth.classes == ("NC", "G3", "G5") and truth.grades == "sicapv2"


def test_numbers_stay_as_they_are_and_are_grades_only_where_a_label_set_says_so() -> None:
    said = make_target(eyes([2, 0, 1, 4, 3] * 2, "idrid"), "label")
    assert said.classes == ("0", "1", "2", "3", "4") and said.grades == "idrid"
    assert make_target(eyes([2, 0, 1, 4, 3] * 2), "label").grades is None


@pytest.mark.parametrize(
    ("labels", "label_set", "modality"),
    [
        (["no DR", "mild DR"], "idrid", "retina"),  # two classes: the second stays the positive one
        (["no DR", "mild DR", "cataract"], "idrid", "retina"),  # one is no grade
        (["no DR", "mild DR", "unheard of"], None, "retina"),
        (["no DR", "mild DR", "PDR"], "fives", "retina"),  # a set without an order was named
        (["no DR", "mild DR", "PDR"], "no such set", "retina"),
        (["no DR", "mild DR", "PDR"], None, "blood_cell"),  # no knowledge of that modality
        (["normal", "glaucoma", "cataract"], None, "retina"),
        (["mild DR", "Mild NPDR", "no DR"], "idrid", "retina"),  # two names of one grade have no order
    ],
)
def test_other_classes_stay_sorted_by_letters(labels: list[str], label_set: str | None, modality: str) -> None:
    truth = make_target(eyes(labels * 3, label_set, modality), "label")
    assert truth.grades is None and truth.classes == tuple(sorted(labels))


def test_part_of_a_scale_is_in_order_too() -> None:
    assert grade_order(eyes(WORDS), [WORDS[4], WORDS[0], WORDS[2]]) == ("messidor", (WORDS[0], WORDS[2], WORDS[4]))


@pytest.mark.parametrize("key", ["messidor", "messidor1-dr", "messidor1-dme", "idrid-dme", "mmac", "rop", "deepdrid"])
def test_the_sets_of_grades_of_the_retina_rise(key: str) -> None:
    labels = list(load_knowledge("retina").label_set(key).labels)
    assert labels == sorted(labels) and len(labels) >= 3 and load_knowledge("retina").label_set(key).grades


@pytest.mark.parametrize("key", ["fives", "ddr", "odir", "jsiec", "papila"])
def test_other_sets_are_not_called_grades(key: str) -> None:
    assert not load_knowledge("retina").label_set(key).grades


@settings(max_examples=40, deadline=None)
@given(
    truth=st.lists(st.integers(0, 4), min_size=12, max_size=40),
    seed=st.integers(0, 1000),
)
def test_the_kappa_of_words_equals_scikit_learns_of_numbers(truth: list[int], seed: int) -> None:
    truth = [*range(5), *range(5), *truth]  # every grade occurs
    guesses = np.random.default_rng(seed).integers(0, 5, len(truth))
    target = make_target(eyes([WORDS[t] for t in truth], "idrid"), "label")
    assert target.values.tolist() == truth
    scores = np.eye(5)[guesses] * 0.8 + 0.04
    made = evaluate(Outcomes("multiclass", target.classes, target.values, guesses, scores), ["quadratic_kappa"])
    assert made["quadratic_kappa"] == pytest.approx(cohen_kappa_score(truth, guesses, weights="quadratic"))


def test_the_headline_has_the_kappa_of_grades_unless_metrics_are_named() -> None:
    graded = make_target(eyes(WORDS * 2), "label")
    assert headline_with_kappa((), graded)[-1] == "quadratic_kappa"
    assert headline_with_kappa((), graded)[0] == "balanced_accuracy"
    assert headline_with_kappa(("accuracy",), graded) == ("accuracy",)
    plain = make_target(eyes(["a", "b", "c"] * 2), "label")
    assert headline_with_kappa((), plain) == ()


def test_notes_say_whose_order_it_is_or_that_there_is_none() -> None:
    graded = make_target(eyes(WORDS * 2), "label")
    assert order_notes(graded, ()) and "'messidor'" in order_notes(graded, ())[0]
    plain = make_target(eyes(["a", "b", "c"] * 2), "label")
    assert order_notes(plain, ("accuracy",)) == []
    assert "quadratic_kappa takes them in alphabetical order" in order_notes(plain, ("quadratic_kappa",))[0]
    numbers = Target("y", "multiclass", ("0", "1", "2"), np.arange(3))
    assert order_notes(numbers, ("quadratic_kappa",)) == []
    assert order_notes(Target("y", "binary", ("a", "b"), np.arange(2)), ("quadratic_kappa",)) == []
