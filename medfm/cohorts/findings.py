"""What a coded check found: code, title, where, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from medfm.core.config import StrictConfig
from medfm.core.errors import ChecksFailedError

Severity = Literal["error", "warning", "info", "passed"]


class Finding(StrictConfig):
    """One outcome of one check.

    Attributes:
        code: Stable code, such as ``"L001"`` (L leakage, T table, F files, U units, S statistics, E ECGs, R retina, M brain MRI,
            X chest radiographs).
        severity: ``error`` stops a workflow unless its code is allowed; ``passed`` is kept so
            that a report can list what was checked.
        title: The check in a few words.
        detail: What was found, with counts.
        records: Up to ten of the cohort's record ids concerned.
        fix: What to do about it.
        allowed: True when the user allowed this code; it is then stamped on every output.
    """

    code: str
    severity: Severity
    title: str
    detail: str = ""
    records: tuple[str, ...] = ()
    fix: str = ""
    allowed: bool = False


def allow(findings: Iterable[Finding], codes: Sequence[str]) -> tuple[Finding, ...]:
    """Mark the findings whose code the user allowed (``--allow CODE``)."""
    return tuple(f.model_copy(update={"allowed": True}) if f.code in codes else f for f in findings)


def stop_on_errors(findings: Iterable[Finding]) -> None:
    """Raise :class:`ChecksFailedError` if a finding is an error that was not allowed."""
    bad = [f for f in findings if f.severity == "error" and not f.allowed]
    if bad:
        lines = [f"{f.code} {f.title}: {f.detail}" + (f"\n      to do: {f.fix}" if f.fix else "") for f in bad]
        codes = " ".join(f"--allow {code}" for code in sorted({f.code for f in bad}))
        raise ChecksFailedError(
            f"{len(bad)} check{'s' if len(bad) > 1 else ''} failed:\n  - " + "\n  - ".join(lines),
            fix=f"mend the cohort; if you know better, {codes} goes on and stamps every output",
        )
