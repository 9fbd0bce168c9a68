"""The probe beside a nested run is judged on the records that the nested run tests, in the same folds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from medfm.core.progress import Silent
from medfm.evaluation.evaluate import Evaluation
from medfm.evaluation.path_order import path_order
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import Protocol, load_protocol
from medfm.evaluation.target import Target
from medfm.workflows import nested_output


class Table:
    """A cohort of three patients with two files each."""

    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(6)],
            "path": [f"{n}.png" for n in (5, 4, 3, 2, 1, 0)],
            "patient_id": ["a", "b", "a", "c", "b", "c"],
        }
    )


class Encoder:
    id = "tiny"


def beside(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> tuple[Predictions, Protocol]:
    asked: list[Protocol] = []

    def judged(values: Any, cohort: Any, columns: Any, probe: Protocol, **more: Any) -> Evaluation:
        asked.append(probe)
        frame = Table.table.assign(variant="main", repeat=0, fold=0, truth="no", predicted="no")
        frame = frame.assign(**{"score:no": 0.6, "score:yes": 0.4})
        return Evaluation(Predictions(frame, "binary", ("no", "yes"), "bpd"), (), ())

    monkeypatch.setattr("medfm.evaluation.evaluate.evaluate", judged)
    truth = Target("bpd", "binary", ("no", "yes"), np.zeros(6, dtype=np.int64))
    plan = load_protocol("bpd-folds@1", overrides=overrides)
    ((name, probe, found),) = nested_output.rivals([(Encoder(), None)], Table(), "bpd", truth, plan, Silent)  # type: ignore[list-item, arg-type]
    assert (name, probe) == ("tiny", "linear-probe@1")
    return found, asked[0]


def test_the_first_file_of_each_patient_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    found, probe = beside(monkeypatch)
    assert found.table["record_id"].tolist() == ["r2", "r4", "r5"] and found.table.index.tolist() == [0, 1, 2]
    assert (found.task, found.target) == ("binary", "bpd")
    assert (probe.scheme.draw, probe.scheme.kind, probe.scheme.repeats) == ("published", "balanced_kfold", 6)
    assert path_order(Table.table).tolist() == [5, 4, 3, 2, 1, 0]


def test_all_records_are_kept_where_all_are_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = beside(monkeypatch, "method.tested=all")
    assert len(found.table) == 6
