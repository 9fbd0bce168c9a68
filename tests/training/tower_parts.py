"""Small networks, recipes and pairs for the tests of recipes of two towers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pair_parts import tokens

from medfm.core.config import build, merge
from medfm.encoders.clip import build_clip
from medfm.encoders.convirt import build_convirt
from medfm.encoders.flair import build_flair
from medfm.encoders.preprocessing import Preprocessing
from medfm.modalities.record import RecordRef
from medfm.training.pair_texts import TextChoices
from medfm.training.pair_views import PairView
from medfm.training.pairs import Pairs
from medfm.training.record_tensors import RecordTensors
from medfm.training.towers_config import ClipRecipe, ConvirtRecipe, FlairRecipe, TowersRecipe

SIDE = 32
BERT = {"vocabulary": 40, "width": 16, "layers": 2, "heads": 2, "feed_forward": 32, "positions": 24}
IMAGE = {"kind": "open_clip", "patch": 16, "width": 16, "layers": 1, "heads": 2}
CLIP_TEXT = {
    "kind": "clip",
    "pooling": "end_of_text",
    "context": 12,
    "vocabulary": 40,
    "width": 16,
    "layers": 2,
    "heads": 2,
}
CLIP = {"image_size": SIDE, "activation": "gelu", "projection": 8, "image": IMAGE, "text": CLIP_TEXT}
RESNET = {"backbone": "resnet18-narrow", "image_size": SIDE, "projection": 8}
NETWORKS: dict[str, tuple[Any, dict[str, Any]]] = {
    "clip": (build_clip, CLIP),
    "clip-bert": (build_clip, {**CLIP, "text": {**BERT, "kind": "bert", "pooling": "cls", "head": "mlp"}}),
    "flair": (
        build_flair,
        {**RESNET, "text": {**BERT, "pooling": "mean_with_padding", "hidden_states": (1, -1)}},
    ),
    "convirt": (build_convirt, {**RESNET, "text": {**BERT, "pooling": "mean"}}),
}
RECIPES: dict[str, type[TowersRecipe]] = {
    "clip": ClipRecipe,
    "clip-bert": ClipRecipe,
    "flair": FlairRecipe,
    "convirt": ConvirtRecipe,
}
PLAIN = {
    "name": "test",
    "epochs": 3,
    "batch_size": 4,
    "text": {"start": "random", "trained_layers": "all"},
    "optimisation": {"lr": 0.005, "warmup": 2},
    "machine": {"accelerator": "cpu", "checkpoint_every": 2},
}
STEPS = [
    {"step": "to_rgb"},
    {"step": "resize", "size": [SIDE, SIDE], "resampler": "bilinear_pil", "mode": "squash"},
    {"step": "to_unit_range"},
    {"step": "normalise", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]},
]
PICTURES = torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def network(family: str, seed: int = 0) -> Any:
    make, args = NETWORKS[family]
    return make(args, torch.Generator().manual_seed(seed))


def recipe(family: str, **changes: Any) -> Any:
    return build(RECIPES[family], merge(PLAIN, changes), where="test recipe")


def tower_pairs(count: int = 14, *, augmentation: str = "none", seed: int = 0) -> Pairs:
    """Random pictures of three categories, two texts for each."""
    preprocess = Preprocessing(STEPS)
    values = torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    refs = tuple(RecordRef(f"r{i}", Path(f"r{i}.png")) for i in range(count))
    records = RecordTensors(refs, "retina", preprocess, values, tuple(range(count)))
    texts = tuple(f"text {i}" for i in range(6))
    options = tuple(((i % 3, (2 * (i % 3), 2 * (i % 3) + 1)),) for i in range(count))
    choices = TextChoices(options, texts, ("a", "b", "c"))
    first = torch.tensor([own[0][1][0] for own in options])
    return Pairs(records, tokens(6, seed=seed), first, texts, choices, PairView(augmentation, preprocess, seed))
