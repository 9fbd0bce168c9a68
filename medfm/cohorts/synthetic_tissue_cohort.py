"""The plan of a synthetic cohort of H&E patches: patients with a slide each, sites with stains and file formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medfm.cohorts.synthetic_notice import NOTICE
from medfm.cohorts.synthetic_people import Person, Row, draw_rows, split_of
from medfm.cohorts.synthetic_pictures import save_picture
from medfm.cohorts.synthetic_tissue import TISSUES, Stain, patch
from medfm.core.progress import ProgressMaker

PATIENTS_PER_SITE = 20
MPP = 0.5  # micrometres per pixel, as NCT-CRC-HE has
_PATCHES_PER_ROW = 64  # of a slide's grid


@dataclass(frozen=True)
class Site:
    """Stain and file format of a site; ``carrier`` is the ending, ``.h5`` one stack for all its patches."""

    stain: Stain
    carrier: str


SITES: dict[str, Site] = {
    "north": Site(Stain((0.65, 0.72, 0.30), (0.10, 0.75, 0.36), (0.95, 0.94, 0.95), 0.25, 1.5), ".png"),
    "south": Site(Stain((0.58, 0.80, 0.34), (0.16, 0.90, 0.30), (0.96, 0.93, 0.92), 0.35, 2.0), ".jpg"),
    "east": Site(Stain((0.74, 0.76, 0.30), (0.06, 0.60, 0.44), (0.93, 0.95, 0.96), 0.30, 2.5), ".tif"),
    "west": Site(Stain((0.70, 0.85, 0.42), (0.20, 0.70, 0.50), (0.94, 0.93, 0.90), 0.30, 1.5), ".h5"),
}

# Several captions per class; none is a prompt of the knowledge base word for word.
CAPTIONS: dict[str, tuple[str, ...]] = {
    "ADI": (
        "Mature fat cells with empty vacuoles and thin walls",
        "Adipose tissue, large clear adipocytes",
        "Fatty tissue around the bowel, flat nuclei at the cell borders",
    ),
    "LYM": (
        "Dense lymphoid infiltrate of small round dark nuclei",
        "Sheets of lymphocytes, hardly any cytoplasm",
        "Lymphoid aggregate, closely packed lymphocytes",
    ),
    "NORM": (
        "Regular colonic crypts with goblet cells",
        "Normal colon mucosa, round glands with basal nuclei",
        "Unremarkable colonic mucosa, evenly spaced crypts",
    ),
    "STR": (
        "Desmoplastic stroma with spindle cells between wavy collagen",
        "Fibrous stroma next to cancer, elongated nuclei along the fibres",
        "Collagen bundles of tumour stroma with scattered fibroblasts",
    ),
    "TUM": (
        "Irregular crowded glands with stacked dark nuclei, adenocarcinoma",
        "Colorectal adenocarcinoma, debris in the lumina of fused glands",
        "Malignant glands of an adenocarcinoma with enlarged nuclei",
    ),
}
_TAILS = ("", "", "H&E stain", "20x, H&E", "Colon resection")


@dataclass(frozen=True)
class Patient(Person):
    """One invented person with one slide."""

    strength: tuple[float, float]
    mix: tuple[float, ...]


def patients(seed: int) -> list[Patient]:
    """The patients, the same for every number of records."""
    rng = np.random.default_rng([seed, 30])
    people = []
    for number in range(PATIENTS_PER_SITE):
        for site in SITES:
            mix = rng.uniform(0.5, 1.5, len(TISSUES))
            people.append(
                Patient(
                    f"{site}-{number:02d}",
                    site,
                    split_of(number),
                    int(rng.integers(35, 90)),
                    str(rng.choice(["F", "M"])),
                    (float(rng.uniform(0.85, 1.15)), float(rng.uniform(0.85, 1.15))),
                    tuple(float(share) for share in mix / mix.sum()),
                )
            )
    return people


def caption(kind: str, rng: np.random.Generator) -> str:
    """One caption of a class in varied words."""
    return ". ".join(part for part in (str(rng.choice(CAPTIONS[kind])), str(rng.choice(_TAILS))) if part)


def write_tissue(folder: Path, records: int, seed: int, size: int, progress: ProgressMaker) -> list[Row]:
    """Write the patches into ``folder/images/SITE`` and ``folder/stacks/west.h5``; the rows of their table."""
    people = patients(seed)
    for name, site in SITES.items():
        if site.carrier != ".h5":
            (folder / "images" / name).mkdir(parents=True)
    stacks: dict[str, list[np.ndarray]] = {name: [] for name, site in SITES.items() if site.carrier == ".h5"}

    def draw(index: int) -> Row:
        person, visit = people[index % len(people)], index // len(people)
        site = SITES[person.site]
        # One generator per patch: any of them can be drawn again by itself.
        rng = np.random.default_rng([seed, 31, index])
        kind = str(rng.choice(list(TISSUES), p=person.mix))
        image = patch(kind, size, MPP, site.stain, person.strength, rng)
        if person.site in stacks:
            path, place = f"stacks/{person.site}.h5", str(len(stacks[person.site]))
            stacks[person.site].append(image)
        else:
            path, place = f"images/{person.site}/patch_{index:05d}{site.carrier}", ""
            save_picture(folder / path, image)
        return {
            "record_id": f"patch-{index:05d}",
            "path": path,
            "index": place,
            "patient_id": person.patient_id,
            "slide_id": f"{person.patient_id}-A",
            "patch_x": visit % _PATCHES_PER_ROW * size,
            "patch_y": visit // _PATCHES_PER_ROW * size,
            "mpp": MPP,
            "site": person.site,
            "split": person.split,
            "age": person.age,
            "sex": person.sex,
            "label": kind,
            "text": caption(kind, rng),
        }

    rows = draw_rows(draw, records, progress, "drawing tissue patches")
    for name, images in stacks.items():
        _save_stack(folder / "stacks" / f"{name}.h5", images)
    return rows


def _save_stack(file: Path, images: list[np.ndarray]) -> None:
    """All patches of a site as one stack ``x``, one patch per chunk; equal pixels give equal bytes."""
    import h5py

    file.parent.mkdir()
    pixels = np.stack(images)
    with h5py.File(file, "w", libver=("earliest", "v108")) as stack:
        stack.attrs["description"] = NOTICE
        stack.create_dataset(
            "x", data=pixels, chunks=(1, *pixels.shape[1:]), compression="gzip", compression_opts=4, track_times=False
        )
