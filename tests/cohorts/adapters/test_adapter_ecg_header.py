"""Codes, age and sex of header comments, and nothing else."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.cohorts.adapters.ecg_header import HeaderFacts, age_of, header_facts, sex_of
from medfm.core.errors import CohortError


def facts(tmp_path: Path, text: str) -> HeaderFacts:
    file = tmp_path / "x.hea"
    file.write_text(text, encoding="utf-8")
    return header_facts(file, "x.hea")


@pytest.mark.parametrize(
    ("line", "codes"),
    [
        ("#Dx: 426783006", ("426783006",)),
        ("# Dx: 426783006,164934002", ("426783006", "164934002")),
        ("#Dx: 426783006, 164934002", ("426783006", "164934002")),
        ("#Dx:426783006,,164934002,426783006", ("426783006", "164934002")),
        ("#Dx: Unknown", ()),
        ("#Dx:", ()),
        ("Dx: 426783006", ()),
        ("#Dxx: 426783006", ()),
        ("#Dx: 4267-83006,abc1", ()),
        ("#Dx: ٤٢٦", ()),
    ],
)
def test_codes(line: str, codes: tuple[str, ...], tmp_path: Path) -> None:
    assert facts(tmp_path, f"A 12 500 10\n{line}\n").codes == codes


def test_the_first_line_of_a_kind_counts(tmp_path: Path) -> None:
    text = "A 1 500 1\r\n#Age: 61\r\n#Sex: F\r\n#Dx: 1\r\n#Dx: 2\r\n#Age: 5\r\n"
    assert facts(tmp_path, text) == HeaderFacts(("1",), 61, "female")


@pytest.mark.parametrize(("text", "age"), [("74", 74), ("74.0", 74), ("0", 0), ("130", 130), ("131", None)])
def test_ages(text: str, age: int | None) -> None:
    assert age_of(text) == age
    assert all(age_of(wrong) is None for wrong in ("NaN", "", "-1", "74.5", "x", "²"))


def test_sexes() -> None:
    assert [sex_of(t) for t in ("Male", "f", " FEMALE ", "Unknown", "")] == ["male", "female", "female", None, None]


def test_what_is_no_header(tmp_path: Path) -> None:
    (tmp_path / "x.hea").write_bytes(b"#Dx: 1\n" * 20000)
    with pytest.raises(CohortError, match="longer than 64 kB"):
        header_facts(tmp_path / "x.hea", "x.hea")
    with pytest.raises(CohortError, match="cannot be read"):
        header_facts(tmp_path / "absent.hea", "absent.hea")
    (tmp_path / "x.hea").write_bytes(b"\xff\xfe#Dx\n#Dx: 7\n")
    assert header_facts(tmp_path / "x.hea", "x.hea").codes == ("7",)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(blacklist_characters="\r\n", blacklist_categories=("Cs",)), max_size=40))
def test_free_text_never_becomes_a_fact(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    found = facts(tmp_path_factory.mktemp("h"), f"A 1 500 1\n#Name: {text}\n#Dx: {text}\n#Age: {text}\n#Sex: {text}\n")
    assert all(code.isascii() and code.isdigit() for code in found.codes)
    assert found.age is None or 0 <= found.age <= 130
    assert found.sex in (None, "male", "female")
