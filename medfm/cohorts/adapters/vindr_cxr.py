"""VinDr-CXR: 18,000 DICOM radiographs of Vietnam; 28 findings by three radiologists (train) or a consensus (test)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row
from medfm.cohorts.adapters.chest import ChestAdapter, files_below, read_table, table_at
from medfm.core.errors import CohortError

FINDINGS = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture", "Consolidation",
    "Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst",
    "Mediastinal shift", "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax",
    "Pulmonary fibrosis", "Rib fracture", "Other lesion", "COPD", "Lung tumor", "Pneumonia", "Tuberculosis",
    "Other diseases", "No finding",
)  # fmt: skip
_TABLES = {"train": "image_labels_train.csv", "test": "image_labels_test.csv"}
_SPELLED = {"Other disease": "Other diseases"}  # as the test table has it


class VindrCxr(ChestAdapter):
    """Label variants ``majority`` (two of three readers) and ``any`` (one of them); the test part has one consensus."""

    id = "vindr-cxr"
    title = "VinDr-CXR"
    aliases = ("VinBigData", "vindr-cxr-1.0.0")
    layout = (
        "annotations/image_labels_train.csv, annotations/image_labels_test.csv, train/*.dicom and test/*.dicom (1.0.0)"
    )
    where = "physionet.org/content/vindr-cxr/1.0.0"
    licence = "PhysioNet Credentialed Health Data License 1.5.0"
    citation = "Nguyen H. et al., Scientific Data 9 (2022) 429"
    task = "multilabel, 28 findings by radiologists"
    labels = FINDINGS
    variants = ("majority", "any")
    columns = ("readers",)
    expected = {"total": 18000, "train": 15000, "test": 3000}
    unverified = ("the release tells no patients: every radiograph counts as one",)

    def __init__(self, task: str | None = None, labelling: str | None = None) -> None:
        super().__init__(task, labelling)
        share = "two of three" if self.labelling == "majority" else "one of three"
        self.notes = (f"a finding of the training part is 1 where {share} readers marked it",)

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """One row per radiograph."""
        if splits is not None:
            return super().find(source, splits)
        tables = {part: table_at(source, name) for part, name in _TABLES.items()}
        if tables["train"] is None or tables["test"] is None:
            raise self.missing(source, f"there are no {' and '.join(_TABLES.values())}")
        files = files_below(source)
        rows: list[Row] = []
        for part, table in tables.items():
            assert table is not None
            votes: dict[str, list[dict[str, int]]] = defaultdict(list)
            for line, cells in read_table(table, ("image_id",)):
                marks = {_SPELLED.get(name, name): cell for name, cell in cells.items()}
                votes[cells["image_id"]].append({f: _mark(marks, f, f"{table.name}, line {line}") for f in FINDINGS})
            for name, read in votes.items():
                needed = (len(read) // 2 + 1) if self.labelling == "majority" else 1
                rows.append(
                    {
                        "record_id": name,
                        "path": files.get(f"{name}.dicom".lower()) or files.get(f"{name}.dcm".lower()),
                        "split": part,
                        "readers": len(read),
                        **{f: int(sum(one[f] for one in read) >= needed) for f in FINDINGS},
                    }
                )
        return self.kept(rows)


def _mark(cells: dict[str, str], finding: str, where: str) -> int:
    cell = cells.get(finding)
    if cell is None:
        raise CohortError(f"The table has no column '{finding}'.", where=where)
    # A few cells of the training table are empty, where the finding was not marked.
    if cell.removesuffix(".0") not in ("0", "1", ""):
        raise CohortError("A label is neither 0 nor 1.", where=where)
    return int(cell.removesuffix(".0") or 0)


VINDR_CXR = VindrCxr()
