"""The concept probe in a report: one sentence, both models, findings as bars."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from medfm.reporting.concepts import KEY, concept_sentence, concepts_context
from medfm.reporting.html import render_report
from medfm.reporting.result import Result


def entry_of(
    result: Result, value: float | None, low: float | None, high: float | None, trainings: int = 1
) -> dict[str, Any]:
    classes = list(result.summary.classes)
    weight = {"mean": 0.5, "least": -0.001, "most": 0.9, "trainings": 1}
    findings = [
        {"finding": f"sign {i}", "text": f"a picture of sign {i}", "classes": ["one", "two", "three", "four"][: i + 1],
         "weights": {classes[0]: {**weight, "mean": 0.5 / (i + 1)}, classes[1]: {**weight, "mean": -0.25}} if i < 13 else {}}
        for i in range(15)
    ]  # fmt: skip
    rows = [
        {
            "metric": e.metric, "better": "lower" if e.metric == "brier" else "higher",
            "concepts": {"value": 0.7, "low": 0.6, "high": 0.8}, "black_box": {"value": 0.8, "low": 0.7, "high": 0.9},
            "difference": {"value": value, "low": low, "high": high}, "p": 0.04, "method": "paired", "note": "",
        }
        for e in result.summary.headline
    ]  # fmt: skip
    return {
        "knowledge": {"domain": "cells", "version": 2, "sha256": "ab" * 32, "reviewed_by": "none"},
        "label_set": None, "lower_case": False, "texts": [], "columns": classes, "findings": findings, "asked": 15,
        "used": 13, "trainings": trainings, "folds": [],
        "black_box": {"level": 0.95, "method": "linear_probe", "rows": rows},
    }  # fmt: skip


@pytest.fixture
def of(make, tasks):
    def build(value: float | None = -0.1, low: float | None = -0.2, high: float | None = -0.02, **more: Any) -> Result:
        made = make(tasks["multiclass"])
        return replace(made, kind="concept_probe", extras={KEY: entry_of(made, value, low, high, **more)})

    return build


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((-0.1, -0.2, -0.02), "are worse than"),
        ((-0.1, -0.2, 0.02), "are not shown to be worse than"),
        ((0.1, 0.02, 0.2), "are better than"),
        ((0.1, None, None), "without interval"),
        ((None, None, None), "undefined"),
    ],
)
def test_the_sentence_follows_the_paired_interval(of, ends, words):
    result = of(*ends)
    said = concept_sentence(result)
    assert words in said and said in render_report(result) and said in " ".join(str(result).split())


def test_less_is_better_is_turned_around(of):
    result = of(-0.1, -0.2, -0.02)
    rows = result.extras[KEY]["black_box"]["rows"]
    for row in rows:
        row["better"] = "lower"
    assert "are better than" in concept_sentence(replace(result, extras={KEY: {**result.extras[KEY]}}))


def test_bars_have_one_scale_and_both_sides(of):
    context = concepts_context(of())
    first, second, third = context["classes"]
    assert first["rows"][0]["share"] == "50" and first["rows"][1]["share"] == "25" and not first["rows"][0]["against"]
    assert second["rows"][0]["share"] == "25" and second["rows"][0]["against"]
    assert third["rows"] == [] and len(first["rows"]) == 10 and first["left"] == 3
    assert first["rows"][9]["listed"] == "one; two; three …"
    page = render_report(of())
    assert "No finding has a weight for this class." in page and "3 lighter findings are in result.json" in page
    widths = [
        float(w) for w in re.findall(r'<i class="(?:for|against)" style="(?:left|right):50%;width:([\d.]+)%"', page)
    ]
    assert len(widths) == 20 and max(widths) == 50 and min(widths) > 0
    assert page.count('<i class="against" style="right:50%') == 10


def test_folds_show_their_range(of):
    one, several = render_report(of()), render_report(of(trainings=5))
    assert "used in" not in one and "mean over the trainings" not in one
    assert "used in" in several and "1 of 5" in several and "+0.00 to +0.90" in several, "no negative zero"
    assert "in at least one of 5 trainings" in several


def test_other_results_have_no_such_section(make, tasks):
    made = make(tasks["binary"])
    assert (
        concepts_context(made) is None and concept_sentence(made) == "" and "named findings" not in render_report(made)
    )


def test_names_are_escaped(of):
    result = of()
    result.extras[KEY]["findings"][0]["finding"] = "<b>sign</b>"
    page = render_report(result)
    assert "<b>sign</b>" not in page and "&lt;b&gt;sign&lt;/b&gt;" in page
