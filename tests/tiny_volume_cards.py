"""Encoders of volumes in the published families, small enough for a test: shipped cards with other sizes."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from medfm.core.resources import data_folder
from medfm.encoders.encoder import Encoder
from medfm.encoders.load import load_encoder

# Shipped card -> architecture, side of the cube, length of the embedding.
SMALL: dict[str, tuple[dict[str, Any], int, int]] = {
    "medicalnet-resnet18-3d": ({"backbone": "resnet10", "width": 4, "dilated": True}, 16, 32),
    "swinunetr-encoder": ({"width": 6, "depths": [1, 1, 1, 1], "heads": [1, 1, 2, 2], "window": 2}, 32, 96),
}


def small_card(shipped: str, folder: Path) -> Path:
    """Write a card file that differs from the shipped one in its sizes."""
    text = (data_folder("model_cards") / f"{shipped}.md").read_text(encoding="utf-8")
    front, prose = text.removeprefix("---\n").split("\n---\n", 1)
    header = yaml.safe_load(front)
    args, side, dim = SMALL[shipped]
    spec = header["medfm"]
    spec["id"] = f"small-{shipped}"
    spec["architecture"]["args"] = args
    spec["input"]["shape"] = [1, side, side, side]
    spec["embedding"]["dim"] = dim
    spec.pop("parameters", None)
    for step in spec["preprocessing"]:
        if step["step"] == "volume_size":
            step["size"] = [side, side, side]
    path = folder / f"small-{shipped}.md"
    path.write_text(f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n{prose}", encoding="utf-8")
    return path


@cache
def small_volume_encoder(shipped: str) -> Encoder:
    """The untrained small encoder of a family of volumes."""
    with tempfile.TemporaryDirectory() as folder:
        return load_encoder(small_card(shipped, Path(folder)), weights="random", device="cpu")
