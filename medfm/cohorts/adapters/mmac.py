"""MMAC 2023, task 1: myopic maculopathy in five categories."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.adapters.base import Row
from medfm.cohorts.adapters.retina import RetinaAdapter, images_below, read_any, stem

# META-PM (Ohno-Matsui et al., Am J Ophthalmol 159 (2015) 877).
CATEGORIES = {
    "0": "no myopic maculopathy",
    "1": "tessellated fundus",
    "2": "diffuse chorioretinal atrophy",
    "3": "patchy chorioretinal atrophy",
    "4": "macular atrophy",
}
_NAME = re.compile(r"mmac_task_1_(train|val|test)_\d+", re.IGNORECASE)
_LABEL = "myopic_maculopathy_grade"


class Mmac(RetinaAdapter):
    """Label tables are recognised by their columns, the split by the image names."""

    id = "mmac"
    title = "MMAC 2023 task 1"
    aliases = ("MMAC", "MMAC23", "Myopic Maculopathy Analysis Challenge", "38_MMAC")
    label_sets = {"": "mmac"}
    layout = (
        f"images mmac_task_1_train_0001.png ... and tables (.csv) with the columns image and {_LABEL}, in any folders"
    )
    where = "zenodo.org/records/11025749"
    licence = "unverified (see the Zenodo record)"
    citation = "Qian B. et al., JAMA Ophthalmology 142 (2024) 1085"
    task = "myopic maculopathy, META-PM category 0 to 4"
    # 70, 72, 58, 8, 7 of the first and 10, 6, 7, 4, 6 of the second hospital.
    expected = {"val": 248}
    columns = ("label_name", "laterality", "age")
    notes = ("the patient of a photograph is not published: patients are unknown",)
    unverified = (
        "the numbers of training (1,143) and test images (915) and their classes, which are quoted from memory of the paper",
        "folder names and further columns of the tables; sex is left out, since its coding is not known here",
    )

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per labelled image."""
        images = images_below(source, None, (".png",))
        found = False
        for table in sorted(f for f in source.rglob("*.csv") if not f.name.startswith(".")):
            where = table.relative_to(source).as_posix()
            with table.open(encoding="utf-8-sig", errors="replace") as handle:
                header = [cell.strip() for cell in handle.readline().split(",")]
            if _LABEL not in header or "image" not in header:
                continue
            for line, cells in read_any(table, where, ("image", _LABEL)):
                named = _NAME.match(cells["image"])
                if named is None:
                    continue  # tables of the other tasks
                found = True
                yield {
                    "path": images.get(stem(cells["image"])),
                    "split": named.group(1).lower(),
                    "age": cells.get("age") or None,
                    **self.coded(cells[_LABEL], CATEGORIES, f"{where}, line {line}"),
                }
        if not found:
            raise self.missing(source, f"no table has the columns image and {_LABEL}")


MMAC = Mmac()
