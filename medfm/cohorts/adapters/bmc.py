"""Bone Marrow Cytomorphology (MLL, Helmholtz, Fraunhofer; Matek 2021)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.adapters.base import Adapter, Row, images_in, relative
from medfm.core.errors import CohortError

CLASSES: tuple[str, ...] = ("ABE", "ART", "BAS", "BLA", "EBO", "EOS", "FGC", "HAC", "KSC", "LYI", "LYT")
CLASSES += ("MMZ", "MON", "MYB", "NGB", "NGS", "NIF", "OTH", "PEB", "PLM", "PMO")

SPLITS = ("train", "test")


class BoneMarrowCytomorphology(Adapter):
    """171,373 cells in 21 class folders, large classes cut into numbered sub-folders."""

    id = "bmc"
    title = "Bone Marrow Cytomorphology MLL Helmholtz Fraunhofer (Matek 2021)"
    aliases = ("BMC", "Bone Marrow Cytomorphology", "MLL_20221220", "Matek 2021")
    layout = "BM_cytomorphology_data/CLASS/[0001-1000/]*.jpg with the 21 class codes " + " ".join(CLASSES)
    where = "The Cancer Imaging Archive, collection Bone-Marrow-Cytomorphology_MLL_Helmholtz_Fraunhofer, doi 10.7937/TCIA.AXH3-T579"
    licence = "CC BY 4.0"
    citation = "Matek C. et al., Blood 138 (2021) 1917-1927"
    task = "bone-marrow cell type, 21 classes"
    expected = {"total": 171373}
    unverified = (
        "the names of the sub-folders; counts per class are published in the paper and not checked here",
        "DinoBloom's fixed split is not part of the release: put bm_train.csv and bm_test.csv (34,266 images) of its "
        "repository beside the class folders; without them no split is written",
    )
    notes = ("which of the 945 patients a cell is from is not published: patients are unknown",)

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per image at any depth below a class folder."""
        folders = self._class_folders(source)
        if not folders:
            raise self.missing(source, "there are no folders with the class codes")
        splits = _fixed_split(source, folders[0].parent)
        for folder in folders:
            for place in sorted([folder, *(d for d in folder.rglob("*") if d.is_dir())]):
                for file in images_in(place):
                    yield {"path": relative(file, source), "label": folder.name, "split": splits.get(file.name)}

    @staticmethod
    def _class_folders(source: Path) -> list[Path]:
        level = [source]
        for _ in range(3):
            hits = [folder / name for folder in level for name in CLASSES if (folder / name).is_dir()]
            if hits:
                return hits
            level = sorted(d for folder in level for d in folder.iterdir() if d.is_dir())
        return []


def _fixed_split(*places: Path) -> dict[str, str]:
    """File name -> split, from DinoBloom's ``bm_train.csv`` and ``bm_test.csv``; empty without them.

    Only the file name of the column ``Image Path`` counts: its folders are those of the authors' machine.

    Raises:
        CohortError: Only one of the two is there, a column is missing, or an image is in both.
    """
    found: dict[str, str] = {}
    files = {split: [p / f"bm_{split}.csv" for p in places if (p / f"bm_{split}.csv").is_file()] for split in SPLITS}
    if not any(files.values()):
        return found
    for split, hits in files.items():
        if not hits:
            raise CohortError(
                f"Half of the fixed split is missing: there is no bm_{split}.csv.",
                where=str(places[0]),
                expected="bm_train.csv and bm_test.csv of the DinoBloom repository, or neither",
            )
        with hits[0].open(encoding="utf-8-sig", newline="") as handle:
            table = csv.DictReader(handle)
            if "Image Path" not in (table.fieldnames or ()):
                raise CohortError("The split file has no column 'Image Path'.", where=str(hits[0]))
            for row in table:
                name = (row["Image Path"] or "").replace("\\", "/").rsplit("/", 1)[-1]
                if found.setdefault(name, split) != split:
                    raise CohortError(f"The image {name} is in both split files.", where=str(hits[0]))
    return found


BMC = BoneMarrowCytomorphology()
