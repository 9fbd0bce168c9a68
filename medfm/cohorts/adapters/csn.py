"""CSN (Chapman-Shaoxing-Ningbo): 45,152 ten-second recordings with SNOMED CT codes in their headers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row
from medfm.cohorts.adapters.ecg import CORRECTED, PUBLISHED, EcgAdapter, left_out, random_split, read_csv
from medfm.cohorts.adapters.ecg_header import HeaderFacts, header_facts
from medfm.cohorts.adapters.ecg_labels import positives_in_test, split_sizes
from medfm.cohorts.adapters.merl_splits import SplitRow
from medfm.core.errors import CohortError

RECORDS, CONDITIONS = "WFDBRecords", "ConditionNames_SNOMED-CT.csv"
# Acronyms of the release without a label column in MERL's files; of them VPE kept its records there.
_KEPT_WITHOUT_COLUMN = "VPE"
_THREADS = 8


class Csn(EcgAdapter):
    """38 labels; codes become acronyms by the release's own table, by exact code."""

    id = "csn"
    title = "Chapman-Shaoxing-Ningbo (CSN)"
    aliases = ("chapman", "Chapman-Shaoxing-Ningbo", "Chapman-Shaoxing", "ecg-arrhythmia")
    layout = f"{CONDITIONS} and {RECORDS}/NN/NNN/JSNNNNN.hea with .mat"
    where = "physionet.org/content/ecg-arrhythmia/1.0.0"
    licence = "CC BY 4.0"
    citation = "Zheng J. et al., Scientific Reports 10 (2020) 2898"
    columns = ("age", "sex", "dx_snomed")
    unverified = (
        "how many recordings the release holds (45,152 is published) and how many have one of the labels: counts "
        "are enforced with split files (--splits) only",
    )

    def __init__(self, task: str | None = None, labelling: str = CORRECTED) -> None:
        super().__init__(task, labelling)
        self.task = "multilabel, 38 labels"
        self.expected = split_sizes(self.id)
        if labelling == PUBLISHED:
            self.expected |= positives_in_test(self.id)
        self.notes = (
            "who a recording is from is not published: patients are unknown",
            f"where {CONDITIONS} gives one code to several acronyms the first is taken (LBBB, MI)",
            "sinus bradycardia (SB) is no label: recordings with nothing else are left out",
        )
        if labelling == PUBLISHED:
            self.notes += (
                "as published: a label is set where its acronym is a part of the joined acronyms (AF by AFIB, ST by "
                "STTC, STE, STDD and STTU, SA by LVQRSAL, AVB by 1AVB and 2AVB, VB by every AVB, CR by CCR), and a "
                f"recording with a code outside {CONDITIONS} is left out; not for clinical use",
            )

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """One row per recording with one of the labels."""
        folder = self.folder_with(source, RECORDS, why=f"there is no folder {RECORDS}")
        if not (folder / CONDITIONS).is_file():
            raise self.missing(source, f"there is no {CONDITIONS}")
        acronyms = read_conditions(folder / CONDITIONS)
        published = self.merl_rows(source, splits)
        if published is not None:
            return self._listed(source, folder, published, acronyms)
        files = sorted(folder.glob(f"{RECORDS}/*/*/*.hea"))
        facts = _headers(files, source)
        rows: list[Row] = []
        unknown = unlabelled = 0
        for file, about in zip(files, facts, strict=True):
            found = [acronyms[code] for code in about.codes if code in acronyms]
            if self.labelling == PUBLISHED and (len(found) < len(about.codes) or not found):
                unknown += 1
                continue
            ones = self.labels_of(found)
            if any(ones.values()) or (self.labelling == PUBLISHED and _KEPT_WITHOUT_COLUMN in found):
                rows.append({**_row(file, source, about), **ones})
            else:
                unlabelled += 1
        chosen = random_split([row["path"] for row in rows])
        rows = [{**row, "split": chosen[row["path"]]} for row in rows]
        notes = [left_out(unlabelled, len(files), "none of the 38 labels")] if unlabelled else []
        if unknown:
            notes.append(left_out(unknown, len(files), f"'Unknown', with a code that {CONDITIONS} does not have"))
        notes.append(
            "the split is random (a fifth for testing, a tenth of the rest for validation, seed 42, over the sorted "
            "paths); MERL's files have other records per split (--splits reads them)"
        )
        return Found(rows, tuple(notes), (), {})

    def labels_of(self, acronyms: Sequence[str]) -> dict[str, int]:
        """The 0/1 columns of a recording with these acronyms, under this label variant."""
        if self.labelling == PUBLISHED:
            joined = ",".join(acronyms)
            return {label: int(label in joined) for label in self.labels}
        return self.positive(acronyms)

    def _listed(self, source: Path, folder: Path, published: list[SplitRow], acronyms: dict[str, str]) -> Found:
        """The records and splits of MERL's files."""
        kept: list[tuple[SplitRow, Path]] = []
        for row in published:
            inside = row.cells.get("ecg_path", "").partition(f"{RECORDS}/")[2]
            file = (folder / RECORDS / inside).with_suffix(".hea")
            if not inside or ".." in Path(inside).parts:
                raise CohortError("A path of the split files is not as published.", expected=f"/chapman/{RECORDS}/...")
            if file.is_file():
                kept.append((row, file))
        facts = _headers([file for _, file in kept], source)
        rows: list[Row] = []
        for (row, file), about in zip(kept, facts, strict=True):
            exact = [acronyms[code] for code in about.codes if code in acronyms]
            ones = row.labels if self.labelling == PUBLISHED else self.labels_of(exact)
            rows.append({**_row(file, source, about), "split": row.split, **ones})
        absent = len(published) - len(kept)
        partial = (f"{absent:,} recordings of the split files are not in the folder",) if absent else ()
        return Found(rows, ("records and splits are those of MERL's split files",), partial)


def read_conditions(file: Path) -> dict[str, str]:
    """SNOMED CT code -> acronym, the first of a code, from the table of the release.

    Raises:
        CohortError: The table is not as published.
    """
    try:
        head = file.read_text(encoding="utf-8-sig").partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise CohortError("The table of conditions cannot be read.", where=CONDITIONS) from error
    # Copies differ in the spaces of the names: "Acronym Name", "AcronymName".
    names = {name.strip().replace(" ", "").lower(): name.strip() for name in head.split(",")}
    needed = [names.get(key, key) for key in ("acronymname", "snomed_ct")]
    acronyms: dict[str, str] = {}
    for _, cells in read_csv(file, CONDITIONS, needed):
        acronym, code = (cells[name] for name in needed)
        acronyms.setdefault(code.removesuffix(".0"), acronym)
    return acronyms


def _headers(files: Sequence[Path], source: Path) -> list[HeaderFacts]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda f: header_facts(f, f.relative_to(source).as_posix()), files))


def _row(file: Path, source: Path, about: HeaderFacts) -> Row:
    return {
        "record_id": file.stem,
        "path": file.relative_to(source).as_posix(),
        "age": about.age,
        "sex": about.sex,
        "dx_snomed": " ".join(about.codes) or None,
    }


CSN = Csn()
