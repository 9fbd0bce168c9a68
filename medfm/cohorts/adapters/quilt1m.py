"""Quilt-1M, held-out part: the pairs that its released table calls ``val``."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from medfm.cohorts.adapters.base import Found, Row, relative
from medfm.cohorts.adapters.ecg import read_csv
from medfm.cohorts.adapters.image_texts import TextAdapter, one_line

TABLE = "quilt_1M_lookup.csv"
HELD_OUT = "val"
_PLACES = ("quilt_1m", "images", ".")
# VIDEO_image_UUID.jpg; the id of a video may hold underscores.
_FRAME = re.compile(r"^(?P<video>.+)_image_[0-9a-fA-F-]+\.\w+$")


class Quilt1M(TextAdapter):
    """One record per pair of picture and caption with split ``val`` in the table; a picture may be in several."""

    id = "quilt1m"
    title = "Quilt-1M, held-out pairs"
    aliases = ("Quilt-1M", "Quilt", "QUILT-1M", "quilt_1m")
    layout = f"{TABLE} (image_path, caption, subset, split, ...) and the pictures in the folder quilt_1m or images"
    where = "zenodo.org/records/8239942 (access on request)"
    licence = "restricted: research use, no redistribution (the terms of its access form)"
    citation = "Ikezogwo W. O. et al., NeurIPS 36 (2023), arXiv 2306.11207"
    task = "retrieval between pictures and captions, on held-out pairs"
    part = "subset"
    columns = ("text", "subset", "pathology", "magnification")
    notes = (
        "patients are not published: the video stands in for the patient, and for other sources the picture",
        "the table's split 'val' is written as test: nothing here trains on it",
        "a picture with several captions is several records, whose embeddings are equal",
    )
    unverified = (
        "that the held-out pairs of the paper's retrieval figures are these, and how many there are: no count is enforced",
        "the names of the folders that the pictures are unpacked into",
    )

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """The held-out pairs whose picture is there."""
        self.refuse_splits(splits)
        folder = self.folder_with(source, TABLE, why=f"there is no {TABLE}")
        rows: list[Row] = []
        times: Counter[str] = Counter()
        held = total = absent = empty = 0
        for _, cells in read_csv(folder / TABLE, TABLE, ("image_path", "caption", "split", "subset")):
            total += 1
            if cells["split"] != HELD_OUT:
                continue
            held += 1
            text, name = one_line(cells["caption"]), cells["image_path"].replace("\\", "/").rsplit("/", 1)[-1]
            if not text:
                empty += 1
                continue
            file = next((f for place in _PLACES if (f := folder / place / name).is_file()), None)
            if file is None:
                absent += 1
                continue
            times[name] += 1
            frame = _FRAME.match(name)
            rows.append(
                {
                    "record_id": name if times[name] == 1 else f"{name}#{times[name]}",
                    "path": relative(file, source),
                    "patient_id": frame.group("video") if frame else name,
                    "split": "test",
                    "text": text,
                    "subset": cells["subset"] or "unknown",
                    "pathology": cells.get("pathology") or None,
                    "magnification": cells.get("magnification") or None,
                }
            )
        said = [f"{total - held:,} of {total:,} pairs of the table are not held out and not in this cohort"]
        said += [f"{empty:,} held-out pairs have no caption and are left out"] if empty else []
        partial = (f"{absent:,} of {held:,} held-out pairs have no picture in the folder",) if absent else ()
        return Found(rows, tuple(said), partial)

    def rows(self, source: Path) -> Any:
        """One row per held-out pair."""
        yield from self.find(source).rows


QUILT1M = Quilt1M()
