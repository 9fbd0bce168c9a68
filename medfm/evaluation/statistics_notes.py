"""What a reader of a summary must know: too few patients, absent classes, unknown patients."""

from __future__ import annotations

import numpy as np

from medfm.evaluation.predictions import FIGURES_ONLY
from medfm.evaluation.statistics_estimates import Sample

# Below this the bootstrap over patients is known to give intervals that are too narrow.
FEW_PATIENTS = 20
FEW_IN_CLASS = 5


def notes(sample: Sample, n_rows: int) -> list[str]:
    """Sentences for the reader, most important first.

    Args:
        sample: The main variant.
        n_rows: Rows of predictions; above the number of records when there are repeats.
    """
    made = []
    unit = "patients" if sample.patients_known else "records"
    if not sample.patients_known:
        made.append(
            "Patients are unknown: the intervals treat every record as independent and are too narrow "
            "if several records come from one patient."
        )
    elif sample.incomplete:
        made.append(f"{sample.incomplete} records have no patient id; each is treated as a patient of its own.")
    if sample.clusters.count < FEW_PATIENTS:
        made.append(
            f"Only {sample.clusters.count} {unit}: intervals from fewer than {FEW_PATIENTS} are unreliable "
            "and usually too narrow."
        )
    if n_rows > sample.n_records:
        made.append(
            f"{n_rows} predictions of {sample.n_records} records (several repeats or folds test the same record) "
            "are pooled; the records of one patient stay together in every resample."
        )
    made += _class_notes(sample, unit)
    return made


def _class_notes(sample: Sample, unit: str) -> list[str]:
    outcomes = sample.outcomes
    if outcomes.task in ("regression", *FIGURES_ONLY):
        return []
    absent, few, one_sided = [], [], []
    for c, name in enumerate(outcomes.classes):
        if outcomes.task == "multilabel":
            own, others = outcomes.truth[:, c] == 1, outcomes.truth[:, c] == 0
            if not own.any() or not others.any():
                one_sided.append(name)
                continue
        else:
            own = outcomes.truth == c
        count = len(np.unique(sample.clusters.codes[own]))
        if count == 0:
            absent.append(name)
        elif count < FEW_IN_CLASS:
            few.append(f"{name} ({count})")
    made = []
    if absent:
        made.append(
            f"No record of the class {', '.join(absent)}: it is left out of macro averages, and its AUROC is undefined."
            if len(absent) == 1
            else f"No records of the classes {', '.join(absent)}: they are left out of macro averages."
        )
    if one_sided:
        made.append(f"Only one kind of truth for the label {', '.join(one_sided)}: its AUROC is undefined.")
    if few:
        made.append(f"Fewer than {FEW_IN_CLASS} {unit} with {', '.join(few)}: its intervals are too narrow.")
    return made
