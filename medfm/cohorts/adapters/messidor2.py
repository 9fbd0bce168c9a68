"""MESSIDOR-2 with the adjudicated grades: 1,748 photographs of 874 examinations, 1,744 of them gradable."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.adapters.base import Row
from medfm.cohorts.adapters.retina import ICDR, RetinaAdapter, images_below, read_any, stem
from medfm.core.errors import CohortError

GRADES = "messidor_data.csv"
PAIRS = "messidor-2.csv"
EDEMA = {"0": "no diabetic macular edema", "1": "diabetic macular edema"}


class Messidor2(RetinaAdapter):
    """Images of the release, grades of the google-brain table, eyes and examinations of the pairs file."""

    id = "messidor2"
    title = "MESSIDOR-2"
    aliases = ("Messidor-2", "MESSIDOR2", "02_MESSIDOR")
    label_sets = {"dr": "messidor", "dme": "messidor-dme"}
    layout = (
        f"the images (*.png, *.JPG) in any folders, {GRADES} and, if there, {PAIRS} with one pair of images per line"
    )
    where = (
        "www.adcis.net/en/third-party/messidor2 (images, pairs), kaggle.com/google-brain/messidor2-dr-grades (grades)"
    )
    licence = "on request, research and education only (as ADCIS states)"
    citation = "Decencière E. et al., Image Analysis & Stereology 33 (2014) 231; Krause J. et al., Ophthalmology 125 (2018) 1264"
    tasks = ("dr", "dme")
    notes = ("ungradable photographs are left out, as FLAIR does", "no split is published")
    unverified = ("the header and separator of the pairs file: two file names per line are taken, in any separator",)

    def __init__(self, task: str | None = None) -> None:
        super().__init__(task)
        if self.chosen_task == "dr":
            self.task = "diabetic retinopathy, international grade 0 to 4, adjudicated"
            self.expected = {"total": 1744, "0": 1017, "1": 270, "2": 347, "3": 75, "4": 35}
        else:
            self.task = "referable diabetic macular oedema, adjudicated"
            self.expected = {"total": 1744}

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per gradable photograph."""
        tables = sorted(source.rglob(GRADES))
        if not tables:
            raise self.missing(source, f"there is no {GRADES}")
        images = images_below(source)
        pairs = _pairs(source)
        column, names = ("adjudicated_dr_grade", ICDR) if self.chosen_task == "dr" else ("adjudicated_dme", EDEMA)
        for line, cells in read_any(tables[0], GRADES, ("image_id", "adjudicated_gradable", column)):
            if cells["adjudicated_gradable"].removesuffix(".0") != "1":
                continue
            examination, side = pairs.get(stem(cells["image_id"]), (None, None))
            yield {
                "path": images.get(stem(cells["image_id"])),
                "patient_id": examination,
                "laterality": side,
                **self.coded(cells[column], names, f"{GRADES}, line {line}"),
            }


def _pairs(source: Path) -> dict[str, tuple[str, str | None]]:
    """Image stem -> (examination, eye if the header says left and right); empty without the file."""
    files = sorted(source.rglob(PAIRS))
    if not files:
        return {}
    try:
        text = files[0].read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CohortError(f"The table cannot be read ({type(error).__name__}).", where=PAIRS) from error
    first = text.split("\n", 1)[0]
    rows = list(csv.reader(text.splitlines(), delimiter=max(";,\t", key=first.count)))
    sides: tuple[str | None, str | None] = (None, None)
    if rows and [cell.strip().lower() for cell in rows[0][:2]] == ["left", "right"]:
        sides, rows = ("L", "R"), rows[1:]
    found: dict[str, tuple[str, str | None]] = {}
    for number, row in enumerate(rows, 1):
        named = [cell.strip() for cell in row[:2]]
        if len(named) == 2 and all("." in cell for cell in named):
            for cell, side in zip(named, sides, strict=True):
                found[stem(cell)] = (f"examination-{number:03d}", side)
    return found


MESSIDOR2 = Messidor2()
