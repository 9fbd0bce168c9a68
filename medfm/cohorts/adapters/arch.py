"""ARCH: pictures of pathology textbooks and of articles in PubMed, each with its caption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medfm.cohorts.adapters.base import Found, Row, find_folder, images_in, relative
from medfm.cohorts.adapters.image_texts import TextAdapter, one_line
from medfm.core.errors import CohortError

PARTS = {"books": "books_set", "pubmed": "pubmed_set"}
CAPTIONS = "captions.json"


class Arch(TextAdapter):
    """``captions.json`` of each part names a picture by its uuid; a figure of several pictures has one caption."""

    id = "arch"
    title = "ARCH"
    aliases = ("ARCH dataset", "arch_books", "arch_pubmed")
    layout = "books_set/captions.json with books_set/images/UUID.png, and the same for pubmed_set (jpg or png)"
    where = "warwick.ac.uk/fac/cross_fac/tia/data/arch"
    licence = "CC BY-NC-SA 4.0, for research only (as its page says)"
    citation = "Gamper J. and Rajpoot N., CVPR (2021) 16549"
    task = "retrieval between pictures and captions"
    # As counted in the release by GeorgeBatch/arch-pre-training (README); the paper's 15,164 pictures were never released.
    expected = {"books": 4270, "pubmed": 3309, "total": 7579}
    columns = ("text", "part", "figure_id", "letter")
    notes = (
        "patients are not published: the figure stands in for the patient, and in the part pubmed, which names no "
        "figures, all pictures with one caption",
        "pictures of a figure share its caption: only retrieval@1, which takes equal texts together, counts each as right",
        "stains other than H&E and drawn letters on pictures occur; the release is smaller than the paper says",
        "no split is published",
    )
    unverified = (
        "the counts, which a third party counted in the release",
        "which of these pictures QuiltNet was scored on, and by which table",
    )

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """The pictures with a caption of every part that is there."""
        self.refuse_splits(splits)
        folders = {part: find_folder(source, folder) for part, folder in PARTS.items()}
        if not any(folders.values()):
            raise self.missing(source, f"there is no folder {' or '.join(PARTS.values())}")
        rows: list[Row] = []
        lacking: dict[str, int] = {}
        for part, folder in folders.items():
            if folder is None:
                continue
            found, lacking[part] = _part(part, folder / PARTS[part], source)
            rows += found
        said = [
            f"captions of {part} without a picture or without words, left out: {n:,}"
            for part, n in lacking.items()
            if n
        ]
        return Found(rows, tuple(said))

    def rows(self, source: Path) -> Any:
        """One row per picture with a caption."""
        yield from self.find(source).rows


def _part(part: str, folder: Path, source: Path) -> tuple[list[Row], int]:
    """The rows of one part, and how many captions have no picture or no words."""
    where = f"{folder.name}/{CAPTIONS}"
    place = folder / "images"
    pictures = {file.stem: file for file in images_in(place)} if place.is_dir() else {}
    rows: list[Row] = []
    lost = 0
    first: dict[str, str] = {}
    for key, entry in _captions(folder / CAPTIONS, where).items():
        uuid = entry.get("uuid") if isinstance(entry, dict) else None
        if not isinstance(uuid, str) or "caption" not in entry:
            raise CohortError(
                "An entry has no uuid or no caption.", where=f"{where}, entry {key[:20]}", fix="download the part again"
            )
        text = one_line(entry["caption"])
        file = pictures.get(uuid)
        if file is None or not text:
            lost += 1
            continue
        figure = entry.get("figure_id")
        group = f"figure-{figure}" if figure is not None else first.setdefault(text, uuid)
        rows.append(
            {
                "record_id": uuid,
                "path": relative(file, source),
                "patient_id": f"{part}-{group}",
                "text": text,
                "part": part,
                "figure_id": figure,
                "letter": entry.get("letter"),
            }
        )
    return rows, lost


def _captions(file: Path, where: str) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise CohortError(
            f"The captions cannot be read ({type(error).__name__}).", where=where, fix="download the part again"
        ) from error
    if not isinstance(content, dict) or not content:
        raise CohortError(
            "The captions are no table of entries.", where=where, expected='{"0": {"caption", "uuid"}, ...}'
        )
    return content


ARCH = Arch()
