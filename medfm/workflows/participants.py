"""What a run says about who took part: from the cohort that was asked for to the records that were used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.evaluation.participants import participants

if TYPE_CHECKING:
    import pandas as pd

    from medfm.cohorts.cohort import Cohort
    from medfm.embeddings.embeddings import Embeddings
    from medfm.evaluation.protocol import Protocol
    from medfm.evaluation.target import Target
    from medfm.reporting.result import Result

_NAMES = {"train": "train", "val": "validation", "test": "test"}


def probe_participants(
    asked: Cohort, labelled: Cohort, truth: Target, embeddings: Embeddings, plan: Protocol
) -> dict[str, Any]:
    """The entry ``participants`` of a probe: parts by the column ``split`` where the scheme uses it.

    Args:
        asked: The cohort as it was given.
        labelled: The part with labels, of which `truth` is the truth.
        truth: The target.
        embeddings: Records without an embedding could not be read.
        plan: The protocol.
    """
    rows = np.flatnonzero(embeddings.rows(labelled.record_ids) >= 0)
    kept, known = labelled.table.iloc[rows].reset_index(drop=True), truth.take(rows)
    parts = parts_of(kept, plan)
    lost = [("no label", len(asked) - len(labelled)), ("could not be read", len(labelled) - len(rows))]
    minimum, people = plan.statistics.minimum_cell, asked.patients_known
    return {
        "participants": participants(
            asked.table, kept, known, parts, lost, minimum=minimum, patients_known=people
        )
    }  # fmt: skip


def parts_of(kept: pd.DataFrame, plan: Protocol) -> dict[str, np.ndarray]:
    """Rows of `kept` by name of the part: by the column ``split`` where the scheme uses it, else all together."""
    split = kept["split"]
    if plan.scheme.kind in ("kfold", "balanced_kfold", "leave_one_site_out") or not {"train", "test"} <= set(
        split.dropna()
    ):
        return {"cross-validation": np.arange(len(kept))}
    parts = {name: np.flatnonzero((split == own).to_numpy(bool)) for own, name in _NAMES.items()}
    return {name: part for name, part in parts.items() if len(part)}


def few_shot_participants(asked: Cohort, usable: int, used: Cohort, truth: Target, plan: Protocol) -> dict[str, Any]:
    """The entry ``participants`` of a few-shot run: the pool that shots are drawn from is the part ``train``.

    Args:
        asked: The cohort as it was given.
        usable: How many of its records have a label, of no class left out.
        used: Those of them that have an embedding, of which `truth` is the truth.
        truth: The target.
        plan: The protocol.
    """
    lost = [("no label, or of a class left out", len(asked) - usable), ("could not be read", usable - len(used))]
    kept, minimum = used.table.reset_index(drop=True), plan.statistics.minimum_cell
    parts = {("shots are drawn from" if n == "train" else n): rows for n, rows in parts_of(kept, plan).items()}
    return {
        "participants": participants(
            asked.table, kept, truth, parts, lost, minimum=minimum, patients_known=asked.patients_known
        )
    }


def scored_participants(asked: Cohort, part: Cohort, used: Cohort, truth: Target, plan: Protocol) -> dict[str, Any]:
    """The entry ``participants`` of a run that trains nothing: who was scored, and who was not.

    Args:
        asked: The cohort as it was given.
        part: Its records that were to be scored: of the split, with a label, of no class left out.
        used: Those of them that have an embedding, of which `truth` is the truth.
        truth: The target.
        plan: The protocol.
    """
    lost = [
        ("of another part, without a label, or of a class left out", len(asked) - len(part)),
        ("could not be read", len(part) - len(used)),
    ]
    minimum, people = plan.statistics.minimum_cell, asked.patients_known
    kept = used.table.reset_index(drop=True)
    parts = {"scored": np.arange(len(kept))}
    return participants(asked.table, kept, truth, parts, lost, minimum=minimum, patients_known=people)


def with_participants(
    result: Result, asked: Cohort, kept: Cohort, truth: Target, parts: Mapping[str, np.ndarray]
) -> Result:
    """`result` with the entry ``participants`` of a fine-tuning run.

    Args:
        result: Of the run.
        asked: The cohort as it was given.
        kept: The records with a label that could be read, of which `truth` is the truth.
        truth: The target.
        parts: Rows of `kept` by name of the part.
    """
    from medfm.evaluation.target import labelled

    columns = result.config["target"]
    known = len(labelled(asked, columns))
    lost = [("no label", len(asked) - known), ("could not be read", known - len(kept))]
    entry = participants(
        asked.table,
        kept.table,
        truth,
        {name: rows for name, rows in parts.items() if len(rows)},
        lost,
        minimum=result.protocol.statistics.minimum_cell,
        patients_known=asked.patients_known,
    )
    return replace(result, extras={**result.extras, "participants": entry})
