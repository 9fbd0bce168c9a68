"""MIMIC-CXR-JPG: 377,110 radiographs of Boston with observations by two labellers and official splits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row
from medfm.cohorts.adapters.chest import (
    CHEXPERT,
    IGNORE,
    ONES,
    UNKNOWN,
    ZEROS,
    ChestAdapter,
    observations,
    read_table,
    table_at,
)
from medfm.core.errors import CohortError

_PARTS = {"train": "train", "validate": "val", "test": "test"}
_PREFIX = "mimic-cxr-2.0.0-"
# Radiographs of the official split file, in all 377,110 (versions 2.0.0 and 2.1.0 have the same file).
RELEASED = {"train": 368_960, "val": 2_991, "test": 5_159}


class MimicCxr(ChestAdapter):
    """Tasks ``chexpert`` and ``negbio``: the labeller; studies without its row are left out and counted."""

    id = "mimic-cxr-jpg"
    title = "MIMIC-CXR-JPG"
    aliases = ("MIMIC-CXR", "MIMIC_CH", "mimic-cxr-jpg-2.0.0")
    layout = (
        f"{_PREFIX}split.csv.gz, {_PREFIX}metadata.csv.gz, {_PREFIX}chexpert.csv.gz, {_PREFIX}negbio.csv.gz and "
        "files/p10/p10000032/s50414267/*.jpg"
    )
    where = "physionet.org/content/mimic-cxr-jpg/2.0.0"
    licence = "PhysioNet Credentialed Health Data License 1.5.0"
    citation = "Johnson A. et al., arXiv:1901.07042"
    tasks = ("chexpert", "negbio")
    variants = (UNKNOWN, IGNORE, ZEROS, ONES)
    labels = CHEXPERT
    patients = True
    columns = ("view", "study_id")
    unverified = (
        "no count is enforced, as some studies have no labels; a split file with other counts than the release's is noted",
        "the radiologists' labels of the test part (mimic-cxr-2.1.0-test-set-labeled.csv of version 2.1.0) are not read",
        "the labels are a program's; no radiologist has read the reports",
    )

    def __init__(self, task: str | None = None, labelling: str | None = None) -> None:
        super().__init__(task, labelling)
        self.task = f"multilabel, 14 observations by the {self.chosen_task} labeller"
        blank = "unknown" if self.labelling == UNKNOWN else "absent (0)"
        unsure = {UNKNOWN: "unknown", IGNORE: "unknown", ZEROS: "absent (0)", ONES: "present (1)"}[self.labelling]
        self.notes = (f"uncertain observations (-1) are {unsure}, observations that are not mentioned {blank}",)

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """One row per radiograph of the split file whose study has labels."""
        if splits is not None:
            return super().find(source, splits)
        tables = {}
        for name in ("split", "metadata", str(self.chosen_task)):
            table = table_at(source, f"{_PREFIX}{name}.csv")
            if table is None:
                raise self.missing(source, f"there is no {_PREFIX}{name}.csv.gz")
            tables[name] = table
        views = {
            cells["dicom_id"]: cells["ViewPosition"]
            for _, cells in read_table(tables["metadata"], ("dicom_id", "ViewPosition"))
        }
        labelled = tables[str(self.chosen_task)]
        studies = {
            cells["study_id"]: observations(cells, CHEXPERT, self.labelling, f"{labelled.name}, line {line}")
            for line, cells in read_table(labelled, ("subject_id", "study_id", *CHEXPERT))
        }
        folder = tables["split"].parent
        rows: list[Row] = []
        left_out = total = 0
        listed: Counter[str] = Counter()
        for line, cells in read_table(tables["split"], ("dicom_id", "study_id", "subject_id", "split")):
            total += 1
            subject, study, name = cells["subject_id"], cells["study_id"], cells["dicom_id"]
            if cells["split"] not in _PARTS or not (subject.isdigit() and study.isdigit()):
                raise CohortError("A line is not as published.", where=f"{tables['split'].name}, line {line}")
            listed[_PARTS[cells["split"]]] += 1
            if study not in studies:
                left_out += 1
                continue
            file = folder / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}" / f"{name}.jpg"
            view = views.get(name, "")
            rows.append(
                {
                    "record_id": name,
                    "path": file.relative_to(source).as_posix() if file.is_file() else None,
                    "patient_id": subject,
                    "study_id": study,
                    "split": _PARTS[cells["split"]],
                    "view": {"LATERAL": "LL"}.get(view, view) or None,
                    **studies[study],
                }
            )
        notes = [f"{left_out:,} of {total:,} radiographs are left out: their study has no labels"] if left_out else []
        if listed != RELEASED:
            here, there = (", ".join(f"{n[part]:,} {part}" for part in RELEASED) for n in (listed, RELEASED))
            notes.append(f"the split file is not the release's: it lists {here}; the release {there}")
        return self.kept(rows, notes)


MIMIC_CXR = MimicCxr()
