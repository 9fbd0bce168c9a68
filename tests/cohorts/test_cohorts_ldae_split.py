"""LDAE's split against scikit-learn on rows, as the published program calls it, and against a permutation by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupShuffleSplit

from medfm.cohorts.ldae_split import FRACTIONS, SEED, ldae_split
from medfm.core.errors import CohortError


def published(frame: pd.DataFrame, test: float, validation: float) -> dict[str, set[str]]:
    """What two nested calls on the rows of a table give (brain_mr_dm.py does so on its table)."""
    rest, tested = next(GroupShuffleSplit(1, test_size=test, random_state=42).split(frame, groups=frame["subject"]))
    rows = frame.iloc[rest]
    train, val = next(GroupShuffleSplit(1, test_size=validation, random_state=42).split(rows, groups=rows["subject"]))
    return {
        "train": set(rows.iloc[train]["subject"]),
        "val": set(rows.iloc[val]["subject"]),
        "test": set(frame.iloc[tested]["subject"]),
    }


def by_hand(names: list[str], share: float) -> tuple[list[str], list[str]]:
    """One draw without scikit-learn: the first ones of a permutation of the sorted names test."""
    order = np.random.RandomState(42).permutation(len(names))
    number = math.ceil(share * len(names))
    return sorted(names[i] for i in order[number:]), sorted(names[i] for i in order[:number])


@pytest.mark.parametrize("name", FRACTIONS)
@pytest.mark.parametrize("subjects", [3, 10, 57, 400])
def test_it_is_what_the_published_program_draws(name: str, subjects: int) -> None:
    generator = np.random.default_rng(subjects)
    names = [f"{i % 7:03d}_S_{i:04d}" for i in range(subjects)]
    rows = pd.DataFrame({"subject": generator.permutation(np.repeat(names, generator.integers(1, 6, subjects)))})
    test, validation = FRACTIONS[name]
    split = ldae_split(rows["subject"], name)
    assert {part: {s for s in split if split[s] == part} for part in ("train", "val", "test")} == published(
        rows, test, validation
    )


@pytest.mark.parametrize(("name", "test", "validation"), [("ldae", 0.1, 0.005), ("ldae-supervised", 0.1, 0.3)])
def test_it_is_a_permutation_of_the_sorted_names(name: str, test: float, validation: float) -> None:
    names = [f"p{i:03d}" for i in range(83)]
    rest, tested = by_hand(names, test)
    trained, validated = by_hand(rest, validation)
    assert ldae_split(reversed(names), name) == (
        dict.fromkeys(tested, "test") | dict.fromkeys(validated, "val") | dict.fromkeys(trained, "train")
    )


def test_a_draw_that_was_computed_once() -> None:
    """Guards against another random generator: NumPy's legacy permutation of ten with seed 42 begins 8, 1."""
    split = ldae_split([str(i) for i in range(10)])
    assert SEED == 42
    assert [name for name, part in split.items() if part == "test"] == ["8"]
    assert [name for name, part in split.items() if part == "val"] == ["7"]


def test_the_fractions_are_those_of_the_program() -> None:
    assert FRACTIONS == {"ldae": (0.1, 0.005), "ldae-supervised": (0.1, 0.3)}
    # The test subjects do not depend on the share that validates.
    names = [f"s{i}" for i in range(40)]
    one, other = (ldae_split(names, name) for name in FRACTIONS)
    assert {s for s in names if one[s] == "test"} == {s for s in names if other[s] == "test"}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("abc0123", min_size=1, max_size=4), min_size=3, max_size=60), st.randoms(use_true_random=False))
def test_order_and_repeats_do_not_matter_and_nobody_is_in_two_splits(names: list[str], random: object) -> None:
    if len(set(names)) < 3:
        with pytest.raises(CohortError, match="cannot fill"):
            ldae_split(names)
        return
    split = ldae_split(names)
    shuffled = [*names, *names[:2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ldae_split(shuffled) == split
    assert set(split) == set(names)
    assert set(split.values()) == {"train", "val", "test"}


def test_other_names_and_too_few_subjects() -> None:
    with pytest.raises(CohortError, match="no split 'lade'") as caught:
        ldae_split(["a", "b", "c"], "lade")
    assert "ldae-supervised" in str(caught.value)
    with pytest.raises(CohortError, match="2 subjects"):
        ldae_split(["a", "b", "a"])
