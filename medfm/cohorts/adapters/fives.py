"""FIVES: 800 photographs of 2048 x 2048 pixels in four classes, made for vessel segmentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.adapters.base import Row, images_in, relative
from medfm.cohorts.adapters.retina import RetinaAdapter
from medfm.core.errors import CohortError

# The letter at the end of a file name, as in 12_A.png.
CLASSES = {"N": "normal", "A": "age-related macular degeneration", "D": "diabetic retinopathy", "G": "glaucoma"}


class Fives(RetinaAdapter):
    """The class is the last letter of the file name; training and test set are the official ones."""

    id = "fives"
    title = "FIVES"
    aliases = ("Fundus Image Vessel Segmentation", "13_FIVES")
    label_sets = {"": "fives"}
    layout = "train/Original/1_A.png ... and test/Original/1_A.png ..."
    where = "doi 10.6084/m9.figshare.19688169"
    licence = "CC BY 4.0"
    citation = "Jin K. et al., Scientific Data 9 (2022) 475"
    task = "normal, age-related macular degeneration, diabetic retinopathy or glaucoma"
    expected = {"total": 800, "train": 600, "test": 200, **dict.fromkeys(CLASSES.values(), 200)}
    unverified = ("layout and counts are those of the publication; the release itself was not at hand",)
    notes = ("the patient of a photograph is not published: patients are unknown",)
    columns = ("class_code", "laterality")

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per original image."""
        folder = self.folder_with(source, "train/Original", why="there is no folder train/Original")
        for split in ("train", "test"):
            place = folder / split / "Original"
            for file in images_in(place) if place.is_dir() else []:
                code = file.stem.rsplit("_", 1)[-1].upper()
                if code not in CLASSES:
                    raise CohortError(
                        f"The name {file.name} does not end in a class.",
                        where=f"{split}/Original",
                        expected="a number and one of " + ", ".join(CLASSES),
                    )
                yield {
                    "record_id": f"{split}_{file.stem}",
                    "path": relative(file, source),
                    "split": split,
                    "label": CLASSES[code],
                    "class_code": code,
                }


FIVES = Fives()
