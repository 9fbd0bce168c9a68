"""NCT-CRC-HE-100K and CRC-VAL-HE-7K: nine kinds of tissue in colorectal cancer."""

from __future__ import annotations

from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row, find_folder, images_in, relative
from medfm.cohorts.adapters.patches import PATHGEN, PatchAdapter

TRAIN, TEST = "NCT-CRC-HE-100K", "CRC-VAL-HE-7K"
CLASSES = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
_QUILT = {
    "ADI": "adipose",
    "DEB": "debris",
    "LYM": "lymphocytes",
    "MUC": "mucus",
    "MUS": "smooth muscle",
    "NORM": "normal colon mucosa",
    "STR": "cancer-associated stroma",
    "TUM": "colorectal adenocarcinoma epithelium",
}
SIZES = {TRAIN: 100_000, TEST: 7_180}


class NctCrc(PatchAdapter):
    """Train is the 100K folder, test the 7K folder; QuiltNet has 8 classes (no background), PathGen 9."""

    id = "nct_crc"
    title = "NCT-CRC-HE-100K and CRC-VAL-HE-7K"
    aliases = (TRAIN, TEST, "NCT-CRC", "CRC100K", "CRC-100K", "nck")
    layout = f"{TRAIN}/CLASS/*.tif and {TEST}/CLASS/*.tif with the classes {', '.join(CLASSES)}"
    where = "zenodo.org/records/1214456"
    licence = "CC BY 4.0"
    citation = "Kather J. N. et al., PLoS Medicine 16 (2019) e1002730"
    task = "kind of tissue, 9 classes (quilt: 8, without background)"
    expected = {"train": SIZES[TRAIN], "test": SIZES[TEST]}
    partial_expected = ("official",)
    class_names = {
        "@official": {code: code for code in CLASSES},
        "@quilt": _QUILT,
        "@pathgen": {"ADI": "adipose", "BACK": "background", **_QUILT},
    }
    unverified = (
        "which part QuiltNet's figures are on: the 7K folder is taken as test, as later work does",
        "the licence and the resolution (0.5 micrometres per pixel) are as commonly stated: no mpp is written",
    )
    notes = (
        "the patients of the patches are not published; the two folders are of different patients by their authors' word",
        "the pictures are stain-normalised (Macenko) by the authors; the release without it (NONORM) is another set",
    )

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """The patches of both folders; under ``pathgen`` the 100K folder alone, all of it for testing."""
        self.refuse_splits(splits)
        folder = find_folder(source, TRAIN) or find_folder(source, TEST)
        if folder is None:
            raise self.missing(source, f"there is no folder {TRAIN} or {TEST}")
        wanted = {TRAIN: "test"} if self.labelling == PATHGEN else {TRAIN: "train", TEST: "test"}
        rows: list[Row] = []
        partial: list[str] = []
        total = 0
        for part, split in wanted.items():
            number = 0
            for code in CLASSES:
                place = folder / part / code
                files = images_in(place) if place.is_dir() else []
                number += len(files)
                if code in self.names:
                    rows += [
                        {"path": relative(f, source), "label": self.names[code], "split": split, "part": part}
                        for f in files
                    ]
            total += number
            if number != SIZES[part] and self.labelling != "official":
                partial.append(f"{part}: expected {SIZES[part]:,}, found {number:,}")
        return self.found(rows, total, tuple(partial))

    columns = ("part",)


NCT_CRC = NctCrc()
