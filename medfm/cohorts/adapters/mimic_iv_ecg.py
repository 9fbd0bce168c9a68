"""MIMIC-IV-ECG: about 800,000 recordings with machine reports, the pairs that MERL is pretrained on.

The table is Parquet and written in batches: memory holds the list of recordings as numbers and packed
paths, and one batch of reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from medfm.cohorts.adapters.base import Prepared, Row
from medfm.cohorts.adapters.ecg import CORRECTED, PUBLISHED, EcgAdapter, left_out
from medfm.cohorts.adapters.mimic_report import FEWEST_WORDS, clean_report
from medfm.cohorts.info import CohortInfo, info_path
from medfm.core.errors import CohortError
from medfm.core.files import atomic_path, make_folder, write_text

if TYPE_CHECKING:
    import pyarrow as pa

LIST, REPORTS = "record_list.csv", "machine_measurements.csv"
REPORT_COLUMNS = tuple(f"report_{i}" for i in range(18))
VALIDATION_SHARE = 0.02
SEED = 42
_BLOCK = 8 << 20
# What pandas, with which the published notebook reads the table, takes for an absent cell.
_ABSENT = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null"),
)


class MimicIvEcg(EcgAdapter):
    """Pairs of recording and report, joined by study, reports of at least four words."""

    id = "mimic-iv-ecg"
    title = "MIMIC-IV-ECG"
    aliases = (
        "MIMIC-IV-ECG 1.0",
        "mimic-ecg",
        "mimic-iv-ecg-diagnostic-electrocardiogram-matched-subset-1.0",
    )
    layout = f"{LIST}, {REPORTS} and files/pNNNN/pNNNNNNNN/sNNNNNNNN/NNNNNNNN.hea with .dat"
    where = "physionet.org/content/mimic-iv-ecg/1.0"
    licence = "ODbL 1.0 (read its page)"
    citation = "Gow B. et al., MIMIC-IV-ECG: Diagnostic Electrocardiogram Matched Subset, PhysioNet 2023"
    task = "pretraining pairs, recording and report"
    patients = True
    multilabel = False
    expected = {"total": 771693}
    unverified = (
        "771,693 is the number of reports a comment of MERL's notebook expects; joined pairs were not counted",
        "the licence was not read on its page",
    )

    def __init__(self, task: str | None = None, labelling: str = CORRECTED) -> None:
        super().__init__(task, labelling)
        split = (
            "as published: 2 in 100 pairs validate, drawn with seed 42 over the pairs in the order of "
            f"{REPORTS}; a patient may be in both parts"
            if labelling == PUBLISHED
            else "2 in 100 patients validate, drawn with seed 42; MERL drew records instead (@published)"
        )
        self.notes = (
            "recordings and reports are joined by study_id; the published notebook pairs them by position, which is "
            "no join",
            f"reports are cleaned as published and kept from {FEWEST_WORDS} words on",
            split,
            "signal files are not looked for; medfm data check does",
        )

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per pair, in the order of the reports."""
        for batch in self._pairs(source, _Tally()):
            yield from batch.to_pylist()

    def prepare(
        self, source: str | Path, out: str | Path, *, allow_partial: bool = False, splits: str | Path | None = None
    ) -> Prepared:
        """Write ``labels.parquet`` and ``labels.yaml`` into `out`; as of :meth:`Adapter.prepare`."""
        import pyarrow.parquet as pq

        if splits is not None:
            raise CohortError(f"{self.title} is not prepared from published split files.", fix="leave out --splits")
        folder, table = Path(source), Path(out) / "labels.parquet"
        if not folder.is_dir():
            raise self.missing(folder, "the folder does not exist")
        self._refuse_other_table(table)
        tally = _Tally()
        base = self._base(folder)
        batches = self._pairs(base, tally)
        first = next(batches, None)
        if first is None:
            raise self.missing(folder, "no report has a recording")
        make_folder(table.parent)
        # The rows go to a temporary name; nothing stands under the final one until the counts are right.
        with atomic_path(table) as temporary:
            with pq.ParquetWriter(temporary, first.schema, compression="zstd") as writer:
                writer.write_table(first)
                for batch in batches:
                    writer.write_table(batch)
            differences = self._differences(tally)
            if differences and not allow_partial:
                raise self._differs(folder, differences)
            notes = tally.notes()
            info = self.describe(base, tally.kept, tally.splits, differences, notes)
            write_text(
                info_path(table),
                yaml.safe_dump(info.model_dump(exclude_defaults=True), sort_keys=False, allow_unicode=True),
            )
        return Prepared(table, info_path(table), tally.kept, tally.splits, not differences, tuple(differences))

    def describe(self, *args: Any) -> CohortInfo:
        """As of :meth:`Adapter.describe`, without a target."""
        return super().describe(*args).model_copy(update={"target": None})

    def _differences(self, tally: _Tally) -> list[str]:
        number = self.expected["total"]
        return [] if tally.kept == number else [f"total: expected {number:,}, found {tally.kept:,}"]

    def _base(self, source: Path) -> Path:
        folder = self.folder_with(source, LIST, REPORTS, why=f"there are no files {LIST} and {REPORTS}")
        return folder

    def _pairs(self, source: Path, tally: _Tally) -> Iterator[pa.Table]:
        """Tables record_id, path, patient_id, split, text; counts what is left out."""
        import pyarrow as pa

        folder = self._base(source)
        recordings = _Recordings.read(folder / LIST)
        validates = self._validation(folder, recordings)
        seen = 0
        for studies, texts in _reports(folder / REPORTS, tally):
            rows = recordings.find(studies)
            has = rows >= 0
            tally.unpaired += int((~has).sum())
            rows, texts = rows[has], [t for t, h in zip(texts, has, strict=True) if h]
            if len(rows) == 0:
                continue
            val = validates[seen : seen + len(rows)] if self.labelling == PUBLISHED else validates[rows]
            seen += len(rows)
            tally.add(val)
            yield pa.table(
                {
                    "record_id": pa.array(studies[has].astype(str)),
                    "path": recordings.paths_of(rows),
                    "patient_id": pa.array(recordings.subjects[rows].astype(str)),
                    "split": pa.array(np.where(val, "val", "train")),
                    "text": pa.array(texts, pa.string()),
                }
            )

    def _validation(self, folder: Path, recordings: _Recordings) -> np.ndarray:
        """Whether a pair validates: by row of the list of recordings, or by its place among the pairs (published)."""
        if self.labelling != PUBLISHED:
            patients = np.unique(recordings.subjects)
            drawn = np.random.default_rng(SEED).permutation(patients)[: round(VALIDATION_SHARE * len(patients))]
            return np.isin(recordings.subjects, drawn)
        from sklearn.model_selection import train_test_split

        kept = sum(int((recordings.find(studies) >= 0).sum()) for studies, _ in _reports(folder / REPORTS, _Tally()))
        validates = np.zeros(kept, dtype=bool)
        if kept > 1:
            validates[train_test_split(np.arange(kept), test_size=VALIDATION_SHARE, random_state=SEED)[1]] = True
        return validates


@dataclass
class _Tally:
    """What became of the reports."""

    reports: int = 0
    short: int = 0
    unpaired: int = 0
    val: int = 0
    kept: int = 0

    def add(self, val: np.ndarray) -> None:
        """Count a batch that is kept."""
        self.kept += len(val)
        self.val += int(val.sum())

    @property
    def splits(self) -> dict[str, int]:
        """Pairs per split."""
        return {"train": self.kept - self.val, "val": self.val}

    def notes(self) -> list[str]:
        """Notes on what is left out."""
        notes = []
        if self.short:
            notes.append(left_out(self.short, self.reports, f"the report has fewer than {FEWEST_WORDS} words"))
        if self.unpaired:
            notes.append(left_out(self.unpaired, self.reports, f"the study is not in {LIST}"))
        return notes


class _Recordings:
    """The list of recordings, sorted by study: numbers, and paths packed by Arrow."""

    def __init__(self, studies: np.ndarray, subjects: np.ndarray, paths: pa.ChunkedArray) -> None:
        order = np.argsort(studies, kind="stable")
        self.studies, self.subjects, self.order = studies[order], subjects[order], order
        self._paths = paths

    @classmethod
    def read(cls, file: Path) -> _Recordings:
        import pyarrow as pa

        types = {"study_id": pa.int64(), "subject_id": pa.int64(), "path": pa.string()}
        table = pa.Table.from_batches(_stream(file, types), schema=pa.schema(types))
        if any(column.null_count for column in table.columns):
            raise CohortError("A row has no study_id, subject_id or path.", where=LIST)
        found = cls(table["study_id"].to_numpy(), table["subject_id"].to_numpy(), table["path"])
        if len(np.unique(found.studies)) < len(found.studies):
            raise CohortError("A study_id appears twice.", where=LIST, expected="one recording per study")
        return found

    def find(self, studies: np.ndarray) -> np.ndarray:
        """int64: the row of each study, -1 where it is not in the list."""
        if len(self.studies) == 0:
            return np.full(len(studies), -1)
        rows = np.minimum(np.searchsorted(self.studies, studies), len(self.studies) - 1)
        return np.where(self.studies[rows] == studies, rows, -1)

    def paths_of(self, rows: np.ndarray) -> pa.Array:
        """The header files of these rows."""
        import pyarrow.compute as pc

        return pc.binary_join_element_wise(self._paths.take(self.order[rows]).combine_chunks(), ".hea", "")


def _reports(file: Path, tally: _Tally) -> Iterator[tuple[np.ndarray, list[str]]]:
    """(study ids, sentences) of the reports that are long enough, batch by batch."""
    import pyarrow as pa

    for batch in _stream(file, {"study_id": pa.int64(), **dict.fromkeys(REPORT_COLUMNS, pa.string())}):
        studies = batch.column(0)
        if studies.null_count:
            raise CohortError("A row has no study_id.", where=REPORTS)
        columns = [batch.column(i + 1).to_pylist() for i in range(len(REPORT_COLUMNS))]
        cleaned = [clean_report(lines) for lines in zip(*columns, strict=True)]
        kept = np.array([words >= FEWEST_WORDS for _, words in cleaned], dtype=bool)
        tally.reports += len(cleaned)
        tally.short += int((~kept).sum())
        yield studies.to_numpy()[kept], [text for text, words in cleaned if words >= FEWEST_WORDS]


def _stream(file: Path, types: dict[str, Any]) -> Iterator[pa.RecordBatch]:
    """Batches of the columns of a large CSV file.

    Raises:
        CohortError: The file is not as published.
    """
    import pyarrow as pa
    from pyarrow import csv

    try:
        with csv.open_csv(
            file,
            read_options=csv.ReadOptions(use_threads=False, block_size=_BLOCK),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                include_columns=list(types),
                column_types=types,
                null_values=_ABSENT,
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        ) as reader:
            yield from reader
    except (pa.ArrowException, OSError, KeyError) as error:
        # Arrow's message may quote a row; only the kind of error is repeated.
        raise CohortError(
            f"The table cannot be read ({type(error).__name__}).",
            where=file.name,
            expected="the columns " + _names(list(types)),
            fix="download the table again",
        ) from None


def _names(columns: Sequence[str]) -> str:
    return ", ".join(columns[:3]) + (f" ... {columns[-1]}" if len(columns) > 3 else "")


MIMIC_IV_ECG = MimicIvEcg()
