"""Which training a nested report draws, read from its log."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medfm.evaluation.nested import FoldOutcome, OuterFold
from medfm.workflows.nested_training import SHOWN, shown_training

ROWS = np.arange(6)
PLAN: Any = SimpleNamespace(method=SimpleNamespace(candidates=("probe", "full")))


def outcome(picked: str, fold: int = 0) -> FoldOutcome:
    outer = OuterFold(0, fold, ROWS[:4], ROWS[4:], ((ROWS[:3], ROWS[3:4]),))
    return FoldOutcome(outer, np.zeros((2, 2)), 0.5, {"candidate": picked, "kept": [{"epoch": 2, "loss": 0.4}]}, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("r0-f0-c0-p0", "r0-f0-c1-p0", "final")):
        (tmp_path / name).mkdir()
        lines = [{"step": i, "stage": "tune", "loss": number + i, "seconds": 1.0, "records": 9} for i in range(2)]
        (tmp_path / name / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


@pytest.mark.parametrize(("picked", "first"), [("probe", 0), ("full", 1)])
def test_without_a_final_model_it_is_the_chosen_one_of_the_first_fold(folder: Path, picked: str, first: int) -> None:
    found = shown_training(folder, [outcome(picked), outcome("probe", 1)], PLAN, None)
    assert found is not None and (found["of"], found["candidate"]) == ("outer fold 1", picked)
    assert [row["loss"] for row in found["rows"]] == [first, first + 1] and found["kept"] == {"epoch": 2, "loss": 0.4}
    assert set(found["rows"][0]) == set(SHOWN) and json.dumps(found)


def test_a_refit_is_drawn_itself_and_an_ensemble_by_a_member(folder: Path) -> None:
    final = {"kind": "refit", "candidate": "full", "kept": {"epoch": 1, "loss": 0.3}}
    found = shown_training(folder, [outcome("probe")], PLAN, final)
    assert found is not None and (found["of"], found["candidate"]) == ("the final model", "full")
    assert found["kept"]["epoch"] == 1 and [row["loss"] for row in found["rows"]] == [2, 3]
    for other in ({"kind": "ensemble", "members": []}, {**final, "kept": None}):
        found = shown_training(folder, [outcome("probe")], PLAN, other)
        assert found is not None and found["of"] == "outer fold 1"


def test_a_log_that_is_gone_draws_nothing(folder: Path) -> None:
    (folder / "r0-f0-c0-p0" / "log.jsonl").unlink()
    assert shown_training(folder, [outcome("probe")], PLAN, None) is None
