"""Follow-up of a cohort: what is refused, what is read, one row per patient."""

from __future__ import annotations

import numpy as np
import pytest
from survival_cases import cohort_of

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import CohortError, EvaluationError
from medfm.evaluation.survival_config import Survival
from medfm.evaluation.survival_data import SurvivalData, survival_data

TIMES = np.array([3.0, 1, 4, 1, 5, 9])
EVENTS = np.array([1, 0, 1, 1, 0, 1])


def read(cohort: Cohort, method: Survival | None = None, **settings: bool) -> SurvivalData:
    values = np.arange(2.0 * len(cohort)).reshape(-1, 2)
    return survival_data(values, cohort, "time", "event", method or Survival(), **settings)


def test_a_plain_table_is_taken_as_it_is() -> None:
    data = read(cohort_of(TIMES, EVENTS))
    np.testing.assert_array_equal(data.time, TIMES)
    np.testing.assert_array_equal(data.event, EVENTS)
    assert data.codes == (1,) and data.notes == ()


@pytest.mark.parametrize(
    "event",
    [
        EVENTS.astype(bool),
        ["TRUE", "false", " True", "true", "False", "true"],
        ["1", "0", "1.0", "1", "0", "1"],
        EVENTS.astype(float),
    ],
)
def test_events_may_be_written_in_several_ways(event: object) -> None:
    data = read(cohort_of(TIMES, EVENTS, event=event))
    np.testing.assert_array_equal(data.event, EVENTS)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("time", [3, 1, 0, 1, 5, 9], "follow-up of 0 or less"),
        ("time", [3, 1, -2, 1, 5, 9], "r002"),
        ("time", [3, 1, np.nan, 1, 5, 9], "1 of 6 records lack"),
        ("time", [3, 1, np.inf, 1, 5, 9], "1 of 6 records lack"),
        ("time", [3, 1, "soon", 1, 5, 9], "no number"),
        ("event", [1, 0, "died", 1, 0, 1], "no number"),
        ("event", [1, 0, None, 1, 0, 1], "1 of 6 records lack"),
        ("event", [1, 0, 0.5, 1, 0, 1], "codes of events"),
        ("event", [1, 0, -1, 1, 0, 1], "codes of events"),
        ("event", [0, 0, 0, 0, 0, 0], "No record has the event 1"),
        ("event", [2, 0, 2, 2, 0, 2], "holds 0, 2"),
    ],
)
def test_impossible_follow_up_is_refused_with_its_records(column: str, values: list[object], words: str) -> None:
    with pytest.raises(EvaluationError, match=words):
        read(cohort_of(TIMES, EVENTS, **{column: values}))


def test_an_absent_column_is_named() -> None:
    with pytest.raises(CohortError, match="no column 'months'"):
        survival_data(np.zeros((6, 1)), cohort_of(TIMES, EVENTS), "months", "event", Survival())


def test_records_without_follow_up_can_be_left_out() -> None:
    data = read(cohort_of(np.where(TIMES == 4, np.nan, TIMES), EVENTS), drop_unlabelled=True)
    assert len(data.time) == 5 and "1 records without" in data.notes[0]
    np.testing.assert_array_equal(data.values[:, 0], [0, 2, 6, 8, 10])
    with pytest.raises(EvaluationError, match="No record has both"):
        read(cohort_of(TIMES * np.nan, EVENTS), drop_unlabelled=True)


def test_the_cause_of_interest_becomes_the_event_and_others_compete() -> None:
    codes = np.array([3, 0, 1, 7, 0, 3])
    data = read(cohort_of(TIMES, codes), Survival(cause=3))
    np.testing.assert_array_equal(data.event, [1, 0, 2, 3, 0, 1])
    assert data.codes == (3, 1, 7)
    assert "1 with code 1, 1 with code 7" in data.notes[-1]


def test_a_patient_is_the_mean_of_its_records() -> None:
    patients = ["b", "a", "b", "c", "a", "b"]
    cohort = cohort_of(np.array([2.0, 5, 2, 7, 5, 2]), np.array([1, 0, 1, 1, 0, 1]), patients)
    data = read(cohort)
    assert data.table["record_id"].tolist() == ["b", "a", "c"]  # in order of appearance
    np.testing.assert_allclose(data.values[:, 0], [(0 + 4 + 10) / 3, (2 + 8) / 2, 6])
    np.testing.assert_array_equal(data.time, [2, 5, 7])
    assert "6 records of 3 patients" in data.notes[0]


def test_records_of_a_patient_that_differ_are_refused_unless_the_unit_says_how() -> None:
    patients = ["a", "a", "b", "c", "d", "e"]
    cohort = cohort_of(TIMES, EVENTS, patients)
    with pytest.raises(EvaluationError, match=r"different times or events \(1 patients\)"):
        read(cohort)
    first = read(cohort, Survival(unit="first"))
    assert first.table["record_id"].tolist() == ["r000", "r002", "r003", "r004", "r005"]
    np.testing.assert_array_equal(first.time, TIMES[[0, 2, 3, 4, 5]])
    every = read(cohort, Survival(unit="record"))
    assert len(every.time) == 6 and "clustered by patient" in every.notes[0]


@pytest.mark.parametrize("bad", [{"times": (12, 12)}, {"penalties": (0.0,)}, {"components": ()}, {"times": (-1,)}])
def test_settings_that_make_no_sense_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"twice|above 0|at least 1"):
        Survival(**bad)  # type: ignore[arg-type]
