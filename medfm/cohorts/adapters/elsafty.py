"""Elsafty: red blood cells for classification, cropped cells with their slide in the file name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.adapters.base import Adapter, Row, images_in, relative

_SLIDE = re.compile(r"slide[ _-]*\(?(\d+)\)?", re.IGNORECASE)


class Elsafty(Adapter):
    """About 240,000 cropped red cells in nine classes; the slide of a cell is the unit kept together."""

    id = "elsafty"
    title = "Elsafty RBCs for Classification"
    aliases = ("Elsafty", "Elsafty_RBCs_for_Classification")
    layout = "CLASS/*.png at any depth, file names with the slide, such as 'Slide 1 (12).png'; class = nearest folder"
    where = "figshare, item 25599981 (Elsafty_RBCs_for_Classification)"
    licence = "as stated on its figshare page; read it before use"
    citation = "Elsafty A., Soliman A., Ahmed Y., Scientific Data 11 (2024), doi 10.1038/s41597-024-03570-z"
    task = "red-cell class, 9 classes"
    expected = {"total": 240507}
    unverified = (
        "the total (240,507) and the file-name pattern come from users of the set; its paper says over 240,000 cells",
        "which of the four groups (stain and camera) a slide belongs to: no site is written",
        "which slides and sources form the published train and test parts: no split is written",
    )
    notes = ("each of the 25 slides is of another patient, so the slide is the patient",)
    patients = True
    columns = ("slide",)

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per crop; ``patient_id`` and ``slide`` come from the file name or a folder above."""
        for folder in sorted([source, *(d for d in source.rglob("*") if d.is_dir() and not d.name.startswith("."))]):
            for file in images_in(folder):
                path = relative(file, source)
                slide = self._slide(path)
                if slide is None:
                    raise self.missing(source, f"no slide number is in the name {path}")
                label = next((p for p in reversed(Path(path).parts[:-1]) if not _SLIDE.search(p)), None)
                if label is None:
                    raise self.missing(source, f"{path} is in no class folder")
                yield {"path": path, "patient_id": f"slide-{slide}", "label": _tidy(label), "slide": slide}

    @staticmethod
    def _slide(path: str) -> int | None:
        """The slide number in the file name, else in the nearest folder that has one."""
        for part in reversed(Path(path).parts):
            match = _SLIDE.search(part)
            if match:
                return int(match.group(1))
        return None


def _tidy(name: str) -> str:
    """``01-Normal RBC`` -> ``normal_rbc``."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"^\d+[ _.-]*", "", name.lower())).strip("_") or name


ELSAFTY = Elsafty()
