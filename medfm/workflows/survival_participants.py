"""Who took part in a survival analysis: flow of records, Table 1 with events and follow-up by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.evaluation.participants import participants
from medfm.evaluation.survival_data import numbers_of
from medfm.evaluation.target import Target
from medfm.workflows.participants import parts_of

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.evaluation.protocol import Protocol


def survival_participants(
    asked: Cohort, embedded: Cohort, time: str, event: str, plan: Protocol, codes: tuple[int, ...]
) -> dict[str, Any]:
    """The entry ``participants`` of a survival analysis, counted in the cohort's records, before any is averaged.

    Args:
        asked: The cohort as it was given.
        embedded: Its records with an embedding.
        time: Column of the follow-up time.
        event: Column of the event.
        plan: The protocol.
        codes: The table's code of the event of interest, then those of the competing ones.
    """

    def known(cohort: Cohort) -> np.ndarray:
        return np.asarray(np.isfinite(numbers_of(cohort, time)) & np.isfinite(numbers_of(cohort, event)))

    rows = np.flatnonzero(known(embedded))
    kept = embedded.table.iloc[rows].reset_index(drop=True)
    labelled = int(known(asked).sum())
    lost = [("no follow-up", len(asked) - labelled), ("could not be read", labelled - len(rows))]
    times, found = numbers_of(embedded, time)[rows], numbers_of(embedded, event)[rows].astype(np.int64)
    names = ("censored", *(f"event {c}" if i == 0 else f"competing event {c}" for i, c in enumerate(codes)))
    place = np.searchsorted(sorted((0, *codes)), found)
    order = np.array([(0, *codes).index(c) for c in sorted((0, *codes))])
    minimum, people = plan.statistics.minimum_cell, asked.patients_known
    made = [
        participants(asked.table, kept, target, parts_of(kept, plan), lost, minimum=minimum, patients_known=people)
        for target in (Target(event, "multiclass", names, order[place]), Target(time, "regression", (), times))
    ]
    more = [row for row in made[1]["rows"] if row["variable"] == time]
    return {"participants": {**made[0], "rows": [*made[0]["rows"], *more]}}
