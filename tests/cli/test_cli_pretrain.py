"""The verb pretrain: help, dry run, errors, output."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medfm.cli.main import main

QUICK = ["steps=2", "batch_size=4", "picture_size=32", "views.global_size=28", "views.local_size=14"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    source = np.random.default_rng(3)
    for i in range(6):
        Image.fromarray(source.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(tmp_path / f"c{i}.png")
    frame = pd.DataFrame({"file": [f"c{i}.png" for i in range(6)], "split": "train", "task": ["a"] * 5 + ["b"]})
    frame.to_csv(tmp_path / "cells.csv", index=False)
    return tmp_path / "cells.csv"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["pretrain", *arguments])
    return int(stop.value.code or 0)


def quick() -> list[str]:
    return [part for setting in QUICK for part in ("--set", setting)]


def test_help_fits_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    assert text.count("medfm pretrain ") >= 3
    assert "Checked:" in text and "Common errors:" in text
    assert len(text.splitlines()) <= 48


def test_dry_run_prints_the_recipe_and_reads_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("absent.csv", "--recipe", "dinov2-smoke", "--set", "steps=3", "--dry-run") == 0
    text = capsys.readouterr().out
    assert "steps: 3" in text and "# sha256 " in text
    assert run("absent.csv", "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["config"]["name"] == "dinov2-tiny"


def test_trains_resumes_and_refuses_to_overwrite(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    arguments = [str(table), "--recipe", "dinov2-smoke", "--out", out, "--map", "path=file", "--where", "task=a"]
    assert run(*arguments, *quick()) == 0
    text = capsys.readouterr().out
    assert "trained on 5 pictures" in text and f"--encoder {out}" in text
    assert run(*arguments, *quick()) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(*arguments, *quick(), "--resume", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["resumed_from"] == 2 and values["pictures"] == 5 and values["failures"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.csv"], "absent.csv"),
        (["absent.csv", "--recipe", "dinov2-tinny"], "did you mean 'dinov2-tiny'"),
        (["absent.csv", "--set", "stepz=3"], "did you mean 'steps'"),
        (["absent.csv", "--set", "steps"], "is not an override"),
    ],
)
def test_errors_are_one_message_with_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    text = capsys.readouterr().err
    assert message in text and "Traceback" not in text
