"""Write a deterministic synthetic cohort in the modality's real file formats."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import yaml
from PIL import Image, PngImagePlugin

from medfm.cohorts.info import CohortInfo, load_info
from medfm.cohorts.synthetic_cells import CLASSES, SITES, single_cell, smear
from medfm.core.errors import CohortError, MedfmError, StoreError
from medfm.core.files import atomic_folder, write_text
from medfm.core.names import unknown_name
from medfm.core.progress import ProgressMaker, Silent

NOTICE = "SYNTHETIC: drawn by medfm; not from any patient"
PATIENTS_PER_SITE = 30
# Of every ten patients of a site: six train, one val, three test.
_SPLITS = ("train", "test", "train", "train", "val", "train", "test", "train", "test", "train")
_SMEARS = 6


@dataclass(frozen=True)
class Synthesized:
    """What :func:`synthesize` wrote: the cohort table, the table of smears with boxes, counts."""

    table: Path
    smears: Path
    records: int
    patients: int
    counts: dict[str, int]


def synthesize(
    modality: str,
    out: str | Path,
    records: int = 600,
    seed: int = 0,
    size: int = 112,
    overwrite: bool = False,
    progress: ProgressMaker = Silent,
) -> Synthesized:
    """Write a synthetic cohort into the new folder `out`; equal arguments give equal files.

    Args:
        modality: Only ``"blood_cell"`` so far.
        out: Folder to create.
        records: Single-cell images, spread over ninety patients at three sites.
        seed: Seed of everything drawn.
        size: Height and width of the images in pixels.
        overwrite: Whether an existing folder may be replaced.
        progress: Called with (title, total, unit).

    Returns:
        Paths and counts. ``labels.csv`` has `label` (five classes), `site`, `split` by patient,
        `patient_class` (for bags), `nucleus_share` (a quantity), `age`, `sex`; ``smears.csv`` has
        boxes on whole fields.

    Raises:
        UnknownNameError: There is no generator for `modality`.
        CohortError: Too few records, or images too small.
        StoreError: The folder exists (with `overwrite`: and holds other things), or cannot be written.
    """
    if modality not in _WRITERS:
        raise unknown_name("synthetic modality", modality, _WRITERS)
    if records < 30 or not 32 <= size <= 1024:
        raise CohortError(
            f"{records} records of {size} pixels cannot be drawn.",
            expected="at least 30 records of 32 to 1024 pixels",
        )
    target = Path(out)
    if overwrite and target.exists() and not _is_synthetic(target):
        raise StoreError(
            "This is not an earlier synthetic cohort, so it is not replaced.",
            where=str(target),
            fix="choose another name, or remove it yourself",
        )
    with atomic_folder(target, replace=overwrite) as folder:
        rows, boxes = _WRITERS[modality](folder, records, seed, size, progress)
        _write_table(folder / "labels.csv", rows, "cell type, 5 classes", seed)
        _write_table(folder / "smears.csv", boxes, "cell type of boxed cells, 5 classes", seed)
    counts = {name: sum(row["label"] == name for row in rows) for name in CLASSES}
    patients = len({row["patient_id"] for row in rows})
    return Synthesized(Path(out) / "labels.csv", Path(out) / "smears.csv", len(rows), patients, counts)


def _is_synthetic(folder: Path) -> bool:
    """Whether `folder` is empty or was written by :func:`synthesize`: nothing else is ever cleared."""
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        return load_info(folder / "labels.csv").synthetic and (folder / "smears.csv").is_file()
    except MedfmError:
        return False


Rows = list[dict[str, Any]]


def _blood_cells(folder: Path, records: int, seed: int, size: int, progress: ProgressMaker) -> tuple[Rows, Rows]:
    patients = _patients(seed)
    plan = np.random.default_rng([seed, 1])
    for site in SITES:
        (folder / "images" / site).mkdir(parents=True)
    rows: Rows = []
    with progress("drawing cells", records + _SMEARS, "images") as bar:
        for index in range(records):
            patient = patients[index % len(patients)]
            kind = str(plan.choice(CLASSES, p=patient["mix"]))
            # One generator per image: any image can be drawn again by itself.
            rng = np.random.default_rng([seed, 2, index])
            image, share = single_cell(kind, size, SITES[patient["site"]], patient["strength"], rng)
            path = f"images/{patient['site']}/cell_{index:05d}{_ENDINGS[patient['site']]}"
            _save(folder / path, image, sixteen=patient["sixteen"])
            record = {"record_id": f"cell-{index:05d}", "path": path, **{k: patient[k] for k in _SHOWN}}
            rows.append({**record, "label": kind, "nucleus_share": round(share, 4)})
            bar.advance()
        boxes = _smears(folder, patients, seed, bar.advance)
    return rows, boxes


_SHOWN = ("patient_id", "site", "split", "patient_class", "age", "sex")
_ENDINGS = {"north": ".png", "south": ".jpg", "west": ".tif"}


def _patients(seed: int) -> list[dict[str, Any]]:
    """The patients: site, split, staining, mix of cells; the same for every number of records."""
    rng = np.random.default_rng([seed, 0])
    result = []
    for number in range(PATIENTS_PER_SITE):
        for site in SITES:
            rich = bool((number + list(SITES).index(site)) % 2)
            mix = np.array([1.0, 2.2 if rich else 0.6, 1.0, 1.0, 0.8 if rich else 1.2])
            result.append(
                {
                    "patient_id": f"{site}-{number:02d}",
                    "site": site,
                    "split": _SPLITS[number % len(_SPLITS)],
                    "patient_class": "erythroblast_rich" if rich else "typical",
                    "age": int(rng.integers(18, 90)),
                    "sex": str(rng.choice(["F", "M"])),
                    "strength": float(rng.uniform(0.85, 1.15)),
                    "sixteen": site == "west" and number % 2 == 1,
                    "mix": mix / mix.sum(),
                }
            )
    return result


def _smears(folder: Path, patients: Sequence[dict[str, Any]], seed: int, done: Callable[[int], None]) -> Rows:
    (folder / "smears").mkdir()
    rows: Rows = []
    for index in range(_SMEARS):
        rng = np.random.default_rng([seed, 3, index])
        patient = patients[index]
        kinds = [str(k) for k in rng.choice(CLASSES, 8)]
        image, boxes = smear(kinds, SITES[patient["site"]], patient["strength"], rng)
        path = f"smears/field_{index:02d}.png"
        _save(folder / path, image)
        for number, (kind, box) in enumerate(boxes):
            record = {"record_id": f"field-{index:02d}-{number:02d}", "path": path, **{k: patient[k] for k in _SHOWN}}
            rows.append({**record, "label": kind, **dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))})
        done(1)
    return rows


def _save(file: Path, image: np.ndarray, *, sixteen: bool = False) -> None:
    """Write one image in the format of its ending, with the notice in its metadata."""
    if file.suffix == ".tif":
        # 255 * 257 = 65535, so the reader's scaling gives the 8-bit values back exactly.
        values = image.astype(np.uint16) * 257 if sixteen else image
        tifffile.imwrite(
            file, values, photometric="rgb", compression="zlib", description=NOTICE, software="medfm", metadata=None
        )
        return
    picture = Image.fromarray(image)
    if file.suffix == ".jpg":
        exif = Image.Exif()
        exif[0x010E] = NOTICE  # ImageDescription
        picture.save(file, quality=92, subsampling=0, exif=exif)
        return
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Description", NOTICE)
    picture.save(file, pnginfo=notes, compress_level=3)


def _write_table(table: Path, rows: Rows, task: str, seed: int) -> None:
    info = CohortInfo(
        name=f"synthetic blood cells (seed {seed})",
        modality="blood_cell",
        task=task,
        target="label",
        units={"age": "years", "nucleus_share": "share of the cell's area"},
        licence="CC0-1.0",
        source="drawn by medfm data synthesize",
        notes=[NOTICE, "figures on these images say nothing about real cells"],
        synthetic=True,
    )
    write_text(table.with_suffix(".yaml"), yaml.safe_dump(info.model_dump(exclude_defaults=True), sort_keys=False))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(table, text.getvalue())


_WRITERS: dict[str, Callable[[Path, int, int, int, ProgressMaker], tuple[Rows, Rows]]] = {"blood_cell": _blood_cells}
