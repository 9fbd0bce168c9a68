"""Write a deterministic synthetic cohort in the modality's real file formats."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medfm.cohorts.info import CohortInfo, load_info
from medfm.cohorts.synthetic_notice import NOTICE
from medfm.core.errors import CohortError, MedfmError, StoreError
from medfm.core.files import atomic_folder, write_text
from medfm.core.names import unknown_name
from medfm.core.progress import ProgressMaker, Silent

__all__ = ["NOTICE", "Synthesized", "synthesize"]

Rows = list[dict[str, Any]]
# Images: height in pixels when none is asked for, and the least.
_PIXELS = {"blood_cell": 112, "chest_xray": 224, "retina": 384, "histopathology": 224}
_LEAST = {"blood_cell": 32, "chest_xray": 64, "retina": 64, "histopathology": 64}


@dataclass(frozen=True)
class Synthesized:
    """What :func:`synthesize` wrote: the cohort table, a table of smears with boxes (cells only), counts."""

    table: Path
    smears: Path | None
    records: int
    patients: int
    counts: dict[str, int]


@dataclass(frozen=True)
class _Table:
    """Rows of one table and what the YAML beside it says."""

    rows: Rows
    task: str
    units: dict[str, str]


def synthesize(
    modality: str,
    out: str | Path,
    records: int = 600,
    seed: int = 0,
    size: int | None = None,
    overwrite: bool = False,
    progress: ProgressMaker = Silent,
) -> Synthesized:
    """Write a synthetic cohort into the new folder `out`; equal arguments give equal files.

    Args:
        modality: ``"blood_cell"``, ``"brain_mri"``, ``"chest_xray"``, ``"ecg"``, ``"retina"`` or ``"histopathology"``.
        out: Folder to create.
        records: Single-cell images of ninety patients at three sites, 10-second recordings of 160
            patients at four sites, photographs of both eyes of 120 patients at four sites, or patches of
            80 patients' slides at four sites; of brains five visits of every subject at two sites; one to four
            chest radiographs of every patient at four sites.
        seed: Seed of everything drawn.
        size: Height of images in pixels, 32 to 1024 (cells 112, chest 224, retina 384, histopathology 224); the
            width too, but for two of the fundus cameras and two of the X-ray machines; at least 64 but for cells. Not
            for ECGs and brains, which have 32 x 40 x 32 voxels of 5 mm.
        overwrite: Whether an existing folder may be replaced.
        progress: Called with (title, total, unit).

    Returns:
        Paths and counts. ``labels.csv`` of cells has `label` (five classes), `site`, `split` by
        patient, `patient_class` (for bags), `nucleus_share` (a quantity), `age`, `sex`; ``smears.csv``
        has boxes on whole fields. That of ECGs has `label` (the main class), a 0/1 column per label,
        `text` (a report), `site`, `split` by patient, `age`, `sex`. That of the retina has `label` (grade 0
        to 4), `glaucoma` (0/1), `cup_disc_ratio`, `laterality`, `text`; that of histopathology `label`
        (five tissues), `text`, `index` (of the site with a stack), `slide_id`, `patch_x`, `patch_y`, `mpp`;
        that of brains `label` (CN, MCI, AD), `session` (months), `age`, `ventricles_ml`, `hippocampi_ml`; that of
        chests `label` (normal, pneumonia), `severity` (0 to 3), 0/1 columns `opacity` (what the picture shows),
        `cardiomegaly`, `effusion` (unknown at one site), and `view`.

    Raises:
        UnknownNameError: There is no generator for `modality`.
        CohortError: Too few records, images too small, or a size for ECGs.
        StoreError: The folder exists (with `overwrite`: and holds other things), or cannot be written.
    """
    if modality not in _WRITERS:
        raise unknown_name("synthetic modality", modality, _WRITERS)
    if modality not in _PIXELS and size is not None:
        raise CohortError("A size in pixels is for images.", where=f"modality {modality}", fix="leave --size away")
    pixels, least = size or _PIXELS.get(modality, 0), _LEAST.get(modality, 0)
    if records < 30 or size == 0 or not least <= pixels <= 1024:
        raise CohortError(
            f"{records} records of {pixels if size is None else size} pixels cannot be drawn."
            if least
            else f"A cohort of {records} records cannot be drawn.",
            expected=f"at least 30 records of {least} to 1024 pixels" if least else "at least 30 records",
        )
    target = Path(out)
    if overwrite and target.exists() and not _is_synthetic(target):
        raise StoreError(
            "This is not an earlier synthetic cohort, so it is not replaced.",
            where=str(target),
            fix="choose another name, or remove it yourself",
        )
    with atomic_folder(target, replace=overwrite) as folder:
        tables = _WRITERS[modality](folder, records, seed, pixels, progress)
        for name, drawn in tables.items():
            _write_table(folder / f"{name}.csv", drawn, modality, seed)
    rows = tables["labels"].rows
    counts: dict[str, int] = {}
    for row in sorted(rows, key=lambda row: str(row["label"])):
        counts[row["label"]] = counts.get(row["label"], 0) + 1
    patients = len({row["patient_id"] for row in rows})
    smears = target / "smears.csv" if "smears" in tables else None
    return Synthesized(target / "labels.csv", smears, len(rows), patients, counts)


def _is_synthetic(folder: Path) -> bool:
    """Whether `folder` is empty or was written by :func:`synthesize`: nothing else is ever cleared."""
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        info = load_info(folder / "labels.csv")
    except MedfmError:
        return False
    return info.synthetic and NOTICE in info.notes


def _cells(folder: Path, records: int, seed: int, size: int, progress: ProgressMaker) -> dict[str, _Table]:
    from medfm.cohorts.synthetic_cells_cohort import write_cells

    cells, boxes = write_cells(folder, records, seed, size, progress)
    units = {"age": "years", "nucleus_share": "share of the cell's area"}
    return {
        "labels": _Table(cells, "cell type, 5 classes", units),
        "smears": _Table(boxes, "cell type of boxed cells, 5 classes", units),
    }


def _ecgs(folder: Path, records: int, seed: int, size: int, progress: ProgressMaker) -> dict[str, _Table]:
    from medfm.cohorts.synthetic_ecg_cohort import MAIN_CLASSES, write_ecgs

    rows = write_ecgs(folder, records, seed, progress)
    return {"labels": _Table(rows, f"ECG statement, {len(MAIN_CLASSES)} classes", {"age": "years"})}


def _retina(folder: Path, records: int, seed: int, size: int, progress: ProgressMaker) -> dict[str, _Table]:
    from medfm.cohorts.synthetic_retina_cohort import write_retina

    rows = write_retina(folder, records, seed, size, progress)
    units = {"age": "years", "cup_disc_ratio": "vertical cup-to-disc ratio"}
    return {"labels": _Table(rows, "grade of diabetic retinopathy, 0 to 4", units)}


def _tissue(folder: Path, records: int, seed: int, size: int, progress: ProgressMaker) -> dict[str, _Table]:
    from medfm.cohorts.synthetic_tissue_cohort import write_tissue

    rows = write_tissue(folder, records, seed, size, progress)
    return {"labels": _Table(rows, "tissue type, 5 classes", {"age": "years", "mpp": "micrometres per pixel"})}


def _brains(folder: Path, records: int, seed: int, size: int, progress: ProgressMaker) -> dict[str, _Table]:
    from medfm.cohorts.synthetic_brains_cohort import write_brains

    rows = write_brains(folder, records, seed, progress)
    units = {"age": "years", "session": "months", "ventricles_ml": "ml", "hippocampi_ml": "ml"}
    return {"labels": _Table(rows, "diagnosis, 3 classes", units)}


def _chests(folder: Path, records: int, seed: int, size: int, progress: ProgressMaker) -> dict[str, _Table]:
    from medfm.cohorts.synthetic_chest_cohort import write_chests

    rows = write_chests(folder, records, seed, size, progress)
    return {"labels": _Table(rows, "pneumonia or not, 2 classes", {"age": "years", "severity": "grade, 0 to 3"})}


_WRITERS: dict[str, Callable[[Path, int, int, int, ProgressMaker], dict[str, _Table]]] = {
    "blood_cell": _cells,
    "brain_mri": _brains,
    "chest_xray": _chests,
    "ecg": _ecgs,
    "retina": _retina,
    "histopathology": _tissue,
}
# What labels or 0/1 columns are named by: the label set that zero-shot takes.
_LABEL_SETS = {"ecg": "cpsc2018", "retina": "idrid", "histopathology": "nct-crc-quilt"}
_TITLES = {
    "blood_cell": ("blood cells", "images", "cells"),
    "brain_mri": ("brains", "volumes", "brains"),
    "chest_xray": ("chest radiographs", "radiographs", "chests"),
    "ecg": ("ECGs", "recordings", "ECGs"),
    "retina": ("fundus photographs", "photographs", "eyes"),
    "histopathology": ("tissue patches", "patches", "tissue"),
}


def _write_table(table: Path, drawn: _Table, modality: str, seed: int) -> None:
    title, files, real = _TITLES[modality]
    info = CohortInfo(
        name=f"synthetic {title} (seed {seed})",
        modality=modality,
        task=drawn.task,
        target="label",
        label_set=_LABEL_SETS.get(modality),
        units=drawn.units,
        licence="CC0-1.0",
        source="drawn by medfm data synthesize",
        notes=[NOTICE, f"figures on these {files} say nothing about real {real}"],
        synthetic=True,
    )
    write_text(table.with_suffix(".yaml"), yaml.safe_dump(info.model_dump(exclude_defaults=True), sort_keys=False))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(drawn.rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(drawn.rows)
    write_text(table, text.getvalue())
