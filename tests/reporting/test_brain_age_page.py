"""The report's section on the brain-age gap: every figure as computed, nothing raw, nothing hidden shown."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import medfm
from medfm.cohorts.cohort import Cohort
from medfm.embeddings.embeddings import Embeddings
from medfm.reporting.brain_age import KEY, brain_age_section, gap_sentence
from medfm.reporting.html import render_report
from medfm.reporting.result import Result


@pytest.fixture(scope="module")
def result() -> Result:
    """Ages of 60 people, a fold of each third; eight of them of a sex of their own."""
    rng = np.random.default_rng(1)
    age = rng.uniform(50, 90, 60)
    vectors = (np.outer(age - 70, rng.normal(size=4)) / 10 + rng.normal(size=(60, 4))).astype(np.float32)
    ids = [f"s{i}" for i in range(60)]
    sex = ["F"] * 26 + ["M"] * 26 + ["<b>X</b>"] * 8
    table = pd.DataFrame(
        {"record_id": ids, "path": ids, "patient_id": ids, "site": None, "split": None, "age": age, "sex": sex}
    )
    few = ("statistics.resamples=40", "scheme.folds=3", "statistics.subgroups=[sex]")
    return medfm.brain_age(
        Embeddings(vectors, tuple(ids)), Cohort(table, "blood_cell", Path()), overrides=few, allow=("F001",)
    )


def changed(result: Result, **parts: Any) -> Result:
    return replace(result, extras={**result.extras, KEY: {**result.extras[KEY], **parts}})


def test_the_figures_are_those_of_the_predictions(result: Result) -> None:
    section = brain_age_section(result)
    assert section is not None
    table = result.predictions.table
    for row, column in zip(section["figures"].rows, ("gap", "corrected_gap"), strict=True):
        assert float(row[1].split()[0]) == pytest.approx(table[column].mean(), abs=6e-4)
        assert float(row[2].split()[0]) == pytest.approx(np.corrcoef(table[column], table["truth"])[0, 1], abs=6e-4)
        low, high = (float(part) for part in re.findall(r"[-+]?\d+\.\d+", row[1])[1:])
        assert low < high
    assert len(section["lines"].rows) == 3 and all(row[2].startswith("-") for row in section["lines"].rows)


def test_groups_that_are_too_small_stay_hidden(result: Result) -> None:
    (group,) = brain_age_section(result)["groups"]  # type: ignore[index]
    assert group["title"] == "Corrected gap by sex"
    rows = {row[0]: row[1:] for row in group["table"].rows}
    assert rows["<b>X</b>"] == ("hidden", "hidden"), "eight patients"
    assert [row for row in rows.values() if row != ("hidden", "hidden")], "not all are hidden"


def test_the_page_has_the_section_and_no_raw_keys(result: Result) -> None:
    page = render_report(result)
    assert page.count("Do brains look older than they are?") == 1
    assert "What the method adds" not in page and "brain_age.uncorrected" not in page
    assert "<b>X</b>" not in page, "names of groups are user input"
    assert "Two scatter plots of the brain-age gap of 60 predictions" in page


def test_the_sentence(result: Result) -> None:
    def one(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
        return {"value": value, "low": low, "high": high}

    given = changed(
        result,
        uncorrected={"mean_gap": one(0.5), "correlation_with_age": one(-0.51234)},
        corrected={"mean_gap": one(2.2276, -0.6117, 6.2597), "correlation_with_age": one(None)},
    )
    assert gap_sentence(given) == (
        "Brain-age gap, corrected for age with training records alone: mean +2.228 (-0.612 to +6.260) years; correlation "
        "with age undefined (before the correction -0.512 (no interval))."
    )
    nothing = changed(result, corrected={"mean_gap": one(None), "correlation_with_age": one(None)})
    assert gap_sentence(nothing) == "Brain-age gap: undefined here."
    assert "undefined" in render_report(nothing)


def test_other_results_have_no_such_section(result: Result) -> None:
    plain = replace(result, extras={k: v for k, v in result.extras.items() if k != KEY})
    assert brain_age_section(plain) is None and gap_sentence(plain) == ""
    assert 'id="brain-age"' not in render_report(plain) and 'id="brain-age"' in render_report(result)


def test_without_subgroups_there_are_no_tables_of_them(result: Result) -> None:
    bare = {k: v for k, v in result.extras[KEY].items() if k != "corrected_gap_by"}
    section = brain_age_section(replace(result, extras={**result.extras, KEY: bare}))
    assert section is not None and section["groups"] == []
