"""A picture encoder with a text tower of a few thousand numbers, its words, and a cohort of small pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from medfm.encoders.registry import get_card
from medfm.encoders.weights import weights_folder

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *["a", "fundus", "photograph", "of", "with", "hard", "exudates", "new", "vessels", "drusen", "optic", "disc"],
]
TEXT = {
    "vocabulary": 40, "width": 16, "layers": 3, "heads": 2, "feed_forward": 32, "positions": 64,
    "pooling": "mean_with_padding", "hidden_states": [1, 2, -1],
}  # fmt: skip
NAME = "tiny-picture"


def put_tiny_picture_encoder(folder: Path) -> Path:
    """Write the card ``tiny-picture`` (a ResNet-18 at 64 pixels) into `folder`, to be named in MEDFM_CARDS."""
    text = get_card("flair-resnet50").path.read_text(encoding="utf-8")
    _, front, prose = text.split("---\n", 2)
    header = yaml.safe_load(front)
    spec = header["medfm"]
    spec["id"] = NAME
    spec["architecture"]["args"] = {"backbone": "resnet18", "image_size": 64, "projection": 8, "text": TEXT}
    spec["input"]["shape"] = [3, 64, 64]
    spec["embedding"]["dim"] = 8
    spec["text"]["max_tokens"] = 40
    for key in ("parameters", "preprocessing_variants", "results", "published"):
        spec.pop(key, None)
    for step in spec["preprocessing"]:
        if "size" in step:
            step["size"] = [64, 64] if step["step"] == "canvas" else 64
    folder.mkdir(parents=True, exist_ok=True)
    out = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    (folder / f"{NAME}.md").write_text(f"---\n{out}---\n{prose}", encoding="utf-8")
    words = weights_folder() / NAME / "tokenizer"
    words.mkdir(parents=True, exist_ok=True)
    (words / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return folder


def put_pictures(folder: Path, records: int = 40, split: bool = True, modality: str = "retina") -> Path:
    """Pictures of noise with a bright or a dark square where the class wants it, and the table of them."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    rows = []
    for i in range(records):
        pixels = random.integers(60, 200, (48, 60, 3), dtype=np.uint8)
        kind = i // 2 % 2
        if random.random() < 0.3:
            pixels[10:30, 20:40, kind] = 255
        Image.fromarray(pixels).save(folder / f"{i}.png")
        row = {"path": f"{i}.png", "record_id": f"r{i}", "patient_id": f"p{i // 2}", "label": "ab"[kind]}
        row |= {"bright": kind, "odd": i % 2, "number": 0.5 + i * 0.3}
        rows.append(row | ({"split": "test" if i // 2 >= records * 0.3 else "train"} if split else {}))
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    (folder / "labels.yaml").write_text(f"modality: {modality}\n", encoding="utf-8")
    return folder / "labels.csv"


def ready(root: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Path:
    """The encoder's card and words, a cache and the cohort in `root`, made once; the table of the cohort.

    Tests that share `root` share the cached embeddings, so they must not change the pictures or the table.
    """
    monkeypatch.setenv("MEDFM_CACHE", str(root / "cache"))
    if not (root / "cards").exists():
        put_tiny_picture_encoder(root / "cards")
    monkeypatch.setenv("MEDFM_CARDS", str(root / "cards"))
    folder = root / "-".join(["eyes", *map(str, settings.values())])
    return folder / "labels.csv" if folder.exists() else put_pictures(folder, **settings)
