"""Run the checks: the quick ones before every workflow, all of them for ``medfm data check``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from medfm.cohorts.checks.content import check_content, check_copies
from medfm.cohorts.checks.files import check_files
from medfm.cohorts.checks.headers import check_headers
from medfm.cohorts.checks.identity import check_identity
from medfm.cohorts.checks.people import check_people
from medfm.cohorts.checks.scan import scan
from medfm.cohorts.checks.table import Target, check_classes, check_groups, check_table
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding, allow
from medfm.core.progress import ProgressMaker, Silent

_ORDER = {"error": 0, "warning": 1, "info": 2, "passed": 3}


def run_checks(
    cohort: Cohort,
    target: Target | Literal[False] | None = None,
    deep: bool = True,
    training_data: Sequence[str] = (),
    progress: ProgressMaker = Silent,
    folds: int = 5,
    workers: int | None = None,
    content_keys: Sequence[str | None] | None = None,
) -> tuple[Finding, ...]:
    """Check `cohort` and say what was found, errors first, passed checks last.

    Args:
        cohort: The cohort. Codes allowed when it was loaded are marked as allowed.
        target: The column to be predicted, or the 0/1 columns of a multilabel task; the YAML's, else ``label`` where there is one;
            ``False`` leaves the labels unchecked.
        deep: Whether to read every file (content, copies, pixels). False takes well under a
            second for 20 000 records; missing files are then a warning, since embedding
            records them one by one.
        training_data: Names of the sets the encoder was trained on (from its card).
        progress: Called with (title, total, unit) for the pass over the files.
        folds: Cross-validation folds planned, for the number of patients per class.
        workers: Threads that read files; one per core when ``None``.
        content_keys: For a quick check of a cohort whose contents are known already: one key per
            row, equal for equal content, ``None`` where it is not known. Runs L002 to L004 too.

    Raises:
        CohortError: There is no column `target`.
    """
    chosen = None if target is False else target or default_target(cohort)
    for name in [] if chosen is None else [chosen] if isinstance(chosen, str) else chosen:
        cohort.column(name)
    findings = [
        *check_table(cohort, chosen),
        *check_people(cohort),
        *check_files(cohort, deep=deep),
        *check_groups(cohort, chosen, tuple(training_data)),
    ]
    if chosen is not None:
        findings += check_classes(cohort, chosen, folds)
    if deep:
        findings += check_content(cohort, scan(cohort, progress, workers), chosen)
        findings += check_identity(cohort)
        findings += check_headers(cohort)
    elif content_keys is not None:
        findings += check_copies(cohort, content_keys, chosen)
    findings.sort(key=lambda f: (_ORDER[f.severity], f.code))
    return allow(findings, list(cohort.info.get("allowed_codes", [])))


def default_target(cohort: Cohort) -> str | list[str] | None:
    """The target named in the cohort's YAML (a list for 0/1 columns), else ``label`` where there is such a column."""
    named = cohort.info.get("target")
    if isinstance(named, (list, tuple)):
        # A listed column that is gone is said by name where the target is used, not passed over.
        return [str(name) for name in named]
    if named in cohort.table.columns:
        return str(named)
    return "label" if "label" in cohort.table.columns else None


def resolve_target(cohort: Cohort, target: Target | None) -> str | list[str] | None:
    """The column or columns that `target` means.

    ``None`` is the cohort's own target. The name of the cohort's label set (``"ptbxl-super"``) is the list of
    its 0/1 columns, so that a published result can name a multilabel target in a word. Anything else is
    taken as it is.
    """
    if target is None:
        return default_target(cohort)
    if not isinstance(target, str):
        return list(target)
    own = cohort.info.get("target")
    if target == cohort.info.get("label_set") and target not in cohort.table.columns and isinstance(own, (list, tuple)):
        return default_target(cohort)
    return target
