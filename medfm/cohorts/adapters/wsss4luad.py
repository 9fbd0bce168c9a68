"""WSSS4LUAD: which tissues a patch of lung adenocarcinoma holds, written in the file name."""

from __future__ import annotations

import re
from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row, images_in, relative
from medfm.cohorts.adapters.patches import OFFICIAL, PATHGEN, SLIDE_IS_PATIENT, PatchAdapter
from medfm.core.errors import CohortError

FOLDER = "1.training"
TISSUES = ("tumor", "stroma", "normal")
_NAME = re.compile(r"^(?P<slide>[^-]+)-.*\[(?P<ones>[01](?:\s*,\s*[01])*)\]\.png$", re.IGNORECASE)


class Wsss4Luad(PatchAdapter):
    """``official``: 0/1 columns tumor, stroma, normal; ``pathgen``: tumor where the first is 1, else normal."""

    id = "wsss4luad"
    title = "WSSS4LUAD"
    aliases = ("WSSS", "WSSS4LUAD training")
    layout = f"{FOLDER}/*.png with names that end in [tumor, stroma, normal], such as '1-2-3-[1, 0, 0].png'"
    where = "wsss4luad.grand-challenge.org"
    licence = "as its challenge says; read it before use"
    citation = "Han C. et al., arXiv 2204.06455"
    task = "tissues present, 3 labels (pathgen: tumor or normal)"
    variants = (OFFICIAL, PATHGEN)
    class_names = {
        "@official": {tissue: tissue for tissue in TISSUES},
        "@pathgen": {"tumor": "tumor", "normal": "normal"},
    }
    unverified = (
        "the number of patches: no count is enforced",
        "that the first part of a file name is the slide",
    )
    notes: tuple[str, ...] = (SLIDE_IS_PATIENT,)

    def __init__(self, task: str | None = None, labelling: str | None = None) -> None:
        super().__init__(task, labelling)
        self.labels = TISSUES if self.labelling == OFFICIAL else ()
        if self.labelling == PATHGEN:
            self.notes = (
                *self.notes,
                "as published: a patch of stroma alone counts as normal tissue under this variant",
            )

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """The training patches; under ``pathgen`` all of them for testing."""
        self.refuse_splits(splits)
        folder = self.folder_with(source, FOLDER, why=f"there is no folder {FOLDER}")
        rows: list[Row] = []
        for file in images_in(folder / FOLDER, (".png",)):
            match = _NAME.match(file.name)
            ones = [int(one) for one in match.group("ones").split(",")] if match else []
            if match is None or len(ones) != len(TISSUES):
                raise CohortError(
                    "A file name does not end in three numbers.",
                    where=relative(file, source),
                    expected="[tumor, stroma, normal], each 0 or 1",
                )
            row: Row = {"path": relative(file, source), "patient_id": match.group("slide")}
            if self.labels:
                row |= dict(zip(TISSUES, ones, strict=True))
            else:
                row |= {"label": "tumor" if ones[0] == 1 else "normal", "split": "test"}
            rows.append(row)
        return self.found(rows, len(rows))


WSSS4LUAD = Wsss4Luad()
