"""The steps of ``medfm data``: list, prepare, check, synthesize."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medfm.cohorts.adapters import get_adapter, list_adapters
from medfm.cohorts.adapters import prepare as prepare_set
from medfm.cohorts.adapters.base import Prepared
from medfm.cohorts.checks import run_checks
from medfm.cohorts.checks.run import resolve_target
from medfm.cohorts.findings import Finding
from medfm.cohorts.info import load_info
from medfm.cohorts.load import load_cohort
from medfm.core.config import StrictConfig
from medfm.core.errors import MedfmError, StoreError
from medfm.core.progress import ProgressMaker, Silent


class CheckReport(StrictConfig):
    """What ``medfm data check`` found.

    Attributes:
        cohort: Name of the cohort.
        records: Rows checked.
        patients: Different patients (or what stands in for them).
        target: The label column checked, the 0/1 columns of a multilabel task, or ``None``.
        classes: Records per class of the target, or positive records per label; empty for many-valued targets.
        synthetic: Whether the cohort was drawn by a program.
        findings: All outcomes, errors first.
        ok: False when an error was found that was not allowed.
    """

    cohort: str
    records: int
    patients: int
    target: str | tuple[str, ...] | None
    classes: dict[str, int]
    synthetic: bool
    findings: tuple[Finding, ...]
    ok: bool


def check(
    table: str | Path,
    *,
    modality: str | None = None,
    root: str | Path | None = None,
    map: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    allow: Sequence[str] = (),
    target: str | Sequence[str] | None = None,
    trained_on: Sequence[str] = (),
    folds: int = 5,
    deep: bool = True,
    deidentified: bool = False,
    progress: ProgressMaker = Silent,
) -> CheckReport:
    """Load a cohort and run every check on it (see :func:`medfm.cohorts.checks.run_checks`).

    With `deidentified`, files that say who they are from (P001, P002) are errors instead of warnings.

    Raises:
        CohortError: The table is too malformed to be checked.
    """
    cohort = load_cohort(table, modality, root, map, where, allow, check=False)
    chosen = resolve_target(cohort, target)
    findings = run_checks(cohort, chosen, deep, trained_on, progress, folds)
    if deidentified:
        findings = _strict(findings)
    if chosen is None or isinstance(chosen, str):
        classes = Counter(cohort.table[chosen].dropna().map(str)) if chosen else Counter()
        ordered = dict(sorted(classes.items()))
    else:
        ordered = {label: int((cohort.table[label] == 1).sum()) for label in chosen}
    return CheckReport(
        cohort=cohort.name,
        records=len(cohort),
        patients=int(cohort.table["patient_id"].nunique()),
        target=chosen if chosen is None or isinstance(chosen, str) else tuple(chosen),
        classes=ordered if len(ordered) <= 100 else {},
        synthetic=cohort.synthetic,
        findings=findings,
        ok=not any(f.severity == "error" and not f.allowed for f in findings),
    )


def _strict(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """`findings` with those about identity (P) as errors, which come first."""
    raised = [
        f.model_copy(update={"severity": "error"}) if f.code[0] == "P" and f.severity in ("warning", "info") else f
        for f in findings
    ]
    return tuple(sorted(raised, key=lambda f: f.severity != "error"))


def list_sets() -> list[dict[str, Any]]:
    """The facts of every public data set that can be prepared."""
    return [get_adapter(name).info() for name in list_adapters()]


def prepare(
    name: str,
    source: str | Path,
    out: str | Path,
    *,
    overwrite: bool = False,
    **settings: Any,
) -> Prepared:
    """Write the cohort table of the public set `name`.

    Args:
        name, source, out, settings: As of :func:`medfm.cohorts.adapters.registry.prepare`.
        overwrite: Whether a table that the same set wrote there may be replaced.

    Raises:
        StoreError: `out` holds a prepared table and `overwrite` is false, or (always) a table that this set
            and variant did not write.
    """
    if not overwrite:
        _refuse_a_table(Path(out))
    return prepare_set(name, source, out, **settings)


def _refuse_a_table(out: Path) -> None:
    """A table may have been worked on since it was written: it is replaced only where that was asked for.

    One that no adapter wrote is left to the adapter, which never replaces it.
    """
    for table in (out / "labels.csv", out / "labels.parquet"):
        try:
            prepared = table.exists() and bool(load_info(table).prepared_as)
        except MedfmError:
            prepared = False
        if prepared:
            raise StoreError(
                "The output folder holds a prepared cohort already.",
                where=str(table),
                fix="choose another folder with --out, or pass --overwrite to prepare the same set again",
            )
