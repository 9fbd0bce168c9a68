"""BCCD: blood smears with Pascal VOC boxes -> one record per boxed cell."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.adapters.base import Adapter, Row, relative
from medfm.cohorts.adapters.boxes import clip, image_size
from medfm.core.errors import CohortError

CONTEXT_PX = 35
SMALLEST = 8
_SPLITS = {"train": "train", "val": "val", "test": "test"}


class Bccd(Adapter):
    """Boxes of WBC, RBC and platelets on 640 x 480 smears, read with 35 pixels of context."""

    id = "bccd"
    title = "BCCD"
    aliases = ("BCCD_Dataset", "bccd_cell", "BCCD Dataset")
    layout = (
        "BCCD/JPEGImages/*.jpg, BCCD/Annotations/*.xml and, for the split, BCCD/ImageSets/Main/{train,val,test}.txt"
    )
    where = "github.com/Shenggan/BCCD_Dataset"
    licence = "MIT"
    citation = "Shenggan, BCCD Dataset, 2017"
    task = "cell type, 3 classes (Platelets, RBC, WBC)"
    expected = {"smears": 364}
    unverified = ("counts of boxes differ between descriptions (4,888 is often quoted) and are not enforced",)
    notes = (
        "the patient of a smear is not published: the smear stands in for the patient",
        f"boxes under {SMALLEST} pixels and doubled boxes are left out; context_px is {CONTEXT_PX}",
        "Pascal VOC boxes are used as 0-based and half-open, clipped to the image",
    )
    columns = ("smear", "xmin", "ymin", "xmax", "ymax", "context_px", "at_border")

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per box, with the official split of its smear where the lists are there."""
        folder = self.folder_with(
            source, "JPEGImages", "Annotations", why="there are no folders JPEGImages and Annotations"
        )
        splits = _splits(folder / "ImageSets" / "Main")
        for annotation in sorted((folder / "Annotations").glob("*.xml")):
            image = folder / "JPEGImages" / f"{annotation.stem}.jpg"
            if not image.is_file():
                raise self.missing(source, f"{relative(image, source)} is absent")
            yield from self._cells(annotation, image, source, splits.get(annotation.stem))

    def _cells(self, annotation: Path, image: Path, source: Path, split: str | None) -> Iterator[Row]:
        where = relative(annotation, source)
        size = image_size(image, relative(image, source))
        seen: set[tuple[str, tuple[int, int, int, int]]] = set()
        for number, (label, raw) in enumerate(_boxes(annotation, where)):
            box, cut = clip(raw, size)
            if min(box[2] - box[0], box[3] - box[1]) < SMALLEST or (label, box) in seen:
                continue
            seen.add((label, box))
            yield {
                "record_id": f"{annotation.stem}_{number:02d}",
                "path": relative(image, source),
                "split": split,
                "label": label,
                "smear": annotation.stem,
                **dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)),
                "context_px": CONTEXT_PX,
                "at_border": "yes" if cut else "no",
            }


def _splits(folder: Path) -> dict[str, str]:
    result = {}
    for name, split in _SPLITS.items():
        file = folder / f"{name}.txt"
        if file.is_file():
            result.update({line.split()[0]: split for line in file.read_text().splitlines() if line.strip()})
    return result


def _boxes(file: Path, where: str) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    text = file.read_bytes()
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise CohortError("The annotation declares XML entities, which is refused.", where=where)
    try:
        for item in ElementTree.fromstring(text).iter("object"):
            values = [float(item.findtext(f"bndbox/{c}", "x")) for c in ("xmin", "ymin", "xmax", "ymax")]
            x0, y0, x1, y1 = (int(v) for v in values)
            yield (item.findtext("name") or "").strip(), (x0, y0, x1, y1)
    except (ElementTree.ParseError, ValueError) as error:
        raise CohortError(
            f"The annotation is damaged: {error}.", where=where, expected="Pascal VOC XML with xmin, ymin, xmax, ymax"
        ) from error


BCCD = Bccd()
