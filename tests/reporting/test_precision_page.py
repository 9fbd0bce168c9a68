"""Whether there were enough patients: sentences from counts, none where nothing can be said."""

from __future__ import annotations

import pytest
from tiny_results import tiny_result

from medfm.evaluation.precision import hanley_mcneil_se, patients_for_width
from medfm.reporting.document_facts import Facts
from medfm.reporting.html import render_report
from medfm.reporting.precision import PLANNED_WIDTH, precision_lines
from medfm.reporting.tripod import ABSTRACT_ITEMS, MISSING, PARTLY, abstract_checklist, checklist, tripod_markdown
from medfm.reporting.words import count, figure


def test_a_binary_result_says_what_its_counts_allow():
    result = tiny_result()
    lines = precision_lines(result)
    table = result.predictions.of_variant("main").table
    sizes = [table[table["truth"] == c]["patient_id"].nunique() for c in ("blast", "healthy")]
    assert (
        lines[0] == f"Tested: {count(sizes[0], 'patient')} with “blast”, {sizes[1]} without."
        or str(sizes[1]) in lines[0]
    )
    value = result.summary.estimate("auroc").value
    error = hanley_mcneil_se(value, *sizes)
    needed = patients_for_width(value, sizes[0] / sum(sizes), PLANNED_WIDTH)
    assert figure(error) in lines[1] and count(needed, "patient") in lines[1]
    first = result.summary.headline[0]
    assert any(f"is {figure(first.high - first.low)} wide" in line for line in lines)


def test_unknown_patients_count_records():
    result = tiny_result()
    plain = result.summary.model_copy(update={"patients_known": False})
    lines = precision_lines(type(result)(**{**result.__dict__, "summary": plain}))
    assert "20 records with “blast”" in lines[0] and "patient" not in " ".join(lines)


def test_the_training_is_set_against_the_width_of_the_embedding():
    chosen = [{"train": 80, "test": 20}, {"train": 90, "test": 10}]
    told = tiny_result(extras={"chosen": chosen}, provenance={"encoder": "tiny", "dim": 384})
    said = precision_lines(told)[-1]
    assert "80 records or more" in said and "384 numbers (0.21 per number)" in said
    for provenance in ({"encoder": "tiny"}, {"encoder": "tiny", "dim": 0}):
        assert "numbers" not in precision_lines(tiny_result(extras={"chosen": chosen}, provenance=provenance))[-1]
    assert "numbers" not in precision_lines(tiny_result(extras={"chosen": [{"C": 1.0}]}, provenance={"dim": 4}))[-1]


@pytest.mark.parametrize("change", [{"task": "retrieval"}, {"headline": ()}])
def test_other_results_say_nothing(change):
    result = tiny_result()
    assert (
        precision_lines(type(result)(**{**result.__dict__, "summary": result.summary.model_copy(update=change)})) == []
    )


def test_the_page_and_the_checklist_carry_it():
    result = tiny_result()
    assert 'id="precision"' in render_report(result) and "Were there enough patients?" in render_report(result)
    ten = next(line for line in checklist(Facts(result)) if line.item.number == "10")
    assert ten.state == PARTLY and "Hanley and McNeil" in ten.text


def test_the_checklist_for_abstracts_has_13_items_in_the_order_of_an_abstract():
    assert [item.number for item in ABSTRACT_ITEMS] == [str(n) for n in range(1, 14)]
    order = ["Title", "Background", "Objectives", "Methods", "Results", "Discussion", "Registration"]
    assert list(dict.fromkeys(item.section for item in ABSTRACT_ITEMS)) == order
    lines = {line.item.number: line for line in abstract_checklist(Facts(tiny_result()))}
    assert lines["2"].state == lines["12"].state == lines["13"].state == MISSING
    assert "40 records of 20 patients" in lines["9"].text and "AUROC" in lines["11"].text
    text = tripod_markdown(Facts(tiny_result()))
    assert "## Checklist for abstracts" in text and "- abstract 13 Number and register" in text
    assert text.index("## Checklist for abstracts") < text.index("## Still missing")
    told = tripod_markdown(Facts(tiny_result(), {"registration": "DRKS 1."}))
    assert "- abstract 13" not in told and told.count("DRKS 1.") == 2


def test_documents_give_slope_and_survival_calibration_with_intervals():
    result = tiny_result()
    said = Facts(result).calibration()
    calibration = result.summary.calibration
    assert f"slope {figure(calibration.slope)} ({figure(calibration.slope_interval[0])}–" in said
    bare = result.summary.model_copy(update={"calibration": None})
    made = {**result.__dict__, "summary": bare}
    assert Facts(type(result)(**made)).calibration() is None
    absolute = {
        "horizon": 24.0,
        "figures": [{"metric": "horizon_slope", "value": 0.9, "low": 0.6, "high": 1.2}],
    }
    told = type(result)(**{**made, "extras": {"survival": {"absolute": absolute, "unit": "months"}}})
    assert Facts(told).calibration() == (
        "Calibration of the risk by 24 months: calibration slope at the horizon 0.900 (0.600–1.200)."
    )
    none = type(result)(**{**made, "extras": {"survival": {"absolute": None}}})
    assert Facts(none).calibration() is None
