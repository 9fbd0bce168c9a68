"""Scans encoded and drawn again, in several numbers of steps, from both codes or one; figures per record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medfm.core.errors import EvaluationError
from medfm.core.progress import ProgressMaker, Silent
from medfm.embeddings.embeddings import Failure
from medfm.evaluation.predictions import MAIN, Predictions
from medfm.evaluation.similarity_config import Reconstruction
from medfm.evaluation.similarity_metrics import figure_names, figures
from medfm.workflows.drawing_scans import Scan, blocks, chosen_rows, finite, latents_of, noise_of
from medfm.workflows.latent_diffusion import Codes, LatentDiffusionAutoencoder

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.workflows.draw_distances import Features

AUTOENCODER, MEAN_IMAGE = "autoencoder", "mean image"
_MOST_FOR_MEAN = 100
CARRIED = ("site", "age", "sex")


@dataclass
class Drawn:
    """What a run of either protocol yields.

    Attributes:
        predictions: One row per record and variant.
        failures: Records that could not be read.
        notes: What a reader must know.
        extras: JSON-like facts for the report.
    """

    predictions: Predictions
    failures: list[Failure]
    notes: list[str] = field(default_factory=list)
    extras: dict[str, Any] = field(default_factory=dict)


def run_reconstruction(
    system: LatentDiffusionAutoencoder,
    cohort: Cohort,
    method: Reconstruction,
    *,
    batch_size: int = 4,
    features: Features | None = None,
    progress: ProgressMaker = Silent,
) -> Drawn:
    """Draw the chosen scans of a cohort in every way the method names.

    The variants: ``main`` (both codes, the last number of steps), ``steps=N``, ``semantic, steps=N``,
    ``autoencoder``, ``mean image``.

    Args:
        system: The three networks.
        cohort: Brain MRI.
        method: Settings.
        batch_size: Scans drawn together.
        features: Gathers features of real and drawn scans, where distances are asked for.
        progress: Shows the scans.

    Raises:
        EvaluationError: No scan can be drawn, or a drawn volume is not finite.
        ConfigError: A window does not fit the volumes.
    """
    rows, said = chosen_rows(cohort, method)
    failures: list[Failure] = []
    mean = _mean_image(system, cohort) if method.mean_image and method.records == "test" else None
    if method.mean_image and mean is None:
        said.append("There are no training records, so no mean image was held against the scans.")
    tables = []
    with progress("drawing", len(rows), "scans") as shown:
        for scans in blocks(system.encoder, cohort, rows, batch_size, failures, shown):
            true = system.volume(torch.cat([scan.batch for scan in scans])).cpu()
            if features is not None:
                features.add("real", scans, true)
            for variant, volumes in drawings(system, scans, method):
                tables.append(_rows(cohort, scans, variant, figures(volumes, true, method.windows)))
                if features is not None and not variant.startswith(("steps", AUTOENCODER)):
                    features.add(variant, scans, volumes)
            if mean is not None:
                tables.append(_rows(cohort, scans, MEAN_IMAGE, figures(mean.expand_as(true), true, method.windows)))
    if not tables:
        raise EvaluationError(
            "None of the scans could be read.", where=cohort.name, expected=failures[0].reason if failures else None
        )
    table = pd.concat(tables, ignore_index=True)
    order = {name: place for place, name in enumerate(dict.fromkeys([MAIN, *table["variant"]]))}
    table = table.sort_values("variant", key=lambda v: v.map(order), kind="stable").reset_index(drop=True)
    predictions = Predictions(table, "similarity", figure_names(method.windows), "scan")
    return Drawn(predictions, failures, [*said, window_note(method.windows)])


def drawings(
    system: LatentDiffusionAutoencoder, scans: Sequence[Scan], method: Reconstruction
) -> Iterator[tuple[str, Tensor]]:
    """Every variant's name with its volumes (n, 1, i, j, k) on the CPU, in the axes of the file."""
    batch = torch.cat([scan.batch for scan in scans])
    latents = latents_of(system, scans, method)
    yield AUTOENCODER, finite(system.volumes_of(latents), scans, AUTOENCODER)
    noise = noise_of(system, scans, method.seed) if method.semantic_only else None
    for steps in method.steps:
        codes = system.encode(batch, steps=steps, latent=latents)
        name = MAIN if steps == method.steps[-1] else f"steps={steps}"
        yield name, finite(system.decode(codes, steps=steps), scans, f"{steps} steps")
        if noise is not None:
            only = Codes(codes.semantic, noise.to(system.device))
            name = f"semantic, steps={steps}"
            yield name, finite(system.decode(only, steps=steps), scans, name)


def window_note(windows: Sequence[int]) -> str:
    """How the SSIM was computed, in words."""
    further = "".join(f"; ssim_w{w}: {w}" for w in windows[1:])
    return (
        f"SSIM: in three dimensions, Gaussian of 1.5 voxels in a window of {windows[0]} voxels{further}; values of a range of 1 "
        "(smallest to largest of each scan), background included, nothing clamped."
    )


def _mean_image(system: LatentDiffusionAutoencoder, cohort: Cohort) -> Tensor | None:
    """The mean (1, 1, i, j, k) of at most 100 training scans, evenly spread over the table; ``None`` without any."""
    train = np.flatnonzero((cohort.table["split"] == "train").to_numpy(dtype=bool))
    if not len(train):
        return None
    picked = train[np.unique(np.linspace(0, len(train) - 1, min(len(train), _MOST_FOR_MEAN)).round().astype(int))]
    total, count = None, 0
    unread: list[Failure] = []  # not of the tested records: no reason for an exit code
    with Silent("", None) as silent:
        for scans in blocks(system.encoder, cohort, picked.tolist(), 1, unread, silent):
            volume = system.volume(scans[0].batch).cpu()
            total = volume if total is None else total + volume
            count += 1
    return None if total is None else total / count


def _rows(cohort: Cohort, scans: Sequence[Scan], variant: str, values: dict[str, np.ndarray]) -> pd.DataFrame:
    carried = {c: cohort.table[c].iloc[[s.row for s in scans]].to_numpy() for c in CARRIED if c in cohort.table.columns}
    return pd.DataFrame(
        {
            "record_id": [scan.record_id for scan in scans],
            "patient_id": [scan.patient_id for scan in scans],
            "variant": variant,
            "repeat": 0,
            "fold": 0,
            **carried,
            **values,
        }
    )
