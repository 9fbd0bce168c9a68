"""Rebuild the report and the card of result folders, from nothing but the folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medfm.core.errors import MedfmError
from medfm.core.progress import Progress, Silent
from medfm.workflows.documents import Documents, write_documents


@dataclass(frozen=True)
class Rebuilt:
    """One folder's outcome: the two paths and the documents that were asked for, or the error."""

    folder: Path
    report: Path | None = None
    card: Path | None = None
    documents: Documents | None = None
    error: MedfmError | None = None


def rebuild_reports(
    folders: Sequence[str | Path], progress: Progress | None = None, *, documents: bool = False
) -> list[Rebuilt]:
    """Write ``report.html`` and ``card.md`` of each folder anew; one bad folder does not stop the others.

    Neither the images nor the cohort's table are needed: pictures, map and figures are kept in
    the folder. `documents` writes the documents too (:mod:`medfm.workflows.documents`).
    """
    from medfm.reporting.folder import rebuild_report

    done = []
    shown = progress or Silent("reports", len(folders), "reports")
    with shown:
        for folder in map(Path, folders):
            try:
                report, card = rebuild_report(folder)
                done.append(Rebuilt(folder, report, card, write_documents(folder) if documents else None))
            except MedfmError as error:
                done.append(Rebuilt(folder, error=error))
            shown.advance()
    return done
