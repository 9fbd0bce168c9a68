"""The plan of a synthetic cohort of brains: subjects with visits, diagnoses, two scanners, NIfTI files."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medfm.cohorts.synthetic_brains import DIAGNOSES, Brain, Scanner, anatomy, draw_brain, grid_affine
from medfm.cohorts.synthetic_notice import NOTICE
from medfm.cohorts.synthetic_people import SPLITS, Row, draw_rows, split_of
from medfm.core.extras import import_extra
from medfm.core.progress import ProgressMaker

MONTHS = (0, 60, 120, 180, 240)
_MIX = (0.4, 0.2, 0.4)  # shares of subjects by diagnosis
SITES = {"north": Scanner(1000.0, 0.01, 0.01), "south": Scanner(240.0, 0.015, 0.0125)}


@dataclass(frozen=True)
class Subject:
    """One invented person; ``age`` is that at the first visit."""

    patient_id: str
    site: str
    split: str
    age: float
    sex: str
    diagnosis: str
    brain: Brain


def subject(seed: int, number: int) -> Subject:
    """The subject of a number: the same for every number of records."""
    rng = np.random.default_rng([seed, 30, number])
    sites = list(SITES)
    brain = Brain(
        size=float(rng.normal(1.0, 0.005)),
        ventricles=float(np.exp(rng.normal(0.0, 0.04))),
        hippocampi=float(np.exp(rng.normal(0.0, 0.06))),
        folds=(seed, 31, number),
    )
    return Subject(
        patient_id=f"{number:04d}",
        # The sites change every ten subjects, so that each has every split.
        site=sites[number // len(SPLITS) % len(sites)],
        split=split_of(number),
        age=round(float(rng.uniform(50, 70)), 1),
        sex=str(rng.choice(["F", "M"])),
        diagnosis=str(rng.choice(DIAGNOSES, p=_MIX)),
        brain=brain,
    )


def nifti_bytes(volume: np.ndarray, affine: np.ndarray) -> bytes:
    """A gzipped NIfTI-1 file, float32 (i, j, k), whose description says that it is synthetic; equal for equal input."""
    nibabel = import_extra("nibabel", "mri", "Writing NIfTI files")
    image = nibabel.Nifti1Image(volume.astype(np.float32), affine)
    image.header["descrip"] = NOTICE.encode()
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 4)
    image.set_sform(affine, 4)
    # Without a time stamp, so that equal cohorts are equal files.
    return gzip.compress(image.to_bytes(), mtime=0)


def write_brains(folder: Path, records: int, seed: int, progress: ProgressMaker) -> list[Row]:
    """Write the scans into folders as BIDS lays them out; the rows of their table.

    Five visits of a subject follow each other, five years apart: long enough for edges to move by whole voxels.
    """
    affine = grid_affine()

    def draw(index: int) -> Row:
        number, visit = divmod(index, len(MONTHS))
        person, month = subject(seed, number), MONTHS[visit]
        years = month / 12
        parts = anatomy(person.brain, person.age, years, person.diagnosis)
        # One generator per scan: any of them can be drawn again by itself.
        rng = np.random.default_rng([seed, 32, index])
        volume = draw_brain(person.brain, parts, SITES[person.site], rng)
        name = f"sub-{person.patient_id}/ses-M{month:03d}/anat/sub-{person.patient_id}_ses-M{month:03d}_T1w.nii.gz"
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(nifti_bytes(volume, affine))
        return {
            "record_id": f"brain-{index:05d}",
            "path": name,
            "patient_id": person.patient_id,
            "site": person.site,
            "split": person.split,
            "session": month,
            "age": round(person.age + years, 2),
            "sex": person.sex,
            "label": person.diagnosis,
            "ventricles_ml": round(parts.ventricles_ml, 2),
            "hippocampi_ml": round(parts.hippocampi_ml, 2),
        }

    return draw_rows(draw, records, progress, "drawing brains", "volumes")
