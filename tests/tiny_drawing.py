"""A tiny untrained system and a few patients with several small scans each, for tests of drawing from codes."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from tiny_ldae import scan, tiny_card

from medfm.cohorts.cohort import Cohort
from medfm.cohorts.load import load_cohort
from medfm.workflows.latent_diffusion import LatentDiffusionAutoencoder, load_system

RANDOM = dict.fromkeys(("encoder", "autoencoder", "denoiser"), "random")
# Patient -> split and months of the visits.
VISITS = {
    "A": ("train", (0, 6)),
    "B": ("train", (0,)),
    "C": ("train", (0, 12)),
    "D": ("test", (0, 6, 12, 24)),
    "E": ("test", (0, 6, 12)),
    "F": ("test", (0, 12)),
}


def tiny_system(folder: Path) -> LatentDiffusionAutoencoder:
    """The three networks with random weights."""
    return load_system(tiny_card(folder).path, weights=RANDOM, device="cpu")


def write_scans(folder: Path) -> Path:
    """NIfTI files and their table; brightness grows with the month."""
    rows = []
    for number, (patient, (split, months)) in enumerate(VISITS.items()):
        for month in months:
            array = scan(seed=number).array * np.float32(1 + month / 100)
            array[5, 8, 4] += np.float32(0.05 * month)
            name = f"{patient}-{month}.nii.gz"
            affine = np.diag([2.0, 2.0, 2.0, 1.0])
            affine[:3, 3] = -14, -16, -8
            nib.save(nib.Nifti1Image(array.astype(np.float32), affine), folder / name)
            rows.append(
                {
                    "record_id": f"{patient}{month}",
                    "path": name,
                    "patient_id": patient,
                    "split": split,
                    "session": f"ses-M{month:03d}",
                    "site": "north" if number % 2 else "south",
                    "age": 60 + number + month / 12,
                    "label": "AD" if number % 2 else "CN",
                }
            )
    table = folder / "labels.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return table


def tiny_cohort(folder: Path) -> Cohort:
    """The cohort of :func:`write_scans`."""
    return load_cohort(write_scans(folder), modality="brain_mri")
