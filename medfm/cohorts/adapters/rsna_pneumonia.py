"""RSNA Pneumonia Detection Challenge: 26,684 DICOM radiographs of the NIH set, read by radiologists."""

from __future__ import annotations

from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row
from medfm.cohorts.adapters.chest import ChestAdapter, files_below, read_table, table_at
from medfm.core.errors import CohortError

LABELS, CLASSES = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
NAMES = ("Normal", "No Lung Opacity / Not Normal", "Lung Opacity")


class RsnaPneumonia(ChestAdapter):
    """Task ``opacity`` (0, 1) or ``three`` (normal, not normal without opacity, opacity)."""

    id = "rsna-pneumonia"
    title = "RSNA Pneumonia Detection Challenge"
    aliases = ("RSNA", "rsna-pneumonia-detection-challenge", "RSNA Pneumonia")
    layout = f"{LABELS}, {CLASSES} and stage_2_train_images/*.dcm"
    where = "kaggle.com/c/rsna-pneumonia-detection-challenge"
    licence = "the challenge's terms; the radiographs are the NIH's"
    citation = "Shih G. et al., Radiology: Artificial Intelligence 1 (2019) e180041"
    tasks = ("opacity", "three")
    patients = False
    columns = ("boxes",)
    unverified = (
        "the persons behind the challenge's ids are not told, and the NIH set has several radiographs of many: every "
        "file counts as a person, and copies of NIH radiographs must not be used beside it",
    )

    def __init__(self, task: str | None = None, labelling: str | None = None) -> None:
        super().__init__(task, labelling)
        if self.chosen_task == "opacity":
            self.task = "lung opacity that may be pneumonia, or not"
            self.expected = {"total": 26684, "1": 6012, "0": 20672}
        else:
            self.task = "normal, not normal without lung opacity, lung opacity"
            self.expected = {"total": 26684, "Normal": 8851, NAMES[1]: 11821, NAMES[2]: 6012}

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """One row per radiograph of the first stage's training part."""
        if splits is not None:
            return super().find(source, splits)
        tables = [table_at(source, name) for name in (LABELS, CLASSES)]
        if tables[0] is None or tables[1] is None:
            raise self.missing(source, f"there are no {LABELS} and {CLASSES}")
        names: dict[str, str] = {}
        for line, cells in read_table(tables[1], ("patientId", "class")):
            if cells["class"] not in NAMES:
                raise CohortError("A class is not one of the three.", where=f"{CLASSES}, line {line}")
            names[cells["patientId"]] = cells["class"]
        files = files_below(source)
        rows: dict[str, Row] = {}
        for line, cells in read_table(tables[0], ("patientId", "Target")):
            name = cells["patientId"]
            if cells["Target"] not in ("0", "1") or (cells["Target"] == "1") != (names.get(name) == NAMES[2]):
                raise CohortError("Target and class contradict each other.", where=f"{LABELS}, line {line}")
            # A radiograph with several boxes has several lines.
            row = rows.setdefault(
                name,
                {
                    "record_id": name,
                    "path": files.get(f"{name}.dcm".lower()),
                    "patient_id": None,
                    "label": cells["Target"] if self.chosen_task == "opacity" else names[name],
                    "boxes": 0,
                },
            )
            row["boxes"] += int(cells["Target"])
        return self.kept(list(rows.values()))


RSNA_PNEUMONIA = RsnaPneumonia()
