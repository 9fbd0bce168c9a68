"""What was seen of the files while they were embedded, as findings of an evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from medfm.cohorts.checks.glances import check_glances
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding
from medfm.embeddings.embeddings import Embeddings


def glanced(cohort: Cohort, target: str | None, embeddings: Embeddings) -> tuple[Finding, ...]:
    """Findings that the embedding run left in the provenance, and those on the column ``view``; no file is opened.

    Args:
        cohort: The records evaluated.
        target: A categorical target, for the share of views by class.
        embeddings: Of these records, perhaps read from a file; entries that are no findings are passed over.
    """
    run: Any = embeddings.provenance.get("run")
    entries = run.get("findings", ()) if isinstance(run, Mapping) else ()
    findings: dict[str, Finding] = {}
    for entry in entries if isinstance(entries, (list, tuple)) else ():
        with contextlib.suppress(ValueError):
            finding = Finding.model_validate(entry)
            findings[finding.code] = finding
    for finding in check_glances(cohort, {}, target):
        findings.setdefault(finding.code, finding)
    return tuple(findings[code] for code in sorted(findings))


def warnings_of(findings: Iterable[Finding]) -> list[str]:
    """A sentence for each finding that is a warning, with the first record it is about."""
    return [
        f"{f.code} {f.detail}{f' (first: {f.records[0]})' if f.records else ''}"
        for f in findings
        if f.severity != "passed"
    ]
