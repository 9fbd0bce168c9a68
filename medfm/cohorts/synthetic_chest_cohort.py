"""The plan of a synthetic cohort of chest radiographs: patients with several pictures, sites with machines and formats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medfm.cohorts.synthetic_chest import SEVERITIES, Detector, Thorax, draw_opacities, draw_thorax, exposed
from medfm.cohorts.synthetic_chest_files import save_grey, save_radiograph_dicom
from medfm.cohorts.synthetic_people import Person, split_of
from medfm.core.progress import ProgressMaker

# Of sick patients so many show an opacity, of well ones so few do: the label is a diagnosis, not a picture.
SHOWN, FALSE = 0.92, 0.06
_LARGE, _FLUID = 0.18, 0.15  # shares of patients with a large heart, with fluid
_MOST = 4  # pictures of one patient


@dataclass(frozen=True)
class Site:
    """Machine, file format, and the share of its patients who are sick.

    Attributes:
        detector: The machine.
        carrier: File ending.
        bits: 8 or 16 of pictures; bits stored of DICOM.
        sick: Share of the patients.
        digital: DX rather than CR.
        inverted: MONOCHROME1.
        labelled: Whether the site labels fluid: where not, it is unknown.
    """

    detector: Detector
    carrier: str
    bits: int
    sick: float
    digital: bool = True
    inverted: bool = False
    labelled: bool = True


# Sites differ in prevalence as well as in machine: a model can read the label from the site, and checks can see it.
SITES: dict[str, Site] = {
    "north": Site(Detector(1.0, 0.9, 0.5, 0.012, "R", (0.04, 0.06)), ".png", 8, 0.30),
    "south": Site(Detector(0.84, 1.2, 0.7, 0.008, "R", (0.10, 0.12)), ".dcm", 12, 0.60),
    "east": Site(Detector(1.0, 0.75, 0.9, 0.018, "L", (0.05, 0.05)), ".dcm", 14, 0.45, digital=False, inverted=True),
    "west": Site(Detector(1.18, 1.0, 0.6, 0.010, "L", (0.08, 0.09), border=0.03), ".png", 16, 0.40, labelled=False),
}


@dataclass(frozen=True)
class Patient(Person):
    """One invented person; ``severity`` is that of the disease, ``large`` a heart too wide, ``fluid`` the side of an
    effusion (-1 at the left of the picture, 0 none)."""

    severity: str
    large: bool
    fluid: int
    pictures: int
    body: Thorax

    @property
    def sick(self) -> bool:
        """Whether the disease is there."""
        return self.severity != "none"


def patient(seed: int, number: int) -> Patient:
    """The patient of a number: the same for every number of records."""
    rng = np.random.default_rng([seed, 40, number])
    site = list(SITES)[number % len(SITES)]
    sick = rng.random() < SITES[site].sick
    severity = str(rng.choice(SEVERITIES[1:], p=(0.35, 0.4, 0.25))) if sick else "none"
    large, wet = bool(rng.random() < _LARGE), bool(rng.random() < _FLUID * (2 if sick else 0.6))
    side = int(rng.choice((-1, 1)))
    body = Thorax(
        width=float(rng.normal(1.0, 0.05)),
        inflation=float(rng.normal(1.0, 0.06)),
        lung=float(rng.uniform(0.14, 0.30)),
        heart=float(rng.normal(1.38 if large else 1.0, 0.05)),
        ribs=float(rng.uniform(0.7, 1.3)),
    )
    return Patient(
        patient_id=f"{site}-{number:04d}",
        site=site,
        split=split_of(number // len(SITES)),
        age=int(rng.integers(20, 90)),
        sex=str(rng.choice(["F", "M"])),
        severity=severity,
        large=large,
        fluid=side if wet else 0,
        pictures=int(rng.integers(1, _MOST + 1)),
        body=body,
    )


def write_chests(folder: Path, records: int, seed: int, size: int, progress: ProgressMaker) -> list[dict[str, Any]]:
    """Write the radiographs into ``folder/images/SITE``; the rows of their table.

    One to four pictures of a patient follow each other.
    """
    for place in SITES:
        (folder / "images" / place).mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    number, visit = 0, 0
    person = patient(seed, number)
    with progress("drawing chest radiographs", records, "images") as bar:
        for index in range(records):
            if visit == person.pictures:
                number, visit = number + 1, 0
                person = patient(seed, number)
            site = SITES[person.site]
            # One generator per picture: any of them can be drawn again by itself.
            rng = np.random.default_rng([seed, 41, index])
            view = "AP" if rng.random() < (0.5 if person.sick else 0.3) else "PA"
            seen = rng.random() < (SHOWN if person.sick else FALSE)
            shown = (person.severity if person.sick else "mild") if seen else "none"
            # The heart lies away from the detector when the beam comes from the front, and looks larger.
            body = replace(person.body, heart=person.body.heart * (1.1 if view == "AP" else 1.0))
            width = round(size * site.detector.aspect)
            fluid = person.fluid * float(rng.uniform(0.35, 0.9))
            density = draw_thorax(body, draw_opacities(shown, rng), fluid, size, width, rng)
            picture = exposed(density, site.detector, rng)
            path = f"images/{person.site}/chest_{index:05d}{site.carrier}"
            if site.carrier == ".dcm":
                save_radiograph_dicom(
                    folder / path,
                    picture,
                    digital=site.digital,
                    bits=site.bits,
                    inverted=site.inverted,
                    view=view,
                    spacing_mm=round(430.0 / size, 4),
                    patient=person.patient_id,
                )
            else:
                save_grey(folder / path, picture, sixteen=site.bits == 16)
            rows.append(
                {
                    "record_id": f"chest-{index:05d}",
                    "path": path,
                    "patient_id": person.patient_id,
                    "site": person.site,
                    "split": person.split,
                    "visit": visit,
                    "view": view,
                    "age": person.age,
                    "sex": person.sex,
                    "label": "pneumonia" if person.sick else "normal",
                    "severity": SEVERITIES.index(person.severity),
                    "opacity": int(shown != "none"),
                    "cardiomegaly": int(person.large),
                    "effusion": int(person.fluid != 0) if site.labelled else "",
                }
            )
            visit += 1
            bar.advance()
    return rows
