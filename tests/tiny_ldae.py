"""A latent diffusion autoencoder of a few ten thousand numbers, with a card like that of the published one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from medfm.encoders.card import Card, read_card
from medfm.modalities.record import Record

VOLUME = (16, 16, 8)
LATENT = (2, 8, 8, 4)
ENCODER = {"slices": 8, "depths": [1, 2], "widths": [8, 32], "heads": 4}
AUTOENCODER = {"channels": [8, 16], "latent_channels": 2, "blocks": 1, "groups": 4}
DENOISER = {
    "latent_channels": 2,
    "width": 8,
    "multipliers": [1, 2],
    "blocks": 1,
    "attention_at": [2],
    "groups": 4,
    "condition": 32,
}
PARTS = ("autoencoder", "prior", "denoiser")
FRONT: dict[str, Any] = {
    "license": "apache-2.0",
    "medfm": {
        "id": "tiny-ldae",
        "title": "Tiny LDAE",
        "summary": "For tests.",
        "modality": "brain_mri",
        "architecture": {"family": "ldae", "args": ENCODER},
        "weights": {
            "sources": [{"kind": "archive", "page": "https://example.org", "filename": "encoder.pth"}],
            "key_map": {
                "nesting": ["state_dict", "flat"],
                "within": ["ema_encoder."],
                "prefixes": ["module."],
                "layouts": ["ldae-twice"],
            },
        },
        "input": {"shape": [1, 8, 16, 16]},
        "preprocessing": [
            {"step": "volume_spacing", "mm": 2.0},
            {"step": "volume_size", "size": list(VOLUME)},
            {"step": "volume_scale"},
            {"step": "slice_first"},
        ],
        "embedding": {"what": "pooled", "dim": 32},
        "generator": {
            "latent_scale": 0.5,
            "latent_shape": list(LATENT),
            "clip": None,
            "steps": 4,
            "autoencoder": {
                "args": AUTOENCODER,
                "weights": {"key_map": {"nesting": ["state_dict", "flat"], "within": ["vae."], "prefixes": []}},
            },
            "prior": {"args": DENOISER},
            "denoiser": {
                "args": DENOISER,
                "weights": {
                    "sources": [{"kind": "archive", "page": "https://example.org", "filename": "decoder.pth"}],
                    "key_map": {"nesting": ["state_dict", "flat"], "within": ["ema_decoder."], "prefixes": []},
                },
            },
            "head": [
                {"kind": "archive", "page": "https://example.org", "filename": name}
                for name in ("head.ckpt", "mean.pt", "std.pt")
            ],
        },
    },
}
PROSE = (
    "# Tiny LDAE\n\nNetworks of a few thousand numbers for tests. They were never trained and are for nothing else.\n"
)


def tiny_card(folder: Path, **changes: Any) -> Card:
    """The card in `folder`; `changes` replace entries of its ``medfm`` block, those of ``generator`` one by one."""
    front = copy.deepcopy(FRONT)
    front["medfm"]["generator"] |= changes.pop("generator", {})
    front["medfm"] |= changes
    path = folder / "card.md"
    path.write_text(f"---\n{yaml.safe_dump(front)}---\n\n{PROSE}", encoding="utf-8")
    return read_card(path)


def scan(seed: int = 0, shape: tuple[int, int, int] = (14, 17, 9), spacing: float = 2.0) -> Record:
    """A made-up scan: noise that is brighter in the middle."""
    random = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    array = np.exp(-sum(axis**2 for axis in axes)) + 0.1 * random.random(shape)
    return Record(f"scan-{seed}", "brain_mri", array.astype(np.float32), {"spacing_mm": [spacing] * 3})


def shaken(module: torch.nn.Module, seed: int = 1) -> torch.nn.Module:
    """`module` with noise on every weight: nothing is zero any more, as after training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            scale = 0.5 / max(1, parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.05
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)
    return module
