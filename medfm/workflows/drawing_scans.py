"""What protocols that draw volumes share: which scans, read and prepared, their latents, noise and weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from medfm.core.errors import ConfigError, EvaluationError, ReadError
from medfm.core.progress import Progress
from medfm.embeddings.embeddings import Failure
from medfm.encoders.card import Card
from medfm.encoders.encoder import Encoder
from medfm.encoders.ldae.load import generator_of
from medfm.encoders.load import RANDOM
from medfm.encoders.preprocessing_steps import on_volumes
from medfm.encoders.preprocessing_volume import VolumeSteps, axes_of
from medfm.encoders.safety import require_checkpoint
from medfm.encoders.save import CARD_FILE
from medfm.evaluation.similarity_config import VolumeDrawing
from medfm.modalities.record import Record
from medfm.workflows.latent_diffusion import LatentDiffusionAutoencoder

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort

PARTS = ("encoder", "autoencoder", "denoiser")


@dataclass(frozen=True)
class Scan:
    """One prepared scan.

    Attributes:
        row: In the cohort.
        record_id: The cohort's id.
        patient_id: The cohort's patient.
        batch: float32 (1, 1, slices, height, width), as the encoder takes it.
        affine: Of the prepared volume in the axes of the file, float64 (4, 4).
        sides_known: Whether the file tells left from right.
    """

    row: int
    record_id: str
    patient_id: str
    batch: Tensor
    affine: np.ndarray
    sides_known: bool


def chosen_rows(cohort: Cohort, method: VolumeDrawing) -> tuple[list[int], list[str]]:
    """Rows of the scans that are drawn, and what is to be said about the choice.

    Raises:
        EvaluationError: There is no such scan.
    """
    rows, said = list(range(len(cohort))), []
    if method.records == "test":
        test = np.flatnonzero((cohort.table["split"] == "test").to_numpy(dtype=bool)).tolist()
        if test:
            rows = test
        elif cohort.table["split"].notna().any():
            raise EvaluationError(
                "The cohort has splits but no test records.",
                where=cohort.name,
                fix="--set method.records=all to draw every record",
            )
        else:
            said.append(
                "The cohort has no split, so every record was drawn; those the networks learnt from look too good."
            )
    if method.limit is not None and method.limit < len(rows):
        said.append(f"Only the first {method.limit} of {len(rows)} records were looked at (method.limit).")
        rows = rows[: method.limit]
    if not rows:
        raise EvaluationError("There is no record to draw.", where=cohort.name)
    return rows, said


def steps_of(encoder: Encoder) -> VolumeSteps:
    """The preprocessing of an encoder of volumes.

    Raises:
        ConfigError: It is an encoder of something else.
    """
    steps = encoder.preprocess.steps
    if not on_volumes(steps):
        raise ConfigError(f"'{encoder.id}' is no encoder of volumes.", expected="an encoder of brain_mri")
    return VolumeSteps(steps)  # type: ignore[arg-type]


def prepared(encoder: Encoder, record: Record) -> tuple[Tensor, np.ndarray]:
    """A record as the encoder takes it, float32 (1, 1, ...), and the affine of the prepared volume in the axes of the file.

    Raises:
        ReadError: As of preprocessing.
    """
    steps = steps_of(encoder)
    volume, affine = steps.prepared(record)
    first = np.ascontiguousarray(np.transpose(volume, axes_of(steps.plane)))
    return torch.from_numpy(first)[None, None], affine


def read_scan(encoder: Encoder, cohort: Cohort, row: int) -> Scan:
    """One scan of a cohort.

    Raises:
        ReadError: It cannot be read or prepared.
    """
    record = cohort.read(row)
    batch, affine = prepared(encoder, record)
    table = cohort.table.iloc[row]
    known = record.facts.get("left_right") == "known"
    return Scan(row, str(table["record_id"]), str(table["patient_id"]), batch, affine, known)


def blocks(
    encoder: Encoder, cohort: Cohort, rows: Sequence[int], size: int, failures: list[Failure], shown: Progress
) -> Iterator[list[Scan]]:
    """The scans, at most `size` at a time; those that cannot be read are added to `failures`."""
    block: list[Scan] = []
    for row in rows:
        try:
            block.append(read_scan(encoder, cohort, row))
        except ReadError as error:
            failures.append(Failure(str(cohort.table["record_id"].iloc[row]), " ".join(str(error.what).split())))
        if len(block) == size:
            yield block
            block = []
        shown.advance()
    if block:
        yield block


def generator_for(seed: int, record_id: str, use: str) -> torch.Generator:
    """Random numbers of one record: the same whatever other records there are, in whatever order."""
    digest = hashlib.sha256(f"{seed}:{use}:{record_id}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def latents_of(system: LatentDiffusionAutoencoder, scans: Sequence[Scan], method: VolumeDrawing) -> Tensor:
    """Scaled latents (n, channels, i, j, k): means, or drawn record by record."""
    if method.latents == "mean":
        return system.latent(torch.cat([scan.batch for scan in scans]))
    return torch.cat([system.latent(s.batch, generator_for(method.seed, s.record_id, "latent")) for s in scans])


def noise_of(system: LatentDiffusionAutoencoder, scans: Sequence[Scan], seed: int) -> Tensor:
    """Standard normal stochastic codes, one per record."""
    shape = (1, *system.generator.latent_shape)
    return torch.cat([torch.randn(shape, generator=generator_for(seed, s.record_id, "noise")) for s in scans])


def finite(volumes: Tensor, scans: Sequence[Scan], what: str) -> Tensor:
    """The volumes, on the CPU.

    Raises:
        EvaluationError: A voxel is not finite.
    """
    volumes = volumes.float().cpu()
    good = torch.isfinite(volumes).flatten(1).all(dim=1)
    if not bool(good.all()):
        raise EvaluationError(
            f"The volume drawn for {what} holds values that are not finite.",
            where=f"record {scans[int((~good).nonzero()[0])].record_id}",
            expected="trained networks that belong together",
            fix="check that autoencoder, denoiser and encoder are of one training",
        )
    return volumes


def part_weights(card: Card, given: Sequence[str | Path]) -> dict[str, str | Path]:
    """What ``--weights`` names, part by part.

    Args:
        card: A card with a generator.
        given: ``"random"``; ``PART=FILE``; the encoder's file, beside which the published names of the
            other parts are looked for; or a folder that holds the published names. Empty: the card's own.

    Raises:
        ConfigError: There is no such part, or a folder that holds none of the files.
        CardError: The card has no generator.
        WeightsError: A file that was named is missing.
    """
    generator = generator_of(card)
    names = {
        "encoder": {Path(source.filename).name for source in card.spec.weights.sources},
        "autoencoder": {Path(source.filename).name for source in generator.autoencoder.weights.sources},
        "denoiser": {Path(source.filename).name for source in generator.denoiser.weights.sources},
    }
    found: dict[str, str | Path] = {}
    for one in given:
        part, sign, file = str(one).partition("=")
        if sign and part in PARTS and file:
            if file != RANDOM:
                require_checkpoint(Path(file).expanduser())
            found[part] = file
        elif str(one) == RANDOM:
            found |= dict.fromkeys(PARTS, RANDOM)
        elif sign and not Path(one).exists():
            raise ConfigError(
                f"There is no part '{part}'.", where="--weights", expected="PART=FILE, PART one of " + ", ".join(PARTS)
            )
        else:
            path = Path(one).expanduser()
            if not path.is_dir():
                require_checkpoint(path)
            folder = path if path.is_dir() else path.parent
            beside = {p: folder / name for p in PARTS for name in sorted(names[p]) if (folder / name).is_file()}
            if path.is_dir() and not beside:
                every = sorted(name for group in names.values() for name in group)
                raise ConfigError(
                    f"No weights of '{card.id}' are in the folder.",
                    where=str(path),
                    expected=", ".join(every) or "PART=FILE: the card names no published files",
                    fix="for a folder written by 'medfm pretrain' give the folder as --encoder, without --weights"
                    if (path / CARD_FILE).is_file()
                    else "name the files: " + " ".join(f"--weights {part}=FILE" for part in PARTS),
                )
            found |= beside if path.is_dir() else {**beside, "encoder": path}
    return found


def system_facts(system: LatentDiffusionAutoencoder) -> dict[str, Any]:
    """What identifies the three networks, for a result's provenance."""
    from medfm.core.hashing import sha256_json, sha256_tensors

    encoder = system.encoder
    random = [part for part, note in system.notes.items() if note.startswith("random")]
    if not system.notes and encoder.weights_kind == "random":
        random = ["encoder"]
    parts = {name: sha256_tensors(getattr(system, name).state_dict()) for name in ("autoencoder", "denoiser")}
    seen = [part.named() for part in encoder.card.spec.training_data if part.status != "held out"]
    note = "; ".join(f"{part}: {words}" for part, words in system.notes.items() if words)
    if random and len(random) < len(system.notes):
        note = f"untrained: {', '.join(random)}; {note}"
    return {
        "encoder": encoder.id,
        "encoder_title": encoder.card.title,
        "fingerprint": sha256_json({"encoder": encoder.fingerprint, **parts}),
        "encoder_fingerprint": encoder.fingerprint,
        "weights_kind": RANDOM if random else str(encoder.weights_kind),
        "weights_note": note or encoder.weights_note,
        **({"training_data": seen} if str(encoder.weights_kind) == "trained here" else {}),
        "precision": "float32",
    }
