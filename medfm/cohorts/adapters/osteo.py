"""Osteo: viable and necrotic tumour in osteosarcoma, 1,144 tiles."""

from __future__ import annotations

import re
from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row, images_in, relative
from medfm.cohorts.adapters.ecg import read_csv
from medfm.cohorts.adapters.patches import PATHGEN, PatchAdapter
from medfm.core.errors import CohortError

TABLE = "ML_Features_1144.csv"
CLASSES = ("Non-Tumor", "Non-Viable-Tumor", "Viable", "viable: non-viable")
_CASE = re.compile(r"case-?(\d+)", re.IGNORECASE)


class Osteo(PatchAdapter):
    """Tiles that are partly viable, partly not: a class of its own, left out by QuiltNet, viable for PathGen."""

    id = "osteo"
    title = "Osteosarcoma tumor assessment (Osteo)"
    aliases = ("Osteo", "Osteosarcoma-Tumor-Assessment", "Osteosarcoma-UT")
    layout = f"{TABLE} with image.name (or image_name) and classification; the .jpg tiles at any depth"
    where = "cancerimagingarchive.net/collection/osteosarcoma-tumor-assessment"
    licence = "CC BY 3.0, as its page says; read it before use"
    citation = "Leavey P. et al., The Cancer Imaging Archive (2019), doi 10.7937/tcia.2019.bvhjhdas"
    task = "viability of osteosarcoma, 4 classes (quilt and pathgen: 3)"
    patients = True
    partial_expected = ("official", "pathgen")
    expected = {"total": 1_144}
    class_names = {
        "@official": {code: code for code in CLASSES},
        "@quilt": {
            "Non-Tumor": "non-tumor",
            "Non-Viable-Tumor": "non-viable necrotic osteosarcoma tumor",
            "Viable": "viable osteosarcoma tumor",
        },
        "@pathgen": {
            "Non-Tumor": "non-tumor",
            "Non-Viable-Tumor": "necrotic tumor",
            "Viable": "viable tumor",
            "viable: non-viable": "viable tumor",
        },
    }
    unverified = ("that the case number in a file name is the patient (few cases: intervals by patient are wide)",)
    notes = ("file names are matched as both papers do: runs of blanks and dashes count as one dash",)

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """The rows of the table whose tile is found."""
        self.refuse_splits(splits)
        folder = self.folder_with(source, TABLE, why=f"there is no file {TABLE}")
        files: dict[str, Path] = {}
        for place in sorted([source, *(d for d in source.rglob("*") if d.is_dir() and not d.name.startswith("."))]):
            for file in images_in(place):
                first = files.setdefault(tidy(file.name), file)
                if first != file:
                    raise CohortError(
                        "Two tiles have the same name.",
                        where=f"{relative(first, source)} and {relative(file, source)}",
                        fix="keep one copy of the set in the folder",
                    )
        rows: list[Row] = []
        absent = total = 0
        for line, cells in read_csv(folder / TABLE, TABLE, ("classification",)):
            name = cells.get("image.name", cells.get("image_name"))
            if name is None:
                raise CohortError("There is no column image.name.", where=TABLE, expected="image.name or image_name")
            code = self.code(cells["classification"], CLASSES, f"{TABLE}, line {line}")
            total += 1
            found = files.get(tidy(name))
            if found is None:
                absent += 1
            elif code in self.names:
                case = _CASE.search(tidy(name))
                rows.append(
                    {
                        "path": relative(found, source),
                        "patient_id": f"case-{case.group(1)}" if case else None,
                        "label": self.names[code],
                        "split": "test" if self.labelling == PATHGEN else None,
                    }
                )
        if rows and any(row["patient_id"] is None for row in rows):
            for row in rows:
                row["patient_id"] = None
        partial = (f"{absent:,} tiles of the table are not in the folder",) if absent else ()
        return self.found(rows, total - absent, partial)


def tidy(name: str) -> str:
    """``"Case-3 - A10 - 38060-14977.jpg"`` -> ``"case-3-a10-38060-14977"``."""
    return re.sub(r"[ -]+", "-", re.sub(r"\.jpe?g$", "", name.strip(), flags=re.IGNORECASE)).strip("-").lower()


OSTEO = Osteo()
