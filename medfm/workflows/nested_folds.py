"""The outer folds of a nested cross-validation, or what to do where a cohort is too small for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medfm.core.errors import EvaluationError, MedfmError
from medfm.evaluation.nested import OuterFold, plan_folds
from medfm.evaluation.path_order import path_order

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.evaluation.target import Target
    from medfm.workflows.nested import NestedPlan

_MOST_TRIED = 10


def folds_of(cohort: Cohort, truth: Target, plan: NestedPlan) -> tuple[list[OuterFold], list[str]]:
    """The outer folds with notes, as :func:`medfm.evaluation.nested.plan_folds`.

    Raises:
        EvaluationError: They cannot be made; the smallest change that makes them possible is named.
    """
    patients, sites = patients_of(cohort), cohort.table["site"].to_numpy(dtype=object)
    try:
        return plan_folds(truth, patients, plan.protocol.scheme, plan.method, sites, path_order(cohort.table))
    except EvaluationError as error:
        # Two classes in one patient are no matter of size; sites as folds cannot be fewer.
        if plan.by_site or "patient_labels" in (error.fix or ""):
            raise
        ways = [_fewer(truth, patients, sites, plan), _once(cohort, truth), "more patients"]
        if truth.task in ("binary", "multiclass"):
            ways[-1] += " of that class, or leave it out (--where)"
        raise EvaluationError(
            error.what, where=error.where, expected=error.expected, fix="; or ".join(way for way in ways if way)
        ) from error


def patients_of(cohort: Cohort) -> np.ndarray:
    """object (n,) of texts."""
    return cohort.table["patient_id"].astype(str).to_numpy(dtype=object)


def _fewer(truth: Target, patients: np.ndarray, sites: np.ndarray, plan: NestedPlan) -> str:
    """The least change of the numbers of folds that works, as options; empty where none does."""
    scheme, method = plan.protocol.scheme, plan.method
    outer = range(min(scheme.folds, _MOST_TRIED), 1, -1)
    inner = range(min(method.inner_folds, _MOST_TRIED), 1, -1)
    tried = [(o, i) for o in outer for i in inner if i >= method.inner_trained]
    # First what changes one number alone, then what changes least.
    changes = sorted(tried, key=lambda n: ((n[0] != scheme.folds) + (n[1] != method.inner_folds), -sum(n), -n[0]))
    for folds, parts in changes:
        try:
            plan_folds(
                truth,
                patients,
                scheme.model_copy(update={"folds": folds}),
                method.model_copy(update={"inner_folds": parts}),
                sites,
            )
        except EvaluationError:
            continue
        named = [("scheme.folds", folds, scheme.folds), ("method.inner_folds", parts, method.inner_folds)]
        return "fewer folds: " + " ".join(f"--set {key}={new}" for key, new, old in named if new != old)
    return ""


def _once(cohort: Cohort, truth: Target) -> str:
    """One training on the cohort's own split, where it has one that serves."""
    from medfm.workflows.finetune import load_finetune_recipe
    from medfm.workflows.finetune_data import split_parts

    if cohort.table["split"].isna().all():
        return "give the table a column 'split' by patient and train once on it: --recipe lp-ft"
    try:
        parts = split_parts(cohort, truth, load_finetune_recipe("lp-ft"))
    except MedfmError:
        return ""
    return f"train once on the column 'split': --recipe lp-ft (tested on {len(parts.test)} records only)"


def split_note(cohort: Cohort) -> list[str]:
    """What a reader must know whose table has a split that is not looked at."""
    tests = int((cohort.table["split"] == "test").sum())
    if not tests:
        return []
    return [
        f"The column 'split' is not looked at: all {len(cohort)} records are in the outer folds, its {tests} records of "
        "'test' among them. To learn from 'train' and test once on 'test', name a recipe (--recipe lp-ft); to keep 'test' "
        "for later, --where split=train."
    ]
