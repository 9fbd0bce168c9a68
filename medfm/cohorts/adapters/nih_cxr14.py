"""NIH ChestX-ray14: 112,120 frontal radiographs with 14 findings mined from reports, official test list."""

from __future__ import annotations

from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row
from medfm.cohorts.adapters.chest import ChestAdapter, files_below, read_table, sex, table_at, years
from medfm.core.errors import CohortError

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")
LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}


class NihCxr14(ChestAdapter):
    """All 14 findings, 0 where the table names others or none; splits of the official lists, by patient."""

    id = "nih-cxr14"
    title = "NIH ChestX-ray14"
    aliases = ("ChestX-ray14", "NIH ChestX-ray8", "NIH CXR14")
    layout = "Data_Entry_2017.csv (or _v2020.csv), train_val_list.txt, test_list.txt and the PNG files in images_001 ... images_012"
    where = "nihcc.app.box.com/v/ChestXray-NIHCC"
    licence = "no restriction on use; the NIH Clinical Center asks for credit"
    citation = "Wang X. et al., CVPR 2017, doi 10.1109/CVPR.2017.369"
    task = "multilabel, 14 findings mined from reports"
    labels = FINDINGS
    patients = True
    columns = ("view", "age", "sex", "follow_up", "no_finding")
    expected = {"total": 112120, "patients": 30805, "test": 25596, "train": 86524}
    notes = (
        "a finding that the table does not name is 0 here; the reports were mined by rules and are wrong in part",
        "there is no official validation part: train_val_list.txt is 'train'",
        "ages above 110 are errors of the release and are left empty",
    )
    unverified = ("counts per finding differ between the two versions of the table, so only totals are checked",)

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """One row per radiograph of the table."""
        if splits is not None:
            return super().find(source, splits)
        table = table_at(source, *TABLES)
        if table is None:
            raise self.missing(source, f"there is no {TABLES[0]}")
        split = _lists(source)
        files = files_below(source)
        rows: list[Row] = []
        needed = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "View Position")
        for line, cells in read_table(table, needed):
            name = cells["Image Index"]
            findings = [part for part in cells["Finding Labels"].split("|") if part]
            foreign = [part for part in findings if part not in (*FINDINGS, "No Finding")]
            if foreign or not findings:
                raise CohortError("A finding is not one of the 14.", where=f"{table.name}, line {line}")
            rows.append(
                {
                    "record_id": name.rpartition(".")[0],
                    "path": files.get(name.lower()),
                    "patient_id": cells["Patient ID"],
                    "split": split.get(name) if split else None,
                    "view": cells["View Position"] or None,
                    "age": years(cells["Patient Age"]),
                    "sex": sex(cells.get("Patient Gender") or cells.get("Patient Sex", "")),
                    "follow_up": cells["Follow-up #"],
                    "no_finding": int("No Finding" in findings),
                    **{label: int(label in findings) for label in FINDINGS},
                }
            )
        notes = () if split else ("train_val_list.txt and test_list.txt are absent, so no split is given",)
        return self.kept(rows, notes)


def _lists(source: Path) -> dict[str, str]:
    """File name -> split; empty where a list is absent."""
    found: dict[str, str] = {}
    for name, part in LISTS.items():
        file = table_at(source, name)
        if file is None:
            return {}
        found |= dict.fromkeys(file.read_text(encoding="utf-8", errors="replace").split(), part)
    return found


NIH_CXR14 = NihCxr14()
