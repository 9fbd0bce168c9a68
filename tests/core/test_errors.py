"""Errors say what, where, what was expected and what to do, and cross process borders."""

from __future__ import annotations

import pickle

import pytest

from medfm.core import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.MedfmError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_one_of_ours_and_survives_pickling(kind: type[errors.MedfmError]) -> None:
    error = kind("The file is empty.", where="a.png", expected="an image", fix="copy it again")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.what, again.where, again.expected, again.fix) == (
        "The file is empty.",
        "a.png",
        "an image",
        "copy it again",
    )


def test_text_has_a_line_for_each_part_given() -> None:
    error = errors.ReadError("The file is empty.", where="a.png", fix="copy it again")
    assert str(error).split("\n") == ["The file is empty.", "  where:    a.png", "  to do:    copy it again"]


def test_there_are_as_many_kinds_as_floors_need() -> None:
    assert {k.__name__ for k in KINDS} >= {"ConfigError", "ReadError", "CohortError", "WeightsError", "StoreError"}


def test_one_line_for_lists_says_what_to_do() -> None:
    whole = errors.ReadError("It is cut off.", where="v.nii", expected="all of it", fix="copy it again.")
    assert whole.line == "It is cut off. Expected: all of it. To do: copy it again."
    assert errors.ReadError("It is cut off.", where="v.nii").line == "It is cut off."
    assert "v.nii" not in whole.line, "a list names the record itself"
