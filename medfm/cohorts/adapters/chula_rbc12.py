"""Chula RBC-12: red-cell shapes, annotated by points on whole smear fields."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.adapters.base import Adapter, Row, images_in, relative
from medfm.cohorts.adapters.boxes import clip, image_size
from medfm.core.errors import CohortError

# Class numbers of the label files, as its README lists them.
CLASSES = (
    "normal",
    "macrocyte",
    "microcyte",
    "spherocyte",
    "target_cell",
    "stomatocyte",
    "ovalocyte",
    "teardrop",
    "burr_cell",
    "schistocyte",
    "uncategorised",
    "hypochromia",
    "elliptocyte",
)
SIDE = 80


class ChulaRbc12(Adapter):
    """A box of 80 x 80 pixels around every annotated point; boxes at the border are cut and marked."""

    id = "chula_rbc12"
    title = "Chula RBC-12"
    aliases = ("Chula", "Chula RBC-12-Dataset", "Chula-RBC-12")
    layout = "Dataset/*.jpg and Label/*.txt with the same stems; lines 'x y class'"
    where = "github.com/Chula-PIC-Lab/Chula-RBC-12-Dataset"
    licence = "MIT (as in its repository)"
    citation = "Naruenatthanaset K. et al., arXiv 2012.01321"
    task = "red-cell shape, 12 classes and 'uncategorised'"
    expected = {"smears": 738}
    unverified = ("the number of cells: 20,875 is published, before 32 smears with elliptocytes were added",)
    notes = (
        "the patient of a smear is not published: the smear stands in for the patient",
        f"boxes are {SIDE} x {SIDE} pixels around the point, cut where they leave the image (at_border is yes)",
    )
    columns = ("smear", "xmin", "ymin", "xmax", "ymax", "class_number", "at_border")

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per annotated point."""
        folder = self.folder_with(source, "Dataset", "Label", why="there are no folders Dataset and Label")
        for file in images_in(folder / "Dataset"):
            label_file = folder / "Label" / f"{file.stem}.txt"
            where = relative(label_file, source)
            if not label_file.is_file():
                raise self.missing(source, f"{where} is absent")
            size = image_size(file, relative(file, source))
            for number, (x, y, kind) in enumerate(_points(label_file, where)):
                half = SIDE // 2
                box, cut = clip((x - half, y - half, x + half, y + half), size)
                if box[0] >= box[2] or box[1] >= box[3]:
                    raise CohortError("A point lies outside its image.", where=f"{where}, line {number + 1}")
                yield {
                    "record_id": f"{file.stem}_{number:03d}",
                    "path": relative(file, source),
                    "label": CLASSES[kind],
                    "smear": file.stem,
                    **dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)),
                    "class_number": kind,
                    "at_border": "yes" if cut else "no",
                }


def _points(file: Path, where: str) -> Iterator[tuple[int, int, int]]:
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            x, y, kind = (int(float(part)) for part in line.replace(",", " ").split())
            if not 0 <= kind < len(CLASSES):
                raise ValueError
        except ValueError as error:
            raise CohortError(
                f"Line {number} is not 'x y class': {line.strip()[:60]}",
                where=where,
                expected=f"three numbers, the class from 0 to {len(CLASSES) - 1}",
            ) from error
        yield x, y, kind


CHULA_RBC12 = ChulaRbc12()
