"""DeepDRiD, regular fundus images: 500 patients, both eyes, two fields each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from medfm.cohorts.adapters.base import Row
from medfm.cohorts.adapters.retina import ICDR, RetinaAdapter, images_below, read_any, stem
from medfm.cohorts.checks.codes import count
from medfm.core.errors import CohortError

_PARTS = {"train": "regular-fundus-training", "val": "regular-fundus-validation"}
_TEST = "Online-Challenge1&2-Evaluation"
_EYES = {"left_eye_DR_Level": "L", "right_eye_DR_Level": "R"}


class DeepDrid(RetinaAdapter):
    """Grades per eye from the tables; the eye is the one whose grade is given."""

    id = "deepdrid"
    title = "DeepDRiD"
    aliases = ("DeepDR", "37_DeepDRiD", "Deep Diabetic Retinopathy Image Dataset")
    label_sets = {"": "deepdrid"}
    layout = (
        "regular_fundus_images/regular-fundus-training/{regular-fundus-training.csv, Images/1/1_l1.jpg ...}, the same "
        f"for -validation, and {_TEST}/{{Challenge1_labels.xlsx, Images/}}"
    )
    where = "github.com/deepdrdoc/DeepDRiD"
    licence = "CC BY-SA 4.0 (as in its repository; unverified)"
    citation = "Liu R. et al., Patterns 3 (2022) 100512"
    task = "diabetic retinopathy, international grade 0 to 4, per eye"
    patients = True
    columns = ("label_name", "laterality", "field", "quality")
    # Training and validation together, and testing: the rows of FLAIR's tables, image by image.
    expected = {"train": 1200, "val": 400, "test": 400, "0": 914, "1": 222, "2": 398, "3": 354, "4": 112}
    notes = ("quality is the published overall quality (1 is good); test images have none",)
    unverified = ("the licence",)

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per photograph."""
        rows = [row for split, folder in _PARTS.items() for row in self._part(source, split, folder)]
        rows += self._test(source)
        if not rows:
            raise self.missing(source, "none of its tables is there")
        yield from rows

    def notes_on(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """How many names contradict the table."""
        odd = sum(_named_eye(row["record_id"]) not in (None, row["laterality"]) for row in rows)
        said = f"the file name of {count(odd, 'photograph')} says the other eye than the table, which was taken"
        return (said,) if odd else ()

    def _part(self, source: Path, split: str, folder: str) -> Iterator[Row]:
        tables = sorted(source.rglob(f"{folder}.csv"))
        if not tables:
            return
        where = tables[0].relative_to(source).as_posix()
        images = images_below(source, tables[0].parent)
        for line, cells in read_any(tables[0], where, ("patient_id", "image_id", *_EYES)):
            given = [column for column in _EYES if cells[column]]
            if len(given) != 1:
                raise CohortError("A photograph has a grade for both eyes or for none.", where=f"{where}, line {line}")
            yield {
                "record_id": cells["image_id"],
                "path": images.get(stem(cells["image_id"])),
                "patient_id": cells["patient_id"],
                "split": split,
                "laterality": _EYES[given[0]],
                "field": cells["image_id"][-1],
                "quality": cells.get("Overall quality") or None,
                **self.coded(cells[given[0]], ICDR, f"{where}, line {line}"),
            }

    def _test(self, source: Path) -> Iterator[Row]:
        places = [f.parent for ending in ("csv", "xlsx") for f in sorted(source.rglob(f"Challenge1_labels.{ending}"))]
        if not places:
            return
        table = next(
            f for f in (places[0] / "Challenge1_labels.csv", places[0] / "Challenge1_labels.xlsx") if f.is_file()
        )
        where = table.relative_to(source).as_posix()
        images = images_below(source, places[0])
        for line, cells in read_any(table, where, ("image_id", "DR_Levels")):
            if cells["image_id"]:
                name = stem(cells["image_id"])
                yield {
                    "record_id": name,
                    "path": images.get(stem(name)),
                    "patient_id": name.split("_")[0],
                    "split": "test",
                    "laterality": _named_eye(name),
                    "field": name[-1],
                    **self.coded(cells["DR_Levels"], ICDR, f"{where}, line {line}"),
                }


def _named_eye(name: str) -> str | None:
    letter = name.rpartition("_")[2][:1].upper()
    return letter if letter in ("L", "R") else None


DEEPDRID = DeepDrid()
