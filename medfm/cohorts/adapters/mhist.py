"""MHIST: colorectal polyps by the majority vote of seven pathologists."""

from __future__ import annotations

from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row, relative
from medfm.cohorts.adapters.ecg import read_csv
from medfm.cohorts.adapters.patches import OFFICIAL, QUILT, PatchAdapter

TABLE = "annotations.csv"
_VOTES = "Number of Annotators who Selected SSA (Out of 7)"


class Mhist(PatchAdapter):
    """The official partition; ``votes_ssa`` is how many of seven saw a sessile serrated adenoma."""

    id = "mhist"
    title = "MHIST"
    aliases = ("Minimalist Histopathology", "mhist")
    layout = f"{TABLE} and images/*.png"
    where = "bmirds.github.io/MHIST"
    licence = "research use by agreement; read it before use"
    citation = "Wei J. et al., AIME 2021, arXiv 2101.12355"
    task = "kind of colorectal polyp, 2 classes"
    variants = (OFFICIAL, QUILT)
    columns = ("votes_ssa",)
    class_names = {
        "@official": {"HP": "HP", "SSA": "SSA"},
        "@quilt": {"HP": "hyperplastic polyp", "SSA": "sessile serrated adenoma"},
    }
    expected = {"total": 3_152, "test": 977}
    unverified = ("the counts (3,152 pictures, of which 977 for testing) were not checked against the release",)
    notes = ("patients are unknown",)

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """The rows of the table whose picture is there; whatever is not 'train' is for testing."""
        self.refuse_splits(splits)
        folder = self.folder_with(source, TABLE, "images", why=f"there are no {TABLE} and images")
        rows: list[Row] = []
        absent = total = 0
        for line, cells in read_csv(folder / TABLE, TABLE, ("Image Name", "Majority Vote Label", "Partition")):
            total += 1
            code = self.code(cells["Majority Vote Label"], self.names, f"{TABLE}, line {line}")
            file = folder / "images" / Path(cells["Image Name"]).name
            if not file.is_file():
                absent += 1
                continue
            rows.append(
                {
                    "path": relative(file, source),
                    "label": self.names[code],
                    "split": "train" if cells["Partition"] == "train" else "test",
                    "votes_ssa": cells.get(_VOTES) or None,
                }
            )
        partial = (f"{absent:,} pictures of the table are not in the folder",) if absent else ()
        return self.found(rows, total - absent, partial)


MHIST = Mhist()
