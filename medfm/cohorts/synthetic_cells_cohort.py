"""The plan of a synthetic cohort of blood cells: patients, sites that stain differently, cells and smears."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medfm.cohorts.synthetic_cells import CLASSES, SITES, single_cell, smear
from medfm.cohorts.synthetic_people import FIRST_SPLITS, split_of
from medfm.cohorts.synthetic_pictures import save_picture
from medfm.core.progress import ProgressMaker

PATIENTS_PER_SITE = 30
_SMEARS = 6

Rows = list[dict[str, Any]]


def write_cells(folder: Path, records: int, seed: int, size: int, progress: ProgressMaker) -> tuple[Rows, Rows]:
    """Write images into `folder`; the rows of the single cells and those of the boxes on smears."""
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
            save_picture(folder / path, image, sixteen=patient["sixteen"])
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
                    "split": split_of(number, FIRST_SPLITS),
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
        save_picture(folder / path, image)
        for number, (kind, box) in enumerate(boxes):
            record = {"record_id": f"field-{index:02d}-{number:02d}", "path": path, **{k: patient[k] for k in _SHOWN}}
            rows.append({**record, "label": kind, **dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))})
        done(1)
    return rows
