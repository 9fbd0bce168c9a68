"""``medfm finetune`` and ``medfm predict``: their help and what they refuse at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medfm.cli.main import cli
from medfm.core.errors import MedfmError
from medfm.workflows.finetune import finetune_recipes


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


@pytest.mark.parametrize("verb", ["finetune", "predict"])
def test_help_fits_a_screen_and_has_three_examples(verb: str) -> None:
    said = CliRunner().invoke(cli, [verb, "--help"], terminal_width=80).output
    assert len(said.splitlines()) <= 64 and max(map(len, said.splitlines())) <= 80
    assert said.count(f"medfm {verb} ") >= 3 and "Common errors:" in said


def test_help_names_every_sound_recipe() -> None:
    said = call("finetune", "--help").output
    for name in finetune_recipes():
        assert name in said or name.endswith("@1"), name


@pytest.mark.parametrize("name", ["bpd-progressive@1", "lora", "ulmfit"])
def test_a_dry_run_prints_the_recipe_and_does_nothing(name: str, tmp_path: Path) -> None:
    done = call("finetune", "none.csv", "--recipe", name, "--out", str(tmp_path / "out"), "--dry-run", "--json")
    said = json.loads(done.stdout)
    assert done.exit_code == 0 and said["config"]["name"] == name and len(said["sha256"]) == 64
    assert not (tmp_path / "out").exists()


def test_a_change_changes_the_hash() -> None:
    plain, other = (
        json.loads(call("finetune", "none.csv", "--recipe", "lora", *words, "--dry-run", "--json").stdout)["sha256"]
        for words in ([], ["--set", "stages.tune.layers.rank=4"])
    )
    assert plain != other


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("finetune", "none.csv"), "--encoder ID"),
        (("finetune", "none.csv", "--encoder", "merl-tiny", "--modality", "ecg"), "none.csv"),
        (("finetune", "none.yaml", "--encoder", "merl-tiny"), "none.yaml"),
        (("finetune", "none.csv", "--recipe", "full", "--set", "stages.tune.lr=1"), "no such key"),
        (("finetune", "none.csv", "--recipe", "full", "--set", "stages.probe.epochs=1"), "tune"),
        (("predict", "nowhere", "none.csv"), "no fine-tuned classifier"),
    ],
    ids=["no encoder", "no table", "no config", "no such setting", "no such stage", "no model"],
)
def test_what_is_missing_is_said(words: tuple[str, ...], said: str) -> None:
    done = call(*words)
    assert done.exit_code != 0 and said in f"{done.output} {done.exception}"
    assert isinstance(done.exception, (MedfmError, SystemExit))
