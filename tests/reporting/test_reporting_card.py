from __future__ import annotations

import re

import pytest
import yaml

from medfm.reporting.card import markdown, result_card


def parts(text: str) -> tuple[dict, str]:
    assert text.startswith("---\n")
    front, _, prose = text[4:].partition("\n---\n")
    return yaml.safe_load(front), prose


@pytest.fixture(scope="module")
def card(result) -> tuple[dict, str]:
    return parts(result_card(result))


def test_the_front_matter_follows_the_hub(card, result):
    front, _ = card
    assert front["license"] == "apache-2.0"
    assert front["tags"] == ["medfm", "linear_probe", "blood_cell", "synthetic"]
    (entry,) = front["model-index"]
    assert entry["name"] == "dinobloom-s"
    (made,) = entry["results"]
    assert made["task"]["type"] == "image-classification"
    assert made["dataset"] == {"type": "synthetic-blood-cells", "name": "synthetic blood cells"}
    assert [m["type"] for m in made["metrics"]] == [e.metric for e in result.summary.headline]


def test_the_figures_are_those_of_the_result(card, result):
    metrics = card[0]["model-index"][0]["results"][0]["metrics"]
    for metric, estimate in zip(metrics, result.summary.headline, strict=True):
        assert metric["value"] == estimate.value
        assert (metric["args"]["low"], metric["args"]["high"]) == (estimate.low, estimate.high)


def test_a_metric_without_a_value_is_left_out(make, result):
    first, *others = result.summary.headline
    headline = (first.model_copy(update={"value": None, "low": None, "high": None}), *others)
    front, _ = parts(result_card(make(summary=result.summary.model_copy(update={"headline": headline}))))
    assert len(front["model-index"][0]["results"][0]["metrics"]) == len(others)


def test_our_block_identifies_the_result(card, result):
    block = card[0]["medfm"]
    assert block["result"] == result.id
    assert block["weights"] == "random"
    assert block["synthetic"] is True
    assert block["allowed_checks"] == ["L004"]


def test_the_prose_warns_first_and_ends_with_limits(card):
    prose = card[1]
    order = ["# first probe", "Untrained weights", "Synthetic data", "Better than guessing", "## Figures"]
    order += ["## What was done", "## Classes", "## Sites", "## Subgroups", "## Checks", "## Limits"]
    places = [prose.index(text) for text in order]
    assert places == sorted(places)
    assert "Not a medical device" in prose


def test_every_number_comes_from_the_result(card, result):
    """The headline lines hold exactly the values of the summary."""
    for estimate in result.summary.headline:
        assert f"{estimate.value:.3f}" in card[1]


def test_no_patient_is_named(card, result):
    assert not any(p in card[1] for p in set(result.predictions.table["patient_id"]))


@pytest.mark.parametrize("task", ["binary", "multilabel", "regression"])
def test_every_task_has_a_card(make, tasks, task):
    front, prose = parts(result_card(make(tasks[task])))
    assert front["model-index"][0]["results"][0]["metrics"]
    assert ("## Classes" in prose) == (task != "regression")


def test_a_bare_result_has_a_card(make):
    front, prose = parts(result_card(make(provenance={}, findings=())))
    assert "license" not in front
    assert "0 checks passed" in prose


def test_user_text_cannot_become_markup(make, result):
    evil = "x | y\n# heading <script>alert(1)</script> [a](http://evil)"
    text = result_card(make(name=evil, provenance=result.provenance | {"cohort": evil, "encoder": evil}))
    front, prose = parts(text)
    assert front["model-index"][0]["name"] == evil
    assert not re.search(r"(?<!\\)<script", prose)
    assert not re.search(r"^# heading", prose, re.MULTILINE)
    assert not re.search(r"(?<!\\)\]\(http", prose)


def test_markdown_is_escaped():
    assert markdown("a|b") == "a\\|b"
    assert markdown("two\nlines") == "two lines"
    assert markdown("`x` *y* _z_") == "\\`x\\` \\*y\\* \\_z\\_"
