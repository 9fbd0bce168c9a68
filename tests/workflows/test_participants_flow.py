"""Who took part in survival, zero-shot and few-shot runs: flow by reason, events and follow-up by part."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "evaluation"))

from survival_cases import cohort_of, planted

from medfm.core.errors import EvaluationError
from medfm.evaluation.protocol import Protocol, Scheme, StatisticsPlan
from medfm.evaluation.survival_config import Survival
from medfm.evaluation.target import Target
from medfm.workflows.participants import few_shot_participants, parts_of, scored_participants
from medfm.workflows.survival_participants import survival_participants


def plan(kind: str = "kfold") -> Protocol:
    return Protocol(
        id="s@1",
        title="s",
        method=Survival(),
        scheme=Scheme(kind=kind),  # type: ignore[arg-type]
        statistics=StatisticsPlan(minimum_cell=3),
    )


def made(**columns: Any) -> Any:
    _, time, code, _ = planted(90, other=40.0)
    return cohort_of(time, code, **columns), time, code


def test_survival_counts_events_and_follow_up_by_part():
    split = ["train"] * 60 + ["test"] * 30
    cohort, time, code = made(split=split, sex=["f", "m"] * 45)
    entry = survival_participants(cohort, cohort, "time", "event", plan("split"), (1, 2))["participants"]
    assert [(p["name"], p["records"]) for p in entry["parts"]] == [("train", 60), ("test", 30)]
    cells = {(r["variable"], r["level"]): r["cells"] for r in entry["rows"]}
    for part, rows in enumerate((slice(0, 60), slice(60, 90))):
        assert cells[("event", "event 1")][part]["n"] == int((code[rows] == 1).sum())
        assert cells[("event", "competing event 2")][part]["n"] == int((code[rows] == 2).sum())
        assert cells[("time", "median (quartiles)")][part]["median"] == pytest.approx(np.median(time[rows]))
    assert cells[("sex", "f")][0]["n"] == 30 and entry["excluded"] == []


def test_codes_keep_their_names_whatever_their_order():
    """Event of interest 2, competitor 1: the names follow the codes, not their order."""
    cohort, _, code = made()
    entry = survival_participants(cohort, cohort, "time", "event", plan(), (2, 1))["participants"]
    cells = {r["level"]: r["cells"][0] for r in entry["rows"] if r["variable"] == "event"}
    assert cells["event 2"]["n"] == int((code == 2).sum()) and cells["competing event 1"]["n"] == int((code == 1).sum())
    assert cells["censored"]["n"] == int((code == 0).sum())


def test_records_without_follow_up_or_embedding_are_left_out_by_reason():
    cohort, _, _ = made()
    table = cohort.table.copy()
    table.loc[[3, 4], "time"] = np.nan
    asked = type(cohort)(table, "blood_cell", Path(), name="x")
    embedded = asked.subset(np.arange(90) >= 5)  # 3 with follow-up could not be read
    entry = survival_participants(asked, embedded, "time", "event", plan(), (1, 2))["participants"]
    reasons = {e["reason"]: e["records"] for e in entry["excluded"]}
    assert reasons == {"no follow-up": 2, "could not be read": 3} and entry["kept"]["records"] == 85
    assert entry["asked"]["records"] == 90 and [p["name"] for p in entry["parts"]] == ["cross-validation"]
    with pytest.raises(EvaluationError, match="no number"):
        survival_participants(asked, embedded, "record_id", "event", plan(), (1, 2))


def test_scored_records_and_those_that_were_not():
    cohort, _, _ = made()
    part, used = cohort.subset(np.arange(90) < 60), cohort.subset(np.arange(90) < 55)
    truth = Target("label", "binary", ("a", "b"), np.arange(55) % 2)
    entry = scored_participants(cohort, part, used, truth, plan())
    assert [e["records"] for e in entry["excluded"]] == [30, 5]
    assert [(p["name"], p["records"]) for p in entry["parts"]] == [("scored", 55)]
    assert {r["level"]: r["cells"][0]["n"] for r in entry["rows"] if r["variable"] == "label"} == {"a": 28, "b": 27}


def test_shots_come_from_the_training_part():
    cohort, _, _ = made(split=["train"] * 50 + ["test"] * 30 + [None] * 10)
    truth = Target("label", "binary", ("a", "b"), np.arange(80) % 2)
    used = cohort.subset(np.arange(90) < 80)
    entry = few_shot_participants(cohort, 84, used, truth, plan("split"))["participants"]
    assert [(p["name"], p["records"]) for p in entry["parts"]] == [("shots are drawn from", 50), ("test", 30)]
    assert [(e["reason"].split(",")[0], e["records"]) for e in entry["excluded"]] == [("no label", 6), ("could not be read", 4)]  # fmt: skip


def test_parts_follow_the_scheme():
    cohort, _, _ = made(split=["train"] * 50 + ["val"] * 20 + ["test"] * 20)
    assert [(n, len(r)) for n, r in parts_of(cohort.table, plan("split")).items()] == [
        ("train", 50), ("validation", 20), ("test", 20),
    ]  # fmt: skip
    assert list(parts_of(cohort.table, plan())) == ["cross-validation"]
    bare, _, _ = made()
    assert list(parts_of(bare.table, plan("split"))) == ["cross-validation"]
