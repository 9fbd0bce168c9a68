"""The picture of a run on pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from medfm.training.curves_picture import draw_curves


def rows(steps: int, validation: bool = True) -> list[dict]:
    found = []
    for step in range(steps):
        row = {
            "step": step,
            "epoch": step // 5 + 1,
            "total": 9.0 - step / 10,
            "cma": 5.0,
            "uma": 4.0,
            "top1": 0.1,
            "top5": 0.4,
        }
        if validation and step % 5 == 4:
            row |= {"val_total": 8.0, "val_top1": 0.2, "val_zero_shot_auroc": 0.6}
        found.append(row)
    return found


def height(path: Path) -> int:
    picture = Image.open(path)
    assert np.asarray(picture.convert("L")).std() > 5
    return picture.size[1]


def test_panels_are_those_that_were_logged(tmp_path: Path) -> None:
    draw_curves(tmp_path / "a.png", rows(20), "run", kept=2)
    draw_curves(tmp_path / "b.png", rows(20, validation=False), "run")
    assert height(tmp_path / "a.png") > height(tmp_path / "b.png")  # zero-shot has a panel of its own


def test_one_step_and_no_step(tmp_path: Path) -> None:
    draw_curves(tmp_path / "one.png", rows(1), "run")
    draw_curves(tmp_path / "none.png", [], "run")
    assert {p.name for p in tmp_path.iterdir()} == {"one.png", "none.png"}
