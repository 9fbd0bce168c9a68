"""MESSIDOR: 1,200 photographs of three French departments with its own grades of retinopathy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.adapters.base import Row
from medfm.cohorts.adapters.retina import RetinaAdapter, images_below, read_any, stem

# The set's own scale, which is not the international one.
GRADES = {
    "0": "no retinopathy (MESSIDOR grade 0)",
    "1": "MESSIDOR grade 1",
    "2": "MESSIDOR grade 2",
    "3": "MESSIDOR grade 3",
}
EDEMA = {
    "0": "no visible hard exudates",
    "1": "hard exudates more than one papilla diameter from the macula",
    "2": "hard exudates within one papilla diameter of the macula",
}
_COLUMNS = {"dr": "Retinopathy grade", "dme": "Risk of macular edema"}
_COUNTS = {
    "dr": {"0": 546, "1": 153, "2": 247, "3": 254},
    "dme": {"0": 974, "1": 75, "2": 151},
}


class Messidor(RetinaAdapter):
    """Twelve bases with an annotation sheet each."""

    id = "messidor"
    title = "MESSIDOR"
    aliases = ("Messidor-1", "MESSIDOR-1")
    label_sets = {"dr": "messidor1-dr", "dme": "messidor1-dme"}
    layout = "Base11 to Base34 with *.tif, and Annotation_Base11 to Annotation_Base34 as .csv or .xlsx, in any folders"
    where = "www.adcis.net/en/third-party/messidor"
    licence = "on request, research and education only (as ADCIS states)"
    citation = "Decencière E. et al., Image Analysis & Stereology 33 (2014) 231"
    tasks = ("dr", "dme")
    columns = ("label_name", "laterality", "base")
    notes = (
        "the patient of a photograph is not published: patients are unknown, and two eyes of one may be in two splits",
        "no split is published",
        "the grades are MESSIDOR's own scale of four, not the international one of five",
    )
    unverified = (
        "the distributor lists errata (thirteen pairs of doubled images in Base33, some grades of Base11 and Base13): "
        "they are not applied here; medfm data check finds doubled files",
    )

    def __init__(self, task: str | None = None) -> None:
        super().__init__(task)
        self.task = "retinopathy grade of MESSIDOR, 4 classes" if self.chosen_task == "dr" else "risk of macular oedema"
        self.expected = {"total": 1200, **_COUNTS[self.chosen_task or "dr"]}

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per line of the annotation sheets."""
        sheets = sorted(
            f for ending in ("csv", "xlsx") for f in source.rglob(f"Annotation*Base*.{ending}") if f.name[0] not in ".~"
        )
        if not sheets:
            old = any(source.rglob("Annotation*Base*.xls"))
            why = (
                "the sheets are old Excel files: save each as CSV or .xlsx" if old else "there are no annotation sheets"
            )
            raise self.missing(source, why)
        images = images_below(source)
        names = GRADES if self.chosen_task == "dr" else EDEMA
        column = _COLUMNS[self.chosen_task or "dr"]
        for sheet in sheets:
            where = sheet.relative_to(source).as_posix()
            for line, cells in read_any(sheet, where, ("Image name", column)):
                if not cells["Image name"]:
                    continue
                yield {
                    "path": images.get(stem(cells["Image name"])),
                    "site": cells.get("Ophthalmologic department") or None,
                    "base": sheet.stem.rsplit("_", 1)[-1],
                    **self.coded(cells[column], names, f"{where}, line {line}"),
                }


MESSIDOR = Messidor()
