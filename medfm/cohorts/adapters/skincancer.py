"""SkinCancer: sixteen kinds of skin tissue, of which four are tumours."""

from __future__ import annotations

from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row, relative
from medfm.cohorts.adapters.ecg import read_csv
from medfm.cohorts.adapters.patches import PATHGEN, PatchAdapter

TABLE = "tiles-v2.csv"
_SPLITS = {"Train": "train", "Validation": "val", "Test": "test"}
# Code of the release, QuiltNet's name, PathGen's name; in QuiltNet's order.
_CLASSES = (
    ("nontumor_skin_necrosis_necrosis", "necrosis", "non-tumor necrosis"),
    ("nontumor_skin_muscle_skeletal", "skeletal muscle", "non-tumor skeletal muscle"),
    ("nontumor_skin_sweatglands_sweatglands", "eccrine sweat glands", "non-tumor sweat glands"),
    ("nontumor_skin_vessel_vessel", "vessels", "non-tumor vessel"),
    ("nontumor_skin_elastosis_elastosis", "elastosis", "non-tumor elastosis"),
    ("nontumor_skin_chondraltissue_chondraltissue", "chondral tissue", "non-tumor chondral tissue"),
    ("nontumor_skin_hairfollicle_hairfollicle", "hair follicle", "non-tumor hair follicle"),
    ("nontumor_skin_epidermis_epidermis", "epidermis", "non-tumor epidermis"),
    ("nontumor_skin_nerves_nerves", "nerves", "non-tumor nerves"),
    ("nontumor_skin_subcutis_subcutis", "subcutis", "non-tumor subcutis"),
    ("nontumor_skin_dermis_dermis", "dermis", "non-tumor dermis"),
    ("nontumor_skin_sebaceousglands_sebaceousglands", "sebaceous glands", "non-tumor sebaceous glands"),
    ("tumor_skin_epithelial_sqcc", "squamous-cell carcinoma", "tumor epithelial squamous cell carcinoma"),
    ("tumor_skin_melanoma_melanoma", "melanoma in-situ", "tumor melanoma"),
    ("tumor_skin_epithelial_bcc", "basal-cell carcinoma", "tumor epithelial basal cell carcinoma"),
    ("tumor_skin_naevus_naevus", "naevus", "tumor naevus"),
)
CODES = tuple(code for code, _, _ in _CLASSES)
_TUMOR = tuple(row for row in _CLASSES if row[0].startswith("tumor_"))


class SkinCancer(PatchAdapter):
    """Tasks tissue (16 classes) and tumor (the 4 tumours), by the release's own split."""

    id = "skincancer"
    title = "Histopathology of skin cancer (SkinCancer, SkinTumor)"
    aliases = ("SkinCancer", "SkinTumor", "skin", "skin_tumor")
    layout = f"{TABLE} with file, class, set and malignicy, and the pictures it names (with or without data/)"
    where = "heidata.uni-heidelberg.de, doi 10.11588/data/7QCR8S"
    licence = "as stated on its page; read it before use"
    citation = "Kriegsmann K. et al., Frontiers in Oncology 12 (2022) 1022967"
    task = "kind of skin tissue (16 classes) or of skin tumour (4)"
    tasks = ("tissue", "tumor")
    partial_expected = ("official", "quilt")
    class_names = {
        f"{task}@{variant}": {row[0]: row[column] for row in rows}
        for task, rows in (("tissue", _CLASSES), ("tumor", _TUMOR))
        for column, variant in enumerate(("official", "quilt", "pathgen"))
    }
    unverified = ("whether the file names tell the patient: patients are taken as unknown",)

    def __init__(self, task: str | None = None, labelling: str | None = None) -> None:
        super().__init__(task, labelling)
        self.expected = {"test": 28_039 if self.chosen_task == "tissue" else 8_851}

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """The rows of the table whose picture is there."""
        self.refuse_splits(splits)
        folder = self.folder_with(source, TABLE, why=f"there is no file {TABLE}")
        rows: list[Row] = []
        absent = total = 0
        for line, cells in read_csv(folder / TABLE, TABLE, ("file", "class", "set")):
            total += 1
            where = f"{TABLE}, line {line}"
            code = self.code(cells["class"], CODES, where)
            split = _SPLITS[self.code(cells["set"], _SPLITS, where)]
            if code not in self.names:
                continue
            named = [folder / cells["file"], folder / cells["file"].removeprefix("data/")]
            file = next((place for place in named if place.is_file()), None)
            if file is None:
                absent += 1
                continue
            split = "test" if self.labelling == PATHGEN else split
            rows.append({"path": relative(file, source), "label": self.names[code], "split": split})
        partial = (f"{absent:,} pictures of the table are not in the folder",) if absent else ()
        return self.found(rows, total - absent, partial)


SKINCANCER = SkinCancer()
