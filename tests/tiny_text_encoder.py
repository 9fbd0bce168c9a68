"""A signal encoder with a text tower of a few thousand numbers, its words, and a cohort with texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from medfm.encoders.registry import get_card
from medfm.encoders.weights import weights_folder

TEXT = {"vocabulary": 40, "width": 16, "layers": 1, "heads": 2, "feed_forward": 32, "positions": 256}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sinus", "rhythm", "atrial", "fibrillation", "flutter", "pacing"]
TEXTS = [
    "sinus rhythm",
    "atrial fibrillation",
    "sinus rhythm",
    "atrial flutter",
    "pacing",
    "sinus  rhythm ",
    "",
    "pacing",
]
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def put_tiny_encoder(folder: Path) -> Path:
    """Write the card ``tiny-text`` into `folder` (name it in MEDFM_CARDS) and its words where they are looked for."""
    text = get_card("merl-resnet18").path.read_text(encoding="utf-8")
    for old, new in (
        ("  id: merl-resnet18\n", "  id: tiny-text\n"),
        (
            "      text: {vocabulary: 30522, width: 768, layers: 12, heads: 12, feed_forward: 3072, positions: 512}",
            f"      stem: 4\n      samples: 160\n      projection: 8\n      text: {TEXT}",
        ),
        ("dim: 256", "dim: 8"),
        ("shape: [12, 5000]", "shape: [12, 160]"),
        ("samples: 5000}", "samples: 160}"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny-text.md").write_text(text, encoding="utf-8")
    words = weights_folder() / "tiny-text" / "tokenizer"
    words.mkdir(parents=True, exist_ok=True)
    (words / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return folder


def put_cohort(folder: Path, texts: list[str] = TEXTS) -> Path:
    """Write one short ECG per text and the table of them."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for i, text in enumerate(texts):
        digital = np.rint(rng.normal(size=(12, 1000)).cumsum(axis=1) * 10).astype("<i2")
        (folder / f"r{i}.dat").write_bytes(digital.T.tobytes())
        lines = [f"r{i} 12 500 1000", *(f"r{i}.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS)]
        (folder / f"r{i}.hea").write_text("\n".join(lines))
        rows.append(
            {"path": f"r{i}.hea", "record_id": f"r{i}", "patient_id": f"P{i}", "text": text, "rhythm": "ab"[i % 2]}
        )
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"
