"""Acevedo 2020, PBC_dataset_normal_DIB: single peripheral-blood cells of healthy donors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.adapters.base import Adapter, Row, find_folder, images_in, relative

CLASSES = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")
_PREFIX = re.compile(r"([A-Za-z]+)[_\d]")


class Acevedo(Adapter):
    """17,092 cells in eight folders; the prefix of a file name keeps the finer label of the source."""

    id = "acevedo"
    title = "Acevedo 2020 (PBC_dataset_normal_DIB)"
    aliases = ("Acevedo", "PBC_dataset_normal_DIB", "pbc_cell", "BloodMNIST")
    layout = "PBC_dataset_normal_DIB/CLASS/*.jpg with the classes " + ", ".join(CLASSES)
    where = "Mendeley Data, doi 10.17632/snkd93bnjr.1"
    licence = "CC BY 4.0"
    citation = "Acevedo A. et al., Data in Brief 30 (2020) 105474"
    task = "cell type, 8 classes"
    expected = {
        "total": 17092,
        "basophil": 1218,
        "eosinophil": 3117,
        "erythroblast": 1551,
        "ig": 2895,
        "lymphocyte": 1214,
        "monocyte": 1420,
        "neutrophil": 3329,
        "platelet": 2348,
    }
    unverified = (
        "the finer labels are read from the file-name prefix (such as IG, MY, MMY, PMY under ig; BNE, SNE under "
        "neutrophil); the release describes them only in its paper",
    )
    notes = ("the donor of an image is not published: patients are unknown",)
    columns = ("subtype",)

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per image; ``subtype`` is the prefix of the file name."""
        folder = find_folder(source, *CLASSES[:1]) or find_folder(source, *CLASSES[-1:])
        if folder is None:
            raise self.missing(source, "there are no class folders")
        for name in CLASSES:
            if not (folder / name).is_dir():
                continue
            for file in images_in(folder / name):
                prefix = _PREFIX.match(file.name)
                yield {
                    "path": relative(file, source),
                    "label": name,
                    "subtype": prefix.group(1).upper() if prefix else None,
                }


ACEVEDO = Acevedo()
