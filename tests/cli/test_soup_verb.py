"""``medfm soup``: its help and what it refuses at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medfm.cli.main import cli
from medfm.core.errors import MedfmError
from medfm.encoders.save import ENSEMBLE_FILE


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, ["soup", *words])


def test_help_fits_a_screen_and_has_three_examples() -> None:
    said = CliRunner().invoke(cli, ["soup", "--help"], terminal_width=80).output
    assert len(said.splitlines()) <= 64 and max(map(len, said.splitlines())) <= 80
    assert said.count("medfm soup ") >= 3 and "Common errors:" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "x"), "FOLDERS"),
        (("runs/a",), "--out"),
        (("nowhere", "elsewhere", "--out", "x"), "no fine-tuned classifier"),
        (("nowhere", "--out", "x", "--rule", "sour"), "uniform"),
        (("nowhere", "--out", "x", "--metric", "f1"), "balanced_accuracy"),
    ],
    ids=["no runs", "no output", "no models", "rule", "metric"],
)
def test_what_is_missing_is_said(words: tuple[str, ...], said: str) -> None:
    done = call(*words)
    assert done.exit_code != 0 and said in f"{done.output} {done.exception}"
    assert isinstance(done.exception, (MedfmError, SystemExit)) and not Path("x").exists()


def test_an_ensemble_is_not_one_run(tmp_path: Path) -> None:
    (tmp_path / ENSEMBLE_FILE).write_text("{}")
    done = call(str(tmp_path), str(tmp_path), "--out", str(tmp_path / "x"))
    assert "ensemble of several classifiers" in str(done.exception) and "members" in str(done.exception)
