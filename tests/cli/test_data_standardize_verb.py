"""``medfm data standardize`` as a user meets it: one run from the shell's side, its errors and its exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from brain_volumes import save_head, t1_head

from medfm.cli.main import main


@pytest.fixture(scope="module")
def brains(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("brains")
    head, _ = t1_head(4.0)
    save_head(folder / "one.nii.gz", head)
    save_head(folder / "four.nii.gz", np.stack([head] * 2, -1))
    pd.DataFrame({"path": ["one.nii.gz", "four.nii.gz"], "label": ["a", "b"], "set": ["x", "y"]}).to_csv(
        folder / "labels.csv", index=False
    )
    return folder


def run(capsys: pytest.CaptureFixture, *words: object) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["data", "standardize", *map(str, words)])
    told = capsys.readouterr()
    return stop.value.code, told.out, told.err


def test_from_a_table_to_volumes(brains: Path, tmp_path: Path, capsys) -> None:
    table, out = brains / "labels.csv", tmp_path / "light"
    light = [table, "--recipe", "brain-mri-light", "--out", out]
    coarse = [*light, "--set", "volume_spacing.mm=4"]
    code, said, _ = run(capsys, *coarse)
    assert code == 1, "one of the two could not be prepared"
    assert "four.nii.gz" in said and "holds 2" in said and "1 volumes prepared, 1 failed" in said
    assert (out / "volumes" / "one.nii.gz").is_file() and len(pd.read_csv(out / "labels.csv")) == 1
    code, said, _ = run(capsys, *coarse, "--where", "set=x", "--json")
    assert code == 0 and json.loads(said) == {
        "out": str(out), "table": str(out / "labels.csv"), "written": 0, "kept": 1, "failed": [],
    }  # fmt: skip
    code, said, err = run(capsys, *light)
    assert code == 2 and "prepared in another way" in err and "--overwrite" in err


def test_nothing_could_be_prepared(brains: Path, tmp_path: Path, capsys) -> None:
    words = [brains / "labels.csv", "--recipe", "brain-mri-light", "--out", tmp_path / "o", "--where", "set=y"]
    code, said, _ = run(capsys, *words)
    assert code == 2 and "0 volumes prepared, 1 failed" in said and "next:" not in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--out", "o"], "none was named"),
        ([], "--out"),
        (["--out", "o", "--recipe", "brain-mir"], "did you mean"),
        (["--out", "o", "--recipe", "brain-mri-light", "--template", "none.nii"], "template"),
        (["--out", "o", "--recipe", "brain-mri-light", "--set", "volume_brain_mask.method=hd-bet"], "hd-bet"),
        (["--out", "o", "--set", "volume_sise.size=3"], "not a step"),
        (["--out", "o", "--workers", "0"], "workers"),
        (["--out", "o", "--modality", "ecg"], "for brain_mri"),
    ],
)
def test_what_cannot_begin(brains: Path, tmp_path: Path, capsys, monkeypatch, words: list[str], expected: str) -> None:
    pytest.importorskip("SimpleITK")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = run(capsys, brains / "labels.csv", *words)
    assert code == 2 and expected in err and "Traceback" not in err
    assert not (tmp_path / "o").exists()


def test_an_installation_without_the_extra(brains: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    template = brains / "one.nii.gz"
    code, _, err = run(capsys, brains / "labels.csv", "--out", tmp_path / "o", "--template", template)
    assert code == 2 and "SimpleITK" in err and "pip install 'medfm[mri-prep]'" in err


def test_a_dry_run_shows_the_recipe_and_reads_nothing(capsys) -> None:
    code, said, _ = run(capsys, "absent.csv", "--dry-run", "--set", "volume_brain_mask.method=synthstrip")
    assert code == 0 and "method: synthstrip" in said and "# sha256" in said and "least_overlap: 0.85" in said


def test_help_fits_a_screen(capsys) -> None:
    code, said, _ = run(capsys, "--help")
    assert code == 0 and said.count("medfm data standardize") >= 3 and "Common errors" in said
    assert len(said.splitlines()) <= 64 and max(map(len, said.splitlines())) <= 80
