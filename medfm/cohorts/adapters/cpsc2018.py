"""CPSC2018 (also called ICBEB 2018): 6,877 recordings of 6 to 60 seconds, nine labels."""

from __future__ import annotations

import re
from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row
from medfm.cohorts.adapters.ecg import CORRECTED, PUBLISHED, EcgAdapter, left_out, random_split, read_csv
from medfm.cohorts.adapters.ecg_header import HeaderFacts, header_facts
from medfm.cohorts.adapters.ecg_labels import positives, positives_in_test, split_sizes
from medfm.core.errors import CohortError

REFERENCE = "REFERENCE.csv"
# Numbers of REFERENCE.csv.
NUMBERS = dict(enumerate(("NORM", "AFIB", "1AVB", "CLBBB", "CRBBB", "PAC", "VPC", "STD", "STE"), start=1))
# SNOMED CT codes of the PhysioNet/CinC 2020 copy of the set, as its table of diagnoses names them.
SNOMED = {
    "426783006": "NORM",
    "164889003": "AFIB",
    "270492004": "1AVB",
    "164909002": "CLBBB",
    "59118001": "CRBBB",
    "284470004": "PAC",
    "164884008": "VPC",
    "429622005": "STD",
    "164931005": "STE",
}
_RECORD = re.compile(r"A\d{4}")
_COLUMNS = ("Recording", "First_label", "Second_label", "Third_label")


class Cpsc2018(EcgAdapter):
    """Labels from REFERENCE.csv of the challenge, or from the headers of the PhysioNet copy."""

    id = "cpsc2018"
    title = "CPSC2018"
    aliases = ("CPSC 2018", "icbeb", "ICBEB2018", "cpsc_2018")
    layout = f"{REFERENCE} with A0001.mat to A6877.mat, or A0001.hea with .mat as PhysioNet gives them, in any folders"
    where = "2018.icbeb.org/Challenge.html, or physionet.org/content/challenge-2020 (training/cpsc_2018)"
    licence = "CC BY 4.0 (PhysioNet copy)"
    citation = "Liu F. et al., Journal of Medical Imaging and Health Informatics 8 (2018) 1368"
    columns = ("age", "sex")
    unverified = (
        "the licence of the challenge's own files",
        "the counts per label are those of MERL's split files",
    )

    def __init__(self, task: str | None = None, labelling: str = CORRECTED) -> None:
        super().__init__(task, labelling)
        self.task = "multilabel, 9 labels"
        self.expected = {"total": 6877, **positives(self.id)}
        self.notes = (
            "who a recording is from is not published: patients are unknown",
            "CRBBB and CLBBB are 59118001 and 164909002 (right, left bundle branch block) in the PhysioNet copy",
        )
        if labelling == PUBLISHED:
            self.notes += ("for this set the published labels equal the corrected ones",)

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """One row per recording."""
        files, reference = _search(source)
        if not files:
            raise self.missing(source, "there are no recordings A0001.hea or A0001.mat")
        table = None if reference is None else read_reference(reference, reference.relative_to(source).as_posix())
        merl = self.merl_rows(source, splits)
        published = None if merl is None else {row.cells.get("filename", ""): row for row in merl}
        chosen = random_split(list(files)) if published is None else {n: r.split for n, r in published.items()}
        rows: list[Row] = []
        unlabelled = 0
        for name, file in sorted(files.items()):
            where = file.relative_to(source).as_posix()
            facts = header_facts(file, where) if file.suffix == ".hea" else HeaderFacts()
            labels = table.get(name, set()) if table is not None else _from_header(facts)
            if table is None and file.suffix != ".hea":
                raise self.missing(source, f"there is neither {REFERENCE} nor a header beside {where}")
            ones = self.positive(labels)
            if published is not None and self.labelling == PUBLISHED and name in published:
                ones = published[name].labels
            if name not in chosen or not any(ones.values()):
                unlabelled += 1
                continue
            about = {"age": facts.age, "sex": facts.sex}
            rows.append({"record_id": name, "path": where, "split": chosen[name], **about, **ones})
        notes = [left_out(unlabelled, len(files), "none of the nine labels")] if unlabelled else []
        if published is None:
            notes.append(
                "the split is random as in MERL (a fifth for testing, a tenth of the rest for validation, seed 42), "
                "over the sorted names; MERL split the order of a folder listing, so its records per split differ "
                "(--splits reads them)"
            )
            return Found(rows, tuple(notes))
        absent = sum(name not in files for name in published)
        notes.append("records and splits are those of MERL's split files")
        partial = (f"{absent:,} recordings of the split files are not in the folder",) if absent else ()
        return Found(rows, tuple(notes), partial, {**split_sizes(self.id), **positives_in_test(self.id)})


def _search(source: Path) -> tuple[dict[str, Path], Path | None]:
    """The recordings by name, headers before bare signals, and the table of labels."""
    files: dict[str, Path] = {}
    reference = None
    for file in sorted(source.rglob("*")) if source.is_dir() else []:
        if file.name == REFERENCE:
            reference = reference or file
        # Folders are searched in order, and "A0001.hea" comes before "A0001.mat" in each.
        elif file.suffix in (".hea", ".mat") and _RECORD.fullmatch(file.stem):
            known = files.setdefault(file.stem, file)
            files[file.stem] = file if (file.suffix, known.suffix) == (".hea", ".mat") else known
    return files, reference


def read_reference(file: Path, where: str) -> dict[str, set[str]]:
    """Recording -> labels, from ``REFERENCE.csv``.

    Raises:
        CohortError: The table is not as published.
    """
    table = {}
    for line, cells in read_csv(file, where, _COLUMNS):
        numbers = [cells[column].removesuffix(".0") for column in _COLUMNS[1:] if cells[column]]
        if not all(number.isdigit() and int(number) in NUMBERS for number in numbers):
            raise CohortError("A label is not a number from 1 to 9.", where=f"{where}, line {line}")
        table[cells["Recording"]] = {NUMBERS[int(number)] for number in numbers}
    return table


def _from_header(facts: HeaderFacts) -> set[str]:
    return {SNOMED[code] for code in facts.codes if code in SNOMED}


CPSC2018 = Cpsc2018()
