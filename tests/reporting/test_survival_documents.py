"""Documents of a survival analysis: the outcome, the building, events, and a valid card in XML."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_results import tiny_result

from medfm.evaluation.protocol import Protocol, StatisticsPlan
from medfm.evaluation.survival_config import Survival
from medfm.reporting.chai import chai_card, chai_problems
from medfm.reporting.document_facts import Facts
from medfm.reporting.model_card import model_card
from medfm.reporting.result import Result
from medfm.reporting.survival_documents import survival_building, survival_events, survival_output, survival_size
from medfm.reporting.tripod import ANSWERED, FILLED, PARTLY, abstract_checklist, checklist, tripod_markdown


def fold(events: int, components: int, penalty: float) -> dict:
    return {"train_events": events, "components": components, "penalty": penalty}


def made(*, folds: int = 3, competing: bool = True, absolute: bool = True, unit: str = "months", **method) -> Result:
    chosen = [fold(55, 2, 0.1), fold(54, 4, 1.0), fold(57, 1, 0.1)][:folds]
    cause = method.get("cause", 1)
    hazards = [{"event": 1, "events": 68}, *([{"event": 2, "events": 16}] if competing else [])]
    survival = {
        "hazards": hazards,
        "codes": [cause, 5] if competing else [cause],
        "censored": 36,
        "median_follow_up": 15.98,
        "unit": unit,
        "groups": [{"name": "lower risk"}, {"name": "higher risk"}],
        "absolute": {"horizon": 4.4, "figures": []} if absolute else None,
    }
    parts = [{"name": "cross-validation", "records": 186, "patients": 120}]
    people = {"asked": {"records": 186, "patients": 120}, "excluded": [], "rows": [], "parts": parts, "minimum": 5}
    base = tiny_result()
    return replace(
        base,
        kind="survival",
        protocol=Protocol(id="mine@1", title="Mine", method=Survival(**method), statistics=StatisticsPlan()),
        summary=base.summary.model_copy(update={"task": "survival", "target": "relapse", "calibration": None}),
        config={**base.config, "time": "days_since"},
        extras={"chosen": chosen, "survival": survival, "participants": people},
    )


def line(result: Result, number: str, **answers: str) -> tuple[str, str]:
    found = next(entry for entry in checklist(Facts(result, answers)) if entry.item.number == number)
    return found.state, found.text


def test_the_outcome_names_time_codes_horizon_and_groups():
    said = survival_output(made(cause=2))
    assert said == (
        "relapse: time (column days_since) to the event of code 2; competing: code 5; 0 is censored. Given: a log hazard "
        "(higher: sooner), the probability of the event by 4.400 months, and a risk group (“lower risk” or “higher risk”)."
    )
    assert Facts(made(cause=2)).output() == said
    plain = survival_output(made(competing=False, absolute=False, unit=""))
    assert "competing" not in plain and "probability" not in plain and "code 1" in plain
    assert "by 4.400," in survival_output(made(unit=""))


def test_the_building_names_what_inner_folds_chose():
    said = survival_building(made())
    assert "In each of 3 outer folds" in said and "(1 to 4 chosen)" in said and "(0.1 to 1)" in said
    assert "cross-validated partial likelihood of 5 inner folds" in said
    other = survival_building(made(folds=1, criterion="c_index", inner_folds=2))
    assert other.startswith("From the training patients alone") and "Harrell's C of 2 inner folds" in other
    assert "(2 chosen)" in other and "(0.1)" in other


def test_events_and_events_per_component():
    assert survival_events(made()) == (
        "Tested: 68 events of interest (code 1), 16 competing events (code 5), 36 censored. Median follow-up (reverse "
        "Kaplan-Meier) 16.0 months."
    )
    said = survival_size(made())
    assert "54 to 57" in said and "at the fewest 13.5 for each component" in said and "at least 10 were" in said
    assert "no least number was asked for" in survival_size(made(events_per_component=0))
    result = made()
    lost = {**result.extras["survival"], "median_follow_up": None}
    assert "Median" not in survival_events(replace(result, extras={**result.extras, "survival": lost}))


@pytest.mark.parametrize("say", [survival_building, survival_events, survival_size])
def test_other_results_have_none_of_it(say):
    assert say(tiny_result()) is None
    assert say(replace(made(), extras={})) is None


def test_an_old_result_without_figures_still_has_an_outcome():
    assert survival_output(replace(made(), extras={})) == "relapse: time to an event."


def test_the_checklist_has_the_items_of_survival():
    result = made()
    for number, words in {
        "8a": "to the event of code 1",
        "10": "for each component of the regression",
    }.items():
        state, text = line(result, number)
        assert state == PARTLY and words in text, number
    for number, words in {
        "12b": "principal components",
        "12c": "Efron's ties",
        "12g": "log hazard",
        "13": "There are no classes",
        "15": "risk group",
        "21": "68 events of interest",
    }.items():
        state, text = line(result, number)
        assert state == FILLED and words in text, number
    assert line(result, "13", class_imbalance="Not done.") == (
        ANSWERED,
        "There are no classes: times to an event, censored or not. Not done.",
    )
    abstract = {entry.item.number: entry.text for entry in abstract_checklist(Facts(result))}
    assert "68 events of interest" in abstract["9"] and "Efron" in abstract["7"]
    assert abstract["13"].startswith("To be completed")


def test_the_other_kinds_of_task_keep_their_items():
    assert "Efron" not in line(tiny_result(), "12c")[1]
    assert "no classes" not in line(tiny_result(), "13")[1]


def test_the_documents_are_valid_and_say_it():
    facts = Facts(made())
    text = chai_card(facts)
    assert chai_problems(text) == []
    for document in (text, model_card(facts), tripod_markdown(facts)):
        assert "log hazard" in document and "relapse: survival." not in document
