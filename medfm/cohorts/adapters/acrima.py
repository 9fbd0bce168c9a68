"""ACRIMA: 705 crops around the optic disc, glaucoma or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.adapters.base import Row, relative
from medfm.cohorts.adapters.retina import GLAUCOMA, RetinaAdapter


class Acrima(RetinaAdapter):
    """The class is in the file name: ``Im310_g_ACRIMA.jpg`` is glaucoma, ``Im001_ACRIMA.jpg`` is not."""

    id = "acrima"
    title = "ACRIMA"
    aliases = ("36_ACRIMA",)
    label_sets = {"": "acrima"}
    layout = "Database/Images/Im001_ACRIMA.jpg ... Im310_g_ACRIMA.jpg ..., in any folder"
    where = "doi 10.6084/m9.figshare.7613135"
    licence = "CC BY 4.0 (as on figshare)"
    citation = "Diaz-Pinto A. et al., BioMedical Engineering OnLine 18 (2019) 29"
    task = "glaucoma or not"
    expected = {"total": 705, "0": 309, "1": 396}
    notes = (
        "these are crops around the optic disc, not whole photographs: the field-of-view checks do not apply",
        "the patient of a photograph is not published: patients are unknown",
    )
    unverified = ("FLAIR evaluates another copy of the set (379 without and 367 with glaucoma, other file names)",)

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per image."""
        files = sorted(f for f in source.rglob("Im*_ACRIMA.*") if f.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not files:
            raise self.missing(source, "there are no images called Im..._ACRIMA.jpg")
        for file in files:
            code = "1" if "_g_" in file.name else "0"
            yield {"record_id": file.stem, "path": relative(file, source), **self.coded(code, GLAUCOMA, file.name)}


ACRIMA = Acrima()
