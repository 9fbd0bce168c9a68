"""The plan of a synthetic cohort of fundus photographs: patients with two eyes, sites with cameras and formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medfm.cohorts.synthetic_fundus import Camera, Eye
from medfm.cohorts.synthetic_fundus_lesions import GRADES, draw_lesions, photograph
from medfm.cohorts.synthetic_people import Person, Row, draw_rows, split_of
from medfm.cohorts.synthetic_pictures import save_photograph_dicom, save_picture
from medfm.cohorts.synthetic_retina_text import report
from medfm.core.progress import ProgressMaker

PATIENTS_PER_SITE = 30
FIELD_DEG = 45.0
_MIX = (0.30, 0.15, 0.20, 0.15, 0.20)  # shares of patients by grade
_OTHER_GRADE, _GLAUCOMA = 0.25, 0.25  # shares of eyes with a grade other than the patient's, of patients with glaucoma


@dataclass(frozen=True)
class Site:
    """Camera and file format of a site; ``carrier`` is the ending, and ``sixteen`` means 16 bits per channel."""

    camera: Camera
    carrier: str
    sixteen: bool = False


SITES: dict[str, Site] = {
    "north": Site(Camera((1.0, 1.0, 1.0), 0.480, 1.00, 0.25, 1.5, 1.5), ".jpg"),
    "south": Site(Camera((1.05, 0.88, 0.72), 0.530, 1.20, 0.30, 2.0, 2.0), ".png"),
    "east": Site(Camera((0.92, 0.98, 1.05), 0.485, 1.25, 0.20, 2.5, 1.0), ".tif", sixteen=True),
    "west": Site(Camera((0.95, 0.95, 1.10), 0.470, 1.00, 0.32, 1.5, 2.5), ".dcm"),
}


@dataclass(frozen=True)
class Patient(Person):
    """One invented person."""

    grade: str
    glaucoma: bool
    pigment: float


def patients(seed: int) -> list[Patient]:
    """The patients, the same for every number of records."""
    rng = np.random.default_rng([seed, 20])
    return [
        Patient(
            f"{site}-{number:02d}",
            site,
            split_of(number),
            int(rng.integers(25, 88)),
            str(rng.choice(["F", "M"])),
            str(rng.choice(GRADES, p=_MIX)),
            bool(rng.random() < _GLAUCOMA),
            float(rng.uniform(0.6, 1.3)),
        )
        for number in range(PATIENTS_PER_SITE)
        for site in SITES
    ]


def eye_of(person: Patient, order: int, side: str, seed: int) -> tuple[Eye, str, bool]:
    """One eye of a patient, its grade and whether it has glaucoma; the same at every visit."""
    rng = np.random.default_rng([seed, 21, order, int(side == "L")])
    grade = person.grade if rng.random() >= _OTHER_GRADE else str(rng.choice(GRADES))
    glaucoma = person.glaucoma and bool(rng.random() < 0.85)
    cup = float(rng.uniform(0.65, 0.85) if glaucoma else rng.uniform(0.2, 0.5))
    return Eye(side, (seed, 22, order, int(side == "L")), person.pigment, cup), grade, glaucoma


def write_retina(folder: Path, records: int, seed: int, size: int, progress: ProgressMaker) -> list[Row]:
    """Write the photographs into ``folder/images/SITE``; the rows of their table.

    Right and left eye of a patient follow each other; after the last patient, the first comes again.
    """
    people = patients(seed)
    for place in SITES:
        (folder / "images" / place).mkdir(parents=True)

    def draw(index: int) -> Row:
        order, side = (index // 2) % len(people), "RL"[index % 2]
        person = people[order]
        site = SITES[person.site]
        eye, grade, glaucoma = eye_of(person, order, side, seed)
        # One generator per photograph: any of them can be drawn again by itself.
        rng = np.random.default_rng([seed, 23, index])
        lesions = draw_lesions(grade, rng)
        image = photograph(eye, lesions, site.camera, size, rng)
        path = f"images/{person.site}/fundus_{index:05d}{site.carrier}"
        if site.carrier == ".dcm":
            save_photograph_dicom(folder / path, image, side, FIELD_DEG)
        else:
            save_picture(folder / path, image, sixteen=site.sixteen)
        return {
            "record_id": f"fundus-{index:05d}",
            "path": path,
            "patient_id": person.patient_id,
            "laterality": side,
            "site": person.site,
            "split": person.split,
            "age": person.age,
            "sex": person.sex,
            "label": grade,
            "glaucoma": int(glaucoma),
            "cup_disc_ratio": round(eye.cup, 3),
            "text": report(grade, lesions, side, eye.cup, glaucoma, rng),
        }

    return draw_rows(draw, records, progress, "drawing fundus photographs")
