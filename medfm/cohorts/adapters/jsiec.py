"""JSIEC (1000 fundus images with 39 categories): one folder per class."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.adapters.base import Row, images_in, relative
from medfm.cohorts.adapters.retina import RetinaAdapter

# One number or two: 3.RAO, 0.0.Normal.
_FOLDER = re.compile(r"(\d+(?:\.\d+)?)\.(.+)")


class Jsiec(RetinaAdapter):
    """The class is the folder's name after its number, such as ``0.0.Normal``."""

    id = "jsiec"
    title = "JSIEC 1000 fundus images with 39 categories"
    aliases = ("JSIEC", "1000x39", "05_1000x39", "JSIEC1000")
    label_sets = {"": "jsiec"}
    layout = "1000images/0.0.Normal/*.jpg ... 29.1.Blur fundus with suspected PDR/*.jpg"
    where = "zenodo.org/record/3477553"
    licence = "CC BY 4.0 (as on Zenodo; unverified)"
    citation = "Cen L.-P. et al., Nature Communications 12 (2021) 4828"
    task = "39 classes of findings"
    expected = {"total": 1000}
    columns = ("class_code", "laterality")
    notes = ("the patient of a photograph is not published: patients are unknown", "no split is published")
    unverified = ("the licence; the number of images per class",)

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per image of a numbered folder."""
        found = {d: _FOLDER.fullmatch(d.name) for d in sorted(source.rglob("*")) if d.is_dir()}
        folders = {d: named for d, named in found.items() if named is not None}
        if not folders:
            raise self.missing(source, "there are no folders such as 0.0.Normal and 3.RAO")
        for folder, named in folders.items():
            for file in images_in(folder):
                yield {
                    "path": relative(file, source),
                    "label": named.group(2).strip(),
                    "class_code": named.group(1),
                }


JSIEC = Jsiec()
