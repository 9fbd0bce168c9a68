"""The training that a nested cross-validation's report draws: of the final model, else of the first outer fold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm.evaluation.nested import FoldOutcome, Job
from medfm.training.log import read_log

if TYPE_CHECKING:
    from medfm.workflows.nested import NestedPlan

SHOWN = ("step", "stage", "loss", "validation_loss", "rates", "rates_end", "trainable")
LOG = "log.jsonl"


def shown_training(
    folder: Path, outcomes: Sequence[FoldOutcome], plan: NestedPlan, final: dict[str, Any] | None
) -> dict[str, Any] | None:
    """What is drawn of one training (JSON-like); ``None`` where its log is gone.

    Args:
        folder: Of the trainings.
        outcomes: Of the outer folds.
        plan: Of the run.
        final: The entry of the final model, where one was trained.
    """
    first = outcomes[0]
    name, kept = first.chosen["candidate"], first.chosen["kept"][0]
    number = list(plan.method.candidates).index(name)
    job = Job(first.outer.repeat, first.outer.fold, number, 0, *first.outer.inner[0], first.outer.test).name
    said = f"outer fold {first.outer.fold + 1}"
    if final is not None and final.get("kind") == "refit" and final.get("kept"):
        job, said, name, kept = "final", "the final model", final["candidate"], final["kept"]
    rows = read_log(folder / job / LOG)
    if not rows:
        return None
    drawn = [{key: row.get(key) for key in SHOWN} for row in rows]
    return {"of": said, "candidate": name, "kept": dict(kept), "rows": drawn}
