"""The target of an evaluation: labels of a cohort as numbers, with one map for train and test.

Building the map from each part separately shifts the numbers when a class is absent from one
part (a flaw of the published RedDino script); here it is built once from the whole cohort.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import EvaluationError
from medfm.core.names import did_you_mean
from medfm.evaluation.grades import grade_order
from medfm.evaluation.predictions import TaskKind

# A numeric column with more distinct values than this is a measurement, not a class number.
_MOST_NUMERIC_CLASSES = 20


@dataclass(frozen=True)
class Target:
    """The truth of n units (records or patients).

    Attributes:
        name: Column name; several names joined by ``+`` for multilabel.
        task: Kind of task.
        classes: Class or label names; for a binary task the second is the positive one; empty
            for regression.
        values: int64 (n,) class positions (binary, multiclass); float64 (n, labels) of 1, 0 and
            NaN for unknown (multilabel); float64 (n,) (regression).
        grades: The label set by which the classes are grades in rising order; ``None`` elsewhere.
    """

    name: str
    task: TaskKind
    classes: tuple[str, ...]
    values: np.ndarray
    grades: str | None = None

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Target:
        """The target of the given rows, with the same classes."""
        return replace(self, values=self.values[rows])

    def strata(self, parts: int) -> np.ndarray:
        """int64 (n,): what stratified folds balance.

        The class; for multilabel the rarest positive label of a unit (one past the last for
        none); for regression the quantile bin among `parts`.
        """
        if self.task == "regression":
            cuts = np.quantile(self.values, np.linspace(0, 1, parts + 1)[1:-1])
            return np.searchsorted(cuts, self.values, side="right").astype(np.int64)
        if self.task == "multilabel":
            rarity = np.argsort(np.nansum(self.values, axis=0), kind="stable")
            strata = np.full(len(self.values), len(self.classes), dtype=np.int64)
            for label in rarity[::-1]:
                strata[self.values[:, label] == 1] = label
            return strata
        return self.values.astype(np.int64)

    def names(self, positions: np.ndarray) -> np.ndarray:
        """Class names (object) of class positions."""
        return np.array(self.classes, dtype=object)[positions]


def make_target(
    cohort: Cohort,
    name: str | Sequence[str],
    task: Literal["auto"] | TaskKind = "auto",
    *,
    positive: str | None = None,
    label_set: str | None = None,
) -> Target:
    """The target in the column(s) `name` of `cohort`.

    Classes are in sorted order; grades in that of their scale (:func:`medfm.evaluation.grades.grade_order`).

    Args:
        cohort: The cohort; every row must bear a label (see :func:`labelled`).
        name: One column, or a list of columns of 0/1 for a multilabel task (missing = unknown).
        task: Kind of task; ``"auto"`` takes a list as multilabel, text as classes, and a numeric
            column as classes where its values are at most 20 different whole numbers.
        positive: Positive class of a binary task; the second in sorted order by default.
        label_set: Label set of the knowledge that says whether classes are grades; the cohort's own by default.

    Raises:
        CohortError: There is no such column.
        EvaluationError: Labels are missing, all equal, or almost all different.
    """
    if isinstance(name, str) and task == "multilabel":
        name = [name]
    if not isinstance(name, str):
        if task not in ("auto", "multilabel"):
            raise EvaluationError(
                f"A {task} task has one target column, not {len(name)}.",
                where=", ".join(name),
                fix="name one column, or use task 'multilabel'",
            )
        return _multilabel(cohort, list(name))
    column = cohort.column(name)
    _refuse_missing(cohort, name, column.isna())
    kind: str = task if task != "auto" else _guess(column)
    if kind == "regression":
        return _regression(cohort, name, column)
    return _classes(cohort, name, column, kind, positive, label_set)


def labelled(cohort: Cohort, name: str | Sequence[str]) -> Cohort:
    """The rows of `cohort` that have a label (multilabel: at least one known label)."""
    names = [name] if isinstance(name, str) else list(name)
    known = np.zeros(len(cohort), dtype=bool)
    for column in names:
        known |= cohort.column(column).notna().to_numpy(dtype=bool)
    return cohort if known.all() else cohort.subset(known)


def _refuse_missing(cohort: Cohort, name: str, missing: pd.Series) -> None:
    if missing.any():
        ids = cohort.table.loc[missing.to_numpy(dtype=bool), "record_id"].astype(str).tolist()
        raise EvaluationError(
            f"{len(ids)} of {len(cohort)} records have no label in '{name}'.",
            where="records " + ", ".join(ids[:10]) + (" ..." if len(ids) > 10 else ""),
            expected="a label for every record",
            fix="label them, or leave them out (--drop-unlabelled; in Python drop_unlabelled=True)",
        )


def _guess(column: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        return "classes"
    values = column.unique()
    whole = bool(np.all(np.equal(np.mod(values, 1), 0)))
    return "classes" if whole and len(values) <= _MOST_NUMERIC_CLASSES else "regression"


def _text(value: object) -> str:
    """A class name; 1.0 (an integer column that once held a gap) becomes ``"1"``."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _classes(
    cohort: Cohort, name: str, column: pd.Series, kind: str, positive: str | None, label_set: str | None = None
) -> Target:
    distinct = column.unique().tolist()
    numeric = pd.api.types.is_numeric_dtype(column)
    ordered = sorted(distinct) if numeric else sorted(distinct, key=str)
    classes = list(dict.fromkeys(_text(v) for v in ordered))
    if len(classes) < 2:
        raise EvaluationError(
            f"All {len(cohort)} records have the label '{classes[0] if classes else ''}'.",
            where=f"column '{name}'",
            expected="at least two classes",
            fix="check the column, the rows kept by --where, and the label map",
        )
    if 2 * len(classes) > max(len(column), 4):
        raise EvaluationError(
            f"'{name}' holds {len(classes)} different values in {len(column)} records.",
            where=f"column '{name}'",
            expected="classes with several records each",
            fix="is this an identifier, or free text? A measurement is evaluated with task 'regression'",
        )
    if kind == "binary" and len(classes) != 2:
        raise EvaluationError(
            f"'{name}' has {len(classes)} classes, a binary task has two.", where=", ".join(classes[:10])
        )
    if positive is not None:
        if positive not in classes:
            raise EvaluationError(
                f"The positive class '{positive}' does not occur.",
                where=f"column '{name}'",
                fix=did_you_mean(positive, classes),
            )
        if len(classes) != 2:
            raise EvaluationError(
                f"A positive class is chosen for two classes; '{name}' has {len(classes)}.", where=f"column '{name}'"
            )
        classes = [c for c in classes if c != positive] + [positive]
    found = grade_order(cohort, classes, label_set)
    grades, classes = (None, classes) if found is None else (found[0], list(found[1]))
    position = {c: i for i, c in enumerate(classes)}
    values = np.array([position[_text(v)] for v in column.tolist()], dtype=np.int64)
    # Two classes under an explicit "multiclass" keep that name: metrics then have no positive class.
    task: TaskKind = "binary" if len(classes) == 2 and kind != "multiclass" else "multiclass"
    return Target(name, task, tuple(classes), values, grades)


def _regression(cohort: Cohort, name: str, column: pd.Series) -> Target:
    try:
        values = column.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise EvaluationError(
            f"'{name}' holds text, a regression needs numbers.", where=f"column '{name}': {error}"
        ) from error
    if not np.isfinite(values).all():
        _refuse_missing(cohort, name, pd.Series(~np.isfinite(values)))
    if np.ptp(values) == 0:
        raise EvaluationError(
            f"All {len(values)} records have the value {values[0]:g}.",
            where=f"column '{name}'",
            expected="values that differ",
        )
    return Target(name, "regression", (), values)


def _multilabel(cohort: Cohort, names: list[str]) -> Target:
    columns = []
    for name in names:
        column = cohort.column(name)
        try:
            values = column.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise EvaluationError(
                f"The label column '{name}' holds text.",
                where=f"column '{name}'",
                expected="1, 0 or empty for unknown",
            ) from error
        known = values[~np.isnan(values)]
        if not np.isin(known, (0.0, 1.0)).all():
            raise EvaluationError(
                f"The label column '{name}' holds other values than 0 and 1.",
                where=f"column '{name}'",
                expected="1, 0 or empty for unknown",
                fix="-1 usually means uncertain: make it 1, 0 or empty" if (known == -1).any() else None,
            )
        if len(np.unique(known)) < 2:
            raise EvaluationError(
                f"The label '{name}' does not occur both as 1 and as 0.",
                where=f"column '{name}'",
                fix="leave this label out of the target list",
            )
        columns.append(values)
    matrix = np.column_stack(columns)
    _refuse_missing(cohort, "+".join(names), pd.Series(np.isnan(matrix).all(axis=1)))
    return Target("+".join(names), "multilabel", tuple(names), matrix)
