"""Real brains through the small LDAE: from file to codes to reconstruction to picture.

    python scripts/real_brains.py ../shared/data/mri --tiny runs --out runs/real-brains
    python scripts/real_brains.py cohorts/ixi cohorts/ms --tiny runs --out runs/real-brains

Fine-tunes the folder ``ae`` of the tiny chain (with ``--codes`` also ``latent`` and ``semantic``) on
the train scans of the data folder, or of the folders that ``medfm data standardize`` made of it, compresses and decodes every scan, and prints one Markdown table:
structural similarity (3D, Gaussian of 1.5 voxels, window of 4) and mean square error per split, with
the mean of the train scans beside it. ``brains.png`` shows what came out. With sixteen scans of two
kinds these figures say what such a small network keeps of a head, nothing about published LDAE.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw

import medfm
from medfm.core.progress import for_people
from medfm.evaluation.volume_similarity import mean_square_error, ssim
from medfm.workflows.latent_diffusion import LatentDiffusionAutoencoder, load_system

WINDOW, ZOOM = 4, 4
STAGES = {"ae": "autoencoder", "latent": "latent", "semantic": "semantic"}
TASKS = ("ixi_sex", "ms_contrast")


def cohort_of(folders: Sequence[Path]) -> medfm.Cohort:
    """The scans of patients and volunteers, T1 and FLAIR, as they are or standardised."""
    parts = []
    for folder in folders:
        table = folder / "labels.csv"
        if (folder / "labels.yaml").is_file():
            parts.append(medfm.load_cohort(table))
            continue
        for task in TASKS:
            where, renamed = {"task": task}, {"patient_id": "source_id"}
            parts.append(medfm.load_cohort(table, modality="brain_mri", map=renamed, where=where))
    # Paths are relative to each table's folder.
    tables = [part.table.assign(path=[str((part.root / p).resolve()) for p in part.column("path")]) for part in parts]
    return replace(parts[0], table=pd.concat(tables, ignore_index=True), name="real brains")


def fine_tune(cohort: medfm.Cohort, tiny: Path, out: Path, epochs: Mapping[str, int]) -> Path:
    """The folder of the last stage in `epochs`; stages that are already there are left alone."""
    before: Path | None = None
    for folder, stage in STAGES.items():
        if stage not in epochs:
            continue
        values = {
            "first_weights": str(tiny / folder),
            "epochs": epochs[stage],
            "batch_size": 2 if stage == "autoencoder" else 4,
            "selection": "last",
            "start": None if before is None else str(before),
            "optimisation": {"lr": 0.002},
        }
        before = out / folder
        if not (before / "card.md").is_file():
            medfm.pretrain(cohort, f"ldae-tiny-{stage}", before, overrides=values, progress=for_people)
    assert before is not None
    return before


def slices(volume: np.ndarray) -> np.ndarray:
    """The middle coronal and axial slice side by side, top up, the patient's right at the left; (height, width)."""
    coronal, axial = volume[:, volume.shape[1] // 2, :], volume[:, :, volume.shape[2] // 2]
    # Rows from top to bottom or front to back; i runs to the patient's right, and the viewer faces the patient.
    parts = [np.flipud(part.T)[:, ::-1] for part in (coronal, axial)]
    height = max(part.shape[0] for part in parts)
    padded = [np.pad(part, ((0, height - part.shape[0]), (0, 1))) for part in parts]
    return np.concatenate(padded, axis=1)


def picture(titles: list[str], rows: list[tuple[str, list[np.ndarray]]], file: Path) -> None:
    """One row per scan, one column per title."""
    tiles = [[slices(volume) for volume in volumes] for _, volumes in rows]
    height, width = (ZOOM * side for side in tiles[0][0].shape)
    sheet = Image.new("L", (len(titles) * (width + 6), 18 + len(rows) * (height + 18)), 255)
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        pen.text((column * (width + 6) + 2, 2), title, fill=0)
    for line, ((name, _), parts) in enumerate(zip(rows, tiles, strict=True)):
        top = 18 + line * (height + 18)
        pen.text((2, top), name, fill=0)
        for column, part in enumerate(parts):
            grey = Image.fromarray((255 * np.clip(part, 0, 1)).astype(np.uint8))
            sheet.paste(grey.resize((width, height), Image.Resampling.NEAREST), (column * (width + 6), top + 14))
    sheet.save(file)


def reconstruct(system: LatentDiffusionAutoencoder, batch: torch.Tensor, codes: bool) -> dict[str, torch.Tensor]:
    """Volumes (n, 1, i, j, k) in the axes of the file."""
    made = {"compression alone": system.compressed(batch)}
    return made | {"both codes": system.decode(system.encode(batch))} if codes else made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="folders with labels.csv")
    parser.add_argument("--tiny", type=Path, default=Path("runs"), help="holds ae (and latent and semantic)")
    parser.add_argument("--out", type=Path, default=Path("runs/real-brains"))
    parser.add_argument("--epochs", type=int, default=60, help="of every stage")
    parser.add_argument("--codes", action="store_true", help="also stages 2 and 3: semantic and stochastic codes")
    given = parser.parse_args()
    cohort = cohort_of(given.data)
    stages = list(STAGES.values()) if given.codes else ["autoencoder"]
    last = fine_tune(cohort, given.tiny, given.out, dict.fromkeys(stages, given.epochs))
    system = load_system(last, weights=None if given.codes else {"encoder": "random", "denoiser": "random"})
    split = cohort.column("split").to_numpy()
    batch = torch.stack([system.encoder.preprocess(cohort.read(row)) for row in range(len(cohort))])
    true = system.volume(batch)
    made = {"mean of train scans": true[split == "train"].mean(dim=0, keepdim=True).expand_as(true)}
    made |= reconstruct(system, batch, given.codes)
    print("| scans | n | what | SSIM (3D, window 4) | MSE |\n|---|---|---|---|---|")
    for name in ("train", "test"):
        kept = torch.from_numpy(split == name)
        for what, volumes in made.items():
            alike = ssim(volumes[kept], true[kept], window=WINDOW).mean()
            error = mean_square_error(volumes[kept], true[kept]).mean()
            print(f"| {name} | {int(kept.sum())} | {what} | {alike:.3f} | {error:.5f} |")
    *_, best = made.values()
    shown = {"scan": true, **made, "difference": 0.5 + best - true}
    rows = [
        (
            f"{split[row]}: {cohort.column('contrast').iloc[row]}",
            [volumes[row, 0].numpy() for volumes in shown.values()],
        )
        for row in np.concatenate([np.flatnonzero(split == "train")[::4], np.flatnonzero(split == "test")[::2]])
    ]
    picture(list(shown), rows, given.out / "brains.png")
    print(f"picture: {given.out / 'brains.png'}")


if __name__ == "__main__":
    main()
