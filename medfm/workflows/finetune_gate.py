"""Fit the gate for unusual records after fine-tuning, and measure its false alarms on tested records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.core.progress import ProgressMaker
from medfm.evaluation.intervals import wilson_interval
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
    alarms, total = int(np.sum(gate.unusual(tested.values))), len(tested.values)
    low, high = (float(end) for end in wilson_interval(alarms, total))
    return (
        f"Gate for unusual records (embedding distance, planned false alarms {100 * ALARM_RATE:g} %): {alarms} of {total} tested "
        f"records, {100 * alarms / max(total, 1):.1f} % ({100 * low:.1f} to {100 * high:.1f} %, records as independent)."
    )
