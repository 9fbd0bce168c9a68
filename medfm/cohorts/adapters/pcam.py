"""PatchCamelyon: metastases in lymph nodes, patches of 96 x 96 pixels inside HDF5 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medfm.cohorts.adapters.base import Found, Row, find_folder, relative
from medfm.cohorts.adapters.ecg import read_csv
from medfm.cohorts.adapters.patches import OFFICIAL, QUILT, SLIDE_IS_PATIENT, PatchAdapter
from medfm.core.errors import CohortError

STEM = "camelyonpatch_level_2_split"
PARTS = {"train": "train", "valid": "val", "test": "test"}


class PatchCamelyon(PatchAdapter):
    """A record is a row of the HDF5 file: columns ``path`` and ``index``. No patch is copied out."""

    id = "pcam"
    title = "PatchCamelyon"
    aliases = ("PCam", "Patch Camelyon", "patch_camelyon")
    layout = f"{STEM}_PART_x.h5 and {STEM}_PART_y.h5 for PART in train, valid, test (unpacked); _meta.csv where there"
    where = "github.com/basveeling/pcam (zenodo.org/records/2546921)"
    licence = "CC0 1.0"
    citation = "Veeling B. S. et al., MICCAI 2018, arXiv 1806.03962"
    task = "metastatic tissue in the centre of the patch, 2 classes"
    variants = (OFFICIAL, QUILT)
    columns = ("index", "dataset", "coord_x", "coord_y")
    expected = {"test": 32_768}
    class_names = {
        "@official": {"0": "normal", "1": "tumor"},
        "@quilt": {"0": "lymph node", "1": "lymph node containing metastatic tumor tissue"},
    }
    unverified = ("the sizes of train (262,144) and valid (32,768): only that of test is enforced",)

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """The rows of the parts that are there; the slide of a patch where the tables beside say it."""
        self.refuse_splits(splits)
        folder = next((f for part in PARTS if (f := find_folder(source, f"{STEM}_{part}_x.h5"))), None)
        if folder is None:
            packed = any(source.rglob(f"{STEM}_*_x.h5.gz"))
            raise self.missing(
                source, "the files are still packed (.gz)" if packed else f"there is no {STEM}_PART_x.h5"
            )
        rows: list[Row] = []
        partial = []
        slides = True
        for part, split in PARTS.items():
            file = folder / f"{STEM}_{part}_x.h5"
            if not file.is_file():
                partial.append(f"{file.name} is absent")
                continue
            labels = _labels(folder / f"{STEM}_{part}_y.h5", _length(file))
            known = _meta(folder / f"{STEM}_{part}_meta.csv", len(labels))
            slides = slides and bool(known)
            path = relative(file, source)
            for index, label in enumerate(labels.tolist()):
                row: Row = {
                    "record_id": f"{part}-{index:06d}",
                    "path": path,
                    "split": split,
                    "label": self.names[str(label)],
                    "index": index,
                    "dataset": "x",
                }
                rows.append(row | known[index] if known else row)
        if not slides:
            # A patient for some rows only would be worse than none.
            for row in rows:
                row.pop("patient_id", None)
        notes = (SLIDE_IS_PATIENT,) if slides else ("slides are unknown: the tables *_meta.csv are not there",)
        return self.found(rows, len(rows), tuple(partial), notes)


def _open(file: Path) -> Any:
    import h5py

    try:
        return h5py.File(file, "r")
    except OSError as error:
        raise CohortError("The HDF5 file cannot be read.", where=file.name, fix="download it again") from error


def _length(file: Path) -> int:
    with _open(file) as opened:
        if "x" not in opened or opened["x"].ndim != 4:
            raise CohortError("There is no data set x of pictures.", where=file.name, expected="x (n, 96, 96, 3)")
        return int(opened["x"].shape[0])


def _labels(file: Path, number: int) -> np.ndarray:
    if not file.is_file():
        raise CohortError("The labels are absent.", where=file.name, fix="download the file *_y.h5 too")
    with _open(file) as opened:
        values = np.asarray(opened["y"]).reshape(-1) if "y" in opened else np.empty(0)
    if len(values) != number or not np.isin(values, (0, 1)).all():
        raise CohortError(
            f"There are {len(values):,} labels for {number:,} patches, or others than 0 and 1.",
            where=file.name,
            expected="one label, 0 or 1, per patch",
            fix="download both files again",
        )
    return values.astype(np.int64)


def _meta(file: Path, number: int) -> list[Row]:
    """Slide and coordinates per patch; empty where the table is absent."""
    if not file.is_file():
        return []
    rows: list[Row] = [
        {"patient_id": cells["wsi"], "coord_x": cells.get("coord_x"), "coord_y": cells.get("coord_y")}
        for _, cells in read_csv(file, file.name, ("wsi",))
    ]
    if len(rows) != number:
        raise CohortError(
            f"The table has {len(rows):,} rows for {number:,} patches.", where=file.name, fix="download it again"
        )
    return rows


PCAM = PatchCamelyon()
