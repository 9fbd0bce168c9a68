"""``medfm finetune --protocol nested-cv@1``: what it plans and what it refuses at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medfm.cli.finetune_nested import is_nested
from medfm.cli.main import cli
from medfm.core.errors import MedfmError

NESTED = ("finetune", "none.csv", "--protocol", "nested-cv@1")


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def test_a_dry_run_counts_the_trainings_and_writes_nothing(tmp_path: Path) -> None:
    done = call(*NESTED, "--out", str(tmp_path / "out"), "--dry-run")
    assert done.exit_code == 0 and "16 trainings: 5 outer folds x 3 candidates x 1 of 4" in done.stdout
    assert "lp-ft (45 epochs at most)" in done.stdout and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        (("scheme.repeats=2",), 31),
        (("method.inner_trained=4",), 61),
        (("method.final=none", "method.candidates=[full]", "scheme.folds=3"), 3),
    ],
    ids=["repeats", "parts", "one candidate"],
)
def test_settings_change_the_count(changes: tuple[str, ...], count: int) -> None:
    words = [word for change in changes for word in ("--set", change)]
    assert f"{count} trainings" in call(*NESTED, *words, "--dry-run").stdout


def test_json_stays_json_and_the_count_goes_to_the_other_stream() -> None:
    done = call(*NESTED, "--dry-run", "--json")
    assert json.loads(done.stdout)["config"]["method"]["kind"] == "nested_finetune"
    assert "16 trainings" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*NESTED, "--recipe", "lora", "--dry-run"), "method.candidates"),
        (("finetune", "none.csv", "--beside", "dinobloom-s", "--dry-run"), "--protocol nested-cv@1"),
        ((*NESTED, "--set", "method.candidates=[lorra]", "--dry-run"), "lora"),
        ((*NESTED, "--set", "scheme.group_by_patient=false", "--dry-run"), "by patient"),
        ((*NESTED, "--set", "scheme.kind=split", "--dry-run"), "k folds"),
        (NESTED, "--encoder ID"),
        (("finetune", "none.csv", "--protocol", "nested-cv@2", "--dry-run"), "nested-cv@1"),
        (("finetune", "none.csv", "--protocol", "knn@1", "--encoder", "merl-tiny", "--weights", "random"), "none.csv"),
    ],
    ids=["recipe", "beside", "candidate", "records", "split", "no encoder", "no protocol", "no table"],
)
def test_what_makes_no_sense_is_refused_before_any_work(words: tuple[str, ...], said: str) -> None:
    done = call(*words)
    assert done.exit_code != 0 and said in f"{done.output} {done.exception}"
    assert isinstance(done.exception, (MedfmError, SystemExit))


def test_protocols_are_told_apart() -> None:
    assert is_nested("nested-cv@1") and not is_nested("finetune@1")


def test_help_names_it() -> None:
    said = " ".join(CliRunner().invoke(cli, ["finetune", "--help"], terminal_width=80).output.split())
    assert "--protocol nested-cv@1" in said and "counts the trainings" in said
