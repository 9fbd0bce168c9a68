"""``docs/explain.md``: its Python runs as written, on a small network in place of the published one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import medfm
from medfm.encoders.card import Card
from medfm.encoders.encoder import Encoder
from medfm.encoders.flair import build_flair
from medfm.encoders.published import load_published
from medfm.encoders.registry import get_card
from medfm.encoders.weights import weights_folder

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "explain.md").read_text(encoding="utf-8")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "fundus", "photograph", "with", "hard", "exudates", "new", "vessels"]
TEXT = {"vocabulary": 40, "width": 16, "layers": 3, "heads": 2, "feed_forward": 32, "positions": 64}
TINY: dict[str, Any] = {
    "backbone": "resnet18",
    "image_size": 64,
    "projection": 8,
    "text": TEXT | {"pooling": "mean_with_padding", "hidden_states": [1, 2, -1]},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    card = get_card("flair-resnet50")
    spec = card.spec.to_dict()
    spec["architecture"]["args"] = TINY
    spec["input"]["shape"] = [3, 64, 64]
    spec["embedding"]["dim"] = 8
    spec["parameters"] = None
    spec["text"]["max_tokens"] = 40
    spec["preprocessing_variants"] = {}
    for step in spec["preprocessing"]:
        if "size" in step:
            step["size"] = [64, 64] if step["step"] == "canvas" else 64
    changed = type(card.spec).model_validate(spec)
    card = Card(card.path, card.header.model_copy(update={"medfm": changed}), card.prose, card.sha256)
    words = weights_folder() / card.id / "tokenizer"
    words.mkdir(parents=True)
    (words / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    state = build_flair(TINY, torch.Generator().manual_seed(2)).state_dict()
    module, report = load_published(card, state)
    encoder = Encoder(card, module, "local file", "tiny", report)
    monkeypatch.setattr(medfm, "load_encoder", lambda name: encoder if name == card.id else None, raising=False)
    random = np.random.default_rng(0)
    rows = []
    for i in range(30):
        Image.fromarray(random.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        split = "test" if i >= 20 else "train"
        rows.append({"path": f"{i}.png", "patient_id": f"p{i // 2}", "label": i // 2 % 3, "split": split})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    Image.open(tmp_path / "0.png").save(tmp_path / "fundus.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_of_the_page_runs(folder, capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    exec(blocks[0], names)
    with Image.open(folder / "heat.png") as drawn:
        assert drawn.size == (60, 40) and drawn.mode == "RGB"
    heat = names["heat"]
    assert heat.method == "grad_cam" and heat.values.shape == (2, 2) and np.isfinite(heat.on_original()).all()
    names = {}
    exec(blocks[1], names)
    result, found = names["result"], names["found"]
    assert found["columns"] == ["0", "1", "2"] and found["asked"] == 9 and result.summary.n_patients == 5
    assert {"concepts", "black_box", "difference"} <= set(found["black_box"]["rows"][0])
    printed = capsys.readouterr().out
    assert "balanced accuracy" in printed and "black-box probe" in printed


def test_encoders_named_on_the_page_exist():
    ids = medfm.list_encoders()
    for name in re.findall(r"`([a-z0-9]+-[a-z0-9*-]+)`", PAGE):
        prefix = name.rstrip("*")
        assert any(i.startswith(prefix) if name.endswith("*") else i == name for i in map(str, ids)), name
