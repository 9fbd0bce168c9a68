"""Fine-tuned models of known weights, made without training, for tests of soups."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medfm.cohorts.cohort import Cohort
from medfm.encoders.encoder import Encoder
from medfm.encoders.published import family_of
from medfm.training.classifier import Classifier, LinearHead
from medfm.training.finetune import FineTuned
from medfm.training.finetune_batches import Labelled
from medfm.training.finetune_labels import Labels
from medfm.workflows.finetune_data import Prepared
from medfm.workflows.finetune_output import write_model
from tests.training.tuning_parts import BINARY, recipe, signal_encoder, signals


def moved(encoder: Encoder, seed: int, statistics: bool = False) -> torch.nn.Module:
    """The network with every weight a little off; with `statistics` also those of BatchNorm."""
    source = torch.Generator().manual_seed(seed)
    network = copy.deepcopy(encoder.module)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=source))
        if statistics:
            for name, buffer in network.named_buffers():
                if name.endswith("running_mean"):
                    buffer.add_(0.1 * torch.randn(buffer.shape, generator=source))
    return network


def model(
    folder: Path,
    cohort: Cohort,
    seed: int,
    *,
    labels: Labels = BINARY,
    encoder: Encoder | None = None,
    statistics: bool = False,
    **changes: Any,
) -> Path:
    """A folder such as ``medfm finetune`` leaves, with weights that follow from `seed`."""
    start = encoder or signal_encoder()
    head = LinearHead(start.embedding_dim, labels.outputs, generator=torch.Generator().manual_seed(seed))
    network = moved(start, seed, statistics).eval()
    tuned = FineTuned(
        Classifier(network, family_of(start.card)[0].embed, head), labels, {"stage": "tune", "epoch": 1, "loss": None}, (), None
    )  # fmt: skip
    rows = Labelled(signals(4), labels.encode(np.array([0, 1, 0, 1])))
    data = Prepared(labels, rows, None, None, ())
    write_model(folder / "model", tuned, start, recipe(name=f"r{seed}", **changes), cohort, data, "cpu")
    return folder
