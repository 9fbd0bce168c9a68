"""Latents of a cohort, computed once and kept as a file, so that later stages neither encode nor decode volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from medfm.core.errors import StoreError, TrainingError
from medfm.core.files import atomic_path, make_folder
from medfm.core.hashing import sha256_json
from medfm.core.progress import ProgressMaker, Silent
from medfm.encoders.ldae.autoencoder import draw_latent, encode
from medfm.training.ldae_stage import Draw
from medfm.training.record_tensors import RecordTensors

FOLDER = "latents"
# Small volumes go together: one alone is slow on a processor.
_VOXELS_AT_ONCE = 2**18


@dataclass(frozen=True)
class Latents:
    """Mean and standard deviation of the latent of every record, float32 (n, channels, i, j, k), not scaled."""

    mean: Tensor
    sigma: Tensor

    def __len__(self) -> int:
        return len(self.mean)

    def scale(self, rows: Sequence[int]) -> float:
        """1 / the standard deviation over all elements of the means at `rows`.

        Raises:
            TrainingError: They are all the same: the autoencoder has learnt nothing.
        """
        deviation = float(self.mean[list(rows)].double().std(correction=0))
        if not deviation > 0:
            raise TrainingError(
                "All latents are the same: the autoencoder has not learnt anything.",
                fix="train the stage 'autoencoder' for longer",
            )
        return 1 / deviation

    def drawn_once(self, seed: int) -> Tensor:
        """One draw of every latent, the same for equal seeds and records."""
        pairs = zip(self.mean, self.sigma, strict=True)
        return torch.stack([draw_latent(m, s, Draw(seed, i, 0).generator("latent")) for i, (m, s) in enumerate(pairs)])


def latents_key(autoencoder_sha256: str, preprocessing: str, content: Sequence[str]) -> str:
    """The name of the file: equal autoencoder, preprocessing (digest) and files in the same order give an equal key."""
    return sha256_json({"autoencoder": autoencoder_sha256, "steps": preprocessing, "records": list(content)})[:32]


@torch.inference_mode()
def compute_latents(
    autoencoder: Any,
    volumes: RecordTensors,
    back: tuple[int, ...],
    device: torch.device,
    progress: ProgressMaker = Silent,
    rows: Sequence[int] | None = None,
) -> Latents:
    """The latents of records, in float32, volumes of the published size one at a time; the autoencoder is left in evaluation mode.

    Args:
        autoencoder: Trained.
        volumes: Preprocessed records.
        back: Axes that turn a preprocessed batch (n, 1, ...) into that of the file.
        device: Where to compute.
        rows: Positions of the records, at least one [all].
    """
    chosen = list(range(len(volumes)) if rows is None else rows)
    autoencoder.to(device).eval()
    means, sigmas = [], []
    with progress("compressing", len(chosen), "volumes") as shown:
        size = 1 if not chosen else max(1, _VOXELS_AT_ONCE // volumes[chosen[0]].numel())
        for begin in range(0, len(chosen), size):
            batch = torch.stack([volumes[row] for row in chosen[begin : begin + size]])
            mean, sigma = encode(autoencoder, batch.permute(back).contiguous().to(device))
            means.append(mean.cpu())
            sigmas.append(sigma.cpu())
            shown.advance(len(batch))
    return Latents(torch.cat(means), torch.cat(sigmas))


def compute_together(
    folder: str | Path,
    key: str,
    autoencoder: Any,
    volumes: RecordTensors,
    back: tuple[int, ...],
    fabric: Fabric,
    progress: ProgressMaker = Silent,
) -> Latents:
    """The latents of all records, each computed by one process, kept as one file under `key` in `folder`; collective.

    Every process leaves its share in a file, and the first one puts them together. Arguments as of :func:`compute_latents`.
    """
    world, rank, count = fabric.world_size, fabric.global_rank, len(volumes)
    if world == 1:
        alone = compute_latents(autoencoder, volumes, back, fabric.device, progress)
        write_latents(folder, key, alone)
        return alone
    parts = [f"{key}-part{i}" for i in range(min(world, count))]
    if rank < count:
        own = compute_latents(autoencoder, volumes, back, fabric.device, progress, range(rank, count, world))
        write_latents(folder, parts[rank], own)
    fabric.barrier()
    if rank == 0:
        found = [part for name in parts if (part := read_latents([folder], name)) is not None]
        mean, sigma = (torch.empty(count, *found[0].mean.shape[1:]) for _ in range(2))
        for i, part in enumerate(found):
            mean[i::world], sigma[i::world] = part.mean, part.sigma
        write_latents(folder, key, Latents(mean, sigma))
        for leftover in (Path(folder) / FOLDER).glob("*-part*.safetensors"):
            leftover.unlink()
    fabric.barrier()
    together = read_latents([folder], key)
    if together is None:
        raise TrainingError("The latents were not kept.", where=str(folder), fix="run the command again")
    return together


def write_latents(folder: str | Path, key: str, latents: Latents) -> Path:
    """Keep the latents under ``latents/KEY.safetensors`` in `folder`, whole or not at all."""
    from safetensors.torch import save as to_bytes

    target = make_folder(Path(folder) / FOLDER) / f"{key}.safetensors"
    with atomic_path(target) as temporary:
        temporary.write_bytes(to_bytes({"mean": latents.mean.contiguous(), "sigma": latents.sigma.contiguous()}))
    return target


def read_latents(folders: Sequence[str | Path], key: str) -> Latents | None:
    """The latents kept under `key` in one of the folders; ``None`` where there are none.

    Raises:
        StoreError: The file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for folder in folders:
        file = Path(folder) / FOLDER / f"{key}.safetensors"
        if file.is_file():
            try:
                found = load_file(str(file))
                return Latents(found["mean"].clone(), found["sigma"].clone())
            except (SafetensorError, OSError, KeyError) as error:
                raise StoreError(
                    "The kept latents are damaged.", where=str(file), fix="remove the file; it is computed again"
                ) from error
    return None
