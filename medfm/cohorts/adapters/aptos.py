"""APTOS 2019 Blindness Detection: 3,662 labelled photographs of Aravind Eye Hospital."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.adapters.base import Row
from medfm.cohorts.adapters.retina import ICDR, RetinaAdapter, images_below, read_any, stem


class Aptos(RetinaAdapter):
    """The training part; the labels of the test part were never published."""

    id = "aptos2019"
    title = "APTOS 2019 Blindness Detection"
    aliases = ("APTOS", "APTOS-2019", "APTOS train", "15_APTOS")
    label_sets = {"": "aptos"}
    layout = "train.csv with id_code and diagnosis, and train_images/*.png"
    where = "kaggle.com/competitions/aptos2019-blindness-detection"
    licence = "the competition's rules (no licence stated)"
    citation = "Asia Pacific Tele-Ophthalmology Society, APTOS 2019 Blindness Detection, Kaggle (2019)"
    task = "diabetic retinopathy, international grade 0 to 4"
    expected = {"total": 3662, "0": 1805, "1": 370, "2": 999, "3": 193, "4": 295}
    unverified = ("the counts per grade are as others report them; the competition states none with the licence",)
    notes = (
        "the patient of a photograph is not published: patients are unknown",
        "no split is published: the test images of the competition (1,928) have no labels",
        "many images occur twice, some with different grades: medfm data check names them",
    )

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per line of train.csv."""
        folder = self.folder_with(source, "train.csv", "train_images", why="there are no train.csv and train_images")
        images = images_below(source, folder / "train_images")
        for line, cells in read_any(folder / "train.csv", "train.csv", ("id_code", "diagnosis")):
            yield {
                "record_id": cells["id_code"],
                "path": images.get(stem(f"{cells['id_code']}.png")),
                **self.coded(cells["diagnosis"], ICDR, f"train.csv, line {line}"),
            }


APTOS = Aptos()
