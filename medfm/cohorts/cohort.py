"""The cohort: a validated table of records with its modality and root folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medfm.cohorts.findings import Finding
from medfm.core.errors import CohortError, ReadError
from medfm.core.hashing import sha256_bytes
from medfm.core.names import did_you_mean
from medfm.modalities.record import Record, RecordRef
from medfm.modalities.registry import get_modality

# The columns every cohort has; patient_id falls back to record_id, site and split may be empty.
REQUIRED_COLUMNS = ("record_id", "path", "patient_id", "site", "split")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Cohort:
    """A table of records of one modality.

    Attributes:
        table: One row per record, index 0..n-1, with at least :data:`REQUIRED_COLUMNS`
            (`record_id`, `path`, `patient_id` are str; `site` and `split` are str or missing).
            `path` is relative to `root`, with forward slashes.
        modality: Name of the modality.
        root: Absolute folder the paths are relative to.
        name: Name shown in reports.
        patients_known: False when no patient column was given and every record counts as its
            own patient; statistics then cannot be patient-level, and reports say so.
        synthetic: True for cohorts written by ``medfm data synthesize``.
        info: Task, licence, citation and units from the YAML beside the table.
        findings: Outcomes of the checks that ran.
    """

    table: pd.DataFrame
    modality: str
    root: Path
    name: str = "cohort"
    patients_known: bool = True
    synthetic: bool = False
    info: dict[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def __repr__(self) -> str:
        # Sizes only: rows of the table name patients.
        patients = f"{self.table['patient_id'].nunique()} patients" if self.patients_known else "patients unknown"
        sites = self.table["site"].dropna().nunique()
        about = [repr(self.name), self.modality, f"{len(self.table)} records", patients]
        about += [f"{sites} sites"] if sites else []
        about += ["SYNTHETIC"] if self.synthetic else []
        return f"Cohort({', '.join(about)})"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(repr(self))}</pre>"

    def __len__(self) -> int:
        return len(self.table)

    @property
    def record_ids(self) -> list[str]:
        """The record ids, in table order."""
        return [str(v) for v in self.table["record_id"]]

    def refs(self) -> Iterator[RecordRef]:
        """Where each record is and how to read it, in table order.

        Raises:
            CohortError: The reader options of a row are malformed, such as a box that is not numbers
                (:func:`medfm.load_cohort` refuses such a table).
        """
        rows = self.table[["record_id", "path"]].itertuples(index=False, name=None)
        for (record_id, path), options in zip(rows, self._options(), strict=True):
            yield RecordRef(str(record_id), self.root / str(path), options)

    def check_options(self) -> None:
        """Refuse what :meth:`refs` would refuse, row by row, without making the references.

        Raises:
            CohortError: The reader options of a row are malformed.
        """
        for _ in self._options():
            pass

    def _options(self) -> Iterator[dict[str, Any]]:
        modality = get_modality(self.modality)
        columns = [c for c in modality.option_columns if c in self.table.columns]
        if not columns:
            yield from ({} for _ in range(len(self.table)))
            return
        rows = self.table[columns].itertuples(index=False, name=None)
        for number, values in enumerate(rows, start=1):
            try:
                yield modality.options(dict(zip(columns, values, strict=True)))
            except ReadError as error:
                raise CohortError(
                    f"Row {number}: {error.what}",
                    where=f"{self.name}, record {self.table['record_id'].iloc[number - 1]}",
                    expected=error.expected or "whole numbers of pixels, or empty cells",
                    fix="mend the row, or remove it",
                ) from error

    def read(self, index: int) -> Record:
        """Read the record in row `index`."""
        for position, ref in enumerate(self.subset(slice(index, index + 1)).refs()):
            if position == 0:
                return get_modality(self.modality).read(ref)
        raise CohortError(f"There is no row {index}.", where=self.name, expected=f"0 to {len(self) - 1}")

    def subset(self, rows: slice | Sequence[int] | np.ndarray) -> Cohort:
        """The cohort of the given rows: positions, a slice, or a boolean mask of length n."""
        if isinstance(rows, slice):
            return replace(self, table=self.table.iloc[rows].reset_index(drop=True))
        positions = np.asarray(rows)
        positions = np.flatnonzero(positions) if positions.dtype == bool else positions.astype(np.int64)
        return replace(self, table=self.table.iloc[positions].reset_index(drop=True))

    def where(self, condition: Callable[[pd.DataFrame], pd.Series]) -> Cohort:
        """The cohort of the rows for which `condition(table)` is true."""
        return self.subset(condition(self.table).to_numpy(dtype=bool))

    def of_split(self, split: str) -> Cohort:
        """The rows whose `split` is the given one (``"train"``, ``"val"`` or ``"test"``)."""
        return self.where(lambda table: table["split"] == split)

    def column(self, name: str) -> pd.Series:
        """The column `name`; raises :class:`CohortError` with near names when there is none."""
        if name not in self.table.columns:
            raise CohortError(
                f"The cohort has no column '{name}'.",
                where=self.name,
                fix=did_you_mean(name, [str(c) for c in self.table.columns]),
            )
        return self.table[name]

    def digest(self) -> str:
        """SHA-256 of the table (ids, paths, labels, splits): equal tables have equal digests."""
        return sha256_bytes(self.table.to_csv(index=False).encode())
