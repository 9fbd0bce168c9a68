"""Real brains through the small LDAE: from file to codes to reconstruction to picture.

    python scripts/real_brains.py ../shared/data/mri --tiny runs --out runs/real-brains

Fine-tunes the three folders of the tiny chain (``ae``, ``latent``, ``semantic`` below ``--tiny``) on
the train scans of the data folder, encodes and decodes every scan, and prints one Markdown table:
structural similarity (3D, Gaussian of 1.5 voxels, window of 4) and mean square error per split, with
the mean of the train scans beside it. ``brains.png`` shows what came out. With sixteen scans of two
kinds these figures say what such a small network keeps of a head, nothing about published LDAE.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

import medfm
from medfm.core.progress import for_people
from medfm.evaluation.volume_similarity import mean_square_error, ssim
from medfm.workflows.latent_diffusion import LatentDiffusionAutoencoder, load_system

WINDOW, ZOOM = 4, 4
STAGES = {"ae": "autoencoder", "latent": "latent", "semantic": "semantic"}
TITLES = ("scan", "mean of train scans", "compression alone", "both codes", "difference")


def fine_tune(cohort: medfm.Cohort, tiny: Path, out: Path, epochs: dict[str, int]) -> Path:
    """The folder of stage 3; stages that are already there are left alone."""
    before: Path | None = None
    for folder, stage in STAGES.items():
        values = {
            "first_weights": str(tiny / folder),
            "epochs": epochs[stage],
            "batch_size": 2 if stage == "autoencoder" else 4,
            "selection": "last",
            "start": None if before is None else str(before),
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


def picture(rows: list[tuple[str, list[np.ndarray]]], file: Path) -> None:
    """One row per scan: the volumes of TITLES."""
    tiles = [[slices(volume) for volume in volumes] for _, volumes in rows]
    height, width = (ZOOM * side for side in tiles[0][0].shape)
    sheet = Image.new("L", (len(TITLES) * (width + 6), 18 + len(rows) * (height + 18)), 255)
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(TITLES):
        pen.text((column * (width + 6) + 2, 2), title, fill=0)
    for line, ((name, _), parts) in enumerate(zip(rows, tiles, strict=True)):
        top = 18 + line * (height + 18)
        pen.text((2, top), name, fill=0)
        for column, part in enumerate(parts):
            grey = Image.fromarray((255 * np.clip(part, 0, 1)).astype(np.uint8))
            sheet.paste(grey.resize((width, height), Image.Resampling.NEAREST), (column * (width + 6), top + 14))
    sheet.save(file)


def reconstruct(system: LatentDiffusionAutoencoder, batch: torch.Tensor, steps: int | None) -> dict[str, torch.Tensor]:
    """Volumes (n, 1, i, j, k) in the axes of the file."""
    both = system.decode(system.encode(batch, steps=steps), steps=steps)
    return {"compression alone": system.compressed(batch), "both codes": both}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with labels.csv")
    parser.add_argument("--tiny", type=Path, default=Path("runs"), help="holds ae, latent and semantic")
    parser.add_argument("--out", type=Path, default=Path("runs/real-brains"))
    parser.add_argument("--steps", type=int, help="sampling steps [the card's]")
    parser.add_argument("--epochs", type=int, nargs=3, default=(60, 40, 40), metavar="N", help="of the three stages")
    given = parser.parse_args()
    cohort = medfm.load_cohort(given.data / "labels.csv", modality="brain_mri", map={"patient_id": "source_id"})
    last = fine_tune(cohort, given.tiny, given.out, dict(zip(STAGES.values(), given.epochs, strict=True)))
    system = load_system(last)
    split = cohort.column("split").to_numpy()
    batch = torch.stack([system.encoder.preprocess(cohort.read(row)) for row in range(len(cohort))])
    true = system.volume(batch)
    made = {"mean of train scans": true[split == "train"].mean(dim=0, keepdim=True).expand_as(true)}
    made |= reconstruct(system, batch, given.steps)
    print("| scans | n | what | SSIM (3D, window 4) | MSE |\n|---|---|---|---|---|")
    for name in ("train", "test", "none"):
        kept = torch.from_numpy(split == name)
        title = "template, not trained on" if name == "none" else name
        for what, volumes in made.items():
            alike = ssim(volumes[kept], true[kept], window=WINDOW).mean()
            error = mean_square_error(volumes[kept], true[kept]).mean()
            print(f"| {title} | {int(kept.sum())} | {what} | {alike:.3f} | {error:.5f} |")
    difference = 0.5 + (made["both codes"] - true)
    rows = [
        (
            f"{split[row]}: {cohort.column('task').iloc[row]} {cohort.column('contrast').iloc[row]}",
            [part[row, 0].numpy() for part in (true, *made.values(), difference)],
        )
        for row in np.flatnonzero(np.isin(split, ["train", "test", "none"]))[[0, 3, 1, 2, 7, 8, 9, 13, 16]]
    ]
    picture(rows, given.out / "brains.png")
    print(f"picture: {given.out / 'brains.png'}")


if __name__ == "__main__":
    main()
