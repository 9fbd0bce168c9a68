"""PadChest: 160,868 radiographs of Alicante with terms from reports, read by physicians in part."""

from __future__ import annotations

import ast
from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row
from medfm.cohorts.adapters.chest import ChestAdapter, files_below, read_table, sex, table_at
from medfm.cohorts.adapters.padchest_damaged import DAMAGED
from medfm.core.errors import CohortError

TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
# Terms of the published tree that are taken, as they are spelled there.
TERMS = (
    "normal", "atelectasis", "cardiomegaly", "consolidation", "infiltrates", "interstitial pattern", "pneumonia",
    "pleural effusion", "pleural thickening", "pneumothorax", "nodule", "mass", "emphysema", "pulmonary fibrosis",
    "hiatal hernia", "copd signs", "scoliosis", "aortic elongation",
)  # fmt: skip
_VIEWS = {"PA": "PA", "AP": "AP", "AP_horizontal": "AP", "L": "LL"}


class PadChest(ChestAdapter):
    """Tasks ``all`` (every report) and ``physician`` (those read by physicians, 27 % of the set)."""

    id = "padchest"
    title = "PadChest"
    aliases = ("PC", "BIMCV-PadChest")
    layout = f"{TABLE} and the PNG files of 16 bit in folders 0 ... 54"
    where = "bimcv.cipf.es/bimcv-projects/padchest"
    licence = "the PadChest Dataset Research Use Agreement"
    citation = "Bustos A. et al., Medical Image Analysis 66 (2020) 101797, arXiv:1901.07441"
    tasks = ("all", "physician")
    labels = TERMS
    patients = True
    columns = ("view", "age", "sex", "study_id", "method")
    notes = (
        "a term counts by its exact name; the terms above it in the published tree are not filled in",
        "reports without any term are left out, and so are 21 files that are known to be absent or damaged",
        "lateral views are rows of their own (--where view=PA takes one view)",
    )
    unverified = (
        "no count is enforced: the release has 160,868 radiographs",
        "the 21 files left out as damaged are those that torchxrayvision names; a mended copy would have them whole",
    )

    def __init__(self, task: str | None = None, labelling: str | None = None) -> None:
        super().__init__(task, labelling)
        self.task = f"multilabel, {len(TERMS)} terms of reports"

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """One row per radiograph with terms."""
        if splits is not None:
            return super().find(source, splits)
        table = table_at(source, TABLE)
        if table is None:
            raise self.missing(source, f"there is no {TABLE}")
        files = files_below(source)
        rows: list[Row] = []
        total = damaged = 0
        needed = ("ImageID", "PatientID", "StudyID", "Projection", "MethodLabel", "Labels")
        for line, cells in read_table(table, needed):
            total += 1
            if cells["ImageID"] in DAMAGED:
                damaged += 1
                continue
            terms = _terms(cells["Labels"], f"{table.name}, line {line}")
            if not terms or (self.chosen_task == "physician" and cells["MethodLabel"] != "Physician"):
                continue
            rows.append(
                {
                    "record_id": cells["ImageID"].rpartition(".")[0],
                    "path": files.get(cells["ImageID"].lower()),
                    "patient_id": cells["PatientID"],
                    "study_id": cells["StudyID"],
                    "view": _VIEWS.get(cells["Projection"]),
                    "age": _age(cells.get("StudyDate_DICOM", ""), cells.get("PatientBirth", "")),
                    "sex": sex(cells.get("PatientSex_DICOM", "")),
                    "method": cells["MethodLabel"] or None,
                    **{term: int(term in terms) for term in TERMS},
                }
            )
        left = total - damaged - len(rows)
        notes = [f"{left:,} of {total:,} radiographs are left out: no term, or not read so"] if left else []
        notes += [f"{damaged:,} radiographs are left out: known to be absent or damaged"] if damaged else []
        return self.kept(rows, notes)


def _terms(cell: str, where: str) -> set[str]:
    """The terms of a cell such as ``['pneumonia', 'pleural effusion']``."""
    if not cell or cell == "nan":
        return set()
    try:
        listed = ast.literal_eval(cell)
        if not isinstance(listed, list):
            raise ValueError
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise CohortError("The labels are no list of terms.", where=where, expected="['pneumonia', ...]") from error
    return {str(term).strip().lower() for term in listed if str(term).strip()}


def _age(study: str, birth: str) -> int | None:
    """Years between the year of the study (YYYYMMDD) and that of birth; neither is kept."""
    year, born = study[:4], birth.removesuffix(".0")
    if not (year.isdigit() and born.isdigit() and len(born) == 4):
        return None
    years = int(year) - int(born)
    return years if 0 <= years <= 110 else None


PADCHEST = PadChest()
