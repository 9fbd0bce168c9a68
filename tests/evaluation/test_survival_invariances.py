"""What must not change a survival analysis: order, units, names, copies of runs; and broken embeddings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from survival_cases import cohort_of, planted

from medfm.core.errors import EvaluationError
from medfm.evaluation.metrics import evaluate
from medfm.evaluation.protocol import Protocol, Scheme
from medfm.evaluation.survival import SurvivalRun, run_survival
from medfm.evaluation.survival_config import Survival
from medfm.evaluation.survival_data import survival_data

METHOD = Survival(components=(2,), penalties=(0.1,), events_per_component=0, times=())
SPLIT = ["train"] * 70 + ["test"] * 50


def run(values: np.ndarray, time: np.ndarray, code: np.ndarray, **settings: object) -> SurvivalRun:
    scheme = settings.pop("scheme", Scheme(kind="split"))
    method = settings.pop("method", METHOD)
    protocol = Protocol(id="s@1", title="s", method=method, scheme=scheme)  # type: ignore[arg-type]
    cohort = cohort_of(time, code, **{"split": SPLIT, **settings})
    return run_survival(survival_data(values, cohort, "time", "event", protocol.method), protocol)  # type: ignore[arg-type]


def figures(found: SurvivalRun) -> dict[str, float | None]:
    return evaluate(found.predictions, ("c_index", "c_index_uno"))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_the_order_of_records_and_the_unit_of_time_do_not_matter(seed: int, unit: float) -> None:
    values, time, code, _ = planted(120, seed=seed)
    first = figures(run(values, time, code))
    order = np.random.default_rng(seed).permutation(120)
    again = run(values[order], unit * time[order], code[order], split=np.array(SPLIT, dtype=object)[order])
    assert figures(again) == pytest.approx(first, abs=1e-9)


def test_embeddings_in_other_units_and_turned_give_the_same_order() -> None:
    values, time, code, _ = planted(120)
    first = figures(run(values, time, code))
    assert figures(run(values * 1e3 - 7, time, code)) == pytest.approx(first, abs=1e-9)
    assert figures(run(values[:, ::-1], time, code)) == pytest.approx(first, abs=1e-9)
    assert figures(run(np.c_[values, np.zeros(120)], time, code)) == pytest.approx(first, abs=1e-9)
    assert figures(run(values.astype(np.float32), time, code)) == pytest.approx(first, abs=1e-3)


def test_other_ids_and_a_second_run_give_the_same() -> None:
    values, time, code, _ = planted(120)
    first = run(values, time, code)
    other = run(values, time, code, patient_id=[f"x{i}" for i in range(120)])
    np.testing.assert_array_equal(first.predictions.table["risk"], other.predictions.table["risk"])
    assert run(values, time, code).chosen == first.chosen


def test_several_repeats_predict_every_record_once_each() -> None:
    values, time, code, _ = planted(90)
    scheme = Scheme(kind="kfold", folds=3, repeats=2)
    found = run(values, time, code, scheme=scheme, split=None)
    counts = found.predictions.table.groupby(["record_id", "repeat"]).size()
    assert len(counts) == 180 and (counts == 1).all()
    assert found.predictions.table["stratum"].nunique() == 6
    folds = [found.predictions.table.query("repeat == @r").set_index("record_id")["fold"] for r in (0, 1)]
    assert (folds[0] != folds[1].loc[folds[0].index]).any()


def test_the_codes_of_events_are_names_only() -> None:
    values, time, code, _ = planted(120, other=60.0)
    first = run(values, time, code)
    renamed = np.array([0, 7, 3])[code]
    other = run(values, time, renamed, method=METHOD.model_copy(update={"cause": 7}))
    assert figures(other) == figures(first)
    assert set(other.predictions.table["event_code"]) == {0, 3, 7}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_embedding_is_refused_by_its_record(bad: float) -> None:
    values, time, code, _ = planted(120)
    values[5, 2] = bad
    with pytest.raises(EvaluationError, match=r"1 records have an embedding(.|\n)*r005"):
        run(values, time, code)
