"""Invented people: splits within a site, and rows drawn one by one."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfm.cohorts.synthetic_people import FIRST_SPLITS, SPLITS, Person, draw_rows, split_of


@pytest.mark.parametrize("splits", [SPLITS, FIRST_SPLITS])
def test_six_of_ten_train_one_validates_three_test(splits: tuple[str, ...]) -> None:
    assert Counter(splits) == {"train": 6, "val": 1, "test": 3}


def test_the_first_four_patients_hold_all_splits() -> None:
    assert {split_of(number) for number in range(4)} == {"train", "val", "test"}


@given(st.integers(0, 10_000))
def test_the_split_depends_on_the_number_alone(number: int) -> None:
    assert split_of(number) == SPLITS[number % 10] == split_of(number + 10)
    assert split_of(number, FIRST_SPLITS) == FIRST_SPLITS[number % 10]


class Counted:
    """A display that counts."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.done = 0

    def __call__(self, *asked: Any) -> Counted:
        self.asked.append(asked)
        return self

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.asked.append("closed")

    def advance(self, steps: int = 1) -> None:
        self.done += steps


@pytest.mark.parametrize("records", [0, 1, 7])
def test_rows_come_in_order_with_a_display(records: int) -> None:
    shown: Any = Counted()
    rows = draw_rows(lambda index: {"record_id": index}, records, shown, "drawing", "volumes")
    assert [row["record_id"] for row in rows] == list(range(records))
    assert shown.asked == [("drawing", records, "volumes"), "closed"] and shown.done == records


def test_a_failure_closes_the_display() -> None:
    shown: Any = Counted()

    def draw(index: int) -> dict[str, Any]:
        return {"inverse": 1 / (2 - index)}

    with pytest.raises(ZeroDivisionError):
        draw_rows(draw, 5, shown, "drawing")
    assert shown.done == 2 and shown.asked[-1] == "closed"


def test_people_of_every_cohort_have_the_columns_of_a_person() -> None:
    from medfm.cohorts import (
        synthetic_chest_cohort,
        synthetic_ecg_cohort,
        synthetic_retina_cohort,
        synthetic_tissue_cohort,
    )

    drawn = [m.patients(0)[0] for m in (synthetic_ecg_cohort, synthetic_retina_cohort, synthetic_tissue_cohort)]
    for person in [*drawn, synthetic_chest_cohort.patient(0, 0)]:
        assert isinstance(person, Person)
        assert person.split == "train" and person.sex in ("F", "M") and 20 <= person.age < 90
        assert person.patient_id.startswith(person.site)
