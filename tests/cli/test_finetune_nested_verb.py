"""``medfm finetune``, nested cross-validation being the default: what it plans and what it refuses at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medfm.cli.main import cli
from medfm.core.errors import MedfmError

NESTED = ("finetune", "none.csv", "--protocol", "nested-cv@1")


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def test_a_dry_run_counts_the_trainings_and_writes_nothing(tmp_path: Path) -> None:
    done = call(*NESTED, "--out", str(tmp_path / "out"), "--dry-run")
    assert done.exit_code == 0 and "16 trainings: 5 outer folds x 3 candidates x 1 of 4" in done.stdout
    assert "lp-ft (45 epochs at most)" in done.stdout and not (tmp_path / "out").exists()


def test_nested_cross_validation_is_the_default_and_a_recipe_means_one_training() -> None:
    plain, named = (call("finetune", "none.csv", *more, "--dry-run").stdout for more in ((), NESTED[2:]))
    assert plain == named and "16 trainings" in plain
    once = call("finetune", "none.csv", "--recipe", "lp-ft", "--dry-run").stdout
    assert "name: lp-ft" in once and "trainings" not in once
    split = call("finetune", "none.csv", "--protocol", "finetune@1", "--dry-run").stdout
    assert "name: bpd-progressive" in split and "trainings" not in split


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
        ((*NESTED, "--recipe", "lora", "--dry-run"), "method.candidates=[lora]"),
        (
            ("finetune", "none.csv", "--recipe", "lora", "--beside", "dinobloom-s", "--dry-run"),
            "--protocol nested-cv@1",
        ),
        (("finetune", "none.csv", "--set", "stages.tune.epochs=3", "--dry-run"), "--recipe NAME"),
        (
            ("finetune", "none.csv", "--recipe", "lora", "--set", "scheme.folds=3", "--dry-run"),
            "judges by nested-cv@1",
        ),
        ((*NESTED, "--set", "method.candidates=[lorra]", "--dry-run"), "lora"),
        ((*NESTED, "--set", "scheme.group_by_patient=false", "--dry-run"), "by patient"),
        ((*NESTED, "--set", "scheme.kind=split", "--dry-run"), "k folds"),
        (NESTED, "--encoder ID"),
        (("finetune", "none.csv", "--protocol", "nested-cv@2", "--dry-run"), "nested-cv@1"),
        (("finetune", "none.csv", "--protocol", "knn@1", "--encoder", "merl-tiny", "--weights", "random"), "none.csv"),
    ],
    ids=[
        "recipe",
        "beside",
        "recipe setting",
        "protocol setting",
        "candidate",
        "records",
        "split",
        "no encoder",
        "no protocol",
        "no table",
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(words: tuple[str, ...], said: str) -> None:
    done = call(*words)
    assert done.exit_code != 0 and said in f"{done.output} {done.exception}"
    assert isinstance(done.exception, (MedfmError, SystemExit))


def test_help_names_it() -> None:
    said = " ".join(CliRunner().invoke(cli, ["finetune", "--help"], terminal_width=80).output.split())
    assert "(nested-cv@1) is the verdict" in said and "counts the trainings" in said and "run.yaml" in said
