"""The summary of survival predictions: clusters, subgroups, notes on few events."""

from __future__ import annotations

import numpy as np
import pytest
from survival_cases import planted

from medfm.core.errors import EvaluationError, UnknownNameError
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.survival_metrics import COLUMNS
from medfm.evaluation.survival_summary import summarise_survival


def predictions(n: int = 120, per_patient: int = 1, **columns: object) -> Predictions:
    import pandas as pd

    _, time, code, truth = planted(n)
    code = np.minimum(code, 1)
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "patient_id": [f"p{i // per_patient}" for i in range(n)],
            "site": None,
            "variant": "main",
            "repeat": 0,
            "fold": 0,
            "time": time,
            "event": code.astype(float),
            "risk": truth,
            "stratum": 0.0,
            "censoring_weight": code.astype(float),
            "uno_weight": code.astype(float),
            **columns,
        }
    )
    return Predictions(table, "survival", COLUMNS, "conversion")


PLAN = StatisticsPlan(resamples=100, minimum_cell=5)


def test_figures_and_sizes() -> None:
    found = summarise_survival(predictions(), PLAN, ("c_index", "auc_at_10"))
    assert [e.metric for e in found.headline] == ["c_index", "auc_at_10"]
    assert found.n_records == found.n_patients == 120 and found.target == "conversion" and found.task == "survival"
    assert found.estimate("c_index").method == "patient-clustered bootstrap (logit), B=100"
    assert not found.notes


def test_records_of_one_patient_come_together() -> None:
    single, several = (summarise_survival(predictions(per_patient=k), PLAN, ("c_index",)) for k in (1, 6))
    assert several.n_patients == 20 and several.headline[0].value == single.headline[0].value
    assert several.headline[0].low != single.headline[0].low
    unknown = summarise_survival(predictions(per_patient=6), PLAN, ("c_index",), patients_known=False)
    assert unknown.headline[0].method.startswith("record-level") and "Patients are unknown" in unknown.notes[0]


def test_sites_and_subgroups() -> None:
    data = predictions(site=["a", "b"] * 60, sex=["F"] * 117 + ["M"] * 3)
    found = summarise_survival(data, StatisticsPlan(resamples=50, minimum_cell=5, subgroups=("sex",)), ("c_index",))
    assert [row.value for row in found.sites] == ["a", "b"] and found.sites[0].n_records == 60
    assert all(row.suppressed for row in found.subgroups)  # three men could be worked out by subtraction
    with pytest.raises(EvaluationError, match="no column 'ward'"):
        summarise_survival(data, StatisticsPlan(subgroups=("ward",)), ("c_index",))


def test_few_events_are_said_and_no_event_has_no_figure() -> None:
    few = predictions(event=[1.0] * 5 + [0.0] * 115)
    assert "Only 5 events" in summarise_survival(few, PLAN, ("c_index",)).notes[0]
    none = summarise_survival(predictions(event=0.0), PLAN, ("c_index",))
    assert none.headline[0].value is None and "no pair" in none.headline[0].note
    with pytest.raises(UnknownNameError):
        summarise_survival(few, PLAN, ("c_indeks",))


def test_predictions_without_the_needed_columns_are_refused() -> None:
    whole = predictions()
    with pytest.raises(EvaluationError, match="lack the columns risk"):
        Predictions(whole.table.drop(columns="risk"), "survival", COLUMNS, "conversion")
    broken = Predictions(whole.table.assign(risk=np.nan), "survival", COLUMNS, "conversion")
    with pytest.raises(EvaluationError, match="not finite"):
        summarise_survival(broken, PLAN, ("c_index",))
