"""``docs/retina.md`` and ``docs/histopathology.md``: their Python runs as written, their facts hold."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import medfm
from medfm.modalities.registry import get_modality

DOCS = Path(__file__).resolve().parents[2] / "docs"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
TASKS = {"retina": "idrid_dr_grade", "histopathology": "lc25000_lung"}


def page(modality: str) -> str:
    return (DOCS / f"{modality}.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    random = np.random.default_rng(0)
    rows = []
    for index in range(3):
        Image.fromarray(random.integers(0, 256, (32, 40, 3)).astype(np.uint8)).save(tmp_path / f"{index}.png")
        rows.append({"path": f"{index}.png", "source_id": f"s{index}"})
    for name in ("fundus.jpg", "patch.png"):
        Image.fromarray(random.integers(0, 256, (32, 40, 3)).astype(np.uint8)).save(tmp_path / name)
    tasks = pd.concat([pd.DataFrame(rows).assign(task=task) for task in (*TASKS.values(), "another")])
    tasks.assign(record_id=[f"r{i}" for i in range(len(tasks))]).to_csv(tmp_path / "labels.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("modality", sorted(TASKS))
def test_the_python_of_the_page_runs(modality, folder):
    blocks = re.findall(r"```python\n(.*?)```", page(modality), re.DOTALL)
    (code,) = [block for block in blocks if "load_cohort" in block and TASKS[modality] in block]
    names: dict[str, Any] = {}
    exec(code, names)
    assert len(names["cohort"]) == 3 and names["cohort"].modality == modality
    record = names["record"]
    assert record.modality == modality and record.array.shape == (32, 40, 3)
    if modality == "histopathology":
        assert (record.facts["place"], record.facts["mpp"]) == ([512, 1024], 0.5)


@pytest.mark.parametrize("modality", sorted(TASKS))
def test_every_column_of_the_reader_is_on_its_page(modality):
    for column in get_modality(modality).option_columns:
        assert f"`{column}`" in page(modality)


@pytest.mark.parametrize(
    ("modality", "encoder"), [("retina", "flair-resnet50-pooled"), ("histopathology", "imagenet-resnet50")]
)
def test_real_pictures_from_table_to_vectors(modality, encoder):
    source = SHARED / modality
    if not source.is_dir():
        pytest.skip("the real pictures beside the repository are absent")
    table = pd.read_csv(source / "labels.csv")
    rows = table[table.task == TASKS[modality]].iloc[[0, 100, 200]]
    cohort = medfm.load_cohort(
        rows.reset_index(drop=True), modality=modality, root=source, map={"patient_id": "source_id"}, check=False
    )
    made = medfm.load_encoder(encoder, weights="random", device="cpu")
    emb = medfm.embed(made, cohort, workers=0)
    assert emb.values.shape == (3, 2048) and not emb.failures
    assert np.isfinite(emb.values).all() and np.ptp(emb.values, axis=0).max() > 0
