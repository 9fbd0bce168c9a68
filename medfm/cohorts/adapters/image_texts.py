"""What the adapters of picture-and-caption sets share: a column ``text``, no label, counts per part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from medfm.cohorts.adapters.base import Adapter, Row
from medfm.cohorts.info import CohortInfo


class TextAdapter(Adapter):
    """A set of pictures with captions, for ``medfm retrieve``; its table has no label.

    Attributes:
        part: Column that the counts are by.
    """

    modality = "histopathology"
    part = "part"

    def count(self, rows: Sequence[Row]) -> dict[str, int]:
        """Rows per part of the release."""
        return dict(sorted(Counter(str(row[self.part]) for row in rows).items()))

    def describe(
        self, source: Path, records: int, counts: Mapping[str, int], differences: Sequence[str], notes: Sequence[str]
    ) -> CohortInfo:
        """As of :meth:`Adapter.describe`, without a target."""
        made = super().describe(source, records, counts, differences, notes)
        return made.model_copy(update={"target": None})


def one_line(caption: object) -> str:
    """A caption with every run of white space as one blank; empty where there is none."""
    return " ".join(caption.split()) if isinstance(caption, str) else ""
