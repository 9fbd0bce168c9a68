import pytest
from pydantic import ValidationError
from statistics_cases import binary_case

from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.summarise import summarise
from medfm.evaluation.summary import Estimate, GroupGap, Summary


def test_looking_up_an_estimate():
    summary = summarise(binary_case(), StatisticsPlan(resamples=10))
    assert summary.estimate("brier").metric == "brier"
    with pytest.raises(KeyError, match="f1"):
        summary.estimate("f1")
    with pytest.raises(KeyError, match="k=1"):
        summary.estimate("brier", "k=1")


def test_round_trip_through_plain_data():
    summary = summarise(binary_case(), StatisticsPlan(resamples=10))
    assert Summary.model_validate(summary.to_dict()) == summary


def test_a_summary_without_gaps_is_still_read():
    """Results written before gaps existed load."""
    data = summarise(binary_case(), StatisticsPlan(resamples=10)).to_dict()
    del data["gaps"]
    assert Summary.model_validate(data).gaps == ()


def test_unknown_keys_are_refused():
    with pytest.raises(ValidationError):
        Estimate(metric="auroc", value=0.5, lower=0.4)
    assert GroupGap(column="sex", metric="equal_opportunity_difference", value=None).value is None
