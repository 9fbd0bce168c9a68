"""RenalCell: tissue textures in clear-cell renal carcinoma."""

from __future__ import annotations

from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row, images_in, relative
from medfm.cohorts.adapters.patches import OFFICIAL, QUILT, PatchAdapter

CLASSES = ("blood", "cancer", "normal", "other", "stroma", "empty")


class RenalCell(PatchAdapter):
    """Folders by class; QuiltNet's five names leave the empty background out."""

    id = "renal_cell"
    title = "Renal cell carcinoma tissue textures (RenalCell)"
    aliases = ("RenalCell", "Renal Cell", "renalcell")
    layout = f"tissue_classification/CLASS/* with the classes {', '.join(CLASSES)}"
    where = "zenodo.org/records/6528599"
    licence = "as stated on its Zenodo page; read it before use"
    citation = (
        "Brummer O. et al., Integrative analysis of tissue textures and lymphocyte infiltration in renal cell carcinoma"
    )
    task = "kind of renal tissue, 6 classes (quilt: 5, without empty background)"
    variants = (OFFICIAL, QUILT)
    class_names = {
        "@official": {code: code for code in CLASSES},
        "@quilt": {
            "blood": "red blood cells",
            "cancer": "renal cancer",
            "normal": "normal renal tissue",
            "other": "torn adipose necrotic tissue",
            "stroma": "muscle fibrous stroma blood vessels",
        },
    }
    unverified = (
        "the folder names and the number of patches: no count is enforced",
        "which folder each of QuiltNet's five names stands for: matched by meaning",
    )
    notes = ("patients are unknown; the pictures are from TCGA, so encoders trained on TCGA have seen the slides",)

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """The patches of the class folders."""
        self.refuse_splits(splits)
        top = self.folder_with(
            source, "cancer", "normal", "stroma", why="there are no folders cancer, normal and stroma"
        )
        rows: list[Row] = []
        total = 0
        for code in CLASSES:
            files = images_in(top / code) if (top / code).is_dir() else []
            total += len(files)
            if code in self.names:
                rows += [{"path": relative(file, source), "label": self.names[code]} for file in files]
        return self.found(rows, total)


RENAL_CELL = RenalCell()
