"""The table of scripts/real_pictures.py: figures are computed, the stated baseline is read from beside the data."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from picture_hazards import plain
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "real_pictures.py"
DATA = ROOT.parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="needs the checkout")

README = """# things
balanced accuracy 0.111 of something else

## Simple baseline (colour histogram)
grade balanced accuracy 0.267 (chance 0.2); referable 0.549, AUROC 0.595. RetinaMNIST: balanced accuracy 0.376."""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_pictures", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["real_pictures"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Forty small pictures in two brightnesses, split by source, in the layout of the real folders."""
    folder = tmp_path / "data" / "retina"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(README)
    rows = []
    for i in range(40):
        array = np.clip(plain(i).astype(int) + (9 if i % 2 else 0), 0, 255).astype(np.uint8)
        Image.fromarray(array).save(folder / f"p{i}.png")
        rows.append(f"p{i}.png,s{i},{i % 2},{'train' if i < 24 else 'test'},idrid_dr_grade,{i % 2}")
    rows.append("absent.png,s99,0,test,another,0")
    (folder / "labels.csv").write_text("path,source_id,label,split,task,referable_dr\n" + "\n".join(rows) + "\n")
    return tmp_path / "data"


def test_the_stated_baseline_is_that_of_its_section(script: ModuleType) -> None:
    grades, referable, _ = script.TASKS
    assert script.stated_baseline(grades, "balanced_accuracy", README) == "0.267"
    assert script.stated_baseline(grades, "auroc_ovr_macro", README) == "not given"
    assert script.stated_baseline(referable, "balanced_accuracy", README) == "0.549"
    assert script.stated_baseline(referable, "auroc", README) == "0.595"
    for task in script.TASKS:
        assert script.stated_baseline(task, "balanced_accuracy", "") == "not given"


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared data")
def test_the_real_files_state_a_baseline_for_every_task(script: ModuleType) -> None:
    for task in script.TASKS:
        readme = (DATA / task.modality / "README.md").read_text(encoding="utf-8")
        stated = script.stated_baseline(task, "balanced_accuracy", readme)
        assert 0 < float(stated) < 1
        assert task.where in (DATA / task.modality / "labels.csv").read_text(encoding="utf-8")


def test_lines_hold_the_figures_of_the_results(script: ModuleType, data: Path, tmp_path: Path) -> None:
    lines = script.rows_of(script.TASKS[1], data, tmp_path / "out", ["color-histogram"])
    assert len(lines) == 2
    result = json.loads((tmp_path / "out" / "idrid-dr-grade-referable-dr-color-histogram" / "result.json").read_text())
    found = {e["metric"]: e for e in result["summary"]["headline"]}
    stated, measured = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    assert stated == ["IDRiD, referable", "stated beside the data", "0.549", "0.595"]
    for cell, metric in zip(measured[2:], ("balanced_accuracy", "auroc"), strict=True):
        e = found[metric]
        interval = "no interval" if e["low"] is None else f"{e['low']:.3f} to {e['high']:.3f}"
        assert cell == f"{e['value']:.3f} ({interval})"
    assert (tmp_path / "out" / "idrid-dr-grade-referable-dr-color-histogram" / "report.html").is_file()


def test_without_a_readme_nothing_is_stated(script: ModuleType, data: Path, tmp_path: Path) -> None:
    (data / "retina" / "README.md").unlink()
    lines = script.rows_of(script.TASKS[1], data, tmp_path / "out", ["color-histogram"])
    assert lines[0].count("not given") == 2 and "color-histogram" in lines[1]


def test_help_runs(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT), "MEDFM_CACHE": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0 and "--flair" in done.stdout


@pytest.mark.parametrize("page", ["retina.md", "histopathology.md"])
def test_pages_give_the_command_and_the_tasks(script: ModuleType, page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert "python scripts/real_pictures.py" in text
    for task in script.TASKS:
        if task.modality == page.removesuffix(".md"):
            rows = [line for line in text.splitlines() if line.startswith(f"| {task.title} |")]
            assert len(rows) >= 3 and any("untrained" in row for row in rows), task.title
            for row in rows:
                assert all(0 <= float(f) <= 1 for f in re.findall(r"[0-9]\.[0-9]{3}", row)), row
