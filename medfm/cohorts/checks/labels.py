"""Checks of a multilabel target: 0/1 columns, one per label (T003 and S001 to S005)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from medfm.cohorts.checks.codes import count, found, named, passed, planned_folds
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding
from medfm.core.errors import CohortError

# CheXpert's labels, and those of everybody who uses its labeller.
UNCERTAIN = (
    "-1 usually means uncertain: make it 1, 0 or empty (medfm data prepare chexpert@u-ones, @u-zeros or @u-ignore "
    "does so for that set)"
)


def label_table(cohort: Cohort, labels: Sequence[str]) -> pd.DataFrame:
    """The columns `labels` as float64 (n, labels): 1, 0, NaN for unknown.

    Raises:
        CohortError: A column is absent, or holds something else than 0, 1 or nothing.
    """
    columns = {}
    for label in labels:
        column = cohort.column(label)
        values = pd.to_numeric(column, errors="coerce")
        wrong = column.notna() & ~values.isin((0, 1))
        if wrong.any():
            raise CohortError(
                f"The label column '{label}' holds other values than 0 and 1.",
                where=f"{cohort.name}, record {cohort.table['record_id'][wrong.to_numpy(dtype=bool).argmax()]}",
                expected="1, 0 or empty for unknown",
                fix=UNCERTAIN
                if bool((values == -1).any())
                else "name the 0/1 columns of the task as target, one per label",
            )
        columns[label] = values.astype(float)
    return pd.DataFrame(columns)


def check_filled(cohort: Cohort, labels: Sequence[str]) -> Finding:
    """T003: every record has at least one known label."""
    values = label_table(cohort, labels)
    gone = values.isna().all(axis=1)
    if gone.all():
        return found("T003", "error", f"{count(len(values.columns), 'label')} are empty in every record")
    if gone.any():
        ids = cohort.table.loc[gone.to_numpy(), "record_id"]
        return found("T003", "warning", f"every label is empty in {count(int(gone.sum()), 'record')}", ids)
    return passed("T003", count(len(values.columns), "label"))


def check_labels(cohort: Cohort, labels: Sequence[str], folds: int, tiny: int) -> Iterator[Finding]:
    """S001 to S005 for 0/1 columns; a label counts by its positive records.

    Args:
        cohort: The cohort.
        labels: The 0/1 columns.
        folds: Folds planned.
        tiny: Fewer positive tested records than this give intervals too wide to read.
    """
    values = label_table(cohort, labels)
    split = cohort.table["split"]
    constant = [name for name in labels if values[name].dropna().nunique() < 2]
    parts = {part: values[split == part] for part in ("train", "test")}
    flat = {
        part: [n for n in labels if n not in constant and rows[n].dropna().nunique() < 2]
        for part, rows in parts.items()
        if len(rows)
    }
    if constant:
        yield found("S001", "error", f"not both 0 and 1 in all records: {named(constant)}")
    elif any(flat.values()):
        detail = "; ".join(f"not both 0 and 1 in {part}: {named(names)}" for part, names in flat.items() if names)
        yield found("S001", "warning", detail)
    else:
        yield passed("S001", count(len(values.columns), "label"))
    whole_test = bool((split == "test").any())
    trained = parts["train"] if whole_test and len(parts["train"]) else values
    patients = cohort.table.loc[trained.index, "patient_id"]
    few = {name: n for name in labels if (n := int(patients[trained[name] == 1].nunique())) < folds}
    if few:
        yield found(
            "S002", "warning", f"fewer than {folds} positive patients{planned_folds(folds, whole_test)}: {counted(few)}"
        )
    else:
        yield passed("S002", f"at least {folds} positive patients for every label")
    tested = parts["test"] if whole_test else values
    place = "test split" if whole_test else "cohort"
    small = {name: n for name in labels if (n := int((tested[name] == 1).sum())) < tiny}
    if small:
        yield found("S003", "warning", f"fewer than {tiny} positive records in the {place}: {counted(small)}")
    else:
        yield passed("S003", f"at least {tiny} positive records per label in the {place}")
    if whole_test and len(parts["train"]):
        unseen = [n for n in labels if (parts["test"][n] == 1).any() and not (parts["train"][n] == 1).any()]
        if unseen:
            yield found("S004", "warning", f"positive in test but never in train: {named(unseen)}")
        else:
            yield passed("S004")
    sites = cohort.table["site"]
    if sites.nunique() >= 2:
        tied = [name for name in labels if (values[name] == 1).sum() > 1 and sites[values[name] == 1].nunique() == 1]
        yield found("S005", "warning", f"only at one site: {named(tied)}") if tied else passed("S005")


def counted(numbers: Mapping[str, int]) -> str:
    """The names with their numbers, the rarest first."""
    return named([f"{name} ({n})" for name, n in sorted(numbers.items(), key=lambda item: item[1])])
