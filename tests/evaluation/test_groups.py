"""Site and subgroup tables: suppression that cannot be undone, and gaps."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statistics_cases import binary_case, multiclass_case, regression_case

from medfm.core.errors import EvaluationError
from medfm.evaluation.groups import (
    MISSING,
    age_bands,
    estimates_of,
    fairness_gaps,
    group_gaps,
    group_rows,
    group_values,
    suppressed_cells,
    suppressed_crossing,
)
from medfm.evaluation.metrics import evaluate, metrics_for
from medfm.evaluation.metrics_outcomes import Outcomes
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.statistics_estimates import Sample

PLAN = StatisticsPlan(resamples=50)


def with_column(base: Predictions, name: str, values) -> Predictions:
    return Predictions(base.table.assign(**{name: values}), base.task, base.classes, base.target)


def test_age_bands():
    ages = pd.Series([0, 17, 17.9, 18, 39, 40, 64, 65, 79, 80, 104, None, "old", -3, "52"])
    expected = ["0-17"] * 3 + ["18-39"] * 2 + ["40-64"] * 2 + ["65-79"] * 2 + ["80+"] * 2
    assert age_bands(ages).tolist() == [*expected, MISSING, MISSING, MISSING, "40-64"]


def test_group_values_of_any_column():
    table = pd.DataFrame({"sex": ["f", None, " ", "m "], "score:a": 0.5, "stage": [1, 2, 2, None]})
    assert group_values(table, "sex").tolist() == ["f", MISSING, MISSING, "m"]
    assert group_values(table, "stage").tolist() == ["1.0", "2.0", "2.0", MISSING]
    with pytest.raises(EvaluationError, match="stage"):
        group_values(table, "stagee")


@pytest.mark.parametrize(
    ("sizes", "hidden"),
    [
        ([50, 40, 30], [False, False, False]),
        ([50, 3, 30], [False, True, True]),
        ([50, 3, 4, 30], [False, True, True, True]),
        ([50, 9, 8, 30], [False, True, True, False]),
        ([50, 3], [True, True]),
        ([3, 2], [True, True]),
        ([10], [False]),
        ([9], [True]),
        ([], []),
    ],
)
def test_small_cells_and_their_complement(sizes, hidden):
    assert suppressed_cells(sizes, 10).tolist() == hidden


@settings(max_examples=200)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(1, 20))
def test_nothing_hidden_can_be_recovered(sizes, minimum):
    """What subtraction from the total gives is the sum of at least two cells and not small, or everything."""
    hidden = suppressed_cells(sizes, minimum)
    counts = np.array(sizes)
    assert hidden[counts < minimum].all()
    if hidden.any() and not hidden.all():
        assert hidden.sum() >= 2
        assert counts[hidden].sum() >= minimum
    if (counts >= minimum).all():
        assert not hidden.any()


def test_rows_carry_the_figures_of_their_records():
    base = binary_case(600, 300)
    rows = group_rows(base, "sex", metrics_for(["auroc", "accuracy"], "binary"), PLAN)
    assert [row.value for row in rows] == ["f", "m"]
    for row in rows:
        part = base.table[base.table["sex"] == row.value].reset_index(drop=True)
        own = evaluate(Predictions(part, "binary", base.classes), ["auroc", "accuracy"])
        assert (row.n_records, row.n_patients) == (len(part), part["patient_id"].nunique())
        for estimate in row.estimates:
            assert estimate.value == pytest.approx(own[estimate.metric])
            assert estimate.low < estimate.value < estimate.high


def test_intersections_are_named_and_missing_where_one_part_is():
    table = pd.DataFrame({"sex": ["f", "m", None, "f"], "age": [30, 70, 50, None], "site": ["a", "b", "a", "b"]})
    assert group_values(table, "sex*age").tolist() == ["f × 18-39", "m × 65-79", MISSING, MISSING]
    assert group_values(table, "sex * site").tolist() == ["f × a", "m × b", MISSING, "f × b"]
    with pytest.raises(EvaluationError, match="stage"):
        group_values(table, "sex*stage")
    # A column whose own name has a star is that column.
    assert group_values(pd.DataFrame({"a*b": ["x"]}), "a*b").tolist() == ["x"]


def test_names_of_intersections_are_checked_when_the_plan_is_made():
    plan = StatisticsPlan(subgroups=("sex", "sex*age", "sex * site"))
    assert plan.subgroup_columns == ("sex", "age", "site")
    for wrong in ("sex*", "*", "sex*sex", ""):
        with pytest.raises(ValueError, match="neither a column"):
            StatisticsPlan(subgroups=(wrong,))


def test_a_hidden_intersection_does_not_follow_from_its_row_or_column():
    names = [f"{a} × {b}" for a in "fm" for b in ("18-39", "40-64", "65-79")]
    # One small cell: within its row and its column another must hide it.
    hidden = suppressed_crossing(names, [30, 4, 50, 40, 60, 70], 10)
    grid = hidden.reshape(2, 3)
    assert grid[0, 1] and (grid.sum(axis=1) != 1).all() and (grid.sum(axis=0) != 1).all()
    assert not suppressed_crossing(names, [30, 14, 50, 40, 60, 70], 10).any()
    assert suppressed_crossing([], [], 10).tolist() == []
    assert suppressed_crossing(["a", "b", "c"], [50, 9, 30], 10).tolist() == suppressed_cells([50, 9, 30], 10).tolist()


@settings(max_examples=150)
@given(st.lists(st.integers(0, 60), min_size=6, max_size=6), st.integers(2, 20))
def test_nothing_hidden_in_a_crossing_can_be_recovered(counts, minimum):
    cells = [(f"{a} × {b}", n) for (a, b), n in zip([(a, b) for a in "fm" for b in "xyz"], counts, strict=True) if n]
    names, sizes = [c[0] for c in cells], np.array([c[1] for c in cells], int)
    hidden = suppressed_crossing(names, sizes, minimum)
    assert hidden[sizes < minimum].all()
    for part in (*"fm", *"xyz"):
        own = np.array([part in name.split(" × ") for name in names], bool) & hidden
        line = np.array([part in name.split(" × ") for name in names], bool)
        if own.any() and not (own == line).all():
            assert own.sum() >= 2 and sizes[own].sum() >= minimum


def test_rows_and_gaps_of_intersections():
    base = binary_case(900, 450)
    rows = group_rows(base, "sex*age", metrics_for(["accuracy"], "binary"), PLAN)
    values = group_values(base.table, "sex*age")
    shown = [row for row in rows if not row.suppressed]
    assert shown and all(" × " in row.value or row.value == MISSING for row in shown)
    for row in shown:
        assert row.n_records == int((values == row.value).sum())
    gaps = group_gaps(base, rows)
    if len([r for r in shown if r.value != MISSING]) >= 2:
        assert {g.column for g in gaps} == {"sex*age"}


def test_suppressed_rows_tell_nothing():
    values = ["rare"] * 3 + ["common"] * 197
    rows = group_rows(with_column(binary_case(), "ward", values), "ward", metrics_for((), "binary"), PLAN)
    assert all(row.suppressed for row in rows)
    for row in rows:
        assert (row.n_records, row.n_patients, row.estimates) == (None, None, ())


def test_cells_are_counted_in_patients_where_these_are_known():
    base = binary_case(200, 60)
    base = with_column(base, "ward", ["a"] * 100 + ["b"] * 100)
    base = with_column(base, "patient_id", ["p1"] * 100 + [f"q{i}" for i in range(100)])
    known = group_rows(base, "ward", metrics_for(["accuracy"], "binary"), PLAN)
    assert all(row.suppressed for row in known)
    unknown = group_rows(base, "ward", metrics_for(["accuracy"], "binary"), PLAN, patients_known=False)
    assert not any(row.suppressed for row in unknown)


def test_ages_are_in_order_and_missing_comes_last():
    base = with_column(binary_case(400, 400), "age", [None if i % 9 == 0 else (i * 7) % 100 for i in range(400)])
    rows = group_rows(base, "age", metrics_for(["accuracy"], "binary"), PLAN)
    assert [row.value for row in rows] == ["0-17", "18-39", "40-64", "65-79", "80+", MISSING]


def test_numbers_sort_as_numbers():
    base = with_column(multiclass_case(300, n_patients=300), "grade", [10, 9, 2] * 100)
    rows = group_rows(base, "grade", metrics_for(["accuracy"], "multiclass"), PLAN)
    assert [row.value for row in rows] == ["2", "9", "10"]


def test_an_undefined_figure_of_a_group_is_none_with_a_note():
    base = binary_case(200, 200)
    base = with_column(base, "ward", np.where(base.table["truth"] == "ill", "a", "b"))
    for row in group_rows(base, "ward", metrics_for(["auroc"], "binary"), PLAN):
        assert row.estimates[0].value is None
        assert "undefined" in row.estimates[0].note


def test_estimates_without_resamples():
    sample = Sample.of(regression_case(), StatisticsPlan(resamples=0))
    for estimate in estimates_of(sample, metrics_for((), "regression")):
        assert estimate.value is not None
        assert (estimate.low, estimate.high) == (None, None)
        assert "no resamples" in estimate.note


def test_gaps_by_hand():
    truth = np.array([1, 1, 0, 0, 1, 1, 0, 0])
    predicted = np.array([1, 1, 0, 0, 1, 0, 1, 0])
    groups = np.array(["a"] * 4 + ["b"] * 4)
    outcomes = Outcomes("binary", ("no", "yes"), truth, predicted, np.eye(2)[predicted])
    assert fairness_gaps(outcomes, groups) == {
        "equal_opportunity_difference": 0.5,
        "equalized_odds_difference": 0.5,
        "demographic_parity_difference": 0.0,
    }


def test_gaps_are_none_where_one_group_defines_them():
    truth, predicted = np.array([1, 1, 0, 0]), np.array([1, 0, 0, 1])
    outcomes = Outcomes("binary", ("no", "yes"), truth, predicted, np.eye(2)[predicted])
    found = fairness_gaps(outcomes, np.array(["a", "a", "b", "b"]))
    assert found["equal_opportunity_difference"] is None
    assert found["equalized_odds_difference"] is None
    assert found["demographic_parity_difference"] == 0.0
    assert set(fairness_gaps(outcomes, np.array(["a"] * 4)).values()) == {None}


def test_gaps_use_shown_groups_only():
    base = with_column(binary_case(300, 300), "ward", ["a"] * 140 + ["b"] * 140 + ["c"] * 12 + ["d"] * 5 + [None] * 3)
    rows = group_rows(base, "ward", metrics_for(["accuracy"], "binary"), PLAN)
    assert [row.value for row in rows if row.suppressed] == ["c", "d", MISSING] or [
        row.value for row in rows if row.suppressed
    ] == ["d", MISSING]
    gaps = group_gaps(base, rows)
    shown = [row.value for row in rows if not row.suppressed]
    part = base.table[base.table["ward"].isin(shown)].reset_index(drop=True)
    direct = fairness_gaps(Outcomes.of(Predictions(part, "binary", base.classes)), part["ward"].to_numpy())
    assert {g.metric: g.value for g in gaps} == pytest.approx(direct)
    assert group_gaps(base, rows[:1]) == ()
