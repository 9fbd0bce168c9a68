import re
from pathlib import Path

import pytest

from medfm.cohorts.checks.codes import CODES, count, found, passed

DOCS = Path(__file__).resolve().parents[3] / "docs" / "data.md"


def test_every_code_is_documented_with_its_depth() -> None:
    rows = re.findall(r"^\| ([TFLUEHMPRSX]\d{3}) \| (.+?) \| (deep)? ?\|$", DOCS.read_text(), re.MULTILINE)
    assert {code for code, _, _ in rows} == set(CODES)
    assert {code: depth == "deep" for code, _, depth in rows} == {c: k.deep for c, k in CODES.items()}


def test_every_code_says_what_to_do() -> None:
    assert all(re.fullmatch(r"[TFLUEHMPRSX]\d{3}", code) for code in CODES)
    assert all(check.fix and check.title for check in CODES.values())


def test_findings_keep_ten_records_and_passed_ones_need_no_advice() -> None:
    finding = found("L001", "error", "x", map(str, range(50)))
    assert finding.records == tuple(map(str, range(10)))
    assert finding.fix
    assert passed("L001").fix == ""
    assert passed("L001").severity == "passed"


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(1, "record", "1 record"), (2000, "record", "2,000 records"), (2, "class", "2 classes")],
)
def test_counting(number: int, noun: str, text: str) -> None:
    assert count(number, noun) == text
