"""What the adapters of retina sets share: tasks, grades, tables in CSV or Excel, images by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

from typing_extensions import Self

from medfm.cohorts.adapters.base import IMAGE_ENDINGS, Adapter, Found, Row
from medfm.cohorts.adapters.ecg import read_csv
from medfm.core.errors import CohortError, ReadError
from medfm.io.xlsx import read_xlsx

# International Clinical Diabetic Retinopathy scale (Wilkinson et al., Ophthalmology 110 (2003) 1677).
ICDR = {
    "0": "no diabetic retinopathy",
    "1": "mild diabetic retinopathy",
    "2": "moderate diabetic retinopathy",
    "3": "severe diabetic retinopathy",
    "4": "proliferative diabetic retinopathy",
}
GLAUCOMA = {"0": "no glaucoma", "1": "glaucoma"}


class RetinaAdapter(Adapter):
    """A set of fundus photographs; ``label`` is the published code, ``label_name`` says it in words.

    Attributes:
        label_sets: Label set of the knowledge per task; under ``""`` of a set with one task.
    """

    modality = "retina"
    columns: tuple[str, ...] = ("label_name", "laterality")
    label_sets: Mapping[str, str] = MappingProxyType({})

    def __init__(self, task: str | None = None) -> None:
        self.chosen_task = task or (self.tasks[0] if self.tasks else None)
        self.label_set = self.label_sets.get(self.chosen_task or "")

    @property
    def name(self) -> str:
        """``idrid-dr``: the set with its task where it has several."""
        return f"{self.id}-{self.chosen_task}" if self.chosen_task else self.id

    def cohort_names(self) -> list[str]:
        """Every task."""
        return [f"{self.id}-{task}" for task in self.tasks] or [self.id]

    def variant(self, task: str | None = None, labels: str | None = None) -> Self:
        """As of :meth:`Adapter.variant`."""
        super().variant(task, labels)
        return self if task is None else _variant(type(self), task)  # type: ignore[return-value]

    def coded(self, code: str, names: dict[str, str], where: str) -> Row:
        """``label`` and ``label_name`` of a published code.

        Raises:
            CohortError: The code is not one of `names`.
        """
        code = code.removesuffix(".0")
        if code not in names:
            raise CohortError(
                f"The label '{code[:20]}' is not one of this set.", where=where, expected=", ".join(names)
            )
        return {"label": code, "label_name": names[code]}

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """As of :meth:`Adapter.find`; rows whose image is not in the folder are left out and counted as missing."""
        found = super().find(source, splits)
        rows = [row for row in found.rows if row["path"] is not None]
        absent = len(found.rows) - len(rows)
        partial = (f"{absent:,} of {len(found.rows):,} photographs that the tables list are absent",) if absent else ()
        return Found(rows, self.notes_on(rows), partial, self.expected_of(rows))

    def notes_on(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """Notes that depend on what was found."""
        return ()

    def expected_of(self, rows: Sequence[Row]) -> Mapping[str, int] | None:
        """Published counts that hold for what was found; :attr:`expected` where ``None``."""
        return None


@cache
def _variant(kind: type[RetinaAdapter], task: str) -> RetinaAdapter:
    return kind(task)


def stem(name: str) -> str:
    """A file name without folders and ending, in lower case: how tables and files are matched."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1].lower()
    return last.rsplit(".", 1)[0] if last.endswith(IMAGE_ENDINGS) else last


def images_below(source: Path, folder: Path | None = None, endings: Sequence[str] = IMAGE_ENDINGS) -> dict[str, str]:
    """Every image at any depth: stem -> path relative to `source`.

    Raises:
        CohortError: Two images have one name, so a table does not tell which is meant.
    """
    found: dict[str, str] = {}
    for file in sorted((folder or source).rglob("*")):
        if file.suffix.lower() not in endings or file.name.startswith("."):
            continue
        path = file.relative_to(source).as_posix()
        other = found.setdefault(stem(file.name), path)
        if other != path:
            raise CohortError(
                f"Two images are called {file.name}: {other} and {path}.",
                where=str(source),
                fix="name the folder of the release alone with --source, without copies",
            )
    return found


def read_any(file: Path, where: str, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row by column) of a CSV file or of the first sheet of a workbook; as of :func:`ecg.read_csv`."""
    if file.suffix.lower() != ".xlsx":
        yield from read_csv(file, where, needed)
        return
    try:
        rows = read_xlsx(file, needed, where)
    except ReadError as error:
        raise CohortError(error.what, where=error.where, expected=error.expected, fix=error.fix) from error
    yield from enumerate(rows, 2)


def table_like(source: Path, pattern: str) -> Path | None:
    """The first CSV or workbook below `source` whose name fits the glob `pattern` (without ending)."""
    hits = [
        f for ending in (".csv", ".xlsx") for f in sorted(source.rglob(f"{pattern}{ending}")) if f.name[0] not in ".~"
    ]
    return hits[0] if hits else None


def among(names: Sequence[str], header: dict[str, str], where: str) -> str:
    """The first of several spellings of a column that a row has.

    Raises:
        CohortError: It has none of them.
    """
    for name in names:
        if name in header:
            return name
    raise CohortError(f"The table has no column '{names[0]}'.", where=where, expected=" or ".join(names))
