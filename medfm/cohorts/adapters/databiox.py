"""Databiox: invasive ductal carcinoma of the breast by grade, at four magnifications."""

from __future__ import annotations

import re
from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row, images_in, relative
from medfm.cohorts.adapters.patches import OFFICIAL, QUILT, PatchAdapter

_GRADE = re.compile(r"grade[ _-]*(iii|ii|i|3|2|1)(?![a-z0-9])", re.IGNORECASE)
_MAGNIFICATION = re.compile(r"(?<![0-9])(40|20|10|4)x", re.IGNORECASE)
_NUMBER = {"i": "1", "ii": "2", "iii": "3"}


class Databiox(PatchAdapter):
    """The Bloom-Richardson grade is in the name of a folder above the picture."""

    id = "databiox"
    title = "Databiox"
    aliases = ("DataBiox", "idc_grade", "Databiox IDC grade")
    layout = "pictures below folders whose names hold 'Grade I', 'Grade II' or 'Grade III' (or 1, 2, 3)"
    where = "databiox.com"
    licence = "as stated on its page; read it before use"
    citation = "Bolhasani H. et al., Informatics in Medicine Unlocked 19 (2020) 100341"
    task = "grade of invasive ductal carcinoma, 3 classes"
    variants = (OFFICIAL, QUILT)
    columns = ("magnification",)
    expected = {"total": 922}
    class_names = {
        "@official": {number: f"grade {number}" for number in "123"},
        "@quilt": {
            "1": "well differentiated bloom richardson grade one",
            "2": "moderately differentiated bloom richardson grade two",
            "3": "poorly differentiated grade three",
        },
    }
    unverified = (
        "the number of pictures (922 is stated by users of the set)",
        "the folder names, how a patient is named in them, and the split of QuiltNet's figures",
    )
    notes = ("patients are unknown, although a patient has pictures at several magnifications: a random split leaks",)

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """Every picture below a folder named by a grade."""
        self.refuse_splits(splits)
        rows: list[Row] = []
        total = 0
        for folder in sorted([source, *(d for d in source.rglob("*") if d.is_dir() and not d.name.startswith("."))]):
            for file in images_in(folder):
                total += 1
                path = relative(file, source)
                grade = next((m for part in reversed(Path(path).parts[:-1]) if (m := _GRADE.search(part))), None)
                if grade is None:
                    continue
                zoom = next((m for part in reversed(Path(path).parts) if (m := _MAGNIFICATION.search(part))), None)
                number = grade.group(1).lower()
                rows.append(
                    {
                        "path": path,
                        "label": self.names[_NUMBER.get(number, number)],
                        "magnification": f"{zoom.group(1)}x" if zoom else None,
                    }
                )
        if not rows:
            raise self.missing(source, "no picture is below a folder named by a grade")
        return self.found(rows, total)


DATABIOX = Databiox()
