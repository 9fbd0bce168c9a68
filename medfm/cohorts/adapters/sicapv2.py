"""SICAPv2: Gleason grades of prostate biopsies, patches of 512 x 512 pixels."""

from __future__ import annotations

import re
from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row, relative
from medfm.cohorts.adapters.patches import OFFICIAL, PATHGEN, QUILT, SLIDE_IS_PATIENT, PatchAdapter
from medfm.core.errors import CohortError, ReadError
from medfm.io.xlsx import read_xlsx

CLASSES = ("NC", "G3", "G4", "G5")
DESCRIPTIONS = "quilt-descriptions"
_PLACE = re.compile(r"xini_(\d+)_yini_(\d+)", re.IGNORECASE)


class Sicapv2(PatchAdapter):
    """``partition/Test/Train.xlsx`` trains, ``Test.xlsx`` tests; three incompatible lists of class names are in use."""

    id = "sicapv2"
    title = "SICAPv2"
    aliases = ("SICAP", "SICAP-MIL", "sicap")
    layout = "images/*.jpg and partition/Test/Train.xlsx, partition/Test/Test.xlsx"
    where = "data.mendeley.com/datasets/9xxm58dvs3"
    licence = "CC BY-NC-ND, as commonly stated; read it before use"
    citation = "Silva-Rodriguez J. et al., Computer Methods and Programs in Biomedicine 195 (2020) 105637"
    task = "Gleason grade of a patch, 4 classes"
    variants = (OFFICIAL, QUILT, PATHGEN, DESCRIPTIONS)
    columns = ("cribriform", "xini", "yini")
    class_names = {
        "@official": {code: code for code in CLASSES},
        "@quilt": {
            "NC": "benign glands",
            "G3": "atrophic dense glands",
            "G4": "cribriform ill-formed fused papillary patterns",
            "G5": "isolated nest cells without lumen roseting patterns",
        },
        "@pathgen": {
            "NC": "non-cancerous",
            "G3": "gleason grade 3: atrophic well differentiated and dense glandular regions",
            "G4": "gleason grade 4: cribriform, ill-formed, large-fused and papillary glandular patterns",
            "G5": "gleason grade 5: isolated cells or file of cells, nests of cells without lumina formation and "
            "pseudo-rosetting patterns",
        },
        f"@{DESCRIPTIONS}": {
            "NC": "non-cancerous well-differentiated glands",
            "G3": "gleason grade 3 with atrophic well differentiated and dense glandular regions",
            "G4": "gleason grade 4 with cribriform, ill-formed, large-fused and papillary glandular patterns",
            "G5": "gleason grade 5 with nests of cells without lumen formation, isolated cells and pseudo-roseting "
            "patterns",
        },
    }
    unverified = (
        "how many patches there are: no count is enforced",
        "the level that xini and yini in a file name refer to",
    )
    notes = (
        SLIDE_IS_PATIENT,
        "quilt takes the class names of QuiltNet's en_classnames.json, quilt-descriptions those of its Python code; "
        "both take the first grade of a patch that has several, in the order NC, G3, G4, G5",
        "official and pathgen leave out patches with several grades; pathgen tests on Train.xlsx, as its code does",
    )

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """The patches of the partition tables whose picture is there."""
        self.refuse_splits(splits)
        folder = self.folder_with(source, "images", "partition", why="there are no folders images and partition")
        parts = {"Train": "test"} if self.labelling == PATHGEN else {"Train": "train", "Test": "test"}
        rows: list[Row] = []
        absent = total = 0
        for part, split in parts.items():
            table = folder / "partition" / "Test" / f"{part}.xlsx"
            for line, cells in enumerate(_read(table), 2):
                where = f"partition/Test/{part}.xlsx, row {line}"
                ones = [code for code in CLASSES if _one(cells[code], where)]
                if not ones or (len(ones) > 1 and self.labelling in (OFFICIAL, PATHGEN)):
                    total += 1
                    continue
                file = folder / "images" / Path(cells["image_name"]).name
                if not file.is_file():
                    absent += 1
                    continue
                total += 1
                place = _PLACE.search(file.name)
                rows.append(
                    {
                        "path": relative(file, source),
                        "patient_id": file.name.partition("_")[0],
                        "split": split,
                        "label": self.names[ones[0]],
                        "cribriform": cells.get("G4C") or None,
                        "xini": place.group(1) if place else None,
                        "yini": place.group(2) if place else None,
                    }
                )
        partial = (f"{absent:,} patches of the tables are not in the folder",) if absent else ()
        return self.found(rows, total, partial)


def _read(table: Path) -> list[dict[str, str]]:
    where = f"partition/Test/{table.name}"
    try:
        return read_xlsx(table, ("image_name", *CLASSES), where)
    except ReadError as error:
        raise CohortError(error.what, where=where, expected=error.expected, fix="download the table again") from error


def _one(text: str, where: str) -> bool:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value not in (0.0, 1.0):
        raise CohortError(f"A grade is neither 0 nor 1: '{text[:20]}'.", where=where, fix="download the table again")
    return value == 1.0


SICAPV2 = Sicapv2()
