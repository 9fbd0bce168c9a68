"""The report cleaning against nine cases made by running the published notebook's function."""

import json
from pathlib import Path

import pytest

from medfm.cohorts.adapters.mimic_report import FEWEST_WORDS, clean_report

CASES = json.loads((Path(__file__).parent / "merl-preprocess" / "README.json").read_text())["text_cases"]


def test_there_are_nine_cases() -> None:
    assert len(CASES) == 9
    assert {case["kept"] for case in CASES} == {True, False}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["total_report"][:20])
def test_the_published_sentence(case: dict) -> None:
    text, words = clean_report(case["report_columns"])
    assert (text, words, words >= FEWEST_WORDS) == (case["total_report"], case["words"], case["kept"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["total_report"][:20])
def test_absent_columns_change_nothing(case: dict) -> None:
    holes = [None, *(part for line in case["report_columns"] for part in (line, None)), None]
    assert clean_report(holes) == clean_report(case["report_columns"])
