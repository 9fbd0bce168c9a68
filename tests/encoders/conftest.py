"""A quick encoder of our own for the tests: a small network with a card that can be bent at will."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from medfm.encoders.card import Card, read_card
from medfm.encoders.dinov2 import build_vit, published_state

MEAN = [0.485, 0.456, 0.406]
STD = [0.229, 0.224, 0.225]
ARGS = {"size": "custom", "width": 32, "depth": 2, "heads": 2, "patch": 14, "img_size": 56}
PROSE = "# Mini\n\nA network of thirty-two numbers for tests. It was never trained and is not for any other use.\n"
FRONT: dict[str, Any] = {
    "license": "apache-2.0",
    "tags": ["test"],
    "medfm": {
        "id": "mini",
        "title": "Mini",
        "summary": "For tests.",
        "modality": "blood_cell",
        "architecture": {"family": "dinov2", "args": ARGS},
        "weights": {
            "sources": [],
            "key_map": {
                "drop": ["dino_head", "ibot_head", "student"],
                "prefixes": ["module.", "teacher.", "backbone."],
                "optional": ["mask_token"],
            },
        },
        "input": {"shape": [3, 56, 56]},
        "preprocessing": [
            {"step": "to_rgb"},
            {"step": "resize", "size": [56, 56]},
            {"step": "to_unit_range"},
            {"step": "normalise", "mean": MEAN, "std": STD},
        ],
        "embedding": {"what": "cls", "dim": 32},
    },
}

WriteCard = Callable[..., Path]


def set_at(values: dict[str, Any], dotted: str, value: Any) -> None:
    """``set_at(front, "medfm.id", "x")``; a value of ``...`` removes the key."""
    *parents, leaf = dotted.split(".")
    for parent in parents:
        values = values[parent]
    if value is ...:
        del values[leaf]
    else:
        values[leaf] = value


@pytest.fixture
def write_card(tmp_path: Path) -> WriteCard:
    """Writes the mini card, changed at dotted keys, and returns its path."""

    def write(name: str = "mini.md", folder: Path | None = None, prose: str = PROSE, **changes: Any) -> Path:
        front = copy.deepcopy(FRONT)
        for dotted, value in changes.pop("set", {}).items():
            set_at(front, dotted, value)
        path = (folder if folder is not None else tmp_path / "cards") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n{prose}", encoding="utf-8")
        return path

    return write


@pytest.fixture
def mini(write_card: WriteCard) -> Card:
    """The mini card."""
    return read_card(write_card())


@pytest.fixture
def mini_state() -> dict[str, torch.Tensor]:
    """Weights of the mini network under plain DINOv2 names."""
    return published_state(build_vit(ARGS, torch.Generator().manual_seed(11)), prefix="")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine says, this test is offline."""
    monkeypatch.setenv("MEDFM_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
