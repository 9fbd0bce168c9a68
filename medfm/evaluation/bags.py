"""Records grouped into bags: one patient, one label, one split."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medfm.core.errors import EvaluationError
from medfm.evaluation.mil import Bags
from medfm.evaluation.target import Target


def collect_bags(values: np.ndarray, table: pd.DataFrame, target: Target) -> tuple[Bags, np.ndarray, Target]:
    """The bags of the patients of `table`, in order of first appearance.

    Args:
        values: float (n, d) embeddings of the rows.
        table: Rows of the cohort with `patient_id` and `split`.
        target: Truth of the rows.

    Returns:
        The bags, the first row of each patient, and the truth per patient.

    Raises:
        EvaluationError: A patient has several labels or splits, or every patient has one cell.
    """
    codes, patients = pd.factorize(table["patient_id"].astype(str))
    order = np.argsort(codes, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(codes, minlength=len(patients)))[:-1])
    first = np.array([members[0] for members in rows], dtype=np.int64)
    per_patient = target.take(first)
    own = per_patient.values[codes]
    same = (own == target.values) | (np.isnan(own.astype(float)) & np.isnan(target.values.astype(float)))
    _one_each(same if same.ndim == 1 else same.all(axis=1), codes, patients, "labels", target.name)
    split = table["split"].fillna("").astype(str).to_numpy()
    _one_each(split == split[first][codes], codes, patients, "splits", "split")
    if len(patients) == len(table):
        raise EvaluationError(
            "Every patient has a single record; there are no bags to learn from.",
            where="column 'patient_id'",
            expected="several cells per patient",
            fix="name the patient column with --map patient_id=COLUMN",
        )
    return Bags(values, tuple(rows)), first, per_patient


def _one_each(same: np.ndarray, codes: np.ndarray, patients: pd.Index, what: str, column: str) -> None:
    if not same.all():
        bad = list(dict.fromkeys(patients[codes[~same]]))
        raise EvaluationError(
            f"{len(bad)} patients have several {what}.",
            where=f"column '{column}', patients " + ", ".join(bad[:10]) + (" ..." if len(bad) > 10 else ""),
            expected="one per patient in patient-level learning",
            fix="mend the table, or evaluate the records one by one with a linear probe",
        )
