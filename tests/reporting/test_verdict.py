from __future__ import annotations

import pytest

from medfm.evaluation.summary import Estimate
from medfm.reporting.verdict import headline_chance, verdict


def with_headline(make, result, *estimates: Estimate):
    return make(summary=result.summary.model_copy(update={"headline": estimates}))


@pytest.mark.parametrize(
    ("low", "high", "start"),
    [
        (0.40, 0.60, "Better than guessing"),
        (0.20, 0.40, "Not told apart from guessing"),
        (0.10, 0.20, "Worse than guessing"),
        (None, None, "No interval"),
        (1 / 3, 0.5, "Not told apart"),
    ],
)
def test_the_interval_decides(make, result, low, high, start):
    estimate = Estimate(metric="balanced_accuracy", value=0.5, low=low, high=high)
    assert verdict(with_headline(make, result, estimate)).startswith(start)


def test_the_first_metric_with_a_chance_level_decides(make, result):
    accuracy = Estimate(metric="accuracy", value=0.9, low=0.8, high=0.95)
    undefined = Estimate(metric="balanced_accuracy", value=None)
    auroc = Estimate(metric="auroc", value=0.5, low=0.4, high=0.6)
    text = verdict(with_headline(make, result, accuracy, undefined, auroc))
    assert text == "Not told apart from guessing: the interval of AUROC includes 0.500."


def test_without_such_a_metric_nothing_is_claimed(make, result):
    text = verdict(with_headline(make, result, Estimate(metric="brier", value=0.2, low=0.1, high=0.3)))
    assert text.startswith("None of the headline metrics")


def test_average_precision_is_held_against_the_share_of_positives(make, tasks):
    made = make(tasks["binary"])
    main = tasks["binary"].of_variant().table
    share = float((main["truth"] == "leukaemia").mean())
    estimate = made.summary.estimate("average_precision")
    assert headline_chance(made, estimate) == pytest.approx(share)
