"""The plan of a synthetic ECG cohort: patients, sites with devices and file formats, labels, reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medfm.cohorts.synthetic_ecg import FINDINGS, RHYTHMS, Device, Heart, conflicts, draw_ecg
from medfm.cohorts.synthetic_ecg_files import WRITERS, digitise
from medfm.cohorts.synthetic_ecg_text import report
from medfm.cohorts.synthetic_people import FIRST_SPLITS, Person, Row, draw_rows, split_of
from medfm.core.progress import ProgressMaker

PATIENTS_PER_SITE = 40
# Names of the label sets cpsc2018 and ptbxl-rhythm of the knowledge base, and LVH of ptbxl-sub.
LABELS = ("NORM", *RHYTHMS, *FINDINGS)
# The main class of a recording; plain sinus rhythm is the class NORM.
MAIN_CLASSES = ("NORM", "SBRAD", "STACH", "AFIB", *FINDINGS)
_OWN_CLASS, _SECOND = 0.5, 0.3  # shares of recordings with the patient's own class, with a second finding


@dataclass(frozen=True)
class Site:
    """Device and file format of a site; ``microvolts`` is the step of the stored integers."""

    device: Device
    carrier: str
    microvolts: float


SITES: dict[str, Site] = {
    "north": Site(Device(500, 0.010, 0.003, 50, 0.03), "wfdb", 1.0),
    "south": Site(Device(250, 0.015, 0.004, 60, 0.05), "dicom", 2.5),
    "east": Site(Device(1000, 0.020, 0.006, 50, 0.02), "wfdb_mat", 1.0),
    "west": Site(Device(500, 0.012, 0.002, 50, 0.08), "aecg", 5.0),
}


@dataclass(frozen=True)
class Patient(Person):
    """One invented person."""

    heart: Heart
    own: str


def patients(seed: int) -> list[Patient]:
    """The patients, the same for every number of records."""
    rng = np.random.default_rng([seed, 10])
    found = []
    for number in range(PATIENTS_PER_SITE):
        for site in SITES:
            heart = Heart(float(rng.normal(0.0, 0.22)), float(rng.uniform(0.8, 1.2)), float(rng.uniform(0.8, 1.25)))
            found.append(
                Patient(
                    f"{site}-{number:02d}",
                    site,
                    split_of(number, FIRST_SPLITS),
                    int(rng.integers(20, 90)),
                    str(rng.choice(["F", "M"])),
                    heart,
                    str(rng.choice(MAIN_CLASSES)),
                )
            )
    return found


def draw_findings(own: str, rng: np.random.Generator) -> tuple[str, set[str]]:
    """The main class of one recording and all that is drawn on it (a rhythm, and findings).

    Args:
        own: The class that half of the patient's recordings have.
        rng: Source of the choices.
    """
    main = own if rng.random() < _OWN_CLASS else str(rng.choice(MAIN_CLASSES))
    if main == "NORM":
        return main, {"SR"}
    found = {main}
    if main in FINDINGS:
        rhythms = [r for r in RHYTHMS if not conflicts({main, r})]
        # Mostly sinus rhythm at a usual rate.
        found.add("SR" if rng.random() < 0.7 else str(rng.choice(rhythms)))
    if rng.random() < _SECOND:
        seconds = [f for f in FINDINGS if f not in found and not conflicts({*found, f})]
        if seconds:
            found.add(str(rng.choice(seconds)))
    return main, found


def labels_of(found: set[str]) -> dict[str, int]:
    """The 0/1 columns: every finding, and NORM where there is nothing but sinus rhythm at a usual rate."""
    return {name: int(found == {"SR"} if name == "NORM" else name in found) for name in LABELS}


def write_ecgs(folder: Path, records: int, seed: int, progress: ProgressMaker) -> list[Row]:
    """Write the recordings into ``folder/records/SITE``; the rows of their table."""
    people = patients(seed)
    for place in SITES:
        (folder / "records" / place).mkdir(parents=True)

    def draw(index: int) -> Row:
        person = people[index % len(people)]
        site = SITES[person.site]
        # One generator per recording: any of them can be drawn again by itself.
        rng = np.random.default_rng([seed, 11, index])
        main, found = draw_findings(person.own, rng)
        drawn = draw_ecg(found, person.heart, site.device, rng)
        writer = WRITERS[site.carrier]
        digits = digitise(drawn.values, site.microvolts)
        name = f"ecg_{index:05d}"
        file = writer(folder / "records" / person.site, name, digits, site.device.sampling_hz, site.microvolts)
        return {
            "record_id": f"ecg-{index:05d}",
            "path": file.relative_to(folder).as_posix(),
            "patient_id": person.patient_id,
            "site": person.site,
            "split": person.split,
            "age": person.age,
            "sex": person.sex,
            "label": main,
            **labels_of(found),
            "text": report(found, drawn.rate, drawn.region, rng),
        }

    return draw_rows(draw, records, progress, "drawing ECGs", "records")
