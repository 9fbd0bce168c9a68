"""Raabin-WBC: cropped, doubly labelled white blood cells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.adapters.base import Adapter, Row, images_in, relative

CLASSES = ("Basophil", "Eosinophil", "Lymphocyte", "Monocyte", "Neutrophil")
# Official folders and the split each stands for. Test-B is a second laboratory with two classes.
PARTS = {"Train": "train", "TestA": "test", "Test-A": "test"}


class Raabin(Adapter):
    """Train and Test-A: five classes, one laboratory; Test-B (another camera) is left out."""

    id = "raabin"
    title = "Raabin-WBC"
    aliases = ("Raabin", "Raabin WBC", "Raabin-WBC double-labelled")
    layout = "Train/CLASS/*.jpg and TestA (or Test-A)/CLASS/*.jpg with the classes " + ", ".join(CLASSES)
    where = "raabindata.com (double-labelled cropped cells)"
    licence = "free for research with citation, as its site says; read its terms before use"
    citation = "Kouzehkanan Z. M. et al., Scientific Reports 12 (2022) 1123"
    task = "white-cell type, 5 classes"
    expected = {"train": 10175, "test": 4339}
    unverified = (
        "the count of Test-A (4,339), and which of the folder names TestA and Test-A the release uses",
        "class names are taken in English; copies with translated folder names are not recognised",
    )
    notes = ("the patient of a cell is not published with the crops: patients are unknown",)
    columns = ("part",)

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per cropped cell of Train and Test-A, with the official split."""
        folder = self.folder_with(source, "Train", why="there is no folder Train")
        for part, split in PARTS.items():
            for name in CLASSES:
                place = folder / part / name
                for file in images_in(place) if place.is_dir() else []:
                    yield {"path": relative(file, source), "label": name.lower(), "split": split, "part": part}


RAABIN = Raabin()
