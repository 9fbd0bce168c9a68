"""IDRiD, disease grading: 516 photographs of Nanded with grades of retinopathy and of macular oedema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.adapters.base import Row
from medfm.cohorts.adapters.retina import ICDR, RetinaAdapter, read_any, stem

EDEMA = {
    "0": "no referable diabetic macular edema",
    "1": "non clinically significant diabetic macular edema",
    "2": "diabetic macular edema",
}
_PARTS = {"train": ("a. Training Set", "Training Labels"), "test": ("b. Testing Set", "Testing Labels")}
_COLUMNS = {"dr": "Retinopathy grade", "dme": "Risk of macular edema"}
# Sums over the official sets: training 134, 20, 136, 74, 49 and testing 34, 5, 32, 19, 13.
_COUNTS = {"dr": {"0": 168, "1": 25, "2": 168, "3": 93, "4": 62}, "dme": {}}


class Idrid(RetinaAdapter):
    """Part B of the release, with its official training and testing sets."""

    id = "idrid"
    title = "IDRiD"
    aliases = ("Indian Diabetic Retinopathy Image Dataset", "03_IDRID")
    label_sets = {"dr": "idrid", "dme": "idrid-dme"}
    layout = (
        "B. Disease Grading/1. Original Images/{a. Training Set, b. Testing Set}/IDRiD_001.jpg and "
        "2. Groundtruths/{a. IDRiD_Disease Grading_Training Labels.csv, b. IDRiD_Disease Grading_Testing Labels.csv}"
    )
    where = "ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid"
    licence = "CC BY 4.0"
    citation = "Porwal P. et al., Data 3 (2018) 25; Medical Image Analysis 59 (2020) 101561"
    tasks = ("dr", "dme")
    notes = (
        "the patient of a photograph is not published: patients are unknown, and two eyes of one may be in two splits",
        "the release holds six pairs of byte-identical images, one of them across the two sets (training 118, testing 064): "
        "medfm data check names them",
    )
    unverified = ("the counts per risk of macular oedema",)

    def __init__(self, task: str | None = None) -> None:
        super().__init__(task)
        self.task = (
            "diabetic retinopathy, international grade 0 to 4"
            if self.chosen_task == "dr"
            else "risk of macular oedema, 3 classes"
        )
        self.expected = {"total": 516, "train": 413, "test": 103, **_COUNTS[self.chosen_task or "dr"]}

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per line of the two label tables."""
        column = _COLUMNS[self.chosen_task or "dr"]
        names = ICDR if self.chosen_task == "dr" else EDEMA
        found = False
        for split, (folder, words) in _PARTS.items():
            tables = [t for t in sorted(source.rglob(f"*{words}.csv")) if "Grading" in t.name]
            places = [d for d in sorted(source.rglob(folder)) if d.is_dir() and "Segmentation" not in d.as_posix()]
            # Parts A and C have folders of the same name; the one beside the table counts.
            places = [d for d in places if tables and d.parent.parent == tables[0].parent.parent] or places[:1]
            if not tables or not places:
                continue
            found = True
            images = {
                stem(f.name): f.relative_to(source).as_posix() for f in sorted(places[0].iterdir()) if f.is_file()
            }
            where = tables[0].relative_to(source).as_posix()
            for line, cells in read_any(tables[0], where, ("Image name", column)):
                if cells["Image name"]:
                    yield {
                        "record_id": f"{split}_{cells['Image name']}",
                        "path": images.get(stem(cells["Image name"])),
                        "split": split,
                        **self.coded(cells[column], names, f"{where}, line {line}"),
                    }
        if not found:
            raise self.missing(source, "there are no label tables of part B with their images")


IDRID = Idrid()
