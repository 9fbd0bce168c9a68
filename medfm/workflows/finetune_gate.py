"""Fit the gate for unusual records after fine-tuning, and measure its false alarms on tested records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.core.files import write_text
from medfm.core.progress import ProgressMaker
from medfm.evaluation.score_intervals import clustered_wilson
from medfm.evaluation.unusual import fewest, fit_gate
from medfm.training.gate_file import save_gate

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.embeddings.embeddings import Embeddings
    from medfm.encoders.encoder import Encoder
    from medfm.workflows.finetune_data import Parts

ALARM_RATE = 0.05


def add_gate(
    folder: Path,
    encoder: Encoder,
    cohort: Cohort,
    parts: Parts,
    tested: Embeddings,
    settings: dict[str, Any],
    progress: ProgressMaker,
) -> str:
    """Write the gate into the model's folder where there are enough validation records; a sentence for the report.

    Args:
        folder: Of the model.
        encoder: The fine-tuned one.
        cohort: Of which `parts` are rows.
        parts: Train, validation and test.
        tested: Embeddings of the tested records.
        settings: Of the embedding run.
        progress: Makes the progress displays.
    """
    from medfm.workflows.embed import embed

    needed = fewest(ALARM_RATE)
    if len(parts.validation) < needed or len(parts.train) < 2:
        return (
            f"No gate for unusual records: {len(parts.validation)} validation records, and alarms at "
            f"{100 * ALARM_RATE:g} % need {needed}."
        )
    found = [
        embed(encoder, cohort.subset(rows), progress=progress, **settings) for rows in (parts.train, parts.validation)
    ]
    try:
        gate = fit_gate(found[0].values, found[1].values, ALARM_RATE)
    except EvaluationError as error:
        return f"No gate for unusual records: {error.what}"
    save_gate(folder, gate, encoder.fingerprint)
    alarms = np.asarray(gate.unusual(tested.values), dtype=bool)
    patients = None
    if cohort.patients_known:
        owner = dict(zip(cohort.table["record_id"].astype(str), cohort.table["patient_id"].astype(str), strict=True))
        patients = np.array([owner[record] for record in tested.record_ids])
    share, low, high = clustered_wilson(alarms, patients)
    unit = "records as independent" if patients is None else "clustered by patient"
    said = (
        f"Gate for unusual records (embedding distance, planned false alarms {100 * ALARM_RATE:g} %): {alarms.sum()} of {len(alarms)} tested "
        f"records, {100 * share:.1f} % ({100 * low:.1f} to {100 * high:.1f} %, {unit})."
    )
    _say_in_card(folder / "card.md", said)
    return said


def _say_in_card(path: Path, said: str) -> None:
    """Put the sentence among the facts of the model's card, which travels with it; front matter stays as it is."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    last = max((i for i, line in enumerate(lines) if line.startswith("- ")), default=len(lines) - 1)
    if "---" in lines[last + 1 :]:  # that list is of the front matter: the card has no facts in prose
        last = len(lines) - 1
    write_text(path, "\n".join([*lines[: last + 1], f"- {said}", *lines[last + 1 :]]) + "\n")
