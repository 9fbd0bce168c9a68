"""Small networks, recipes and pairs for the tests of training on pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from medfm.core.config import build, merge
from medfm.encoders.merl import Merl, build_merl
from medfm.encoders.preprocessing import Preprocessing
from medfm.modalities.record import RecordRef
from medfm.training.pairs import Pairs, different
from medfm.training.pairs_config import MerlRecipe
from medfm.training.record_tensors import RecordTensors

TEXT = {"vocabulary": 40, "width": 16, "layers": 2, "heads": 2, "feed_forward": 32, "positions": 24}
ARGS = {"backbone": "resnet18", "stem": 4, "samples": 160, "projection": 8, "text": TEXT}
RECIPE = {
    "name": "test",
    "epochs": 3,
    "batch_size": 4,
    "text": {"start": "random", "trained_layers": "all"},
    "optimisation": {"lr": 0.01, "warmup": 2},
    "machine": {"accelerator": "cpu", "checkpoint_every": 2},
}
STEPS = [
    {"step": "crop_samples", "samples": 160},
    {"step": "pad_samples", "samples": 160},
    {"step": "min_max", "epsilon": 1e-8},
    {"step": "lead_order", "leads": ["I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"]},
]


def network(seed: int = 0) -> Merl:
    return build_merl(ARGS, torch.Generator().manual_seed(seed))


def recipe(**changes: Any) -> MerlRecipe:
    return build(MerlRecipe, merge(RECIPE, changes), where="test recipe")


def tokens(count: int, length: int = 9, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of texts of 3 to `length` tokens."""
    source = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, length + 1, (count,), generator=source)
    lengths[0] = length
    mask = (torch.arange(length)[None] < lengths[:, None]).long()
    return torch.randint(5, 40, (count, length), generator=source) * mask, mask


def held(count: int, seed: int = 0) -> RecordTensors:
    values = torch.rand(count, 12, 160, generator=torch.Generator().manual_seed(seed))
    refs = tuple(RecordRef(f"r{i}", Path(f"r{i}.hea")) for i in range(count))
    return RecordTensors(refs, "ecg", Preprocessing(STEPS), values, tuple(range(count)))


def pairs(count: int = 14, seed: int = 0) -> Pairs:
    """Random signals; every third text occurs twice."""
    texts, which = different([f"report {i - (i % 3 == 1)}" for i in range(count)])
    return Pairs(held(count, seed), tokens(len(texts), seed=seed), which, texts)
