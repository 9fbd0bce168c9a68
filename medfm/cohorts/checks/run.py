"""Run the checks: the quick ones before every workflow, all of them for ``medfm data check``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from medfm.cohorts.checks.content import check_content, check_copies
from medfm.cohorts.checks.files import check_files
from medfm.cohorts.checks.scan import scan
from medfm.cohorts.checks.table import check_classes, check_groups, check_table
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding, allow
from medfm.core.progress import ProgressMaker, Silent

_ORDER = {"error": 0, "warning": 1, "info": 2, "passed": 3}


def run_checks(
    cohort: Cohort,
    target: str | Literal[False] | None = None,
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
        target: The column to be predicted; the YAML's, else ``label`` where there is one;
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
    if chosen is not None:
        cohort.column(chosen)
    findings = [
        *check_table(cohort, chosen),
        *check_files(cohort, deep=deep),
        *check_groups(cohort, chosen, tuple(training_data)),
    ]
    if chosen is not None:
        findings += check_classes(cohort, chosen, folds)
    if deep:
        findings += check_content(cohort, scan(cohort, progress, workers), chosen)
    elif content_keys is not None:
        findings += check_copies(cohort, content_keys, chosen)
    findings.sort(key=lambda f: (_ORDER[f.severity], f.code))
    return allow(findings, list(cohort.info.get("allowed_codes", [])))


def default_target(cohort: Cohort) -> str | None:
    """The target named in the cohort's YAML, else ``label`` where there is such a column."""
    named = cohort.info.get("target")
    if named in cohort.table.columns:
        return str(named)
    return "label" if "label" in cohort.table.columns else None
