"""What documents say of division, threshold, sites, class balance: from the run, and nothing that was not done."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_results import tiny_result

from medfm.evaluation.protocol import load_protocol
from medfm.evaluation.summary import GroupGap, GroupRow
from medfm.reporting.document_facts import Facts
from medfm.reporting.result import Result
from medfm.reporting.tripod import FILLED, MISSING, PARTLY, checklist

PEOPLE = {"asked": {"records": 60, "patients": 30}, "excluded": [], "rows": [], "minimum": 5}


def probed() -> Result:
    return replace(tiny_result(), kind="linear_probe", protocol=load_protocol("linear-probe@1"))


def with_parts(*names: str) -> Result:
    parts = [{"name": name, "records": 30, "patients": 15} for name in names]
    return replace(probed(), extras={"participants": {**PEOPLE, "parts": parts}})


def line(result: Result, number: str) -> tuple[str, str]:
    found = next(entry for entry in checklist(Facts(result)) if entry.item.number == number)
    return found.state, found.text


def test_folds_are_not_named_where_the_tables_own_split_was_used():
    said = Facts(with_parts("train", "test")).scheme()
    assert "the column 'split' of the table" in said and "folds: 5" not in said
    for other in (with_parts("cross-validation"), probed()):
        assert "folds: 5" in Facts(other).scheme()


def test_a_probe_decides_at_one_half():
    result = probed()
    assert Facts(result).threshold() == "Decision threshold 0.5, not chosen on any data."
    many = replace(result, summary=result.summary.model_copy(update={"task": "multiclass"}))
    assert "largest probability" in Facts(many).threshold()
    number = replace(result, summary=result.summary.model_copy(update={"task": "regression"}))
    assert Facts(number).threshold() is None and Facts(tiny_result()).threshold() is None
    tuned = replace(result, extras={"finetune": {"threshold": {"value": 0.31, "chosen": "on validation"}}})
    assert Facts(tuned).threshold() == "Decision threshold 0.310, chosen: on validation."


def test_sites_that_are_all_hidden_are_said_to_be():
    result = tiny_result()
    rows = tuple(GroupRow(column="site", value=v, n_records=None, n_patients=None, suppressed=True) for v in "ab")
    hidden = replace(result, summary=result.summary.model_copy(update={"sites": rows}))
    state, text = line(hidden, "23b")
    assert state == FILLED and text.startswith("2 sites, none large enough")
    none = replace(result, summary=result.summary.model_copy(update={"sites": ()}))
    assert line(none, "23b")[0] == MISSING


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"objective": {"balance": "auto"}}, "weighted in the loss"),
        ({"objective": {"balance": "sampler"}}, "drawn so that"),
        ({"objective": {"balance": "none"}}, "neither weighted nor drawn"),
        (None, "neither weighted nor drawn"),  # the probe's own setting
    ],
)
def test_class_balance_comes_from_the_settings(recipe, words):
    result = probed()
    made = replace(result, config={**result.config, **({"recipe": recipe} if recipe else {})})
    state, text = line(made, "13")
    assert state == PARTLY and words in text


def test_gaps_carry_their_interval_into_the_documents():
    result = tiny_result()
    gap = GroupGap(column="sex", metric="equal_opportunity_difference", value=0.2, low=0.0, high=0.45)
    row = GroupRow(column="sex", value="F", n_records=30, n_patients=30)
    made = replace(result, summary=result.summary.model_copy(update={"gaps": (gap,), "subgroups": (row,)}))
    assert "equal opportunity difference by sex 0.200 (0.000 to 0.450)" in Facts(made).fairness()
    assert "0.000 to 0.450" in line(made, "14")[1]
