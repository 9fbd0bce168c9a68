from __future__ import annotations

import pytest

from medfm.evaluation.metrics import default_metrics, list_metrics
from medfm.evaluation.summary import Estimate
from medfm.reporting.words import (
    chance_level,
    count,
    figure,
    interval,
    method_name,
    sentence,
    signed,
    signed_with_ends,
    with_ends,
    word,
)

TASKS = ("binary", "multiclass", "multilabel", "regression")


@pytest.mark.parametrize("task", TASKS)
def test_every_metric_of_the_package_is_explained(task):
    for name in list_metrics(task):
        assert word(name).meaning, name
        assert word(name).title


@pytest.mark.parametrize("task", TASKS)
def test_every_headline_tells_guessing_from_knowing(task):
    """At least one default metric has a chance level, so that every report has a verdict."""
    levels = [chance_level(name, task, 4, prevalence=0.3) for name in default_metrics(task)]
    assert any(level is not None for level in levels)


def test_an_unknown_metric_keeps_its_name():
    assert word("my_metric").title == "my metric"
    assert chance_level("my_metric", "binary", 2) is None


@pytest.mark.parametrize(
    ("metric", "task", "classes", "prevalence", "level"),
    [
        ("balanced_accuracy", "multiclass", 4, None, 0.25),
        ("balanced_accuracy", "binary", 2, None, 0.5),
        ("auroc", "binary", 2, None, 0.5),
        ("average_precision", "binary", 2, 0.1, 0.1),
        ("average_precision", "binary", 2, None, None),
        ("mcc", "multiclass", 4, None, 0.0),
        ("accuracy", "multiclass", 4, None, None),
        ("r2", "regression", 0, None, 0.0),
        ("brier", "binary", 2, 0.5, None),
    ],
)
def test_chance_levels(metric, task, classes, prevalence, level):
    assert chance_level(metric, task, classes, prevalence) == level


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 records"), (1, "1 record"), (999, "999 records"), (1000, "1\u202f000 records")],
)
def test_counts(number, text):
    assert count(number, "record") == text


def test_irregular_plural():
    assert count(2, "class", "classes") == "2 classes"
    assert count(1, "class", "classes") == "1 class"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0.000"),
        (0.87654, "0.877"),
        (-0.5, "-0.500"),
        (12.345, "12.3"),
        (99.94, "99.9"),
        (1234.5, "1.23e+03"),
        (0.00012, "0.00012"),
        (1, "1.000"),
    ],
)
def test_figures(value, text):
    assert figure(value) == text


def test_intervals_and_sentences():
    full = Estimate(metric="balanced_accuracy", value=0.87, low=0.83, high=0.9, n_records=320, n_patients=96)
    assert interval(full) == "95 % CI 0.830 to 0.900"
    assert sentence(full) == "balanced accuracy 0.870 (95 % CI 0.830 to 0.900; 320 records, 96 patients)"
    assert sentence(full, patients_known=False).endswith("320 records)")
    assert interval(full.model_copy(update={"level": 0.9})).startswith("90 % CI")
    none = Estimate(metric="auroc", value=None, note="only one class")
    assert interval(none) == "only one class"
    assert sentence(none) == "AUROC – (only one class)"
    assert interval(Estimate(metric="auroc", value=0.5)) == "no interval"


def test_methods_have_names():
    assert method_name("linear_probe") == "linear probe"
    assert method_name("zero_shot") == "zero-shot scoring"
    assert method_name("my_method") == "my method"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1234, "+0.123"),
        (-0.1234, "-0.123"),
        (0.0, "0.000"),
        (-0.0, "0.000"),
        (-0.0004, "0.000"),
        (0.0004, "0.000"),
        (-0.0006, "-0.001"),
        (None, "–"),
    ],
)
def test_differences_have_a_sign_unless_they_round_to_nothing(value, text):
    assert signed(value) == text


def test_minus_zero_is_zero():
    assert figure(-0.0) == "0.000"


@pytest.mark.parametrize(
    ("ends", "plain", "signed_text"),
    [
        ({"value": 0.5, "low": 0.4, "high": 0.62}, "0.500 (0.400–0.620)", "+0.500 (+0.400 to +0.620)"),
        ({"value": -0.25, "low": -0.5, "high": 0.0}, "-0.250 (-0.500–0.000)", "-0.250 (-0.500 to 0.000)"),
        ({"value": 12.34, "low": None, "high": None}, "12.3", "+12.340"),
        ({"value": 0.5, "low": 0.4, "high": None}, "0.500", "+0.500"),
        ({"value": None, "low": None, "high": None}, "–", "–"),
    ],
)
def test_figures_with_their_intervals(ends: dict[str, float | None], plain: str, signed_text: str) -> None:
    assert with_ends(ends) == plain and signed_with_ends(ends) == signed_text
