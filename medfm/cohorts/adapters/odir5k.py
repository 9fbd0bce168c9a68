"""ODIR-5K: both eyes of 3,500 people, eight labels per person, keywords per eye."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.adapters.base import Row
from medfm.cohorts.adapters.retina import RetinaAdapter, images_below, read_any, stem, table_like
from medfm.core.errors import CohortError

# Letters of the annotation table.
LABELS = {
    "N": "normal",
    "D": "diabetes",
    "G": "glaucoma",
    "C": "cataract",
    "A": "age_related_macular_degeneration",
    "H": "hypertension",
    "M": "pathological_myopia",
    "O": "other",
}
# FLAIR's three unseen classes by the keyword of the eye, where it is the only one.
KEYWORDS = {"normal fundus": "normal", "pathological myopia": "pathologic myopia", "cataract": "cataract"}
_SIDES = (("L", "Left"), ("R", "Right"))


class Odir5k(RetinaAdapter):
    """Task ``patient``: the person's labels on both eyes. Task ``eye3``: normal, pathologic myopia, cataract per eye."""

    id = "odir5k"
    title = "ODIR-5K"
    aliases = ("ODIR", "ODIR-2019", "OIA-ODIR", "08_ODIR-5K", "Ocular Disease Intelligent Recognition")
    label_sets = {"patient": "odir5k-patient", "eye3": "odir-200x3"}
    layout = (
        "ODIR-5K_Training_Annotations(Updated)_V2.xlsx (or any *Annotations*.xlsx or .csv with its columns) and the images "
        "0_left.jpg, 0_right.jpg ... of the training part"
    )
    where = "odir2019.grand-challenge.org"
    licence = "the challenge's terms (research only)"
    citation = "Li N. et al., Benchmarking, Measuring, and Optimizing (2021), doi 10.1007/978-3-030-71058-3_11"
    tasks = ("patient", "eye3")
    patients = True
    unverified = (
        "the counts per label differ between versions of the table, so they are not checked",
        "FLAIR's own list (08_ODIR200x3) takes the person's labels for both eyes and repeats images; eye3 does not copy that",
    )

    def __init__(self, task: str | None = None) -> None:
        super().__init__(task)
        about = ("keywords", "laterality", "age", "sex")
        if self.chosen_task == "patient":
            self.task = "multilabel, 8 labels of the person"
            self.labels = tuple(LABELS.values())
            self.expected = {"total": 7000, "patients": 3500}
            self.columns = about
            self.notes = ("the labels are the person's: an eye without the disease carries them too",)
        else:
            self.task = "normal, pathologic myopia or cataract, per eye"
            self.expected = {}
            self.columns = ("label_name", *about)
            self.notes = ("eyes with other or several keywords are left out",)

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per photograph."""
        table = table_like(source, "*Annotations*") or table_like(source, "data")
        if table is None:
            raise self.missing(source, "there is no annotation table")
        where = table.relative_to(source).as_posix()
        needed = ["ID", *(f"{side}-{what}" for _, side in _SIDES for what in ("Fundus", "Diagnostic Keywords"))]
        images = images_below(source)
        for line, cells in read_any(table, where, [*needed, *LABELS]):
            if not cells["ID"]:
                continue
            for letter, side in _SIDES:
                words = cells[f"{side}-Diagnostic Keywords"]
                # The keywords are separated by the full-width comma.
                single = [part.strip().lower() for part in words.replace("\uff0c", ",").split(",") if part.strip()]
                row: Row = {
                    "record_id": f"{cells['ID']}_{side.lower()}",
                    "patient_id": cells["ID"],
                    "laterality": letter,
                    "keywords": words,
                    "age": cells.get("Patient Age") or None,
                    "sex": {"male": "M", "female": "F"}.get(cells.get("Patient Sex", "").lower()),
                }
                if self.chosen_task == "patient":
                    row |= {name: _one(cells[code], f"{where}, line {line}") for code, name in LABELS.items()}
                elif len(single) == 1 and single[0] in KEYWORDS:
                    row |= {"label": KEYWORDS[single[0]], "label_name": KEYWORDS[single[0]]}
                else:
                    continue
                row["path"] = images.get(stem(cells[f"{side}-Fundus"]))
                yield row


def _one(cell: str, where: str) -> int:
    if cell.removesuffix(".0") not in ("0", "1"):
        raise CohortError("A label is neither 0 nor 1.", where=where)
    return int(cell.removesuffix(".0"))


ODIR5K = Odir5k()
