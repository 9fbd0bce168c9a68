"""The words of each set as CN, MCI and AD."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.cohorts.adapters.diagnoses import (
    AD,
    CLASSES,
    CN,
    MCI,
    adni_diagnosis,
    aibl_diagnosis,
    cdr_diagnosis,
    dx1_diagnosis,
    uds_diagnosis,
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("CN", CN),
        ("NL", CN),
        ("SMC", CN),
        ("MCI", MCI),
        ("EMCI", MCI),
        ("LMCI", MCI),
        ("AD", AD),
        ("Dementia", AD),
        (" dementia ", AD),
        ("MCI to Dementia", AD),
        ("NL to MCI", MCI),
        ("Dementia to MCI", MCI),
        ("MCI to NL", CN),
        ("", None),
        ("bvFTD", None),
        ("to", None),
    ],
)
def test_adni(words: str, expected: str | None) -> None:
    assert adni_diagnosis(words) == expected


@pytest.mark.parametrize(
    ("code", "expected"), [("1", CN), ("2", MCI), ("3", AD), ("3.0", AD), ("7", None), ("-4", None), ("", None)]
)
def test_aibl(code: str, expected: str | None) -> None:
    assert aibl_diagnosis(code) == expected


@pytest.mark.parametrize(("rating", "expected"), [(0.0, CN), (0.5, AD), (1.0, AD), (2.0, AD), (3.0, AD), (None, None)])
def test_rating(rating: float | None, expected: str | None) -> None:
    assert cdr_diagnosis(rating) == expected


def form(*ticked: str, **other: str) -> dict[str, str]:
    names = (
        "normcog",
        "demented",
        "impnomci",
        "mciamem",
        "mciaplus",
        "mcinon1",
        "mcinon2",
        "probad",
        "possad",
        "alzdis",
    )
    return {name: "1" if name in ticked else "0" for name in names} | other


@pytest.mark.parametrize(
    ("ticked", "expected"),
    [
        (("normcog",), CN),
        (("normcog", "demented"), None),
        (("mciamem",), MCI),
        (("mciaplus",), MCI),
        (("mcinon1",), MCI),
        (("mcinon2",), MCI),
        (("demented", "probad"), AD),
        (("demented", "possad"), AD),
        (("demented", "alzdis"), AD),
        (("demented",), None),
        (("alzdis",), None),  # form 3 ticks the cause of MCI there too
        (("mciamem", "alzdis"), MCI),
        (("impnomci",), None),
        ((), None),
    ],
)
def test_form_d1(ticked: tuple[str, ...], expected: str | None) -> None:
    assert uds_diagnosis(form(*ticked)) == expected


def test_form_d1_as_spreadsheets_write_it() -> None:
    assert uds_diagnosis(form(normcog="1.0")) == CN
    assert uds_diagnosis({"normcog": "", "demented": "8", "mciamem": "9"}) is None
    assert uds_diagnosis({}) is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Cognitively normal", CN),
        ("AD Dementia", AD),
        ("AD dem w/depresss, not contribut", AD),
        ("AD dem Language dysf prior", AD),
        ("DAT", AD),
        ("DAT w/depresss not contribut", AD),
        ("AD dem cannot be primary", None),
        ("uncertain dementia", None),
        ("0.5 in memory only", None),
        ("Unc: ques. Impairment", None),
        ("Incipient demt PTP", None),
        ("DLBD- primary", None),
        ("Vascular Demt- primary", None),
        ("Non AD dem- Other primary", None),
        ("No dementia", None),
        (".", None),
    ],
)
def test_the_words_of_oasis3(words: str, expected: str | None) -> None:
    assert dx1_diagnosis(words) == expected
    assert dx1_diagnosis(f"  {words.upper()} ") == expected


@settings(max_examples=50)
@given(st.text("ACDNMIto 0123.-", max_size=12))
def test_nothing_else_ever_comes_out(words: str) -> None:
    for told in (adni_diagnosis(words), aibl_diagnosis(words), dx1_diagnosis(words)):
        assert told is None or told in CLASSES
