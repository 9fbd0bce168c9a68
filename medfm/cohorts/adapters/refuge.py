"""REFUGE: 1,200 photographs for glaucoma; the training part's classes are in its folders or names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from medfm.cohorts.adapters.base import Row, images_in, relative
from medfm.cohorts.adapters.retina import GLAUCOMA, RetinaAdapter, among, images_below, read_any, stem, table_like

_CLASS_FOLDERS = {"glaucoma": "1", "non-glaucoma": "0"}
_TEST_TABLE = "Glaucoma_label_and_Fovea_location"


class Refuge(RetinaAdapter):
    """The 400 training images; the 400 test images too where their label table is there."""

    id = "refuge"
    title = "REFUGE"
    aliases = ("REFUGE1", "25_REFUGE", "REFUGE train")
    label_sets = {"": "refuge"}
    layout = (
        "Training400/{Glaucoma,Non-Glaucoma}/*.jpg, or train/Images/{g0001,n0001}.jpg; for testing, if there, "
        f"T0001.jpg ... with {_TEST_TABLE}.xlsx (or .csv)"
    )
    where = "refuge.grand-challenge.org"
    licence = "the challenge's terms (research only)"
    citation = "Orlando J.I. et al., Medical Image Analysis 59 (2020) 101570"
    task = "glaucoma or not"
    expected = {"train": 400}
    notes = (
        "the patient of a photograph is not published: patients are unknown",
        "training and test images come from different cameras (Zeiss Visucam 500; Canon CR-2)",
    )
    unverified = ("layout and labels of the test part, and the columns of its label table",)

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per training image, and per test image with a label."""
        rows = [*self._by_folder(source)] or [*self._by_name(source)]
        if not rows:
            raise self.missing(source, "there are neither class folders nor train/Images")
        yield from rows
        table = table_like(source, _TEST_TABLE)
        if table is None:
            return
        where = table.relative_to(source).as_posix()
        images = {s: p for s, p in images_below(source, None, (".jpg",)).items() if s.startswith("t0")}
        for line, cells in read_any(table, where, ("ImgName",)):
            column = among(("Label(Glaucoma=1)", "Label (Glaucoma=1)", "Label"), cells, where)
            if cells["ImgName"]:
                path = images.get(stem(cells["ImgName"]))
                yield {
                    "record_id": stem(cells["ImgName"]),
                    "path": path,
                    "split": "test",
                    **self.coded(cells[column], GLAUCOMA, f"{where}, line {line}"),
                }

    def _by_folder(self, source: Path) -> Iterator[Row]:
        for folder in sorted(d for d in source.rglob("*") if d.is_dir()):
            # The masks of disc and cup lie in folders of the same names.
            code = _CLASS_FOLDERS.get(folder.name.lower())
            if code is not None and "mask" not in folder.relative_to(source).as_posix().lower():
                for file in images_in(folder, (".jpg",)):
                    yield self._training(file, source, code)

    def _by_name(self, source: Path) -> Iterator[Row]:
        for folder in sorted(d for d in source.rglob("Images") if d.parent.name.lower() == "train"):
            for file in images_in(folder, (".jpg",)):
                if file.name[0].lower() in "gn":
                    yield self._training(file, source, "1" if file.name[0].lower() == "g" else "0")

    def _training(self, file: Path, source: Path, code: str) -> Row:
        row = {"record_id": file.stem.lower(), "path": relative(file, source), "split": "train"}
        return {**row, **self.coded(code, GLAUCOMA, file.name)}

    def expected_of(self, rows: Sequence[Row]) -> Mapping[str, int] | None:
        """400 of each part that is there; 40 with glaucoma where the training part is alone."""
        if any(row["split"] == "test" for row in rows):
            return {"train": 400, "test": 400}
        return {"train": 400, "0": 360, "1": 40}

    def notes_on(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """Whether the test part is there."""
        return () if any(row["split"] == "test" for row in rows) else ("the labelled test part was not in the folder",)


REFUGE = Refuge()
