"""BACH (ICIAR 2018), microscopy pictures: four kinds of breast tissue."""

from __future__ import annotations

from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row, images_in, relative
from medfm.cohorts.adapters.patches import PATHGEN, PatchAdapter

CLASSES = ("Benign", "InSitu", "Invasive", "Normal")
MPP = 0.42  # the challenge's page on its data


class Bach(PatchAdapter):
    """The 400 labelled pictures; no official split of them is published."""

    id = "bach"
    title = "BACH"
    aliases = ("ICIAR2018", "ICIAR2018_BACH_Challenge")
    layout = f"Photos/CLASS/*.tif with the classes {', '.join(CLASSES)}"
    where = "iciar2018-challenge.grand-challenge.org (or zenodo.org/records/3632035)"
    licence = "CC BY-NC-ND, as its challenge says; read it before use"
    citation = "Aresta G. et al., Medical Image Analysis 56 (2019) 122-139"
    task = "kind of breast tissue, 4 classes"
    columns = ("mpp",)
    class_names = {
        "@official": {code: code for code in CLASSES},
        "@quilt": dict(
            zip(
                CLASSES,
                (
                    "breast non-malignant benign tissue",
                    "breast malignant in-situ carcinoma",
                    "breast malignant invasive carcinoma",
                    "breast normal breast tissue",
                ),
                strict=True,
            )
        ),
        "@pathgen": dict(
            zip(CLASSES, ("benign tissue", "in-situ carcinoma", "invasive carcinoma", "normal tissue"), strict=True)
        ),
    }
    unverified = ("the split of QuiltNet's figures: no split is written",)
    notes = ("the patients are published for some pictures only, in a separate file: patients are unknown",)

    def __init__(self, task: str | None = None, labelling: str | None = None) -> None:
        super().__init__(task, labelling)
        self.expected = {**dict.fromkeys(self.names.values(), 100), "total": 400}

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """The pictures of the four folders."""
        self.refuse_splits(splits)
        top = self.folder_with(source, *CLASSES, why=f"there are no folders {', '.join(CLASSES)}")
        split = "test" if self.labelling == PATHGEN else None
        rows: list[Row] = [
            {"path": relative(file, source), "label": name, "split": split, "mpp": MPP}
            for code, name in self.names.items()
            for file in images_in(top / code)
        ]
        return self.found(rows, len(rows))


BACH = Bach()
